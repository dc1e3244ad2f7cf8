// What the monitor asks the daemons: the state of every resource, once a second, all at once. Law: a daemon that does not answer delays
// the answer of no other, and is shown as one that does not answer.
import Control
import Glibc

struct MonitorQuestions: ~Copyable {
  private final class Question {
    var client: ControlClient
    let limit = Deadline(after: 5)
    init(_ client: consuming ControlClient) { self.client = client }
  }

  private let files: RunFiles
  private var open: [String: Question] = [:]
  private var taken: [String: ContinuousClock.Instant] = [:]
  private(set) var resources: [String: MonitoredResource] = [:]

  init(files: RunFiles) { self.files = files }

  var isAnswered: Bool { open.isEmpty }
  var descriptors: [Int32] { open.values.map { $0.client.descriptor } }

  /// The resources to show; a configured one also while it does not run.
  mutating func ask(configured: Set<String>, running: Set<String>) {
    let names = configured.union(running)
    for name in resources.keys where !names.contains(name) { resources[name] = nil }
    for name in names where open[name] == nil {
      do throws(ControlFault) {
        var client = try ControlClient(
          connecting: files.socket(of: name, for: .status), deadline: Deadline(after: 0.05))
        try client.send(Request(.status), deadline: Deadline(after: 0.05))
        open[name] = Question(client)
        if resources[name] == nil { resources[name] = MonitoredResource(name, .asked) }
      } catch {
        // The socket of a daemon that was killed stays behind.
        if error == .notRunning, !configured.contains(name) {
          resources[name] = nil
        } else {
          fail(name, error)
        }
      }
    }
  }

  /// Takes the answers that have come.
  mutating func hear() {
    for (name, question) in open {
      do throws(ControlFault) {
        guard let reply = try question.client.replyAtHand() else {
          if question.limit.hasPassed { throw .silent }
          continue
        }
        open[name] = nil
        switch reply {
        case .status(let snapshot): take(name, snapshot)
        case .refused(let refusal): resources[name] = MonitoredResource(name, .failed(refusal.headline))
        default: throw .broken("it answered something else")
        }
      } catch {
        open[name] = nil
        fail(name, error)
      }
    }
  }

  private mutating func take(_ name: String, _ snapshot: StatusSnapshot) {
    let now = ContinuousClock.now
    var next = MonitoredResource(name, .running(snapshot))
    if case .running(let before) = resources[name]?.standing, let then = taken[name] {
      let span = (now - then).components
      next.earlier = before
      next.seconds = Double(span.seconds) + Double(span.attoseconds) / 1e18
    }
    taken[name] = now
    resources[name] = next
  }

  private mutating func fail(_ name: String, _ fault: ControlFault) {
    let standing: MonitoredResource.Standing =
      switch fault {
      case .notRunning: .notRunning
      case .silent: .failed("repld does not answer")
      case .broken(let why): .failed("repld could not be asked: \(why)")
      case .impossible(let why): .failed(why)
      case .system(let why): .failed("\(why): be root, or in the group \(RunFiles.readers)")
      }
    resources[name] = MonitoredResource(name, standing)
  }
}
