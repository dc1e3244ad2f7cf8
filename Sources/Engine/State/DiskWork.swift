// Work on the data of a backing device: every operation is counted here when it is asked for and counted down when its one answer
// comes. Law: a disk is closed when nothing is under way on it (`localIO`). A forgotten answer would hold up a detach for ever, a
// forgotten question would close the disk too early; so no flow counts for itself.
import Base

/// A number of things under way. It stops the process where more end than began.
struct Outstanding: Equatable {
  private(set) var count = 0

  mutating func begin() { count += 1 }
  mutating func end() {
    precondition(count > 0, "more ended than began")
    count -= 1
  }
  /// No caller waits for their end any more.
  mutating func forget() { count = 0 }
}

extension Engine {
  mutating func submit(_ v: Int, _ kind: WorkID.Kind, _ slot: SlotID, _ operation: DiskOperation) {
    volumes[v].diskWork.begin()
    fx.append(.disk(WorkID(kind: kind, slot: slot), volumes[v].number, operation))
  }

  mutating func examine(
    _ v: Int, _ kind: WorkID.Kind, _ slot: SlotID, _ range: BlockRange, _ what: Examination, into buffer: PayloadRef?
  ) {
    volumes[v].diskWork.begin()
    fx.append(.examine(WorkID(kind: kind, slot: slot), volumes[v].number, range, what, into: buffer))
  }

  /// Counts down; returns the volume whose disk has answered.
  mutating func endDiskWork(_ id: WorkID) -> Int {
    let v = volume(of: id)
    volumes[v].diskWork.end()
    return v
  }

  private func volume(of id: WorkID) -> Int {
    switch id.kind {
    case .appWrite: writes[id.slot].volume
    case .appRead: reads[id.slot].volume
    case .appFlush: flushes[id.slot].volume
    case .peerWrite, .peerRead, .resyncRead, .resyncWrite, .verify: peerRequests[id.slot].volume
    case .epochFlush, .bracket: Int(id.slot.raw & 0xff)
    case .checksum: Int(id.slot.raw & 63)
    default: preconditionFailure("disk answer to something that is no disk work")
    }
  }
}
