// Everything this target has to say to a person: errors that end a command and remarks that do not. Each says where,
// what and why, and what to type next. Exit codes are those of the admin spec, 2.7 and 6.2.

/// A line of a configuration file.
public struct SourcePosition: Hashable, Sendable, CustomStringConvertible {
  public var file: String
  public var line: Int
  public init(file: String, line: Int) {
    self.file = file
    self.line = line
  }
  public var description: String { "\(file):\(line)" }
}

/// A refusal that the author of the file, or the person at the keyboard, can act on.
public struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What kind of no this is; it decides the exit code.
  public enum Kind: Sendable {
    /// The text does not follow the grammar, or a value is not allowed.
    case syntax
    /// The text is well formed but does not describe a working resource.
    case invalid
    /// A file could not be read.
    case unreadable
    /// The object named on the command line is not in the file, or not for this host.
    case unknownObject
    /// Parsed, understood, and not built: `up` must not pretend.
    case notHonoured
  }

  public var kind: Kind
  public var position: SourcePosition?
  /// What happened and why, without a full stop.
  public var message: String
  /// What the parser would have accepted at this place.
  public var expected: [String] = []
  /// What stood there instead.
  public var found: String?
  /// The word that was probably meant.
  public var suggestion: String?
  /// What to do about it, without a full stop.
  public var advice: String?

  public init(_ kind: Kind, at position: SourcePosition? = nil, _ message: String, advice: String? = nil) {
    self.kind = kind
    self.position = position
    self.message = message
    self.advice = advice
  }

  /// Exit code of the program.
  public var exitCode: Int32 {
    switch kind {
    case .syntax, .invalid, .notHonoured: 10
    case .unknownObject: 1
    case .unreadable: 20
    }
  }

  /// Lines for standard error.
  public var text: String {
    var line = position.map { "\($0): " } ?? ""
    if kind == .syntax { line += "Parse error: " }
    line += message
    if !expected.isEmpty {
      if !message.isEmpty { line += ": " }
      line += "'" + expected.joined(separator: " | ") + "' expected"
    }
    if let found { line += ",\n\tbut got \(found)" }
    if let suggestion { line += "\n\tDid you mean '\(suggestion)'?" }
    if let advice { line += "\n\t\(advice)." }
    return line
  }

  public var description: String { text }
}

/// Something worth saying that does not stop a command.
public struct ConfigurationNotice: Equatable, Sendable, CustomStringConvertible {
  public var position: SourcePosition?
  public var message: String
  public init(at position: SourcePosition?, _ message: String) {
    self.position = position
    self.message = message
  }
  public var description: String { (position.map { "\($0): " } ?? "") + message }
}
