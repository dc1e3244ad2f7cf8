// Who uses which part of a volume right now. Two writes that overlap must reach both disks in the same order, and
// resync data must not cross application data (wire spec 7.6, 9.4): the later one waits here.
// A range is found by its 1 MiB chunk; what touches more than two chunks (large discards) lies in a list of its own.
import Base

/// What a range is held for.
struct RangeUse: OptionSet {
  let rawValue: UInt8
  static let appWrite = RangeUse(rawValue: 1)
  static let peerWrite = RangeUse(rawValue: 2)
  /// Source: between reading a block for the target and queueing the answer.
  static let resyncRead = RangeUse(rawValue: 4)
  /// Target: asked for, not yet arrived.
  static let resyncAsked = RangeUse(rawValue: 8)
  /// Target: arrived, being written.
  static let resyncWrite = RangeUse(rawValue: 16)
  /// A read of the peer: waits, but holds nothing.
  static let peerRead = RangeUse(rawValue: 32)

  /// What this use must wait for.
  var conflicts: RangeUse {
    switch self {
    case .appWrite: [.appWrite, .peerWrite, .resyncRead, .resyncAsked, .resyncWrite]
    case .peerWrite: [.appWrite, .peerWrite, .resyncRead, .resyncWrite]
    case .resyncRead: [.appWrite, .peerWrite]
    case .peerRead: .peerWrite
    case .resyncAsked: [.appWrite, .resyncAsked, .resyncWrite]
    default: [.appWrite, .peerWrite, .resyncWrite]
    }
  }
}

/// A range in the table.
struct RangeHold: Hashable {
  fileprivate var index: Int32
}

struct RangeTable: ~Copyable {
  private struct Node {
    var start: UInt64
    var end: UInt64
    var use: RangeUse
    var buckets: (Int32, Int32)
    /// Chain links per bucket membership: next and previous node, tagged by membership (node * 2 + which).
    var next: (Int32, Int32)
    var previous: (Int32, Int32)
  }
  private static let bucketCount = 1024
  private static let wide = Int32(bucketCount)

  private let nodes: UnsafeMutablePointer<Node>
  private let heads: UnsafeMutablePointer<Int32>
  private let free: UnsafeMutablePointer<Int32>
  private var freeCount: Int
  private let capacity: Int

  init(capacity: Int) {
    self.capacity = capacity
    nodes = .allocate(capacity: capacity)
    let empty = Node(start: 0, end: 0, use: [], buckets: (-1, -1), next: (-1, -1), previous: (-1, -1))
    nodes.initialize(repeating: empty, count: capacity)
    heads = .allocate(capacity: Self.bucketCount + 1)
    heads.initialize(repeating: -1, count: Self.bucketCount + 1)
    free = .allocate(capacity: capacity)
    for i in 0..<capacity { (free + i).initialize(to: Int32(capacity - 1 - i)) }
    freeCount = capacity
  }

  deinit {
    nodes.deallocate()
    heads.deallocate()
    free.deallocate()
  }

  var count: Int { capacity - freeCount }

  private func bucket(_ chunk: UInt64) -> Int32 {
    Int32(truncatingIfNeeded: (chunk &* 0x9e37_79b9_7f4a_7c15) >> 54)
  }

  func conflicts(_ range: BlockRange, with uses: RangeUse) -> Bool {
    if freeCount == capacity { return false }
    let first = range.start.value >> 11
    let last = (range.end.value - 1) >> 11
    if chain(Self.wide, range, uses) { return true }
    if last - first > 64 {
      // A very large range: look at everything in use.
      for b in 0..<Int32(Self.bucketCount) where chain(b, range, uses) { return true }
      return false
    }
    for chunk in first...last where chain(bucket(chunk), range, uses) { return true }
    return false
  }

  private func chain(_ head: Int32, _ range: BlockRange, _ uses: RangeUse) -> Bool {
    var link = heads[Int(head)]
    while link >= 0 {
      let node = nodes + Int(link >> 1)
      if !node.pointee.use.isDisjoint(with: uses), node.pointee.start < range.end.value,
        range.start.value < node.pointee.end
      {
        return true
      }
      link = link & 1 == 0 ? node.pointee.next.0 : node.pointee.next.1
    }
    return false
  }

  mutating func insert(_ range: BlockRange, _ use: RangeUse) -> RangeHold {
    precondition(freeCount > 0, "range table is full")
    freeCount -= 1
    let index = free[freeCount]
    let first = range.start.value >> 11
    let last = (range.end.value - 1) >> 11
    nodes[Int(index)] = Node(
      start: range.start.value, end: range.end.value, use: use, buckets: (-1, -1), next: (-1, -1),
      previous: (-1, -1))
    if last - first > 1 {
      link(index, 0, Self.wide)
    } else {
      let a = bucket(first)
      let b = bucket(last)
      link(index, 0, a)
      if a != b { link(index, 1, b) }
    }
    return RangeHold(index: index)
  }

  mutating func become(_ use: RangeUse, _ hold: RangeHold) { nodes[Int(hold.index)].use = use }

  mutating func remove(_ hold: RangeHold) {
    let index = hold.index
    precondition(!nodes[Int(index)].use.isEmpty, "range given back twice")
    unlink(index, 0)
    unlink(index, 1)
    nodes[Int(index)].use = []
    free[freeCount] = index
    freeCount += 1
  }

  private func link(_ index: Int32, _ which: Int32, _ bucket: Int32) {
    let node = nodes + Int(index)
    let head = heads[Int(bucket)]
    let me = index << 1 | which
    if which == 0 {
      node.pointee.buckets.0 = bucket
      node.pointee.next.0 = head
      node.pointee.previous.0 = -1
    } else {
      node.pointee.buckets.1 = bucket
      node.pointee.next.1 = head
      node.pointee.previous.1 = -1
    }
    if head >= 0 { setPrevious(head, me) }
    heads[Int(bucket)] = me
  }

  private func unlink(_ index: Int32, _ which: Int32) {
    let node = nodes[Int(index)]
    let bucket = which == 0 ? node.buckets.0 : node.buckets.1
    if bucket < 0 { return }
    let next = which == 0 ? node.next.0 : node.next.1
    let previous = which == 0 ? node.previous.0 : node.previous.1
    if next >= 0 { setPrevious(next, previous) }
    if previous >= 0 { setNext(previous, next) } else { heads[Int(bucket)] = next }
  }

  private func setPrevious(_ link: Int32, _ value: Int32) {
    if link & 1 == 0 { nodes[Int(link >> 1)].previous.0 = value } else { nodes[Int(link >> 1)].previous.1 = value }
  }

  private func setNext(_ link: Int32, _ value: Int32) {
    if link & 1 == 0 { nodes[Int(link >> 1)].next.0 = value } else { nodes[Int(link >> 1)].next.1 = value }
  }
}
