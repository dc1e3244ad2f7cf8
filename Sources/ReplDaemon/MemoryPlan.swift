// What the pool is for: a sum with one line for each holder. Laws: each line is enough for its holder to go on, whatever the
// others hold; nobody who waits for a reader or writer (a client, or the peer) holds what that one needs. The numbers
// are explained in docs/limits.md.
import BlockIO

enum MemoryPlan {
  /// `local`, `remote`: places for clients of this machine, and for clients over TCP.
  static func shares(local: Int, remote: Int) -> Shares {
    var shares = Shares()
    shares.clients = local + remote
    // 64 KiB for each place, so that every client goes on beside others that do not read: 4 MiB with one volume.
    shares.minimum = .init((shares.clients * Pool.minimumPages + 255) / 256, common: 0)
    // Clients of this machine together. Each may hold as much as it leaves to the others, so it is never used up.
    shares.application = .init(8)
    // Clients over TCP: these, and no others, however much is free.
    shares.remote = .init(remote > 0 ? 6 : 0, common: 0)
    // Writes of the peer and its answers: eight of the longest. They wait for our disk only.
    shares.received = .init(8)
    // Answers that the peer has to read: six of the longest, and never so many that they fill the engine's table of the
    // peer's requests (2048 of one page, of 4096). What finds no memory here waits without any, and the socket is read on:
    // two nodes that are sources for each other cannot wait for each other's reading.
    shares.requested = .init(6, common: 2)
    // Bitmap pages and blocks that are compared.
    shares.engine = .init(4)
    // Whoever comes first: applications here, or writes of the peer there.
    shares.common = 18
    return shares
  }
}
