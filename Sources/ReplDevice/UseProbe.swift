// Whether the devices of the resource are in use, asked on a thread of its own: closing a block device can wait for writes to it, which
// the server itself has to carry out. Law: a free device is claimed for a moment only, and nothing else about it is changed.
import BlockIO
import Control
import Glibc

final class UseProbe {
  /// Readable when there is an answer.
  let descriptor: Int32
  private(set) var askedAt: ContinuousClock.Instant?

  /// Nil: no thread could be made; nothing is demoted by itself then.
  init?(nodes directory: String) {
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      return nil
    }
    descriptor = ends[0]
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    let prober = Prober(ends[1], directory)
    var thread = pthread_t()
    // The memory of this process is locked: as little of it as does.
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, 256 << 10)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    defer { pthread_attr_destroy(&attributes) }
    let context = Unmanaged.passRetained(prober)
    let rc = pthread_create(
      &thread, &attributes,
      { context in
        guard let context else { return nil }
        Unmanaged<Prober>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, context.toOpaque())
    guard rc == 0 else {
      context.release()
      for end in ends { close(end) }
      return nil
    }
  }

  deinit { close(descriptor) }

  func ask(about devices: [DeviceNumber]) {
    let text = devices.map { "\($0.major):\($0.minor)" }.joined(separator: " ")
    let bytes = Array(text.utf8)
    guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else { return }
    askedAt = .now
  }

  /// Whether they are free, and when that was asked. Nil: no answer has come.
  func take() -> (isFree: Bool, askedAt: ContinuousClock.Instant)? {
    var answer: UInt8 = 0
    guard let asked = askedAt, recv(descriptor, &answer, 1, 0) == 1 else { return nil }
    askedAt = nil
    return (answer == 0, asked)
  }
}

/// The thread's side.
private final class Prober {
  private let channel: Int32
  private let directory: String
  /// A link of /proc that leads to one of the devices, and where to: looked at first.
  private var user: (link: String, target: String)?

  init(_ channel: Int32, _ directory: String) {
    self.channel = channel
    self.directory = directory
  }

  func run() {
    defer { close(channel) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    while true {
      let got = recv(channel, &bytes, bytes.count, 0)
      if got < 0, errno == EINTR { continue }
      guard got > 0 else { return }
      let devices = String(decoding: bytes[..<got], as: UTF8.self).split(separator: " ").compactMap { word in
        let parts = word.split(separator: ":").compactMap { UInt32($0) }
        return parts.count == 2 ? DeviceNumber(major: parts[0], minor: parts[1]) : nil
      }
      var answer: UInt8 = areUsed(devices) ? 1 : 0
      guard send(channel, &answer, 1, Int32(MSG_NOSIGNAL)) == 1 else { return }
    }
  }

  private func areUsed(_ devices: [DeviceNumber]) -> Bool {
    // One after the other: a claim that is kept would be taken for a user by the next.
    for device in devices where isClaimed(device) { return true }
    if let user, linkTarget(user.link) == user.target { return true }
    user = opener(of: devices)
    return user != nil
  }

  /// A file system, swap, another device on top or a program that has opened it with O_EXCL.
  private func isClaimed(_ device: DeviceNumber) -> Bool {
    do throws(Errno) {
      close(
        try NumberedDevice.open(major: device.major, minor: device.minor, flags: O_RDONLY | O_EXCL | O_NONBLOCK))
      return false
    } catch {
      // What cannot be asked counts as used; `repladm secondary` says more.
      return error.code != ENXIO && error.code != ENODEV
    }
  }

  private func opener(of devices: [DeviceNumber]) -> (String, String)? {
    let kernelNames = devices.filter { $0.major == 7 }.map { "/dev/loop\($0.minor)" }
    for pid in entries("/proc") where pid.allSatisfy(\.isNumber) {
      for descriptor in entries("/proc/\(pid)/fd") {
        let link = "/proc/\(pid)/fd/\(descriptor)"
        // Read, not followed: that would ask the server that waits for this.
        guard let target = linkTarget(link), target.hasPrefix(directory + "/") || kernelNames.contains(target) else {
          continue
        }
        return (link, target)
      }
    }
    return nil
  }

  private func entries(_ path: String) -> [String] {
    guard let stream = opendir(path) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names
  }
}
