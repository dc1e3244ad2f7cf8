// What started this program, when it is systemd or speaks its protocol (sd_notify): one datagram to the socket that NOTIFY_SOCKET
// names says that the program is ready, what it is doing, that it is alive, and that it ends. Laws: nothing is sent where no socket
// was named; a service manager that does not read never stops the thread that writes; children do not inherit the socket.

import Base
import CURing
import Glibc

public struct ServiceManager: ~Copyable {
  /// -1: there is no service manager.
  private let descriptor: Int32
  private let address: sockaddr_un
  private let length: socklen_t
  /// How often the service manager wants to hear that the program is alive: twice within the time after which it ends it.
  public let keepAlive: Interval?
  private var keepAliveAt: Instant?
  /// What found no room and must not be lost, and when it is tried again.
  private var unsaid: (text: String, at: Instant)?

  /// Whether anything that is said is heard.
  public var isPresent: Bool { descriptor >= 0 }

  /// Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment. A name that no socket can have is thrown.
  public static func fromEnvironment(at now: Instant) throws(Errno) -> ServiceManager {
    func take(_ name: String) -> String? {
      guard let value = getenv(name) else { return nil }
      let text = String(cString: value)
      unsetenv(name)
      return text.isEmpty ? nil : text
    }
    let path = take("NOTIFY_SOCKET")
    // More than a day is as good as none.
    let microseconds = take("WATCHDOG_USEC").flatMap { UInt64($0) }.map { min($0, 86_400_000_000) } ?? 0
    let isMeant = take("WATCHDOG_PID").map { $0 == "\(getpid())" } ?? true
    guard let path else { return ServiceManager() }
    return try ServiceManager(
      path: path, limit: isMeant && microseconds > 0 ? Interval(nanoseconds: microseconds * 1000) : nil, at: now)
  }

  /// None.
  private init() {
    descriptor = -1
    address = sockaddr_un()
    length = 0
    keepAlive = nil
  }

  /// `limit`: the time after which the service manager takes a silent program for a hung one.
  public init(path: String, limit: Interval?, at now: Instant) throws(Errno) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var bytes = Array(path.utf8)
    let room = MemoryLayout.size(ofValue: address.sun_path)
    let isAbstract = bytes.first == UInt8(ascii: "@")
    guard isAbstract || bytes.first == UInt8(ascii: "/"), bytes.count < room else { throw Errno(EINVAL) }
    // An abstract name is written with @ for the zero byte that it begins with.
    if isAbstract { bytes[0] = 0 }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let made = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard made >= 0 else { throw Errno.last }
    descriptor = made
    self.address = address
    // The name of a file ends with a zero byte, an abstract one with its last byte.
    length = socklen_t(MemoryLayout.size(ofValue: address.sun_family) + bytes.count + (isAbstract ? 0 : 1))
    keepAlive = limit.map { Interval(nanoseconds: max(1, $0.nanoseconds / 2)) }
    keepAliveAt = keepAlive.map { now + $0 }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// The program does what it was started for.
  public mutating func ready(_ status: String, at now: Instant) {
    let text = "READY=1\nSTATUS=\(line(status))"
    if !tell(text) { unsaid = (text, now + ServiceManager.pause) }
  }

  /// One line that people are shown. One that is lost is followed by the next.
  public func status(_ text: String) { tell("STATUS=\(line(text))") }
  public func stopping() { tell("STOPPING=1") }

  /// When `keepTime` has something to say.
  public var deadline: Instant? {
    guard let unsaid else { return keepAliveAt }
    return min(unsaid.at, keepAliveAt ?? unsaid.at)
  }

  /// Says that the program is alive, when it is time to, and what found no room before.
  public mutating func keepTime(at now: Instant) {
    if let unsaid, now >= unsaid.at {
      self.unsaid = tell(unsaid.text) ? nil : (unsaid.text, now + ServiceManager.pause)
    }
    if let keepAlive, let due = keepAliveAt, now >= due {
      tell("WATCHDOG=1")
      keepAliveAt = now + keepAlive
    }
  }

  private static let pause = Interval.milliseconds(100)

  /// False: there is no room for it just now. A service manager that has gone hears nothing any more.
  @discardableResult private func tell(_ text: String) -> Bool {
    guard isPresent else { return true }
    let bytes = Array(text.utf8)
    var address = address
    let sent = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT), $0, length)
      }
    }
    return sent >= 0 || ![EAGAIN, ENOBUFS, EINTR].contains(errno)
  }

  /// A line end would begin another assignment.
  private func line(_ text: String) -> String {
    var line = ""
    for scalar in text.unicodeScalars { line.unicodeScalars.append(scalar.value < 0x20 ? " " : scalar) }
    return line
  }
}
