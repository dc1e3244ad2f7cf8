// The steps of a recording (`##` lines) that concern our own node.
import Base
import Foundation
import MetaDisk
import Protocol
import Testing

@testable import Engine

extension Replay {
  func step(_ text: String) {
    // Time enough for the barrier behind the last write.
    if data != nil, !isSilent { pass(1, until: { false }) }
    let me = isAlpha ? "alpha" : "beta"
    let peer = isAlpha ? "beta" : "alpha"
    if text.hasPrefix("host: power cut of \(me)") || text.hasPrefix("host: power cut of both") {
      data = nil
      meta = nil
      node.crash(power: true)
    } else if text.hasPrefix("\(me): kill -9") {
      data = nil
      meta = nil
      node.crash(power: false)
    } else if text.hasPrefix("host: power cut of \(peer)") || text.hasPrefix("host: cut")
      || text.hasPrefix("\(peer): power cut")
    {
      isSilent = true
    } else if text.hasPrefix("\(me): ") {
      for (i, part) in text.dropFirst(me.count + 2).split(separator: ";").enumerated() {
        // A demotion behind other work of the same line happens when the kernel says so.
        let part = part.trimmingPrefix(" ")
        if i == 0 || data == nil || !part.hasPrefix("drbdadm secondary") { command(part) }
      }
    }
  }

  private func command(_ text: Substring) {
    let volume = text.contains("r0/1") ? VolumeNumber(1) : .zero
    if isSilent { pass(60, until: { data == nil && meta == nil }) }
    let words = text.split(separator: " ")
    if words.count > 1, words[0] == "drbdadm" || words[0] == "repladm" {
      switch words[1] {
      case "up":
        // Some recordings leave out the line that says `down`.
        if script.recording.name.hasPrefix("42-"), node.volume().disk != .diskless { give(.down) }
        for volume in node.settings.volumes where node.volume(volume.number).disk == .diskless {
          give(.attach(volume.number))
        }
        give(.connect(discardMyData: false))
      case "down":
        give(.down)
      case "primary": give(.primary(force: words.contains("--force")))
      case "secondary": give(.secondary)
      case "connect": give(.connect(discardMyData: words.contains("--discard-my-data")))
      case "disconnect": give(.disconnect(force: false))
      case "attach": give(.attach(volume))
      case "detach": give(.detach(volume, force: false))
      case "invalidate": give(.invalidate(volume))
      case "invalidate-remote": give(.invalidateRemote(volume))
      case "verify": give(.verify(volume, start: nil, stop: nil))
      case "pause-sync": give(.pauseSync(volume))
      case "resume-sync": give(.resumeSync(volume))
      case "new-current-uuid": give(.newCurrentUUID(volume, clearBitmap: words.contains("--clear-bitmap")))
      default: break
      }
    } else if data == nil, node.engine.role == .primary, text.contains("of=/dev/drbd0") {
      writeAlone(text)
    } else if data == nil, node.engine.role == .primary, words.count > 4, words[0] == "blkdiscard" {
      node.discard(UInt64(words[2])! / 512, UInt64(words[4])! / 512)
      settle()
    } else if let at = words.firstIndex(of: "set-gi"), words[0] == "drbdmeta" {
      setGenerations(String(words[at + 1]))
    } else if text.hasPrefix("for i in ") {
      loop = text.dropFirst(9).split(separator: " ").compactMap { UInt64($0) }
    }
  }

  /// `dd of=/dev/drbd0 bs=4k count=N seek=N`, or the same in a loop over `$i`.
  private func writeAlone(_ text: Substring) {
    func value(_ name: String) -> Substring? {
      text.split(separator: " ").first { $0.hasPrefix(name + "=") }?.dropFirst(name.count + 1)
    }
    let size: UInt64 = value("bs").map { $0 == "64k" ? 128 : 8 } ?? 8
    let count = value("count").flatMap { UInt64($0) } ?? 1
    let places = value("seek").map { $0 == "$i" ? loop : [UInt64($0) ?? 0] } ?? [0]
    for place in places {
      for i in 0..<count { node.write((place + i) * size, size, stamp: 700_000 - i) }
    }
    settle()
  }

  /// A Primary that was alone has written what its bitmap of the next connection says.
  func writeWhatTheBitmapSays(_ index: Int) {
    guard node.engine.role == .primary else { return }
    for volume in node.settings.volumes.map(\.number) {
      let bits = node.volume(volume).size.bits
      var receiver = BitmapReceiver(bits: bits)
      var words = [UInt64](repeating: 0, count: Int((bits + 63) / 64))
      for case .packet(index, _, let fromAlpha, let decoded, _) in script.entries
      where decoded.volume == volume.value && !receiver.isComplete {
        switch decoded.packet {
        case .bitmap, .compressedBitmap:
          // As target we would only repeat what the source says.
          guard fromAlpha == isAlpha else { return }
          words.withUnsafeMutableBufferPointer { words in
            do throws(ProtocolViolation) {
              _ = try receiver.receive(decoded.packet, into: words, version: script.links[index].version)
            } catch {
              Issue.record("\(error)")
            }
          }
        default: break
        }
      }
      for bit in 0..<bits where words[Int(bit / 64)] >> (bit % 64) & 1 != 0 && !node.isOutOfSync(bit, volume) {
        node.write(bit * 8, min(8, node.volume(volume).size.value - bit * 8), stamp: bit, volume: volume)
        settle()
      }
      settle()
    }
  }

  /// `drbdmeta set-gi` between two lives of the node.
  private func setGenerations(_ line: String) {
    if node.volume().disk != .diskless { give(.down) }
    do {
      var superblock = try node.disks[.zero]!.superblock()
      try superblock.setGenerations(line: line, peerNode: 0)
      try node.disks[.zero]!.store(superblock)
    } catch {
      Issue.record("\(line): \(error)")
    }
  }

  func give(_ command: Command) {
    _ = node.order(command)
    settle()
  }
}
