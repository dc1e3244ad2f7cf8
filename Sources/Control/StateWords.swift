// States travel on the control socket as DRBD's words, and volume numbers as numbers: a person can read the line.
import Base

/// A state that is its word on the control socket.
protocol WordCoded: CaseIterable {
  var name: String { get }
}

extension WordCoded {
  init(word decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let word = try container.decode(String.self)
    guard let state = Self.allCases.first(where: { $0.name == word }) else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(word) is no \(Self.self)")
    }
    self = state
  }

  func encodeWord(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(name)
  }
}

extension Role: WordCoded, Codable {
  public init(from decoder: any Decoder) throws { try self.init(word: decoder) }
  public func encode(to encoder: any Encoder) throws { try encodeWord(to: encoder) }
}

extension DiskState: WordCoded, Codable {
  public init(from decoder: any Decoder) throws { try self.init(word: decoder) }
  public func encode(to encoder: any Encoder) throws { try encodeWord(to: encoder) }
}

extension ConnectionState: WordCoded, Codable {
  public init(from decoder: any Decoder) throws { try self.init(word: decoder) }
  public func encode(to encoder: any Encoder) throws { try encodeWord(to: encoder) }
}

extension VolumeNumber: Codable {
  public init(from decoder: any Decoder) throws { self.init(try decoder.singleValueContainer().decode(UInt16.self)) }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(value)
  }
}
