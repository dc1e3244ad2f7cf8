// `primary` and `secondary`: the daemon decides, the block device follows (RoleChange).
import ArgumentParser
import Config
import Control

struct Primary: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "primary", abstract: "Make this node the one that uses the data.")
  @Flag(
    name: [.long, .customLong("overwrite-data-of-peer")],
    help: "Do it also without UpToDate data: this copy becomes the good one.")
  var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resourceOrVolume) { target in
      let resource = target.resource
      admin.remarkOnWholeResource(target)
      if admin.instead(["replsetup", "primary", resource.name] + (force ? ["--force"] : [])) { return }
      try admin.roleChange(resource, seconds: 60).promote(force: force)
    }
  }
}

struct Secondary: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "secondary", abstract: "Give the data back: nothing may use the device any more.")
  @Flag(help: "Do it also when the device is in use: its requests end with errors.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resourceOrVolume) { target in
      let resource = target.resource
      admin.remarkOnWholeResource(target)
      if admin.instead(["replsetup", "secondary", resource.name] + (force ? ["--force"] : [])) { return }
      try admin.roleChange(resource, seconds: 60).demote(force: force)
    }
  }
}
