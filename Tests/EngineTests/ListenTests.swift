// Listening for the peer fails for a while: the address is gone, its port is taken, descriptors are short. None of it needs
// an operator.
import Base
import Testing

@testable import Engine

@Suite("Two nodes: listening that fails for a while")
struct ListenTests {
  private let why = "10.0.0.1 is not an address of this host"

  /// What the node asks of its listener from now on.
  private func fail(_ node: Node) { node.inbox.append(.event(.listenFailed(why: why))) }

  private func complaints(_ node: Node) -> Int { node.log.count { $0.contains("r0 beta: cannot listen: ") } }

  @Test("never StandAlone: said once, and tried again every connect-int")
  func triedAgain() throws {
    let pair = try Pair { settings, _ in settings.net.connectInterval = .seconds(3) }
    pair.attach()
    pair.order(.connect(discardMyData: false), on: pair.alpha)
    for _ in 0..<5 {
      fail(pair.alpha)
      pair.settle()
      #expect(pair.alpha.state.hasPrefix("WFConnection "))
      pair.alpha.forgetTrace()
      pair.pass(.milliseconds(2_900))
      #expect(!pair.alpha.take().contains(.listen))
      pair.pass(.milliseconds(200))
      #expect(pair.alpha.take().contains(.listen))
    }
    #expect(complaints(pair.alpha) == 1)
    #expect(pair.alpha.log.contains { $0.contains(why) && $0.hasSuffix("repld tries again every 3 s") })
    #expect(pair.alpha.engine.connectionRefusal == nil)
    pair.order(.connect(discardMyData: false), on: pair.beta)
    pair.waitConnected()
    pair.expectRest()
  }

  @Test("another reason is said, too; after a loss the search goes on in the same way")
  func afterALoss() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.disconnect(force: false), on: pair.beta)
    pair.run(until: { pair.alpha.state.hasPrefix("WFConnection") })
    fail(pair.alpha)
    pair.alpha.inbox.append(.event(.listenFailed(why: "too many open files")))
    pair.settle()
    #expect(complaints(pair.alpha) == 2)
    #expect(pair.alpha.state == "WFConnection Primary/Unknown UpToDate/DUnknown")
    // The node whose listener is missing still finds the peer by connecting to it.
    pair.order(.connect(discardMyData: false), on: pair.beta)
    pair.waitConnected()
    pair.waitSync()
    pair.expectRest()
  }

  @Test("a failure that comes after the search has ended changes nothing")
  func late() throws {
    let pair = try Pair()
    pair.synced()
    fail(pair.alpha)
    pair.settle()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.order(.disconnect(force: false), on: pair.alpha)
    fail(pair.alpha)
    pair.settle()
    #expect(pair.alpha.state == "StandAlone Primary/Unknown UpToDate/DUnknown")
    #expect(complaints(pair.alpha) == 0)
  }
}
