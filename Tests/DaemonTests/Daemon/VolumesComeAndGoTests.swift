// `adjust` after volumes were added to or removed from the file: the Primary goes on, and a client of another volume loses no request.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

/// Writes one block after the other until it is told to stop; what it was told to have written is read again then.
private final class Application: @unchecked Sendable {
  private let path: String
  private let isOver = DispatchSemaphore(value: 0)
  private let lock = NSLock()
  private var stopped = false
  private var count: UInt64 = 0
  private var failure: String?

  init(_ path: String) {
    self.path = path
    Thread.detachNewThread { self.write() }
  }

  private func write() {
    defer { isOver.signal() }
    do {
      let client = try Client(path)
      while lock.withLock({ !stopped }) {
        let next = lock.withLock { count }
        try client.write(pattern(4096, next), at: next % 1024 * 4096)
        lock.withLock { count = next + 1 }
      }
      try client.flush()
      let written = lock.withLock { count }
      for block in written - min(written, 1024)..<written {
        let read = try client.read(4096, at: block % 1024 * 4096)
        guard read == pattern(4096, block) else { throw Timeout(description: "block \(block) was lost") }
      }
      try client.leave()
    } catch { lock.withLock { failure = "\(error)" } }
  }

  var written: UInt64 { lock.withLock { count } }

  /// Waits for more writes than there are now.
  func goesOn() throws {
    let before = written
    try until("the application goes on") { written > before + 10 || lock.withLock { failure != nil } }
    #expect(lock.withLock { failure } == nil)
  }

  func end() throws {
    lock.withLock { stopped = true }
    guard isOver.wait(timeout: .now() + 30) == .success else { throw Timeout(description: "the application hangs") }
    #expect(lock.withLock { failure } == nil)
  }
}

@Suite(.serialized) struct VolumesComeAndGo {
  private let one = VolumeNumber(1)

  private func text(_ bench: Bench) throws -> String { try String(contentsOfFile: bench.a.config, encoding: .utf8) }

  private func write(_ text: String, _ bench: Bench) throws {
    try text.write(toFile: bench.a.config, atomically: true, encoding: .utf8)
  }

  /// The file with volume 0 alone.
  private func withoutSecond(_ text: String) -> String {
    text.replacingOccurrences(of: #"volume 1 \{[^}]*\}"#, with: "", options: .regularExpression)
  }

  private func volumes(_ node: Node) throws -> [UInt16] { try node.status().devices.map(\.volume.value) }

  @Test func aVolumeIsAddedAndRemovedUnderAPrimaryThatIsWritten() throws {
    let bench = try Bench(volumes: 2)
    let both = try text(bench)
    try write(withoutSecond(both), bench)
    try bench.synced()
    let application = Application(bench.a.exportPath)
    try application.goesOn()

    try write(both, bench)
    for node in [bench.a, bench.b] {
      try node.repladm(["create-md", "--force", "r0/1"])
      try node.done(.adjust)
      #expect(try volumes(node) == [0, 1])
      try application.goesOn()
    }
    try bench.connected()
    #expect(try bench.a.status().devices[1].disk == .inconsistent)
    try bench.a.done(.primary(force: true))
    try bench.inSync()
    let client = try Client(bench.a.files.exportSocket("r0", one))
    try client.write(pattern(1 << 20, 77), at: 4096)
    try client.flush()
    try application.goesOn()
    try bench.expectEqualData(1)

    // In use it stays, and nothing is changed.
    try write(withoutSecond(both), bench)
    let refusal = try bench.a.refused(.adjust)
    #expect(
      refusal.number == .deviceInUse && refusal.details.contains { $0.hasPrefix("r0/1 opened by ") }, "\(refusal)")
    #expect(try client.read(4096, at: 4096) == Array(pattern(1 << 20, 77)[..<4096]))
    #expect(try bench.a.status().connections[0].state == .connected)
    try client.leave()
    for node in [bench.a, bench.b] {
      try until("the client is gone") { try !node.status().devices[1].isOpen }
      try node.done(.adjust)
      #expect(try volumes(node) == [0])
      #expect(access(node.files.exportSocket("r0", one), F_OK) != 0)
      try application.goesOn()
    }
    try bench.connected()
    try application.end()
    try bench.inSync()
    try bench.expectEqualData()
    #expect(try bench.a.status().role == .primary)

    // The data of the volume that comes back are there, and nothing is copied.
    try write(both, bench)
    for node in [bench.a, bench.b] { try node.done(.adjust) }
    try bench.inSync()
    try bench.expectEqualData(1)
    #expect(try bench.a.status().devices[1].disk == .upToDate)
    let again = try Client(bench.a.files.exportSocket("r0", one))
    #expect(try again.read(4096, at: 4096) == Array(pattern(1 << 20, 77)[..<4096]))
    try again.leave()
  }

  @Test func aVolumeWithoutMetadataIsThereWithoutItsDisk() throws {
    let bench = try Bench(volumes: 2)
    let both = try text(bench)
    try write(withoutSecond(both), bench)
    try bench.synced()
    try write(both, bench)
    let refusal = try bench.a.refused(.adjust)
    #expect(refusal.number == .noValidMetadata, "\(refusal)")
    #expect(try volumes(bench.a) == [0, 1])
    #expect(try bench.a.status().devices[1].disk == .diskless)
    try bench.a.repladm(["create-md", "--force", "r0/1"])
    try bench.a.done(.attach(volume: one))
    try bench.b.repladm(["create-md", "--force", "r0/1"])
    try bench.b.done(.adjust)
    try bench.connected()
  }

  @Test func aSocketThatCannotBeMadeIsRefusedAndNothingChanges() throws {
    let bench = try Bench(volumes: 2)
    let both = try text(bench)
    try write(withoutSecond(both), bench)
    try bench.synced()
    let path = bench.a.files.exportSocket("r0", one)
    _ = FileManager.default.createFile(atPath: path, contents: nil)
    try write(both, bench)
    let refusal = try bench.a.refused(.adjust)
    #expect(refusal.why.contains(path) && !refusal.next.isEmpty, "\(refusal)")
    #expect(try volumes(bench.a) == [0])
    #expect(try bench.a.status().connections[0].state == .connected)
    unlink(path)
    try bench.a.repladm(["create-md", "--force", "r0/1"])
    try bench.a.done(.adjust)
    #expect(try volumes(bench.a) == [0, 1])
  }

  @Test func manyVolumesComeAtOnceAndTheirClientsFindPlaces() throws {
    let bench = try Bench(volumes: 12, mebibytes: (8, 8))
    let all = try text(bench)
    try write(
      all.replacingOccurrences(of: #"volume (?!0 )\d+ \{[^}]*\}"#, with: "", options: .regularExpression), bench)
    try bench.createMetadata()
    try bench.up()
    try bench.a.done(.primary(force: true))
    try bench.inSync()
    try write(all, bench)
    for node in [bench.a, bench.b] {
      for volume in 1..<12 { try node.repladm(["create-md", "--force", "r0/\(volume)"]) }
      try node.done(.adjust)
    }
    try bench.connected()
    try bench.a.done(.primary(force: true))
    try bench.inSync()
    for volume in 0..<12 {
      let client = try Client(bench.a.files.exportSocket("r0", VolumeNumber(UInt16(volume))))
      try client.write(pattern(4096, UInt64(volume)), at: 0)
      try client.flush()
      try client.leave()
      try bench.expectEqualData(volume)
    }
  }
}
