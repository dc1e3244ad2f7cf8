// What the parser lets through and what it refuses: header kinds, sockets, versions, features and lengths, one by one.
import Base
import Protocol
import Testing

@Suite("Packet stream")
struct PacketStreamTests {
  // MARK: Headers

  @Test("before agreement only the 8-byte header and the set-up packets pass")
  func beforeAgreement() throws {
    let fresh = PacketStream(socket: .undecided)
    #expect(try fresh.only(hex("83740267 fff20000")).packet == .initialData)
    #expect(try fresh.only(hex("83740267 fff10000")).packet == .initialMeta)
    #expect(violation(fresh, hex("83740267 00130000")) == .unexpectedPacket(packet: "P_PING", on: .undecided))
    #expect(violation(fresh, hex("835afff2 00000000")) == .wrongMagic(0x835a_fff2, on: .undecided))
    #expect(violation(fresh, hex("8620ec20 0000fff2 00000000 00000000")) == .wrongMagic(0x8620_ec20, on: .undecided))
    #expect(violation(fresh, Array("GET / HTTP/1.1\r\n".utf8)) == .wrongMagic(0x4745_5420, on: .undecided))
    let data = PacketStream(socket: .data)
    #expect(violation(data, hex("83740267 fff20000")) == .unexpectedPacket(packet: "P_INITIAL_DATA", on: .data))
    #expect(violation(data, hex("83740267 000e0004 00000000")) == .unexpectedPacket(packet: "P_STATE", on: .data))
  }

  @Test("after agreement the set-up packets are refused")
  func afterAgreement() {
    let features = Packet.features(Features()).encoded()
    #expect(violation(.agreed(.data), features) == .wrongMagic(0x8374_0267, on: .data))
    #expect(
      violation(.agreed(.data, version: 94), features)
        == .unexpectedPacket(packet: "P_CONNECTION_FEATURES", on: .data))
  }

  @Test("from version 100 on only the 16-byte header passes, and its pad is zero")
  func header100() throws {
    let stream = PacketStream.agreed(.meta)
    #expect(try stream.only(hex("8620ec20 ffff0013 00000000 00000000")).packet == .ping)
    #expect(try stream.only(hex("8620ec20 ffff0013 00000000 00000000")).volume == 0xffff)
    #expect(violation(stream, hex("8620ec20 00000013 00000000 00000001")) == .padNotZero(1, on: .meta))
    #expect(violation(stream, hex("83740267 00130000 83740267 00130000")) == .wrongMagic(0x8374_0267, on: .meta))
  }

  @Test("at 95...99 short packets get h80 and long ones h95, below 95 all get h80")
  func header95() throws {
    var header = DataHeader()
    header.sector = 8
    let short = Packet.data(header).encoded(version: 96, payload: 32768 - 512)
    #expect(Array(short.prefix(8)) == hex("83740267 00007e18"))
    // 32768 + 24 is more than 32768.
    let long = Packet.data(header).encoded(version: 96, payload: 32768)
    #expect(Array(long.prefix(8)) == hex("835a0000 00008018"))
    #expect(Array(Packet.data(header).encoded(version: 94, payload: 32768).prefix(8)) == hex("83740267 00008018"))
    for bytes in [short, long] {
      let found = try PacketStream.agreed(.data, version: 99).only(bytes)
      #expect(found.packet == .data(header))
    }
  }

  // MARK: Sockets, versions, features

  @Test("every packet passes on its own socket only")
  func sockets() {
    for code in PacketCode.allCases {
      let row = code.row
      for socket in [SocketKind.data, .meta] {
        let bytes = header(code, length: 0)
        let refused = violation(.agreed(socket), bytes)
        let unexpected =
          refused == .unexpectedPacket(packet: row.name.description, on: socket)
          || refused == .unknownPacket(code: code.rawValue, on: socket)
        switch row.place {
        case .data: #expect(unexpected == (socket == .meta || row.versions.upperBound < 101), "\(row.name)")
        case .meta: #expect(unexpected == (socket == .data), "\(row.name)")
        case .both: #expect(!unexpected)
        case .first, .handshake: #expect(unexpected)
        }
      }
    }
  }

  @Test("packets of later versions are refused at earlier ones")
  func versions() {
    let since: [(PacketCode, UInt32, SocketKind)] = [
      (.checksumRequest, 89, .data), (.syncParam89, 89, .data), (.inSync, 89, .meta), (.compressedBitmap, 90, .data),
      (.outOfSync, 96, .data), (.resyncCancel, 96, .meta), (.connectionChangeRequest, 100, .data),
      (.connectionChangeReply, 100, .meta), (.retryWrite, 100, .meta), (.protocolUpdate, 100, .data),
    ]
    for (code, version, socket) in since {
      #expect(!isExpected(code, socket, version - 1))
      #expect(isExpected(code, socket, version))
    }
    #expect(isExpected(.syncParam, .data, 88))
    #expect(!isExpected(.syncParam, .data, 89))
  }

  @Test("packets of a feature are refused without it, except P_TRIM")
  func features() {
    let needs: [(PacketCode, FeatureFlags)] = [
      (.thinRequest, .thinResync), (.deallocated, .thinResync), (.writeSame, .writeSame), (.zeroes, .writeZeroes),
    ]
    for (code, feature) in needs {
      #expect(!isExpected(code, .data, 101, FeatureFlags.all.subtracting(feature)))
      #expect(isExpected(code, .data, 101, feature))
    }
    #expect(isExpected(.trim, .data, 101, []))
  }

  @Test("unknown packets are named by their number; on the meta socket they end in StandAlone")
  func unknown() {
    for code: UInt16 in [0x05, 0x06, 0x25, 0x30, 0x35, 0x40, 0x100, 0xffff] {
      let bytes = rawHeader(code, length: 0)
      #expect(violation(.agreed(.data), bytes) == .unknownPacket(code: code, on: .data))
      #expect(violation(.agreed(.data), bytes)?.consequence == .protocolError)
      #expect(violation(.agreed(.meta), bytes)?.consequence == .disconnecting)
    }
  }

  @Test("what DRBD 9 sends without need is skipped, and so is the delay probe")
  func skipped() throws {
    #expect(try PacketStream.agreed(.data).only(rawHeader(0x59, length: 4) + [1, 0, 0, 0]).packet == .skipped(0x59))
    #expect(try PacketStream.agreed(.data).only(rawHeader(0x58, length: 4) + [1, 0, 0, 0]).packet == .skipped(0x58))
    #expect(violation(.agreed(.data), rawHeader(0x59, length: 8)) != nil)
    #expect(violation(.agreed(.meta), rawHeader(0x59, length: 4)) == .unknownPacket(code: 0x59, on: .meta))
    for socket in [SocketKind.data, .meta] {
      let probe = rawHeader(0x27, length: 8) + [UInt8](repeating: 7, count: 8)
      #expect(try PacketStream.agreed(socket).only(probe).packet == .skipped(0x27))
    }
  }

  // MARK: Lengths

  @Test("fixed packets have exactly their length")
  func fixedLengths() {
    for code in PacketCode.allCases where code.row.rest == .nothing {
      let row = code.row
      guard row.place != .first, row.place != .handshake else { continue }
      let stream = PacketStream.agreed(row.place == .meta ? .meta : .data)
      for wrong in [row.fixed - 1, row.fixed + 1] where wrong >= 0 {
        #expect(
          violation(stream, header(code, length: wrong))
            == .wrongLength(packet: row.name.description, length: wrong, on: stream.socket))
      }
      #expect(violation(stream, header(code, length: row.fixed)) == nil)
    }
  }

  @Test("the table's fixed lengths are those of the layouts")
  func layouts() {
    #expect(DataHeader.size == 24 && RangeHeader.size == 28 && BlockAck.size == 24 && BlockRequest.size == 24)
    #expect(BlockDescriptor.size == 16 && BarrierAck.size == 8 && StateChange.size == 8)
    #expect(Features.size == 72 && ProtocolOffer.size == 24 && GenerationIdentifiers.size == 48)
  }

  @Test("lengths that depend on version and features")
  func variableLengths() {
    func legal(_ code: PacketCode, _ version: UInt32, _ features: FeatureFlags = .all) -> [Int] {
      (0...300).filter {
        switch violation(.agreed(.data, version: version, features: features), header(code, length: $0, version)) {
        case .wrongLength?, .tooLong?: false
        default: true
        }
      }
    }
    #expect(legal(.sizes, 101) == [56])
    #expect(legal(.sizes, 101, []) == [32])
    #expect(legal(.sizes, 94, [.writeSame]) == [56])
    #expect(legal(.syncParam89, 101) == [148])
    #expect(legal(.syncParam89, 95) == [148])
    #expect(legal(.syncParam89, 94) == [132])
    #expect(legal(.syncParam, 88) == Array(5...68))
    #expect(legal(.syncParam, 87) == [4])
    #expect(legal(.protocolOffer, 86) == [24])
    #expect(legal(.protocolOffer, 87) == Array(25...88))
    #expect(legal(.authChallenge, 101) == Array(64...128))
    #expect(legal(.authResponse, 101) == Array(1...64))
    #expect(legal(.checksumRequest, 101) == Array(25...88))
    #expect(legal(.verifyReply, 101) == Array(25...88))
    #expect(legal(.compressedBitmap, 101) == Array(2...300))
  }

  @Test("payload is at most 1 MiB from version 100 on, 128 KiB from 95 on, 32 KiB below, in whole sectors")
  func payloads() throws {
    let limits: [(UInt32, Int)] = [(101, 1 << 20), (100, 1 << 20), (99, 128 << 10), (95, 128 << 10), (94, 32 << 10)]
    for (version, limit) in limits {
      let stream = PacketStream.agreed(.data, version: version)
      for packet in [Packet.data(DataHeader()), .dataReply(DataHeader()), .resyncReply(DataHeader())] {
        #expect(try stream.only(packet.encoded(version: version, payload: limit)).payload == limit)
        #expect(
          violation(stream, packet.encoded(version: version, payload: limit + 512))
            == .tooLong(packet: packet.name, length: limit + 512, limit: limit, on: .data))
        #expect(violation(stream, packet.encoded(version: version, payload: 511)) != nil)
      }
    }
    // An old flush without data.
    #expect(try PacketStream.agreed(.data).only(Packet.data(DataHeader()).encoded()).payload == 0)
    #expect(violation(.agreed(.data), Packet.dataReply(DataHeader()).encoded()) != nil)
    #expect(violation(.agreed(.data), rawHeader(0, length: Int(UInt32.max))) != nil)
  }

  @Test("a digest stands between header and payload when integrity is in force")
  func digest() throws {
    var header = DataHeader()
    header.digest = [1, 2, 3, 4]
    let bytes = Packet.data(header).encoded(payload: 4096)
    #expect(bytes.count == 44)
    let found = try PacketStream.agreed(.data, digest: 4).only(bytes)
    #expect(found.packet == .data(header))
    #expect(found.payload == 4096)
    #expect(violation(.agreed(.data), bytes) != nil, "4100 bytes are no whole sectors")
    var range = RangeHeader()
    range.size = 4096
    #expect(try PacketStream.agreed(.data, digest: 4).only(Packet.trim(range).encoded()).payload == 0)
    #expect(try PacketStream.agreed(.data, digest: 4).only(Packet.zeroes(range).encoded()).payload == 0)
  }

  @Test("bitmap packets end at 4096 bytes with their header")
  func bitmaps() {
    for (version, limit) in [(UInt32(101), 4080), (99, 4088)] {
      let stream = PacketStream.agreed(.data, version: version)
      for code in [PacketCode.bitmap, .compressedBitmap] {
        #expect(violation(stream, header(code, length: limit, version)) == nil)
        #expect(violation(stream, header(code, length: limit + 8, version)) != nil)
      }
      #expect(violation(stream, header(.bitmap, length: 12, version)) != nil)
      #expect(violation(stream, header(.compressedBitmap, length: 1, version)) != nil)
    }
  }

  // MARK: Fields

  @Test("sizes of requests and ranges are whole sectors within the limits")
  func sizes() {
    for size: UInt32 in [0, 1, 511, 513, (1 << 20) + 512, .max] {
      let request = BlockRequest(sector: 0, blockID: 1, size: size)
      for packet in [Packet.dataRequest(request), .resyncRequest(request), .thinRequest(request)] {
        #expect(violation(.agreed(.data), packet.encoded())?.packet == packet.name)
      }
    }
    for size: UInt32 in [0, 100, (128 << 20) + 512] {
      var range = RangeHeader()
      range.size = size
      for packet in [Packet.trim(range), .zeroes(range), .outOfSync(BlockDescriptor(sector: 0, size: size))] {
        #expect(violation(.agreed(.data), packet.encoded())?.packet == packet.name)
      }
    }
  }

  @Test("nobody asks for more than one packet of the agreed version carries", arguments: [86, 94, 95, 99, 100, 101])
  func requestsByVersion(_ version: UInt32) throws {
    let most = UInt32(PacketRow.longestBlock(version: version))
    let stream = PacketStream.agreed(.data, version: version)
    for size in [512, most] {
      let request = Packet.dataRequest(BlockRequest(sector: 0, blockID: 1, size: size))
      #expect(try stream.only(request.encoded(version: version)).packet == request)
      // And the answer has a header that can tell its length.
      let answer = Packet.dataReply(DataHeader()).encoded(version: version, payload: Int(size))
      #expect(try stream.only(answer).payload == Int(size))
    }
    for make in [Packet.dataRequest, Packet.resyncRequest, Packet.verifyRequest] as [(BlockRequest) -> Packet] {
      let request = make(BlockRequest(sector: 0, blockID: 1, size: most + 512)).encoded(version: version)
      guard case .badField = violation(stream, request) else {
        Issue.record("\(most + 512) bytes at version \(version)")
        continue
      }
    }
  }

  @Test("names end with a NUL and hold printable characters")
  func names() throws {
    var offer = ProtocolOffer()
    offer.integrityAlgorithm = "crc32c"
    var bytes = Packet.protocolOffer(offer).encoded()
    #expect(bytes.count == 16 + 31)
    #expect(try PacketStream.agreed(.data).only(bytes).packet == .protocolOffer(offer))
    bytes[bytes.count - 1] = 0x41
    #expect(violation(.agreed(.data), bytes)?.packet == "P_PROTOCOL")
    bytes[bytes.count - 1] = 0
    bytes[bytes.count - 2] = 0xc3
    #expect(violation(.agreed(.data), bytes)?.packet == "P_PROTOCOL")
    var parameters = Packet.syncParameters(SyncParameters()).encoded()
    for i in 20..<84 { parameters[i] = 0x61 }
    #expect(violation(.agreed(.data), parameters)?.packet == "P_SYNC_PARAM89")
  }

  @Test("a violation says in one sentence what the peer did")
  func sentences() {
    let all: [ProtocolViolation] = [
      .wrongMagic(0x4745_5420, on: .data), .padNotZero(1, on: .meta), .unknownPacket(code: 0x59, on: .meta),
      .unexpectedPacket(packet: "P_DATA", on: .meta), .wrongLength(packet: "P_SIZES", length: 32, on: .data),
      .tooLong(packet: "P_DATA", length: 2_097_152, limit: 1_048_576, on: .data),
      .badField(packet: "P_TRIM", problem: "a range of 0 bytes", on: .data),
    ]
    #expect(
      all.map(\.description) == [
        "the peer sent something that is no DRBD header (0x47455420) on the data socket",
        "the peer sent a header with a non-zero pad (0x1) on the meta socket",
        "the peer sent the unknown packet 0x59 on the meta socket",
        "the peer sent P_DATA on the meta socket, where it is not expected",
        "the peer sent P_SIZES of 32 bytes on the data socket, which is not a length it can have",
        "the peer sent P_DATA with 2097152 bytes on the data socket, and at most 1048576 are allowed",
        "the peer sent P_TRIM on the data socket with a range of 0 bytes",
      ])
    #expect(
      all.map(\.consequence) == [
        .protocolError, .networkFailure, .disconnecting, .disconnecting, .protocolError, .protocolError, .protocolError,
      ])
  }

  // MARK: Helpers

  private func rawHeader(_ code: UInt16, length: Int) -> [UInt8] {
    hex("8620ec20 0000") + [UInt8(code >> 8), UInt8(code & 0xff)]
      + (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) } + [0, 0, 0, 0]
  }

  /// A header and so many bytes behind it, in which every size field reads 0x1000.
  private func header(_ code: PacketCode, length: Int, _ version: UInt32 = 101) -> [UInt8] {
    var body = [UInt8](repeating: 0, count: length)
    if length >= 19, code.row.fixed < 28 { body[18] = 0x10 }
    if length >= 27, code.row.fixed == 28 { body[26] = 0x10 }
    if length >= 11, code.row.fixed == 16 { body[10] = 0x10 }
    if version >= 100 { return rawHeader(code.rawValue, length: length) + body }
    return hex("83740267") + [
      UInt8(code.rawValue >> 8), UInt8(code.rawValue & 0xff), UInt8(length >> 8), UInt8(length & 0xff),
    ] + body
  }

  private func isExpected(
    _ code: PacketCode, _ socket: SocketKind, _ version: UInt32, _ features: FeatureFlags = .all
  ) -> Bool {
    let refused = violation(
      .agreed(socket, version: version, features: features), header(code, length: 0, version))
    return refused != .unexpectedPacket(packet: code.row.name.description, on: socket)
  }
}
