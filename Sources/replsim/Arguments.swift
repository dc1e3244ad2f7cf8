// What replsim is told to do: the words of the command line, and the help that explains them.
import Glibc
import Simulator

struct Arguments {
  static let help = """
    usage: replsim SEED [SEED...] [--trace]         lives of these seeds
           replsim --seconds N | --lives N [--all]  one life after the other, until the time or the number is used up

      --first-seed N     the seed of the first life; the next one has the next number (default: 1)
      --seconds N        begin no new life after this time
      --lives N          live so many lives
      --all              go on after a life that breaks a law, and name them all at the end
      --steps N          events of a life with faults (default: 60000)
      --census           tell at the end how often each property and fault was met in 1,000 lives
      --era N            lives of an earlier era, 1 to \(Era.latest.rawValue) (default: the latest)
      --no-fencing       no life has fencing: the lives of seeds from before there was any
      --fingerprint      print a number for each life that changes with every effect: builds that do the same have the same
      --trace            print every event and every effect
      --planted FAULT    plant a fault, to prove that the laws are watched:
                         \(PlantedFault.allCases.map(\.rawValue).joined(separator: ", "))
      --help             this text

    The same seed lives the same life. Exit status: 0 when every law held, 1 when one was broken, 2 for a wrong option.
    """

  var seeds: [UInt64] = []
  var steps = 60_000
  var drawsFencing = true
  var isTracing = false
  var printsFingerprints = false
  var goesOn = false
  var tellsCensus = false
  var era = Era.latest
  var seconds: Double?
  var lives: UInt64?
  var firstSeed: UInt64 = 1
  var planted: PlantedFault?
  /// What an earlier part of this run has seen, before a life ended the process.
  var before = Tally()

  init(_ words: [String]) {
    var rest = words[...]
    func usage(_ problem: String) -> Never {
      print("replsim: \(problem)\n\(Self.help)")
      exit(2)
    }
    func number<T: LosslessStringConvertible>(_ option: String) -> T {
      guard let word = rest.popFirst(), let value = T(word) else { usage("\(option) needs a number") }
      return value
    }
    while let word = rest.popFirst() {
      switch word {
      case "--help", "-h":
        print(Self.help)
        exit(0)
      case "--steps": steps = number(word)
      case "--no-fencing": drawsFencing = false
      case "--trace": isTracing = true
      case "--fingerprint": printsFingerprints = true
      case "--all": goesOn = true
      case "--census": tellsCensus = true
      case "--era":
        guard let chosen = Era(rawValue: number(word)) else { usage("which era?") }
        era = chosen
      case "--seconds": seconds = number(word)
      case "--lives": lives = number(word)
      case "--first-seed": firstSeed = number(word)
      case "--tally": if let word = rest.popFirst() { before = Tally(word) }
      case "--planted":
        guard let name = rest.popFirst(), let fault = PlantedFault(rawValue: name) else { usage("which fault?") }
        planted = fault
      default:
        guard let value = UInt64(word) else { usage("what is '\(word)'?") }
        seeds.append(value)
      }
    }
    if seeds.isEmpty && seconds == nil && lives == nil { usage("a seed, --seconds or --lives is needed") }
  }
}
