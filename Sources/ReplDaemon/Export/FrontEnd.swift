// The two ways in for clients, the unix sockets of this machine and TCP, and who is let in. Laws: neither takes places,
// requests or memory of the other, so whatever TCP clients do, the local device works; every volume has places that the
// clients of the others cannot take; every client has requests of its own in the engine. docs/limits.md has the numbers.
import Base
import BlockIO

struct FrontEnd {
  /// Places of this machine that every volume has for itself: one for its device, one for who looks at it.
  static let placesOfVolume = 2
  /// And those that all volumes share.
  static let placesShared = 62
  static let placesOverTCP = 32
  static let placesOfAddress = 16
  /// Requests under way in the engine that every client has for itself.
  static let ownRequests = 4

  /// Part of the table of connections.
  let places: Range<Int>
  /// Whose memory its clients use.
  let side: Budget
  /// Requests beyond its clients' own, and how many of them are under way.
  private let sharedRequests: Int
  private var sharedUnderWay = 0

  init(places: Range<Int>, side: Budget, requests: Int) {
    self.places = places
    self.side = side
    sharedRequests = max(0, requests - places.count * FrontEnd.ownRequests)
  }

  /// What `volumes` volumes and, if there is one, the way over TCP have of `requests` requests.
  static func both(volumes: Int, overTCP: Bool, requests: Int) -> (local: FrontEnd, tcp: FrontEnd) {
    let remote = overTCP ? placesOverTCP : 0
    let local = min(placesShared + placesOfVolume * volumes, PlaceSet.capacity - placesOverTCP)
    let requestsOverTCP = overTCP ? requests / 4 : 0
    return (
      FrontEnd(places: 0..<local, side: .application, requests: requests - requestsOverTCP),
      FrontEnd(places: local..<local + remote, side: .remote, requests: requestsOverTCP)
    )
  }

  // MARK: Requests

  /// A client with so many requests under way may begin another one.
  func mayBegin(_ underWay: Int) -> Bool { underWay < FrontEnd.ownRequests || sharedUnderWay < sharedRequests }

  mutating func began(_ underWay: inout Int) {
    if underWay >= FrontEnd.ownRequests { sharedUnderWay += 1 }
    underWay += 1
  }

  mutating func ended(_ underWay: inout Int) {
    underWay -= 1
    if underWay >= FrontEnd.ownRequests { sharedUnderWay -= 1 }
  }
}

/// The clients of this machine when one more wants to come in.
struct LocalCrowd {
  /// Places that all volumes share: volumes that came later have taken theirs out of them.
  private let placesShared: Int
  /// Clients of the volume in question, of all volumes, and those beyond the places that volumes have for themselves.
  var ofVolume = 0
  var all = 0
  var shared = 0

  /// `counts`: clients of each volume; `places`: for all of them.
  init(_ counts: [Int], of volume: Int, places: Int) {
    placesShared = min(FrontEnd.placesShared, places - FrontEnd.placesOfVolume * counts.count)
    for (i, count) in counts.enumerated() {
      all += count
      shared += max(0, count - FrontEnd.placesOfVolume)
      if i == volume { ofVolume = count }
    }
  }

  var hasRoom: Bool { ofVolume < FrontEnd.placesOfVolume || shared < placesShared }
}
