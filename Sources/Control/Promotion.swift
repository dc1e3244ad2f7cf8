// What a cluster manager asks of `events2` before it promotes: whether it would work here, and how good a place this is. The
// numbers are DRBD 9's as recorded: 10000 for a copy here that is good or about to be, 100 for each good one here, 1 for
// each good one anywhere.
import Base

extension StatusSnapshot {
  /// Nil: no good data can be reached from here.
  private func score(of device: DeviceStatus) -> Int? {
    let peers = connections.flatMap(\.peerDevices).filter { $0.volume == device.volume && $0.peerDisk == .upToDate }
      .count
    let isGood = device.disk == .upToDate
    guard isGood || peers > 0 else { return nil }
    let isHere = isGood || device.disk == .inconsistent
    return (isHere ? 10_000 : 0) + (isGood ? 100 : 0) + (isGood ? 1 : 0) + peers
  }

  /// As `promotion_score`: 0 when some volume has no good data.
  public var promotionScore: Int {
    var total = 0
    var worst: Int?
    for device in devices {
      guard let score = score(of: device) else { return 0 }
      worst = min(worst ?? score, score)
      total += device.disk == .upToDate ? 100 : 0
    }
    guard let worst else { return 0 }
    // Further good volumes count a hundred each.
    return worst + max(0, total - (worst % 10_000 >= 100 ? 100 : 0))
  }

  public var mayPromote: Bool {
    role == .secondary && promotionScore > 0 && !connections.contains { $0.peerRole == .primary }
  }
}
