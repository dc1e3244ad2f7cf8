// What single clients get of the pool: never the last of it, and always their own minimum.

import Base
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite struct GrantTests {
    /// 12 MiB for the clients of this machine, 2 MiB for those over TCP, and 64 KiB for each of 64.
    private func pool(clients: Int = 64) throws -> Pool {
      var shares = Shares()
      shares.clients = clients
      shares.minimum = .init(clients / 16, common: 0)
      shares.application = .init(4)
      shares.remote = .init(2, common: 0)
      shares.received = .init(2)
      shares.requested = .init(2, common: 1)
      shares.common = 8
      return try Pool(shares)
    }

    @Test("Forty clients that keep all they get leave enough for one more, and their minimum to all others")
    func hoarders() throws {
      var pool = try pool()
      for client in 0..<40 {
        var most = 0
        while pool.grant(upTo: 1 << 20, to: client, of: .application) != nil { most += 1 }
        #expect(most > 0, "client \(client) got nothing")
        // Those that came before have not left less to it than they could have.
        #expect(Int(pool.held[client]) <= pool.pagesLeft(.application))
      }
      #expect(pool.pagesLeft(.application) > 0)
      for client in 40..<64 {
        let own = try have(pool.grant(upTo: 1 << 20, to: client, of: .application))
        #expect(own.bytes >= 64 << 10)
      }
      // Nor have they touched what others need.
      for _ in 0..<2 { #expect(pool.allocate(bytes: 1 << 20, budget: .received) != nil) }
      for _ in 0..<2 { #expect(pool.allocate(bytes: 1 << 20, budget: .requested) != nil) }
    }

    @Test("One client alone gets long runs, and at most as much as it leaves")
    func alone() throws {
      var pool = try pool()
      var runs: [UInt32] = []
      while let run = pool.grant(upTo: 1 << 20, to: 7, of: .application) { runs.append(run.bytes) }
      #expect(runs.prefix(5).allSatisfy { $0 == 1 << 20 })
      #expect(pool.pagesInUse(by: 7) <= pool.pagesLeft(.application) + Pool.minimumPages)
      let whole = pool.grant(upTo: 4 << 10, whole: true, to: 8, of: .application)
      #expect(whole?.bytes == 4 << 10)
    }

    @Test("Clients over TCP leave those of this machine alone, and get nothing of what is common")
    func sides() throws {
      var pool = try pool()
      var remote = 0
      for client in 32..<64 {
        while let run = pool.grant(upTo: 1 << 20, to: client, of: .remote) { remote += Int(run.bytes) }
      }
      #expect(remote <= (2 << 20) + 32 * Pool.minimumPages * 4096)
      var local = 0
      while let run = pool.allocate(bytes: 1 << 20, budget: .application) { local += Int(run.bytes) }
      #expect(local == 12 << 20)
    }

    @Test("Answers to the peer never take what its own answers to us need")
    func directions() throws {
      var pool = try pool()
      var answers = 0
      while pool.allocate(bytes: 1 << 20, budget: .requested) != nil { answers += 1 }
      #expect(answers == 3)
      while pool.allocate(bytes: 4096, budget: .application) != nil {}
      for _ in 0..<2 { #expect(pool.allocate(bytes: 1 << 20, budget: .received) != nil) }
    }

    @Test("A client that holds nothing always gets something", arguments: 0..<30 as Range<UInt64>)
    func properties(seed: UInt64) throws {
      var generator = SeededGenerator(seed: seed)
      var pool = try pool(clients: 16)
      var held: [(client: Int, ref: PayloadRef)] = []
      for _ in 0..<6000 {
        if generator.oneIn(3), !held.isEmpty {
          pool.release(held.remove(at: Int(generator.below(UInt64(held.count)))).ref)
          continue
        }
        let client = Int(generator.below(16))
        let wanted = Int(generator.below(generator.oneIn(3) ? 1 << 20 : 40 << 10)) + 1
        let whole = generator.oneIn(5)
        let before = pool.pagesInUse(by: client)
        guard let ref = pool.grant(upTo: wanted, whole: whole, to: client, of: client < 8 ? .application : .remote)
        else {
          try #require(before > 0 || whole, "client \(client) holds nothing and got nothing")
          continue
        }
        try #require(Int(ref.bytes) == wanted || (!whole && Int(ref.bytes) < wanted && ref.bytes % 4096 == 0))
        held.append((client, ref))
        try #require(Int(pool.heldOfMinimum[client]) <= Pool.minimumPages)
      }
      for (_, ref) in held { pool.release(ref) }
      for client in 0..<16 { #expect(pool.pagesInUse(by: client) == 0) }
      let isIdle = pool.isIdle
      #expect(isIdle)
    }
  }
}
