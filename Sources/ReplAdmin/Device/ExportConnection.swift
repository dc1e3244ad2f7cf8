// A connection to the daemon's export, negotiated to the point where requests may be sent; the kernel takes it from there.
// Law: what the server says is checked before it is used, and the socket that is handed on has no time limits left.
import Base
import Glibc

struct ExportConnection: ~Copyable {
  let descriptor: Int32
  private(set) var size: UInt64 = 0
  private(set) var flags: UInt16 = 0
  private(set) var blockSize: UInt32 = 512

  private static let greeting: UInt64 = 0x4e42_444d_4147_4943
  private static let option: UInt64 = 0x4948_4156_454f_5054
  private static let optionReply: UInt64 = 0x0003_e889_0455_65a9
  private static let go: UInt32 = 7
  private static let acknowledged: UInt32 = 1
  private static let information: UInt32 = 3
  private static let failed: UInt32 = 1 << 31
  private static let exportInformation: UInt16 = 0
  private static let blockSizeInformation: UInt16 = 3

  private init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// Asks for the export without a name, the only one behind the daemon's socket.
  static func open(_ path: String, deadline: Deadline) throws(DeviceFault) -> ExportConnection {
    let seconds = max(1, Int(min(deadline.seconds ?? 60, 60)))
    var connection = ExportConnection(try connected(to: path, seconds: seconds))
    try connection.negotiate()
    // The kernel would keep the limits, and end an idle connection.
    setLimits(connection.descriptor, seconds: 0)
    return connection
  }

  private static func connected(to path: String, seconds: Int) throws(DeviceFault) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let name = Array(path.utf8)
    guard name.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw .cannot("connect to \(path)", "the path is too long for a socket: use a shorter REPL_RUN_DIR")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
    guard descriptor >= 0 else { throw .cannot("make a socket", systemWords(errno)) }
    setLimits(descriptor, seconds: seconds)
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let rc = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
    }
    guard rc == 0 else {
      let why = systemWords(errno)
      close(descriptor)
      throw .cannot("connect to \(path)", why)
    }
    return descriptor
  }

  private mutating func negotiate() throws(DeviceFault) {
    var head = try receive(18)
    guard head.number(UInt64.self) == ExportConnection.greeting, head.number(UInt64.self) == ExportConnection.option
    else { throw ExportConnection.strange }
    // Fixed newstyle without padding is what the daemon speaks.
    guard head.number(UInt16.self) & 3 == 3 else { throw ExportConnection.strange }
    var request: [UInt8] = []
    request.append(big: UInt32(3))
    request.append(big: ExportConnection.option)
    request.append(big: ExportConnection.go)
    request.append(big: UInt32(8))
    request.append(big: UInt32(0))
    request.append(big: UInt16(1))
    request.append(big: ExportConnection.blockSizeInformation)
    try send(request)
    while try !takeReply() {}
    guard size > 0 else { throw .cannot("use the export", "it has no size: its disk is not attached") }
    guard blockSize >= 512, blockSize <= 4096, blockSize & (blockSize - 1) == 0 else {
      throw .cannot("use the export", "the kernel's nbd cannot have blocks of \(blockSize) bytes")
    }
  }

  /// True at the last one.
  private mutating func takeReply() throws(DeviceFault) -> Bool {
    var head = try receive(20)
    guard head.number(UInt64.self) == ExportConnection.optionReply, head.number(UInt32.self) == ExportConnection.go
    else {
      throw ExportConnection.strange
    }
    let kind = head.number(UInt32.self)
    let length = head.number(UInt32.self)
    guard length <= 64 << 10 else { throw ExportConnection.strange }
    var data = try receive(Int(length))
    if kind & ExportConnection.failed != 0 {
      let words = String(decoding: data.rest, as: UTF8.self)
      throw .cannot("use the export", words.isEmpty ? "the daemon refuses it" : words)
    }
    if kind == ExportConnection.acknowledged { return true }
    guard kind == ExportConnection.information, length >= 2 else { throw ExportConnection.strange }
    switch data.number(UInt16.self) {
    case ExportConnection.exportInformation where length == 12:
      size = data.number(UInt64.self)
      flags = data.number(UInt16.self)
    case ExportConnection.blockSizeInformation where length == 14: blockSize = data.number(UInt32.self)
    default: break
    }
    return false
  }

  private static let strange = DeviceFault.cannot(
    "use the export", "what answers there is not the repld of this version")

  private func send(_ bytes: [UInt8]) throws(DeviceFault) {
    var sent = 0
    while sent < bytes.count {
      let rc = bytes[sent...].withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if rc > 0 { sent += rc } else if errno != EINTR { throw .cannot("ask for the export", systemWords(errno)) }
    }
  }

  private func receive(_ count: Int) throws(DeviceFault) -> BigEndianBytes {
    var bytes = [UInt8](repeating: 0, count: count)
    var got = 0
    while got < count {
      let rc = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress! + got, count - got, 0) }
      if rc > 0 {
        got += rc
      } else if rc == 0 {
        throw .cannot("use the export", "the daemon hung up")
      } else if errno != EINTR {
        throw .cannot("use the export", errno == EAGAIN ? "the daemon does not answer" : systemWords(errno))
      }
    }
    return BigEndianBytes(bytes)
  }

  private static func setLimits(_ descriptor: Int32, seconds: Int) {
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
  }
}

/// Numbers of a message whose length was checked.
private struct BigEndianBytes {
  private(set) var rest: ArraySlice<UInt8>

  init(_ bytes: [UInt8]) { rest = bytes[...] }

  mutating func number<Number: FixedWidthInteger>(_ type: Number.Type) -> Number {
    let bytes = rest.prefix(MemoryLayout<Number>.size)
    precondition(bytes.count == MemoryLayout<Number>.size, "the length was not checked")
    rest = rest.dropFirst(bytes.count)
    return bytes.reduce(0) { $0 << 8 | Number(truncatingIfNeeded: $1) }
  }
}

extension [UInt8] {
  fileprivate mutating func append<Number: FixedWidthInteger>(big number: Number) {
    Swift.withUnsafeBytes(of: number.bigEndian) { append(contentsOf: $0) }
  }
}
