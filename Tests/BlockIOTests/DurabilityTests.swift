// What makes a write durable, seen in the requests that the ring is about to submit: no test on a healthy machine loses a cache.
import Base
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite("Durable requests") struct DurabilityTests {
    private func onFile(_ body: (inout Ring, borrowing BackingDevice, inout DiskOperations) throws -> Void) throws {
      let scratch = try Scratch()
      let path = try scratch.file(mebibytes: 4)
      var ring = try Ring.forTest()
      let device = try BackingDevice(path: path, ring: &ring)
      var disk = DiskOperations(capacity: 4, kind: 1)
      try body(&ring, device, &disk)
      device.close(&ring)
    }

    @Test("A durable write carries RWF_DSYNC, another one does not", arguments: [false, true])
    func write(durable: Bool) throws {
      try onFile { ring, device, disk in
        let buffer = AlignedBuffer(count: 4096)
        disk.write(device, at: 8192, from: buffer.pointer, bytes: 4096, durable: durable, id: 1, &ring)
        let prepared = try #require(ring.prepared.last)
        #expect(prepared.offset == 8192 && prepared.isDurable == durable, "\(prepared)")
        #expect(try disk.answer(&ring) == DiskDone(id: 1, fault: nil))
      }
    }

    @Test("Durable zeroes and discards are synced before they are answered", arguments: [false, true])
    func zeroes(durable: Bool) throws {
      try onFile { ring, device, disk in
        for discards in [false, true] {
          if discards {
            disk.discard(device, at: 8192, bytes: 4096, durable: durable, id: 1, &ring)
          } else {
            disk.zero(device, at: 8192, bytes: 4096, unmap: false, durable: durable, id: 1, &ring)
          }
          var hasSynced = false
          var done: DiskDone?
          while done == nil {
            if ring.prepared.last?.what == .sync { hasSynced = true }
            done = disk.complete(try ring.one(), &ring)
          }
          #expect(done == DiskDone(id: 1, fault: nil) && hasSynced == durable, "discards: \(discards)")
        }
      }
    }
  }
}
