// Fixed newstyle negotiation: greeting, client flags, options until one enters transmission. Takes whole options only,
// so it keeps no bytes: what is incomplete stays with the caller. Every length is checked before its bytes are read.

import Base

/// Why a connection ends. The text goes to the log.
public enum HangUp: Equatable, Sendable {
  case clientLeft
  case unknownClientFlags
  case wrongOptionMagic
  case optionTooLong
  case tooManyOptions
  case optionNeedsFixedNewstyle
  case exportRefused
  case wrongRequestMagic
  /// A read failed after the head of its simple reply had been sent: the protocol leaves no other way to say so.
  case lateReadFault
  case closed

  public var text: String {
    switch self {
    case .clientLeft: "the client left"
    case .unknownClientFlags: "client flags that the protocol does not know"
    case .wrongOptionMagic: "an option without its magic number"
    case .optionTooLong: "an option longer than 64 KiB"
    case .tooManyOptions: "more options than a client needs"
    case .optionNeedsFixedNewstyle: "an option other than EXPORT_NAME from a client without fixed newstyle"
    case .exportRefused: "an export that is not there or not served here, asked for with EXPORT_NAME"
    case .wrongRequestMagic: "a request without its magic number"
    case .lateReadFault: "a large read failed after part of it had been sent"
    case .closed: "closed on this side"
    }
  }
}

struct Handshake: Sendable {
  /// What one unit of the conversation led to.
  enum Outcome: Equatable {
    /// Too few bytes for the next unit.
    case incomplete
    case consumed(Int)
    /// The option is too long to be understood and was answered; its data, `drain` bytes, are to be thrown away.
    case drain(consumed: Int, drain: UInt32)
    case enter(consumed: Int, export: Int)
    case leave
    case hangUp(HangUp)
  }

  static let optionHeadBytes = 16
  /// Longest option data that is looked at. Two names and a few hundred queries fit.
  static let longestUnderstood: UInt32 = 16 << 10
  static let longestAccepted: UInt32 = 64 << 10
  static let mostOptions = 256

  private(set) var structuredReplies = false
  private var hasClientFlags = false
  private var fixedNewstyle = false
  private var noZeroes = false
  private var options = 0
  /// The export for which base:allocation was selected last.
  private var contextExport: Int?

  func allocationContext(for export: Int) -> Bool { structuredReplies && contextExport == export }

  static func greet(_ out: inout Outbox) {
    out.integer(Magic.greeting)
    out.integer(Magic.option)
    out.integer(UInt16(GreetingFlags.fixedNewstyle | GreetingFlags.noZeroes))
  }

  /// Reads the unit at the front of `bytes`.
  mutating func receive(_ bytes: RawSpan, at start: Int, exports: [Export], _ out: inout Outbox) -> Outcome {
    var reader = LayoutReader(bytes, at: start)
    guard hasClientFlags else {
      var flags: UInt32 = 0
      reader.u32(&flags)
      return reader.short ? .incomplete : take(clientFlags: flags)
    }
    var magic: UInt64 = 0
    var option: UInt32 = 0
    var length: UInt32 = 0
    reader.u64(&magic)
    if reader.short { return .incomplete }
    guard magic == Magic.option else { return .hangUp(.wrongOptionMagic) }
    reader.u32(&option)
    reader.u32(&length)
    if reader.short { return .incomplete }
    if !fixedNewstyle, option != HandshakeOption.exportName.rawValue { return .hangUp(.optionNeedsFixedNewstyle) }
    if length > Handshake.longestAccepted {
      out.option(option, OptionReply.tooBig, "an option may carry 64 KiB at most")
      return .hangUp(.optionTooLong)
    }
    options += 1
    if options > Handshake.mostOptions { return .hangUp(.tooManyOptions) }
    guard let known = HandshakeOption(rawValue: option) else {
      out.option(option, OptionReply.unsupported)
      return .drain(consumed: Handshake.optionHeadBytes, drain: length)
    }
    if length > Handshake.longestUnderstood {
      if known == .exportName { return .hangUp(.exportRefused) }
      out.option(option, OptionReply.tooBig, "this option may carry 16 KiB at most")
      return .drain(consumed: Handshake.optionHeadBytes, drain: length)
    }
    guard bytes.byteCount - start - Handshake.optionHeadBytes >= Int(length) else { return .incomplete }
    let data = OptionData(bytes, at: start + Handshake.optionHeadBytes, count: Int(length))
    return answer(known, data, consumed: Handshake.optionHeadBytes + Int(length), exports, &out)
  }

  private mutating func take(clientFlags flags: UInt32) -> Outcome {
    guard flags & ~(GreetingFlags.fixedNewstyle | GreetingFlags.noZeroes) == 0 else {
      return .hangUp(.unknownClientFlags)
    }
    hasClientFlags = true
    fixedNewstyle = flags & GreetingFlags.fixedNewstyle != 0
    noZeroes = flags & GreetingFlags.noZeroes != 0
    return .consumed(4)
  }

  private mutating func answer(
    _ option: HandshakeOption, _ data: borrowing OptionData, consumed: Int, _ exports: [Export], _ out: inout Outbox
  ) -> Outcome {
    switch option {
    case .exportName:
      guard let name = data.text(at: 0, count: data.count), let index = find(name, in: exports),
        exports[index].refusal == nil
      else { return .hangUp(.exportRefused) }
      out.integer(exports[index].size)
      out.integer(exports[index].flags(structuredReplies: structuredReplies))
      if !noZeroes { for _ in 0..<124 { out.byte(0) } }
      return .enter(consumed: consumed, export: index)
    case .abort:
      out.option(option.rawValue, OptionReply.ack)
      return .leave
    case .list:
      list(data, exports, &out)
    case .info, .go:
      if let index = inform(option, data, exports, &out), option == .go {
        return .enter(consumed: consumed, export: index)
      }
    case .structuredReply:
      if data.count == 0 {
        structuredReplies = true
        out.option(option.rawValue, OptionReply.ack)
      } else {
        out.option(option.rawValue, OptionReply.invalid, "STRUCTURED_REPLY carries no data")
      }
    case .listMetaContext, .setMetaContext:
      contexts(option, data, exports, &out)
    }
    return .consumed(consumed)
  }

  /// The empty name is the first export.
  private func find(_ name: String, in exports: [Export]) -> Int? {
    if name.isEmpty { return exports.isEmpty ? nil : 0 }
    return exports.firstIndex { $0.name == name }
  }

  private func list(_ data: borrowing OptionData, _ exports: [Export], _ out: inout Outbox) {
    let option = HandshakeOption.list.rawValue
    guard data.count == 0 else {
      out.option(option, OptionReply.invalid, "LIST carries no data")
      return
    }
    for export in exports {
      let length = export.name.utf8.count
      out.option(option, OptionReply.server, bytes: 4 + length)
      out.integer(UInt32(length))
      out.text(export.name)
    }
    out.option(option, OptionReply.ack)
  }

  /// INFO and GO. Returns the export when it is there and served here.
  private func inform(
    _ option: HandshakeOption, _ data: borrowing OptionData, _ exports: [Export], _ out: inout Outbox
  ) -> Int? {
    var at = 0
    guard let name = data.string(&at), let requests = data.u16(&at), data.count == at + 2 * Int(requests) else {
      out.option(option.rawValue, OptionReply.invalid, "lengths do not add up")
      return nil
    }
    var wantsName = false
    for _ in 0..<requests where data.u16(&at) == Info.name { wantsName = true }
    guard let index = find(name, in: exports) else {
      out.option(option.rawValue, OptionReply.unknown, "no such export here: ask with LIST for those there are")
      return nil
    }
    let export = exports[index]
    if let refusal = export.refusal {
      out.option(option.rawValue, OptionReply.policy, refusal)
      return nil
    }
    out.option(option.rawValue, OptionReply.info, bytes: 12)
    out.integer(Info.export)
    out.integer(export.size)
    out.integer(export.flags(structuredReplies: structuredReplies))
    out.option(option.rawValue, OptionReply.info, bytes: 14)
    out.integer(Info.blockSize)
    out.integer(export.minimumBlock)
    out.integer(Export.preferredBlock)
    out.integer(Export.maximumBlock)
    if wantsName {
      out.option(option.rawValue, OptionReply.info, bytes: 2 + export.name.utf8.count)
      out.integer(Info.name)
      out.text(export.name)
    }
    out.option(option.rawValue, OptionReply.ack)
    return index
  }

  /// LIST_META_CONTEXT and SET_META_CONTEXT. Each SET replaces the selection of the one before, also when it fails.
  private mutating func contexts(
    _ option: HandshakeOption, _ data: borrowing OptionData, _ exports: [Export], _ out: inout Outbox
  ) {
    let setting = option == .setMetaContext
    if setting { contextExport = nil }
    guard structuredReplies else {
      out.option(option.rawValue, OptionReply.invalid, "negotiate STRUCTURED_REPLY first")
      return
    }
    var at = 0
    guard let name = data.string(&at), let queries = data.u32(&at) else {
      out.option(option.rawValue, OptionReply.invalid, "lengths do not add up")
      return
    }
    var wanted = queries == 0 && !setting
    for _ in 0..<queries {  // each query takes at least 4 of the bytes that are there: bounded by their number
      guard let query = data.string(&at) else {
        out.option(option.rawValue, OptionReply.invalid, "lengths do not add up")
        return
      }
      if query == AllocationContext.name || (!setting && query == AllocationContext.namespace) { wanted = true }
    }
    guard at == data.count else {
      out.option(option.rawValue, OptionReply.invalid, "lengths do not add up")
      return
    }
    guard let index = find(name, in: exports) else {
      out.option(option.rawValue, OptionReply.unknown, "no such export here: ask with LIST for those there are")
      return
    }
    if wanted {
      if setting { contextExport = index }
      out.option(option.rawValue, OptionReply.metaContext, bytes: 4 + AllocationContext.name.utf8.count)
      out.integer(setting ? AllocationContext.id : 0)
      out.text(AllocationContext.name)
    }
    out.option(option.rawValue, OptionReply.ack)
  }
}

/// The data of one option: reads that run past its end give nil, whatever lies behind it.
struct OptionData: ~Escapable {
  private let bytes: RawSpan
  private let start: Int
  let count: Int

  @_lifetime(copy bytes)
  init(_ bytes: RawSpan, at start: Int, count: Int) {
    precondition(start >= 0 && count >= 0 && start + count <= bytes.byteCount, "option data out of range")
    self.bytes = bytes
    self.start = start
    self.count = count
  }

  func u16(_ at: inout Int) -> UInt16? {
    guard at + 2 <= count else { return nil }
    defer { at += 2 }
    return UInt16(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: start + at, as: UInt16.self))
  }

  func u32(_ at: inout Int) -> UInt32? {
    guard at + 4 <= count else { return nil }
    defer { at += 4 }
    return UInt32(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: start + at, as: UInt32.self))
  }

  /// A 32-bit length and that many bytes.
  func string(_ at: inout Int) -> String? {
    var next = at
    guard let length = u32(&next), let text = text(at: next, count: Int(length)) else { return nil }
    at = next + Int(length)
    return text
  }

  func text(at offset: Int, count length: Int) -> String? {
    guard length <= Int(longestString), offset + length <= count else { return nil }
    var units: [UInt8] = []
    units.reserveCapacity(length)
    for i in 0..<length {
      units.append(bytes.unsafeLoadUnaligned(fromByteOffset: start + offset + i, as: UInt8.self))
    }
    return String(decoding: units, as: UTF8.self)
  }
}
