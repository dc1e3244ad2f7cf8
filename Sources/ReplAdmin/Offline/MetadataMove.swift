// Internal metadata of a device that has grown lie where its end was; this brings them to where it is (metadata spec 5.6). Laws: bit i
// stays bit i of the same peer; the superblock at the new place is written when everything it vouches for is durable, and
// only then is the old one erased. Where the places overlap the new one is sealed first: a crash costs a full resync there.
import Base
import BlockIO
import Control
import MetaDisk

extension OfflineMetadata {
  /// True when metadata are where the device's size says.
  var areInPlace: Bool {
    do throws(Refusal) { _ = try superblock() } catch { return false }
    return true
  }

  /// Moves what lies at the end of the first `oldBytes` of the device. The resource's size stays; growing it is `resize`.
  mutating func move(fromEndOf oldBytes: UInt64, _ console: Console) throws(Refusal) {
    metaBytes = oldBytes
    if let said = try applyActivityLog() { console.out(said + "\n") }
    let found = try superblock()
    let oldPlacement = try placement(of: found)
    var bitmap = try bitmap(of: found, at: oldPlacement)
    metaBytes = disk.bytes
    let placement: Placement
    do throws(MetaFault) {
      placement = try Placement(
        location: .internal, deviceBytes: disk.bytes, peers: found.maxPeers, alStripes: found.alStripes,
        alStripeSize4k: found.alStripeSize4k)
    } catch {
      throw Refusal(metadata: error)
    }
    guard placement.usableSectors(dataDeviceBytes: disk.bytes) >= found.effectiveSize else {
      throw Refusal(
        "the metadata at the new end of \(disk.path) would overlap the data",
        why: "the bitmap of the larger device needs more room than was added",
        next: "grow the device a little more, then repeat check-resize", exitCode: 20)
    }
    console.out("Moving the internal meta data to its proper location\n")
    var moved = found
    moved.place(at: placement)
    let isOutside = oldPlacement.superblockOffset + UInt64(Superblock.bytes) <= placement.bitmapOffset
    // The old place is about to be overwritten: from here on the new one counts, and calls everything out of sync.
    if !isOutside { try write(moved.sealed, at: placement) }
    try initializeActivityLog(at: placement)
    try zeroBitmap(at: placement)
    bitmap.markAllDirty()
    try write(&bitmap, at: placement)
    try write(moved, at: placement)
    if isOutside {
      metaBytes = oldBytes
      defer { metaBytes = disk.bytes }
      try eraseSuperblock()
    }
    console.out("Internal drbd meta data successfully moved.\n")
  }

  /// In the other format, at the same place.
  func convert(to format: MetaFormat, _ console: Console, force: Bool) throws(Refusal) {
    let found = try superblock()
    guard found.format != format else {
      console.out("The meta data are \(format.name) already.\n")
      return
    }
    guard let own = ownNode, let peer = peerNode else {
      throw Refusal(
        "the node ids of this host and its peer are not known here",
        next: "convert with repladm, which knows them from the configuration", exitCode: 20)
    }
    let placement = try placement(of: found)
    let converted: Superblock
    do throws(MetaFault) {
      converted = try found.converted(to: format, ownNode: own, peerNode: peer)
    } catch {
      throw Refusal(metadata: error)
    }
    guard console.confirm("Valid \(found.format.name) meta-data found, convert to \(format.name)?", forced: force)
    else {
      throw Refusal("Operation cancelled", next: "answer yes, or use --force, if that is what you want", exitCode: 1)
    }
    try write(converted, at: placement)
    console.out("Successfully converted the meta data to \(format.name).\n")
  }

  /// Makes metadata attachable whose activity log cannot be read: what it would have named may be anything, so everything is
  /// marked out of sync. A log that can be read is applied as usual.
  func repair(_ console: Console, force: Bool) throws(Refusal) {
    var found = try superblock()
    let placement = try placement(of: found)
    do throws(Refusal) {
      let wasClean = found.isClean
      let said = try applyActivityLog()
      if let said { console.out(said + "\n") }
      console.out(
        wasClean ? "The meta data are in order.\n" : "The activity log was applied; the meta data are in order.\n")
      return
    } catch {
      console.err("\(disk.path): \(error.headline).\n")
    }
    let question = "The activity log cannot be read. Initialize it and mark all data out of sync?"
    guard console.confirm(question, forced: force) else {
      throw Refusal("Operation cancelled", next: "answer yes, or use --force, if that is what you want", exitCode: 1)
    }
    var bitmap = try bitmap(of: found, at: placement)
    _ = bitmap.setInAllSlots(0..<found.effectiveSize.bits)
    bitmap.markAllDirty()
    try write(&bitmap, at: placement)
    try initializeActivityLog(at: placement)
    found.markClean()
    try write(found, at: placement)
    console.out("All data are marked out of sync; the next connection resyncs all of them.\n")
  }
}
