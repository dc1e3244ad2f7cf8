// Two real `repld` on this machine: one configuration with two ports of 127.0.0.1, a directory, files as disks. Every
// process a bench starts ends with it.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

/// The program that was built beside the tests.
func program(_ name: String) throws -> String {
  var directory = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
  while directory.count > 1 {
    directory = (directory as NSString).deletingLastPathComponent
    let candidate = "\(directory)/\(name)"
    if FileManager.default.isExecutableFile(atPath: candidate) { return candidate }
  }
  throw Timeout(description: "\(name) was not built beside the tests")
}

/// Copies a program that will be run. The writer is a process of its own: a child that another test starts at that moment would
/// inherit a file that this process writes, and a program that is open for writing cannot be run (ETXTBSY).
func copyProgram(_ name: String, to path: String) throws {
  let cp = Process()
  cp.executableURL = URL(filePath: "/bin/cp")
  cp.arguments = [try program(name), path]
  try cp.run()
  cp.waitUntilExit()
  guard cp.terminationStatus == 0 else { throw Timeout(description: "\(name) could not be copied to \(path)") }
}

/// A port that nobody listens on just now.
func freePort() throws -> UInt16 {
  let listener = try Listener(tcp: SocketAddress(host: .v4(0x7f00_0001), port: 0))
  let address = listener.localAddress
  return try #require(address).port
}

struct Timeout: Error, CustomStringConvertible {
  let description: String
}

/// Looks again and again until it is so.
func until(_ what: String, within seconds: Double = 20, _ condition: () throws -> Bool) throws {
  let end = Date(timeIntervalSinceNow: seconds)
  while try !condition() {
    guard Date() < end else { throw Timeout(description: "waited in vain: \(what)") }
    usleep(5000)
  }
}

final class Bench {
  let directory: String
  let a: Node
  let b: Node
  let ports: (UInt16, UInt16)
  private let volumes: Int
  private let hasExternalMetadata: Bool

  init(
    net: String = "", disk: String = "", handlers: String = "", volumes: Int = 1, mebibytes: (Int, Int) = (32, 32),
    external: Bool = false
  ) throws {
    directory = FileManager.default.temporaryDirectory.path + "/repld-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    self.volumes = volumes
    hasExternalMetadata = external
    ports = (try freePort(), try freePort())
    let config = directory + "/test.res"
    a = Node("a", directory, config)
    b = Node("b", directory, config)
    for (node, size) in [(a, mebibytes.0), (b, mebibytes.1)] {
      try FileManager.default.createDirectory(atPath: node.runDirectory, withIntermediateDirectories: true)
      for volume in 0..<volumes {
        try makeDisk(node.disk(volume), mebibytes: size)
        if external { try makeDisk(node.disk(volume) + ".meta", mebibytes: 1) }
      }
    }
    try configure(net: net, disk: disk, handlers: handlers)
  }

  deinit {
    a.kill()
    b.kill()
    do { try FileManager.default.removeItem(atPath: directory) } catch { print("left behind: \(directory)") }
  }

  func configure(
    net: String = "", disk: String = "", handlers: String = "", secrets: (String, String)? = nil, common: String = ""
  ) throws {
    func host(_ node: Node, _ port: UInt16) -> String {
      let lines = (0..<volumes).map {
        let place = hasExternalMetadata ? node.disk($0) + ".meta" : "internal"
        return "volume \($0) { device /dev/drbd\(90 + $0); disk \(node.disk($0)); meta-disk \(place); }"
      }
      return "on \(node.name) { address 127.0.0.1:\(port); \(lines.joined(separator: " ")) }"
    }
    let text = """
      global { usage-count no; }
      \(common)
      resource r0 {
        net { protocol C; connect-int 1; ping-int 2; \(net) }
        disk { \(disk) }
        handlers { \(handlers) }
        \(host(a, ports.0))
        \(host(b, ports.1))
      }
      """
    try text.write(toFile: a.config, atomically: true, encoding: .utf8)
  }

  var port: UInt16 { ports.0 }

  func makeDisk(_ path: String, mebibytes: Int) throws {
    let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    try #require(file >= 0)
    defer { close(file) }
    try #require(ftruncate(file, mebibytes << 20) == 0)
  }

  func createMetadata(_ format: String = "v09") throws {
    for node in [a, b] { try node.createMetadata(format) }
  }

  /// Both nodes up, attached and connected; both disks Inconsistent when they are new.
  func up() throws {
    for node in [a, b] {
      try node.start()
      try node.done(.attach(volume: nil))
    }
    for node in [a, b] { try node.done(.connect(peer: nil, discardMyData: false)) }
    try connected()
  }

  func connected() throws {
    for node in [a, b] { try node.done(.waitConnect()) }
  }

  /// New metadata, up, and `a` is the Primary with equal data on both.
  func synced(_ format: String = "v09") throws {
    try createMetadata(format)
    try up()
    try a.done(.primary(force: true))
    try inSync()
  }

  func inSync() throws {
    for node in [a, b] { try node.done(.waitSync()) }
    for node in [a, b] {
      try until("\(node.name) is UpToDate") {
        let status = try node.status()
        return status.devices.allSatisfy { $0.disk == .upToDate }
          && status.connections.allSatisfy { $0.peerDevices.allSatisfy { $0.peerDisk == .upToDate } }
      }
    }
  }

  /// The data areas of both disks hold the same bytes.
  func expectEqualData(_ volume: Int = 0, location: SourceLocation = #_sourceLocation) throws {
    let bytes = Int(try a.status().devices[volume].size) << 10
    let first = try #require(FileHandle(forReadingAtPath: a.disk(volume)))
    let second = try #require(FileHandle(forReadingAtPath: b.disk(volume)))
    var at = 0
    while at < bytes {
      let count = min(1 << 20, bytes - at)
      let (x, y) = (try first.read(upToCount: count), try second.read(upToCount: count))
      guard x == y else {
        Issue.record("the disks differ in the mebibyte at \(at)", sourceLocation: location)
        return
      }
      at += count
    }
  }
}
