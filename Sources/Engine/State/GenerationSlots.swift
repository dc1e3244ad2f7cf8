// The four generation slots a node keeps per volume (wire spec 5.1), and the ways they move. Bit 0 of `current` is the
// primary indicator and not part of the identity.
import Base
import Protocol

/// 4: written by create-md, "no data generation yet".
let justCreated: UInt64 = 4
/// What a sync UUID differs by from the bitmap UUID it was made of.
let syncStep: UInt64 = 0x0001_0000_0000_0000

struct Generations: Equatable {
  var current: UInt64 = 0
  var bitmap: UInt64 = 0
  var history0: UInt64 = 0
  var history1: UInt64 = 0

  mutating func push(_ value: UInt64) {
    history1 = history0
    history0 = value
  }

  /// bitmap <- current, current <- random. The old bitmap value is overwritten.
  mutating func rotateToNew(_ random: UInt64, primary: Bool) {
    bitmap = current
    current = random
    setPrimary(primary)
  }

  mutating func setPrimary(_ primary: Bool) { current = primary ? current | 1 : current & ~1 }

  /// Becoming SyncSource: makes the sync UUID and returns it.
  mutating func startSync(random: UInt64) -> UInt64 {
    let sync = bitmap == 0 || bitmap == justCreated ? random : bitmap &+ syncStep
    if bitmap != 0 { push(bitmap) }
    bitmap = sync
    return sync
  }

  /// Receiving P_SYNC_UUID.
  mutating func adoptSync(_ sync: UInt64, primary: Bool) {
    current = sync
    setPrimary(primary)
    bitmap = 0
  }

  mutating func finishAsSource() {
    push(bitmap)
    bitmap = 0
  }

  /// `peer` is the copy of the peer's slots, corrected by the rules of the comparison.
  mutating func finishAsTarget(peer: GenerationIdentifiers, primary: Bool) {
    let sync = current
    bitmap = peer.bitmap
    history0 = peer.history0
    history1 = peer.history1
    if bitmap != 0 { push(bitmap) }
    bitmap = sync & ~1
    current = peer.current
    setPrimary(primary)
    push(bitmap)
    bitmap = 0
  }
}
