// `repl-device@RES.service`: where systemd runs and the unit is installed, it is what starts the device server, so that the server belongs
// to the machine and not to the session, the agent or the daemon's unit that typed `up`. Law: the unit knows the defaults only.
import Control
import Glibc

struct DeviceServerUnit {
  static let template = "repl-device@.service"
  let name: String
  private let tools: Tools

  /// Nil: the servers of this run directory have no unit.
  init?(_ resource: String, _ surroundings: Surroundings, places: ServiceUnit.Places = ServiceUnit.Places()) {
    guard surroundings.isRoot, surroundings.environment["REPL_DEVICE"] == nil,
      surroundings.runFiles.directory == places.runDirectory, exists(places.systemd),
      places.units.contains(where: { exists("\($0)/\(DeviceServerUnit.template)") }), ServiceUnit.canBeNamed(resource)
    else { return nil }
    name = "repl-device@\(resource).service"
    tools = surroundings.tools
  }

  /// Done when the program was started; whether it serves is for the caller to see.
  func start(deadline: Deadline) throws(DeviceFault) {
    let result = tools.run("systemctl", ["start", name], deadline: deadline)
    guard result.ok else { throw .cannot("start \(name)", "\(result.lastLine); see journalctl -u \(name)") }
  }
}
