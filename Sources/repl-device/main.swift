// The server of a resource's block devices. Everything is in ReplDevice.
import ReplDevice

DeviceProgram.run()
