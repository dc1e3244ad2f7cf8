// Disk requests on real files and loop devices: what is written is read, what is discarded reads as zeroes, what fails
// says so.

import Base
import Foundation
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite struct DiskTests {
    /// The whole life of some bytes.
    private func life(_ path: String, block: UInt32, isBlockDevice: Bool) throws {
      var ring = try Ring.forTest()
      let device = try BackingDevice(path: path, ring: &ring)
      #expect(device.logicalBlock == block)
      #expect(device.isBlockDevice == isBlockDevice)
      #expect(device.isDirect && device.canDiscard && device.canZero)
      var disk = DiskOperations(capacity: 8, kind: 9)
      let count = 64 << 10
      let bytes = pattern(count, seed: 1)
      let buffer = AlignedBuffer(count: count)
      buffer.bytes.copyBytes(from: bytes)

      disk.write(device, at: 1 << 20, from: buffer.pointer, bytes: count, id: 1, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 1, fault: nil))
      disk.write(device, at: 2 << 20, from: buffer.pointer, bytes: count, durable: true, id: 2, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 2, fault: nil))
      disk.flush(device, id: 3, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 3, fault: nil))

      for offset in [1 << 20, 2 << 20] as [UInt64] {
        memset(buffer.pointer, 0, count)
        disk.read(device, at: offset, into: buffer.pointer, bytes: count, id: 4, &ring)
        #expect(try disk.answer(&ring) == DiskDone(id: 4, fault: nil))
        #expect(Array(buffer.bytes) == bytes)
      }

      // One block in the middle of the written range, by each of the three ways.
      let size = UInt64(block)
      disk.discard(device, at: 1 << 20 + size, bytes: size, durable: true, id: 5, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 5, fault: nil))
      disk.zero(device, at: 1 << 20 + 3 * size, bytes: size, unmap: false, id: 6, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 6, fault: nil))
      disk.zero(device, at: 1 << 20 + 5 * size, bytes: size, unmap: true, durable: true, id: 7, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 7, fault: nil))
      var expected = bytes
      for at in [1, 3, 5] { for i in 0..<Int(size) { expected[at * Int(size) + i] = 0 } }
      disk.read(device, at: 1 << 20, into: buffer.pointer, bytes: count, id: 8, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 8, fault: nil))
      #expect(Array(buffer.bytes) == expected)
      #expect(disk.isIdle == true)
      device.close(&ring)
    }

    @Test("A file keeps what is written, flushed, discarded and zeroed")
    func file() throws {
      let scratch = try Scratch()
      try life(try scratch.file(), block: 512, isBlockDevice: false)
    }

    @Test(
      "A loop device with 512 and with 4096 byte blocks does", .enabled(if: canLoop, loopComment),
      arguments: [512, 4096])
    func loop(sectorSize: Int) throws {
      let loop = try Loop(sectorSize: sectorSize)
      try life(loop.device, block: UInt32(sectorSize), isBlockDevice: true)
      withExtendedLifetime(loop) {}
    }

    @Test("Many requests at once are each answered once, with the right bytes")
    func depth() throws {
      let scratch = try Scratch()
      var ring = try Ring.forTest(entries: 16)
      let device = try BackingDevice(path: try scratch.file(), ring: &ring)
      let depth = 100
      var disk = DiskOperations(capacity: depth, kind: 1)
      let buffer = AlignedBuffer(count: depth * 4096)
      let bytes = pattern(depth * 4096, seed: 3)
      buffer.bytes.copyBytes(from: bytes)
      for i in 0..<depth {
        disk.write(device, at: UInt64(i) * 4096, from: buffer.pointer + i * 4096, bytes: 4096, id: UInt64(i), &ring)
      }
      #expect(disk.room == 0)
      var answered = Set<UInt64>()
      for _ in 0..<depth {
        let done = try disk.answer(&ring)
        #expect(done.fault == nil)
        answered.insert(done.id)
      }
      #expect(answered.count == depth)
      disk.read(device, at: 0, into: buffer.pointer, bytes: buffer.count, id: 0, &ring)
      #expect(try disk.answer(&ring).fault == nil)
      #expect(Array(buffer.bytes) == bytes)
      device.close(&ring)
    }

    @Test("Zeroes are written where nothing better exists, and the range is right")
    func zeroWrites() throws {
      let scratch = try Scratch()
      let path = try scratch.file(mebibytes: 4)
      try PlainDisk(path: path).write([UInt8](repeating: 0xff, count: 2 << 20), at: 0)
      var ring = try Ring.forTest()
      let device = try BackingDevice(path: path, ring: &ring)
      var disk = DiskOperations(capacity: 1, kind: 1)
      disk.zeroByWriting(device, at: 4096, bytes: 1 << 20, durable: true, id: 8, &ring)
      #expect(try disk.answer(&ring) == DiskDone(id: 8, fault: nil))
      device.close(&ring)
      let bytes = try PlainDisk(path: path).read(at: 0, count: 2 << 20)
      #expect(bytes[0..<4096].allSatisfy { $0 == 0xff })
      #expect(bytes[4096..<4096 + 1 << 20].allSatisfy { $0 == 0 })
      #expect(bytes[(4096 + 1 << 20)...].allSatisfy { $0 == 0xff })
    }

    @Test("A read that finds the file cut short is a fault, not a success")
    func shortRead() throws {
      let scratch = try Scratch()
      let path = try scratch.file(mebibytes: 2)
      var ring = try Ring.forTest()
      let device = try BackingDevice(path: path, ring: &ring)
      try #require(truncate(path, 1 << 20 + 4096) == 0)
      var disk = DiskOperations(capacity: 1, kind: 1)
      let buffer = AlignedBuffer(count: 8192)
      disk.read(device, at: 1 << 20, into: buffer.pointer, bytes: 8192, id: 1, &ring)
      let fault = try disk.answer(&ring).fault
      #expect(fault == DiskFault(.read, Errno(EIO), offset: 1 << 20, bytes: 8192))
      #expect(fault?.text == "read of 8192 bytes at byte 1048576 failed: Input/output error")
      device.close(&ring)
    }

    @Test("The blocking disk takes any offset and length", .enabled(if: canLoop, loopComment), arguments: [512, 4096])
    func plain(sectorSize: Int) throws {
      let loop = try Loop(mebibytes: 8, sectorSize: sectorSize)
      let disk = try PlainDisk(path: loop.device)
      var model = pattern(8 << 20, seed: 7)
      try disk.write(model, at: 0)
      var generator = SeededGenerator(seed: 8)
      for round in 0..<60 as Range<UInt64> {
        let offset = Int(generator.below(8 << 20 - 1))
        let limit = round % 10 == 0 ? 3 << 20 : 10_000
        let count = Int(generator.below(UInt64(min(limit, 8 << 20 - offset)))) + 1
        let bytes = pattern(count, seed: round)
        try disk.write(bytes, at: UInt64(offset))
        model.replaceSubrange(offset..<offset + count, with: bytes)
        let around = max(0, offset - 777)
        let span = min(8 << 20 - around, count + 1500)
        #expect(try disk.read(at: UInt64(around), count: span) == Array(model[around..<around + span]))
      }
      try disk.flush()
      #expect(try disk.read(at: 0, count: 8 << 20) == model)
      let past = refusal { () throws(DiskFault) in _ = try disk.read(at: 8 << 20 - 10, count: 11) }
      #expect(past?.error == Errno(ENXIO))
      withExtendedLifetime(loop) {}
    }
  }
}
