// What an operator can ask of a running resource. Reading (status, generation identifiers) goes through
// `Engine.snapshot`, not through here.
import Base

public enum Command: Equatable, Sendable {
  case attach(VolumeNumber)
  case detach(VolumeNumber, force: Bool)
  case connect(discardMyData: Bool, tentative: Bool = false)
  case disconnect(force: Bool)
  /// Tells the connected peer the options that both compare, as they were adopted (P_PROTOCOL_UPDATE).
  case announceOptions
  /// The resource has these volumes from now on: others are let go of, new ones come without their disks. `thenAttach`: those are attached
  /// next, and the peer is met after that.
  case changeVolumes([VolumeSettings], thenAttach: Bool)
  case primary(force: Bool)
  case secondary
  case invalidate(VolumeNumber)
  case invalidateRemote(VolumeNumber)
  case outdate(VolumeNumber)
  case newCurrentUUID(VolumeNumber, clearBitmap: Bool)
  case pauseSync(VolumeNumber)
  case resumeSync(VolumeNumber)
  /// Compares the data of both nodes, from where the last one was broken off, or as said.
  case verify(VolumeNumber, start: Sector?, stop: Sector?)
  /// Adopts the new size of grown devices; `limit`: not more than this. `assumePeerHasSpace`: without a connection, or while the peer
  /// has no disk, the peer's device is taken to be as large as the own one.
  case resize(VolumeNumber, limit: SectorCount?, assumeClean: Bool, assumePeerHasSpace: Bool = false)
  /// Holds back the requests of the application, of all volumes.
  case suspendIO
  case resumeIO
  /// Disconnect, demote, detach: after `.done` the process may end.
  case down
}

public enum Outcome: Equatable, Sendable {
  case done
  /// Done, and the operator should know this.
  case remarked(String)
  case refused(Refusal)

  public var isDone: Bool {
    switch self {
    case .done, .remarked: true
    case .refused: false
    }
  }
}
