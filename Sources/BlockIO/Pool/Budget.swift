// Who the memory is for. One side alone can use almost all of the pool, but never what is reserved for the others: a
// flood of application writes cannot stop the peer's acknowledgements from being processed, nor the other way round.

public enum Budget: UInt8, Sendable, CaseIterable {
  /// Requests of NBD clients.
  case application = 0
  /// What the peer sends and asks for, resync included.
  case peer = 1
  /// Metadata, bitmap and control packets.
  case engine = 2
}

/// MiB that each side finds free whatever the others do.
public struct Reserves: Sendable {
  public var application: Int
  public var peer: Int
  public var engine: Int
  public init(application: Int, peer: Int, engine: Int) {
    self.application = application
    self.peer = peer
    self.engine = engine
  }
  var all: [Int] { [application, peer, engine] }
}
