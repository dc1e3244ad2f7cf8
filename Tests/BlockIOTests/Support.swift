// What the tests need of the machine: a directory that goes away, loop devices, and patience for one completion.

import Base
import CURing
import Foundation
import Testing

@testable import BlockIO

/// Not in parallel: a process that one test starts holds, for a moment, what another has opened and means to close.
@Suite(.serialized) enum OnThisMachine {}

let isRoot = geteuid() == 0
let canLoop = isRoot && FileManager.default.fileExists(atPath: "/dev/loop-control") && tool("losetup") != nil
let loopComment: Comment = "needs root, /dev/loop-control and losetup"

/// The path of a program of the system, where it is.
func tool(_ name: String) -> String? {
  ["/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"].map { $0 + name }.first {
    FileManager.default.isExecutableFile(atPath: $0)
  }
}

struct ToolFailed: Error, CustomStringConvertible {
  let description: String
}

/// Runs a program to its end; returns its output.
@discardableResult
func run(_ arguments: String...) throws -> String {
  guard let path = tool(arguments[0]) else { throw ToolFailed(description: "\(arguments[0]) is not installed") }
  let process = Process()
  process.executableURL = URL(fileURLWithPath: path)
  process.arguments = Array(arguments.dropFirst())
  let output = Pipe()
  process.standardOutput = output
  process.standardError = output
  try process.run()
  let bytes = output.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  let text = String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  guard process.terminationStatus == 0 else { throw ToolFailed(description: "\(arguments): \(text)") }
  return text
}

/// A directory on a real disk that goes away with the value.
final class Scratch {
  let path: String

  init() throws {
    path = "/var/tmp/blockio-test-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String = "disk", mebibytes: Int = 8) throws -> String {
    let path = "\(self.path)/\(name)"
    let descriptor = cu_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    try #require(ftruncate(descriptor, mebibytes << 20) == 0)
    return path
  }
}

/// A loop device over a file of its own.
final class Loop {
  let device: String
  private let scratch: Scratch

  init(mebibytes: Int = 64, sectorSize: Int = 512) throws {
    scratch = try Scratch()
    let file = try scratch.file(mebibytes: mebibytes)
    device = try run("losetup", "--find", "--show", "--sector-size", "\(sectorSize)", file)
  }

  deinit {
    // The flag would outlive the file.
    _ = try? run("blockdev", "--setrw", device)
    _ = try? run("losetup", "--detach", device)
  }
}

/// Like `#require`, for values that come out of noncopyable ones, which the macro cannot take apart.
func have<T>(_ value: T?) throws -> T {
  guard let value else { throw ToolFailed(description: "a value is missing") }
  return value
}

/// The refusal with which `body` fails; a success is recorded as an issue.
func refusal<E: Error>(_ body: () throws(E) -> Void) -> E? {
  do throws(E) { try body() } catch { return error }
  Issue.record("nothing was refused")
  return nil
}

extension Ring {
  static func forTest(entries: UInt32 = 64) throws -> Ring { try Ring(entries: entries) }

  /// The next completion, waiting up to ten seconds.
  mutating func one(_ location: SourceLocation = #_sourceLocation) throws -> Completion {
    let deadline = Clock.now() + .seconds(10)
    while true {
      if let done = next() { return done }
      try #require(Clock.now() < deadline, "nothing completed", sourceLocation: location)
      submitAndWait(until: deadline)
    }
  }
}

extension DiskOperations {
  /// Carries the ring until one request is answered.
  mutating func answer(_ ring: inout Ring) throws -> DiskDone {
    while true {
      if let done = complete(try ring.one(), &ring) { return done }
    }
  }
}

/// Bytes that tell where they belong.
func pattern(_ count: Int, seed: UInt64) -> [UInt8] {
  var generator = SeededGenerator(seed: seed)
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count)
  while bytes.count < count {
    withUnsafeBytes(of: generator.next()) { bytes.append(contentsOf: $0.prefix(count - bytes.count)) }
  }
  return bytes
}
