// drbdadm's grammar is `drbdadm [options] COMMAND [options] [--] RES...`, and habits from 8.3 put `-- --option` first; LINSTOR
// writes `-vvv --max-peers 7 -- --force create-md RES/0`. The argument parser wants the command first, so the words are put in that
// order. Options behind `--` belong to the command, as all others do: `--` only ever separated two programs that are one here.
import ArgumentParser
import Config

enum ArgumentOrder {
  static func commandFirst(_ arguments: [String]) -> [String] {
    // What the argument parser itself calls for completion scripts is none of ours.
    if let first = arguments.first, first.hasPrefix("---") || first.hasPrefix("--generate-completion-script") {
      return arguments
    }
    guard let index = commandIndex(arguments) else { return arguments.filter { $0 != "--" } }
    // Help is about commands, whatever the options.
    if arguments[index] == "help" { return Array(arguments[index...]) }
    return [arguments[index]] + (arguments[..<index] + arguments[(index + 1)...]).filter { $0 != "--" }
  }

  /// The first command whose own options explain every word before it. Without one: the first word that is neither an option nor
  /// the value of a general option, for the sentence that there is no such command.
  private static func commandIndex(_ arguments: [String]) -> Int? {
    let words = arguments.indices.filter { !arguments[$0].hasPrefix("-") }
    let command = words.first { index in
      let word = arguments[index]
      guard Repladm.knows(word) || RunHandler.knows(word) else { return false }
      // The options of the command are looked up only where the general ones do not explain it: that takes its time.
      return isExplained(arguments[..<index], valued: GeneralOptions.valued)
        || isExplained(arguments[..<index], valued: valuedOptions(of: word))
    }
    if let command { return command }
    return words.first { isExplained(arguments[..<$0], valued: GeneralOptions.valued) }
  }

  /// Options, the values of those that take one, and `--`: nothing else.
  private static func isExplained(_ words: ArraySlice<String>, valued: Set<String>) -> Bool {
    var index = words.startIndex
    while index < words.endIndex {
      guard words[index].hasPrefix("-") else { return false }
      index += valued.contains(words[index]) ? 2 : 1
    }
    return index == words.endIndex
  }

  /// The options of a command whose value is the next word.
  private static func valuedOptions(of command: String) -> Set<String> {
    var names = GeneralOptions.valued
    for argument in describedArguments(of: command) where argument.kind == "option" {
      names.formUnion((argument.names ?? []).map(\.text))
    }
    if OptionWords.section(of: command) != nil {
      // Those of other sections as well: they are refused by their names.
      names.formUnion(OptionTable.rows.filter { $0.type != .boolean }.map { "--" + $0.name })
    }
    return names
  }

  /// What the argument parser tells of the options of a command, by its name or an alias. Handlers have general options only.
  private static func describedArguments(of word: String) -> [DescribedArgument] {
    let type = Repladm.configuration.subcommands.first {
      $0.configuration.commandName == word || $0.configuration.aliases.contains(word)
    }
    guard let name = type?.configuration.commandName else { return [] }
    do {
      let tool = try DescribedCommand.decode(Repladm._dumpHelp())
      return tool.subcommands?.first { $0.commandName == name }?.arguments ?? []
    } catch {
      preconditionFailure("the argument parser describes the commands in another form: \(error)")
    }
  }
}
