// The daemon's log: no reader can stop it, nothing is left out without a number, and it does not grow without end.
import Base
import BlockIO
import Foundation
import Glibc
import Testing

@testable import ReplDaemon

@Suite struct DaemonLog {
  private let start = Instant(nanoseconds: 1_000_000_000)

  /// Both ends of a pipe that a writer does not wait for.
  private func pipeEnds() throws -> (read: Int32, write: Int32) {
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
    return (ends[0], ends[1])
  }

  private func fill(_ descriptor: Int32) {
    let page = [UInt8](repeating: UInt8(ascii: "x"), count: 4096)
    while write(descriptor, page, page.count) > 0 {}
  }

  private func drain(_ descriptor: Int32) -> String {
    var all: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let got = read(descriptor, &chunk, chunk.count)
      guard got > 0 else { return String(decoding: all.drop { $0 == UInt8(ascii: "x") }, as: UTF8.self) }
      all += chunk[0..<got]
    }
  }

  /// The lines without the time in front.
  private func said(_ text: String) -> [String] {
    text.split(separator: "\n").map { line in
      let words = line.split(separator: " ", maxSplits: 2)
      return words.count == 3 && words[0].hasPrefix("20") ? String(words[2]) : String(line)
    }
  }

  private func file() throws -> (path: String, descriptor: Int32) {
    let path = FileManager.default.temporaryDirectory.path + "/log-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    let descriptor = try RunDirectory.openLog(path)
    return (path, descriptor)
  }

  // MARK: Readers that do not read

  @Test func aPipeThatIsNotReadStopsNobodyAndIsToldWhatItMissed() throws {
    let (reader, writer) = try pipeEnds()
    defer {
      close(reader)
      close(writer)
    }
    // The writer's own end waits, as one that was inherited does.
    #expect(fcntl(writer, F_SETFL, 0) == 0)
    let sink = LineSink(descriptor: writer, at: start)
    #expect(fcntl(writer, F_GETFL) & O_NONBLOCK == 0, "others share it")
    #expect(fcntl(writer, F_SETFL, O_NONBLOCK) == 0)
    fill(writer)
    #expect(fcntl(writer, F_SETFL, 0) == 0)
    for i in 0..<5 { sink.write(.info, "line \(i)", at: start) }
    #expect(sink.deadline == start + .seconds(1))
    sink.keepTime(at: start + .seconds(1))
    #expect(sink.deadline == start + .seconds(2), "still no room")
    #expect(drain(reader) == "")
    sink.keepTime(at: start + .seconds(2))
    #expect(said(drain(reader)) == ["warning: 5 lines of the log were lost here: there was no room for more"])
    sink.write(.info, "line 5", at: start + .seconds(2))
    #expect(said(drain(reader)) == ["line 5"])
    #expect(sink.deadline == nil)
  }

  @Test func aStreamSocketThatIsFullGetsWholeLinesOnly() throws {
    var ends: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    defer { for end in ends { close(end) } }
    var small = Int32(4096)
    setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, 4)
    let sink = LineSink(descriptor: ends[1], at: start)
    let long = String(repeating: "y", count: 1500)
    for i in 0..<200 { sink.write(.info, "\(i) \(long)", at: start) }
    #expect(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
    var lines: [String] = []
    var time = start
    // What is read makes room for what is left to be said.
    repeat {
      lines += said(drain(ends[0]))
      time = time + .seconds(1)
      sink.keepTime(at: time)
    } while sink.deadline != nil && time < start + .seconds(100)
    lines += said(drain(ends[0]))
    let whole = lines.joined(separator: "\n").split(separator: "\n").filter { $0.hasSuffix(long) }
    let lost = lines.compactMap { line -> Int? in
      guard line.contains("lost here") else { return nil }
      return Int(line.split(separator: " ")[1])
    }
    #expect(whole.count + lost.reduce(0, +) == 200, "\(whole.count) lines, lost \(lost)")
    #expect(lost.count == 1 && lost[0] > 0)
  }

  @Test(.enabled(if: isRoot, "needs root, to mount a tiny file system"))
  func aLineThatAFullDiskCutIsFinishedBeforeTheNext() throws {
    let place = FileManager.default.temporaryDirectory.path + "/tiny-\(UInt32.random(in: 0...UInt32.max))"
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: false)
    try #require(mount("tmpfs", place, "tmpfs", 0, "size=8k") == 0)
    defer {
      umount2(place, Int32(MNT_DETACH))
      rmdir(place)
    }
    let log = try RunDirectory.openLog(place + "/log")
    defer { close(log) }
    let sink = LineSink(descriptor: log, at: start)
    for i in 0..<40 { sink.write(.info, "\(i) " + String(repeating: "z", count: 500), at: start) }
    #expect(sink.deadline != nil)
    try #require(mount("tmpfs", place, "tmpfs", UInt(MS_REMOUNT), "size=64k") == 0)
    sink.write(.info, "there is room again", at: start)
    let lines = said(try String(contentsOfFile: place + "/log", encoding: .utf8))
    #expect(lines.last == "there is room again")
    #expect(lines.dropLast().last?.contains(" lines of the log were lost here") == true)
    for (i, line) in lines.dropLast(2).enumerated() { #expect(line == "\(i) " + String(repeating: "z", count: 500)) }
  }

  // MARK: Lines that come again and again

  @Test func aLineThatRepeatsIsCounted() {
    var repetitions = Repetitions(at: start)
    var now = start
    for _ in 0..<1000 where repetitions.admits("one size", .warning, at: now) { now = now + .milliseconds(1) }
    #expect(now == start + .milliseconds(UInt64(Repetitions.writtenMax)))
    #expect(repetitions.deadline == start + Repetitions.window)
    let early = repetitions.due(at: now)
    #expect(early == [])
    let due = repetitions.due(at: start + Repetitions.window)
    #expect(due == [.init(level: .warning, text: "one size (came 992 times more)")])
    #expect(repetitions.deadline == nil)
    // One that goes on is counted on, one line for each window.
    let goesOn = repetitions.admits("one size", .warning, at: start + .seconds(11))
    let said = repetitions.due(at: start + .seconds(20)).map(\.text)
    #expect(!goesOn && said == ["one size (came 1 times more)"])
    let isNew = repetitions.admits("one size", .warning, at: start + .seconds(40))
    #expect(isNew)
  }

  @Test func linesThatAlternateAreCountedToo() {
    var repetitions = Repetitions(at: start)
    var written = 0
    for i in 0..<100_000 where repetitions.admits("size \(i % 16)", .info, at: start) { written += 1 }
    #expect(written == 16 * Repetitions.writtenMax)
    let said = repetitions.takeAll()
    #expect(said.count == 16)
  }

  @Test func linesThatAreAllDifferentAreBoundedInSum() {
    var repetitions = Repetitions(at: start)
    var written = 0
    var now = start
    for i in 0..<100_000 {
      now = now + Interval(nanoseconds: 200_000)
      if repetitions.admits("size \(i)", .info, at: now) { written += 1 }
    }
    // Twenty seconds of it.
    #expect(written == Repetitions.burst + 20 * Repetitions.perSecond)
    let said = repetitions.takeAll()
    #expect(said.count == 1)
    #expect(said[0].text.hasPrefix("\(100_000 - written) lines were not written"))
  }

  // MARK: The file

  @Test func theFileOfTheRunDirectoryIsBounded() throws {
    let (path, log) = try file()
    defer {
      close(log)
      unlink(path)
    }
    let sink = LineSink(descriptor: log, at: start)
    let long = String(repeating: "w", count: 3000)
    var largest = 0
    for i in 0..<3000 {
      sink.write(.info, "\(i) \(long)", at: start + .seconds(UInt64(i)))
      var status = stat()
      fstat(log, &status)
      largest = max(largest, Int(status.st_size))
    }
    #expect(largest <= LineWriter.fileMax + 4096)
    let lines = said(try String(contentsOfFile: path, encoding: .utf8))
    #expect(lines.first == "repld: the log had grown to 4 MiB: earlier lines were removed")
    #expect(lines.dropFirst().allSatisfy { $0.hasSuffix(long) } && lines.last?.hasPrefix("2999 ") == true)
    #expect(lines.count > LineWriter.fileKept / 3100)
  }

  @Test func aFileOfSomebodyElseIsNotCut() throws {
    let path = FileManager.default.temporaryDirectory.path + "/own-\(UInt32.random(in: 0...UInt32.max))"
    let log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    defer {
      close(log)
      unlink(path)
    }
    try #require(ftruncate(log, LineWriter.fileMax) == 0)
    LineSink(descriptor: log, at: start).write(.info, "one more", at: start)
    var status = stat()
    #expect(fstat(log, &status) == 0 && Int(status.st_size) > LineWriter.fileMax)
  }
}
