// What two real daemons find out about their data: digests in front of payloads, online verify, resync by checksums and of
// blocks of zeroes. Here the digests are libcrypto's and the bytes are on real files.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct DaemonComparison {
  /// Changes a block of a node's disk behind its back.
  private func spoil(_ path: String, block: Int) throws {
    let file = open(path, O_RDWR | O_CLOEXEC)
    try #require(file >= 0)
    defer { close(file) }
    let bytes = [UInt8](repeating: 0x5a, count: 4096)
    try #require(pwrite(file, bytes, bytes.count, block * 4096) == bytes.count)
    try #require(fsync(file) == 0)
  }

  private func outOfSync(_ node: Node) throws -> UInt64 {
    try node.status().connections[0].peerDevices[0].outOfSync
  }

  @Test(arguments: ["crc32c", "md5", "sha1", "sha256"])
  func aVerifyFindsWhatDiffersAndNothingElse(digest: String) throws {
    let bench = try Bench(net: "data-integrity-alg \(digest); verify-alg \(digest); csums-alg \(digest);")
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    for i in 0..<64 as Range<UInt64> { try client.write(pattern(8192, i), at: i * 65536) }
    try client.zero(1 << 20, at: 8 << 20)
    try client.flush()
    #expect(try client.read(8192, at: 65536) == pattern(8192, 1))
    try bench.a.done(.verify(volume: nil, startSector: nil, stopSector: nil))
    try bench.inSync()
    for node in [bench.a, bench.b] { #expect(try outOfSync(node) == 0) }
    for block in [3, 16, 2000] { try spoil(bench.b.disk(0), block: block) }
    try bench.b.done(.verify(volume: nil, startSector: nil, stopSector: nil))
    try bench.inSync()
    for node in [bench.a, bench.b] { #expect(try outOfSync(node) == 12) }
    // By checksums: only what differs is copied.
    let before = try bench.b.status().connections[0].peerDevices[0].received
    try bench.b.done(.invalidate(volume: nil, resetBitmap: true))
    try bench.inSync()
    let copied = try bench.b.status().connections[0].peerDevices[0].received - before
    #expect(copied >= 12 && copied <= 3 * 128, "\(copied) KiB")
    try bench.expectEqualData()
    try client.leave()
  }

  /// A system whose cryptography policy forbids every digest of libcrypto: none of its methods has the property asked for.
  private func forbidDigests(_ node: Node, _ bench: Bench) throws {
    let path = bench.directory + "/policy.cnf"
    let policy = "openssl_conf = init\n[init]\nalg_section = algorithms\n[algorithms]\ndefault_properties = fips=yes\n"
    try policy.write(toFile: path, atomically: true, encoding: .utf8)
    node.variables = ["OPENSSL_CONF=\(path)"]
  }

  @Test func aForbiddenDigestIsUnknownNotDifferent() throws {
    let bench = try Bench(net: "verify-alg md5; csums-alg md5;")
    try forbidDigests(bench.a, bench)
    try bench.synced()
    let verify = Command.verify(volume: nil, startSector: nil, stopSector: nil)
    let here = try bench.a.refused(verify)
    #expect(here.number?.rawValue == -14)
    #expect(here.why.contains("forbids"))
    #expect(try bench.b.refused(verify).number?.rawValue == -10)
    for node in [bench.a, bench.b] { #expect(try outOfSync(node) == 0) }
    // A resync by checksums copies what it cannot compare.
    try bench.b.done(.invalidate(volume: nil, resetBitmap: true))
    try bench.inSync()
    try bench.expectEqualData()
  }

  @Test(arguments: ["cram-hmac-alg sha1; shared-secret x;", "data-integrity-alg sha1;"])
  func aForbiddenDigestRefusesTheConnection(net: String) throws {
    let bench = try Bench(net: net)
    try forbidDigests(bench.a, bench)
    try bench.createMetadata()
    for node in [bench.a, bench.b] {
      try node.start()
      try node.done(.attach(volume: nil))
      try node.done(.connect(peer: nil, discardMyData: false))
    }
    try until("a gives up") { bench.a.log.contains("which the cryptography policy of this system forbids") }
    try until("a is StandAlone") { try bench.a.status().connections[0].state == .standAlone }
  }

  @Test func aThinResyncCopiesNoZeroes() throws {
    let bench = try Bench(disk: "rs-discard-granularity 65536;")
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(4096, 1), at: 1 << 20)
    try client.flush()
    try spoil(bench.b.disk(0), block: 2000)
    let before = try bench.a.status().connections[0].peerDevices[0].sent
    try bench.b.done(.invalidate(volume: nil, resetBitmap: true))
    try bench.inSync()
    let sent = try bench.a.status().connections[0].peerDevices[0].sent - before
    #expect(sent <= 256, "\(sent) KiB")
    try bench.expectEqualData()
    try client.leave()
  }

  @Test func suspendedRequestsWait() throws {
    let bench = try Bench()
    try bench.synced()
    try bench.a.done(.suspendIO(volume: nil))
    #expect(try bench.a.status().suspendedByUser)
    try bench.a.done(.resumeIO(volume: nil))
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(4096, 1), at: 0)
    try client.leave()
    try bench.expectEqualData()
  }
}
