// A send that was interrupted before it moved a byte is made again; any other error ends the connection.
import Base
import Glibc
import Testing

@testable import BlockIO
@testable import Export
@testable import ReplDaemon

@Suite struct Interruptions {
  private func sockets() throws -> (Int32, Int32) {
    var pair: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
    return (pair[0], pair[1])
  }

  private func bytes(at descriptor: Int32) -> Int {
    var buffer = [UInt8](repeating: 0, count: 4096)
    return recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
  }

  @Test(arguments: [EINTR, EAGAIN, ECONNRESET]) func aSendToThePeer(error: Int32) throws {
    let (here, there) = try sockets()
    defer { close(there) }
    var ring = try Ring(entries: 16)
    let pool = try Pool(MemoryPlan.shares(local: 2, remote: 0))
    let socket = Socket(accepted: here)
    let file = RingFile(socket.descriptor)
    var peer = PeerSocket(id: .init(1), socket: socket, file: file, phase: .open, answerLimit: 1 << 20)
    peer.send(.initialData, VolumeNumber(0), nil, notify: nil, pool)
    peer.submit(pool, &ring)
    let isSending = peer.out.isSending
    #expect(isSending)
    // The kernel has not been told yet: this is what it says.
    peer.sent(Completion(tag: Tag(kind: Kind.peerSend, 1), result: -error, flags: 0))
    let (waits, isOpen) = (!peer.out.isSending && peer.out.count == 1, peer.phase == .open)
    #expect(waits)
    #expect(isOpen == (error != ECONNRESET))
    peer.submit(pool, &ring)
    let sendsAgain = peer.out.isSending
    #expect(sendsAgain == (error != ECONNRESET))
    ring.submit()
    if error != ECONNRESET { #expect(bytes(at: there) > 0) }
  }

  @Test(arguments: [EINTR, EAGAIN, ECONNRESET]) func aReplyToAClient(error: Int32) throws {
    let (here, there) = try sockets()
    defer { close(there) }
    var ring = try Ring(entries: 16)
    var pool = try Pool(MemoryPlan.shares(local: 2, remote: 0))
    let socket = Socket(accepted: here)
    let file = RingFile(socket.descriptor)
    let export = ClientExport(volume: VolumeNumber(0), name: "r0/0", size: 1 << 20)
    var client = ExportConnection(
      volume: VolumeNumber(0), address: nil, socket: socket, file: file, session: ClientSession(exports: [export]),
      patience: Instant(nanoseconds: .max))
    client.submit(0, pool, &ring)
    client.sent(Completion(tag: Tag(kind: Kind.clientSend, 0), result: -error, flags: 0), &pool)
    let isEnding = client.isEnding
    #expect(isEnding == (error == ECONNRESET))
    client.submit(0, pool, &ring)
    ring.submit()
    if error != ECONNRESET { #expect(bytes(at: there) > 0) }
  }
}
