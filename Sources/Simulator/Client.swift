// The application: it runs where the Primary is, reads, writes, flushes, and knows what it may expect to read. Laws:
// every request gets one answer; a read shows what a disk might show; what was answered is where it has to be.
import Base
import Engine

struct Request {
  enum Action: Equatable { case read, write(fua: Bool), discard, zero, flush }
  var isActive = false
  /// Tells a late answer from the right one.
  var generation: UInt32 = 0
  var action = Action.read
  var node = 0
  var volume = 0
  var start = 0
  var count = 0
  var payload: PayloadRef?
  /// Number of the write in its history; for a read or flush the moment it began.
  var number = 0
}

struct Client {
  let pattern: ClientPattern
  /// Where it runs; nil: nowhere.
  var node: Int?
  /// It submits nothing new.
  var isStopping = false
  var requests: [Request]
  var free: [Int]
  var underWay = 0
  /// A log flushes what it has written.
  var owesFlush = false
  /// Wake-ups in the schedule.
  var wakes = 0
  /// Requests answered, for the report.
  var answered = 0
  var failed = 0

  init(pattern: ClientPattern) {
    self.pattern = pattern
    requests = Array(repeating: Request(), count: 64)
    free = Array((0..<64).reversed())
  }

  var isIdle: Bool { underWay == 0 }
}

extension World {
  /// The application opens its devices on this node.
  func openClient(on n: Int) {
    client.node = n
    client.isStopping = false
    for history in histories { history.forgetDebt() }
    say(n, "the application starts")
    for _ in 0..<min(client.pattern.depth, 32) { wakeClient(after: random.below(client.pattern.thinkTime + 1)) }
  }

  /// It submits nothing new; what is under way goes on.
  func stopClient() {
    if client.node == nil || client.isStopping { return }
    client.isStopping = true
    say("the application stops")
  }

  /// The node is gone, and with it every answer.
  func killClient(on n: Int) {
    for i in client.requests.indices where client.requests[i].isActive && client.requests[i].node == n {
      let request = client.requests[i]
      switch request.action {
      case .write, .discard, .zero: histories[request.volume].abandon(request.number)
      case .read, .flush: break
      }
      finish(i)
    }
    if client.node == n {
      client.node = nil
      client.isStopping = false
      for history in histories { history.forgetDebt() }
    }
  }

  private func wakeClient(after delay: UInt64) {
    client.wakes += 1
    schedule.add(.client, at: now + delay)
  }

  func clientWakes() {
    client.wakes -= 1
    guard let n = client.node, !client.isStopping, nodes[n].isRunning else { return }
    if nodes[n].stalledUntil > now { return wakeClient(after: nodes[n].stalledUntil - now) }
    let pattern = client.pattern
    if client.wakes + client.underWay >= 2 * pattern.depth { return }
    if client.underWay >= pattern.depth || client.free.isEmpty || !submit(n) {
      wakeClient(after: 1_000_000 + random.below(10_000_000))
    }
  }

  // MARK: requests

  private func submit(_ n: Int) -> Bool {
    let v = histories.count == 1 ? 0 : Int(random.below(UInt64(histories.count)))
    var size = Int(nodes[n].engine.exportedSize(nodes[n].settings.volumes[v].number).value)
    // The application stays where the volume was at first; what grows is looked at by itself.
    if mayGrow(v) { size = min(size, histories[v].sectors) }
    if size < 16 || histories[v].isFull { return false }
    if size > histories[v].sectors {
      breakLaw("\(name(n)) exports \(size) sectors, which the smaller disk does not have")
      return false
    }
    let pattern = client.pattern
    let unit = Int(nodes[n].traits[v].blockBytes) / 512
    let dice = random.below(1000)
    if dice < pattern.flushes || client.owesFlush {
      client.owesFlush = false
      issue(Request(action: .flush, node: n, volume: v, number: Int(histories[v].moment())))
      return true
    }
    let action = drawAction(dice)
    let (start, count) = drawRange(size, unit, action)
    if !pattern.overlaps, isBusy(v, start, count) { return false }
    issue(Request(action: action, node: n, volume: v, start: start, count: count))
    client.owesFlush = pattern.isLog && action == .write(fua: false)
    return true
  }

  private func drawAction(_ dice: UInt64) -> Request.Action {
    let pattern = client.pattern
    var edge = pattern.flushes + pattern.reads
    if dice < edge { return .read }
    edge += pattern.fua
    if dice < edge { return .write(fua: true) }
    edge += pattern.discards
    if dice < edge { return .discard }
    edge += pattern.zeroes
    return dice < edge ? .zero : .write(fua: false)
  }

  private func drawRange(_ size: Int, _ unit: Int, _ action: Request.Action) -> (Int, Int) {
    let pattern = client.pattern
    var count = 8
    var align = 8
    let dice = random.below(1000)
    if dice < pattern.large {
      count = 8 << Int(random.below(9))
      if action == .discard || action == .zero, random.oneIn(4) { count *= 4 }
      count -= random.oneIn(3) ? Int(random.below(UInt64(min(count, 64)))) : 0
    } else if dice < pattern.large + pattern.small {
      count = 1 + Int(random.below(24))
      align = 1
    }
    align = max(align, unit)
    count = max(unit, count / unit * unit)
    count = min(count, size / unit * unit)
    if action != .discard && action != .zero { count = min(count, 2048) }
    let extents = UInt64((size + 8191) / 8192)
    let hot = min(pattern.hotExtents, extents)
    // Hot extents lie scattered over the volume.
    let extent = random.oneIn(20) ? random.below(extents) : random.below(hot) * 37 % extents
    var offset = Int(random.below(8192))
    // Around the middle of an extent, or around its end.
    if pattern.spread < 8192, !random.oneIn(50) {
      offset = Int(random.below(pattern.spread)) + (pattern.straddles ? 8192 - Int(pattern.spread) / 2 : 4096)
    }
    var start = Int(extent) * 8192 + offset / align * align
    if random.oneIn(100) { start = size - count }
    start = min(start, size - count) / unit * unit
    return (start, count)
  }

  private func isBusy(_ v: Int, _ start: Int, _ count: Int) -> Bool {
    if client.underWay == 0 { return false }
    for request in client.requests
    where request.isActive && request.volume == v && request.start < start + count
      && start < request.start + request.count
    {
      return true
    }
    return false
  }

  private func issue(_ new: Request) {
    var request = new
    let i = client.free.removeLast()
    request.isActive = true
    request.generation = client.requests[i].generation &+ 1
    let n = request.node
    let history = histories[request.volume]
    let volume = nodes[n].settings.volumes[request.volume].number
    let range = BlockRange(Sector(UInt64(request.start)), SectorCount(UInt64(request.count)))
    let ticket = Ticket(UInt64(request.generation) << 32 | UInt64(i))
    client.underWay += 1
    let event: Event
    switch request.action {
    case .flush: event = .flush(ticket, volume)
    case .read:
      let payload = pool.take(UInt32(request.count * 512), for: .client)
      request.payload = payload
      request.number = Int(history.moment())
      event = .read(ticket, volume, range, payload)
    case .write(let fua):
      request.number = history.begin(.data, request.start, request.count)
      let payload = pool.take(UInt32(request.count * 512), for: .engine(n))
      let stamps = pool[payload]
      for s in 0..<request.count { stamps[s] = Stamps.of(write: request.number, sector: s) }
      event = .write(ticket, volume, range, payload, fua: fua)
    case .discard:
      request.number = history.begin(.discard, request.start, request.count)
      event = .discard(ticket, volume, range)
    case .zero:
      request.number = history.begin(.zero, request.start, request.count)
      event = .zero(ticket, volume, range, mayUnmap: random.oneIn(2))
    }
    client.requests[i] = request
    feed(n, event)
  }

  private func finish(_ i: Int) {
    if let payload = client.requests[i].payload { pool.giveBack(payload) }
    client.requests[i].payload = nil
    client.requests[i].isActive = false
    client.free.append(i)
    client.underWay -= 1
  }

  // MARK: answers

  func clientAnswered(_ n: Int, _ ticket: Ticket, _ fault: DiskFault?) {
    let i = Int(truncatingIfNeeded: ticket.raw & 0xffff_ffff)
    guard i < client.requests.count, client.requests[i].isActive, client.requests[i].node == n,
      UInt64(client.requests[i].generation) == ticket.raw >> 32
    else {
      return breakLaw("\(name(n)) answers a request that does not wait for an answer")
    }
    let request = client.requests[i]
    note(ticket.raw)
    if circumstances.rude == n { giveUp(request) } else if fault == nil { judge(request) } else { giveUp(request) }
    finish(i)
    client.answered += 1
    if client.node == n, !client.isStopping {
      let pattern = client.pattern
      // A life is short: what is to be seen while nothing goes wrong, or nothing can be had, is soon seen.
      if era >= .second, keeper.isHealing { return wakeClient(after: random.below(400_000_000)) }
      if era >= .second, fault != nil { return wakeClient(after: random.below(40_000_000)) }
      wakeClient(
        after: random.oneIn(pattern.restOneIn) ? random.below(pattern.rest) : random.below(pattern.thinkTime + 1))
    }
  }

  private func giveUp(_ request: Request) {
    client.failed += 1
    switch request.action {
    case .write, .discard, .zero: histories[request.volume].abandon(request.number)
    case .flush: histories[request.volume].flushFailed(UInt32(request.number))
    case .read: break
    }
  }

  private func judge(_ request: Request) {
    let history = histories[request.volume]
    switch request.action {
    case .flush:
      if history.owesFailure != 0, UInt32(request.number) > history.owesFailure {
        return breakLaw(
          "\(name(request.node)) answers a flush of volume \(request.volume), though what was written before it may be gone"
        )
      }
      flushWasAnswered(request, covering: history.flushed(UInt32(request.number)))
    case .read:
      let stamps = pool[request.payload!]
      let began = UInt32(request.number)
      for s in 0..<request.count where !history.allowed(stamps[s], at: request.start + s, since: began) {
        return breakLaw(
          "a read shows what cannot be: \(name(request.node)) volume \(request.volume) sector \(request.start + s) shows"
            + " \(Trace.stamp(stamps[s])); it was \(history.explain(request.start + s))")
      }
    case .write(let fua):
      history.answer(request.number, durable: fua)
      checkFrozen(request)
      checkGeneration(request)
      writeWasAnswered(request, durable: fua)
    case .discard, .zero:
      history.answer(request.number, durable: false)
      checkFrozen(request)
      checkGeneration(request)
      writeWasAnswered(request, durable: false)
    }
  }
}
