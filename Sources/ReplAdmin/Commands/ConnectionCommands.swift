// Connecting, disconnecting, and waiting for what comes of it (admin spec 6.3).
import ArgumentParser
import Base
import Config
import Control

struct Connect: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "connect", abstract: "Connect to the peer, or begin to wait for it.")
  @Flag(help: "After a split brain: what was written here since is thrown away.") var discardMyData = false
  @Flag(help: "Log what a connection would resync, and stay StandAlone.") var tentative = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ConnectionArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .connection, .needed) { target in
      let flags = (discardMyData ? ["--discard-my-data"] : []) + (tentative ? ["--tentative"] : [])
      if admin.instead(target.peers.map { ["replsetup", "connect", target.resource.name, "\($0.nodeID)"] + flags }) {
        return
      }
      let reply = try admin.daemon(target.resource).ask(
        .connect(peer: target.namedPeer, discardMyData: discardMyData, tentative: tentative),
        deadline: general.deadline(30))
      admin.pass(on: reply, about: target.resource)
    }
  }
}

struct Disconnect: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "disconnect", abstract: "Take leave of the peer and stay StandAlone.")
  @Flag(help: "Do it also when the peer does not answer.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ConnectionArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.tell(
      objects.names, .connection,
      low: { target in
        target.peers.map {
          ["replsetup", "disconnect", target.resource.name, "\($0.nodeID)"] + (force ? ["--force"] : [])
        }
      }
    ) { .disconnect(peer: $0.namedPeer, force: force) }
  }
}

struct WaitTimeouts: ParsableArguments {
  @Option(help: ArgumentHelp("Seconds to wait; 0 is for ever. Default: the file's.", valueName: "seconds"))
  var wfcTimeout: Double?
  @Option(help: .hidden) var degrWfcTimeout: Double?
  @Option(help: .hidden) var outdatedWfcTimeout: Double?
  @Option(help: .hidden) var waitAfterSb: YesNo?

  func validate() throws {
    for given in [wfcTimeout, degrWfcTimeout, outdatedWfcTimeout] {
      if let given, !(0...300_000).contains(given) { throw ValidationError("a timeout is 0 to 300000 seconds") }
    }
  }

  /// The low-level command that waits: of the resource, or of the connection or volume that is named.
  func words(_ command: String, _ target: Selection) -> [String] {
    let resource = target.resource.name
    var words = ["replsetup", "\(command)-resource", resource]
    if target.namesPeer, let peer = target.peers.first {
      words = ["replsetup", "\(command)-connection", resource, "\(peer.nodeID)"]
      if let volume = target.namedVolume {
        words = ["replsetup", "\(command)-volume", resource, "\(peer.nodeID)", "\(volume.value)"]
      }
    }
    let given = [
      ("wfc-timeout", wfcTimeout), ("degr-wfc-timeout", degrWfcTimeout), ("outdated-wfc-timeout", outdatedWfcTimeout),
    ]
    for (name, seconds) in given {
      guard let seconds else { continue }
      words.append(seconds == seconds.rounded() ? "--\(name)=\(Int(seconds))" : "--\(name)=\(seconds)")
    }
    if let waitAfterSb { words.append("--wait-after-sb=\(waitAfterSb.rawValue)") }
    return words
  }

  /// `--timeout`, else `--wfc-timeout`, else the file's; nil is for ever.
  func deadline(_ general: GeneralOptions, _ startup: StartupOptions) -> Deadline {
    let configured = startup.wfcTimeout.map { Double($0.nanoseconds) / 1e9 }
    let seconds = general.timeout ?? wfcTimeout ?? configured
    return Deadline(after: seconds == 0 ? nil : seconds)
  }
}

struct WaitConnect: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait-connect", abstract: "Wait until the peer's volumes are visible.",
    aliases: ["wait-con-int"])
  @OptionGroup var timeouts: WaitTimeouts
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .peerVolume) { target in
      if admin.instead(timeouts.words("wait-connect", target)) { return }
      try admin.daemon(target.resource).ask(
        .waitConnect, deadline: timeouts.deadline(general, target.resource.startup))
    }
  }
}

struct WaitSync: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait-sync", abstract: "Wait until nothing is left to resync, and show how it goes.")
  @OptionGroup var timeouts: WaitTimeouts
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .peerVolume) { target in
      if admin.instead(timeouts.words("wait-sync", target)) { return }
      var display = SyncProgress(console: admin.console)
      defer { display.finish() }
      try admin.daemon(target.resource).ask(
        .waitSync, deadline: timeouts.deadline(general, target.resource.startup)
      ) { display.show($0) }
    }
  }
}
