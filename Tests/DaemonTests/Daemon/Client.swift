// A small NBD client with simple replies: one request at a time, answered by data or by an error number.
import Base
import Testing

final class Client {
  struct Refused: Error, Equatable {
    var error: UInt32
  }

  let wire: Wire
  private(set) var size: UInt64 = 0
  private(set) var flags: UInt64 = 0
  private(set) var minimumBlock: UInt64 = 0
  private var cookie: UInt64 = 0

  /// Greets and asks for the export; throws the text of a refusal as `Denied`.
  struct Denied: Error, Equatable {
    var text: String
  }

  convenience init(_ path: String) throws { try self.init(Wire(unix: path)) }

  init(_ wire: Wire) throws {
    self.wire = wire
    _ = try wire.receive(18)
    try wire.send(big(UInt32(3)))
    // GO with the empty name and no information requests.
    try wire.send(
      big(UInt64(0x4948_4156_454f_5054)) + big(UInt32(7)) + big(UInt32(6)) + big(UInt32(0)) + big(UInt16(0)))
    while true {
      _ = try wire.receive(12)
      let type = number(try wire.receive(4))
      let data = try wire.receive(Int(number(try wire.receive(4))))
      switch type {
      case 1: return
      case 3 where data.count == 12:
        size = number(Array(data[2..<10]))
        flags = number(Array(data[10..<12]))
      case 3: if data.count == 14 { minimumBlock = number(Array(data[2..<6])) }
      default: throw Denied(text: String(decoding: data, as: UTF8.self))
      }
    }
  }

  private func number(_ bytes: [UInt8]) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

  static func head(_ type: UInt16, _ flags: UInt16 = 0, cookie: UInt64, _ offset: UInt64, _ length: Int) -> [UInt8] {
    big(UInt32(0x2560_9513)) + big(flags) + big(type) + big(cookie) + big(offset) + big(UInt32(length))
  }

  private func request(_ type: UInt16, _ flags: UInt16, _ offset: UInt64, _ length: Int, _ payload: [UInt8] = []) throws
  {
    cookie += 1
    try wire.send(Client.head(type, flags, cookie: cookie, offset, length) + payload)
    _ = try wire.receive(4)
    let error = UInt32(number(try wire.receive(4)))
    #expect(number(try wire.receive(8)) == cookie)
    if error != 0 { throw Refused(error: error) }
  }

  func write(_ bytes: [UInt8], at offset: UInt64, fua: Bool = false) throws {
    try request(1, fua ? 1 : 0, offset, bytes.count, bytes)
  }

  func read(_ count: Int, at offset: UInt64) throws -> [UInt8] {
    try request(0, 0, offset, count)
    return try wire.receive(count)
  }

  func flush() throws { try request(3, 0, 0, 0) }
  func trim(_ count: Int, at offset: UInt64, fua: Bool = false) throws { try request(4, fua ? 1 : 0, offset, count) }
  func zero(_ count: Int, at offset: UInt64, fua: Bool = false) throws { try request(6, fua ? 1 : 0, offset, count) }

  /// Says goodbye; the server closes.
  func leave() throws {
    try wire.send(
      big(UInt32(0x2560_9513)) + big(UInt16(0)) + big(UInt16(2)) + big(UInt64(9)) + big(UInt64(0)) + big(UInt32(0)))
    #expect(wire.hasEnded())
  }
}

func big<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }

/// Bytes that tell where they belong and when they were written.
func pattern(_ count: Int, _ seed: UInt64) -> [UInt8] {
  var generator = SeededGenerator(seed: seed)
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count)
  while bytes.count < count { withUnsafeBytes(of: generator.next()) { bytes += $0 } }
  return Array(bytes[..<count])
}
