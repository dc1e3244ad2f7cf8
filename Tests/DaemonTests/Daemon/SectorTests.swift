// Two real daemons on disks with blocks of 512 and of 4096 bytes: no write throws a disk out, no client is hung up on. What the
// export says of itself: blocks, discards, holes.
import Base
import Control
import Foundation
import Glibc
import Testing

/// A bench whose disks are loop devices with blocks of these sizes.
private final class Blocks {
  let bench: Bench
  private var loops: [String] = []

  init(_ a: Int, _ b: Int, mebibytes: Int = 32) throws {
    bench = try Bench(mebibytes: (mebibytes, mebibytes))
    var text = try String(contentsOfFile: bench.a.config, encoding: .utf8)
    for (node, block) in [(bench.a, a), (bench.b, b)] {
      let loop = try shell("losetup --find --show --sector-size \(block) \(node.disk(0))")
      loops.append(loop)
      text = text.replacingOccurrences(of: node.disk(0) + ";", with: loop + ";")
    }
    try text.write(toFile: bench.a.config, atomically: true, encoding: .utf8)
  }

  deinit {
    for node in [bench.a, bench.b] { node.kill() }
    for loop in loops {
      do { try shell("losetup -d \(loop)") } catch { print("left behind: \(loop)") }
      if areSpoilt { remove(loop) }
    }
  }

  func loop(_ i: Int) -> String { loops[i] }

  /// A limit like `discard_max_bytes` stays with a loop device after it is detached: these are to be made anew by the next user.
  var areSpoilt = false

  private func remove(_ loop: String) {
    guard let number = Int32(loop.drop { !$0.isNumber }) else { return print("left behind: \(loop)") }
    let control = open("/dev/loop-control", O_RDWR)
    defer { close(control) }
    let end = ContinuousClock.now + .seconds(10)
    while ioctl(control, 0x4C81, number) != 0 {  // LOOP_CTL_REMOVE
      guard errno == EBUSY, ContinuousClock.now < end else { return print("left behind: \(loop), errno \(errno)") }
      usleep(10_000)
    }
  }

  func expectUpToDate(location: SourceLocation = #_sourceLocation) throws {
    for node in [bench.a, bench.b] {
      let status = try node.status()
      #expect(status.devices[0].disk == .upToDate, "\(node.name)\n\(node.log)", sourceLocation: location)
      #expect(status.connections[0].peerDevices[0].outOfSync == 0, sourceLocation: location)
    }
  }

  /// The disks below the loop devices, when nothing is under way.
  func expectEqual(location: SourceLocation = #_sourceLocation) throws {
    try shell("sync \(loops.joined(separator: " "))")
    try bench.expectEqualData(location: location)
  }
}

@Suite(.serialized) struct DaemonSectors {
  @Test(.enabled(if: canLoop, "needs root and loop devices"), arguments: [(512, 4096), (4096, 512), (4096, 4096)])
  func aWriteOfASectorThrowsNoDiskOut(_ a: Int, _ b: Int) throws {
    let blocks = try Blocks(a, b)
    let bench = blocks.bench
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    #expect(client.minimumBlock == 4096)
    try client.write(pattern(4096, 1), at: 4096)
    for i in 0..<40 as Range<UInt64> { try client.write(pattern(512, 10 + i), at: 4096 + i * 1536) }
    try client.zero(1536, at: 512)
    try client.trim(65536 + 512, at: 1 << 20 + 512)
    try client.flush()
    for i in 0..<40 as Range<UInt64> { #expect(try client.read(512, at: 4096 + i * 1536) == pattern(512, 10 + i)) }
    try blocks.expectUpToDate()
    try client.leave()
    try bench.a.done(.secondary(force: false))
    try blocks.expectEqual()
    try bench.b.done(.primary(force: false))
    let other = try Client(bench.b.exportPath)
    #expect(other.minimumBlock == 4096)
    #expect(try other.read(512, at: 4096 + 1536) == pattern(512, 11))
  }

  @Test(.enabled(if: canLoop, "needs root and loop devices"))
  func aDiskWithLargeBlocksComesToAVolumeInUseAndGoes() throws {
    let blocks = try Blocks(512, 4096)
    let bench = blocks.bench
    try bench.createMetadata()
    try bench.a.start()
    try bench.a.done(.attach(volume: nil))
    try bench.a.done(.primary(force: true))
    let client = try Client(bench.a.exportPath)
    #expect(client.minimumBlock == 512)
    try client.write(pattern(512, 1), at: 512)
    try bench.b.start()
    try bench.b.done(.attach(volume: nil))
    for node in [bench.a, bench.b] { try node.done(.connect(peer: nil, discardMyData: false)) }
    try bench.connected()
    for i in 0..<200 as Range<UInt64> { try client.write(pattern(512, 100 + i), at: 8192 + i * 512) }
    try bench.inSync()
    try client.write(pattern(1536, 2), at: 512 * 7)
    try client.flush()
    try blocks.expectUpToDate()
    #expect(bench.a.log.contains("the disk of b has blocks of 4096 bytes, and the volume is in use with 512"))
    #expect(try Client(bench.a.exportPath).minimumBlock == 512)
    try blocks.expectEqual()
    try bench.b.done(.detach(volume: nil, force: false))
    try client.write(pattern(512, 3), at: 1 << 20)
    #expect(try client.read(512, at: 1 << 20) == pattern(512, 3))
    try bench.b.done(.attach(volume: nil))
    try bench.inSync()
    try blocks.expectUpToDate()
    try blocks.expectEqual()
  }

  @Test(.enabled(if: canLoop, "needs root and loop devices"))
  func losingTheDiskWithLargeBlocksHangsUpOnNobody() throws {
    let blocks = try Blocks(4096, 512)
    let bench = blocks.bench
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    #expect(client.minimumBlock == 4096)
    try client.write(pattern(4096, 1), at: 0)
    try bench.a.done(.detach(volume: nil, force: false))
    try client.write(pattern(4096, 2), at: 4096)
    #expect(try client.read(8192, at: 0) == pattern(4096, 1) + pattern(4096, 2))
    #expect(try Client(bench.a.exportPath).minimumBlock == 4096)
    #expect(try client.read(4096, at: 0) == pattern(4096, 1))
  }

  @Test(.enabled(if: canLoop, "needs root and loop devices"))
  func discardsAreOfferedWhereBothDisksCan() throws {
    for node in 0..<2 {
      let blocks = try Blocks(512, 512)
      blocks.areSpoilt = true
      let loop = URL(filePath: blocks.loop(node)).lastPathComponent
      try shell("echo 0 >/sys/block/\(loop)/queue/discard_max_bytes")
      try blocks.bench.synced()
      #expect(try Client(blocks.bench.a.exportPath).flags & 1 << 5 == 0, "disk \(node)")
      // What is sent all the same is carried out.
      let client = try Client(blocks.bench.a.exportPath)
      try client.write(pattern(65536, 1), at: 0)
      try client.trim(65536, at: 0)
      #expect(try client.read(65536, at: 0).allSatisfy { $0 == 0 })
    }
    let bench = try Bench()
    try bench.synced()
    #expect(try Client(bench.a.exportPath).flags & 1 << 5 != 0)
  }

  // MARK: holes

  /// Offset, length and status of every extent, as nbdinfo prints them.
  private func map(_ node: Node) throws -> [[UInt64]] {
    try shell("nbdinfo --map 'nbd+unix:///?socket=\(node.exportPath)'").split(separator: "\n").map { line in
      line.split(separator: " ").prefix(3).compactMap { UInt64($0) }
    }
  }

  @Test(.enabled(if: isInstalled("nbdinfo") && isInstalled("nbdcopy"), "needs libnbd's tools"))
  func aCopyOfAnExportIsSparse() throws {
    let bench = try Bench()
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    let size = client.size
    try client.trim(Int(size), at: 0)
    #expect(try map(bench.a) == [[0, size, 3]])
    try client.write(pattern(1 << 20, 1), at: 2 << 20)
    try client.write(pattern(512, 2), at: 8 << 20 + 512)
    #expect(
      try map(bench.a) == [
        [0, 2 << 20, 3], [2 << 20, 1 << 20, 0], [3 << 20, 5 << 20, 3], [8 << 20, 4096, 0],
        [8 << 20 + 4096, size - 8 << 20 - 4096, 3],
      ])
    let copy = bench.directory + "/copy.img"
    try shell("nbdcopy 'nbd+unix:///?socket=\(bench.a.exportPath)' \(copy)")
    var status = stat()
    try #require(stat(copy, &status) == 0)
    #expect(UInt64(status.st_size) == size && status.st_blocks * 512 < 2 << 20)
    let bytes = try Data(contentsOf: URL(filePath: copy))
    #expect(Array(bytes[2 << 20..<3 << 20]) == pattern(1 << 20, 1))
    #expect(Array(bytes[8 << 20 + 512..<8 << 20 + 1024]) == pattern(512, 2))
    // Without a disk of its own this node knows nothing.
    try bench.a.done(.detach(volume: nil, force: false))
    #expect(try map(bench.a) == [[0, size, 0]])
    #expect(try client.read(512, at: 8 << 20 + 512) == pattern(512, 2))
  }

  /// Kernels before 6.15 make no such device.
  private static let hasLargeBlocks: Bool = {
    guard canLoop else { return false }
    do {
      try shell(
        "set -e; f=$(mktemp); truncate -s 1M $f; l=$(losetup --find --show --sector-size 8192 $f) || { rm $f; exit 1; }; "
          + "losetup -d $l; rm $f")
      return true
    } catch { return false }
  }()

  @Test(.enabled(if: hasLargeBlocks, "needs root, loop devices and a kernel that makes blocks of 8192 bytes"))
  func blocksThatAreTooLarge() throws {
    let desk = try Desk()
    let disk = desk.bench.a.disk(0)
    let loop = try shell("losetup --find --show --sector-size 8192 \(disk)")
    desk.afterwards { do { try shell("losetup -d \(loop)") } catch { print("left behind: \(loop)") } }
    try desk.edit(disk + ";", loop + ";")
    let why = "\(loop) has blocks of 8192 bytes, and DRBD's metadata are written in blocks of 4096"
    refuses(try desk.a("create-md --force r0"), 20, why)
    refuses(try desk.a("up r0"), 10, "(104)", why)
  }
}
