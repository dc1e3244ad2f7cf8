// Waiting for a connection or for the end of a resync (admin spec 6.3).
import ArgumentParser
import Base
import Config
import Control

struct WaitTimeouts: ParsableArguments {
  @Option(help: ArgumentHelp("Seconds to wait; 0: without end. Default: the file's.", valueName: "seconds"))
  var wfcTimeout: Double?
  @Option(
    help: ArgumentHelp("The same for a node that was Primary without its peer when it stopped.", valueName: "seconds"))
  var degrWfcTimeout: Double?
  @Option(help: ArgumentHelp("The same when the peer is known to be Outdated.", valueName: "seconds"))
  var outdatedWfcTimeout: Double?
  @Option(help: ArgumentHelp("yes: a StandAlone connection does not end the wait.", valueName: "yes|no"))
  var waitAfterSb: YesNo?

  func validate() throws {
    for given in [wfcTimeout, degrWfcTimeout, outdatedWfcTimeout] {
      if let given, !(0...300_000).contains(given) { throw ValidationError("a timeout is 0 to 300000 seconds") }
    }
  }

  /// The low-level command that waits: of the resource, or of the connection or volume that is named; with what the command line or
  /// the file says.
  func words(_ command: String, _ target: Selection) -> [String] {
    let resource = target.resource.name
    let startup = target.resource.startup
    var words = ["replsetup", "\(command)-resource", resource]
    if target.namesPeer, let peer = target.peers.first {
      words = ["replsetup", "\(command)-connection", resource, "\(peer.nodeID)"]
      if let volume = target.namedVolume {
        words = ["replsetup", "\(command)-volume", resource, "\(peer.nodeID)", "\(volume.value)"]
      }
    }
    let limits = [
      ("wfc-timeout", wfcTimeout, startup.wfcTimeout), ("degr-wfc-timeout", degrWfcTimeout, startup.degrWfcTimeout),
      ("outdated-wfc-timeout", outdatedWfcTimeout, startup.outdatedWfcTimeout),
    ]
    for (name, given, written) in limits {
      guard let seconds = given ?? written.map({ Double($0.nanoseconds) / 1e9 }) else { continue }
      words.append(seconds == seconds.rounded() ? "--\(name)=\(Int(seconds))" : "--\(name)=\(seconds)")
    }
    if let waitAfterSb {
      words.append("--wait-after-sb=\(waitAfterSb.rawValue)")
    } else if startup.waitAfterSb {
      words.append("--wait-after-sb=yes")
    }
    return words
  }

  /// What the command line says, else the file.
  func limits(_ startup: StartupOptions) -> WaitLimits {
    func seconds(_ interval: Interval?) -> Double? { interval.map { Double($0.nanoseconds) / 1e9 } }
    return WaitLimits(
      normal: wfcTimeout ?? seconds(startup.wfcTimeout), degraded: degrWfcTimeout ?? seconds(startup.degrWfcTimeout),
      outdated: outdatedWfcTimeout ?? seconds(startup.outdatedWfcTimeout),
      waitAfterSplitBrain: waitAfterSb.map { $0 == .yes } ?? startup.waitAfterSb)
  }
}

extension Admin {
  fileprivate func wait(
    _ target: Selection, _ word: String, _ timeouts: WaitTimeouts,
    progress: (StatusSnapshot) -> Void = { _ in }
  ) throws {
    let name = target.resource.name
    let limits = timeouts.limits(target.resource.startup)
    if instead(timeouts.words(word, target)) { return }
    for remark in limits.remarks { console.err("\(name): \(remark).\n") }
    let after = limits.waitAfterSplitBrain
    try limits.ask(
      daemon(target.resource), word == "wait-sync" ? .waitSync(waitAfterSb: after) : .waitConnect(waitAfterSb: after),
      patience: deadline(10), limit: hasLimit ? deadline(nil) : nil, progress: progress)
  }
}

struct WaitConnect: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait-connect", abstract: "Wait until the peer's volumes are visible.")
  @OptionGroup var timeouts: WaitTimeouts
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .peerVolume) { try admin.wait($0, "wait-connect", timeouts) }
  }
}

/// What an init script calls: every resource, whatever is named.
struct WaitConInt: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait-con-int", abstract: "Wait until the peers' volumes of all resources are visible.")
  @OptionGroup var timeouts: WaitTimeouts
  @OptionGroup var general: GeneralOptions
  @Argument(help: .hidden) var names: [String] = []

  func perform(_ admin: Admin) -> Int32 {
    if !names.isEmpty { admin.console.err("wait-con-int waits for every resource; the names are ignored.\n") }
    return admin.forEach(["all"], .peerVolume) { try admin.wait($0, "wait-connect", timeouts) }
  }
}

struct WaitSync: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait-sync", abstract: "Wait for the end of a resync and show its progress.")
  @OptionGroup var timeouts: WaitTimeouts
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .peerVolume) { target in
      var display = SyncProgress(console: admin.console)
      defer { display.finish() }
      try admin.wait(target, "wait-sync", timeouts) { display.show($0) }
    }
  }
}
