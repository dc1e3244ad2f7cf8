// A third node, which DRBD 9 knows and these two do not speak to: it has a bitmap slot in their metadata. While a node is without
// power, the third one is brought in sync with its disk. Law: from then on its slot names every block that has become different.
import Base
import Engine
import MetaDisk

/// What the third node has of a disk.
struct ThirdCopy {
  var data: StampMap
}

extension World {
  static let thirdNode = 2

  /// Before the daemon starts on a machine that had lost its power: nothing is in any cache.
  func thirdNodeComesBy(_ n: Int) {
    for v in histories.indices where circumstances.volumes[v].slots > 1 && thirdCopies[n][v] == nil {
      let disk = nodes[n].disks[v]
      disk.findMetadata()
      guard !disk.broken, takeThirdNodeIn(n, v) else { continue }
      thirdCopies[n][v] = ThirdCopy(data: disk.cache.duplicate())
      say(n, "node 2 is in sync with the disk of volume \(v)")
    }
  }

  /// Clears its slot in the metadata on the disk.
  private func takeThirdNodeIn(_ n: Int, _ v: Int) -> Bool {
    let disk = nodes[n].disks[v]
    let location = circumstances.volumes[v].disk(of: n).location
    do throws(MetaFault) {
      let at = Int(
        try Placement.superblockOffset(location: location, deviceBytes: disk.facts.metaBytes) - disk.metaStart)
      let block = UnsafeMutableRawBufferPointer(rebasing: disk.meta[at..<at + 4096])
      var superblock = try Superblock(reading: UnsafeRawBufferPointer(block).bytes)
      let placement = try Placement(
        superblock: superblock, location: location, deviceBytes: disk.facts.metaBytes)
      guard superblock.effectiveSize > .zero, let slot = superblock.bitmapSlot(peerNode: World.thirdNode) else {
        return false
      }
      // A bitmap of which the superblock says that it counts for nothing.
      if superblock.peerFlags(peerNode: World.thirdNode).contains(.fullSync) { return false }
      var bitmap = Bitmap(
        bits: superblock.effectiveSize.bits, maxPeers: Int(superblock.maxPeers), slotIndex: slot)
      let pages = Int(placement.bitmapOffset - disk.metaStart)
      for page in 0..<bitmap.pageCount {
        let from = pages + Int(page) * 4096
        bitmap.absorb(page: page, from: UnsafeRawBufferPointer(rebasing: disk.meta[from..<from + 4096]).bytes)
      }
      bitmap.clearAll()
      for page in 0..<bitmap.pageCount {
        let from = pages + Int(page) * 4096
        bitmap.render(page: page, into: UnsafeMutableRawBufferPointer(rebasing: disk.meta[from..<from + 4096]))
      }
      superblock.peers[World.thirdNode].bitmapUUID = 0
      superblock.write(to: block)
      disk.metaDurable.copyMemory(from: UnsafeRawBufferPointer(disk.meta))
      return true
    } catch {
      return false
    }
  }

  func checkThirdNode(_ when: @autoclosure () -> String) {
    for n in 0...1 where nodes[n].isRunning {
      for v in histories.indices {
        guard let copy = thirdCopies[n][v] else { continue }
        let marked = Set(setBits(n, v, slot: Int(circumstances.volumes[v].slots) - 1))
        let cache = nodes[n].disks[v].cache
        for piece in copy.data.pieces.indices where copy.data.pieces[piece] != nil || cache.pieces[piece] != nil {
          let start = piece * StampMap.pieceSectors
          for sector in start..<max(start, min(start + StampMap.pieceSectors, histories[v].sectors))
          where copy.data[sector] != cache[sector] && !marked.contains(sector / 8) {
            return breakLaw(
              "\(when()): volume \(v) sector \(sector) (bit \(sector / 8)) of \(name(n)) contains"
                + " \(Trace.stamp(cache[sector])), node 2 has \(Trace.stamp(copy.data[sector])), and no bit says so")
          }
        }
      }
    }
  }

  /// The bits that a node has set in one slot; slots lie interleaved in words of 32 bits.
  func setBits(_ n: Int, _ v: Int, slot: Int) -> [Int] {
    let view = nodes[n].engine.snapshot().volumes[v]
    if view.disk < .inconsistent { return [] }
    let slots = Int(circumstances.volumes[v].slots)
    let words = (Int(view.size.bits) + 63) / 64 * 2 * slots
    let page = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { page.deallocate() }
    var bits: [Int] = []
    for number in 0..<(words + 1023) / 1024 {
      nodes[n].engine.render(.bitmapPage(UInt32(number)), of: view.number, into: page)
      for i in 0..<min(1024, words - number * 1024) where (number * 1024 + i) % slots == slot {
        let word = UInt32(littleEndian: page.load(fromByteOffset: i * 4, as: UInt32.self))
        let first = (number * 1024 + i) / slots * 32
        if word == 0 { continue }
        for bit in 0..<32 where word & 1 << UInt32(bit) != 0 { bits.append(first + bit) }
      }
    }
    return bits
  }
}
