// A whole configuration, checked. All resources of all included files are checked even when a command is about one of
// them, as DRBD does: one broken file breaks every command, on every node, and is noticed.

public struct Configuration: Sendable, Equatable {
  public var syntax: SyntaxTree
  public var globals: GlobalOptions
  /// In the order of the files.
  public var resources: [ResourceDefinition]
  /// Things worth telling that stop nothing.
  public var notices: [ConfigurationNotice]
  /// What was changed at run time: above everything the files say.
  public var overrides: [OptionOverride] = []

  public var mainFile: String { syntax.mainFile }

  /// Reads `path` and everything it includes.
  public static func load(
    _ path: String, from source: some ConfigurationSource
  ) throws(ConfigurationError) -> Configuration {
    try Configuration(Parser.parse(path, from: source))
  }

  /// Reads the first of `paths` that can be read: `/etc/repl.conf`, then DRBD's own.
  public static func loadFirst(
    of paths: [String] = defaultPaths, from source: some ConfigurationSource
  ) throws(ConfigurationError) -> Configuration {
    var reasons: [String] = []
    for path in paths {
      do throws(ConfigurationSourceFault) { _ = try source.read(path) } catch {
        reasons.append("\(path) (\(error.reason))")
        continue
      }
      return try load(path, from: source)
    }
    throw ConfigurationError(
      .unreadable, "there is no configuration file: tried \(Words.list(reasons))",
      advice: "Create \(paths.first ?? "one"), or name a file with -c FILE")
  }

  public static let defaultPaths = [
    "/etc/repl.conf", "/etc/drbd-90.conf", "/etc/drbd-84.conf", "/etc/drbd-83.conf", "/etc/drbd-82.conf",
    "/etc/drbd-08.conf", "/etc/drbd.conf",
  ]

  init(_ tree: SyntaxTree) throws(ConfigurationError) {
    syntax = tree
    notices = tree.notices
    globals = GlobalOptions(EffectiveOptions(.global, layers: [tree.globals]))
    resources = []
    for section in tree.resources { resources.append(try ResourceDefinition(section, notices: &notices)) }
    try checkTables()
    try checkConflicts()
    for resource in resources { try checkReferences(of: resource) }
    notices += globalNotices
  }

  /// Text that the person should see, once per command.
  public var noticeText: [String] { notices.map(\.description) }

  private var globalNotices: [ConfigurationNotice] {
    syntax.globals.compactMap(\.notice)
  }
}
