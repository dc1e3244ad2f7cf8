// Commands of DRBD that there is nothing for here (tiers T2 and T3 of admin spec 4): each is refused with what does the job
// instead, because whoever types one knows DRBD and would take "no such command" for a broken installation.

enum AbsentCommands {
  /// Nil: nothing of DRBD's either, as far as this program knows.
  /// `object` is what the command line named, if it did.
  static func refusal(of word: String, object: String?) -> String? {
    guard let instead = reason(of: word) else { return nil }
    // `del-minor 3` names no resource.
    let name = object.flatMap { UInt32($0) == nil ? $0 : nil }
    return "repladm: '\(word)' does not exist here: \(name.map { instead.replacing("RES", with: $0) } ?? instead).\n"
  }

  /// The same as a clause.
  static func reason(of word: String) -> String? { instead[word] }

  private static let oneEnd = "a resource is taken down in one step; use repladm down RES"
  private static let noProxy = "there is no proxy; the daemon connects to the peer's address itself"

  private static let instead = [
    "del-minor": "remove the volume from the file, then use repladm adjust RES",
    "del-path": "a peer has one path, which is that of the file; change it there, then use repladm adjust RES",
    "del-resource": oneEnd,
    "rename-resource": "the name is that of the file; use repladm down RES, change it, then repladm up",
    "forget-peer":
      "a resource has one peer; replmeta forget-peer frees the slot of another node in the metadata",
    "dump-superblock": "use repladm dump-md RES",
    "proxy-up": noProxy, "proxy-down": noProxy,
    "set-gi":
      "it is a command of replmeta; repladm new-current-uuid RES begins a generation, and after a split brain "
      + "repladm connect --discard-my-data RES throws one away",
    "sh-list-adjustable": "use repladm sh-resources; adjust also starts a resource that is down",
    "sh-list-config-file": "use repladm dump, which begins with the name of the file",
  ]
}
