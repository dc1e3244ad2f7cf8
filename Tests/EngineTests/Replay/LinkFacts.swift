// What a recorded connection will bring, for answers that the replay gives in the peer's place.
import Base
import Protocol

struct LinkFacts {
  /// Ranges that the recorded source could not read.
  var refused: [BlockRange] = []
  /// Ranges that the kernel, as source in our place, found equal by their checksum.
  var equal: [BlockRange] = []
  /// Places of the last resync block of the peer and of the last P_STATE of our own.
  var lastBlock = -1
  var lastOwnState = -1

  init() {}

  init(_ script: Script, _ index: Int, isAlpha: Bool) {
    for (i, entry) in script.entries.enumerated() {
      guard case .packet(index, _, let fromAlpha, let decoded, _) = entry else { continue }
      let isOwn = fromAlpha == isAlpha
      switch decoded.packet {
      case .resyncReply where !isOwn, .deallocated where !isOwn: lastBlock = i
      case .inSync(let ack):
        if isOwn { equal.append(BlockRange(start: ack.sector, bytes: ack.size)) } else { lastBlock = i }
      case .negativeResyncReply(let ack) where !isOwn:
        refused.append(BlockRange(start: ack.sector, bytes: ack.size))
        lastBlock = i
      case .state where isOwn: lastOwnState = i
      default: break
      }
    }
  }
}
