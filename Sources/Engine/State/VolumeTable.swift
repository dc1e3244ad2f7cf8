// The volumes of a resource, how they are found by their numbers, and how they are called.
import Base

/// The volumes of a resource, in ascending order of number; fixed for the life of the engine.
struct VolumeTable: ~Copyable {
  private let base: UnsafeMutablePointer<Volume>
  let count: Int

  init(_ settings: [VolumeSettings], maxRequests: Int) {
    let sorted = settings.sorted { $0.number < $1.number }
    precondition(!sorted.isEmpty && sorted.count <= VolumeNumber.perResource, "1 to 64 volumes")
    count = sorted.count
    base = .allocate(capacity: sorted.count)
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
