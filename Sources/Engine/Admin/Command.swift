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
  /// Adopts the new size of grown devices; `limit`: not more than this.
  case resize(VolumeNumber, limit: SectorCount?, assumeClean: Bool)
  /// Holds back the requests of the application, of all volumes.
  case suspendIO
  case resumeIO
  /// Disconnect, demote, detach: after `.done` the process may end.
  case down
}

public enum Outcome: Equatable, Sendable {
  case done
  case refused(Refusal)
}
