// NBD clients that have many requests under way and send while they receive, all in one thread: what libnbd does.
import Base
import Glibc

final class Pipeline {
  private let wire: Wire
  private var out: [UInt8] = []
  private var sent = 0
  private var input: [UInt8] = []
  /// Bytes of data that come with the reply to a request.
  private var expected: [UInt64: Int] = [:]
  private var dataLeft = 0
  private(set) var faults = 0

  init(_ path: String) throws { wire = try Client(path).wire }

  private var cookie: UInt64 = 0

  func read(_ count: Int, at offset: UInt64) {
    cookie += 1
    out += Client.head(0, cookie: cookie, offset, count)
    expected[cookie] = count
  }

  func write(_ bytes: [UInt8], at offset: UInt64) {
    cookie += 1
    out += Client.head(1, cookie: cookie, offset, bytes.count) + bytes
    expected[cookie] = 0
  }

  var underWay: Int { expected.count + (dataLeft > 0 ? 1 : 0) }
  var isDone: Bool { expected.isEmpty && dataLeft == 0 }

  /// Moves what moves now; whether anything did.
  func move() throws -> Bool {
    var moved = false
    if sent < out.count {
      guard let count = wire.sendNow(out[sent...]) else { throw WireEnded() }
      sent += count
      moved = count > 0
      if sent == out.count {
        out = []
        sent = 0
      }
    }
    guard let bytes = wire.receiveNow() else { throw WireEnded() }
    moved = moved || !bytes.isEmpty
    input += bytes
    var at = 0
    while at < input.count {
      if dataLeft > 0 {
        let count = min(dataLeft, input.count - at)
        dataLeft -= count
        at += count
      } else {
        guard input.count - at >= 16 else { break }
        func number(_ from: Int, _ count: Int) -> UInt64 {
          input[at + from..<at + from + count].reduce(0) { $0 << 8 | UInt64($1) }
        }
        guard let length = expected.removeValue(forKey: number(8, 8)) else { throw WireEnded() }
        if number(4, 4) == 0 { dataLeft = length } else { faults += 1 }
        at += 16
      }
    }
    input.removeFirst(at)
    return moved
  }

  /// Until every one is answered; throws when nothing has moved for this long.
  static func finish(_ clients: [Pipeline], patience seconds: Double = 20, refill: (Int) -> Void = { _ in }) throws {
    var still = 0.0
    while !clients.allSatisfy(\.isDone) {
      var moved = false
      for (i, client) in clients.enumerated() {
        moved = try client.move() || moved
        refill(i)
      }
      if moved {
        still = 0
      } else {
        usleep(2000)
        still += 0.002
        guard still < seconds else {
          throw Timeout(description: "\(clients.map(\.underWay)) requests are not answered")
        }
      }
    }
  }
}
