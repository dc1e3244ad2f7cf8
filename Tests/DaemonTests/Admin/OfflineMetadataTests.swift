// The commands on metadata of a resource that is down, and Debian's drbdmeta as the judge of what they wrote.
import Foundation
import Glibc
import Testing

@Suite struct OfflineMetadataCommands {
  private func bench() throws -> AdminBench {
    let bench = try AdminBench()
    try bench.configure()
    try bench.makeDisk(64 << 20)
    return bench
  }

  @Test(arguments: ["get-gi", "show-gi", "dump-md", "dstate", "apply-al", "outdate", "invalidate"])
  func absentMetadataIsExitOneAndSaysWhatToType(command: String) throws {
    let outcome = try bench().run(command, "r0")
    #expect(outcome.code == 1)
    #expect(outcome.err.contains("No valid meta data found") && outcome.err.contains("repladm create-md"))
  }

  @Test func damagedMetadataIsNoMetadata() throws {
    let bench = try bench()
    bench.run("create-md", "r0")
    // bm_max_peers of 200.
    try bench.put([0, 0, 0, 200], at: (64 << 20) - 4096 + 100, in: bench.disk)
    try bench.put([UInt8](repeating: 0xAA, count: 24), at: (64 << 20) - 4096 + 64, in: bench.disk)
    #expect(bench.run("get-gi", "r0").code == 1)
    #expect(bench.run("create-md", "r0").err.contains("overwrite"))
    #expect(bench.run("create-md", "--force", "r0").code == 0)
  }

  @Test func outdateNeedsConsistentData() throws {
    let bench = try bench()
    bench.run("create-md", "r0")
    #expect(bench.run("outdate", "r0").code == 5)
    #expect(bench.run("invalidate", "r0").code == 0)
    #expect(bench.run("get-gi", "r0").out.hasSuffix(":1:0\n"))
  }

  @Test func wipingAsksFirst() throws {
    let bench = try bench()
    #expect(bench.run("wipe-md", "r0").out.contains("no drbd meta data to wipe out"))
    bench.run("create-md", "r0")
    #expect(bench.run("wipe-md", "r0").code == 1)
    #expect(bench.run("dstate", "r0").code == 0)
    bench.answers = ["yes"]
    #expect(bench.run("wipe-md", "r0").code == 0)
    #expect(bench.run("dstate", "r0").code == 1)
  }

  @Test func aDumpComesBackByRestore() throws {
    let bench = try bench()
    bench.run("create-md", "--max-peers", "3", "r0")
    let dump = bench.run("dump-md", "r0").out
    try bench.write("dump", dump.replacingOccurrences(of: "la-size-sect 0;", with: "la-size-sect 1024;"))
    #expect(bench.run("restore-md", "r0/0", bench.directory + "/dump").code == 1)
    #expect(bench.run("restore-md", "--force", "r0/0", bench.directory + "/dump").code == 0)
    #expect(bench.run("dump-md", "r0").out.contains("la-size-sect 1024;"))
    try bench.write("dump", "version \"v07\";")
    #expect(bench.run("restore-md", "--force", "r0/0", bench.directory + "/dump").code == 10)
  }

  @Test func anUncleanDumpNeedsForce() throws {
    let bench = try bench()
    bench.run("create-md", "r0")
    // The flags of v09 at offset 56: AL_CLEAN off.
    try bench.put([0, 0, 0, 0], at: (64 << 20) - 4096 + 56, in: bench.disk)
    let refused = bench.run("dump-md", "r0")
    #expect(refused.code == 1 && refused.err.contains("apply-al"))
    #expect(bench.run("dump-md", "--force", "r0").out.contains("This_is_an_unclean_meta_data_dump"))
    #expect(bench.run("apply-al", "r0").code == 0)
    #expect(bench.run("dump-md", "r0").code == 0)
  }

  @Test func aVolumeWithoutADiskEndsTheSteps() throws {
    let bench = try AdminBench()
    try bench.configure(disk: "none")
    let commands = [
      "create-md", "wipe-md", "dump-md", "get-gi", "show-gi", "apply-al", "check-resize", "repair-md", "outdate",
      "invalidate",
      "attach", "detach", "resize", "sh-md-dev", "sh-md-idx",
    ]
    for command in commands {
      for words in [[command, "r0"], ["-d", command, "r0"]] {
        let said = bench.run(words)
        #expect(said.code == 10 && said.out.isEmpty, "\(words): \(said)")
        let sentence = "The \(command) command requires a local disk, but the configuration gives none"
        #expect(said.err.contains(sentence), "\(words): \(said)")
      }
    }
    #expect(bench.run("sh-ll-dev", "r0").out == "none\n")
    // A volume before it is worked on.
    try bench.makeDisk(64 << 20)
    try bench.write(
      "repl.conf",
      """
      resource r0 {
        volume 0 { device minor 90; disk \(bench.disk); meta-disk internal; }
        volume 1 { device minor 91; disk none; meta-disk internal; }
        on one { address 127.0.0.1:7790; node-id 0; } on two { address 127.0.0.1:7791; node-id 1; }
      }
      """)
    let said = bench.run("create-md", "r0")
    #expect(said.code == 10 && said.out.contains("successfully created") && said.err.contains("requires a local disk"))
    #expect(bench.run("dump-md", "r0/0").code == 0)
  }

  @Test func replmetaWorksWithoutAConfiguration() throws {
    let bench = try AdminBench()
    try bench.makeDisk(64 << 20)
    #expect(bench.run("-", "v09", bench.disk, "internal", "create-md", program: "replmeta").code == 20)
    #expect(bench.run("-", "v09", bench.disk, "internal", "create-md", "2", program: "replmeta").code == 0)
    #expect(bench.run("-", "v09", bench.disk, "internal", "get-gi", program: "drbdmeta").code == 10)
    let line = bench.run("--node-id", "1", "-", "v09", bench.disk, "internal", "get-gi", program: "drbdmeta")
    #expect(line.code == 0 && line.out.hasPrefix("0000000000000004:"))
    #expect(bench.run("-", "v09", bench.disk, "nowhere", "dstate", program: "replmeta").code == 20)
    #expect(bench.run("-", "v09", bench.disk, "internal", "wipe-md", "--force", program: "replmeta").code == 0)
    #expect(bench.run("-", "v09", bench.disk, "internal", "dstate", program: "replmeta").code == 1)
  }
}

private let drbdmeta: String? =
  FileManager.default.isExecutableFile(atPath: "/usr/sbin/drbdmeta")
  ? "/usr/sbin/drbdmeta" : nil

@Suite(.enabled(if: drbdmeta != nil, "needs drbdmeta of Debian's drbd-utils"))
struct DrbdmetaAgrees {
  private func judge(_ arguments: String..., on disk: String, format: String) throws -> (status: Int32, out: String) {
    try judge(arguments, on: disk, format: format)
  }

  private func judge(_ arguments: [String], on disk: String, format: String) throws -> (status: Int32, out: String) {
    let said = try DRBDTool.run(try #require(drbdmeta), ["--force", "-", format, disk, "internal"] + arguments)
    return (said.code, said.out)
  }

  /// Without the lines that name date, host and command.
  private func body(_ dump: String) -> Substring {
    dump[(dump.range(of: "version \"")?.lowerBound ?? dump.endIndex)...]
  }

  /// One command line for both programs, on two disks that were alike; then they are alike again.
  private func both(_ bench: AdminBench, _ format: String, _ words: [String]) throws {
    let theirs = try judge(words, on: bench.disk + "-theirs", format: format)
    let ours = bench.run(["--force", "-", format, bench.disk, "internal"] + words, program: "drbdmeta")
    #expect(ours.code == theirs.status && ours.out == theirs.out, "\(words): \(ours), \(theirs)")
    let block = { (path: String) throws -> Data in
      let file = try FileHandle(forReadingFrom: URL(filePath: path))
      defer { file.closeFile() }
      try file.seek(toOffset: (64 << 20) - 4096)
      return try file.readToEnd() ?? Data()
    }
    let (own, judged) = (try block(bench.disk), try block(bench.disk + "-theirs"))
    #expect(own == judged, "the superblocks after \(words)")
  }

  @Test(arguments: ["v08", "v09"]) func aboutWhatIsSetInASuperblock(format: String) throws {
    let bench = try AdminBench()
    try bench.makeDisk(64 << 20)
    let node = format == "v09" ? ["--node-id", "1"] : []
    let create = format == "v09" ? ["create-md", "2"] : ["create-md"]
    #expect(try judge(create, on: bench.disk, format: format).status == 0)
    try FileManager.default.copyItem(atPath: bench.disk, toPath: bench.disk + "-theirs")
    let flags = format == "v09" ? "1:1:1:1:1:1:1:1:1:1:1:1" : "1:1:1:1:1:1:1"
    for line in [
      "1111111111111110:2222222222222222:3333333333333333:4444444444444444:\(flags)", "AAAAAAAAAAAAAAAA",
      ":BBBBBBBBBBBBBBBB",
      "::CCCC:DDDD", "::::0:0", "1:",
    ] {
      try both(bench, format, ["set-gi", line] + node)
      try both(bench, format, node + ["get-gi"])
    }
    for words in [
      ["read-dev-uuid"], ["write-dev-uuid", "0123456789ABCDEF"], ["read-dev-uuid"], ["write-dev-uuid", "12"],
    ] {
      try both(bench, format, words)
    }
    try both(bench, format, ["read-dev-uuid"])
    for words in [["set-gi", "::::2:0"] + node, ["set-gi", "xyz"] + node, ["set-gi"] + node, ["write-dev-uuid"]] {
      let theirs = try judge(words, on: bench.disk + "-theirs", format: format)
      let ours = bench.run(["--force", "-", format, bench.disk, "internal"] + words, program: "drbdmeta")
      #expect(ours.code == 10 && theirs.status == 10 && !ours.err.isEmpty, "\(words)")
    }
    try both(bench, format, ["read-dev-uuid"])
  }

  @Test func aboutAForgottenPeer() throws {
    let bench = try AdminBench()
    try bench.configure()
    try bench.makeDisk(64 << 20)
    #expect(bench.run("create-md", "--max-peers", "2", "r0").code == 0)
    // Peer 1 has slot 0 and was seen, connected; its entry lies behind the header of v09.
    let dump = bench.run("dump-md", "r0").out.replacingOccurrences(of: "node-id -1;", with: "node-id 0;")
    let entry = try #require(dump.range(of: "peer[1] {\n    bitmap-index -1;"))
    var edited = dump.replacingCharacters(in: entry, with: "peer[1] {\n    bitmap-index 0;")
    let flags = try #require(edited.range(of: "flags 0x00000000;", range: entry.lowerBound..<edited.endIndex))
    edited.replaceSubrange(flags, with: "flags 0x00000011;")
    try bench.write("dump", edited)
    let restored = bench.run("restore-md", "--force", "r0/0", bench.directory + "/dump")
    #expect(restored.code == 0, "\(restored)")
    try FileManager.default.copyItem(atPath: bench.disk, toPath: bench.disk + "-theirs")
    #expect(bench.run("dump-md", "r0").out.contains("peer[1] {\n    bitmap-index 0;"))
    let theirs = try judge(["--node-id", "1", "forget-peer"], on: bench.disk + "-theirs", format: "v09")
    let ours = bench.run("-", "v09", bench.disk, "internal", "forget-peer", "--node-id", "1", program: "drbdmeta")
    #expect(ours == AdminBench.Outcome(code: 0, out: "", err: "") && theirs.status == 0, "\(ours)")
    try both(bench, "v09", ["--node-id", "1", "get-gi"])
    #expect(bench.run("dump-md", "r0").out.contains("peer[1] {\n    bitmap-index -1;"))
    #expect(bench.run("-", "v09", bench.disk, "internal", "forget-peer", program: "drbdmeta").code == 10)
    #expect(
      bench.run("-", "v09", bench.disk, "internal", "--node-id", "32", "forget-peer", program: "drbdmeta").code == 10)
  }

  @Test(arguments: [("v09", "1"), ("v09", "3"), ("v09", "31"), ("v08", "1")])
  func aboutFreshMetadata(format: String, peers: String) throws {
    let bench = try AdminBench()
    try bench.configure()
    try bench.makeDisk(64 << 20)
    #expect(bench.run("create-md", "--format", format, "--max-peers", peers, "r0").code == 0)
    let theirs = try judge("dump-md", on: bench.disk, format: format)
    #expect(theirs.status == 0)
    // drbdmeta 9.22 prints 0 for the flags of v08, whatever they are.
    let ours = bench.run("dump-md", "r0").out
    let comparable =
      format == "v08" ? ours.replacingOccurrences(of: "flags 0x00000080;", with: "flags 0x00000000;") : ours
    #expect(body(theirs.out) == body(comparable))
    #expect(try judge("apply-al", on: bench.disk, format: format).status == 0)
  }

  @Test func aboutMetadataItWroteItself() throws {
    let bench = try AdminBench()
    try bench.configure()
    try bench.makeDisk(64 << 20)
    #expect(try judge("create-md", "2", on: bench.disk, format: "v09").status == 0)
    let gi = "A0A0A0A0A0A0A0A0:1111111111111111:22:33:1:1:0:0:1:0:0:1:0:0:0:1:"
    #expect(try judge("set-gi", gi, "--node-id=1", on: bench.disk, format: "v09").status == 0)
    let theirs = try judge("get-gi", "--node-id=1", on: bench.disk, format: "v09")
    #expect(bench.run("get-gi", "r0").out == theirs.out)
    #expect(bench.run("dstate", "r0").out == (try judge("dstate", on: bench.disk, format: "v09")).out)
    #expect(bench.run("outdate", "r0").code == 0)
    #expect(bench.run("dstate", "r0").out == "Outdated\n")
    #expect((try judge("dstate", on: bench.disk, format: "v09")).out == "Outdated\n")
    #expect(body(try judge("dump-md", on: bench.disk, format: "v09").out) == body(bench.run("dump-md", "r0").out))
  }

  @Test func aboutWhatTheActivityLogSays() throws {
    let image = try FixtureImage("v09-al-p2-before")
    let bench = try AdminBench()
    try bench.configure()
    try bench.makeDisk(image.size)
    for row in image.rows { try bench.put(row.bytes, at: row.offset, in: bench.disk) }
    let outcome = bench.run("apply-al", "r0")
    let said = try String(contentsOf: FixtureImage.directory.appending(path: "v09-al-p2.apply-al"), encoding: .utf8)
    #expect(outcome.code == 0)
    #expect(said.contains(outcome.out.trimmingCharacters(in: .whitespacesAndNewlines)))
    let expected = try String(
      contentsOf: FixtureImage.directory.appending(path: "v09-al-p2-after.dump"), encoding: .utf8)
    #expect(body(bench.run("dump-md", "r0").out) == body(expected))
    #expect(body(try judge("dump-md", on: bench.disk, format: "v09").out) == body(expected))
  }
}

/// A recorded device as rows of bytes: `HEXOFFSET 32HEXDIGITS [*N]` per line.
private struct FixtureImage {
  static let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "Fixtures/metadata")

  let size: UInt64
  let rows: [(offset: UInt64, bytes: [UInt8])]

  init(_ name: String) throws {
    let text = try String(contentsOf: FixtureImage.directory.appending(path: "\(name).sparse"), encoding: .utf8)
    var lines = text.split(separator: "\n")[...]
    let first = try #require(lines.first)
    lines.removeFirst()
    size = UInt64(first.dropFirst("size ".count)) ?? 0
    rows = lines.compactMap { line in
      let words = line.split(separator: " ")
      guard words.count >= 2, let offset = UInt64(words[0], radix: 16) else { return nil }
      let digits = Array(words[1].utf8)
      let row = stride(from: 0, to: digits.count, by: 2).map { i in
        UInt8(String(decoding: digits[i..<i + 2], as: UTF8.self), radix: 16) ?? 0
      }
      let times = words.count > 2 ? Int(words[2].dropFirst()) ?? 1 : 1
      return (offset, Array(repeatElement(row, count: times).joined()))
    }
  }
}
