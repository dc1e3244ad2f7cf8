// The configuration a recorded node ran with, as far as our engine knows it.
import Base
import Foundation
import MetaDisk
import Protocol

@testable import Engine

extension Replay {
  static func settings(_ script: Script, isAlpha: Bool) throws -> ResourceSettings {
    let config = try script.recording.text("config.res")
    let name = script.recording.name
    var settings = ResourceSettings(
      name: "r0", nodeID: isAlpha ? 0 : 1, peerNodeID: isAlpha ? 1 : 0, peerName: isAlpha ? "beta" : "alpha",
      volumes: script.volumeBytes.indices.map { VolumeSettings(number: VolumeNumber(UInt16($0))) })
    settings.net.useRLE = !config.contains("use-rle no")
    if config.contains("protocol A") { settings.net.wireProtocol = .a }
    if config.contains("protocol B") { settings.net.wireProtocol = .b }
    for (word, policy) in policies {
      if config.contains("after-sb-0pri \(word)") { settings.net.afterSplitBrain0 = policy }
      if config.contains("after-sb-1pri \(word)") { settings.net.afterSplitBrain1 = policy }
    }
    if config.contains("csums-alg crc32c") { settings.net.checksumAlgorithm = "crc32c" }
    if config.contains("data-integrity-alg crc32c") { settings.net.integrityAlgorithm = "crc32c" }
    if config.contains("verify-alg crc32c") { settings.net.verifyAlgorithm = "crc32c" }
    for digest in ["sha1", "sha256"] where config.contains("cram-hmac-alg \(digest)") { settings.net.cramHMAC = digest }
    if config.contains("rs-discard-granularity 65536") {
      for v in settings.volumes.indices { settings.volumes[v].resync.discardGranularity = 65536 }
    }
    settings.net.pingTimeout = .deciseconds(30)
    settings.net.connectInterval = .seconds(3)
    for v in settings.volumes.indices {
      if config.contains("on-io-error pass_on") { settings.volumes[v].onIOError = .passOn }
      if config.contains("size 4M") { settings.volumes[v].sizeLimit = SectorCount(8192) }
      if config.contains("size 8184s") { settings.volumes[v].sizeLimit = SectorCount(8184) }
    }
    // What the recording says about beta's own file.
    if !isAlpha {
      if name.hasPrefix("24-") { settings.net.wireProtocol = .a }
      if name.hasPrefix("25-") { settings.volumes[0].sizeLimit = SectorCount(8192) }
      if let version = UInt32(name.replacing("39-version-", with: "")) { settings.net.maximumVersion = version }
    }
    return settings
  }

  private static let policies: [(String, SplitBrainPolicy)] = [
    ("discard-zero-changes", .discardZeroChanges), ("discard-least-changes", .discardLeastChanges),
    ("discard-younger-primary", .discardYoungerPrimary), ("consensus", .consensus),
    ("discard-secondary", .discardSecondary),
  ]
}

extension Script {
  /// The disks of a node, by volume.
  var volumeBytes: [UInt64] {
    if recording.isWithDRBD9 {
      switch recording.name.prefix(2) {
      case "09", "10", "14", "15": return [64 << 20]
      case "11", "12": return [64 << 20, 16 << 20]
      case "13": return [24 << 20, 16 << 20, 20 << 20]
      case "16", "17", "18": return [32 << 20]
      default: break
      }
    }
    switch recording.name.prefix(2) {
    case "29", "30": return [192 << 20]
    case "36": return [8 << 20, 4 << 20]
    case "38": return [4 << 20]
    default: return [8 << 20]
    }
  }

  /// The disk of a node with its recorded metadata.
  func disk(of alpha: Bool, _ when: String, volume: VolumeNumber) throws -> FakeDisk {
    let disk = FakeDisk(bytes: volumeBytes[Int(volume.value)])
    if recording.name.hasPrefix("38") {
      // The disks of this recording have bad sectors.
      if alpha {
        disk.badForReading = 3200..<3208
      } else {
        disk.badForWriting = 1600..<1608
        disk.badForReading = 2400..<2408
      }
    }
    disk.install(tail: try metadata(of: alpha, when, volume: Int(volume.value)))
    return disk
  }
}
