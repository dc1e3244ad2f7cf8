// `explain`: what is wrong with a resource, and what to do about it. Not a command of DRBD.
import ArgumentParser
import Control

struct Explain: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Say what is wrong with a resource, and what to do about it.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names.isEmpty ? ["all"] : objects.names, .resource) { target in
      let name = target.resource.name
      if admin.instead(["replsetup", "status", name]) { return }
      let daemon = admin.daemon(target.resource)
      let complaints = try admin.devices(target.resource).each.compactMap { $0.complaint() }
      for complaint in complaints { admin.console.out("\(name): \(complaint).\n") }
      guard daemon.isRunning else {
        admin.console.out("\(name): repld is not running.\n  To start the resource: repladm up \(name).\n")
        return
      }
      let findings = try daemon.status(deadline: admin.deadline(10)).findings
      for finding in findings { admin.console.out(finding.text + "\n") }
      if findings.isEmpty, complaints.isEmpty { admin.console.out("\(name): both nodes are connected and UpToDate.\n") }
    }
  }
}
