// `install-names DIR`: the names DRBD's tools have, as links to this program, for callers that know no other. Nobody gets them
// without asking. They lead to the path that the program was called by, which a new version takes over, and not to the place of one
// version. Law: what is there and not ours is never replaced or removed.
import ArgumentParser
import FoundationEssentials
import Glibc

struct InstallNames: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "install-names",
    abstract: "Make links named drbdadm, drbdsetup and drbdmeta to this program.",
    discussion: "Programs that call DRBD's tools then find this one. Nothing that is there is replaced.")
  private static let program = "repladm"
  private static let names = ["drbdadm", "drbdsetup", "drbdmeta", "replsetup", "replmeta"]

  @Flag(help: "Remove the links.") var remove = false
  @OptionGroup var general: GeneralOptions
  @Argument(
    help: ArgumentHelp("A directory of the search path, such as /usr/local/sbin.", valueName: "dir"),
    completion: .directory)
  var directory: String

  func perform(_ admin: Admin) -> Int32 {
    guard let target = admin.surroundings.lastingPath else {
      admin.console.err("install-names: it is not known where this program lies: mount /proc.\n")
      return 20
    }
    var code: Int32 = 0
    func complain(_ text: String) {
      admin.console.err("install-names: \(text).\n")
      code = 20
    }
    for name in InstallNames.names {
      let path = "\(directory)/\(name)"
      let present = symbolicLinkTarget(path)
      // A link of another version of this program is ours, too, also when that version is gone.
      let isOurs = present.map { lastComponent($0) == InstallNames.program } ?? false
      if remove {
        guard present != nil || exists(path) else { continue }
        guard isOurs else {
          complain("\(path) is not a link to \(target) and was left alone")
          continue
        }
        if admin.instead(["rm", path]) { continue }
        if unlink(path) != 0 { complain("removing \(systemError(path))") }
        continue
      }
      if present == target { continue }
      guard isOurs || (present == nil && !exists(path)) else {
        complain("\(path) is there already and was left alone: choose another directory, or remove it first")
        continue
      }
      if admin.instead(["ln", "-sf", target, path]) { continue }
      let temporary = "\(directory)/.\(name).\(getpid())"
      unlink(temporary)
      if symlink(target, temporary) != 0 || rename(temporary, path) != 0 { complain("making \(systemError(path))") }
    }
    return code
  }
}
