// Where NBD clients come in: a unix socket for each volume, and the addresses of `--nbd-tcp`. Law: an address that cannot be listened
// on for the moment (an interface that is not up yet, a port in use, descriptors short) is tried again every second, and said once.
// The entrance of a volume that is removed is free again when the accept under way on it has ended.
import Base
import BlockIO
import Engine

struct Entrances: ~Copyable {
  private struct Awaited {
    var volume: VolumeNumber
    var address: SocketAddress
    var due: Instant
  }

  private struct Way {
    var volume: VolumeNumber
    var isTCP: Bool
    var isClosing = false
  }

  private var acceptors: Places<Acceptor>
  /// By acceptor.
  private var ways: [Way?]
  private var awaited: [Awaited] = []

  init(capacity: Int) {
    acceptors = Places(capacity: capacity)
    ways = Array(repeating: nil, count: capacity)
  }

  mutating func listen(unix path: String, _ number: VolumeNumber, _ ring: inout Ring) throws(SocketRefusal) {
    add(try Listener(unix: path), number, isTCP: false, &ring)
  }

  /// Throws where no time will help.
  mutating func listen(
    tcp address: SocketAddress, _ number: VolumeNumber, at now: Instant, _ ring: inout Ring, _ warn: (String) -> Void
  ) throws(SocketRefusal) {
    do throws(SocketRefusal) {
      add(try Listener(tcp: address), number, isTCP: true, &ring)
    } catch {
      guard error.mayPass else { throw error }
      awaited.append(Awaited(volume: number, address: address, due: now + Acceptor.pause))
      warn("--nbd-tcp \(number.value)=\(address): \(error.text); repld tries again every second")
    }
  }

  private mutating func add(
    _ listener: consuming Listener, _ number: VolumeNumber, isTCP: Bool, _ ring: inout Ring
  ) {
    let place = acceptors.free
    acceptors.put(Acceptor(listener, tag: Tag(kind: Kind.clientAccept, UInt64(place))), at: place)
    ways[place] = Way(volume: number, isTCP: isTCP)
    acceptors[place].accept(&ring)
  }

  /// The export of this volume takes no new client.
  mutating func close(_ number: VolumeNumber, _ ring: inout Ring) {
    for i in 0..<acceptors.capacity where acceptors.contains(i) && ways[i]?.volume == number {
      if acceptors[i].close(&ring) {
        free(i)
      } else {
        ways[i]?.isClosing = true
      }
    }
  }

  private mutating func free(_ place: Int) {
    _ = acceptors.remove(place)
    ways[place] = nil
  }

  func isExportedOverTCP(_ number: VolumeNumber) -> Bool {
    awaited.contains { $0.volume == number } || ways.contains { $0?.volume == number && $0?.isTCP == true }
  }

  /// What came of the accept; the next one is under way.
  mutating func accepted(_ completion: Completion, at now: Instant, _ ring: inout Ring) -> Acceptor.Arrival {
    let which = Int(completion.tag.payload)
    let arrival = acceptors[which].accepted(completion, at: now)
    if ways[which]?.isClosing == true {
      free(which)
      return .nobody
    }
    if acceptors[which].pausedUntil == nil { acceptors[which].accept(&ring) }
    return arrival
  }

  /// Which volume a client has come for, and how.
  func volume(of completion: Completion) -> (number: VolumeNumber, isTCP: Bool) {
    guard let way = ways[Int(completion.tag.payload)] else {
      preconditionFailure("an accept ended that was not begun")
    }
    return (way.volume, way.isTCP)
  }

  /// After a pause, and where an address may have come.
  mutating func resume(at now: Instant, _ ring: inout Ring, _ say: (String) -> Void) {
    for i in 0..<acceptors.capacity where acceptors.contains(i) { acceptors[i].resume(at: now, &ring) }
    for i in awaited.indices.reversed() where now >= awaited[i].due {
      let one = awaited[i]
      do throws(SocketRefusal) {
        add(try Listener(tcp: one.address, namesHolder: false), one.volume, isTCP: true, &ring)
        awaited.remove(at: i)
        say("NBD clients of volume \(one.volume.value) are accepted on \(one.address) now")
      } catch {
        // Said already. What no time will help with may come after what passes: repld tries on, too.
        awaited[i].due = now + Acceptor.pause
      }
    }
  }

  /// When to look again.
  var deadline: Instant? {
    var next = awaited.map(\.due).min()
    for i in 0..<acceptors.capacity where acceptors.contains(i) {
      if let until = acceptors[i].pausedUntil, next == nil || until < next! { next = until }
    }
    return next
  }

  mutating func close() {
    awaited = []
    for i in 0..<acceptors.capacity where acceptors.contains(i) { _ = acceptors.remove(i) }
  }
}

extension SocketRefusal {
  /// The same bind may succeed later.
  fileprivate var mayPass: Bool {
    switch self {
    case .notOnThisHost, .portInUse, .failed: true
    case .noPermission, .pathInUse, .pathTooLong, .pathTaken: false
    }
  }
}
