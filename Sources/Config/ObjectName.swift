// How a command line names what it is about (admin spec 4): `all`, `RES`, `RES/VOL`, `RES:PEER`, `RES:PEER/VOL`,
// `minor-N`. A wider name stands for everything inside it.

public enum ObjectName: Hashable, Sendable, CustomStringConvertible {
  case all
  case resource(String)
  case volume(String, Int)
  case peer(String, String)
  case peerVolume(String, String, Int)
  case minor(Int)

  /// Reads a name; a resource may be called anything but `all`, and `minor-` with digits behind it is a minor.
  public init(_ text: String) throws(ConfigurationError) {
    if text == "all" {
      self = .all
      return
    }
    if text.hasPrefix("minor-"), let minor = Self.number(text.dropFirst(6)) {
      self = .minor(minor)
      return
    }
    let halves = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let names = halves[0].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    var volume: Int?
    if halves.count == 2 {
      guard let number = Self.number(halves[1]), number <= 65534 else {
        throw Self.refusal(text, "'\(Lexer.printable(String(halves[1])))' is not a volume number 0..65534")
      }
      volume = number
    }
    guard names.allSatisfy({ !$0.isEmpty }) else { throw Self.refusal(text, "a name is missing") }
    switch (names.count, volume) {
    case (1, nil): self = .resource(names[0])
    case (1, let volume?): self = .volume(names[0], volume)
    case (_, nil): self = .peer(names[0], names[1])
    case (_, let volume?): self = .peerVolume(names[0], names[1], volume)
    }
  }

  /// The resource named, if the name says one.
  public var resourceName: String? {
    switch self {
    case .all, .minor: nil
    case .resource(let name), .volume(let name, _), .peer(let name, _), .peerVolume(let name, _, _): name
    }
  }

  public var description: String {
    switch self {
    case .all: "all"
    case .resource(let name): name
    case .volume(let name, let volume): "\(name)/\(volume)"
    case .peer(let name, let peer): "\(name):\(peer)"
    case .peerVolume(let name, let peer, let volume): "\(name):\(peer)/\(volume)"
    case .minor(let minor): "minor-\(minor)"
    }
  }

  private static func number(_ text: Substring) -> Int? {
    guard (1...7).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return Int(text)
  }

  private static func refusal(_ text: String, _ why: String) -> ConfigurationError {
    ConfigurationError(
      .unknownObject, "'\(Lexer.printable(text))' does not name a resource, volume or connection: \(why)",
      advice: "Name it as RES, RES/VOLUME, RES:PEER, RES:PEER/VOLUME, minor-N or all")
  }
}
