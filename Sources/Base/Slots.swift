// A fixed table whose handles carry a generation: a late completion can never touch a reused slot.

/// Handle of a slot. 32 bits of index, 32 bits of generation; never 0, so that 0 can mean "none" on the wire.
public struct SlotID: Hashable, Sendable {
  public var raw: UInt64
  public init(raw: UInt64) { self.raw = raw }
  @inline(__always) init(index: Int, generation: UInt32) {
    raw = UInt64(generation) << 32 | UInt64(UInt32(truncatingIfNeeded: index))
  }
  @inline(__always) public var index: Int { Int(UInt32(truncatingIfNeeded: raw)) }
  @inline(__always) var generation: UInt32 { UInt32(truncatingIfNeeded: raw >> 32) }
}

/// `capacity` slots, allocated once. `insert` when full is a programming error: ask `hasRoom` at the entrance.
public struct Slots<Element>: ~Copyable {
  private let elements: UnsafeMutablePointer<Element>
  private let generations: UnsafeMutablePointer<UInt32>
  private let occupied: UnsafeMutablePointer<Bool>
  private let free: UnsafeMutablePointer<UInt32>
  private var freeCount: Int
  public let capacity: Int

  public init(capacity: Int) {
    precondition(capacity > 0 && capacity < 1 << 31, "slot table size out of range")
    self.capacity = capacity
    elements = .allocate(capacity: capacity)
    generations = .allocate(capacity: capacity)
    generations.initialize(repeating: 1, count: capacity)
    occupied = .allocate(capacity: capacity)
    occupied.initialize(repeating: false, count: capacity)
    free = .allocate(capacity: capacity)
    for i in 0..<capacity { (free + i).initialize(to: UInt32(capacity - 1 - i)) }
    freeCount = capacity
  }

  deinit {
    for i in 0..<capacity where occupied[i] { (elements + i).deinitialize(count: 1) }
    elements.deallocate()
    generations.deallocate()
    occupied.deallocate()
    free.deallocate()
  }

  public var count: Int { capacity - freeCount }
  public var isEmpty: Bool { freeCount == capacity }
  public var hasRoom: Bool { freeCount > 0 }
  public var room: Int { freeCount }

  public mutating func insert(_ element: Element) -> SlotID {
    precondition(freeCount > 0, "slot table is full")
    freeCount -= 1
    let index = Int(free[freeCount])
    (elements + index).initialize(to: element)
    occupied[index] = true
    return SlotID(index: index, generation: generations[index])
  }

  public func contains(_ id: SlotID) -> Bool {
    let index = id.index
    return index < capacity && occupied[index] && generations[index] == id.generation
  }

  public subscript(_ id: SlotID) -> Element {
    _read {
      precondition(contains(id), "stale slot handle")
      yield elements[id.index]
    }
    _modify {
      precondition(contains(id), "stale slot handle")
      yield &elements[id.index]
    }
  }

  @discardableResult
  public mutating func remove(_ id: SlotID) -> Element {
    precondition(contains(id), "stale slot handle")
    let index = id.index
    let element = (elements + index).move()
    occupied[index] = false
    generations[index] &+= 1
    if generations[index] == 0 { generations[index] = 1 }
    free[freeCount] = UInt32(truncatingIfNeeded: index)
    freeCount += 1
    return element
  }

  /// The first occupied slot at or after `index`, for walks that may remove as they go.
  public func next(from index: Int) -> SlotID? {
    var i = index
    while i < capacity {
      if occupied[i] { return SlotID(index: i, generation: generations[i]) }
      i += 1
    }
    return nil
  }
}
