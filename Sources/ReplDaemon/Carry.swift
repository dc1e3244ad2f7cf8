// From effects to submissions, one case each. What can be answered at once is put into the inbox and handled after.
import Base
import BlockIO
import Engine
import Glibc
import Protocol

extension Reactor {
  mutating func carry(_ effect: Effect) {
    switch effect {
    case .disk(let id, let volume, let operation): disks.perform(id, volume, operation, pool, &ring)
    case .examine(let id, let volume, let range, let what, let payload):
      disks.examine(id, volume, range, what, into: payload, &pool, &ring)
    case .send(let socket, let volume, let packet, let payload, let notify):
      send(socket, volume, packet, payload, notify)
    case .answer(let ticket, let fault):
      if let event = exports.answer(ticket, fault, &pool) { inbox.append(event) }
    case .giveBack(let payload): pool.release(payload)
    case .copy(let from, let to):
      precondition(from.bytes == to.bytes, "copy between payloads of different sizes")
      memcpy(pool.pointer(to: to), pool.pointer(to: from), Int(from.bytes))

    case .openDisk(let volume): inbox.append(disks.open(volume, &ring))
    case .closeDisk(let volume): disks.close(volume, &ring)
    case .measureDisk(let volume): inbox.append(.diskMeasured(volume, disks.measure(volume)))
    case .metaRead(let id, let volume, let offset, let bytes):
      disks.readMetadata(id, volume, offset: offset, bytes: bytes, &pool, &ring)
    case .metaWrite(let id, let volume, let what, let offset, let barrier):
      let block = disks.block()
      engine.render(what, of: volume, into: UnsafeMutableRawBufferPointer(start: block, count: 4096))
      disks.writeMetadata(id, volume, block, offset: offset, barrier: barrier, &ring)

    case .listen:
      let wasRefused = peers.listenRefusal != nil
      if let why = peers.listen(&ring) {
        inbox.append(.listenFailed(why: why))
      } else if wasRefused {
        journal.info("listening on \(peers.own) now")
      }
    case .stopListening: peers.stopListening(&ring)
    case .connect:
      if let fault = peers.connect(at: now, &ring) {
        say(fault)
        inbox.append(.connectFailed(why: fault.text))
      }
    case .close(let socket, let afterSending):
      guard let place = peers.place(of: socket) else { return }
      peers.sockets[place].close(afterSending: afterSending, until: now + .seconds(5))
      peers.wake(place)
    case .configure(let socket, let stream):
      guard let place = peers.place(of: socket) else { return }
      peers.sockets[place].configure(stream)
      peers.wake(place)
    case .sign(let id, let algorithm, let message): inbox.append(.signed(id, setup.sign(message, algorithm)))

    case .metadataPlaced(let number, let bytes): remember(bytes, number)
    case .locate(let ticket, let volume, let range): exports.answer(ticket, disks.allocation(volume, range))
    case .announced(let volume, let traits):
      exports.announce(volume, traits)
      stateMoved = true
    case .drawChallenge: inbox.append(.challengeDrawn(Entropy.bytes(64)))

    case .resized(let volume, let size):
      exports.resize(volume, size)
      stateMoved = true
    case .handler(let id, let handler, let volume): run(handler, volume, id)
    case .reply(let to, let outcome): control.replied(to, outcome)
    case .log(let level, let text): journal.log(level, text)
    case .stateChanged:
      stateMoved = true
      tellWatchers()
    }
  }

  /// For an `up` that finds the device larger: this node may not have been the one that was told to resize.
  private func remember(_ bytes: UInt64, _ number: VolumeNumber) {
    guard let volume = setup.hosted.volume(number), let path = volume.disk else { return }
    do throws(Errno) {
      try setup.sizeRecords.remember(bytes, minor: volume.minor, device: path)
    } catch {
      journal.warning(
        "the size of \(path) could not be recorded in \(setup.sizeRecords.directory) (\(error)): once it has grown, its "
          + "metadata are found by repladm check-resize --from \(bytes / 512)s")
    }
  }

  private mutating func send(
    _ socket: SocketID, _ volume: VolumeNumber, _ packet: Packet, _ payload: PayloadRef?, _ notify: WorkID?
  ) {
    guard let place = peers.place(of: socket) else {
      if let notify { inbox.append(.sent(notify)) }
      return
    }
    peers.sockets[place].send(packet, volume, payload, notify: notify, pool)
    // Nothing more goes out of a socket that is ending: the answer comes at once.
    if peers.sockets[place].phase == .ending { peers.wake(place) }
  }

  /// A line about a handler begins as the engine's lines do: with the volume, unless the handler is about all of them, and with the peer.
  var handlerLines: (EngineHandler, VolumeNumber, String) -> Void {
    let (journal, peer) = (journal, setup.hosted.peers.first?.name)
    return { handler, volume, text in
      journal.info(text, handler.isAboutEveryVolume ? nil : volume, peer: handler.isAboutThisNode ? nil : peer)
    }
  }

  private mutating func run(_ handler: EngineHandler, _ volume: VolumeNumber, _ id: WorkID) {
    // Who is told of an end is told how it came.
    let state = handler == .disconnected ? engine.lastLoss : engine.snapshot().connection
    tellWatchers(of: handler, volume, status: nil)
    let write = handlerLines
    if let exit = handlers.run(handler, volume, state, id, &ring, { write(handler, volume, $0) }) {
      tellWatchers(of: handler, volume, status: exit)
      inbox.append(.handlerDone(id, exit: exit))
    }
  }
}
