#!/usr/bin/env python3
"""Stands between the two nodes and meddles with their packets, by rules in a file that is read again when it changes.

    proxy.py RULES

    max-version N [FLAGS]              announce at most N as highest version, and only these feature flags, to both
    delay NODE CODE SECONDS            hold a packet of this code from this node, and what follows on its socket
    cut NODE CODE [after CODE]         end all connections instead of delivering the packet, once; with `after` only when
                                       that other packet has passed in either direction
    drop NODE CODE                     swallow it, once
    corrupt NODE CODE                  deliver it with its last byte changed, once
    watch NODE FLAGS                   log each write (P_DATA) with one of these flags
"""

import os
import socket
import struct
import sys
import threading
import time

PORT = 7789
# For each node: where it really is, and the address that stands for it with the other one.
NODES = {"kernel": ("10.77.0.1", "10.77.0.11"), "repl": ("10.77.0.254", "10.77.0.12")}
OTHER = {"kernel": "repl", "repl": "kernel"}


class Rules:
    def __init__(self, path):
        self.path, self.lock, self.stamp, self.rules, self.seen, self.live = path, threading.Lock(), None, [], set(), []

    def log(self, text):
        print(f"{time.time():.3f} {text}", flush=True)

    def reload(self):
        now = os.stat(self.path).st_mtime_ns
        if now != self.stamp:
            self.stamp, self.seen = now, set()
            with open(self.path) as file:
                self.rules = [line.split() for line in file if line.strip()]

    def cut(self):
        for one in list(self.live):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def verdict(self, node, code, body):
        """The body to deliver, or None."""
        wait = 0
        with self.lock:
            self.reload()
            for rule in list(self.rules):
                if rule[0] == "max-version":
                    if code == 0xfffe:
                        low, flags, high = struct.unpack(">III", body[:12])
                        flags &= int(rule[2], 0) if len(rule) > 2 else flags
                        body = struct.pack(">III", low, flags, min(high, int(rule[1]))) + body[12:]
                elif rule[0] == "watch":
                    if rule[1] == node and code == 0 and struct.unpack(">I", body[20:24])[0] & int(rule[2], 0):
                        self.log(f"watch: a write of {node} with flags 0x{struct.unpack('>I', body[20:24])[0]:x}")
                elif rule[1] == node and int(rule[2], 0) == code:
                    if rule[0] == "delay":
                        wait = float(rule[3])
                    elif len(rule) < 5 or int(rule[4], 0) in self.seen:
                        self.rules.remove(rule)
                        self.log(f"{rule[0]}: 0x{code:x} of {node}")
                        if rule[0] == "corrupt":
                            body = body[:-1] + bytes([body[-1] ^ 0x40])
                            break
                        if rule[0] == "cut":
                            self.cut()
                        return None
            self.seen.add(code)
        if wait:
            self.log(f"delay: 0x{code:x} of {node}, {wait} s")
            time.sleep(wait)
        return body


def pump(rules, node, source, target):
    rest = b""
    try:
        while True:
            def need(count):
                nonlocal rest
                while len(rest) < count:
                    chunk = source.recv(65536)
                    if not chunk:
                        raise EOFError
                    rest += chunk
            need(8)
            if rest[:4] == b"\x83\x74\x02\x67":
                size, (code, length) = 8, struct.unpack(">HH", rest[4:8])
            elif rest[:2] == b"\x83\x5a":
                size, (code, length) = 8, struct.unpack(">HI", rest[2:8])
            else:
                need(16)
                size, (code, length) = 16, struct.unpack(">HI", rest[6:12])
            need(size + length)
            head, body, rest = rest[:size], rest[size:size + length], rest[size + length:]
            body = rules.verdict(node, code, body)
            if body is not None:
                target.sendall(head + body)
    except (EOFError, OSError):
        pass
    for one in (source, target):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if one in rules.live:
            rules.live.remove(one)


def serve(rules, node):
    """Accepts what `node` sends to the other one's name."""
    other = OTHER[node]
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((NODES[other][1], PORT))
    listener.listen(5)
    while True:
        near, _ = listener.accept()
        far = socket.socket()
        far.bind((NODES[node][1], 0))
        far.settimeout(1)
        try:
            far.connect((NODES[other][0], PORT))
        except OSError:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            near.close()
            far.close()
            time.sleep(0.2)
            continue
        far.settimeout(None)
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            rules.live.append(one)
        threading.Thread(target=pump, args=(rules, node, near, far), daemon=True).start()
        threading.Thread(target=pump, args=(rules, other, far, near), daemon=True).start()


if __name__ == "__main__":
    shared = Rules(sys.argv[1])
    threads = [threading.Thread(target=serve, args=(shared, node), daemon=True) for node in NODES]
    for thread in threads:
        thread.start()
    shared.log("ready")
    for thread in threads:
        thread.join()
