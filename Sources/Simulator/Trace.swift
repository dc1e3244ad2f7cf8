// What happened, in one line each and in DRBD's words. Built only while somebody reads.
import Base
import Engine
import Protocol

enum Trace {
  static func seconds(_ nanoseconds: UInt64) -> String {
    let micro = nanoseconds / 1000
    let fraction = String(micro % 1_000_000)
    return "\(micro / 1_000_000)." + String(repeating: "0", count: 6 - fraction.count) + fraction
  }

  static func range(_ range: BlockRange) -> String { "\(range.start.value)+\(range.count.value)" }

  static func stamp(_ stamp: Stamp) -> String {
    switch stamp {
    case Stamps.zero: "zeroes"
    case Stamps.discarded: "what a discard left"
    case Stamps.garbage: "memory that nobody has filled"
    case Stamps.original(0), Stamps.original(1): "what lay there before the first write"
    default: "sector \(Stamps.sector(of: stamp)) of write #\(Stamps.write(of: stamp))"
    }
  }

  static func fault(_ fault: DiskFault?) -> String { fault.map { "FAILED \($0.errno)" } ?? "ok" }

  static func work(_ id: WorkID) -> String { "\(id.kind).\(id.slot.index)" }

  static func event(_ event: borrowing Event) -> String {
    switch copy event {
    case .read(let ticket, let v, let range, _): "read \(place(v, range)) by \(ticket.raw & 0xffff_ffff)"
    case .write(let ticket, let v, let range, _, let fua):
      "write \(place(v, range))\(fua ? " FUA" : "") by \(ticket.raw & 0xffff_ffff)"
    case .discard(let ticket, let v, let range): "discard \(place(v, range)) by \(ticket.raw & 0xffff_ffff)"
    case .zero(let ticket, let v, let range, _): "zero \(place(v, range)) by \(ticket.raw & 0xffff_ffff)"
    case .flush(let ticket, let v): "flush volume \(v.value) by \(ticket.raw & 0xffff_ffff)"
    case .locate(let ticket, let v, let range): "locate \(place(v, range)) by \(ticket.raw & 0xffff_ffff)"
    case .diskOpened(let v, let facts): "disk \(v.value) opened, \(facts.dataBytes) bytes"
    case .diskRefused(let v, let number, _): "disk \(v.value) refused (\(number))"
    case .diskClosed(let v): "disk \(v.value) closed"
    case .diskMeasured(let v, let facts): "disk \(v.value) measured, \(facts.dataBytes) bytes"
    case .diskDone(let id, let fault): "disk done \(work(id)) \(self.fault(fault))"
    case .examined(let id, .fault(let fault)): "examined \(work(id)) \(self.fault(fault))"
    case .examined(let id, .unknown): "examined \(work(id)), no digest"
    case .examined(let id, .isZero(let zero)): "examined \(work(id)) \(zero ? "zeroes" : "data")"
    case .examined(let id, .digest(let digest)): "examined \(work(id)) digest \(digest.prefix(8))"
    case .metaDone(let id, let fault): "metadata done \(work(id)) \(self.fault(fault))"
    case .listenFailed(let why): "listen failed: \(why)"
    case .connected(let socket): "socket \(socket.raw) connected"
    case .connectFailed(let why): "connect failed: \(why)"
    case .accepted(let socket): "socket \(socket.raw) accepted"
    case .packet(let socket, let v, let packet, let payload):
      "socket \(socket.raw) received \(self.packet(packet)) volume \(v.value)\(payload.map { " payload \($0.page)" } ?? "")"
    case .violation(let socket, let violation): "socket \(socket.raw): \(violation)"
    case .socketClosed(let socket): "socket \(socket.raw) closed"
    case .sent(let id): "sent \(work(id))"
    case .signed(let id, _): "signed \(work(id))"
    case .challengeDrawn: "challenge drawn"
    case .handlerDone(let id, let exit): "handler \(work(id)) ended with \(exit)"
    case .command(let command, _): "command \(self.command(command))"
    case .usageChanged(let isOpen): isOpen ? "a volume is open" : "no volume is open"
    case .tick: "tick"
    }
  }

  private static func place(_ v: VolumeNumber, _ range: BlockRange) -> String {
    "volume \(v.value) \(self.range(range))"
  }

  static func effect(_ effect: borrowing Effect) -> String {
    switch copy effect {
    case .openDisk(let v): "open disk \(v.value)"
    case .closeDisk(let v): "close disk \(v.value)"
    case .measureDisk(let v): "measure disk \(v.value)"
    case .disk(let id, let v, let operation): "disk \(v.value) \(self.operation(operation)) \(work(id))"
    case .examine(let id, let v, let range, let what, let payload):
      "disk \(v.value) examine \(self.range(range)) \(what)\(payload.map { " payload \($0.page)" } ?? "") \(work(id))"
    case .metaRead(let id, let v, let offset, let bytes): "metadata \(v.value) read \(offset)+\(bytes) \(work(id))"
    case .metaWrite(let id, let v, let block, let offset, let barrier):
      "metadata \(v.value) write \(block) at \(offset)\(barrier == .nothing ? "" : " behind a barrier for \(barrier)") \(work(id))"
    case .listen: "listen"
    case .stopListening: "stop listening"
    case .connect: "connect"
    case .close(let socket, let afterSending): "close socket \(socket.raw)\(afterSending ? " after sending" : "")"
    case .configure(let socket, let stream): "socket \(socket.raw) is \(stream.socket.name) version \(stream.version)"
    case .send(let socket, let v, let packet, let payload, let notify):
      "send on \(socket.raw) \(self.packet(packet)) volume \(v.value)\(payload.map { " payload \($0.page)" } ?? "")"
        + (notify.map { " \(work($0))" } ?? "")
    case .drawChallenge: "draw a challenge"
    case .sign(let id, let algorithm, _): "sign with \(algorithm) \(work(id))"
    case .answer(let ticket, let fault): "answer \(ticket.raw & 0xffff_ffff) \(self.fault(fault))"
    case .copy(let from, let to): "copy payload \(from.page) to \(to.page)"
    case .giveBack(let payload): "give back payload \(payload.page)"
    case .metadataPlaced(let v, let bytes): "metadata \(v.value) at the end of \(bytes) bytes"
    case .locate(let ticket, let v, let range): "locate \(place(v, range)) for \(ticket.raw & 0xffff_ffff)"
    case .announced(let v, let traits):
      "volume \(v.value) has blocks of \(traits.blockBytes) bytes\(traits.offersDiscard ? " and discards" : "")"
    case .resized(let v, let size): "size of volume \(v.value) is \(size.value) sectors"
    case .handler(_, let handler, let v): "handler \(handler.rawValue) volume \(v.value)"
    case .reply(_, .done): "reply: done"
    case .reply(_, .remarked(let text)): "reply: done, \(text)"
    case .reply(_, .refused(let refusal)): "reply: \(refusal.what) (\(refusal.why))"
    case .log(_, let text): "log: \(text)"
    case .stateChanged: "state changed"
    }
  }

  static func operation(_ operation: DiskOperation) -> String {
    switch operation {
    case .read(let range, let payload): "read \(self.range(range)) payload \(payload.page)"
    case .write(let range, let payload, let fua):
      "write \(self.range(range)) payload \(payload.page)\(fua ? " FUA" : "")"
    case .discard(let range): "discard \(self.range(range))"
    case .zero(let range, _): "zero \(self.range(range))"
    case .flush: "flush"
    }
  }

  static func packet(_ packet: borrowing Packet) -> String {
    let packet = copy packet
    let name = packet.code(version: 101).row.name.description
    switch packet {
    case .data(let h), .dataReply(let h), .resyncReply(let h):
      return "\(name) sector \(h.sector) seq \(h.sequence) flags \(h.flags.rawValue)"
    case .trim(let h), .zeroes(let h):
      return "\(name) sector \(h.data.sector) size \(h.size) flags \(h.data.flags.rawValue)"
    case .writeAck(let a), .receiveAck(let a), .resyncWriteAck(let a), .negativeAck(let a), .negativeDataReply(let a),
      .negativeResyncReply(let a), .inSync(let a), .resyncCancel(let a):
      return "\(name) sector \(a.sector) size \(a.size) seq \(a.sequence)"
    case .dataRequest(let r), .resyncRequest(let r), .thinRequest(let r):
      return "\(name) sector \(r.sector) size \(r.size)"
    case .outOfSync(let d), .deallocated(let d): return "\(name) sector \(d.sector) size \(d.size)"
    case .barrier(let handle): return "\(name) \(handle)"
    case .barrierAck(let ack): return "\(name) \(ack.handle) set \(ack.setSize)"
    case .state(let s):
      return "\(name) \(s.role.name)/\(s.peer.name) \(s.connection?.name ?? "?") \(s.disk.name)/\(s.peerDisk.name)"
    case .uuids(let u):
      return "\(name) "
        + [u.current, u.bitmap, u.history0, u.history1].map { String($0, radix: 16) }.joined(separator: " ")
        + " dirty \(u.dirtyBits) flags \(u.flags.rawValue)"
    case .stateChangeRequest(let c), .connectionChangeRequest(let c):
      return "\(name) mask \(String(c.mask.word, radix: 16)) value \(String(c.value.word, radix: 16))"
    case .stateChangeReply(let r), .connectionChangeReply(let r): return "\(name) \(r)"
    case .bitmap(let b), .compressedBitmap(let b): return "\(name) \(b.count) bytes"
    case .syncUUID(let u): return "\(name) \(String(u, radix: 16))"
    case .sizes(let s): return "\(name) backing \(s.backing) user \(s.userLimit) current \(s.current)"
    default: return name
    }
  }

  static func command(_ command: Command) -> String {
    switch command {
    case .attach(let v): "attach \(v.value)"
    case .detach(let v, let force): "detach \(v.value)\(force ? " --force" : "")"
    case .connect(let discard, let tentative):
      "connect\(discard ? " --discard-my-data" : "")\(tentative ? " --tentative" : "")"
    case .announceOptions: "announce options"
    case .disconnect(let force): "disconnect\(force ? " --force" : "")"
    case .changeVolumes(let wanted, _): "volumes \(wanted.map { "\($0.number.value)" }.joined(separator: " "))"
    case .primary(let force): "primary\(force ? " --force" : "")"
    case .secondary: "secondary"
    case .invalidate(let v): "invalidate \(v.value)"
    case .invalidateRemote(let v): "invalidate-remote \(v.value)"
    case .outdate(let v): "outdate \(v.value)"
    case .newCurrentUUID(let v, let clear): "new-current-uuid \(v.value)\(clear ? " --clear-bitmap" : "")"
    case .pauseSync(let v): "pause-sync \(v.value)"
    case .resumeSync(let v): "resume-sync \(v.value)"
    case .verify(let v, let start, let stop):
      "verify \(v.value)\(start.map { " --start \($0.value)" } ?? "")\(stop.map { " --stop \($0.value)" } ?? "")"
    case .resize(let v, let limit, let clean, let hasSpace):
      "resize \(v.value)\(limit.map { " --size \($0.value)s" } ?? "")\(clean ? " --assume-clean" : "")"
        + (hasSpace ? " --assume-peer-has-space" : "")
    case .suspendIO: "suspend-io"
    case .resumeIO: "resume-io"
    case .down: "down"
    }
  }
}
