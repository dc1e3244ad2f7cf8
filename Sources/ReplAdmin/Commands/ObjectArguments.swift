// The objects at the end of a command line, by what a command can be about. Shells complete them with what the configuration
// names.
import ArgumentParser

private let resourceNames = CompletionKind.shellCommand("repladm sh-resources 2>/dev/null; echo all")

struct ResourceArguments: ParsableArguments {
  @Argument(help: ArgumentHelp("Resources, or all.", valueName: "res"), completion: resourceNames)
  var names: [String] = []
}

struct VolumeArguments: ParsableArguments {
  @Argument(
    help: ArgumentHelp("Resources (all their volumes), volumes as RES/N, minor-N, or all.", valueName: "res[/vol]"),
    completion: resourceNames)
  var names: [String] = []
}

struct ConnectionArguments: ParsableArguments {
  @Argument(
    help: ArgumentHelp("Resources (all their connections), connections as RES:PEER, or all.", valueName: "res[:peer]"),
    completion: resourceNames)
  var names: [String] = []
}

struct PeerVolumeArguments: ParsableArguments {
  @Argument(
    help: ArgumentHelp("Resources, volumes as RES/N or RES:PEER/N, or all.", valueName: "res[:peer][/vol]"),
    completion: resourceNames)
  var names: [String] = []
}
