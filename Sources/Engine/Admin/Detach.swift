// Letting go of a disk: by command (with the peer's consent, everything written out first) or because it failed. In
// both cases the disk is Failed until the last local I/O has ended, then Diskless (wire spec 4.4).
import Base
import MetaDisk
import Protocol

struct DetachStep: Sendable {
  enum Phase: Equatable, Sendable {
    case none
    /// Local I/O is still under way.
    case draining(graceful: Bool)
    /// The bitmap is being written, then the superblock.
    case writing
    case superblock
    case closing
  }
  static let none = DetachStep()
  var phase = Phase.none
}

extension Engine {
  /// Everything local has to end, then the disk is closed.
  mutating func beginDetach(_ v: Int, graceful: Bool, _ reply: ReplyTo?) {
    wait(for: .detach, on: v, reply)
    if volumes[v].detach.phase != .none { return }
    volumes[v].detach = DetachStep(phase: .draining(graceful: graceful))
    noteExposed(v)
    // Only `repl` tells its generation in every case (wire spec 5.1). A peer that agreed to a detach may have told it already.
    volumes[v].peer.expectGeneration(
      !graceful && role == .primary && volumes[v].state.conn >= .connected && volumes[v].state.disk == .upToDate
        && volumes[v].state.peerDisk == .upToDate && link.features.contains(.resyncsGrown))
    change(v) { $0.disk = .failed }
    awaitBarriers(v)
    if volumes[v].state.conn >= .connected { sendState(v) }
    dropGate(v)
    advanceDetach(v)
  }

  /// The disk goes, the application stays: which generation it sees from here on.
  private mutating func noteExposed(_ v: Int) {
    // A disk that is still being compared has shown nothing.
    if volumes[v].state.disk < .inconsistent { return }
    volumes[v].exposed.diskGoes(
      volumes[v].generations.current, isGood: volumes[v].state.disk >= .consistent,
      peer: volumes[v].state.conn >= .connected ? volumes[v].peer.generations : nil)
  }

  /// The peer's data are not those on the disk that this node detached, nor did they come out of them. With the disk attached again
  /// the comparison would tell which of the two is newer. Neither node is promoted to the peer's data before that.
  func doubtsPeersData(_ v: Int) -> Bool {
    guard volumes[v].state.disk <= .failed, let peer = volumes[v].peer.generations else { return false }
    return !volumes[v].exposed.isPartOf(peer)
  }

  /// This disk does not have the data that a Primary has shown without it.
  func isStale(_ v: Int) -> Bool { isStale(v, generation: volumes[v].generations.current) }

  func isStale(_ v: Int, generation: UInt64) -> Bool {
    role == .primary && volumes[v].exposed.isNewer(than: generation)
  }

  /// A disk that cannot be used any more.
  mutating func failDisk(_ v: Int) {
    if !volumes[v].isAttached || volumes[v].state.disk <= .failed { return }
    beginDetach(v, graceful: false, nil)
  }

  mutating func advanceDetach(_ v: Int) {
    switch volumes[v].detach.phase {
    case .draining(let graceful):
      guard localIO(v) == 0 else { return }
      if graceful {
        volumes[v].detach.phase = .writing
        flushBitmap(v, lazy: true, then: .detached)
      } else {
        closeDisk(v)
      }
    case .none, .writing, .superblock, .closing: break
    }
  }

  mutating func detachFlushed(_ v: Int) {
    switch volumes[v].detach.phase {
    case .writing:
      // The superblock follows the bitmap; its durability ends the detach.
      volumes[v].detach.phase = .superblock
      writeSuperblock(v, then: .detached)
    case .superblock:
      // The barrier of the superblock has made the peer's writes durable, too.
      inbound.isFlushed(v)
      // A demotion may have begun to write a page of the bitmap meanwhile.
      volumes[v].detach.phase = .draining(graceful: false)
      advanceDetach(v)
    default: break
    }
  }

  private mutating func closeDisk(_ v: Int) {
    volumes[v].detach.phase = .closing
    forgetExtents(v)
    volumes[v].dropBacking()
    runLost(v)
    fx.append(.closeDisk(volumes[v].number))
  }

  /// Waiters of a disk that is gone: nothing will become durable any more, and nothing needs to.
  private mutating func runLost(_ v: Int) {
    volumes[v].superblock = SuperblockWrites()
    volumes[v].pages = PageWrites()
    volumes[v].transaction = .idle
    answerLossOfDisk(v)
    releaseHeld(v)
    moveLost(v)
    volumes[v].resize.awaitsPeer = false
    answerResize(v)
  }

  mutating func diskClosed(_ number: VolumeNumber) {
    let v = index(number)
    let refusal = volumes[v].attach.refusal
    if refusal != nil { link.reattach?.isRefused = true }
    volumes[v].attach = AttachStep()
    volumes[v].detach = .none
    takeSizeOfPeer(v)
    change(v) { $0.disk = .diskless }
    if volumes[v].state.conn >= .connected { sendState(v) }
    // A peer without a disk has nothing to mark.
    if volumes[v].state.peerDisk >= .inconsistent { lostUnflushed(v) }
    announceSize(v)
    announceTraits(v)
    answer(.detach, on: v, .done)
    if waits.contains(.attach, v) { refuseWaiting(.attach, on: v, refusal ?? lostInAttach(v)) }
  }

  /// Disk and metadata operations under way on this volume, and writes that wait to become some.
  func localIO(_ v: Int) -> Int {
    volumes[v].diskWork.count + volumes[v].writesForDisk.count + volumes[v].pages.inFlight
      + (volumes[v].superblock.inFlight ? 1 : 0) + volumes[v].transaction.outstanding
      + volumes[v].move.outstanding
  }

  /// An error of the backing device (on-io-error). True: the disk has been given up. What our own rules refused says nothing
  /// about the disk.
  @discardableResult
  mutating func diskFailed(_ v: Int, _ fault: DiskFault, _ what: String, _ range: BlockRange? = nil) -> Bool {
    if !volumes[v].isAttached || volumes[v].state.disk <= .failed { return true }
    let (admitted, unsaid) = volumes[v].faults.admits(at: now)
    if unsaid > 0 { fail(.device(v), "\(unsaid) more errors of the local disk") }
    if admitted {
      let place = range.map { ": \($0.bytes) bytes at sector \($0.start.value)" } ?? ""
      let why = fault.isRefusal ? "was refused before it reached the disk" : "failed, errno \(fault.errno)"
      fail(.device(v), "local \(what) \(why)\(place)")
    }
    if fault.isRefusal { return false }
    switch volumes[v].settings.onIOError {
    case .detach: failDisk(v)
    case .callLocalIOError:
      call(.localIOError, v)
      failDisk(v)
    case .passOn:
      if volumes[v].state.disk > .inconsistent {
        volumes[v].backing.bitsAreComplete = true
        change(v) {
          // Only good data are compared: by rule a verify would keep the disk UpToDate.
          if $0.isVerifying { $0.conn = .connected }
          $0.disk = .inconsistent
        }
        // What the peer alone has is answered when this disk says that it lacks it.
        volumes[v].superblock.fenceAnswers()
        // The source of a resync stays UpToDate by rule, and has nothing to say.
        if volumes[v].state.disk == .inconsistent, volumes[v].state.conn >= .connected { sendState(v) }
      }
      return false
    }
    return true
  }

  mutating func handlerDone(_ id: WorkID, _ exit: Int32) {
    for v in 0..<volumes.count where volumes[v].resync.preparing == id {
      volumes[v].resync.isPrepared()
      return targetPrepared(v, exit)
    }
    if id == fencing.running { return fencingAnswered(exit) }
    if exit != 0 { warn(.resource, "a handler ended with status \(exit)") }
  }
}
