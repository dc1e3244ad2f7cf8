// The requests, one function each. Memory named by a request belongs to the kernel until its completion; a `Message` and
// its parts until the completion too. Disk requests come from DiskOperations, which also continues short transfers.

import Base
import CURing
import Glibc

extension Ring {
  @inline(__always)
  private func finish(_ entry: UnsafeMutablePointer<io_uring_sqe>, _ file: RingFile, _ tag: Tag) {
    if file.isRegistered { entry.pointee.flags |= UInt8(truncatingIfNeeded: CU_FIXED_FILE) }
    entry.pointee.user_data = tag.raw
  }
  @inline(__always) private func number(_ file: RingFile) -> Int32 { file.isRegistered ? file.slot : file.descriptor }

  // MARK: Files

  public mutating func read(
    _ file: RingFile, into pointer: UnsafeMutableRawPointer, count: Int, at offset: UInt64, tag: Tag
  ) {
    let entry = entry()
    let length = UInt32(count)
    if let buffer = fixedBuffer(pointer) {
      io_uring_prep_read_fixed(entry, number(file), pointer, length, offset, buffer)
    } else {
      io_uring_prep_read(entry, number(file), pointer, length, offset)
    }
    finish(entry, file, tag)
  }

  /// `durable`: completes only when the bytes are on stable storage (RWF_DSYNC).
  public mutating func write(
    _ file: RingFile, from pointer: UnsafeRawPointer, count: Int, at offset: UInt64, durable: Bool = false, tag: Tag
  ) {
    let entry = entry()
    let length = UInt32(count)
    if let buffer = fixedBuffer(pointer) {
      io_uring_prep_write_fixed(entry, number(file), pointer, length, offset, buffer)
    } else {
      io_uring_prep_write(entry, number(file), pointer, length, offset)
    }
    if durable { entry.pointee.rw_flags = Int32(CU_RWF_DSYNC) }
    finish(entry, file, tag)
  }

  /// Everything written before its submission and completed is on stable storage when it completes.
  public mutating func dataSync(_ file: RingFile, tag: Tag) {
    let entry = entry()
    io_uring_prep_fsync(entry, number(file), UInt32(IORING_FSYNC_DATASYNC))
    finish(entry, file, tag)
  }

  mutating func allocate(_ file: RingFile, mode: Int32, at offset: UInt64, bytes: UInt64, tag: Tag) {
    let entry = entry()
    io_uring_prep_fallocate(entry, number(file), mode, __off_t(offset), __off_t(bytes))
    finish(entry, file, tag)
  }

  // MARK: Sockets

  /// One connection; the result is its descriptor.
  public mutating func accept(_ listener: borrowing Listener, tag: Tag) {
    let entry = entry()
    io_uring_prep_accept(entry, listener.descriptor, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
    entry.pointee.user_data = tag.raw
  }

  public mutating func connect(_ socket: borrowing Socket, to address: SocketAddress, tag: Tag) {
    if addressesUsed == Ring.addressCount { submit() }
    let entry = entry()
    let storage = addresses + addressesUsed
    addressesUsed += 1
    let length = address.store(in: &storage.pointee)
    storage.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      io_uring_prep_connect(entry, socket.descriptor, $0, length)
    }
    entry.pointee.user_data = tag.raw
  }

  /// At least one byte; 0 means the other side has closed.
  public mutating func receive(_ file: RingFile, into pointer: UnsafeMutableRawPointer, count: Int, tag: Tag) {
    let entry = entry()
    io_uring_prep_recv(entry, number(file), pointer, count, 0)
    finish(entry, file, tag)
  }

  /// Into several places, one after the other; may stop short at any byte.
  public mutating func receive(_ file: RingFile, into message: borrowing Message, tag: Tag) {
    let entry = entry()
    io_uring_prep_recvmsg(entry, number(file), message.prepared(), 0)
    finish(entry, file, tag)
  }

  public mutating func send(_ file: RingFile, from pointer: UnsafeRawPointer, count: Int, tag: Tag) {
    let entry = entry()
    io_uring_prep_send(entry, number(file), pointer, count, Int32(MSG_WAITALL) | Int32(MSG_NOSIGNAL))
    finish(entry, file, tag)
  }

  /// From several places; the kernel tries to send all before it completes.
  public mutating func send(_ file: RingFile, from message: borrowing Message, tag: Tag) {
    let entry = entry()
    io_uring_prep_sendmsg(
      entry, number(file), message.prepared(), UInt32(MSG_WAITALL) | UInt32(MSG_NOSIGNAL))
    finish(entry, file, tag)
  }

  // MARK: Anything

  /// Plain read of a descriptor without position: signals, pipes, event counters.
  public mutating func read(
    stream file: RingFile, into pointer: UnsafeMutableRawPointer, count: Int, tag: Tag
  ) {
    read(file, into: pointer, count: count, at: .max, tag: tag)
  }

  /// Completes once when `descriptor` is readable, has hung up or failed.
  public mutating func pollReadable(_ descriptor: Int32, tag: Tag) {
    let entry = entry()
    io_uring_prep_poll_add(entry, descriptor, UInt32(POLLIN))
    entry.pointee.user_data = tag.raw
  }

  /// Completes once when the other side of a socket has closed or shut down its half, or this side was shut down; bytes
  /// that have not been received do not matter.
  public mutating func pollHangUp(_ descriptor: Int32, tag: Tag) {
    let entry = entry()
    io_uring_prep_poll_add(entry, descriptor, UInt32(CU_POLL_HANG_UP))
    entry.pointee.user_data = tag.raw
  }

  /// Ends the request with this tag early; it completes with ECANCELED unless it was done already. The cancellation
  /// completes itself, with `own`.
  public mutating func cancel(_ tag: Tag, own: Tag) {
    let entry = entry()
    io_uring_prep_cancel64(entry, tag.raw, 0)
    entry.pointee.user_data = own.raw
  }

  public mutating func nop(tag: Tag) {
    let entry = entry()
    io_uring_prep_nop(entry)
    entry.pointee.user_data = tag.raw
  }
}
