// The top level of a file: global, common, resource, include, skip and version requirements.

extension Parser {
  /// The version of DRBD's module whose behaviour this product stands for; `require-drbd-module-version-*` asks for it.
  static let moduleVersion = [9, 2, 9]

  private static let requirements = ["eq", "ne", "gt", "ge", "lt", "le"]
  private static let requirePrefix = "require-drbd-module-version-"
  private static let statements =
    ["global", "common", "resource", "skip", "include"] + requirements.map { requirePrefix + $0 }

  mutating func file() throws(ConfigurationError) {
    while token.kind != .end {
      guard token.kind == .word, Self.statements.contains(token.text) else {
        throw unexpected(expected: Self.statements)
      }
      let keyword = token
      let position = here
      switch keyword.text {
      case "skip": try skip()
      case "global":
        try advance()
        try global(at: position)
      case "common":
        try advance()
        let section = try common(at: position)
        if let first = tree.common { throw conflict("the common section", first: first.position) }
        tree.common = section
      case "resource":
        try advance()
        let name = try resourceName()
        if let first = tree.resources.first(where: { $0.name == name }) {
          throw conflict("resource '\(name)'", first: first.position)
        }
        tree.resources.append(try resource(name, at: position))
      case "include":
        try advance()
        try include(at: position)
      default:
        try advance()
        try requireVersion(String(keyword.text.dropFirst(Self.requirePrefix.utf8.count)), at: position)
      }
    }
  }

  /// `skip ANYTHING { BALANCED TEXT }`.
  mutating func skip() throws(ConfigurationError) {
    try advance()
    while !isAt("{") {
      guard token.kind == .word || token.kind == .quoted else { throw unexpected(expected: ["{"]) }
      try advance()
    }
    try lexer.skipBalanced()
    try advance()
  }

  private mutating func global(at position: SourcePosition) throws(ConfigurationError) {
    if let first = tree.globalPosition { throw conflict("the global section", first: first) }
    if !tree.resources.isEmpty {
      tree.notices.append(
        ConfigurationNotice(at: position, "the global section should stand in front of the resources"))
    }
    tree.globalPosition = position
    tree.globals = try options(in: .global)
  }

  static func isKeyword(_ word: String) -> Bool {
    statements.contains(word) || resourceItems.contains(word) || hostItems.contains(word)
  }

  /// The name of something new. A keyword has to be quoted, so that a forgotten name is noticed.
  mutating func newName(_ what: String) throws(ConfigurationError) -> String {
    guard token.kind == .quoted || (token.kind == .word && !Self.isKeyword(token.text)) else {
      throw unexpected(
        expected: ["name of the \(what)"],
        advice: token.kind == .word ? "Put the name in double quotes if it really is '\(token.text)'" : nil)
    }
    guard !token.text.isEmpty, !token.text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else {
      throw fault("the name of the \(what) is empty or contains control characters", at: here)
    }
    return try text("name of the \(what)")
  }

  /// A resource is named in commands (`RES/VOLUME`, `RES:PEER`) and in file names, so not every text will do.
  private mutating func resourceName() throws(ConfigurationError) -> String {
    let position = here
    let name = try newName("resource")
    guard !name.contains("/"), !name.contains(":"), name != "all", name != ".", name != ".." else {
      throw fault(
        "a resource can not be called '\(Lexer.printable(name))': no command could name it", at: position,
        advice: "Use a name without '/' and ':', other than 'all'")
    }
    return name
  }

  // MARK: include

  private mutating func include(at position: SourcePosition) throws(ConfigurationError) {
    let pattern = try text("file name or pattern")
    guard isAt(";") else {
      throw unexpected(expected: [";"], advice: "Put a pattern in double quotes, like include \"drbd.d/*.res\"")
    }
    let directory = Paths.directory(of: lexer.file)
    let isPattern = pattern.contains { "*?[".contains($0) }
    var paths = isPattern ? source.glob(pattern, relativeTo: directory) : [Paths.join(directory, pattern)]
    paths.removeAll { visited.contains($0) }
    for path in paths { try include(path, at: position) }
    try expect(";")
  }

  private mutating func include(_ path: String, at position: SourcePosition) throws(ConfigurationError) {
    guard depth < Self.deepestInclude else {
      throw fault(
        "includes are nested deeper than \(Self.deepestInclude) files", at: position,
        advice: "Include the files from the main file instead")
    }
    let content = try content(of: path, "include", at: position)
    visited.insert(path)
    var inner = try Parser(source, path, content, depth: depth + 1, visited: visited, tree: tree)
    try inner.file()
    tree = inner.tree
    visited = inner.visited
  }

  /// The text of a file that another file names.
  func content(of path: String, _ what: String, at position: SourcePosition) throws(ConfigurationError) -> String {
    do throws(ConfigurationSourceFault) { return try source.read(path) } catch {
      throw ConfigurationError(
        .invalid, at: position, "failed to open \(what) file '\(path)': \(error.reason)",
        advice: "Correct the name, or create the file")
    }
  }

  // MARK: version requirements

  private mutating func requireVersion(_ relation: String, at position: SourcePosition) throws(ConfigurationError) {
    let text = try text("version like 9.0.16")
    let parts = text.split(separator: ".", omittingEmptySubsequences: false).map { $0.utf8.count <= 4 ? Int($0) : nil }
    guard (2...3).contains(parts.count), parts.allSatisfy({ $0 != nil && $0! >= 0 }) else {
      throw fault("'\(Lexer.printable(text))' is not a version", at: position, advice: "Write it like 9.0.16")
    }
    let wanted = parts.map { $0 ?? 0 } + (parts.count == 2 ? [0] : [])
    let less = Self.moduleVersion.lexicographicallyPrecedes(wanted)
    let same = Self.moduleVersion == wanted
    let holds =
      switch relation {
      case "eq": same
      case "ne": !same
      case "gt": !less && !same
      case "ge": !less
      case "lt": less
      default: less || same
      }
    guard holds else {
      let mine = Self.moduleVersion.map(String.init).joined(separator: ".")
      throw ConfigurationError(
        .invalid, at: position, "the file requires a module version \(relation) \(text), and this stands for \(mine)",
        advice: "Remove the line, or the part of the configuration that needs it")
    }
    try expect(";")
  }
}
