// From the bytes behind a header to a packet value. The stream has checked the length; what is checked here are the
// values that no engine could use: sizes that are no whole sectors, names that are no names.
import Base

struct PacketBody {
  let code: PacketCode
  /// Fixed and variable part.
  let length: Int
  let socket: SocketKind

  /// Longest discard or write-zeroes; the limit of the kernel's receiver, whatever features are agreed.
  static let longestRange: UInt32 = 128 << 20

  func packet(
    from bytes: RawSpan, at offset: Int, version: UInt32, features: FeatureFlags, integrityDigest: Int
  ) throws(ProtocolViolation) -> Packet {
    switch code {
    case .data: .data(block(bytes, offset))
    case .dataReply: .dataReply(block(bytes, offset))
    case .resyncReply: .resyncReply(block(bytes, offset))
    case .trim: .trim(try range(bytes, offset))
    case .zeroes: .zeroes(try range(bytes, offset))
    case .writeSame: .writeSame(try range(bytes, offset))
    case .barrier: .barrier((bytes.layout(at: offset) as BarrierLayout).handle)
    case .barrierAck: .barrierAck(bytes.layout(at: offset))
    case .unplugRemote: .unplugRemote
    case .outOfSync: .outOfSync(try descriptor(bytes, offset))
    case .deallocated: .deallocated(try descriptor(bytes, offset))

    case .dataRequest: .dataRequest(try request(bytes, offset, version))
    case .resyncRequest: .resyncRequest(try request(bytes, offset, version))
    case .thinRequest: .thinRequest(try request(bytes, offset, version))
    case .verifyRequest: .verifyRequest(try request(bytes, offset, version))
    case .checksumRequest:
      .checksumRequest(try request(bytes, offset, version), digest: tail(bytes, offset, from: BlockRequest.size))
    case .verifyReply:
      .verifyReply(try request(bytes, offset, version), digest: tail(bytes, offset, from: BlockRequest.size))
    case .bitmap: .bitmap(try words(bytes, offset))
    case .compressedBitmap: .compressedBitmap(tail(bytes, offset, from: 0))

    case .receiveAck: .receiveAck(bytes.layout(at: offset))
    case .writeAck: .writeAck(bytes.layout(at: offset))
    case .resyncWriteAck: .resyncWriteAck(bytes.layout(at: offset))
    case .superseded: .superseded(bytes.layout(at: offset))
    case .negativeAck: .negativeAck(bytes.layout(at: offset))
    case .negativeDataReply: .negativeDataReply(bytes.layout(at: offset))
    case .negativeResyncReply: .negativeResyncReply(bytes.layout(at: offset))
    case .verifyResult: .verifyResult(bytes.layout(at: offset))
    case .inSync: .inSync(bytes.layout(at: offset))
    case .resyncCancel: .resyncCancel(bytes.layout(at: offset))
    case .retryWrite: .retryWrite(bytes.layout(at: offset))
    case .ping: .ping
    case .pingAck: .pingAck

    case .initialMeta: .initialMeta
    case .initialData: .initialData
    case .features: .features(bytes.layout(at: offset))
    case .authChallenge: .authChallenge(tail(bytes, offset, from: 0))
    case .authResponse: .authResponse(tail(bytes, offset, from: 0))
    case .protocolOffer: .protocolOffer(try offer(bytes, offset))
    case .protocolUpdate: .protocolUpdate(try offer(bytes, offset))
    case .syncParam, .syncParam89: .syncParameters(try parameters(bytes, offset, version))
    case .sizes: .sizes(sizes(bytes, offset, withLimits: features.contains(.writeSame)))
    case .uuids: .uuids(bytes.layout(at: offset))
    case .state: .state(PackedState(word: (bytes.layout(at: offset) as Word).value))
    case .syncUUID: .syncUUID((bytes.layout(at: offset) as LongWord).value)
    case .stateChangeRequest: .stateChangeRequest(bytes.layout(at: offset))
    case .connectionChangeRequest: .connectionChangeRequest(bytes.layout(at: offset))
    case .stateChangeReply: .stateChangeReply(Int32(bitPattern: (bytes.layout(at: offset) as Word).value))
    case .connectionChangeReply: .connectionChangeReply(Int32(bitPattern: (bytes.layout(at: offset) as Word).value))
    case .delayProbe, .enableReplication, .enableReplicationNext: .skipped(code.rawValue)
    }
  }

  private func bad(_ problem: String) -> ProtocolViolation {
    .badField(packet: code.row.name.description, problem: problem, on: socket)
  }

  /// The variable part: everything from `start` on, counted from the end of the header.
  private func tail(_ bytes: RawSpan, _ offset: Int, from start: Int) -> [UInt8] {
    let count = length - start
    guard count > 0 else { return [] }
    let from = bytes.extracting((offset + start)..<(offset + length))
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      from.withUnsafeBytes { UnsafeMutableRawBufferPointer(buffer).copyMemory(from: $0) }
      initialized = count
    }
  }

  private func block(_ bytes: RawSpan, _ offset: Int) -> DataHeader {
    var header: DataHeader = bytes.layout(at: offset)
    header.digest = tail(bytes, offset, from: 24)
    return header
  }

  private func range(_ bytes: RawSpan, _ offset: Int) throws(ProtocolViolation) -> RangeHeader {
    var header: RangeHeader = bytes.layout(at: offset)
    guard header.size > 0, header.size % 512 == 0, header.size <= Self.longestRange else {
      throw bad("a range of \(header.size) bytes")
    }
    header.data.digest = tail(bytes, offset, from: 28)
    return header
  }

  /// Nobody may ask for more than one packet of the agreed version can carry back.
  private func request(
    _ bytes: RawSpan, _ offset: Int, _ version: UInt32
  ) throws(ProtocolViolation) -> BlockRequest {
    let request: BlockRequest = bytes.layout(at: offset)
    guard request.size > 0, request.size % 512 == 0, Int(request.size) <= PacketRow.longestBlock(version: version)
    else {
      throw bad("a size of \(request.size) bytes")
    }
    return request
  }

  private func descriptor(_ bytes: RawSpan, _ offset: Int) throws(ProtocolViolation) -> BlockDescriptor {
    let descriptor: BlockDescriptor = bytes.layout(at: offset)
    guard descriptor.size > 0, descriptor.size % 512 == 0, descriptor.size <= Self.longestRange else {
      throw bad("a size of \(descriptor.size) bytes")
    }
    return descriptor
  }

  private func words(_ bytes: RawSpan, _ offset: Int) throws(ProtocolViolation) -> [UInt8] {
    guard length % 8 == 0 else { throw bad("\(length) bytes, which are no whole 64-bit words") }
    return tail(bytes, offset, from: 0)
  }

  private func offer(_ bytes: RawSpan, _ offset: Int) throws(ProtocolViolation) -> ProtocolOffer {
    var offer: ProtocolOffer = bytes.layout(at: offset)
    guard length > ProtocolOffer.size else { return offer }
    offer.integrityAlgorithm = try name(tail(bytes, offset, from: ProtocolOffer.size), "integrity algorithm")
    return offer
  }

  private func parameters(
    _ bytes: RawSpan, _ offset: Int, _ version: UInt32
  ) throws(ProtocolViolation) -> SyncParameters {
    var layout = SyncParametersLayout()
    var reader = LayoutReader(bytes, at: offset)
    layout.fields(&reader, version: version)
    precondition(!reader.short, "layout read beyond the packet")
    var parameters = layout.parameters
    if version >= 89 {
      guard let verify = layout.verify.name else { throw bad("a verify algorithm that is no name") }
      guard let checksum = layout.checksum.name else { throw bad("a checksum algorithm that is no name") }
      parameters.verifyAlgorithm = verify
      parameters.checksumAlgorithm = checksum
    } else if length > 4 {
      parameters.verifyAlgorithm = try name(tail(bytes, offset, from: 4), "verify algorithm")
    }
    return parameters
  }

  private func sizes(_ bytes: RawSpan, _ offset: Int, withLimits: Bool) -> Sizes {
    var sizes = Sizes()
    var reader = LayoutReader(bytes, at: offset)
    sizes.fields(&reader, withLimits: withLimits)
    precondition(!reader.short, "layout read beyond the packet")
    return sizes
  }

  private func name(_ bytes: [UInt8], _ what: String) throws(ProtocolViolation) -> String {
    guard let name = wireName(count: bytes.count, at: { bytes[$0] }) else { throw bad("a \(what) that is no name") }
    return name
  }
}

/// One 32-bit number.
struct Word: Layout {
  var value: UInt32 = 0
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) { walk.u32(&value) }
}

/// One 64-bit number.
struct LongWord: Layout {
  var value: UInt64 = 0
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) { walk.u64(&value) }
}

/// P_BARRIER: opaque handle and a pad.
struct BarrierLayout: Layout {
  var handle: UInt32 = 0
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.opaque32(&handle)
    walk.pad(4)
  }
}
