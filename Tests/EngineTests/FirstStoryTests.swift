// The founding story on two engines: first connect, full sync, writes, flush, cut, resync.
import Base
import Testing

@testable import Engine

@Suite("Two nodes: the founding story")
struct FirstStoryTests {
  @Test("fresh nodes connect, and both are Inconsistent")
  func firstConnect() throws {
    let pair = try Pair()
    pair.attach()
    #expect(pair.alpha.state == "StandAlone Secondary/Unknown Inconsistent/DUnknown")
    pair.connect()
    pair.expect("Connected Secondary/Secondary Inconsistent/Inconsistent")
    pair.expectRest()
  }

  @Test("forced promotion while connected starts a full sync, and both end UpToDate with equal generations")
  func initialSync() throws {
    let pair = try Pair()
    pair.attach()
    pair.connect()
    pair.order(.primary(force: true), on: pair.alpha)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    #expect(pair.alpha.generations() == pair.beta.generations())
    pair.expectRest()
  }

  @Test("a write is on both disks before it is answered")
  func write() throws {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7)])
    #expect(pair.alpha.disks[.zero]![80] == 7)
    #expect(pair.beta.disks[.zero]![87] == 7)
    pair.pass(.seconds(1))
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("what is written while the link is cut is resynced, and nothing else")
  func reconnect() throws {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.pass(.seconds(1))
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(800, 16, stamp: 2), pair.alpha.write(4000, 1, stamp: 3)])
    #expect(pair.alpha.volume().outOfSync == SectorCount(24))
    let before = pair.beta.volume().received
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    #expect(pair.beta.disks[.zero]![4000] == 3)
    #expect(pair.beta.volume().received - before == 24)
    pair.expectRest()
  }
}
