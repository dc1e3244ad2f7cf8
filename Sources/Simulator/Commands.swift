// What operators have typed and the engines have not answered yet.
import Base
import Engine

/// Commands that wait for their reply.
struct Commands {
  struct Pending {
    var reply: ReplyTo
    var node: Int
    var command: Command
    var since: UInt64
  }
  private(set) var pending: [Pending] = []
  private var next: UInt64 = 1
  /// The last outcome of each node, for scenarios.
  private(set) var outcomes: [(reply: ReplyTo, outcome: Outcome)] = []

  mutating func add(_ n: Int, _ command: Command, at now: UInt64) -> ReplyTo {
    let reply = ReplyTo(next)
    next += 1
    pending.append(Pending(reply: reply, node: n, command: command, since: now))
    return reply
  }
  mutating func take(_ n: Int, _ reply: ReplyTo, _ outcome: Outcome) -> Command? {
    guard let i = pending.firstIndex(where: { $0.reply == reply && $0.node == n }) else { return nil }
    if outcomes.count >= 64 { outcomes.removeFirst(32) }
    outcomes.append((reply, outcome))
    return pending.remove(at: i).command
  }
  func outcome(of reply: ReplyTo) -> Outcome? { outcomes.last { $0.reply == reply }?.outcome }
  func isPending(_ reply: ReplyTo) -> Bool { pending.contains { $0.reply == reply } }
  func isBusy(_ n: Int) -> Bool { pending.contains { $0.node == n } }
  mutating func forget(_ n: Int) { pending.removeAll { $0.node == n } }
}
