// Devices that grow under two real daemons, in use and not: the new blocks are equal on both, the metadata lie at the new end, and
// Debian's drbdmeta reads them there.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct DaemonGrow {
  private func grow(_ bench: Bench, mebibytes: Int) {
    for node in [bench.a, bench.b] { #expect(truncate(node.disk(0), mebibytes << 20) == 0) }
  }

  private func size(_ node: Node) throws -> UInt64 { try node.status().devices[0].size }

  private func spoil(_ path: String, at offset: UInt64) throws {
    let file = try #require(FileHandle(forWritingAtPath: path))
    try file.seek(toOffset: offset)
    try file.write(contentsOf: Data(repeating: 0xee, count: 8192))
    try file.close()
  }

  /// What drbdmeta finds at the end of the device: the size in sectors, and the bits that are set.
  private func judge(_ node: Node, _ format: String) throws -> (size: UInt64, bits: String) {
    let dump = try shell(
      "unshare -m sh -c 'mount -t tmpfs none /var/lib/drbd; drbdmeta --force - \(format) \(node.disk(0)) internal apply-al; "
        + "drbdmeta --force - \(format) \(node.disk(0)) internal dump-md'")
    let words = dump.split(whereSeparator: { " ;\n".contains($0) })
    let at = try #require(words.firstIndex(of: "la-size-sect"), "\(dump)")
    return (UInt64(words[at + 1]) ?? 0, dump.split(separator: "\n").filter { $0.contains("# bits-set") }.joined())
  }

  @Test(
    .enabled(if: isRoot && isInstalled("drbdmeta"), "needs root and drbdmeta"), arguments: ["v08", "v09"],
    [40, 64, 300])
  func internalMetadataMoveWhileTheVolumeIsWritten(_ format: String, _ mebibytes: Int) throws {
    let bench = try Bench()
    try bench.synced(format)
    let was = try size(bench.a)
    let client = try Client(bench.a.exportPath)
    for i in 0..<64 as Range<UInt64> { try client.write(pattern(4096, i), at: i * 400 << 10) }
    grow(bench, mebibytes: mebibytes)
    try spoil(bench.b.disk(0), at: 36 << 20)
    var resize = try bench.a.start(repladm: ["resize", "r0"])
    var written: UInt64 = 0
    while resize.reap() == nil {
      try client.write(pattern(4096, 1000 + written), at: (written * 7919 % 7000) << 12)
      written += 1
    }
    #expect(resize.reap() == .status(0), "\(bench.a.log)")
    let now = try size(bench.a)
    #expect(now > was && now > UInt64(mebibytes - 1) << 10)
    // The session that was open follows; a new one is told.
    let end = now << 10
    try client.write(pattern(4096, 5), at: end - 4096)
    try client.flush()
    let other = try Client(bench.a.exportPath)
    #expect(other.size == end)
    #expect(try other.read(4096, at: end - 4096) == pattern(4096, 5))
    try bench.inSync()
    #expect(try size(bench.b) == now)
    try client.leave()
    try other.leave()
    for node in [bench.a, bench.b] {
      #expect(node.log.contains("Internal drbd meta data successfully moved."))
      #expect(!node.log.contains("all blocks are out of sync"))
    }
    try bench.expectEqualData()
    for node in [bench.a, bench.b] { try node.done(.down) }
    for node in [bench.a, bench.b] { #expect(try node.awaitExit() == .status(0)) }
    for node in [bench.a, bench.b] {
      let found = try judge(node, format)
      #expect(found.size == end / 512)
    }
    try bench.up()
    #expect(try size(bench.a) == now)
    #expect(try bench.a.status().connections[0].peerDevices[0].outOfSync == 0)
  }

  @Test func externalMetadataStayWhereTheyAre() throws {
    let bench = try Bench(external: true)
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(4096, 1), at: 1 << 20)
    grow(bench, mebibytes: 48)
    try spoil(bench.b.disk(0), at: 40 << 20)
    try bench.a.repladm(["resize", "r0"])
    #expect(try size(bench.a) == 48 << 10)
    try client.write(pattern(4096, 2), at: (48 << 20) - 4096)
    try bench.inSync()
    try client.leave()
    try bench.expectEqualData()
  }

  @Test func devicesThatGrewWhileBothNodesWereDownBecomeEqual() throws {
    let bench = try Bench()
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(1 << 20, 1), at: 1 << 20)
    try client.leave()
    for node in [bench.a, bench.b] { try node.done(.down) }
    for node in [bench.a, bench.b] { #expect(try node.awaitExit() == .status(0)) }
    grow(bench, mebibytes: 48)
    try spoil(bench.b.disk(0), at: 40 << 20)
    for node in [bench.a, bench.b] { try node.repladm(["check-resize", "r0"]) }
    try bench.up()
    try bench.inSync()
    #expect(try size(bench.a) > 47 << 10)
    try bench.expectEqualData()
    #expect(try bench.a.status().connections[0].peerDevices[0].outOfSync == 0)
  }

  /// As drbdadm's `up` does with its apply-al: nobody has to know of check-resize.
  @Test func upAndAttachFindTheMetadataOfADeviceThatGrew() throws {
    let desk = try Desk()
    for node in [desk.bench.a, desk.bench.b] {
      succeeds(try desk.type("create-md --force r0", on: node, [:]))
      succeeds(try desk.type("up --no-device r0", on: node, [:]))
    }
    try desk.bench.connected()
    succeeds(try desk.a("down r0"))
    grow(desk.bench, mebibytes: 24)
    let moved = "Internal drbd meta data successfully moved."
    let up = try desk.a("up --no-device r0")
    #expect(up.code == 0 && up.out.contains(moved), "\(up)")
    succeeds(try desk.b("detach r0"))
    grow(desk.bench, mebibytes: 32)
    let attach = try desk.b("attach r0")
    #expect(attach.code == 0 && attach.out.contains(moved), "\(attach)")
  }

  /// Only one node was told to resize; each has on record where its metadata lie.
  @Test func bothNodesFindTheirMetadataAfterAnotherGrowthAndACrash() throws {
    let bench = try Bench()
    try bench.synced()
    grow(bench, mebibytes: 40)
    try bench.a.repladm(["resize", "r0"])
    try bench.inSync()
    let now = try size(bench.a)
    grow(bench, mebibytes: 64)
    for node in [bench.a, bench.b] { node.kill() }
    for node in [bench.a, bench.b] { try node.repladm(["check-resize", "r0"]) }
    try bench.up()
    // Both have grown: what is new is part of the volume, and equal.
    try bench.inSync()
    for node in [bench.a, bench.b] { #expect(try size(node) > now) }
    try bench.expectEqualData()
  }

  @Test func aSmallerDiskIsRefusedAndTheDeviceInUseKeepsItsSize() throws {
    let bench = try Bench()
    try bench.synced()
    let was = try size(bench.a)
    let client = try Client(bench.a.exportPath)
    let end = was << 10
    try client.write(pattern(4096, 3), at: end - 4096)
    try bench.b.done(.detach(volume: nil, force: false))
    #expect(truncate(bench.b.disk(0), 24 << 20) == 0)
    try bench.b.createMetadata()
    let refusal = try bench.b.refused(.attach(volume: nil))
    #expect(refusal.why.contains("the volume in use has \(was) KiB"), "\(refusal)")
    #expect(try size(bench.a) == was)
    #expect(try client.read(4096, at: end - 4096) == pattern(4096, 3))
    #expect(try Client(bench.a.exportPath).size == end)
    let resize = try bench.a.ask(.resize(volume: nil, sizeSectors: nil, assumeClean: false))
    guard case .text(let said) = resize, said.contains("keeps its size of \(was) KiB") else {
      Issue.record("\(resize)")
      return
    }
    try client.leave()
  }
}
