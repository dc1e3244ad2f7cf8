// A first-in first-out ring. Grows by doubling when full, never shrinks: after warm-up no allocation happens.

public struct Queue<Element>: ~Copyable {
  private var storage: UnsafeMutablePointer<Element>
  private var capacity: Int
  private var head = 0
  public private(set) var count = 0

  /// `capacity` is rounded up to a power of two.
  public init(capacity: Int = 64) {
    var size = 1
    while size < capacity { size <<= 1 }
    self.capacity = size
    storage = .allocate(capacity: size)
  }

  deinit {
    for i in 0..<count { (storage + ((head + i) & (capacity - 1))).deinitialize(count: 1) }
    storage.deallocate()
  }

  public var isEmpty: Bool { count == 0 }

  public mutating func append(_ element: Element) {
    if count == capacity { grow() }
    (storage + ((head + count) & (capacity - 1))).initialize(to: element)
    count += 1
  }

  public mutating func popFirst() -> Element? {
    guard count > 0 else { return nil }
    let element = (storage + head).move()
    head = (head + 1) & (capacity - 1)
    count -= 1
    return element
  }

  public var first: Element? { count > 0 ? storage[head] : nil }

  /// The i-th element from the front.
  public subscript(_ i: Int) -> Element {
    _read {
      precondition(i >= 0 && i < count, "queue index out of range")
      yield storage[(head + i) & (capacity - 1)]
    }
    _modify {
      precondition(i >= 0 && i < count, "queue index out of range")
      yield &storage[(head + i) & (capacity - 1)]
    }
  }

  public mutating func removeAll() { while popFirst() != nil {} }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Element>.allocate(capacity: capacity * 2)
    for i in 0..<count { (larger + i).initialize(to: (storage + ((head + i) & (capacity - 1))).move()) }
    storage.deallocate()
    storage = larger
    capacity *= 2
    head = 0
  }
}
