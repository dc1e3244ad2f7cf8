// The volumes of a resource, how they are found by their numbers, and how they are called.
import Base

/// The volumes of a resource, in ascending order of number. Flows name a volume by its place, so the table changes only while no work is
/// under way (`Admin/VolumeChange`).
struct VolumeTable: ~Copyable {
  private let base: UnsafeMutablePointer<Volume>
  private(set) var count: Int

  init(_ settings: [VolumeSettings], maxRequests: Int) {
    let sorted = settings.sorted { $0.number < $1.number }
    precondition(!sorted.isEmpty && sorted.count <= VolumeNumber.perResource, "1 to 64 volumes")
    count = sorted.count
    base = .allocate(capacity: VolumeNumber.perResource)
    for (i, one) in sorted.enumerated() { (base + i).initialize(to: Volume(one, maxRequests: maxRequests)) }
  }

  deinit {
    for i in 0..<count { (base + i).deinitialize(count: 1) }
    base.deallocate()
  }

  subscript(_ i: Int) -> Volume {
    _read {
      precondition(i >= 0 && i < count, "no such volume")
      yield base[i]
    }
    _modify {
      precondition(i >= 0 && i < count, "no such volume")
      yield &base[i]
    }
  }

  func index(of number: VolumeNumber) -> Int? {
    for i in 0..<count where base[i].number == number { return i }
    return nil
  }

  mutating func insert(_ volume: consuming Volume) {
    precondition(count < VolumeNumber.perResource, "1 to 64 volumes")
    var place = count
    while place > 0, base[place - 1].number > volume.number {
      (base + place).moveInitialize(from: base + place - 1, count: 1)
      place -= 1
    }
    (base + place).initialize(to: volume)
    count += 1
  }

  mutating func remove(at place: Int) {
    precondition(place >= 0 && place < count && count > 1, "no such volume, or the last one")
    (base + place).deinitialize(count: 1)
    (base + place).moveInitialize(from: base + place + 1, count: count - place - 1)
    count -= 1
  }
}

extension Engine {
  func index(_ number: VolumeNumber) -> Int {
    guard let i = volumes.index(of: number) else { preconditionFailure("volume \(number.value) is not configured") }
    return i
  }

  /// `r0/0`, as commands and log lines name a volume.
  func name(_ v: Int) -> String { "\(settings.name)/\(volumes[v].number.value)" }

  /// Exported size of a volume; 0 while it is not usable.
  public func exportedSize(_ number: VolumeNumber) -> SectorCount {
    let v = index(number)
    let usable = volumes[v].hasDisk || volumes[v].state.peerDisk == .upToDate
    return usable ? volumes[v].size : .zero
  }
}
