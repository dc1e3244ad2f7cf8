// Metadata brought in order while the resource is down: a device that has grown, the other format, a damaged activity log. Debian's
// drbdmeta judges what was written.
import Foundation
import Glibc
import Testing

@Suite struct MendingCommands {
  private func bench(_ mebibytes: UInt64 = 64) throws -> AdminBench {
    let bench = try AdminBench()
    bench.environment["REPL_STATE_DIR"] = bench.directory + "/state"
    try bench.configure()
    try bench.makeDisk(mebibytes << 20)
    return bench
  }

  /// Metadata with generations, a bitmap and a size: a recorded dump of v08, restored, and converted when v09 is wanted.
  private func lived(_ bench: AdminBench, _ format: String = "v09") throws {
    let dump = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Fixtures/metadata/v08-int-64m-pop.dump")
    let outcome = bench.run("restore-md", "--force", "r0", dump.path)
    #expect(outcome.code == 0, "\(outcome)")
    #expect(bench.run("apply-al", "r0").code == 0)
    guard format == "v09" else { return }
    #expect(bench.run("convert-md", "--to", "v09", "--force", "r0").code == 0)
  }

  private func grow(_ bench: AdminBench, to mebibytes: UInt64) {
    #expect(truncate(bench.disk, Int(mebibytes << 20)) == 0)
  }

  /// The dump without the lines that tell the time and the place of things.
  private func content(_ dump: String) -> [Substring] {
    let body = dump[(dump.range(of: "version \"")?.lowerBound ?? dump.startIndex)...]
    return body.split(separator: "\n").filter { !$0.hasPrefix("#") }
  }

  @Test func aGrownDeviceKeepsItsMetadata() throws {
    let bench = try bench()
    try lived(bench)
    #expect(bench.run("check-resize", "r0") == AdminBench.Outcome(code: 0, out: "", err: ""))
    let before = bench.run("dump-md", "r0").out
    grow(bench, to: 1024)
    #expect(bench.run("dump-md", "r0").code == 1)
    let moved = bench.run("check-resize", "r0")
    #expect(moved.code == 0 && moved.out.hasSuffix("Internal drbd meta data successfully moved.\n"), "\(moved)")
    #expect(content(bench.run("dump-md", "r0").out) == content(before))
    #expect(bench.run("check-resize", "r0").out.isEmpty)
    // The old superblock is not found again.
    grow(bench, to: 64)
    #expect(bench.run("dump-md", "r0").code == 1)
  }

  @Test func theSizeCanBeSaidWhereItIsNotOnRecord() throws {
    let bench = try bench()
    try lived(bench)
    let before = bench.run("dump-md", "r0").out
    try FileManager.default.removeItem(atPath: bench.directory + "/state")
    grow(bench, to: 200)
    let lost = bench.run("check-resize", "r0")
    #expect(lost.code == 1 && lost.err.contains("no suitable meta data found") && lost.err.contains("--from"))
    #expect(bench.run("check-resize", "--from", "63M", "r0").code == 1)
    #expect(bench.run("check-resize", "--from", "64M", "r0").code == 0)
    #expect(content(bench.run("dump-md", "r0").out) == content(before))
  }

  @Test(.enabled(if: isInstalled("drbdmeta"), "needs drbdmeta"))
  func drbdmetaReadsWhatWasMoved() throws {
    let bench = try bench()
    try lived(bench, "v08")
    let before = try judge("dump-md", bench, "v08")
    grow(bench, to: 300)
    #expect(bench.run("check-resize", "r0").code == 0)
    #expect(content(try judge("dump-md", bench, "v08")) == content(before))
  }

  @Test(arguments: ["v08", "v09"])
  func conversionThereAndBackLosesNothing(format: String) throws {
    let bench = try bench()
    try lived(bench, format)
    let other = format == "v08" ? "v09" : "v08"
    let before = bench.run("dump-md", "r0").out
    let generations = bench.run("get-gi", "r0").out
    #expect(bench.run("convert-md", "--to", format, "r0").out.contains("already"))
    let asked = bench.run("convert-md", "--to", other, "r0")
    #expect(asked.code == 1 && asked.err.contains("convert to \(other)?"))
    #expect(bench.run("convert-md", "--to", other, "--force", "r0").code == 0)
    #expect(bench.run("dump-md", "r0").out.contains("version \"\(other)\""))
    #expect(
      bench.run("get-gi", "r0").out.split(separator: ":").prefix(4) == generations.split(separator: ":").prefix(4))
    #expect(bench.run("convert-md", "--to", format, "--force", "r0").code == 0)
    #expect(content(bench.run("dump-md", "r0").out) == content(before))
  }

  @Test func aDamagedLogCostsAFullResyncAndNotTheMetadata() throws {
    let bench = try bench()
    try lived(bench)
    #expect(bench.run("repair-md", "r0").out == "The meta data are in order.\n")
    // A Primary crashed, and its log is nothing but garbage.
    let image = 64 << 20
    try bench.put([UInt8](repeating: 0xA5, count: 32 << 10), at: UInt64(image - 4096 - (32 << 10)), in: bench.disk)
    try markCrashed(bench, at: UInt64(image - 4096))
    #expect(bench.run("apply-al", "r0").code == 1)
    let asked = bench.run("repair-md", "r0")
    #expect(asked.code == 1 && asked.err.contains("mark all data out of sync?"))
    let outcome = bench.run("repair-md", "--force", "r0")
    #expect(outcome.code == 0, "\(outcome)")
    let dump = bench.run("dump-md", "r0")
    #expect(dump.code == 0 && dump.out.contains("0xFFFFFFFFFFFFFFFF"))
    #expect(bench.run("apply-al", "r0").code == 0)
  }

  /// Clears AL_CLEAN and sets PRIMARY_IND in the flags of a v09 superblock (metadata spec 2.3).
  private func markCrashed(_ bench: AdminBench, at superblock: UInt64) throws {
    let file = try FileHandle(forUpdating: URL(filePath: bench.disk))
    defer { _ = Result { try file.close() } }
    try file.seek(toOffset: superblock)
    var bytes = Array(try #require(try file.read(upToCount: 4096)))
    let offset = 56
    let old = bytes[offset..<offset + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    let new = (old & ~0x80) | 0x02
    for i in 0..<4 { bytes[offset + i] = UInt8(truncatingIfNeeded: new >> UInt32(24 - 8 * i)) }
    try file.seek(toOffset: superblock)
    try file.write(contentsOf: Data(bytes))
  }

  private func judge(_ command: String, _ bench: AdminBench, _ format: String) throws -> String {
    try shell(
      "unshare -m sh -c 'mount -t tmpfs none /var/lib/drbd; drbdmeta --force - \(format) \(bench.disk) internal \(command)'"
    )
  }
}
