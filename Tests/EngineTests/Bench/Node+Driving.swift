// What a test says to a node: commands, reads and writes of the application; and what it asks it about.
import Base
import Protocol

@testable import Engine

extension VolumeNumber {
  static let zero = VolumeNumber(0)
}

extension Node {
  func order(_ command: Command) -> ReplyTo {
    let to = ReplyTo(number())
    inbox.append(.event(.command(command, to)))
    return to
  }

  /// Every sector of the write holds `stamp`.
  @discardableResult
  func write(
    _ sector: UInt64, _ count: UInt64 = 8, stamp: UInt64, volume: VolumeNumber = .zero, fua: Bool = false
  ) -> Ticket {
    let ticket = Ticket(number())
    let payload = allocate([UInt64](repeating: stamp, count: Int(count)), lent: true)
    inbox.append(
      .event(.write(ticket, volume, BlockRange(Sector(sector), SectorCount(count)), payload, fua: fua)))
    return ticket
  }

  func read(_ sector: UInt64, _ count: UInt64 = 8, volume: VolumeNumber = .zero) -> (ticket: Ticket, into: PayloadRef) {
    let ticket = Ticket(number())
    let buffer = allocate([UInt64](repeating: .max, count: Int(count)), lent: false)
    inbox.append(.event(.read(ticket, volume, BlockRange(Sector(sector), SectorCount(count)), buffer)))
    return (ticket, buffer)
  }

  @discardableResult
  func discard(_ sector: UInt64, _ count: UInt64, volume: VolumeNumber = .zero) -> Ticket {
    let ticket = Ticket(number())
    inbox.append(.event(.discard(ticket, volume, BlockRange(Sector(sector), SectorCount(count)))))
    return ticket
  }

  @discardableResult
  func zero(_ sector: UInt64, _ count: UInt64, mayUnmap: Bool = true, volume: VolumeNumber = .zero) -> Ticket {
    let ticket = Ticket(number())
    inbox.append(
      .event(.zero(ticket, volume, BlockRange(Sector(sector), SectorCount(count)), mayUnmap: mayUnmap)))
    return ticket
  }

  @discardableResult
  func flush(volume: VolumeNumber = .zero) -> Ticket {
    let ticket = Ticket(number())
    inbox.append(.event(.flush(ticket, volume)))
    return ticket
  }

  func isAnswered(_ ticket: Ticket) -> Bool { answers[ticket] != nil }

  /// Answered without a fault.
  func isGood(_ ticket: Ticket) -> Bool { if case .some(nil) = answers[ticket] { true } else { false } }

  // MARK: Asking

  func volume(_ number: VolumeNumber = .zero) -> VolumeSnapshot {
    engine.snapshot().volumes.first { $0.number == number }!
  }

  /// `Connected Primary/Secondary UpToDate/Inconsistent`, as DRBD 8.4 puts it.
  func state(_ number: VolumeNumber = .zero) -> String {
    let all = engine.snapshot()
    let one = volume(number)
    let peer = one.replication >= .connected ? all.peerRole : .unknown
    return "\(one.replication.name) \(all.role.name)/\(peer.name) \(one.disk.name)/\(one.peerDisk.name)"
  }

  var state: String { state(.zero) }

  /// current, bitmap, history; the primary indicator of each is masked.
  func generations(_ number: VolumeNumber = .zero) -> [UInt64] {
    let one = volume(number)
    return [one.current, one.bitmap, one.history0, one.history1].map { $0 & ~1 }
  }

  var acceptsWrites: Bool { engine.acceptsWrites }

  func isOutOfSync(_ bit: UInt64, _ number: VolumeNumber = .zero) -> Bool {
    engine.volumes[engine.index(number)].backing.bitmap.isSet(bit)
  }

  func packets(_ matching: (Packet) -> Bool) -> [Packet] { sent.map(\.packet).filter(matching) }
}
