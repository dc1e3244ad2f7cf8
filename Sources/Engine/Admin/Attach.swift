// Attaching a disk (metadata spec 6.2), from the command to its reply: the disk is opened, its metadata are read
// (FoundMetadata), what a crash left behind is put right (CrashTraces), and then it takes part. Law: nothing is used
// before the superblock says "in use".
import Base
import MetaDisk
import Protocol

enum AttachPhase: Equatable {
  case idle
  case opening
  case superblock
  case log
  case bitmap
  case pages
  case emptyLog
  case final
  /// The disk waits for the end of a connection with a DRBD 9 (`Reattach`).
  case leaving
  /// A write has failed; the others that are under way have to end first.
  case failing(DiskFault)
}

struct AttachStep {
  var phase = AttachPhase.idle
  /// Set by the command, nil once the superblock says "in use".
  var began: Instant?
  /// The connected peer has until then to say what it compares with.
  var deadline: Instant?
  /// It has not begun to say so: the P_STATE on their way are older than the attach, and so are the identifiers known of it.
  var awaitsPeer = false
  /// Why the disk is let go again; the command hears of it when the disk is closed.
  var refusal: Refusal?
  var facts: DiskFacts?
  /// Bytes of the log or the bitmap read so far, or blocks of the empty log written.
  var position: UInt64 = 0
  var outstanding = 0
  var replay: ActivityLogReplay?
  var emptyLogNeeded = false
  /// Bits valid on disk; those behind are new.
  var oldBits: UInt64 = 0
  /// The bitmap on disk is not to be believed: all bits are set.
  var setAll = false
  /// Writes since the last attach were not logged: other nodes may lack any block.
  var setsOthers = false
}

extension Engine {
  mutating func attach(_ v: Int, _ reply: ReplyTo?) {
    guard volumes[v].settings.hasDisk else {
      refuse(
        reply,
        .request(
          138, "Device does not have a disk-config", why: "the file says `disk none` for \(name(v))",
          next: "name a disk in the configuration and run: repladm adjust \(settings.name)"))
      return
    }
    guard volumes[v].state.disk == .diskless, volumes[v].attach.phase == .idle else {
      refuse(
        reply,
        .request(
          124, "Device is attached to a disk already (use detach first)",
          why: "\(name(v)) is \(volumes[v].state.disk.name)", next: "repladm detach \(name(v))"))
      return
    }
    if volumeChange?.isAsked == true {
      refuseChange(reply, -18, why: "the volumes of \(settings.name) are being changed")
      return
    }
    volumes[v].attach = AttachStep(phase: .opening, began: now)
    wait(for: .attach, on: v, reply)
    change(v) { $0.disk = .attaching }
    fx.append(.openDisk(volumes[v].number))
  }

  mutating func diskRefused(_ number: VolumeNumber, _ code: Int, _ why: String) {
    let v = index(number)
    volumes[v].attach = AttachStep()
    change(v) { $0.disk = .diskless }
    refuseWaiting(
      .attach, on: v,
      .request(
        code, "Can not open backing device", why: why, next: "then run repladm attach \(name(v))"))
  }

  mutating func diskOpened(_ number: VolumeNumber, _ facts: DiskFacts) {
    let v = index(number)
    precondition(volumes[v].attach.phase == .opening, "a disk opened that nobody asked for")
    volumes[v].attach.facts = facts
    volumes[v].attach.phase = .superblock
    let offset: UInt64
    do {
      offset = try Placement.superblockOffset(location: volumes[v].settings.metaLocation, deviceBytes: facts.metaBytes)
    } catch {
      giveUpAttach(v, 111, clause(error), next: "use a larger device, or metadata on another device")
      return
    }
    fx.append(.metaRead(work(.attach, v), number, offset: offset, bytes: 4096))
  }

  /// Bytes of metadata have been read.
  mutating func attachRead(_ id: WorkID, _ bytes: RawSpan) {
    let v = Int(id.slot.raw)
    switch volumes[v].attach.phase {
    case .superblock: superblockRead(v, bytes)
    case .log: logRead(v, bytes)
    case .bitmap: bitmapRead(v, bytes)
    default: preconditionFailure("metadata bytes that nobody asked for")
    }
  }

  /// A metadata write of the attach, or a metadata read that failed.
  mutating func attachDone(_ v: Int, page: UInt32, _ fault: DiskFault?) {
    if volumes[v].attach.outstanding > 0 { volumes[v].attach.outstanding -= 1 }
    if let fault { volumes[v].attach.phase = .failing(fault) }
    switch volumes[v].attach.phase {
    case .pages:
      volumes[v].backing.bitmap.writeCompleted(page)
      writeAttachPages(v)
    case .emptyLog: writeEmptyLog(v)
    case .failing(let fault): if volumes[v].attach.outstanding == 0 { attachFailed(v, fault) }
    default: preconditionFailure("attach write in the wrong phase")
    }
  }

  /// The metadata cannot be read or written.
  mutating func attachFailed(_ v: Int, _ fault: DiskFault) {
    giveUpAttach(
      v, 118, "meta-data I/O error \(fault.errno)", next: "replace the device, then: repladm create-md \(name(v))")
  }

  /// The superblock says "in use": the disk takes part from here on, at once where no peer is there to compare it with.
  mutating func attachDurable(_ v: Int) {
    volumes[v].attach = AttachStep()
    let state = recordedDiskState(v)
    log(
      .device(v),
      "attached, \(volumes[v].size.bytes >> 10) KiB, \(volumes[v].outOfSync * 4) KiB out of sync, "
        + "current UUID \(hex(volumes[v].generations.current))")
    if volumes[v].settings.metaLocation == .internal {
      fx.append(.metadataPlaced(volumes[v].number, deviceBytes: volumes[v].backing.facts.metaBytes))
    }
    // In the middle of a handshake the peer has been told "Diskless": it learns of this disk as in a connection.
    if volumes[v].state.conn >= .wfReportParams {
      if let problem = misfitForPeer(v) {
        volumes[v].attach.refusal = .request(
          111, "attach of \(name(v)) failed", why: problem.why, next: problem.next)
        beginDetach(v, graceful: true, nil)
        return
      }
      if link.peerIsDRBD9 {
        attachByReconnect(v)
        return
      }
      volumes[v].attach.deadline = now + handshakeLimit
      let peerDisk = volumes[v].state.peerDisk
      volumes[v].attach.awaitsPeer =
        volumes[v].state.conn >= .connected && peerDisk >= .inconsistent && peerDisk != .unknown
      change(v) { $0.disk = .negotiating }
      if volumes[v].state.conn == .wfReportParams, let peer = volumes[v].peer.sizes { takeSizes(v, peer) }
      sendSizes(v)
      sendGenerations(v)
      sendState(v)
    } else if link.reattach?.step == .meeting {
      change(v) { $0.disk = .negotiating }
    } else if isStale(v) {
      volumes[v].attach.refusal = tooOld(v)
      beginDetach(v, graceful: true, nil)
      return
    } else {
      change(v) { $0.disk = state }
      answer(.attach, on: v, .done)
    }
    announceSize(v)
    announceTraits(v)
  }

  /// A fault's sentence as part of another.
  func clause(_ fault: MetaFault) -> String {
    let text = fault.text
    return text.last == "." ? String(text.dropLast()) : text
  }

  mutating func giveUpAttach(_ v: Int, _ number: Int, _ why: String, next: String) {
    volumes[v].attach = AttachStep()
    volumes[v].attach.refusal = .request(number, "attach of \(name(v)) failed", why: why, next: next)
    volumes[v].superblock = SuperblockWrites()
    volumes[v].dropBacking()
    answerLossOfDisk(v)
    volumes[v].detach = DetachStep(phase: .closing)
    fx.append(.closeDisk(volumes[v].number))
  }
}
