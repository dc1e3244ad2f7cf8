// Names of the BlockIO target that others have too.
import BlockIO

typealias DeviceFault = DiskFault
