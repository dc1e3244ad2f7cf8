// Which states may follow which: of the own disk and of the connection of a volume, as tables. A change is normalised first; what is
// left and not in the table is a broken belief, and stops the process. What the peer says of its own disk has no table: it may say
// anything, and is normalised.
import Base

extension DiskState {
  /// Whether the own disk may become `next`.
  func mayBecome(_ next: DiskState) -> Bool {
    switch self {
    case .diskless: next == .attaching
    // Let go again at once, or once its I/O has ended; compared with a peer first; or taken as it is.
    case .attaching: next != .unknown
    case .negotiating: next == .failed || next.isUsable
    case .inconsistent, .outdated, .consistent, .upToDate: next == .failed || next.isUsable
    case .failed: next == .diskless
    case .unknown: false
    }
  }

  private var isUsable: Bool { self >= .inconsistent && self != .unknown }
}

extension ConnectionState {
  /// Why a connection has ended: it is tried again, or left.
  private var isEnd: Bool { self >= .disconnecting && self <= .tearDown && self != .unconnected }

  /// Whether the connection of a volume may become `next`.
  func mayBecome(_ next: ConnectionState) -> Bool {
    switch self {
    case .standAlone: return next == .unconnected
    case .unconnected: return next == .wfConnection || next == .standAlone
    case .disconnecting, .timeout, .brokenPipe, .networkFailure, .protocolError, .tearDown:
      return next == .unconnected || next == .standAlone
    case .wfConnection: return next == .wfReportParams || next == .standAlone || next.isEnd
    case .wfReportParams:
      return next == .connected || next == .wfBitMapS || next == .wfBitMapT || next == .behind || next.isEnd
    default: break
    }
    // From here on a connection stands: it ends, or the step under way does.
    if next.isEnd || next == .connected { return true }
    switch self {
    case .connected:
      switch next {
      case .startingSyncS, .startingSyncT, .wfBitMapS, .wfBitMapT, .verifyS, .verifyT, .behind: return true
      default: return false
      }
    case .startingSyncS: return next == .syncSource || next == .pausedSyncS
    case .startingSyncT: return next == .wfSyncUUID
    // DRBD 9 may insist that it is the source (`yieldsToSource`).
    case .wfBitMapS: return next == .syncSource || next == .pausedSyncS || next == .wfBitMapT
    case .wfBitMapT: return next == .wfSyncUUID || next == .behind
    case .wfSyncUUID, .behind: return next == .syncTarget || next == .pausedSyncT || next == .behind
    case .syncSource: return next == .pausedSyncS
    case .pausedSyncS: return next == .syncSource
    case .syncTarget: return next == .pausedSyncT || next == .behind
    case .pausedSyncT: return next == .syncTarget || next == .behind
    case .verifyS, .verifyT: return next == .behind
    // Only a peer is Ahead.
    default: return false
    }
  }
}

extension VolumeState {
  /// Stops the process where `next` cannot follow.
  func precedes(_ next: VolumeState) {
    precondition(
      disk == next.disk || disk.mayBecome(next.disk), "a disk that is \(disk.name) becomes \(next.disk.name)")
    precondition(
      conn == next.conn || conn.mayBecome(next.conn), "a connection that is \(conn.name) becomes \(next.conn.name)")
    precondition(next.conn != .ahead && next.disk != .unknown, "\(next.conn.name), \(next.disk.name): not of this node")
  }
}
