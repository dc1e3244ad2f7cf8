// What a completion is about: the top byte of its tag. The rest of the tag names the thing itself.
import BlockIO

enum Kind {
  /// Disk operations, data and metadata.
  static let disk: UInt8 = 1

  // The peer's sockets; the tag carries the socket's number.
  static let peerReceive: UInt8 = 2
  static let peerSend: UInt8 = 3
  static let peerConnect: UInt8 = 4
  static let peerAccept: UInt8 = 5

  // NBD clients; the tag carries the place of the connection, or of the listener.
  static let clientAccept: UInt8 = 6
  static let clientReceive: UInt8 = 7
  static let clientSend: UInt8 = 8

  // The control socket.
  static let controlAccept: UInt8 = 9
  static let controlReceive: UInt8 = 10
  static let controlSend: UInt8 = 11

  static let signal: UInt8 = 12
  static let child: UInt8 = 13
  /// A cancellation: what it ended tells by itself.
  static let cancel: UInt8 = 14

  // The other side has hung up, seen also while nothing is received; the tag carries the place.
  static let clientHangUp: UInt8 = 15
  static let controlHangUp: UInt8 = 16
}
