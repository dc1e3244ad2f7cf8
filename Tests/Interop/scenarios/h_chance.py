"""Deep queues, and long lives: random operations of a seed, with both nodes' failures among them."""

import os
import time

from lab.pair import CheckFailed, KiB, MiB, Options
from scenarios import scenario


@scenario("barriers: queue depth 1 and 64, with flushes in between", quick=False)
def depths(p):
    p.synced()
    p.first.primary()
    if p.first.kind == "kernel":
        for depth in (1, 64):
            p.first.fio(f"--name=w --filename=/dev/drbd0 --rw=randwrite --bs=4k --iodepth={depth} --ioengine=libaio "
                        f"--direct=1 --size=32m --io_size={'2m' if depth == 1 else '8m'} --fsync=32 --randseed=5 "
                        "--verify=crc32c --verify_state_save=0")
        p.forget_expected()
    else:
        for depth in (1, 64):
            for _ in range(6):
                p.write(p.first, p.some_extents(60 if depth == 1 else 200, largest=8 * KiB), depth=depth)
                p.first.flush()
    p.judge()


class Life:
    """One seeded life of a pair: what can be done next follows from where it is."""

    def __init__(self, p):
        self.p, self.random = p, p.random
        self.done = {}
        self.primary = None
        self.cut = False
        self.parted = False  # disconnected by the operator
        self.invalidated = None
        self.forgotten = 0   # invalidates that a kernel forgot

    def step(self):
        choices = [self.write, self.write, self.write, self.sync]
        if self.primary is None:
            choices += [self.promote] * 4
        else:
            choices += [self.demote, self.switch, self.switch]
        if self.cut:
            choices += [self.mend] * 4
        elif self.parted:
            choices += [self.rejoin] * 4
        else:
            choices += [self.unplug, self.part, self.crash_first, self.crash_second, self.discard, self.invalidate]
        choice = self.random.choice(choices)
        name = choice.__name__
        self.done[name] = self.done.get(name, 0) + 1
        try:
            choice()
        except Exception as error:
            raise CheckFailed(f"step {sum(self.done.values())} ({name}): {error}") from error

    def settle(self):
        if self.cut:
            self.mend()
        if self.parted:
            self.rejoin()
        self.p.settled(timeout=300)

    def node(self):
        return self.random.choice(self.p.nodes)

    def write(self):
        if self.primary:
            self.p.write(self.primary, self.p.some_extents(self.random.randrange(1, 12)), flush=self.random.random() < 0.3)

    def discard(self):
        if self.primary:
            offset = self.random.randrange(0, 40) * MiB
            if self.random.random() < 0.5:
                self.primary.discard(offset, MiB)
            else:
                self.primary.zero(offset, MiB)
            self.p.expect_zero(offset, MiB)

    def sync(self):
        if not self.cut and not self.parted:
            self.p.settled(timeout=300)
            self.p.compare()

    def promote(self):
        node = self.node()
        if self.cut or self.parted:
            return  # a split brain is another story
        self.p.settled(timeout=300)
        node.primary()
        self.primary = node

    def demote(self):
        self.primary.secondary()
        self.primary = None

    def switch(self):
        if self.cut or self.parted:
            return
        self.settle()
        other = self.p.other(self.primary)
        self.primary.secondary()
        other.primary()
        self.primary = other

    def unplug(self):
        self.p.cut()
        self.cut = True
        if self.random.random() < 0.7:
            for node in self.p.nodes:
                node.wait(timeout=90, connection="WFConnection")

    def mend(self):
        self.p.mend()
        self.cut = False
        self.wait_link()

    def part(self):
        node = self.node()
        node.disconnect()
        self.parted = node
        self.p.other(node).wait(connection="WFConnection")

    def rejoin(self):
        self.parted.connect()
        self.parted = False
        self.wait_link()

    def wait_link(self):
        self.p.linked(timeout=120)
        # A kernel that is lost between its invalidate and the first block comes back as if nothing had been said (K26).
        kernel = self.p.kernel
        state = kernel.state() if kernel.kind == "kernel" else None
        if state and state.out_of_sync and state.connection == "Connected" and state.disks == "UpToDate/UpToDate":
            self.p.check(self.invalidated is kernel, "blocks are out of sync, and nobody resyncs them")
            self.forgotten += 1
            kernel.adm("invalidate r0")

    def crash(self, node):
        other = self.p.other(node)
        load = self.p.load(node, tolerant=True) if node is self.primary and self.random.random() < 0.7 else None
        if load:
            load.wait(2)
        self.p.crash(node)
        if load:
            load.stop()
        other.wait(timeout=90, connection="WFConnection")
        if node is self.primary:
            self.primary = None
            if self.random.random() < 0.4 and other.state().disk == "UpToDate":
                other.primary()
                self.primary = other
                self.write()
        node.restart()
        node.up()
        self.wait_link()

    def crash_first(self):
        self.crash(self.p.first)

    def crash_second(self):
        self.crash(self.p.second)

    def invalidate(self):
        if self.random.random() < 0.3:
            self.settle()
            node = self.p.other(self.primary) if self.primary else self.node()
            self.invalidated = node
            node.adm("invalidate r0")


def live(p, seconds):
    p.any_connects = True
    p.allowed += [r"sock_(send|recv)msg", r"State change failed", r"mask = 0x", r"old_conn:", r"error receiving",
                  r"PingAck", r"ko =", r"short (read|sent)", r"read error"]
    p.synced(Options(disk="al-extents 7;"))
    life, end, steps = Life(p), time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            life.step()
            steps += 1
    finally:
        p.say(f"{steps} steps: {life.done}")
    life.settle()
    p.judge()
    return f"{steps} steps" + (f", {life.forgotten} invalidates that the kernel forgot" if life.forgotten else "")


@scenario("random operations of a seed, for ten minutes or REPL_INTEROP_CHANCE seconds", name="chance")
def chance(p):
    seconds = float(os.environ.get("REPL_INTEROP_CHANCE", "600"))
    return f"{live(p, seconds)} in {seconds:.0f} s, seed {p.seed}"
