// Why a socket could not be made: one sentence with the way out.

import CURing
import Glibc

public enum SocketRefusal: Error, Equatable, Sendable {
  case notOnThisHost(SocketAddress, here: [String])
  case portInUse(SocketAddress, by: String?)
  case noPermission(where: String)
  /// Somebody answers on the unix socket.
  case pathInUse(String)
  case pathTooLong(String, limit: Int)
  /// A file that is no socket lies there.
  case pathTaken(String)
  case failed(where: String, doing: String, Errno)

  public var text: String {
    switch self {
    case .notOnThisHost(let address, let here):
      "\(address.hostText) is not an address of this host, which has \(here.joined(separator: ", ")): correct the "
        + "'address' line of this host's section or add the address to an interface"
    case .portInUse(let address, let by):
      "port \(address.port) on \(address.hostText) is in use\(by.map { " by \($0)" } ?? ""): stop that program or choose "
        + "another port in the 'address' line on both hosts"
    case .noPermission(let place):
      "\(place) may not be used by this user: run as root or choose another place"
    case .pathInUse(let path):
      "another process answers on \(path): stop it first"
    case .pathTooLong(let path, let limit):
      "\(path) is too long for a socket, which takes \(limit) bytes: choose a shorter run directory (REPL_RUN_DIR)"
    case .pathTaken(let path):
      "\(path) exists and is not a socket: move it away"
    case .failed(let place, _, Errno(ENOSPC)):
      "no space is left for \(place): make room there, or choose another run directory (REPL_RUN_DIR)"
    case .failed(let place, let doing, let error):
      "\(doing) on \(place) failed: \(error)"
    }
  }

  /// For a bind that failed.
  static func binding(_ address: SocketAddress, _ error: Errno, namesHolder: Bool) -> SocketRefusal {
    switch error.code {
    case EADDRNOTAVAIL: .notOnThisHost(address, here: LocalAddresses.all(address.family))
    case EADDRINUSE: .portInUse(address, by: namesHolder ? LocalAddresses.holder(of: address) : nil)
    case EACCES, EPERM: .noPermission(where: address.description)
    default: .failed(where: address.description, doing: "bind", error)
    }
  }
}

/// What this host has, for the sentences above.
enum LocalAddresses {
  static func all(_ family: Int32) -> [String] {
    var first: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&first) == 0 else { return [] }
    defer { freeifaddrs(first) }
    var found: [String] = []
    var entry = first
    while let this = entry {
      if let address = this.pointee.ifa_addr, Int32(address.pointee.sa_family) == family {
        var storage = sockaddr_storage()
        let size = family == AF_INET ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
        memcpy(&storage, address, size)
        if let text = SocketAddress(storage)?.hostText, !found.contains(text) { found.append(text) }
      }
      entry = this.pointee.ifa_next
    }
    return found.isEmpty ? ["none of that kind"] : found
  }

  /// The process that listens on this port.
  static func holder(of address: SocketAddress) -> String? {
    let table = address.family == AF_INET ? "/proc/net/tcp" : "/proc/net/tcp6"
    guard let text = KernelText.read(table) else { return nil }
    let port = String(address.port, radix: 16, uppercase: true)
    let ending = ":" + String(repeating: "0", count: 4 - port.count) + port
    for line in text.split(separator: "\n").dropFirst() {
      let words = line.split(separator: " ")
      // Local address, ..., state (0A is listening), ..., inode.
      guard words.count > 9, words[1].hasSuffix(ending), words[3] == "0A" else { continue }
      if let process = DeviceUse.holder(ofSocket: String(words[9])) { return KernelText.describe(process: process) }
    }
    return nil
  }
}
