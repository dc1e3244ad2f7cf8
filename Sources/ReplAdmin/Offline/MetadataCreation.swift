// `create-md` (metadata spec 5.1): looks at what is there, asks before anything is lost, refuses what must not be cut off, and
// writes the superblock last. A crash on the way leaves no valid metadata, never a mixture.
import Base
import BlockIO
import Control
import MetaDisk

struct MetadataCreation {
  var format: MetaFormat
  var maxPeers: UInt32
  var alStripes: UInt32 = 1
  var alStripeSizeKiB: UInt32 = 32
  var peerMaxBioSize: UInt32 = 0
  var force = false
  /// Overrides refusals that rest on a guess. Never the one about a file system that would be cut off.
  var ignoresSanityChecks = false
  let console: Console

  func perform(on target: borrowing OfflineMetadata) throws(Refusal) {
    let placement = try place(target)
    switch try existing(target) {
    case .absent: break
    case .same: try askToOverwrite(target, placement)
    case .other(let found):
      if try convert(found, target) { return }
    case .damaged: try askToOverwriteDamaged()
    }
    try checkData(target, placement)

    try target.eraseSuperblock()
    console.out("initializing activity log\n")
    try target.initializeActivityLog(at: placement)
    console.err("initializing bitmap (\(placement.bitmapAreaBytes / 1024) KB) to all zero\n")
    try target.zeroBitmap(at: placement)
    console.out("Writing meta data...\n")
    try target.write(Superblock(creating: format, at: placement, peerMaxBioSize: peerMaxBioSize), at: placement)
    console.out("New drbd meta data block successfully created.\n")
  }

  private func place(_ target: borrowing OfflineMetadata) throws(Refusal) -> Placement {
    guard (1...31).contains(maxPeers) else {
      throw Refusal(
        "MAX_PEERS argument not in allowed range 1 .. 31", next: "choose --max-peers between 1 and 31", exitCode: 20)
    }
    guard format == .v09 || maxPeers == 1 else {
      throw Refusal(
        "v08 metadata has room for one peer, and \(maxPeers) were asked for",
        next: "leave out --format v08, or --max-peers", exitCode: 20)
    }
    let size = UInt64(alStripes) * UInt64(alStripeSizeKiB)
    guard alStripeSizeKiB % 4 == 0, (32...(32 << 10)).contains(size) else {
      throw Refusal(
        "invalid (too \(size < 32 ? "small" : "large")) al-stripe* settings",
        why: "the activity log would have \(size) KiB, of 32 to 32768",
        next: "choose --al-stripes times --al-stripe-size-kB in that range, the size in steps of 4", exitCode: 10)
    }
    do throws(MetaFault) {
      return try Placement(
        location: target.location, deviceBytes: target.disk.bytes, peers: maxPeers, alStripes: alStripes,
        alStripeSize4k: alStripeSizeKiB / 4)
    } catch {
      guard case .tooSmall(let have, let need) = error else { throw Refusal(metadata: error) }
      throw Refusal(
        "\(target.disk.path) is only \(have) bytes. That's not enough",
        why: "metadata and some data need \(need) bytes",
        next: "use a larger device", exitCode: 10)
    }
  }

  // MARK: Metadata that is there already

  private enum Existing {
    case absent
    case same
    case other(Superblock)
    case damaged
  }

  private func existing(_ target: borrowing OfflineMetadata) throws(Refusal) -> Existing {
    do throws(MetaFault) {
      let found = try target.readSuperblock()
      return found.format == format ? .same : .other(found)
    } catch {
      switch error {
      case .absent: return .absent
      case .corrupt: return .damaged
      default: throw Refusal(metadata: error)
      }
    }
  }

  private func askToOverwrite(_ target: borrowing OfflineMetadata, _ placement: Placement) throws(Refusal) {
    let question: String
    if target.location == .internal {
      console.out(
        """
        You want me to create a \(format.name) style flexible-size internal meta data block.
        There appears to be a \(format.name) flexible-size internal meta data block
        already in place on \(target.disk.path) at byte offset \(placement.superblockOffset)

        """)
      question = "Do you really want to overwrite the existing meta-data?"
    } else {
      console.out("Valid meta data seems to be in place.\n")
      question = "Do you really want to overwrite?"
    }
    guard console.confirm(question, forced: force) else { throw cancelled }
  }

  private func askToOverwriteDamaged() throws(Refusal) {
    console.out("There appears to be a meta data block in place, but it is damaged.\n")
    guard console.confirm("Do you really want to overwrite the existing meta-data?", forced: force) else {
      throw cancelled
    }
  }

  /// Offers to keep what the other format's metadata know. True when that was done.
  private func convert(_ found: Superblock, _ target: borrowing OfflineMetadata) throws(Refusal) -> Bool {
    let question = "Valid \(found.format.name) meta-data found, convert to \(format.name)?"
    if console.confirm(question, forced: force) {
      guard let own = target.ownNode, let peer = target.peerNode else {
        throw Refusal(
          "the node ids of this host and its peer are not known here",
          next: "convert with repladm, which knows them from the configuration", exitCode: 20)
      }
      let placement = try target.placement(of: found)
      let converted: Superblock
      do throws(MetaFault) {
        converted = try found.converted(to: format, ownNode: own, peerNode: peer)
      } catch {
        throw Refusal(metadata: error)
      }
      console.out("Writing meta data...\n")
      try target.write(converted, at: placement)
      console.out("Successfully converted the meta data to \(format.name).\n")
      return true
    }
    let replace =
      "So you want me to replace the \(found.format.name) meta-data\nwith newly initialized \(format.name) meta-data?"
    guard console.confirm(replace, forced: force) else { throw cancelled }
    return false
  }

  private var cancelled: Refusal {
    Refusal("Operation cancelled", next: "answer yes, or use --force, if that is what you want", exitCode: 1)
  }

  // MARK: Data that is there already

  private func checkData(_ target: borrowing OfflineMetadata, _ placement: Placement) throws(Refusal) {
    let start = try target.read(
      at: 0, count: min(ExistingData.examinedBytes, Int(clamping: target.disk.bytes)))
    let padded = start + [UInt8](repeating: 0, count: ExistingData.examinedBytes - start.count)
    let data = ExistingData(examining: padded.span.bytes)
    // The other places on a shared metadata device are its own.
    if data.kind == .nothing || isOnlyMetadata(target, data) { return }
    let usable = placement.usableSectors(dataDeviceBytes: target.dataBytes)
    console.out(
      """
      md_offset \(placement.superblockOffset)
      al_offset \(placement.activityLogOffset)
      bm_offset \(placement.bitmapOffset)

      Found \(data.kind.name)

      """)
    if target.location == .internal, let used = data.usedBytes {
      console.out("\(padded12(used / 1024)) kB data area apparently used\n")
      console.out("\(padded12(usable.value / 2)) kB left usable by current configuration\n\n")
    }
    switch data.verdict(location: target.location, usable: usable) {
    case .free: return
    case .truncates: throw truncation(data, usable)
    case .refuse: try refuseUnlessOverridden(data)
    case .ask:
      if data.kind == .other {
        console.out(" ==> This might destroy existing data! <==\n")
      } else {
        console.out(
          "Even though it looks like this would place the new meta data into\n"
            + "unused space, you still need to confirm, as this is only a guess.\n")
      }
      guard console.confirm("Do you want to proceed?", forced: force) else { throw cancelled }
    }
  }

  /// External metadata begin at the start of their device: what create-md was just allowed to overwrite is no data.
  private func isOnlyMetadata(_ target: borrowing OfflineMetadata, _ data: ExistingData) -> Bool {
    guard target.location != .internal, data.kind == .other else { return false }
    do throws(MetaFault) {
      _ = try target.readSuperblock()
      return true
    } catch {
      return false
    }
  }

  private func truncation(_ data: ExistingData, _ usable: SectorCount) -> Refusal {
    Refusal(
      "Device size would be truncated, which would corrupt data and result in 'access beyond end of device' errors",
      why: data.usedBytes.map {
        "the \(data.kind.name) uses \($0 / 1024) KiB, and \(usable.value / 2) KiB would be left for it"
      } ?? "",
      details: [
        "You need to either", "   * use external meta data (recommended)", "   * shrink that filesystem first",
        "   * zero out the device (destroy the filesystem)", "Operation refused.",
      ], next: "do one of these, then repeat create-md", exitCode: 40)
  }

  private func refuseUnlessOverridden(_ data: ExistingData) throws(Refusal) {
    if ignoresSanityChecks { return }
    throw Refusal(
      "This would corrupt existing data", why: "\(data.kind.name) was found where the metadata would go",
      details: ["Operation refused."],
      next: "use another device, or wipe this one, or say --ignore-sanity-checks if the data are not needed",
      exitCode: 40)
  }

  private func padded12(_ number: UInt64) -> String {
    let digits = "\(number)"
    return String(repeating: " ", count: max(0, 12 - digits.count)) + digits
  }
}
