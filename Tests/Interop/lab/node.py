"""What both kinds of node have in common: disks, states, and waiting."""

import os
import time

MiB = 1 << 20
KiB = 1 << 10


class StateNotReached(Exception):
    pass


class Node:
    """A node of the resource `r0`. `disks` are files of this host, also where a machine has them as its disks."""

    name = None
    address = None
    tool = None

    def __init__(self, disks):
        self.disks = disks

    # Of the kinds: adm, backing (the disk's name in the configuration), prepare, states, write, discard, zero, flush, digest, read, crash, restart, log, complaints.

    def state(self, volume=0):
        return self.states().get(volume)

    def wait(self, timeout=60, volume=0, test=None, **wanted):
        """Until the state fits (`connection`, `disks`, `roles`, `out_of_sync`), and `test(state)` holds."""
        deadline, last = time.monotonic() + timeout, None
        while True:
            last = self.state(volume)
            if last and last.fits(**wanted) and (test is None or test(last)):
                return last
            if time.monotonic() > deadline:
                raise StateNotReached(f"{self.name}: not {wanted} within {timeout} s but {last}")
            time.sleep(0.2)

    def blank_disks(self):
        for path in self.disks:
            size = os.path.getsize(path)
            os.truncate(path, 0)
            os.truncate(path, size)

    def create_md(self):
        self.adm("create-md --force r0")

    def up(self):
        self.adm("up r0")

    def down(self):
        self.adm("down r0")

    def primary(self, force=False):
        self.adm("primary --force r0" if force else "primary r0")

    def secondary(self):
        self.adm("secondary r0")

    def connect(self, discard=False):
        self.adm("connect --discard-my-data r0" if discard else "connect r0")

    def disconnect(self):
        self.adm("disconnect r0")
