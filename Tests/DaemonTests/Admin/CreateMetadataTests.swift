// `create-md` on files: every question, refusal and exit code of admin spec 4.2 and metadata spec 5.1.
import BlockIO
import Foundation
import Testing

@Suite struct CreateMetadata {
  private let size: UInt64 = 64 << 20

  private func bench(_ bytes: UInt64 = 64 << 20, metaDisk: String = "internal") throws -> AdminBench {
    let bench = try AdminBench()
    try bench.configure(metaDisk: metaDisk)
    try bench.makeDisk(bytes)
    return bench
  }

  /// The fields of an ext4 file system that tell its size.
  private func putExt4(_ bench: AdminBench, kib: UInt32) throws {
    var superblock = [UInt8](repeating: 0, count: 1024)
    func put(_ value: UInt32, _ at: Int) {
      for i in 0..<4 { superblock[at + i] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(i))) }
    }
    put(kib, 4)
    put(0xEF53, 0x38)
    put(4, 0x5C)
    try bench.put(superblock, at: 1024, in: bench.disk)
  }

  @Test func anEmptyDiskIsWrittenWithoutAQuestion() throws {
    let bench = try bench()
    let outcome = bench.run("create-md", "r0")
    #expect(
      outcome
        == AdminBench.Outcome(
          code: 0,
          out: "initializing activity log\nWriting meta data...\nNew drbd meta data block successfully created.\n",
          err: "initializing bitmap (4 KB) to all zero\n"))
    #expect(
      bench.run("get-gi", "r0").out
        == "0000000000000004:0000000000000000:0000000000000000:0000000000000000:0:0:0:0:1:0:0:0:0:0:0:0\n")
    #expect(bench.run("dstate", "r0").out == "Inconsistent\n")
    #expect(
      bench.run("dump-md", "r0").out.contains("\n# md_offset 67104768\n# al_offset 67072000\n# bm_offset 67067904\n"))
  }

  @Test func existingMetadataIsOverwrittenOnlyAfterAYes() throws {
    let bench = try bench()
    bench.run("create-md", "r0")
    let refused = bench.run("create-md", "r0")
    #expect(refused.code == 1)
    #expect(refused.err.contains("Do you really want to overwrite the existing meta-data?"))
    #expect(refused.err.contains("stdin not a TTY"))
    bench.answers = ["y"]
    #expect(bench.run("create-md", "r0").code == 1)
    bench.answers = ["yes"]
    #expect(bench.run("create-md", "r0").code == 0)
    bench.answers = nil
    #expect(bench.run("create-md", "--force", "r0").err.contains("*** confirmation forced via --force option ***"))
  }

  @Test func aFileSystemThatWouldBeCutOffIsRefusedEvenWhenForced() throws {
    let bench = try bench()
    try putExt4(bench, kib: 65536)
    let before = try Data(contentsOf: URL(filePath: bench.disk))
    for arguments in [["create-md", "r0"], ["create-md", "--force", "r0"]] {
      let outcome = arguments.count == 2 ? bench.run("create-md", "r0") : bench.run("create-md", "--force", "r0")
      #expect(outcome.code == 40)
      #expect(outcome.out.contains("Found ext3 filesystem"))
      #expect(outcome.out.contains("       65536 kB data area apparently used\n       65496 kB left usable"))
      #expect(outcome.err.contains("use external meta data") && outcome.err.contains("shrink that filesystem"))
    }
    #expect(bench.run("create-md", "--force", "--ignore-sanity-checks", "r0").code == 40)
    #expect(try Data(contentsOf: URL(filePath: bench.disk)) == before)
  }

  @Test func aFileSystemThatFitsIsAskedAbout() throws {
    let bench = try bench()
    try putExt4(bench, kib: 61440)
    let outcome = bench.run("create-md", "r0")
    #expect(outcome.code == 1 && outcome.err.contains("Do you want to proceed?"))
    bench.answers = ["yes"]
    #expect(bench.run("create-md", "r0").code == 0)
  }

  @Test func unknownDataIsAskedAbout() throws {
    let bench = try bench()
    try bench.put([1, 2, 3], at: 40000, in: bench.disk)
    let outcome = bench.run("create-md", "r0")
    #expect(outcome.code == 1 && outcome.out.contains("Found some data\n ==> This might destroy existing data! <=="))
    #expect(bench.run("create-md", "--force", "r0").code == 0)
  }

  @Test func swapIsRefusedUnlessSanityIsOverridden() throws {
    let bench = try bench()
    try bench.put(Array("SWAPSPACE2".utf8), at: 4086, in: bench.disk)
    #expect(bench.run("create-md", "--force", "r0").code == 40)
    #expect(bench.run("create-md", "--force", "--ignore-sanity-checks", "r0").code == 0)
  }

  @Test func sizesThatDoNotFitAreRefused() throws {
    let small = try bench(64 << 10)
    let outcome = small.run("create-md", "r0")
    #expect(outcome.code == 10 && outcome.err.contains("65536 bytes. That's not enough"))
    let bench = try bench()
    #expect(bench.run("create-md", "--max-peers", "0", "r0").code == 20)
    #expect(bench.run("create-md", "--max-peers", "32", "r0").code == 20)
    #expect(bench.run("create-md", "--max-peers", "2", "--format", "v08", "r0").code == 20)
    #expect(bench.run("create-md", "--al-stripe-size-kB", "4", "r0").code == 10)
    #expect(bench.run("create-md", "--al-stripes", "2000", "r0").code == 10)
    #expect(
      bench.run("create-md", "--al-stripes", "4", "--al-stripe-size-kB", "64", "--max-peers", "7", "r0").code == 0)
    #expect(bench.run("dump-md", "r0").out.contains("max-peers 7;"))
  }

  @Test func theOtherFormatIsConvertedOrReplaced() throws {
    let bench = try bench()
    #expect(bench.run("create-md", "--format", "v08", "r0").code == 0)
    #expect(bench.run("get-gi", "r0").out.split(separator: ":").count == 11)
    let refused = bench.run("create-md", "r0")
    #expect(refused.code == 1)
    #expect(refused.err.contains("Valid v08 meta-data found, convert to v09?"))
    #expect(refused.err.contains("with newly initialized v09 meta-data?"))
    bench.answers = ["no", "yes"]
    #expect(bench.run("create-md", "r0").out.contains("New drbd meta data block successfully created."))
    bench.answers = ["yes"]
    #expect(bench.run("create-md", "--format", "v08", "r0").out.contains("converted the meta data to v08"))
    #expect(bench.run("dump-md", "r0").out.contains("version \"v08\";"))
  }

  @Test func externalAndIndexedMetadataHaveTheirPlaces() throws {
    let external = try bench()
    try external.makeDisk(1 << 20, named: "meta")
    try external.configure(metaDisk: external.directory + "/meta")
    #expect(external.run("create-md", "r0").code == 0)
    #expect(external.run("dump-md", "r0").out.contains("# md_offset 0\n"))
    #expect(external.run("create-md", "r0").err.contains("Do you really want to overwrite?"))

    let indexed = try bench()
    try indexed.makeDisk(256 << 20, named: "meta")
    try indexed.configure(metaDisk: indexed.directory + "/meta[1]")
    #expect(indexed.run("create-md", "r0").code == 0)
    #expect(indexed.run("dump-md", "r0").out.contains("# md_offset 134217728\n"))
    try indexed.configure(metaDisk: indexed.directory + "/meta[2]")
    #expect(indexed.run("create-md", "r0").code == 10)
  }

  @Test func aDiskThatIsMissingOrInUseIsNamed() throws {
    let bench = try AdminBench()
    try bench.configure()
    let missing = bench.run("create-md", "r0")
    #expect(missing.code == 20 && missing.err.contains("\(bench.disk) does not exist"))
    try bench.makeDisk(size)
    do {
      let holder = try PlainDisk(path: bench.disk)
      let busy = bench.run("create-md", "r0")
      #expect(busy.code == 20 && busy.err.contains("in use"))
      #expect(holder.bytes == size)
    }
    #expect(bench.run("create-md", "r0").code == 0)
  }

  @Test func oneBadVolumeDoesNotStopTheOtherResources() throws {
    let bench = try bench()
    try bench.makeDisk(size, named: "second")
    let first = try String(contentsOfFile: bench.directory + "/repl.conf", encoding: .utf8)
    try bench.write(
      "repl.conf",
      first
        + """

        resource r1 {
          device minor 91; disk \(bench.directory)/second; meta-disk internal;
          on one { address 127.0.0.1:7792; }
          on two { address 127.0.0.1:7793; }
        }
        """)
    try FileManager.default.removeItem(atPath: bench.disk)
    let outcome = bench.run("create-md", "all")
    #expect(outcome.code == 20 && outcome.out.contains("successfully created"))
    #expect(bench.run("dstate", "r1").out == "Inconsistent\n")
  }
}
