// The kernel's requests that wait for an answer of `repld`, in a table of fixed size: how each is asked again when the daemon dies,
// and who is answered. Law: an entry leaves the table when its request is answered, once; an answer to an entry that has gone
// is not taken for one of the next.
import Base
import CFuse
import Export
import Glibc

struct HeldRequest {
  /// The kernel's end of it.
  let reply: OpaquePointer
  let inode: UInt64
  let ask: ClientAsk
  let offset: UInt64
  let length: UInt32
  /// What is written: part of `memory`, which was lent for it.
  var bytes: UnsafeRawPointer?
  var memory: UnsafeMutableRawPointer?
  /// In the order of arrival.
  var number: UInt64 = 0
  /// Whole, over the connection that there is now.
  var isSent = false
}

final class RequestTable {
  static let capacity = 512
  private var entries = [HeldRequest?](repeating: nil, count: capacity)
  private var free = Array((0..<capacity).reversed())
  /// The one that comes after an entry in the line of those to be sent.
  private var following = [Int](repeating: -1, count: capacity)
  private let heads = UnsafeMutableRawPointer.allocate(byteCount: capacity * headStride, alignment: 8)
  private var arrivals: UInt64 = 0
  private static let headStride = 32

  deinit { heads.deallocate() }

  var hasRoom: Bool { !free.isEmpty }

  func insert(_ request: HeldRequest) -> Int {
    let place = free.removeLast()
    arrivals += 1
    entries[place] = request
    entries[place]?.number = arrivals
    following[place] = -1
    request.ask.writeHead(
      cookie: cookie(place, arrivals), offset: request.offset, length: request.length,
      to: UnsafeMutableRawBufferPointer(start: head(place), count: RequestTable.headStride))
    return place
  }

  subscript(_ place: Int) -> HeldRequest {
    guard let entry = entries[place] else { preconditionFailure("no request at place \(place)") }
    return entry
  }

  func remove(_ place: Int) -> HeldRequest {
    let entry = self[place]
    entries[place] = nil
    free.append(place)
    return entry
  }

  /// The head of a request as it is sent.
  func head(_ place: Int) -> UnsafeMutableRawPointer { heads + place * RequestTable.headStride }

  func setSent(_ place: Int, _ isSent: Bool) { entries[place]?.isSent = isSent }

  func next(_ place: Int) -> Int { following[place] }
  func setNext(_ place: Int, _ next: Int) { following[place] = next }

  /// The entry that an answer is for; nil when nothing was asked by that name.
  func place(cookie: UInt64, inode: UInt64) -> Int? {
    let place = Int(cookie & 0xffff)
    guard place < RequestTable.capacity, let entry = entries[place], entry.number == cookie >> 16,
      entry.inode == inode, entry.isSent
    else { return nil }
    return place
  }

  /// All of one file, oldest first.
  func places(of inode: UInt64) -> [Int] {
    entries.indices.filter { entries[$0]?.inode == inode }.sorted { self[$0].number < self[$1].number }
  }

  private func cookie(_ place: Int, _ number: UInt64) -> UInt64 { UInt64(place) | number << 16 }
}
