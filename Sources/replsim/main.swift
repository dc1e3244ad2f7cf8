// Runs simulated lives: seeds with their trace, or one after the other until the time is used up. The time limit is the
// only use of a clock around the simulator. A law that breaks, or an engine that stops at a precondition, names its seed.
import Glibc
import Simulator

let arguments = Arguments(Array(CommandLine.arguments.dropFirst()))
let start = monotonicSeconds()
/// The seed that runs, for the handler of a trap.
nonisolated(unsafe) var runningSeed: UInt64 = 0
nonisolated(unsafe) var tally = arguments.before
nonisolated(unsafe) var census = LivesCensus()

func monotonicSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// An engine that stops at a precondition ends the process: say first which life it was. When the run is to go on, this
/// process becomes one that begins with the next seed. Not while somebody has asked for a backtrace.
func nameTheSeedWhenTrapped() {
  if getenv("SWIFT_BACKTRACE") != nil { return }
  let handler: @convention(c) (Int32) -> Void = { signal in
    fflush(nil)
    var text: [UInt8] = Array("\nreplsim: the process stopped in seed ".utf8)
    text += Array(String(runningSeed).utf8)
    text += Array("; replay: scripts/sim \(runningSeed)\n".utf8)
    _ = write(1, text, text.count)
    if arguments.goesOn, arguments.seeds.isEmpty { goOnBehind(runningSeed) }
    _ = Glibc.signal(signal, SIG_DFL)
    raise(signal)
  }
  for one in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS] { _ = signal(one, handler) }
}

/// Replaces this process by one that has seen the same, and goes on with the next life.
func goOnBehind(_ seed: UInt64) {
  tally.lives += 1
  tally.failures.append((seed, "the process stopped"))
  var words = ["replsim", "--all", "--first-seed", "\(seed + 1)", "--steps", "\(arguments.steps)"]
  if let seconds = arguments.seconds { words += ["--seconds", "\(max(0, seconds - (monotonicSeconds() - start)))"] }
  if let lives = arguments.lives { words += ["--lives", "\(lives)"] }
  if !arguments.drawsFencing { words.append("--no-fencing") }
  if arguments.printsFingerprints { words.append("--fingerprint") }
  if arguments.era != .latest { words += ["--era", "\(arguments.era.rawValue)"] }
  if let planted = arguments.planted { words += ["--planted", planted.rawValue] }
  words += ["--tally", tally.word]
  var all = sigset_t()
  sigfillset(&all)
  sigprocmask(SIG_UNBLOCK, &all, nil)
  var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
  pointers.append(nil)
  execv("/proc/self/exe", pointers)
}

/// One life; true when every law held.
@discardableResult
func live(_ seed: UInt64) -> Bool {
  runningSeed = seed
  let world = World(seed: seed, planting: arguments.planted, drawsFencing: arguments.drawsFencing, era: arguments.era)
  if arguments.isTracing { world.trace = { print($0) } }
  world.fingerprintsEffects = arguments.printsFingerprints
  var isGood = true
  do {
    try world.live(steps: arguments.steps)
  } catch {
    print("LAW BROKEN: \(error)")
    fflush(nil)
    tally.failures.append((seed, error.law))
    isGood = false
  }
  tally.lives += 1
  tally.events += world.events
  if arguments.tellsCensus { census += world.census }
  if arguments.printsFingerprints { print("\(seed) \(String(world.effectsFingerprint, radix: 16))") }
  return isGood
}

nameTheSeedWhenTrapped()
for seed in arguments.seeds {
  let before = (monotonicSeconds(), tally.events)
  let isGood = live(seed)
  let events = tally.events - before.1
  let rate = Int(Double(events) / max(monotonicSeconds() - before.0, 1e-9))
  print("seed \(seed): \(isGood ? "every law held" : "FAILED") after \(events) events, \(rate) a second")
}
if arguments.seeds.isEmpty {
  var seed = arguments.firstSeed
  while arguments.seconds.map({ monotonicSeconds() - start < $0 }) ?? true,
    arguments.lives.map({ tally.lives < $0 }) ?? true, arguments.goesOn || tally.failures.isEmpty
  {
    live(seed)
    seed += 1
    if arguments.goesOn, tally.lives % 1000 == 0 { print("\(tally.lives) lives, \(tally.failures.count) failed") }
  }
  let seconds = monotonicSeconds() - start
  let rate = Int(Double(tally.events - arguments.before.events) / max(seconds, 1e-9))
  print("\(tally.lives) lives up to seed \(seed - 1), \(tally.events) events: \(rate) a second")
  if arguments.tellsCensus { print("\(census.lives) lives; of 1,000: lives that had it, how often\n\(census.table)") }
  print(tally.failures.isEmpty ? "every law held" : "\(tally.failures.count) FAILED\n\(tally.summary)")
}
exit(tally.failures.isEmpty ? 0 : 1)
