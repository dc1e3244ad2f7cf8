// `primary` and `secondary`: the daemon decides, the block device follows (RoleChange).
import ArgumentParser
import Config
import Control

struct Primary: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "primary", abstract: "Make this node Primary.")
  @Flag(
    name: [.long, .customLong("overwrite-data-of-peer")],
    help: "Become Primary without UpToDate data: the data of this node are declared UpToDate.")
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
    commandName: "secondary", abstract: "Make this node Secondary.")
  @Flag(help: "Demote although the device is in use: its requests end with errors.") var force = false
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
