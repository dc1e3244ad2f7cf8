// A fixed table of things that cannot be copied: connections, devices. A place is free again after `remove`; nothing is
// allocated after the table was made.

import Base

struct Places<Element: ~Copyable>: ~Copyable {
  private let elements: UnsafeMutablePointer<Element>
  private let occupied: UnsafeMutablePointer<Bool>
  let capacity: Int
  private(set) var count = 0

  init(capacity: Int) {
    self.capacity = capacity
    elements = .allocate(capacity: capacity)
    occupied = .allocate(capacity: capacity)
    occupied.initialize(repeating: false, count: capacity)
  }

  deinit {
    for i in 0..<capacity where occupied[i] { (elements + i).deinitialize(count: 1) }
    elements.deallocate()
    occupied.deallocate()
  }

  var hasRoom: Bool { count < capacity }

  /// The first free place. Look at `hasRoom` before.
  var free: Int {
    for i in 0..<capacity where !occupied[i] { return i }
    preconditionFailure("no place is free")
  }

  /// The first free place of these, nil when all are taken.
  func free(of places: Range<Int>) -> Int? {
    for i in places where !occupied[i] { return i }
    return nil
  }

  mutating func put(_ element: consuming Element, at i: Int) {
    precondition(i < capacity && !occupied[i], "the place is taken")
    (elements + i).initialize(to: element)
    occupied[i] = true
    count += 1
  }

  @inline(__always) func contains(_ i: Int) -> Bool { i >= 0 && i < capacity && occupied[i] }

  subscript(_ i: Int) -> Element {
    @inline(__always) _read {
      precondition(contains(i), "nothing is in this place")
      yield elements[i]
    }
    @inline(__always) _modify {
      precondition(contains(i), "nothing is in this place")
      yield &elements[i]
    }
  }

  mutating func remove(_ i: Int) -> Element {
    precondition(contains(i), "nothing is in this place")
    occupied[i] = false
    count -= 1
    return (elements + i).move()
  }
}
