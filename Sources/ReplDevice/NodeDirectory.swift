// The directory of nodes: one block-special file for each volume, which stands for a number that opens nothing until the volume has its
// device. The kernel may not remember an answer, so that it asks before each use. Law: an inode stands for one number for ever.
import Base
import BlockIO
import CFuse
import Control
import Glibc

struct DeviceNumber: Equatable {
  let major: UInt32
  let minor: UInt32

  /// DRBD's.
  static func inert(_ minor: UInt32) -> DeviceNumber { DeviceNumber(major: 147, minor: minor) }
}

final class NodeDirectory {
  struct Node {
    let volume: VolumeNumber
    let name: String
    let inert: DeviceNumber
    /// Of the volume's device.
    fileprivate(set) var bound: DeviceNumber?
    fileprivate(set) var inode: UInt64
  }

  private(set) var nodes: [Node] = []
  /// Inodes that the kernel knows, and how often it was told of them.
  private var known: [UInt64: (number: DeviceNumber, lookups: UInt64)] = [:]
  private var inodes: UInt64 = 1
  let owner: uid_t
  let group: gid_t

  private static let root: UInt64 = 1

  init() {
    // Whoever may use the other disks may use this one.
    var other = stat()
    let isThere = stat("/dev/loop0", &other) == 0
    owner = isThere ? other.st_uid : 0
    group = isThere ? other.st_gid : 0
  }

  // MARK: What repladm asks

  /// False: another volume has the name.
  func add(_ volume: VolumeNumber, minor: UInt32, name: String) -> Bool {
    if let at = nodes.firstIndex(where: { $0.volume == volume }) {
      if nodes[at].name == name, nodes[at].inert == .inert(minor) { return true }
      nodes.remove(at: at)
    }
    guard !nodes.contains(where: { $0.name == name }) else { return false }
    inodes += 1
    nodes.append(Node(volume: volume, name: name, inert: .inert(minor), bound: nil, inode: inodes))
    return true
  }

  func remove(_ volume: VolumeNumber) { nodes.removeAll { $0.volume == volume } }

  /// Nil: the device is gone.
  func bind(_ volume: VolumeNumber, to number: DeviceNumber?) {
    guard let at = nodes.firstIndex(where: { $0.volume == volume }), nodes[at].bound != number else { return }
    inodes += 1
    nodes[at].inode = inodes
    nodes[at].bound = number
  }

  func node(named name: String) -> Node? { nodes.first { $0.name == name } }
  var bound: [DeviceNumber] { nodes.compactMap(\.bound) }

  // MARK: The kernel's calls

  func isRoot(_ inode: UInt64) -> Bool { inode == NodeDirectory.root }

  /// Answers a lookup with what the node is now.
  func show(_ node: Node, to call: OpaquePointer) {
    let number = node.bound ?? node.inert
    var entry = fuse_entry_param()
    entry.ino = node.inode
    entry.generation = node.inode
    entry.attr = facts(node.inode, number)
    // Who asked may have gone; the kernel forgets such an answer by itself.
    guard fuse_reply_entry(call, &entry) == 0 else { return }
    known[node.inode, default: (number, 0)].lookups += 1
  }

  func tell(_ call: OpaquePointer, about inode: UInt64) {
    var facts: stat
    if inode == NodeDirectory.root {
      facts = stat()
      facts.st_ino = ino_t(inode)
      facts.st_mode = S_IFDIR | 0o755
      facts.st_nlink = 2
    } else if let known = known[inode] {
      facts = self.facts(inode, known.number)
    } else {
      fuse_reply_err(call, ESTALE)
      return
    }
    fuse_reply_attr(call, &facts, 0)
  }

  func list(_ call: OpaquePointer, _ inode: UInt64, bytes: Int, from offset: Int) {
    let names = nodes.map { ($0.name, $0.inode) }
    listing(call, names, kind: S_IFBLK, bytes: bytes, from: offset)
  }

  func forget(_ inode: UInt64, _ lookups: UInt64) {
    guard let known = known[inode] else { return }
    self.known[inode] = known.lookups > lookups ? (known.number, known.lookups - lookups) : nil
  }

  private func facts(_ inode: UInt64, _ number: DeviceNumber) -> stat {
    var facts = stat()
    facts.st_ino = ino_t(inode)
    facts.st_mode = S_IFBLK | 0o660
    facts.st_nlink = 1
    facts.st_uid = owner
    facts.st_gid = group
    facts.st_rdev = dev_t(NumberedDevice.number(number.major, number.minor))
    return facts
  }
}
