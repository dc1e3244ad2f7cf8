// Against the real drbdadm, where drbd-utils is installed: a file is accepted here when either generation of DRBD's own
// tools accepts it. `verdicts.tsv` lists the deliberate differences with their reasons; nothing else may differ.
import Config
import Foundation
import Testing

struct Drbdadm {
  static let path = "/usr/sbin/drbdadm"
  static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: path) }

  static func run(_ arguments: [String], driver: String = "9.2.9", node: String = "alpha") throws -> (Int32, String) {
    let process = Process()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    process.environment = ["DRBD_DRIVER_VERSION_OVERRIDE": driver, "__DRBD_NODE__": node, "PATH": "/usr/sbin:/usr/bin"]
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: data, as: UTF8.self))
  }

  /// What the more tolerant generation says.
  static func verdict(_ file: URL) throws -> Bool {
    for driver in ["9.2.9", "8.4.11"] {
      if try run(["-c", file.path, "dump"], driver: driver).0 == 0 { return true }
    }
    return false
  }
}

@Suite(.enabled(if: Drbdadm.isInstalled, "needs drbdadm of Debian's drbd-utils"))
struct DifferentialTests {
  /// File name to reason.
  static func deliberateDifferences() throws -> [String: String] {
    let text = try String(contentsOf: Fixtures.root.appending(path: "config/differences.tsv"), encoding: .utf8)
    return Dictionary(
      uniqueKeysWithValues: text.split(separator: "\n").map { line in
        let fields = line.split(separator: "\t", maxSplits: 1).map(String.init)
        return (fields[0], fields[1])
      })
  }

  @Test func `every file gets the verdict of drbdadm, except where the difference is meant`() throws {
    var listed = try Self.deliberateDifferences()
    for file in Fixtures.files(in: "config", suffix: ".res") {
      var refusal: ConfigurationError?
      do throws(ConfigurationError) { _ = try Configuration.load(file.path, from: DiskSource()) } catch {
        refusal = error
      }
      let theirs = try Drbdadm.verdict(file)
      let differs = theirs != (refusal == nil)
      let reason = listed.removeValue(forKey: file.lastPathComponent)
      #expect(
        differs == (reason != nil),
        "\(file.lastPathComponent): drbdadm \(theirs ? "accepts" : "refuses") it, here: \(refusal?.text ?? "accepted")")
    }
    #expect(listed.isEmpty, "listed and not there: \(listed.keys.sorted())")
  }

  @Test func `dump is the same text`() throws {
    let ownWords: Set = [
      // These say something that DRBD drops or spells otherwise.
      "become-primary-host.res", "become-primary.res", "outdate-peer.res", "usage-count.res", "resync-after.res",
      "bool-no-prefix-val.res", "res-quoted-keyword.res", "proxy.res", "proxy-sec.res", "stacked.res", "full-9.res",
      "full-84.res", "on-disk-section.res",
    ]
    for file in Fixtures.files(in: "config", suffix: ".res") where !ownWords.contains(file.lastPathComponent) {
      let (code, theirs) = try Drbdadm.run(["-c", file.path, "dump"])
      guard code == 0 else { continue }
      let configuration: Configuration
      do { configuration = try Configuration.load(file.path, from: DiskSource()) } catch { continue }
      let ours = Dump.text(of: configuration, onHost: "alpha")
      if ours != theirs {
        let pair = zip(ours.split(separator: "\n"), theirs.split(separator: "\n")).first { $0 != $1 }
        Issue.record("\(file.lastPathComponent): \(pair.map { "ours '\($0)', theirs '\($1)'" } ?? "length differs")")
      }
    }
  }
}
