// What one client may have of the pool. Laws: a client never takes more than it leaves to the others of its side, so the
// last memory is never taken, however many clients do not read or stop in the middle of a payload; and one that holds
// nothing finds its minimum, whatever the others hold. A client that was given less than it asked for cuts its request.

import Base

extension Pool {
  /// 64 KiB for each client: enough to go on with, and with 64 clients not more than 4 MiB.
  public static let minimumPages = 16

  /// Memory for up to `bytes` (1 byte to 1 MiB) of a request of `client`; less than that when memory is short, unless
  /// `whole`. Nil: wait until something was released. `side`: `application` or `remote`.
  public mutating func grant(upTo bytes: Int, whole: Bool = false, to client: Int, of side: Budget) -> PayloadRef? {
    precondition(client >= 0 && client < clients, "a client without a minimum")
    precondition(bytes > 0 && bytes <= Pool.payloadLimit, "payload size out of range")
    let wanted = (bytes + Pool.pageBytes - 1) / Pool.pageBytes
    let own = Int(held[client])
    // As much again has to be left when it is taken.
    let most = max(0, pagesLeft(side) - own) / 2
    if most >= wanted, let payload = take(bytes, wanted, client, side) { return payload }
    if !whole, let payload = shorter(than: wanted, atMost: most, least: Pool.minimumPages, client, side) {
      return payload
    }
    // Who has more under way waits for that.
    let left = Pool.minimumPages - Int(heldOfMinimum[client])
    if wanted <= left, let payload = take(bytes, wanted, client, .minimum) { return payload }
    guard own == 0, left == Pool.minimumPages, !whole else { return nil }
    // The others hold all but so many pages at most: a page is free in any case.
    return shorter(than: min(wanted, left + 1), atMost: left, least: 1, client, .minimum)
  }

  /// Pages that a client holds, of its minimum too.
  public func pagesInUse(by client: Int) -> Int { Int(held[client] + heldOfMinimum[client]) }

  /// The longest run of a power of two pages below `wanted` that there is.
  private mutating func shorter(
    than wanted: Int, atMost most: Int, least: Int, _ client: Int, _ side: Budget
  ) -> PayloadRef? {
    let limit = min(wanted - 1, most)
    guard limit >= least else { return nil }
    var count = 1 << (Int.bitWidth - 1 - limit.leadingZeroBitCount)
    while count >= least {
      if let payload = take(count * Pool.pageBytes, count, client, side) { return payload }
      count >>= 1
    }
    return nil
  }

  private mutating func take(_ bytes: Int, _ count: Int, _ client: Int, _ side: Budget) -> PayloadRef? {
    guard let payload = allocate(bytes: bytes, budget: side) else { return nil }
    holder[Int(payload.page)] = UInt16(truncatingIfNeeded: client)
    if side == .minimum { heldOfMinimum[client] += Int32(count) } else { held[client] += Int32(count) }
    return payload
  }

  /// A granted run is released.
  mutating func forgetHolder(_ page: Int, _ count: Int, _ side: Int) {
    let client = Int(holder[page])
    holder[page] = Pool.noClient
    if side == Int(Budget.minimum.rawValue) {
      heldOfMinimum[client] -= Int32(count)
    } else {
      held[client] -= Int32(count)
    }
  }
}
