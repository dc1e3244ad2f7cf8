// Where NBD clients come in: a unix socket for each volume, and the addresses of `--nbd-tcp`. Law: an address that cannot be listened
// on for the moment (an interface that is not up yet, a port in use, descriptors short) is tried again every second, and said once.
import Base
import BlockIO
import Engine

struct Entrances: ~Copyable {
  private struct Awaited {
    var volume: VolumeNumber
    var address: SocketAddress
    var due: Instant
  }

  private var acceptors: Places<Acceptor>
  /// By acceptor.
  private var volumes: [(number: VolumeNumber, isTCP: Bool)] = []
  private var awaited: [Awaited] = []

  init(capacity: Int) { acceptors = Places(capacity: capacity) }

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
    precondition(place == volumes.count, "an entrance was closed alone")
    acceptors.put(Acceptor(listener, tag: Tag(kind: Kind.clientAccept, UInt64(place))), at: place)
    volumes.append((number, isTCP))
    acceptors[place].accept(&ring)
  }

  /// Which volume a client came for, and how; the next accept is under way.
  mutating func accepted(_ completion: Completion, at now: Instant, _ ring: inout Ring) -> Acceptor.Arrival {
    let which = Int(completion.tag.payload)
    let arrival = acceptors[which].accepted(completion, at: now)
    if acceptors[which].pausedUntil == nil { acceptors[which].accept(&ring) }
    return arrival
  }

  func volume(of completion: Completion) -> (number: VolumeNumber, isTCP: Bool) {
    volumes[Int(completion.tag.payload)]
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
