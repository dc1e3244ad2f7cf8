"""A small NBD client: fixed newstyle, simple replies, many requests under way. What it wrote is known to be answered or not."""

import os
import select
import socket
import struct
import time

READ, WRITE, DISCONNECT, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 2, 3, 4, 6
FUA, NO_HOLE = 1, 2


class NBDError(Exception):
    pass


class Client:
    def __init__(self, path, timeout=30):
        # A path longer than a socket takes is reached through its directory.
        directory = os.open(os.path.dirname(path), os.O_PATH)
        try:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
        finally:
            os.close(directory)
        self.next = 1
        hello = self.exactly(18)
        if hello[:16] != b"NBDMAGICIHAVEOPT":
            raise NBDError(f"no NBD server: {hello!r}")
        self.socket.sendall(struct.pack(">I", 3))
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">III", 7, 6, 0) + struct.pack(">H", 0))
        self.size = None
        while True:
            magic, option, kind, length = struct.unpack(">QIII", self.exactly(20))
            body = self.exactly(length)
            if kind & 0x80000000:
                raise NBDError(f"the export is refused: {body.decode(errors='replace')}")
            if kind == 3 and body[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", body[2:12])
            if kind == 1:
                break

    def exactly(self, count):
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                raise NBDError("the server closed the connection")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def head(self, command, offset, length, flags=0):
        handle = self.next
        self.next += 1
        return handle, struct.pack(">IHHQQI", 0x25609513, flags, command, handle, offset, length)

    def answer(self):
        magic, error, handle = struct.unpack(">IIQ", self.exactly(16))
        if magic != 0x67446698:
            raise NBDError(f"magic {magic:x} in a reply")
        return handle, error

    def one(self, command, offset, length, flags=0, data=b"", timeout=60):
        self.socket.settimeout(timeout)
        handle, head = self.head(command, offset, length, flags)
        self.socket.sendall(head + data)
        got, error = self.answer()
        if got != handle:
            raise NBDError(f"answer to {got} instead of {handle}")
        if error:
            raise NBDError(f"error {error} ({os.strerror(error)}) for command {command} at {offset}, {length} bytes")
        return self.exactly(length) if command == READ else b""

    def read(self, offset, length, timeout=60):
        return self.one(READ, offset, length, timeout=timeout)

    def write(self, offset, data, fua=False, timeout=60):
        self.one(WRITE, offset, len(data), FUA if fua else 0, data, timeout)

    def flush(self, timeout=60):
        self.one(FLUSH, 0, 0, timeout=timeout)

    def discard(self, offset, length):
        self.one(TRIM, offset, length)

    def zero(self, offset, length, no_hole=False):
        self.one(WRITE_ZEROES, offset, length, NO_HOLE if no_hole else 0)

    def write_all(self, writes, depth=16, timeout=120):
        """Writes (offset, data), `depth` of them under way at a time."""
        waiting, under_way, out = list(reversed(writes)), {}, b""
        deadline = time.monotonic() + timeout
        self.socket.settimeout(timeout)
        while waiting or under_way:
            while waiting and len(under_way) < depth and len(out) < 1 << 20:
                offset, data = waiting.pop()
                handle, head = self.head(WRITE, offset, len(data))
                under_way[handle] = offset
                out += head + data
            readable, writable, _ = select.select([self.socket], [self.socket] if out else [], [],
                                                  max(0, deadline - time.monotonic()))
            if readable:
                handle, error = self.answer()
                if error:
                    raise NBDError(f"error {error} ({os.strerror(error)}) for a write at {under_way.get(handle)}")
                del under_way[handle]
            elif writable:
                self.socket.setblocking(False)
                try:
                    out = out[self.socket.send(out):]
                except BlockingIOError:
                    pass
                self.socket.settimeout(timeout)
            else:
                raise NBDError(f"{len(under_way)} writes had no answer within {timeout} s")

    def close(self):
        try:
            _, head = self.head(DISCONNECT, 0, 0)
            self.socket.sendall(head)
        except OSError:
            pass
        self.socket.close()
