// The words of DRBD for roles, disks and connections, with their numbers on the wire (wire spec 4.1). Log, status and
// manual use the same spelling.

public enum Role: UInt8, Sendable, CaseIterable {
  case unknown = 0
  case primary = 1
  case secondary = 2

  public var name: String {
    switch self {
    case .unknown: "Unknown"
    case .primary: "Primary"
    case .secondary: "Secondary"
    }
  }
}

/// Ordered: a greater value is a better disk.
public enum DiskState: UInt8, Sendable, Comparable, CaseIterable {
  case diskless = 0
  case attaching = 1
  case failed = 2
  case negotiating = 3
  case inconsistent = 4
  case outdated = 5
  case unknown = 6
  case consistent = 7
  case upToDate = 8

  public static func < (a: DiskState, b: DiskState) -> Bool { a.rawValue < b.rawValue }

  public var name: String {
    switch self {
    case .diskless: "Diskless"
    case .attaching: "Attaching"
    case .failed: "Failed"
    case .negotiating: "Negotiating"
    case .inconsistent: "Inconsistent"
    case .outdated: "Outdated"
    case .unknown: "DUnknown"
    case .consistent: "Consistent"
    case .upToDate: "UpToDate"
    }
  }
}

/// The combined connection and replication state of DRBD 8.4. Ordered: many rules say "at least Connected".
public enum ConnectionState: UInt8, Sendable, Comparable, CaseIterable {
  case standAlone = 0
  case disconnecting = 1
  case unconnected = 2
  case timeout = 3
  case brokenPipe = 4
  case networkFailure = 5
  case protocolError = 6
  case tearDown = 7
  case wfConnection = 8
  case wfReportParams = 9
  case connected = 10
  case startingSyncS = 11
  case startingSyncT = 12
  case wfBitMapS = 13
  case wfBitMapT = 14
  case wfSyncUUID = 15
  case syncSource = 16
  case syncTarget = 17
  case verifyS = 18
  case verifyT = 19
  case pausedSyncS = 20
  case pausedSyncT = 21
  case ahead = 22
  case behind = 23

  public static func < (a: ConnectionState, b: ConnectionState) -> Bool { a.rawValue < b.rawValue }

  /// DRBD 8.4's one word for both.
  public var name: String {
    switch self {
    case .standAlone: "StandAlone"
    case .disconnecting: "Disconnecting"
    case .unconnected: "Unconnected"
    case .timeout: "Timeout"
    case .brokenPipe: "BrokenPipe"
    case .networkFailure: "NetworkFailure"
    case .protocolError: "ProtocolError"
    case .tearDown: "TearDown"
    case .wfConnection: "WFConnection"
    case .wfReportParams: "WFReportParams"
    case .connected: "Connected"
    case .startingSyncS: "StartingSyncS"
    case .startingSyncT: "StartingSyncT"
    case .wfBitMapS: "WFBitMapS"
    case .wfBitMapT: "WFBitMapT"
    case .wfSyncUUID: "WFSyncUUID"
    case .syncSource: "SyncSource"
    case .syncTarget: "SyncTarget"
    case .verifyS: "VerifyS"
    case .verifyT: "VerifyT"
    case .pausedSyncS: "PausedSyncS"
    case .pausedSyncT: "PausedSyncT"
    case .ahead: "Ahead"
    case .behind: "Behind"
    }
  }

  /// The connection word of DRBD 9's status: everything from Connected on is `Connected`.
  public var connectionName: String {
    switch self {
    case .wfConnection, .wfReportParams: "Connecting"
    case _ where self >= .connected: "Connected"
    default: name
    }
  }

  /// The replication word of DRBD 9's status.
  public var replicationName: String {
    self < .connected ? "Off" : self == .connected ? "Established" : name
  }
}
