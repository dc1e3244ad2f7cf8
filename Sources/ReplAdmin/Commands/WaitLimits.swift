// How long the waiting commands wait (admin spec 6.3): three timeouts of the `startup` section, and which of them counts is on
// record in the metadata. A node that was Primary without its peer takes `degr-wfc-timeout`; one whose peer is known to be
// Outdated takes `outdated-wfc-timeout`. Law: the second is never longer than the first, the third never longer than the second.
import Base
import Config
import Control

struct WaitLimits {
  /// In seconds; 0 is for ever.
  var normal: Double
  var degraded: Double
  var outdated: Double
  /// A connection that is StandAlone does not end the wait.
  var waitAfterSplitBrain: Bool

  /// Says which of the timeouts that were written is shortened.
  let remarks: [String]

  init(normal: Double?, degraded: Double?, outdated: Double?, waitAfterSplitBrain: Bool) {
    self.normal = normal ?? 0
    self.waitAfterSplitBrain = waitAfterSplitBrain
    var remarks: [String] = []
    func shortened(_ name: String, _ seconds: Double?, to limit: Double, _ limitName: String) -> Double {
      guard limit > 0, (seconds ?? 0) == 0 || (seconds ?? 0) > limit else { return seconds ?? 0 }
      if let seconds {
        remarks.append("\(name)=\(Int(seconds)) is longer than \(limitName)=\(Int(limit)), which is taken")
      }
      return limit
    }
    self.degraded = shortened("degr-wfc-timeout", degraded, to: self.normal, "wfc-timeout")
    self.outdated = shortened("outdated-wfc-timeout", outdated, to: self.degraded, "degr-wfc-timeout")
    self.remarks = remarks
  }

  /// Whether the state of the resource decides between them.
  var differ: Bool { degraded != normal || outdated != normal }

  /// The limit for a resource as it stands: the longest that one of its volumes asks for. Nil: for ever.
  func seconds(for snapshot: StatusSnapshot?) -> Double? {
    guard let snapshot else { return normal == 0 ? nil : normal }
    let peers = snapshot.connections.flatMap(\.peerDevices)
    let each = snapshot.devices.map { device -> Double in
      if peers.contains(where: { $0.volume == device.volume && $0.peerDisk == .outdated }) { return outdated }
      return device.wasDegraded == true ? degraded : normal
    }
    guard !each.contains(0), let longest = each.max() else { return nil }
    return longest
  }

  /// Waits until `command` is done.
  func ask(
    _ daemon: DaemonProcess, _ command: Command, patience: Deadline, limit: Deadline?,
    progress: (StatusSnapshot) -> Void = { _ in }
  ) throws(Refusal) {
    if let limit {
      try daemon.ask(command, deadline: limit, progress: progress)
      return
    }
    let snapshot = differ ? try daemon.status(deadline: patience) : nil
    try daemon.ask(command, deadline: Deadline(after: seconds(for: snapshot)), progress: progress)
  }
}
