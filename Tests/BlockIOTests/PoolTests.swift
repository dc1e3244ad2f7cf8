// The pool against a model: runs never overlap, nothing is lost, and no side takes what is reserved for another.

import Base
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite struct PoolTests {
    private func shares(application: Int = 0, received: Int = 0, engine: Int = 0, common: Int) -> Shares {
      var shares = Shares()
      shares.application = .init(application)
      shares.received = .init(received)
      shares.engine = .init(engine)
      shares.common = common
      return shares
    }

    @Test("Random lives keep runs apart and lose nothing", arguments: 0..<20 as Range<UInt64>)
    func properties(seed: UInt64) throws {
      var generator = SeededGenerator(seed: seed)
      let mebibytes = 8
      var pool = try Pool(shares(application: 2, received: 2, engine: 1, common: 3))
      var taken = [Bool](repeating: false, count: mebibytes * 256)
      var held: [(ref: PayloadRef, pages: Int, budget: Budget)] = []
      for _ in 0..<4000 {
        if generator.oneIn(2), !held.isEmpty {
          let run = held.remove(at: Int(generator.below(UInt64(held.count))))
          for page in 0..<run.pages { taken[Int(run.ref.page) + page] = false }
          // The reference may have been shortened; the whole run comes back.
          pool.release(PayloadRef(page: run.ref.page, bytes: 1))
        } else {
          let budget = [Budget.application, .received, .engine][Int(generator.below(3))]
          let limit: UInt64 = generator.oneIn(4) ? 1 << 20 : 32 << 10
          let bytes = Int(generator.below(limit)) + 1
          guard let ref = pool.allocate(bytes: bytes, budget: budget) else { continue }
          #expect(Int(ref.bytes) == bytes)
          let pages = (bytes + 4095) / 4096
          for page in 0..<pages {
            try #require(!taken[Int(ref.page) + page], "page handed out twice")
            taken[Int(ref.page) + page] = true
          }
          held.append((ref, pages, budget))
        }
        for budget in Budget.allCases {
          let pages = held.reduce(0) { $0 + ($1.budget == budget ? $1.pages : 0) }
          try #require(pool.pagesInUse(budget) == pages)
        }
      }
      for run in held { pool.release(run.ref) }
      #expect(pool.isIdle == true)
      // Everything has merged again: the pool is as good as new.
      for _ in 0..<(mebibytes - 3) {
        let whole = pool.allocate(bytes: 1 << 20, budget: .application)
        #expect(whole != nil)
      }
    }

    @Test("A side that takes all it can leaves the others their reserve, in whole")
    func budgets() throws {
      var pool = try Pool(shares(application: 1, received: 3, engine: 1, common: 3))
      var small: [PayloadRef] = []
      while let ref = pool.allocate(bytes: 4096, budget: .application) { small.append(ref) }
      #expect(small.count == 4 * 256)
      for _ in 0..<3 { #expect(pool.allocate(bytes: 1 << 20, budget: .received) != nil) }
      #expect(pool.allocate(bytes: 1, budget: .received) == nil)
      let engine = try have(pool.allocate(bytes: 300 << 10, budget: .engine))
      #expect(pool.allocate(bytes: 1, budget: .application) == nil)
      // What one gives back whole, another may have, unless it is a reserve.
      for ref in small { pool.release(ref) }
      for _ in 0..<3 { #expect(pool.allocate(bytes: 1 << 20, budget: .received) != nil) }
      #expect(pool.allocate(bytes: 1, budget: .received) == nil)
      pool.release(engine)
      #expect(pool.allocate(bytes: 1, budget: .application) != nil)
    }

    @Test("A run wastes less than a page")
    func noWaste() throws {
      var pool = try Pool(shares(common: 1))
      // 129 pages would be 256 to a plain buddy allocator; here 127 are left for others.
      let large = try have(pool.allocate(bytes: 129 * 4096, budget: .application))
      var count = 0
      while pool.allocate(bytes: 4096, budget: .application) != nil { count += 1 }
      #expect(count == 127)
      #expect(pool.pointer(to: large) == pool.base + Int(large.page) * 4096)
      #expect(UInt(bitPattern: pool.base) % (1 << 20) == 0)
    }

    @Test("A part of a run can be named, for a write that is sent in pieces")
    func parts() throws {
      var pool = try Pool(shares(common: 1))
      let run = try have(pool.allocate(bytes: 256 << 10, budget: .application))
      let part = PayloadRef(page: run.page + 32, bytes: 128 << 10)
      #expect(pool.pointer(to: part) == pool.pointer(to: run) + 128 << 10)
      pool.release(run)
      let isIdle = pool.isIdle
      #expect(isIdle)
      let next = try have(pool.allocate(bytes: 1 << 20, budget: .application))
      #expect(pool.pointer(to: PayloadRef(page: next.page + 255, bytes: 4096)) == pool.base + 255 * 4096)
    }

    @Test("Registered memory is moved as fixed buffers, other memory the plain way")
    func fixedBuffers() throws {
      var pool = try Pool(shares(common: 2))
      var ring = try Ring.forTest()
      _ = Memory.raiseLockLimit()
      ring.register(pool)
      let scratch = try Scratch()
      let path = try scratch.file()
      let device = try BackingDevice(path: path, ring: &ring)
      var disk = DiskOperations(capacity: 4, kind: 1)
      let ref = try have(pool.allocate(bytes: 8192, budget: .received))
      let bytes = pattern(8192, seed: 5)
      pool.buffer(ref).copyBytes(from: bytes)
      if ring.buffersAreFixed { #expect(ring.fixedBuffer(pool.pointer(to: ref)) == 0) }
      disk.write(device, at: 4096, from: pool.pointer(to: ref), bytes: 8192, id: 1, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 1, fault: nil))
      let other = AlignedBuffer(count: 8192)
      #expect(ring.fixedBuffer(other.pointer) == nil)
      disk.read(device, at: 4096, into: other.pointer, bytes: 8192, id: 2, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 2, fault: nil))
      #expect(Array(other.bytes) == bytes)
      device.close(&ring)
    }
  }
}
