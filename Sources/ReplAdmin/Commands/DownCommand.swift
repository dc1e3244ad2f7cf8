// `down`: a resource ends, with its daemon and its devices. With `--force` also when it is in use or its daemon hangs.
import ArgumentParser
import Config
import Control

struct Down: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "down", abstract: "Stop a resource: device, connection, disks, daemon.")
  @Flag(help: "Stop a resource whose device is in use, or whose daemon does not answer.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resource) { target in
      let resource = target.resource
      if admin.instead(["replsetup", "down", resource.name] + (force ? ["--force"] : [])) { return }
      let change = try admin.roleChange(resource, seconds: force ? 20 : 60)
      if force { try change.endByForce() } else { try change.end() }
    }
  }
}

extension Admin {
  /// The block devices of a resource, one for each volume.
  func devices(_ resource: HostedResource) throws(ConfigurationError) -> ResourceDevices {
    ResourceDevices(resource, try configuration().globals, surroundings, console)
  }

  func roleChange(_ resource: HostedResource, seconds: Double) throws(ConfigurationError) -> RoleChange {
    RoleChange(daemon: daemon(resource), devices: try devices(resource), deadline: deadline(seconds))
  }
}
