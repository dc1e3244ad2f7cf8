// Where configuration text comes from. This target never opens a file: the caller hands in something that can, and
// tests hand in a dictionary.

/// Reads files and expands shell patterns on behalf of the parser.
public protocol ConfigurationSource {
  /// The text of a file.
  func read(_ path: String) throws(ConfigurationSourceFault) -> String
  /// Absolute paths that match a shell pattern, sorted by name. A relative pattern counts from `directory`.
  func glob(_ pattern: String, relativeTo directory: String) -> [String]
}

/// Why a file could not be read, in the words of the operating system (`No such file or directory`).
public struct ConfigurationSourceFault: Error, Equatable, Sendable {
  public var reason: String
  public init(reason: String) { self.reason = reason }
}

/// Files that exist in memory only.
public struct InMemorySource: ConfigurationSource, Sendable {
  public var files: [String: String]
  public init(_ files: [String: String]) { self.files = files }

  public func read(_ path: String) throws(ConfigurationSourceFault) -> String {
    guard let text = files[path] else { throw ConfigurationSourceFault(reason: "No such file or directory") }
    return text
  }

  /// Knows `*` and `?`; neither matches a slash.
  public func glob(_ pattern: String, relativeTo directory: String) -> [String] {
    let wanted = Array(Paths.join(directory, pattern).utf8)
    return files.keys.filter { Self.matches(Array($0.utf8)[...], wanted[...]) }.sorted()
  }

  private static func matches(_ name: ArraySlice<UInt8>, _ pattern: ArraySlice<UInt8>) -> Bool {
    guard let first = pattern.first else { return name.isEmpty }
    if first == UInt8(ascii: "*") {
      if matches(name, pattern.dropFirst()) { return true }
      guard let character = name.first, character != UInt8(ascii: "/") else { return false }
      return matches(name.dropFirst(), pattern)
    }
    guard let character = name.first else { return false }
    guard first == character || (first == UInt8(ascii: "?") && character != UInt8(ascii: "/")) else { return false }
    return matches(name.dropFirst(), pattern.dropFirst())
  }
}

/// The little arithmetic on paths that includes need.
enum Paths {
  static func directory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "" }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  static func join(_ directory: String, _ path: String) -> String {
    if path.hasPrefix("/") || directory.isEmpty { return path }
    return directory.hasSuffix("/") ? directory + path : directory + "/" + path
  }

  static func lastComponent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return path }
    return String(path[path.index(after: slash)...])
  }
}
