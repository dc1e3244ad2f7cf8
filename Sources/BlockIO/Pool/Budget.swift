// Who the memory is for. One side alone can use almost all of the pool, but never what is reserved for the others: a
// flood of application writes cannot stop the peer's acknowledgements from being processed, nor the other way round.
// Law: what waits for a slow reader or writer (a client, or the peer) never takes the memory that this reader or writer
// needs to go on. So the two directions of the peer, and the two kinds of clients, are sides of their own.

public enum Budget: UInt8, Sendable, CaseIterable {
  /// Requests of NBD clients of this machine.
  case application = 0
  /// Requests of NBD clients over TCP.
  case remote
  /// What each client has for itself when the memory of its side is used up.
  case minimum
  /// What the peer sends: its writes, and its answers. Waits for our disk only.
  case received
  /// Answers to the peer. Wait for our disk, and then for the peer to read them.
  case requested
  /// Metadata, and blocks that are read to be compared.
  case engine
}

/// The sizes of a pool, in MiB: their sum is the pool.
public struct Shares: Sendable {
  public struct Share: Sendable {
    /// Free whatever the others do.
    public var reserve: Int
    /// As much as this side may have of what is common.
    public var common: Int
    public init(_ reserve: Int, common: Int = .max) {
      self.reserve = reserve
      self.common = common
    }
  }

  public var application = Share(0)
  public var remote = Share(0)
  public var minimum = Share(0)
  public var received = Share(0)
  public var requested = Share(0)
  public var engine = Share(0)
  /// Beside all reserves: for whoever comes first.
  public var common = 0
  /// Clients, each with a minimum of its own.
  public var clients = 0
  public init() {}

  /// In the order of `Budget`.
  var all: [Share] { [application, remote, minimum, received, requested, engine] }
  public var mebibytes: Int { all.reduce(common) { $0 + $1.reserve } }
}
