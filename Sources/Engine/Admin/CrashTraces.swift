// What a crash has left in the metadata of a disk that is being attached: blocks that the activity log names are marked.
// Law: that is made durable in this order: bitmap, empty log, superblock.
import Base
import MetaDisk

extension Engine {
  /// Everything has been read: mark what a crash left open.
  mutating func metadataKnown(_ v: Int) {
    let bits = volumes[v].backing.bitmap.bits
    let old = volumes[v].attach.oldBits
    let flags = volumes[v].backing.superblock.flags
    if volumes[v].attach.setAll {
      volumes[v].backing.bitmap.setAll()
      log(.device(v), "the bitmap on disk is not valid, all blocks are out of sync")
    }
    if old < bits {
      // Padding behind the old end may hold anything.
      _ = volumes[v].backing.bitmap.setInAllSlots(old..<bits)
    }
    if volumes[v].attach.setsOthers { volumes[v].backing.bitmap.noteChange(0..<bits) }
    guard let replay = volumes[v].attach.replay else { preconditionFailure("no replay") }
    do throws(MetaFault) {
      let result = try replay.finish()
      volumes[v].attach.emptyLogNeeded = result.updateBlocks > 0 || result.corruptBlocks > 0
      if result.updateBlocks > 0, flags.contains(.primaryIndicator) {
        // A Secondary logs for the nodes that are not spoken to, and for a peer whose disk is gone: that one has got a generation of
        // its own then. With the others it shares every write that was acknowledged.
        let wasPrimary = volumes[v].backing.crashedPrimary || volumes[v].generations.current & 1 != 0
        let marksPeer = wasPrimary || volumes[v].generations.bitmap != 0
        var marked: UInt64 = 0
        for extent in result.active {
          marked += volumes[v].backing.bitmap.markOutOfSync(extent, marksPeer: marksPeer)
        }
        log(.device(v), "marked additional \(marked * 4) KiB as out-of-sync based on the activity log")
      }
    } catch .activityLogCorrupt {
      // A crash while the log was being emptied, or a bad block: what was in use is not known.
      if flags.contains(.primaryIndicator) {
        volumes[v].backing.bitmap.setAll()
        volumes[v].backing.bitmap.noteChange(0..<bits)
        warn(.device(v), "the activity log is damaged and names no extent: all blocks are out of sync")
      }
      volumes[v].attach.emptyLogNeeded = true
    } catch {
      // A log that nothing depends on: all blocks are marked already.
      if flags.contains(.primaryIndicator), !volumes[v].attach.setAll {
        giveUpAttach(
          v, 165, "the activity log cannot be replayed: \(clause(error))",
          next: "this node was Primary, its last writes are unknown: get the data from the peer "
            + "(repladm create-md --force \(name(v)), then up) or accept a full resync (repladm invalidate \(name(v)))")
        return
      }
      volumes[v].attach.emptyLogNeeded = true
    }
    volumes[v].attach.phase = .pages
    if volumes[v].backing.bitmap.nextDirtyPage(from: 0, includeLazy: true) != nil {
      volumes[v].attach.outstanding = 0
      writeAttachPages(v)
    } else {
      beginEmptyLog(v)
    }
  }

  mutating func writeAttachPages(_ v: Int) {
    while volumes[v].attach.outstanding < 32,
      let page = volumes[v].backing.bitmap.nextDirtyPage(from: 0, includeLazy: true)
    {
      volumes[v].backing.bitmap.markWritten(page)
      volumes[v].attach.outstanding += 1
      let offset = volumes[v].backing.placement.bitmapOffset + UInt64(page) * 4096
      fx.append(
        .metaWrite(
          pageWork(.attach, v, page), volumes[v].number, .bitmapPage(page), offset: offset, barrier: .nothing))
    }
    if volumes[v].attach.outstanding == 0 { beginEmptyLog(v) }
  }

  private mutating func beginEmptyLog(_ v: Int) {
    volumes[v].attach.phase = .emptyLog
    volumes[v].attach.position = 0
    writeEmptyLog(v)
  }

  mutating func writeEmptyLog(_ v: Int) {
    let blocks = volumes[v].attach.emptyLogNeeded ? logBytes(v) / 4096 : 0
    // The first block waits for the bitmap to be durable; the others follow once it is.
    while volumes[v].attach.position < blocks, volumes[v].attach.outstanding < 32 {
      let block = UInt32(volumes[v].attach.position)
      if block == 1, volumes[v].attach.outstanding > 0 { break }
      volumes[v].attach.position += 1
      volumes[v].attach.outstanding += 1
      let offset = volumes[v].backing.placement.activityLogOffset + UInt64(block) * 4096
      fx.append(
        .metaWrite(
          pageWork(.attach, v, block), volumes[v].number, .emptyTransaction(block), offset: offset,
          barrier: block == 0 ? .metadata : .nothing))
    }
    if volumes[v].attach.outstanding == 0 { finishAttach(v) }
  }

  private mutating func finishAttach(_ v: Int) {
    volumes[v].attach.phase = .final
    volumes[v].superblock = SuperblockWrites()
    volumes[v].pages = PageWrites()
    volumes[v].transaction = .idle
    if volumes[v].backing.superblock.format == .v08 { volumes[v].backing.superblock.flags.remove(.fullSync) }
    let peer = Int(settings.peerNodeID)
    if volumes[v].backing.superblock.format == .v09 {
      volumes[v].backing.superblock.peers[peer].flags.remove(.fullSync)
    }
    if volumes[v].generations.current != justCreated { volumes[v].generations.setPrimary(role == .primary) }
    // What was known about the peer stays known.
    if fences, recordsOutdatedPeer(v), volumes[v].state.conn < .connected { change(v) { $0.peerDisk = .outdated } }
    writeSuperblock(v, then: .attached)
  }
}
