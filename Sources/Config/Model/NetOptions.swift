// How a node talks to one peer: the `net` options after inheritance, as types.

import Base

public enum WireProtocol: String, Sendable { case a = "A", b = "B", c = "C" }

/// What to do about a split brain when no node is Primary.
public enum AfterSplitBrain0: Sendable, Equatable {
  case disconnect
  case discardYoungerPrimary, discardOlderPrimary
  case discardZeroChanges, discardLeastChanges
  case discardLocal, discardRemote
}

/// ... when one node is Primary.
public enum AfterSplitBrain1: String, Sendable {
  case disconnect, consensus
  case discardSecondary = "discard-secondary"
  case callPriLostAfterSb = "call-pri-lost-after-sb"
  case violentlyAs0p = "violently-as0p"
}

/// ... when both are.
public enum AfterSplitBrain2: String, Sendable {
  case disconnect
  case callPriLostAfterSb = "call-pri-lost-after-sb"
  case violentlyAs0p = "violently-as0p"
}

/// What to do when roles contradict the direction of a resync.
public enum RoleResyncConflict: String, Sendable {
  case disconnect, violently
  case callPriLost = "call-pri-lost"
  case retryConnect = "retry-connect"
  case autoDiscard = "auto-discard"
}

public enum OnCongestion: String, Sendable {
  case block, disconnect
  case pullAhead = "pull-ahead"
}

public enum Fencing: String, Sendable {
  case dontCare = "dont-care"
  case resourceOnly = "resource-only"
  case resourceAndStonith = "resource-and-stonith"
}

public struct NetOptions: Sendable, Equatable {
  public var wireProtocol: WireProtocol
  public var timeout: Interval
  public var connectInt: Interval
  public var pingInt: Interval
  public var pingTimeout: Interval
  /// Times `timeout` that a busy peer may hold up a request; 0 = for ever.
  public var koCount: Int
  public var maxEpochSize: Int
  /// In pages of 4 KiB.
  public var maxBuffers: Int
  /// Bytes; 0 = the kernel decides.
  public var sndbufSize: Int
  public var rcvbufSize: Int
  public var tcpCork: Bool
  /// 0 = use `pingTimeout`.
  public var socketCheckTimeout: Interval
  public var allowTwoPrimaries: Bool
  /// Digest for authentication, as the file names it (`sha256`); nil = no authentication.
  public var cramHmacAlg: String?
  public var sharedSecret: String?
  public var afterSb0: AfterSplitBrain0
  public var afterSb1: AfterSplitBrain1
  public var afterSb2: AfterSplitBrain2
  public var alwaysAsbp: Bool
  public var rrConflict: RoleResyncConflict
  public var dataIntegrityAlg: String?
  public var verifyAlg: String?
  public var csumsAlg: String?
  public var csumsAfterCrashOnly: Bool
  public var useRle: Bool
  public var onCongestion: OnCongestion
  public var congestionFill: SectorCount
  public var congestionExtents: Int
  public var fencing: Fencing
  public var allowRemoteRead: Bool
  public var transport: String
  public var tls: Bool

  /// `isOwn` says whether a name means this host, and so what `discard-node-NAME` means here.
  init(_ options: EffectiveOptions, isOwn: (String) -> Bool) {
    wireProtocol = options.choice("protocol")
    timeout = .deciseconds(options.number("timeout"))
    connectInt = .seconds(options.number("connect-int"))
    pingInt = .seconds(options.number("ping-int"))
    pingTimeout = .deciseconds(options.number("ping-timeout"))
    koCount = Int(options.number("ko-count"))
    maxEpochSize = Int(options.number("max-epoch-size"))
    maxBuffers = Int(options.number("max-buffers"))
    sndbufSize = Int(options.number("sndbuf-size"))
    rcvbufSize = Int(options.number("rcvbuf-size"))
    tcpCork = options.flag("tcp-cork")
    socketCheckTimeout = .deciseconds(options.number("socket-check-timeout"))
    allowTwoPrimaries = options.flag("allow-two-primaries")
    cramHmacAlg = options.word("cram-hmac-alg")
    sharedSecret = options.word("shared-secret")
    afterSb0 = Self.afterSb0(options.word("after-sb-0pri") ?? "disconnect", isOwn)
    afterSb1 = options.choice("after-sb-1pri")
    afterSb2 = options.choice("after-sb-2pri")
    alwaysAsbp = options.flag("always-asbp")
    rrConflict = options.choice("rr-conflict")
    dataIntegrityAlg = options.word("data-integrity-alg")
    verifyAlg = options.word("verify-alg")
    csumsAlg = options.word("csums-alg")
    csumsAfterCrashOnly = options.flag("csums-after-crash-only")
    useRle = options.flag("use-rle")
    onCongestion = options.choice("on-congestion")
    congestionFill = SectorCount(options.number("congestion-fill"))
    congestionExtents = Int(options.number("congestion-extents"))
    fencing = options.choice("fencing")
    allowRemoteRead = options.flag("allow-remote-read")
    transport = options.word("transport") ?? "tcp"
    tls = options.flag("tls")
  }

  /// `discard-node-NAME` throws away the data of the node called NAME, so each node reads it differently.
  private static func afterSb0(_ word: String, _ isOwn: (String) -> Bool) -> AfterSplitBrain0 {
    switch word {
    case "disconnect": return .disconnect
    case "discard-younger-primary": return .discardYoungerPrimary
    case "discard-older-primary": return .discardOlderPrimary
    case "discard-zero-changes": return .discardZeroChanges
    case "discard-least-changes": return .discardLeastChanges
    case "discard-local": return .discardLocal
    case "discard-remote": return .discardRemote
    default:
      precondition(word.hasPrefix("discard-node-"), "after-sb-0pri has a word that its type does not know")
      return isOwn(String(word.dropFirst(13))) ? .discardLocal : .discardRemote
    }
  }
}
