// One volume: its file, its connection to `repld`, and the line of requests to be sent. When the connection ends, all requests that
// have no answer wait in the order of their arrival and are sent again over the next one: a write that was not answered may be
// repeated. Laws: nothing here waits; what the daemon says is checked before it is used.
import Base
import CFuse
import Control
import Export
import Glibc

final class ServedVolume {
  let number: VolumeNumber
  /// Never used again, so that a file that was ended has no successor by accident.
  let inode: UInt64
  /// Of its file. A loop device shows it, also after the mount has gone: by the name it is known for ours.
  let name: String
  var size: UInt64
  private(set) var abilities: ExportAbilities
  /// How many have the file open: the loop device, as a rule.
  var opens = 0
  /// -1: it waits for a daemon.
  private(set) var connection: Int32 = -1
  /// The socket took less than there is to send.
  private(set) var isStuck = false

  private unowned let server: DeviceServer
  private var table: RequestTable { server.table }
  // The line of requests to be sent; the first one may be partly sent.
  private var first = -1
  private var last = -1
  private var sentOfFirst = 0
  // What came and was not looked at.
  private let inbox = UnsafeMutableRawPointer.allocate(byteCount: inboxBytes, alignment: 16)
  private var inboxBegin = 0
  private var inboxEnd = 0
  // The read whose bytes are coming, and how many of them are here.
  private var coming = -1
  private var come = 0
  private let comingBytes = UnsafeMutableRawPointer.allocate(byteCount: longestRead, alignment: 4096)
  private let parts = UnsafeMutablePointer<iovec>.allocate(capacity: partsOfSend)

  private static let inboxBytes = 256 << 10
  private static let longestRead = 1 << 20
  private static let partsOfSend = 64

  init(_ number: VolumeNumber, inode: UInt64, name: String, size: UInt64, _ server: DeviceServer) {
    self.number = number
    self.inode = inode
    self.name = name
    self.size = size
    self.server = server
    abilities = ExportAbilities(flags: 0)
  }

  deinit {
    if connection >= 0 { close(connection) }
    inbox.deallocate()
    comingBytes.deallocate()
    parts.deallocate()
  }

  var isConnected: Bool { connection >= 0 }
  var wantsToSend: Bool { first >= 0 }
  static func mayRead(_ bytes: Int) -> Bool { bytes <= longestRead }

  /// Takes a connection that is ready for requests, and sends what waits. Returns how many that are.
  func connect(_ descriptor: Int32, size: UInt64, flags: UInt16) -> Int {
    precondition(connection < 0, "the volume has a connection")
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    connection = descriptor
    self.size = size
    abilities = ExportAbilities(flags: flags)
    var waiting = 0
    var place = first
    while place >= 0 {
      waiting += 1
      place = table.next(place)
    }
    send()
    return waiting
  }

  /// Puts a request at the end of the line. `send` follows.
  func append(_ place: Int) {
    table.setNext(place, -1)
    table.setSent(place, false)
    if last >= 0 { table.setNext(last, place) } else { first = place }
    last = place
  }

  // MARK: Sending

  func send() {
    while connection >= 0, first >= 0 {
      var message = msghdr()
      message.msg_iov = parts
      message.msg_iovlen = gather()
      let sent = sendmsg(connection, &message, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
      if sent > 0 {
        consume(sent)
      } else if errno == EAGAIN {
        isStuck = true
        return
      } else if errno != EINTR {
        lose("\(String(cString: strerror(errno)))")
      }
    }
    isStuck = false
  }

  private func gather() -> Int {
    var count = 0
    var skip = sentOfFirst
    func add(_ pointer: UnsafeRawPointer, _ bytes: Int) {
      let left = max(0, bytes - skip)
      if left > 0 {
        parts[count] = iovec(iov_base: UnsafeMutableRawPointer(mutating: pointer + (bytes - left)), iov_len: left)
        count += 1
      }
      skip = max(0, skip - bytes)
    }
    var place = first
    while place >= 0, count <= ServedVolume.partsOfSend - 2 {
      add(table.head(place), ClientAsk.headBytes)
      let request = table[place]
      if let bytes = request.bytes { add(bytes, Int(request.length)) }
      place = table.next(place)
    }
    return count
  }

  private func consume(_ sent: Int) {
    sentOfFirst += sent
    while first >= 0 {
      let request = table[first]
      let whole = ClientAsk.headBytes + (request.bytes == nil ? 0 : Int(request.length))
      guard sentOfFirst >= whole else { return }
      sentOfFirst -= whole
      table.setSent(first, true)
      let next = table.next(first)
      first = next
      if next < 0 { last = -1 }
    }
  }

  // MARK: Answers

  func receive() {
    while connection >= 0 {
      let got: Int
      if coming >= 0 {
        let whole = Int(table[coming].length)
        got = recv(connection, comingBytes + come, whole - come, Int32(MSG_DONTWAIT))
        if got > 0 {
          come += got
          if come == whole {
            let place = coming
            coming = -1
            server.answer(place, read: UnsafeRawPointer(comingBytes))
          }
        }
      } else {
        got = recv(
          connection, inbox + inboxEnd, ServedVolume.inboxBytes - inboxEnd, Int32(MSG_DONTWAIT))
        if got > 0 {
          inboxEnd += got
          takeAnswers()
        }
      }
      if got > 0 { continue }
      if got == 0 { return lose("it was closed") }
      if errno == EAGAIN { return }
      if errno != EINTR { return lose("\(String(cString: strerror(errno)))") }
    }
  }

  private func takeAnswers() {
    while connection >= 0, inboxEnd - inboxBegin >= SimpleAnswer.bytes {
      let head = UnsafeRawBufferPointer(start: inbox + inboxBegin, count: SimpleAnswer.bytes)
      guard let answer = SimpleAnswer(reading: head.bytes), let place = table.place(cookie: answer.cookie, inode: inode)
      else { return lose("what came is no answer to any request") }
      inboxBegin += SimpleAnswer.bytes
      if answer.error != 0 {
        server.answer(place, error: ServedVolume.known(answer.error))
      } else if table[place].ask == .read {
        takeRead(place)
      } else {
        server.answer(place, error: 0)
      }
      if coming >= 0 { break }
    }
    let rest = inboxEnd - inboxBegin
    if rest > 0, inboxBegin > 0 { memmove(inbox, inbox + inboxBegin, rest) }
    inboxBegin = 0
    inboxEnd = rest
  }

  /// The bytes of a read: all here, or the rest comes.
  private func takeRead(_ place: Int) {
    let whole = Int(table[place].length)
    let here = min(whole, inboxEnd - inboxBegin)
    let bytes = inbox + inboxBegin
    inboxBegin += here
    if here == whole { return server.answer(place, read: UnsafeRawPointer(bytes)) }
    memcpy(comingBytes, bytes, here)
    coming = place
    come = here
  }

  /// The errors of the NBD protocol; any other number becomes EIO.
  private static func known(_ error: UInt32) -> Int32 {
    let error = Int32(truncatingIfNeeded: error)
    return [EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, EOPNOTSUPP, ESHUTDOWN].contains(error) ? error : EIO
  }

  // MARK: The end of a connection

  /// Everything that has no answer waits from the beginning.
  private func lose(_ why: String) {
    close(connection)
    connection = -1
    isStuck = false
    first = -1
    last = -1
    sentOfFirst = 0
    coming = -1
    inboxBegin = 0
    inboxEnd = 0
    let waiting = table.places(of: inode)
    for place in waiting { append(place) }
    server.log(
      "volume \(number.value): the connection to repld has ended (\(why)); \(waiting.count) requests and those that come wait for"
        + " repladm up \(server.resource) and repladm primary \(server.resource), or end with errors after"
        + " repladm down \(server.resource)")
  }

  /// Ends it: what has no answer gets EIO.
  func end() {
    if connection >= 0 { close(connection) }
    connection = -1
    first = -1
    last = -1
    for place in table.places(of: inode) { server.answer(place, error: EIO) }
  }
}
