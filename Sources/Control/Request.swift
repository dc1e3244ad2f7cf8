// What an operator can ask of a running `repld`: one JSON line from `repladm` on the control socket. The line is this
// type as the JSON coder of the standard library's Codable writes it. Law: a request is understood completely or refused; a
// daemon answers every request with reply lines of which exactly one, the last, is final (Reply.swift).
import Base

/// One command for the daemon of one resource.
public struct Request: Codable, Equatable, Sendable {
  /// Version of the control socket's language. A daemon refuses a version it does not know.
  public static let currentVersion = 1

  public var version: Int
  public var command: Command
  /// The daemon gives up after this long with a `Refusal` that says what it waited for. Absent: for ever.
  public var timeoutMilliseconds: UInt64?
  /// Absolute path of the configuration that the command is about (`-c FILE`): the daemon reads this file from now on. Absent: the one
  /// that it has. Only with a command that `readsConfiguration`.
  public var configurationFile: String?

  public init(_ command: Command, timeoutMilliseconds: UInt64? = nil, configurationFile: String? = nil) {
    version = Request.currentVersion
    self.command = command
    self.timeoutMilliseconds = timeoutMilliseconds
    self.configurationFile = configurationFile
  }
}

/// A volume or a peer that is absent means every one of the resource.
public enum Command: Codable, Equatable, Sendable {
  /// Answered by `Reply.status`.
  case status

  case primary(force: Bool)
  case secondary(force: Bool)

  case attach(volume: VolumeNumber?)
  case detach(volume: VolumeNumber?, force: Bool)
  case connect(peer: String?, discardMyData: Bool, tentative: Bool = false)
  case disconnect(peer: String?, force: Bool)

  case invalidate(volume: VolumeNumber?, resetBitmap: Bool)
  case invalidateRemote(volume: VolumeNumber?, resetBitmap: Bool)
  case outdate(volume: VolumeNumber?)
  case newCurrentUUID(volume: VolumeNumber, clearBitmap: Bool)
  case pauseSync(volume: VolumeNumber?)
  case resumeSync(volume: VolumeNumber?)
  case verify(volume: VolumeNumber?, startSector: UInt64?, stopSector: UInt64?)
  case suspendIO(volume: VolumeNumber?)
  case resumeIO(volume: VolumeNumber?)
  /// The backing devices grew: adopt the new size. Answered by `Reply.text` where the operator should know something.
  case resize(volume: VolumeNumber?, sizeSectors: UInt64?, assumeClean: Bool, assumePeerHasSpace: Bool = false)

  /// Done when every peer's volumes are visible, or at once when there is nothing to wait for: no peer, or StandAlone unless
  /// `waitAfterSb`. Running out of time is `Refusal.waitTimedOut`.
  case waitConnect(waitAfterSb: Bool = false)
  /// Done when every peer device is Established and not resyncing. `Reply.progress` lines may come before.
  case waitSync(waitAfterSb: Bool = false)

  /// Answered by a `Reply.progress` for every state the resource passes through and `Reply.helper` for its handlers, until one
  /// of both hangs up.
  case watch
  /// Read the configuration again and make the running state equal to it.
  case adjust
  /// The same, but leaves the disks or the connection as they are, or connects as `connect --discard-my-data` does.
  case adjustPart(skipDisk: Bool, skipNet: Bool, discardMyData: Bool = false)
  /// What `adjust` would do: `Reply.text` with the low-level commands, one a line, `Reply.done` when nothing differs, or the refusal.
  case adjustPlan(skipDisk: Bool, skipNet: Bool)
  /// The file's word on one volume, and on nothing else: it has the volume with this minor, or it has it no more.
  case addMinor(volume: VolumeNumber, minor: UInt32)
  case removeMinor(volume: VolumeNumber)
  /// Answered by `Reply.superblock`: what would be on disk if the metadata were written now.
  case metadata(volume: VolumeNumber)
  /// Answered by `Reply.text`: the NBD URI of the volume's export.
  case exportURI(volume: VolumeNumber)
  /// Options of one section (`disk-options`, `net-options`, ...) at run time, each `NAME=VALUE`. What was changed so before stays,
  /// unless `setDefaults`: then only what the file and this request say counts.
  case changeOptions(section: String, volume: VolumeNumber?, settings: [String], setDefaults: Bool)
  /// Answered by `Reply.text`: what is in force, as `replsetup show` prints it.
  case show(json: Bool, defaults: Bool)
  /// Disconnect, detach, answer, remove the sockets, end.
  case down
}

extension Command {
  /// Whether the resource is as before afterwards, and the answer has no secret: what the status socket takes.
  public var onlyReads: Bool {
    switch self {
    case .status, .watch, .waitConnect, .waitSync: true
    default: false
    }
  }

  /// Whether the daemon reads its configuration for it.
  public var readsConfiguration: Bool {
    switch self {
    case .adjust, .adjustPart, .adjustPlan, .addMinor, .removeMinor, .changeOptions: true
    default: false
    }
  }

  /// Whether a daemon that works answers without waiting for anything.
  public var isAnsweredAtOnce: Bool {
    switch self {
    case .status, .metadata, .exportURI, .show: true
    default: false
    }
  }

  /// The word an operator types for it.
  public var name: String {
    switch self {
    case .status: "status"
    case .primary: "primary"
    case .secondary: "secondary"
    case .attach: "attach"
    case .detach: "detach"
    case .connect: "connect"
    case .disconnect: "disconnect"
    case .invalidate: "invalidate"
    case .invalidateRemote: "invalidate-remote"
    case .outdate: "outdate"
    case .newCurrentUUID: "new-current-uuid"
    case .pauseSync: "pause-sync"
    case .resumeSync: "resume-sync"
    case .verify: "verify"
    case .suspendIO: "suspend-io"
    case .resumeIO: "resume-io"
    case .resize: "resize"
    case .waitConnect: "wait-connect"
    case .waitSync: "wait-sync"
    case .watch: "events2"
    case .adjust, .adjustPart, .adjustPlan: "adjust"
    case .addMinor: "new-minor"
    case .removeMinor: "del-minor"
    case .metadata: "get-gi"
    case .exportURI: "sh-nbd-uri"
    case .changeOptions(let section, _, _, _): section
    case .show: "show"
    case .down: "down"
    }
  }
}
