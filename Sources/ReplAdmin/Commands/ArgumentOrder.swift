// drbdadm's grammar is `drbdadm [options] COMMAND [options] [--] RES...`, and habits from 8.3 put `-- --option` first. The
// argument parser wants the command first, so the words are put in that order; `--` only ever separated two programs that are
// one here.

enum ArgumentOrder {
  static func commandFirst(_ arguments: [String]) -> [String] {
    // What the argument parser itself calls for completion scripts is none of ours.
    if let first = arguments.first, first.hasPrefix("---") || first.hasPrefix("--generate-completion-script") {
      return arguments
    }
    var moved: [String] = []
    var index = 0
    while index < arguments.count {
      let word = arguments[index]
      guard word.hasPrefix("-"), word != "-" else { break }
      index += 1
      if word == "--" { continue }
      moved.append(word)
      if GeneralOptions.valued.contains(word), index < arguments.count {
        moved.append(arguments[index])
        index += 1
      }
    }
    guard index < arguments.count else { return moved }
    // Help is about commands, whatever the options.
    if arguments[index] == "help" { return Array(arguments[index...]) }
    return [arguments[index]] + moved + arguments[(index + 1)...].filter { $0 != "--" }
  }
}
