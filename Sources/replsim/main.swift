// Runs simulated lives: one seed with its trace, or seed after seed until the time is used up. The time limit is the only
// use of a clock around the simulator. A law that breaks, or an engine that stops at a precondition, names its seed.
import Glibc
import Simulator

struct Arguments {
  var seed: UInt64?
  var steps = 60_000
  var isTracing = false
  var seconds: Double?
  var firstSeed: UInt64 = 1
  var planted: PlantedFault?

  init(_ words: [String]) {
    var rest = words[...]
    func usage(_ problem: String) -> Never {
      print(
        """
        replsim: \(problem)
        usage: replsim SEED [--steps N] [--trace] [--planted FAULT]
               replsim --seconds N [--first-seed N] [--steps N] [--planted FAULT]
        faults to plant: \(PlantedFault.allCases.map(\.rawValue).joined(separator: ", "))
        """)
      exit(2)
    }
    func number<T: LosslessStringConvertible>(_ option: String) -> T {
      guard let word = rest.popFirst(), let value = T(word) else { usage("\(option) needs a number") }
      return value
    }
    while let word = rest.popFirst() {
      switch word {
      case "--steps": steps = number(word)
      case "--trace": isTracing = true
      case "--seconds": seconds = number(word)
      case "--first-seed": firstSeed = number(word)
      case "--planted":
        guard let name = rest.popFirst(), let fault = PlantedFault(rawValue: name) else { usage("which fault?") }
        planted = fault
      default:
        guard let value = UInt64(word) else { usage("what is '\(word)'?") }
        seed = value
      }
    }
    if seed == nil && seconds == nil { usage("a seed or --seconds is needed") }
  }
}

/// The seed that runs, for the handler of a trap.
nonisolated(unsafe) var runningSeed: UInt64 = 0

/// An engine that stops at a precondition ends the process: say first which life it was.
/// Not while somebody has asked for a backtrace.
func nameTheSeedWhenTrapped() {
  if getenv("SWIFT_BACKTRACE") != nil { return }
  let handler: @convention(c) (Int32) -> Void = { signal in
    fflush(nil)
    var text: [UInt8] = Array("\nreplsim: the process stopped in seed ".utf8)
    text += Array(String(runningSeed).utf8)
    text += Array("; replay: scripts/sim \(runningSeed)\n".utf8)
    _ = write(1, text, text.count)
    _ = Glibc.signal(signal, SIG_DFL)
    raise(signal)
  }
  for one in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS] { _ = signal(one, handler) }
}

func monotonicSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// One life; true when every law held.
func live(_ seed: UInt64, _ arguments: Arguments, events: inout Int) -> Bool {
  runningSeed = seed
  let world = World(seed: seed, planting: arguments.planted)
  if arguments.isTracing { world.trace = { print($0) } }
  defer { events += world.events }
  do {
    try world.live(steps: arguments.steps)
    return true
  } catch {
    print("LAW BROKEN: \(error)")
    return false
  }
}

let arguments = Arguments(Array(CommandLine.arguments.dropFirst()))
nameTheSeedWhenTrapped()
var events = 0
let start = monotonicSeconds()
if let seed = arguments.seed {
  let good = live(seed, arguments, events: &events)
  let seconds = monotonicSeconds() - start
  print(
    "seed \(seed): \(good ? "every law held" : "FAILED") after \(events) events, \(Int(Double(events) / seconds)) a second"
  )
  exit(good ? 0 : 1)
}
var seed = arguments.firstSeed
while monotonicSeconds() - start < arguments.seconds! {
  if !live(seed, arguments, events: &events) {
    print("FAILED: scripts/sim \(seed)")
    exit(1)
  }
  seed += 1
}
let seconds = monotonicSeconds() - start
print(
  "\(seed - arguments.firstSeed) lives (seeds \(arguments.firstSeed)..<\(seed)), \(events) events in \(Int(seconds)) s:"
    + " \(Int(Double(events) / seconds)) a second; every law held")
