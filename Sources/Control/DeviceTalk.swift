// What `repladm` and `repl-device` say to each other: one packet out, one packet back, over the socket of the resource's device
// server. Words, not JSON: a server that was started by an older version is asked for years to come.
import Base

public enum DeviceRequest: Equatable, Sendable {
  /// Begin to show the volume. The packet carries a connection to the export, ready for requests.
  case serve(VolumeNumber, size: UInt64, flags: UInt16)
  /// Go on with a volume that waits. The packet carries the new connection.
  case resume(VolumeNumber, size: UInt64, flags: UInt16)
  /// The volume has this many bytes now.
  case resize(VolumeNumber, size: UInt64)
  /// Stop showing the volume: what is under way and what comes later ends with EIO.
  case end(VolumeNumber)
  /// Show a node of this name for the volume, with DRBD's number, which opens nothing until `bind`.
  case name(VolumeNumber, minor: UInt32, String)
  /// Take the node of the volume away.
  case unname(VolumeNumber)
  /// The node of the volume is this device from now on, until `end`.
  case bind(VolumeNumber, major: UInt32, minor: UInt32)
  /// The role is about to change: no caller of open(2) or mount(2) is answered while this connection stands.
  case hold
  /// Who made this node Primary: an open of the device, which the last close undoes, or a command.
  case role(automatic: Bool)
  /// Refused when the last close is not to demote.
  case mayDemote
  /// End, if no volume and no node is shown. Not before the loop device of the last one has let its file go.
  case leave
  /// Which volumes are shown, and whether they have a connection.
  case state

  public var text: String {
    switch self {
    case .serve(let volume, let size, let flags): "serve \(volume.value) \(size) \(flags)"
    case .resume(let volume, let size, let flags): "resume \(volume.value) \(size) \(flags)"
    case .resize(let volume, let size): "resize \(volume.value) \(size)"
    case .end(let volume): "end \(volume.value)"
    case .name(let volume, let minor, let name): "name \(volume.value) \(minor) \(name)"
    case .unname(let volume): "unname \(volume.value)"
    case .bind(let volume, let major, let minor): "bind \(volume.value) \(major) \(minor)"
    case .hold: "hold"
    case .role(let automatic): "role \(automatic ? "automatic" : "explicit")"
    case .mayDemote: "may-demote"
    case .leave: "leave"
    case .state: "state"
    }
  }

  /// Nil: not understood.
  public init?(_ text: String) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    let volume = words.count > 1 ? UInt16(words[1]).map { VolumeNumber($0) } : nil
    let size = words.count > 2 ? UInt64(words[2]) : nil
    let flags = words.count > 3 ? UInt16(words[3]) : nil
    if words.first == "name" || words.first == "bind" || words.first == "role" {
      self.init(ofNode: words, volume)
      return
    }
    switch (words.first, words.count, volume, size, flags) {
    case ("serve", 4, let volume?, let size?, let flags?): self = .serve(volume, size: size, flags: flags)
    case ("resume", 4, let volume?, let size?, let flags?): self = .resume(volume, size: size, flags: flags)
    case ("resize", 3, let volume?, let size?, nil): self = .resize(volume, size: size)
    case ("end", 2, let volume?, nil, nil): self = .end(volume)
    case ("unname", 2, let volume?, nil, nil): self = .unname(volume)
    case ("hold", 1, nil, nil, nil): self = .hold
    case ("may-demote", 1, nil, nil, nil): self = .mayDemote
    case ("leave", 1, nil, nil, nil): self = .leave
    case ("state", 1, nil, nil, nil): self = .state
    default: return nil
    }
  }

  private init?(ofNode words: [Substring], _ volume: VolumeNumber?) {
    let first = words.count > 2 ? UInt32(words[2]) : nil
    switch (words[0], words.count, volume, first) {
    case ("name", 4, let volume?, let minor?) where DeviceRequest.canBeNamed(words[3]):
      self = .name(volume, minor: minor, String(words[3]))
    case ("bind", 4, let volume?, let major?):
      guard let minor = UInt32(words[3]) else { return nil }
      self = .bind(volume, major: major, minor: minor)
    case ("role", 2, nil, nil) where words[1] == "automatic": self = .role(automatic: true)
    case ("role", 2, nil, nil) where words[1] == "explicit": self = .role(automatic: false)
    default: return nil
    }
  }

  /// Whether a node of a device server can have this name.
  public static func canBeNamed(_ name: some StringProtocol) -> Bool {
    (1...255).contains(name.utf8.count) && name != "." && name != ".." && !name.contains("/") && !name.contains(" ")
  }
}

public enum DeviceReply: Equatable, Sendable {
  /// A volume that is shown.
  public struct Shown: Equatable, Sendable {
    public let volume: VolumeNumber
    /// Else its requests wait.
    public let isConnected: Bool
    public init(volume: VolumeNumber, isConnected: Bool) {
      self.volume = volume
      self.isConnected = isConnected
    }
  }

  case done
  /// The volume is a file of this name, which no other file of any server has.
  case served(String)
  /// No volume is shown: the server ends.
  case leaving
  case refused(String)
  case state([Shown])

  public var text: String {
    switch self {
    case .done: "done"
    case .served(let name): "served \(name)"
    case .leaving: "leaving"
    case .refused(let why): "refused \(why)"
    case .state(let shown):
      (["state"] + shown.map { "\($0.volume.value):\($0.isConnected ? "connected" : "waiting")" }).joined(
        separator: " ")
    }
  }

  /// Nil: not understood.
  public init?(_ text: String) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    switch words[0] {
    case "done" where words.count == 1: self = .done
    case "served" where words.count == 2 && !words[1].isEmpty: self = .served(String(words[1]))
    case "leaving" where words.count == 1: self = .leaving
    case "refused": self = .refused(String(text.dropFirst(8)))
    case "state":
      var shown: [Shown] = []
      for word in words.dropFirst() {
        let parts = word.split(separator: ":")
        guard parts.count == 2, let number = UInt16(parts[0]), parts[1] == "connected" || parts[1] == "waiting"
        else { return nil }
        shown.append(Shown(volume: VolumeNumber(number), isConnected: parts[1] == "connected"))
      }
      self = .state(shown)
    default: return nil
    }
  }
}
