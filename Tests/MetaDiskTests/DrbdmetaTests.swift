// The real `drbdmeta` (Debian package drbd-utils) judges what we write: it creates the same image, prints the same
// dump, applies the activity log to the same bitmap and restores our dumps. Images are sparse files in a directory of
// their own; the tool's record of device sizes is hidden behind a private mount where that is allowed.
import Base
import Foundation
import MetaDisk
import Testing

enum Drbdmeta {
  static let path = "/usr/sbin/drbdmeta"
  static let installed = FileManager.default.isExecutableFile(atPath: path)
  /// A mount namespace of its own keeps concurrent runs apart.
  static let canUnshare = installed && status(of: "/usr/bin/unshare", ["-m", "true"]) == 0

  /// Runs every command of one life over the images in a directory, each into a file.
  static let script = #"""
    cd "$1"; format=$2; mode=$3; peers=$4; stripes=$5; stripe_kib=$6; node=$7
    if [ "$8" = private ]; then mount -t tmpfs none /var/lib/drbd; else rm -f /var/lib/drbd/drbd-minor--1.lkbd; fi
    meta() { image=$1; shift; /usr/sbin/drbdmeta --force "${options[@]}" - $format $image $mode "$@" </dev/null; }
    options=(--al-stripes $stripes --al-stripe-size-kB $stripe_kib)
    if [ $format = v09 ]; then meta blank create-md $peers; else meta blank create-md; fi >create.out 2>&1 || exit 1
    options=(); rm -f /var/lib/drbd/drbd-minor--1.lkbd
    meta ours dump-md 2>dump.err | sed -n '/^version/,$p' >dump.out
    by_node=(); [ $format = v09 ] && by_node=(--node-id $node)
    meta ours get-gi "${by_node[@]}" >gi.out 2>gi.err
    meta ours dstate >dstate.out 2>/dev/null
    meta ours apply-al >apply.out 2>&1; echo "exit $?" >>apply.out
    meta ours dump-md 2>after.err | sed -n '/^version/,$p' >after.out
    rm -f /var/lib/drbd/drbd-minor--1.lkbd
    meta restored restore-md ours.dump >restore.out 2>&1 || exit 2
    exit 0
    """#

  static func status(of program: String, _ arguments: [String]) -> Int32 {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    do { try process.run() } catch { return -1 }
    process.waitUntilExit()
    return process.terminationStatus
  }
}

/// A geometry and a history drawn from a seed.
struct Life {
  let format: MetaFormat
  let location: MetaLocation
  let placement: Placement
  var random: SeededGenerator

  init(seed: UInt64) throws {
    random = SeededGenerator(seed: seed &* 7919)
    format = random.oneIn(3) ? .v08 : .v09
    let peers: UInt64 = format == .v08 ? 1 : [1, 1, 2, 3, 5, 7, 16, 31][Int(random.below(8))]
    var stripes: UInt64 = 1
    var size: UInt64 = 8
    var bytes: UInt64
    switch random.below(5) {
    case 0:
      location = .external
      bytes = (1 << 20) + random.below(3 << 20)
    case 1:
      let index = Int(random.below(3))
      location = .indexed(index)
      bytes = UInt64(index + 1) << 27 + random.below(1 << 20)
    default:
      location = .internal
      bytes = (4 << 20) << random.below(9) + random.below(4 << 20)
    }
    if random.oneIn(3), location == .internal || location == .external {
      stripes = 1 + random.below(4)
      size = 8 + random.below(12)
    }
    bytes = bytes / 512 * 512
    placement = try Placement(
      location: location, deviceBytes: bytes, peers: UInt32(peers), alStripes: UInt32(stripes),
      alStripeSize4k: UInt32(size))
  }

  var mode: String {
    switch location {
    case .internal: "internal"
    case .external: "flex-external"
    case .indexed(let n): "\(n)"
    }
  }

  /// An image that looks lived in: generations, flags, bits, and a ring after a crash.
  mutating func crashed() throws -> OpenedImage {
    var opened = OpenedImage(creating: format, placement)
    // Enough for several pages in every slot, not so much that the test takes long.
    let usable = min(placement.usableSectors(dataDeviceBytes: 1 << 50).value, (6 << 21) / UInt64(placement.peers))
    opened.superblock.effectiveSize = SectorCount(random.oneIn(3) ? usable : 1 + random.below(usable))
    opened.superblock.current = random.next()
    opened.superblock.deviceUUID = random.next()
    opened.superblock.flags = DeviceFlags(rawValue: UInt32(random.below(0x80)))
    if !random.oneIn(4) { opened.superblock.flags.insert(.primaryIndicator) }
    opened.superblock.unclean = format == .v08
    opened.superblock.alExtents = 1237
    opened.superblock.peerMaxBioSize = UInt32(random.below(1 << 20))
    opened.superblock.setGenerations(
      current: random.next(), bitmap: random.next(), history0: random.next(), history1: random.next(), peerNode: 3)
    if format == .v09 {
      opened.superblock.nodeID = 0
      try opened.superblock.assignBitmapSlot(peerNode: 3)
      opened.superblock.peers[3].flags = PeerFlags(rawValue: UInt32(random.below(0x20)))
    }
    let bits = opened.superblock.effectiveSize.bits
    for slot in 0..<Int(placement.peers) {
      var bitmap = opened.bitmap(slot: slot)
      for _ in 0..<random.below(12) {
        let first = random.below(bits)
        bitmap.set(first..<min(bits, first + 1 + random.below(random.oneIn(3) ? bits : 70)))
      }
      opened.store(bitmap)
    }
    writeRing(into: &opened)
    opened.storeSuperblock()
    return opened
  }

  private mutating func writeRing(into opened: inout OpenedImage) {
    var log = ActivityLog(
      slots: [67, 257, 1237, 3000][Int(random.below(4))], stripes: placement.alStripes,
      stripeSize4k: placement.alStripeSize4k,
      // Young, or so old that its numbers are about to begin anew.
      firstTransaction: random.oneIn(2)
        ? UInt32(random.below(100)) : ActivityLog.restartsAt - 30 + UInt32(random.below(60)))
    let extents = (opened.superblock.effectiveSize.value + 8191) / 8192 + 1
    let transactions = random.oneIn(6) ? 0 : random.below(60)
    var last: UInt32?
    for _ in 0..<transactions {
      for _ in 0..<1 + random.below(70) {
        let extent = ExtentNumber(UInt32(random.below(extents)))
        if log.begin(extent) != .starved { log.end(extent) }
      }
      guard let transaction = random.oneIn(5) ? log.prepareContext() : log.prepare() else { continue }
      opened.image.write(placement.activityLogOffset + UInt64(transaction.blockIndex) * 4096, render(log))
      log.committed()
      last = transaction.blockIndex
    }
    if random.oneIn(5) {
      // The power went while the ring was emptied, block after block.
      var empty = [UInt8](repeating: 0, count: 4096)
      empty.withUnsafeMutableBytes { ActivityLogBlock.initialize($0) }
      for block in 0..<random.below(UInt64(placement.activityLogBlocks)) {
        opened.image.write(placement.activityLogOffset + block * 4096, empty)
      }
    } else if let last, random.oneIn(3) {
      opened.image.write(placement.activityLogOffset + UInt64(last) * 4096 + 2000, Array("torn".utf8))
    }
  }
}

@Suite(.serialized, .enabled(if: Drbdmeta.installed, "drbdmeta is not installed (package drbd-utils)"))
struct DrbdmetaTests {
  /// How many lives: 60, or as many as the environment says, from a seed on (REPL_META_LIVES=10000, REPL_META_FIRST=0).
  static let seeds: Range<UInt64> = {
    let environment = ProcessInfo.processInfo.environment
    let first = environment["REPL_META_FIRST"].flatMap { UInt64($0) } ?? 0
    return first..<first + (environment["REPL_META_LIVES"].flatMap { UInt64($0) } ?? 60)
  }()

  @Test(arguments: seeds)
  func drbdmetaAgreesOnALife(_ seed: UInt64) throws {
    var life = try Life(seed: seed)
    let before = try life.crashed()
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("metadisk-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { _ = Result { try FileManager.default.removeItem(at: directory) } }
    func file(_ name: String) -> URL { directory.appendingPathComponent(name) }
    func text(_ name: String) throws -> String { try String(contentsOf: file(name), encoding: .utf8) }

    var clean = before
    clean.superblock.markClean()
    let dump = DumpTests.dump(clean)
    try SparseImage(size: before.image.size).store(to: file("blank"))
    try SparseImage(size: before.image.size).store(to: file("restored"))
    try before.image.store(to: file("ours"))
    try dump.write(to: file("ours.dump"), atomically: false, encoding: .utf8)
    let p = life.placement
    let arguments: [String] = [
      "bash", "-c", Drbdmeta.script, "life", directory.path, life.format.name, life.mode, "\(p.peers)",
      "\(p.alStripes)",
      "\(p.alStripeSize4k * 4)", "3", Drbdmeta.canUnshare ? "private" : "shared",
    ]
    let status =
      Drbdmeta.canUnshare
      ? Drbdmeta.status(of: "/usr/bin/unshare", ["-m"] + arguments) : Drbdmeta.status(of: "/usr/bin/env", arguments)
    #expect(status == 0)

    // Created by drbdmeta and by us: the same bytes.
    #expect(try SparseImage(file: file("blank")) == OpenedImage(creating: life.format, p).image)
    // Our crash image, as it reads it.
    #expect(try text("dump.out") == DumpTests.inWordsOf922(DumpTests.dump(before), life.format))
    #expect(
      try text("gi.out").split(separator: "\n").last.map(String.init) == before.superblock.generationLine(peerNode: 3))
    #expect(try text("dstate.out").split(separator: "\n").last.map(String.init) == before.superblock.diskState.name)

    // The activity log applied by it and by us. It sets padding bits and leaves a torn first block; we do neither.
    var applied = before
    let outcome = Result { () throws(MetaFault) in try before.replay() }
    if case .failure(let fault) = outcome, before.superblock.flags.contains(.primaryIndicator) {
      // A log that names nothing and has a hole: both refuse.
      #expect(throws: fault) { try applied.applyActivityLog() }
      #expect(try text("apply.out").hasSuffix("exit 1\n"))
    } else {
      _ = try applied.applyActivityLog()
      #expect(try text("apply.out").hasSuffix("exit 0\n"))
    }
    let theirs = try OpenedImage(SparseImage(file: file("ours")), life.location)
    #expect(try text("after.out") == DumpTests.inWordsOf922(DumpTests.dump(theirs), life.format))
    var normalized = theirs
    normalized.store(theirs.bitmap())
    if applied.superblock.isClean {
      normalized.initializeLog()
      applied.initializeLog()
    }
    #expect(normalized.superblock == applied.superblock)
    #expect(normalized.image == applied.image)

    // Our dump restored by it.
    var restored = try OpenedImage(SparseImage(file: file("restored")), life.location)
    #expect(restored.superblock.alExtents == 257)
    restored.superblock.alExtents = 1237
    #expect(restored.superblock == clean.superblock)
    #expect(DumpTests.dump(restored) == dump)
  }
}
