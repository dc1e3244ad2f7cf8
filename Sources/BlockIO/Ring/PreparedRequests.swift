// Requests that are prepared and not submitted: what tests look at to see order and durability without a disk that loses its cache.
import CURing

extension Ring {
  struct Prepared: Equatable {
    enum What: Equatable { case write, sync, other }
    var what: What
    /// The number of a registered file, or a descriptor.
    var file: Int32
    var offset: UInt64
    /// RWF_DSYNC of a write.
    var isDurable: Bool
    var tag: Tag
  }

  /// In order.
  var prepared: [Prepared] {
    let queue = ring.pointee.sq
    return (queue.sqe_head..<queue.sqe_tail).map { i in
      let entry = queue.sqes[Int(i & queue.kring_mask.pointee)]
      let what: Prepared.What =
        switch UInt32(entry.opcode) {
        case UInt32(IORING_OP_WRITE.rawValue), UInt32(IORING_OP_WRITE_FIXED.rawValue): .write
        case UInt32(IORING_OP_FSYNC.rawValue): .sync
        default: .other
        }
      return Prepared(
        what: what, file: entry.fd, offset: entry.off, isDurable: what == .write && entry.rw_flags & 2 != 0,
        tag: Tag(raw: entry.user_data))
    }
  }
}
