// Disks whose blocks are larger than a sector, asked for sectors: what is next to them stays, two parts of one block never lose
// each other, and what cannot be used is refused. Where a file has holes is told as it is read.

import Base
import Foundation
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite struct PartialBlockTests {
    private static let bytes = 8 << 20

    @Test("Writes, zeroes and discards of any sectors leave their neighbours", .enabled(if: canLoop, loopComment))
    func anySectors() throws {
      let loop = try Loop(mebibytes: 8, sectorSize: 4096)
      var model = pattern(Self.bytes, seed: 11)
      try PlainDisk(path: loop.device).write(model, at: 0)
      var ring = try Ring.forTest()
      let device = try BackingDevice(path: loop.device, ring: &ring)
      var disk = DiskOperations(capacity: 64, kind: 9)
      let buffer = AlignedBuffer(count: 1 << 20)
      var random = SeededGenerator(seed: 12)
      for round in 0..<400 as Range<UInt64> {
        let most = round % 20 == 0 ? 2048 : round % 3 == 0 ? 8 : 40
        let count = Int(random.below(UInt64(most)) + 1) * 512
        let offset = Int(random.below(UInt64((Self.bytes - count) / 512 + 1))) * 512
        switch round % 4 {
        case 0, 1:
          let bytes = pattern(count, seed: round)
          buffer.bytes.copyBytes(from: bytes)
          disk.write(
            device, at: UInt64(offset), from: buffer.pointer, bytes: count, durable: round % 8 == 0, id: round, &ring)
          model.replaceSubrange(offset..<offset + count, with: bytes)
        case 2:
          disk.discard(device, at: UInt64(offset), bytes: UInt64(count), id: round, &ring)
          model.replaceSubrange(offset..<offset + count, with: repeatElement(0, count: count))
        default:
          disk.zero(
            device, at: UInt64(offset), bytes: UInt64(count), unmap: round % 8 == 3, durable: true, id: round, &ring)
          model.replaceSubrange(offset..<offset + count, with: repeatElement(0, count: count))
        }
        #expect(try disk.answer(&ring) == DiskDone(id: round, fault: nil))
        memset(buffer.pointer, 0xee, buffer.count)
        disk.read(device, at: UInt64(offset), into: buffer.pointer, bytes: count, id: round, &ring)
        #expect(try disk.answer(&ring) == DiskDone(id: round, fault: nil))
        #expect(Array(buffer.bytes[..<count]) == Array(model[offset..<offset + count]), "round \(round)")
      }
      #expect(disk.isIdle == true)
      device.close(&ring)
      #expect(try PlainDisk(path: loop.device).read(at: 0, count: Self.bytes) == model)
      withExtendedLifetime(loop) {}
    }

    @Test("Many parts of the same blocks at once: none is lost", .enabled(if: canLoop, loopComment))
    func together() throws {
      let loop = try Loop(mebibytes: 8, sectorSize: 4096)
      var ring = try Ring.forTest()
      let device = try BackingDevice(path: loop.device, ring: &ring)
      let parts = 64
      var disk = DiskOperations(capacity: parts, kind: 9)
      let bytes = pattern(parts * 512, seed: 5)
      let buffer = AlignedBuffer(count: parts * 512)
      buffer.bytes.copyBytes(from: bytes)
      for i in 0..<parts {
        disk.write(device, at: UInt64(i) * 512, from: buffer.pointer + i * 512, bytes: 512, id: UInt64(i), &ring)
      }
      #expect(disk.room == 0)
      var answered = Set<UInt64>()
      for _ in 0..<parts {
        let done = try disk.answer(&ring)
        #expect(done.fault == nil)
        answered.insert(done.id)
      }
      #expect(answered.count == parts && disk.isIdle && disk.room == parts)
      device.close(&ring)
      #expect(try PlainDisk(path: loop.device).read(at: 0, count: parts * 512) == bytes)
      withExtendedLifetime(loop) {}
    }

    @Test("Blocks larger than 4096 bytes are refused, with what they are", .enabled(if: canLoop, loopComment))
    func tooLarge() throws {
      let loop: Loop
      do {
        loop = try Loop(mebibytes: 8, sectorSize: 8192)
      } catch {
        // Kernels before 6.15 make no such device.
        return #expect("\(error)".contains("8192"))
      }
      let why = refusal { () throws(DeviceRefusal) in _ = try PlainDisk(path: loop.device) }
      #expect(why == .blocksTooLarge(path: loop.device, bytes: 8192))
      #expect(why?.text.contains("has blocks of 8192 bytes") == true)
      withExtendedLifetime(loop) {}
    }

    @Test("A file tells its holes, its zeroes and its data")
    func holes() throws {
      let scratch = try Scratch()
      let path = try scratch.file(mebibytes: 8)
      var ring = try Ring.forTest()
      let device = try BackingDevice(path: path, ring: &ring)
      var disk = DiskOperations(capacity: 4, kind: 9)
      let buffer = AlignedBuffer(count: 1 << 20)
      memset(buffer.pointer, 0x5a, buffer.count)
      func runs(_ map: AllocationMap?) -> [AllocationMap.Run]? { map.map { map in (0..<map.count).map { map[$0] } } }
      #expect(runs(device.allocation(from: 0, bytes: 8 << 20)) == [.init(kind: .hole, bytes: 8 << 20)])
      disk.write(device, at: 1 << 20, from: buffer.pointer, bytes: 1 << 20, id: 1, &ring)
      #expect(try disk.answer(&ring).fault == nil)
      disk.zero(device, at: 4 << 20, bytes: 1 << 20, unmap: false, id: 2, &ring)
      #expect(try disk.answer(&ring).fault == nil)
      #expect(
        runs(device.allocation(from: 0, bytes: 8 << 20)) == [
          .init(kind: .hole, bytes: 1 << 20), .init(kind: .data, bytes: 1 << 20), .init(kind: .hole, bytes: 2 << 20),
          .init(kind: .zeroes, bytes: 1 << 20), .init(kind: .hole, bytes: 3 << 20),
        ])
      disk.discard(device, at: 1 << 20 + 4096, bytes: 4096, id: 3, &ring)
      #expect(try disk.answer(&ring).fault == nil)
      #expect(
        runs(device.allocation(from: 1 << 20, bytes: 16384)) == [
          .init(kind: .data, bytes: 4096), .init(kind: .hole, bytes: 4096), .init(kind: .data, bytes: 8192),
        ])
      // A block that is asked for in part is what the whole block is.
      #expect(runs(device.allocation(from: 1 << 20 + 512, bytes: 512)) == [.init(kind: .data, bytes: 512)])
      #expect(runs(device.allocation(from: 512, bytes: 1024)) == [.init(kind: .hole, bytes: 1024)])
      // More runs than one answer holds: it ends early, and the next one goes on.
      for i in 0..<40 as Range<UInt64> {
        disk.discard(device, at: 1 << 20 + 32768 + i * 16384, bytes: 8192, id: 4, &ring)
        #expect(try disk.answer(&ring).fault == nil)
      }
      var at: UInt64 = 0
      var data: UInt64 = 0
      var answers = 0
      while at < 8 << 20 {
        let map = try have(device.allocation(from: at, bytes: 8 << 20 - at))
        #expect(map.start == at && map.end > at)
        for i in 0..<map.count where map[i].kind == .data { data += map[i].bytes }
        at = map.end
        answers += 1
      }
      #expect(at == 8 << 20 && data == 1 << 20 - 4096 - 40 * 8192 && answers > 2)
      device.close(&ring)
    }

    @Test("A block device says nothing about holes", .enabled(if: canLoop, loopComment))
    func blockDevice() throws {
      let loop = try Loop(mebibytes: 8)
      var ring = try Ring.forTest()
      let device = try BackingDevice(path: loop.device, ring: &ring)
      let map = device.allocation(from: 0, bytes: 1 << 20)
      #expect(map == nil)
      device.close(&ring)
      withExtendedLifetime(loop) {}
    }
  }
}
