// The kernel's nbd as it is configured: generic netlink, the family "nbd". Only this interface keeps a device whose
// connection is dead and takes a new one for it. Law: every request is answered within the socket's time limit, and no
// length the answer states is believed before it is compared with what came.
import Glibc

struct NBDControl: ~Copyable {
  private let descriptor: Int32
  private var family: UInt16 = NBDControl.controller
  private var sequence: UInt32 = 0

  // From linux/netlink.h, linux/genetlink.h and linux/nbd-netlink.h.
  private static let controller: UInt16 = 0x10
  private static let getFamily: UInt8 = 3
  private static let familyID: UInt16 = 1
  private static let familyName: UInt16 = 2
  private static let request: UInt16 = 1
  private static let acknowledge: UInt16 = 4
  private static let errorType: UInt16 = 2
  private static let headBytes = 16
  private static let genericHeadBytes = 4

  private enum Command: UInt8 {
    case connect = 1
    case disconnect = 2
    case reconfigure = 3
  }

  private enum Attribute {
    static let index: UInt16 = 1
    static let size: UInt16 = 2
    static let blockSize: UInt16 = 3
    static let timeout: UInt16 = 4
    static let serverFlags: UInt16 = 5
    static let sockets: UInt16 = 7
    static let deadLinkSeconds: UInt16 = 8
    static let backend: UInt16 = 10
    static let socketItem: UInt16 = 1
    static let socketDescriptor: UInt16 = 1
  }

  private init(_ descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  static func open() throws(DeviceFault) -> NBDControl {
    let descriptor = socket(AF_NETLINK, Int32(SOCK_RAW.rawValue) | O_CLOEXEC, 16)
    guard descriptor >= 0 else { throw .cannot("speak to the kernel's nbd", systemWords(errno)) }
    var control = NBDControl(descriptor)
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    try control.findFamily()
    return control
  }

  private mutating func findFamily() throws(DeviceFault) {
    var name: [UInt8] = []
    name.attribute(NBDControl.familyName, text: "nbd")
    let (code, answer) = try ask(NBDControl.getFamily, name)
    guard code == 0, let number = answer.flatMap({ NBDControl.number(NBDControl.familyID, in: $0) }) else {
      throw .cannot("speak to the kernel's nbd", code == 0 ? "it is not understood" : systemWords(code))
    }
    family = number
  }

  /// False when somebody else has this device.
  mutating func connect(
    _ index: UInt32, _ connection: borrowing ExportConnection, backend: String, deadLinkSeconds: UInt64
  ) throws(DeviceFault) -> Bool {
    var attributes = NBDControl.attributes(index, connection, backend: backend)
    // No limit for a request: a suspended resource may keep it as long as it likes. A dead connection is noticed at once.
    attributes.attribute(Attribute.timeout, UInt64(0))
    attributes.attribute(Attribute.deadLinkSeconds, deadLinkSeconds)
    attributes.attribute(Attribute.serverFlags, UInt64(connection.flags))
    let code = try ask(Command.connect.rawValue, attributes).code
    if code == EBUSY { return false }
    guard code == 0 else { throw .cannot("connect nbd\(index)", systemWords(code)) }
    return true
  }

  /// Puts the connection in the place of the dead one.
  mutating func reconnect(
    _ index: UInt32, _ connection: borrowing ExportConnection, backend: String, deadline: Deadline
  ) throws(DeviceFault) {
    let attributes = NBDControl.attributes(index, connection, backend: backend)
    let patience = Deadline(after: min(5, deadline.seconds ?? 5))
    while true {
      let code = try ask(Command.reconfigure.rawValue, attributes).code
      if code == 0 { return }
      // It has not noticed yet that the old one is dead.
      guard code == ENOSPC, !patience.hasPassed else { throw .cannot("reconnect nbd\(index)", systemWords(code)) }
      usleep(50_000)
    }
  }

  /// The device has this many bytes from now on.
  mutating func resize(_ index: UInt32, to bytes: UInt64, blockSize: UInt32, backend: String) throws(DeviceFault) {
    var attributes: [UInt8] = []
    attributes.attribute(Attribute.index, index)
    attributes.attribute(Attribute.size, bytes)
    attributes.attribute(Attribute.blockSize, UInt64(blockSize))
    attributes.attribute(Attribute.backend, text: backend)
    let code = try ask(Command.reconfigure.rawValue, attributes).code
    guard code == 0 else { throw .cannot("resize nbd\(index)", systemWords(code)) }
  }

  mutating func disconnect(_ index: UInt32) throws(DeviceFault) {
    var attributes: [UInt8] = []
    attributes.attribute(Attribute.index, index)
    let code = try ask(Command.disconnect.rawValue, attributes).code
    guard code == 0 || code == EINVAL else { throw .cannot("disconnect nbd\(index)", systemWords(code)) }
  }

  private static func attributes(
    _ index: UInt32, _ connection: borrowing ExportConnection, backend: String
  ) -> [UInt8] {
    var socket: [UInt8] = []
    socket.attribute(Attribute.socketDescriptor, UInt32(bitPattern: connection.descriptor))
    var item: [UInt8] = []
    item.attribute(Attribute.socketItem, bytes: socket)
    var attributes: [UInt8] = []
    attributes.attribute(Attribute.index, index)
    attributes.attribute(Attribute.size, connection.size)
    attributes.attribute(Attribute.blockSize, UInt64(connection.blockSize))
    attributes.attribute(Attribute.sockets, bytes: item)
    attributes.attribute(Attribute.backend, text: backend)
    return attributes
  }

  // MARK: Messages

  /// The kernel's error code, 0 for none, and the attributes it sent before.
  private mutating func ask(_ command: UInt8, _ attributes: [UInt8]) throws(DeviceFault) -> (
    code: Int32, answer: ArraySlice<UInt8>?
  ) {
    sequence += 1
    var message: [UInt8] = []
    message.native(UInt32(NBDControl.headBytes + NBDControl.genericHeadBytes + attributes.count))
    message.native(family)
    message.native(NBDControl.request | NBDControl.acknowledge)
    message.native(sequence)
    message.native(UInt32(0))
    message += [command, 1, 0, 0]
    message += attributes
    let sent = message.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, 0) }
    guard sent == message.count else { throw .cannot("speak to the kernel's nbd", systemWords(errno)) }
    var answer: ArraySlice<UInt8>?
    var room = [UInt8](repeating: 0, count: 32 << 10)
    while true {
      let got = recv(descriptor, &room, room.count, 0)
      guard got > 0 else {
        if errno == EINTR { continue }
        throw .cannot("speak to the kernel's nbd", errno == EAGAIN ? "it does not answer" : systemWords(errno))
      }
      var rest = room[..<got]
      while rest.count >= NBDControl.headBytes {
        let length = Int(rest.native(UInt32.self, at: 0))
        guard length >= NBDControl.headBytes, length <= rest.count else { break }
        let body = rest.prefix(length)
        if body.native(UInt32.self, at: 8) == sequence {
          if body.native(UInt16.self, at: 4) == NBDControl.errorType, length >= NBDControl.headBytes + 4 {
            return (-Int32(bitPattern: body.native(UInt32.self, at: NBDControl.headBytes)), answer)
          }
          answer = body.dropFirst(NBDControl.headBytes + NBDControl.genericHeadBytes)
        }
        rest = rest.dropFirst(min(rest.count, (length + 3) & ~3))
      }
    }
  }

  private static func number(_ wanted: UInt16, in attributes: ArraySlice<UInt8>) -> UInt16? {
    var rest = attributes
    while rest.count >= 4 {
      let length = Int(rest.native(UInt16.self, at: 0))
      guard length >= 4, length <= rest.count else { return nil }
      if rest.native(UInt16.self, at: 2) == wanted, length >= 6 { return rest.native(UInt16.self, at: 4) }
      rest = rest.dropFirst(min(rest.count, (length + 3) & ~3))
    }
    return nil
  }
}

extension [UInt8] {
  fileprivate mutating func native<Number: FixedWidthInteger>(_ number: Number) {
    Swift.withUnsafeBytes(of: number) { append(contentsOf: $0) }
  }

  fileprivate mutating func attribute<Number: FixedWidthInteger>(_ kind: UInt16, _ number: Number) {
    var bytes: [UInt8] = []
    bytes.native(number)
    attribute(kind, bytes: bytes)
  }

  fileprivate mutating func attribute(_ kind: UInt16, text: String) { attribute(kind, bytes: Array(text.utf8) + [0]) }

  fileprivate mutating func attribute(_ kind: UInt16, bytes: [UInt8]) {
    native(UInt16(4 + bytes.count))
    native(kind)
    self += bytes
    while count & 3 != 0 { append(0) }
  }
}

extension ArraySlice<UInt8> {
  /// A number in the machine's order, `offset` bytes from the front, which has that many.
  fileprivate func native<Number: FixedWidthInteger>(_ type: Number.Type, at offset: Int) -> Number {
    withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
  }
}
