// From a packet value to the bytes in front of its payload. Law: what is written here, `PacketStream` of the same
// version and features reads back as the same value; both walk the same layouts. Nothing is allocated.
import Base

extension Packet {
  /// Bytes that `encode` writes: header, fixed and variable part, without the payload that follows them.
  public func encodedSize(version: UInt32, features: FeatureFlags, payload: Int = 0) -> Int {
    let body = bodySize(version: version, features: features)
    return headerKind(version: version, length: body + payload).size + body
  }

  /// Writes header, fixed and variable part; the length field counts the `payload` bytes that the caller sends right
  /// behind them. Returns the number of bytes written. Packets of the connection carry volume 0.
  public func encode(
    into base: UnsafeMutableRawBufferPointer, version: UInt32, features: FeatureFlags, volume: UInt16, payload: Int = 0
  ) -> Int {
    let code = code(version: version)
    let body = bodySize(version: version, features: features)
    let header = PacketHeader(
      kind: headerKind(version: version, length: body + payload), volume: code.isOfConnection ? 0 : volume,
      command: code.rawValue, length: body + payload)
    precondition(base.count >= header.kind.size + body, "packet does not fit")
    let start = header.write(to: base)
    var writer = LayoutWriter(base, at: start)
    writeBody(&writer, version: version, features: features)
    precondition(writer.offset == start + body, "packet is not as long as its header says")
    return writer.offset
  }

  private func headerKind(version: UInt32, length: Int) -> HeaderKind {
    switch self {
    case .initialData, .initialMeta, .features: .h80
    default: .sending(version: version, length: length)
    }
  }

  private func bodySize(version: UInt32, features: FeatureFlags) -> Int {
    let row = code(version: version).row
    switch self {
    case .authChallenge(let bytes), .authResponse(let bytes), .bitmap(let bytes), .compressedBitmap(let bytes):
      return bytes.count
    case .data(let header), .dataReply(let header), .resyncReply(let header): return row.fixed + header.digest.count
    case .writeSame(let header): return row.fixed + header.data.digest.count
    case .checksumRequest(_, let digest), .verifyReply(_, let digest): return row.fixed + digest.count
    case .protocolOffer(let offer), .protocolUpdate(let offer):
      return row.fixed + (version >= 87 ? offer.integrityAlgorithm.utf8.count + 1 : 0)
    case .syncParameters(let parameters):
      if version == 88 { return row.fixed + parameters.verifyAlgorithm.utf8.count + 1 }
      return row.fixed + row.restLengths(version: version, features: features, integrityDigest: 0).lowerBound
    case .sizes:
      return row.fixed + row.restLengths(version: version, features: features, integrityDigest: 0).lowerBound
    default: return row.fixed
    }
  }

  private func writeBody(_ writer: inout LayoutWriter, version: UInt32, features: FeatureFlags) {
    switch self {
    case .data(var header), .dataReply(var header), .resyncReply(var header):
      header.fields(&writer)
      writer.bytes(header.digest)
    case .trim(var header), .zeroes(var header): header.fields(&writer)
    case .writeSame(var header):
      header.fields(&writer)
      writer.bytes(header.data.digest)
    case .barrier(let handle):
      var layout = BarrierLayout(handle: handle)
      layout.fields(&writer)
    case .barrierAck(var ack): ack.fields(&writer)
    case .outOfSync(var descriptor), .deallocated(var descriptor): descriptor.fields(&writer)

    case .dataRequest(var request), .resyncRequest(var request), .thinRequest(var request),
      .verifyRequest(var request):
      request.fields(&writer)
    case .checksumRequest(var request, let digest), .verifyReply(var request, let digest):
      request.fields(&writer)
      writer.bytes(digest)
    case .bitmap(let bytes), .compressedBitmap(let bytes), .authChallenge(let bytes), .authResponse(let bytes):
      writer.bytes(bytes)

    case .receiveAck(var ack), .writeAck(var ack), .resyncWriteAck(var ack), .superseded(var ack),
      .negativeAck(var ack),
      .negativeDataReply(var ack), .negativeResyncReply(var ack), .verifyResult(var ack), .inSync(var ack),
      .resyncCancel(var ack), .retryWrite(var ack):
      ack.fields(&writer)

    case .features(var features): features.fields(&writer)
    case .protocolOffer(var offer), .protocolUpdate(var offer):
      offer.fields(&writer)
      if version >= 87 { writer.terminated(offer.integrityAlgorithm) }
    case .syncParameters(let parameters):
      var layout = SyncParametersLayout(
        parameters: parameters, verify: PaddedName(parameters.verifyAlgorithm),
        checksum: PaddedName(parameters.checksumAlgorithm))
      layout.fields(&writer, version: version)
      if version == 88 { writer.terminated(parameters.verifyAlgorithm) }
    case .sizes(var sizes): sizes.fields(&writer, withLimits: features.contains(.writeSame))
    case .uuids(var identifiers): identifiers.fields(&writer)
    case .state(var state): writer.u32(&state.word)
    case .syncUUID(var identifier): writer.u64(&identifier)
    case .stateChangeRequest(var change), .connectionChangeRequest(var change): change.fields(&writer)
    case .stateChangeReply(let result), .connectionChangeReply(let result):
      var word = UInt32(bitPattern: result)
      writer.u32(&word)

    case .skipped: writer.pad(code(version: version).row.fixed)
    case .initialData, .initialMeta, .unplugRemote, .ping, .pingAck: break
    }
  }
}

extension LayoutWriter {
  fileprivate mutating func bytes(_ bytes: [UInt8]) {
    for var byte in bytes { u8(&byte) }
  }

  /// A name of at most 63 bytes and its NUL.
  fileprivate mutating func terminated(_ name: String) {
    precondition(name.utf8.count <= PaddedName.longest, "name too long for the wire")
    for var byte in name.utf8 { u8(&byte) }
    pad(1)
  }
}
