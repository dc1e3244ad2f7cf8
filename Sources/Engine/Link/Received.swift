// What comes from the peer, sorted: each packet to the flow that owns it. A packet that has no place in the present
// state costs the connection, never the process (wire spec 11.2).
import Base
import Protocol

extension Engine {
  mutating func received(_ socket: SocketID, _ number: VolumeNumber, _ packet: Packet, _ payload: PayloadRef?) {
    switch packet {
    case .initialData: introduced(socket, asData: true)
    case .initialMeta: introduced(socket, asData: false)
    default:
      if case .features(let peer) = packet, featuresCameEarly(socket, peer) { return }
      guard socket == link.data || socket == link.meta else {
        // Left over from a connection that has ended.
        if let payload { fx.append(.giveBack(payload)) }
        return
      }
      if socket == link.data { link.dataHeard = true } else { metaHeard() }
      fromConnection(number, packet, payload)
    }
  }

  /// Packets of the connection; the others belong to a volume.
  private mutating func fromConnection(_ number: VolumeNumber, _ packet: Packet, _ payload: PayloadRef?) {
    switch packet {
    case .features(let peer): featuresReceived(peer)
    case .authChallenge(let bytes): challengeReceived(bytes)
    case .authResponse(let bytes): responseReceived(bytes)
    case .ping:
      sendMeta(.pingAck)
      for v in 0..<volumes.count { volumes[v].peer.sourceHasPinged() }
    case .pingAck: pingAcked()
    case .skipped, .unplugRemote: break
    case .protocolOffer(let offer) where link.phase.isUp: offerReceived(offer)
    case .protocolUpdate(let offer) where link.phase.isUp: offerUpdated(offer)
    case .barrier(let handle) where link.phase.isUp: barrierReceived(handle)
    case .barrierAck(let ack) where link.phase.isUp: barrierAcked(ack)
    case .connectionChangeRequest(let request) where link.phase.isUp: connectionChangeRequested(request, wide: true)
    case .connectionChangeReply(let code) where link.phase.isUp: changeReplied(code)
    default:
      guard link.phase.isUp else {
        if let payload { fx.append(.giveBack(payload)) }
        outOfPlace(packet)
        return
      }
      guard let v = volumes.index(of: number) else {
        if let payload { fx.append(.giveBack(payload)) }
        switch packet {
        case .syncParameters, .sizes, .uuids, .state:
          warn(.connection, "\(packet.name) for volume \(number.value), which is not configured here: skipped")
        default: breakLink(.protocolError, "\(packet.name) for volume \(number.value), which is not configured here")
        }
        return
      }
      fromVolume(v, packet, payload)
    }
  }

  private mutating func fromVolume(_ v: Int, _ packet: Packet, _ payload: PayloadRef?) {
    switch packet {
    case .syncParameters(let peer): parametersReceived(v, peer)
    case .sizes(let peer): sizesReceived(v, peer)
    case .uuids(let peer): generationsReceived(v, peer)
    case .state(let peer): stateReceived(v, peer)
    case .stateChangeRequest(let request): stateChangeRequested(v, request)
    case .stateChangeReply(let code): changeReplied(code)
    default:
      guard volumes[v].state.conn >= .connected else {
        if let payload { fx.append(.giveBack(payload)) }
        breakLink(.protocolError, "\(packet.name) before the peer's P_STATE")
        return
      }
      blockPacket(v, packet, payload)
    }
  }

  private mutating func blockPacket(_ v: Int, _ packet: Packet, _ payload: PayloadRef?) {
    switch packet {
    // Writes.
    case .data(let head): peerWrote(v, head, size: payload?.bytes ?? 0, .data, payload)
    case .trim(let range): peerWrote(v, range.data, size: range.size, .discard, nil)
    case .zeroes(let range):
      peerWrote(v, range.data, size: range.size, .zero(mayUnmap: range.data.flags.contains(.discard)), nil)
    case .outOfSync(let block): announcedOutOfSync(v, block)

    // Reads and resync.
    case .dataRequest(let request): peerReads(v, request, payload)
    case .dataReply(let head): dataReplied(v, head, payload)
    case .resyncRequest(let request): resyncRequested(v, request, payload, .resyncRead)
    case .thinRequest(let request): resyncRequested(v, request, payload, .thinRead)
    case .checksumRequest(let request, let digest): checksumRequested(v, request, digest, payload)
    case .verifyRequest(let request): verifyRequested(v, request)
    case .verifyReply(let request, let digest): verifyReplied(v, request, digest)
    case .resyncReply(let head): resyncReplied(v, head.sector, payload?.bytes ?? 0, head.blockID, payload)
    case .deallocated(let block): resyncReplied(v, block.sector, block.size, syncerBlockID, nil)
    case .bitmap, .compressedBitmap: bitmapReceived(v, packet)
    case .syncUUID(let uuid): syncUUIDReceived(v, uuid)

    // Acks.
    case .writeAck(let ack), .receiveAck(let ack), .superseded(let ack):
      if ack.blockID == syncerBlockID { resyncAcked(v, ack) } else { writeAcked(v, ack, inSync: false) }
    case .resyncWriteAck(let ack):
      if isOurWrite(v, ack) { writeAcked(v, ack, inSync: true) } else { resyncAcked(v, ack) }
    case .negativeAck(let ack):
      if isOurWrite(v, ack) || ack.blockID != syncerBlockID {
        writeRefused(v, ack)
      } else {
        resyncWriteRefused(v, ack)
      }
    case .negativeDataReply(let ack): dataRefused(v, ack)
    case .negativeResyncReply(let ack), .resyncCancel(let ack):
      if volumes[v].state.isVerifying { verifyRefused(v, ack) } else { resyncRefused(v, ack) }
    case .inSync(let ack): blockIsEqual(v, ack)
    case .verifyResult(let ack): verifyResulted(v, ack)

    default:
      if let payload { fx.append(.giveBack(payload)) }
      breakLink(.protocolError, "\(packet.name) is not expected from this peer")
    }
  }

  /// P_OUT_OF_SYNC: the peer wrote this without us.
  private mutating func announcedOutOfSync(_ v: Int, _ block: BlockDescriptor) {
    guard let range = named(v, "P_OUT_OF_SYNC", block.sector, block.size, longest: Self.longestDiscard) else { return }
    if volumes[v].isAttached { _ = volumes[v].backing.bitmap.set(range.bitsTouched) }
    markOvertaken(v, range)
    if volumes[v].state.conn == .syncTarget { askForBlocks(v) }
  }

  mutating func violated(_ socket: SocketID, _ violation: ProtocolViolation) {
    if socket == link.data || socket == link.meta {
      fail(.connection, "\(violation.description)")
      if violation.consequence == .disconnecting {
        giveUpLink(violation.description)
      } else {
        breakLink(violation.consequence, violation.description)
      }
    } else {
      warn(.connection, "\(violation.description)")
      fx.append(.close(socket, afterSending: false))
      searchLost(socket)
    }
  }

  mutating func socketClosed(_ socket: SocketID) {
    if socket == link.data {
      switch pending {
      case .disconnect where link.meta != nil, .reconnect where link.meta != nil:
        // Whether the peer agreed, and to what, is said on the other socket.
        link.metaLost = now + .milliseconds(500)
        return
      default: break
      }
      link.data = nil
      peerHungUp(.brokenPipe)
    } else if socket == link.meta {
      link.meta = nil
      // Of a peer that gave up, the last words come on the other socket.
      if link.data != nil, link.state < .connected {
        link.metaLost = now + .milliseconds(500)
      } else {
        peerHungUp(.networkFailure)
      }
    } else {
      searchLost(socket)
      linkTick()
    }
  }
}
