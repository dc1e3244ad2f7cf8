// What we said and what the kernel said in the same place, made comparable: lines of text, one per packet that a rule
// decides on. Left out is what is ours to choose: pings, barriers, hints, resync requests and their acks.
import Base
import Foundation
import MetaDisk
import Protocol
import Testing

@testable import Engine

extension Replay {
  struct Lines: Equatable {
    /// Decisions, in order.
    var data: [String] = []
    var meta: [String] = []
    /// Answers to single requests, in any order.
    var bulk: [String] = []
  }

  static func lines(_ spoken: [Spoken]) -> Lines {
    var lines = Lines()
    // Parameters that an operator changed later are not compared.
    var parameters: Set<VolumeNumber> = []
    for one in spoken {
      if case .syncParameters = one.packet, !parameters.insert(one.volume).inserted { continue }
      switch line(one) {
      case .decision(let plain):
        let text = one.volume == .zero ? plain : "\(one.volume.value): \(plain)"
        if one.isMeta { lines.meta.append(text) } else { lines.data.append(text) }
      case .bulk(let text): lines.bulk.append(one.volume == .zero ? text : "\(one.volume.value): \(text)")
      case .none: break
      }
    }
    lines.bulk.sort()
    return lines
  }

  private enum Line {
    case decision(String)
    case bulk(String)
  }

  private static func line(_ spoken: Spoken) -> Line? {
    let name = spoken.packet.name
    func hex(_ value: UInt64) -> String { String(value, radix: 16) }
    func ack(_ ack: BlockAck) -> Line? {
      ack.blockID == syncerBlockID ? nil : .bulk("\(name) \(ack.sector) \(hex(ack.blockID)) \(ack.size)")
    }
    switch spoken.packet {
    case .features(let own): return .decision("\(name) \(own.minimum) \(own.maximum)")
    case .protocolOffer(let offer): return .decision("\(name) \(offer)")
    case .syncParameters(let own): return .decision("\(name) \(own.verifyAlgorithm) \(own.checksumAlgorithm)")
    case .sizes(let sizes): return .decision("\(name) \(sizes.backing) \(sizes.userLimit) \(sizes.current)")
    case .uuids(let slots):
      return .decision(
        "\(name) \(hex(slots.current)) \(hex(slots.bitmap)) \(hex(slots.history0)) \(hex(slots.history1)) "
          + "dirty \(slots.dirtyBits) flags \(slots.flags.rawValue)")
    case .state(let state): return .decision("\(name) \(hex(UInt64(state.word)))")
    case .syncUUID(let uuid): return .decision("\(name) \(hex(uuid))")
    case .stateChangeRequest(let change), .connectionChangeRequest(let change):
      return .decision("\(name) \(hex(UInt64(change.mask.word))) \(hex(UInt64(change.value.word)))")
    case .stateChangeReply(let code), .connectionChangeReply(let code): return .decision("\(name) \(code)")
    case .bitmap(let bytes), .compressedBitmap(let bytes): return .decision("\(name) \(bytes)")
    case .barrierAck(let ack): return .decision("\(name) \(ack.handle) \(ack.setSize)")
    case .data(let head): return .bulk("\(name) \(head.sector) \(spoken.payload) \(hex(UInt64(head.flags.rawValue)))")
    case .trim(let range), .zeroes(let range):
      return .bulk("\(name) \(range.data.sector) \(range.size) \(hex(UInt64(range.data.flags.rawValue)))")
    case .dataRequest(let request): return .bulk("\(name) \(request.sector) \(request.size)")
    case .dataReply(let head), .resyncReply(let head):
      return .bulk("\(name) \(head.sector) \(spoken.payload) \(hex(head.blockID))")
    case .verifyRequest(let request): return .bulk("\(name) \(request.sector) \(request.size)")
    case .verifyReply(let request, let digest): return .bulk("\(name) \(request.sector) \(digest)")
    case .verifyResult(let ack): return .bulk("\(name) \(ack.sector) \(ack.size) \(hex(ack.blockID))")
    case .inSync(let ack): return .bulk("\(name) \(ack.sector) \(ack.size)")
    case .deallocated(let block): return .bulk("\(name) \(block.sector) \(block.size)")
    case .outOfSync(let block): return .bulk("\(name) \(block.sector) \(block.size)")
    case .writeAck(let one), .receiveAck(let one), .resyncWriteAck(let one), .negativeAck(let one),
      .negativeDataReply(let one), .negativeResyncReply(let one):
      return ack(one)
    default: return nil
    }
  }

  /// Compares link by link, and the metadata at the end.
  func check(except: Set<String>, links: Int = .max, at location: SourceLocation = #_sourceLocation) throws {
    let name = "\(script.recording.name) as \(isAlpha ? "alpha" : "beta")"
    for link in script.links.indices where link < links {
      var own = Replay.lines(ours[link] ?? [])
      var kernel = Replay.lines(theirs[link] ?? [])
      // After it granted a disconnect a Primary's new generation may or may not get out (K11).
      while own.data.count < kernel.data.count, kernel.data.last!.contains("P_UUIDS") { kernel.data.removeLast() }
      // The recording with the own daemon ends before its `down`.
      while script.recording.isWithDRBD9, own.data.count > kernel.data.count,
        own.data.last!.hasPrefix("P_CONN_ST_CHG_REQ")
      {
        own.data.removeLast()
      }
      for (what, one, other) in [
        ("data", own.data, kernel.data), ("meta", own.meta, kernel.meta), ("bulk", own.bulk, kernel.bulk),
      ] where one != other && !except.contains("\(link + 1) \(what)") {
        Issue.record(
          "\(name), connection \(link + 1), \(what):\n\(Replay.difference(one, other))", sourceLocation: location)
      }
    }
    // The recorded metadata are those behind the last connection.
    if links < script.links.count || except.contains("metadata") { return }
    for volume in node.settings.volumes { try checkMetadata(volume.number, name, except, location) }
  }

  private func checkMetadata(
    _ volume: VolumeNumber, _ name: String, _ except: Set<String>, _ location: SourceLocation
  ) throws {
    let expected = try script.disk(of: isAlpha, "after", volume: volume)
    let disk = node.disks[volume]!
    func slots(_ disk: FakeDisk) throws -> [String] {
      let all = try disk.superblock().generations(peerNode: 0)
      return [all.current, all.bitmap, all.history0, all.history1].map { String($0 & ~1, radix: 16) }
    }
    let (own, kernel) = (try slots(disk), try slots(expected))
    if own != kernel, !except.contains("slots") {
      Issue.record("\(name), volume \(volume.value), slots: ours \(own), kernel \(kernel)", sourceLocation: location)
    }
    let (ownBits, kernelBits) = (try disk.outOfSync(peerNode: 0), try expected.outOfSync(peerNode: 0))
    if ownBits != kernelBits, !except.contains("bitmap") {
      let extra = ownBits.subtracting(kernelBits).sorted().prefix(20)
      let missing = kernelBits.subtracting(ownBits).sorted().prefix(20)
      Issue.record(
        "\(name), volume \(volume.value), bitmap: ours only \(extra), kernel only \(missing)", sourceLocation: location)
    }
  }

  private static func difference(_ own: [String], _ kernel: [String]) -> String {
    let changes = own.difference(from: kernel)
    var text = ""
    for change in changes {
      switch change {
      case .insert(let at, let line, _): text += "  ours only at \(at): \(line)\n"
      case .remove(let at, let line, _): text += "  kernel only at \(at): \(line)\n"
      }
      if text.count > 3000 { return text + "  ..." }
    }
    return text
  }
}
