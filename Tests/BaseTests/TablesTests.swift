// Slots and queues: a stale handle is recognised, an element leaves once, order is kept across growth.
import Base
import Testing

/// `#expect` cannot take a noncopyable value apart: the answer is computed before it looks.
private func have(_ value: Bool) -> Bool { value }

@Test func `a handle of a slot that was reused is stale`() {
  var slots = Slots<Int>(capacity: 2)
  let first = slots.insert(7)
  #expect(have(slots[first] == 7))
  #expect(have(slots.remove(first) == 7))
  let second = slots.insert(8)
  #expect(second != first)
  #expect(have(!slots.contains(first)))
  #expect(have(slots.contains(second)))
  let raw = second.raw
  #expect(SlotID(raw: raw) == second)
  #expect(raw != 0)
}

@Test func `a full table says so`() {
  var slots = Slots<String>(capacity: 2)
  _ = slots.insert("a")
  let b = slots.insert("b")
  #expect(have(!slots.hasRoom))
  slots.remove(b)
  #expect(have(slots.room == 1))
  #expect(have(slots.count == 1))
}

@Test func `a walk over slots survives removal`() {
  var slots = Slots<Int>(capacity: 8)
  for i in 0..<8 { _ = slots.insert(i) }
  var seen: [Int] = []
  var at = 0
  while let id = slots.next(from: at) {
    at = id.index + 1
    seen.append(slots.remove(id))
  }
  #expect(seen.sorted() == Array(0..<8))
  #expect(have(slots.isEmpty))
}

@Test func `a queue keeps its order while it grows and wraps`() {
  var queue = Queue<Int>(capacity: 2)
  var expected: [Int] = []
  var random = SeededGenerator(seed: 1)
  for i in 0..<10_000 {
    if random.oneIn(3), let first = expected.first {
      #expect(have(queue.popFirst() == first))
      expected.removeFirst()
    } else {
      queue.append(i)
      expected.append(i)
    }
    if expected.count > 50 {
      while let one = queue.popFirst() { #expect(one == expected.removeFirst()) }
    }
  }
  #expect(have(queue.count == expected.count))
  for (i, one) in expected.enumerated() {
    let found = queue[i]
    #expect(found == one)
  }
}
