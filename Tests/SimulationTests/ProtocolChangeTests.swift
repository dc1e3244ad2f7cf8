// The protocol of a connection changes again and again while the application writes, connections break and roles change.
import Simulator
import Testing

@Suite("Protocols that change under load")
struct ProtocolChangeTests {
  @Test("every law of the weakest protocol holds", arguments: [1, 2, 3, 4] as [UInt64])
  func changes(_ seed: UInt64) throws {
    var all = Circumstances.calm(bytes: 8 << 20)
    all.wireProtocol = .b
    all.actions = [.options, .switchOver]
    // Such a life lasts some 200 ms.
    all.actionEvery = 2_000_000
    all.faults = [.reset]
    all.faultEvery = 20_000_000
    // Below version 100 nothing can be announced: the nodes connect anew.
    if seed % 4 == 0 { all.maximumVersion[0] = 99 }
    let world = World(seed: seed, circumstances: all, era: .first)
    var changes = 0
    world.trace = { line in if line.contains("log: r0 "), line.contains(": protocol ") { changes += 1 } }
    try world.live(steps: 30_000, rounds: 2)
    #expect(changes > 0 || seed % 4 == 0, "\(changes) changes")
  }
}
