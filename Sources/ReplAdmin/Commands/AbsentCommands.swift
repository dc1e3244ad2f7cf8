// Commands of DRBD that there is nothing for here (tiers T2 and T3 of admin spec 4): each is refused with what does the job
// instead, because whoever types one knows DRBD and would take "no such command" for a broken installation.

enum AbsentCommands {
  /// Nil: nothing of DRBD's either, as far as this program knows.
  static func refusal(of word: String) -> String? {
    guard let instead = reason(of: word) else { return nil }
    return "repladm: '\(word)' does not exist here: \(instead).\n"
  }

  /// The same as a clause.
  static func reason(of word: String) -> String? { instead[word] }

  private static let oneEnd = "a resource is taken down in one step; use repladm down RES"
  private static let noProxy = "there is no proxy; the daemon connects to the peer's address itself"

  private static let instead = [
    "del-minor": oneEnd, "del-path": oneEnd, "del-resource": oneEnd,
    "rename-resource": "the name is that of the file; use repladm down RES, change it, then repladm up",
    "forget-peer":
      "a resource has one peer, and its slot in the metadata is used again by the next one; create-md begins anew",
    "dump-superblock": "use repladm dump-md RES",
    "proxy-up": noProxy, "proxy-down": noProxy,
    "set-gi": "generations are not made up; use repladm new-current-uuid RES, or connect --discard-my-data",
    "sh-list-adjustable": "use repladm sh-resources; adjust also starts a resource that is down",
    "sh-list-config-file": "use repladm dump, which begins with the name of the file",
  ]
}
