// Connecting and disconnecting.
import ArgumentParser
import Control

struct Connect: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "connect", abstract: "Connect to the peer.")
  @Flag(help: "At a split brain, overwrite the changes of this node.") var discardMyData = false
  @Flag(help: "Log what a connection would resync, and stay StandAlone.") var tentative = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ConnectionArguments

  func perform(_ admin: Admin) -> Int32 {
    let flags = (discardMyData ? ["--discard-my-data"] : []) + (tentative ? ["--tentative"] : [])
    return admin.tellPeers(objects.names, "connect", flags, .needed) {
      .connect(peer: $0.namedPeer, discardMyData: discardMyData, tentative: tentative)
    }
  }
}

struct Disconnect: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "disconnect", abstract: "Disconnect from the peer; the connection stays StandAlone.")
  @Flag(help: "Disconnect from a peer that does not answer.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ConnectionArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.tellPeers(objects.names, "disconnect", force ? ["--force"] : []) {
      .disconnect(peer: $0.namedPeer, force: force)
    }
  }
}
