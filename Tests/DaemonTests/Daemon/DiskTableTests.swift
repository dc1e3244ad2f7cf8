// Metadata blocks behind barriers: what the disk table asks of its devices, in which order, and what it does when a step fails.
import Base
import Engine
import Foundation
import Testing

@testable import BlockIO
@testable import ReplDaemon

@Suite struct DiskTableTests {
  private let volume = VolumeNumber(0)

  private enum Asked: Equatable {
    case syncData, syncMeta
    case write(isDurable: Bool)
  }

  /// Lets the table write one block; the step with this number fails. Nothing reaches a device.
  private func write(
    _ barrier: WriteBarrier, isExternal: Bool, failing: Int? = nil
  ) throws -> (asked: [Asked], fault: Int32?) {
    let directory = NSTemporaryDirectory() + "repl-table-\(UInt64.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    for name in ["data", "meta"] {
      try Data(count: 1 << 20).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
    }
    var ring = try Ring(entries: 8, files: 8)
    var pool = try Pool(MemoryPlan.shares(local: 1, remote: 0))
    let place = DiskTable.Place(
      number: volume, dataPath: directory + "/data", metaPath: isExternal ? directory + "/meta" : nil, metaIndex: nil)
    var table = DiskTable([place])
    _ = table.open(volume, &ring)
    let isOpen = table.isOpen(volume)
    #expect(isOpen)
    let id = WorkID(kind: .superblock, slot: SlotID(raw: 1))
    table.writeMetadata(id, volume, table.block(), offset: 8192, barrier: barrier, &ring)
    var asked: [Asked] = []
    var data: Int32?
    while true {
      let prepared = ring.prepared
      try #require(prepared.count == asked.count + 1, "one step at a time: \(prepared)")
      let one = prepared[asked.count]
      switch one.what {
      case .sync:
        // Of two devices the data's is opened first.
        if data == nil, barrier == .everything || !isExternal { data = one.file }
        asked.append(one.file == data ? .syncData : .syncMeta)
      case .write:
        #expect(one.offset == 8192 && (isExternal ? one.file != data : data == nil || one.file == data))
        asked.append(.write(isDurable: one.isDurable))
      case .other: Issue.record("\(one)")
      }
      let fails = failing == asked.count - 1
      let result: Int32 = fails ? -5 : one.what == .write ? 4096 : 0
      table.complete(Completion(tag: one.tag, result: result, flags: 0), &pool, &ring)
      if let done = table.next(&pool) {
        guard case .meta(id, let fault) = done else {
          Issue.record("\(done)")
          return (asked, nil)
        }
        #expect(ring.prepared.count == asked.count, "nothing follows an answer")
        return (asked, fault?.errno)
      }
    }
  }

  @Test func aBlockIsWrittenBehindTheFlushesOfItsBarrier() throws {
    let durable = Asked.write(isDurable: true)
    #expect(try write(.everything, isExternal: true).asked == [.syncData, .syncMeta, durable])
    #expect(try write(.metadata, isExternal: true).asked == [.syncMeta, durable])
    #expect(try write(.everything, isExternal: false).asked == [.syncData, durable])
    #expect(try write(.metadata, isExternal: false).asked == [.syncData, durable])
    for isExternal in [true, false] {
      #expect(try write(.nothing, isExternal: isExternal).asked == [.write(isDurable: false)])
    }
  }

  @Test func aStepThatFailsEndsItAndIsReported() throws {
    for step in 0..<3 {
      let (asked, fault) = try write(.everything, isExternal: true, failing: step)
      #expect(asked.count == step + 1 && fault == 5, "step \(step): \(asked)")
    }
    for step in 0..<2 { #expect(try write(.metadata, isExternal: false, failing: step).fault == 5) }
    #expect(try write(.nothing, isExternal: true, failing: 0).fault == 5)
    #expect(try write(.everything, isExternal: true).fault == nil)
  }
}
