// The control socket of the server and those who are connected to it: one packet asks, one packet answers. Law: a caller that is
// silent, or sends what is no request, costs one of 16 places.
import BlockIO
import Control
import Glibc

struct Callers: ~Copyable {
  private let listener: PacketSocket
  private var calls: [Int32: Call] = [:]
  private var places: [Int32] = []

  /// A box: packet sockets cannot be copied into a dictionary.
  private final class Call {
    let socket: PacketSocket
    /// It asked for the role to be left alone while it is connected.
    var isHolding = false
    init(_ socket: consuming PacketSocket) { self.socket = socket }
  }

  private static let limit = 16

  init(_ listener: consuming PacketSocket) { self.listener = listener }

  /// A command is about to change the role.
  var isHeld: Bool { calls.values.contains { $0.isHolding } }

  mutating func append(to entries: inout [pollfd]) {
    entries.append(
      pollfd(fd: calls.count < Callers.limit ? listener.descriptor : -1, events: Int16(POLLIN), revents: 0))
    places = Array(calls.keys)
    for descriptor in places { entries.append(pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)) }
  }

  /// `entries`: those that `append` added, polled. `answering` is given the descriptor that came along, and says whether it keeps it.
  mutating func take(
    _ entries: ArraySlice<pollfd>, answering: (DeviceRequest, Int32?) -> (DeviceReply, used: Bool)
  ) {
    for (entry, descriptor) in zip(entries.dropFirst(), places) where entry.revents != 0 {
      guard let call = calls[descriptor] else { continue }
      do throws(Errno) {
        let (text, passed) = try call.socket.receive()
        if text.isEmpty {
          calls[descriptor] = nil
          continue
        }
        var reply = DeviceReply.refused("repl-device does not understand '\(text.prefix(80))'")
        var used = false
        if let request = DeviceRequest(text) {
          (reply, used) = answering(request, passed)
          if request == .hold { call.isHolding = true }
        }
        if let passed, !used { close(passed) }
        try call.socket.send(reply.text)
      } catch {
        if !error.isInterruption { calls[descriptor] = nil }
      }
    }
    if entries.first?.revents != 0, let caller = listener.accepted() {
      let descriptor = caller.descriptor
      calls[descriptor] = Call(caller)
    }
  }
}
