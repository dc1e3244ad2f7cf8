"""Fencing: what a Primary may do that lost its peer, and what becomes of a peer that is left on purpose."""

import os
import shlex
import time
from contextlib import contextmanager

from lab.pair import MiB, Options
from scenarios import scenario

HELPER = "/sys/module/drbd/parameters/usermode_helper"
# It notes its call, waits until there is an answer, and gives it.
SCRIPT = """#!/bin/sh
[ "$1" = fence-peer ] || exit 0
echo "$DRBD_RESOURCE $DRBD_PEER $DRBD_PEERS" >>{place}.calls
while [ ! -e {place} ]; do sleep 0.1; done
exit $(cat {place})
"""
# Of level error in the kernel: a change that is refused (a Secondary asks first for a plain disconnect), a handler that
# fails or answers 7 to another policy, and a packet that was cut in the middle. repld says that I/O stays frozen.
REFUSED = [r"[Ss]tate change failed", r" state = \{", r"wanted = \{", r"mask = 0x", r"old_conn:\S+ wanted_conn:",
           r"fence-peer helper broken", r"fence-peer(\(\) =| ended with) 7", r"fence-peer helper returned|unexpected", r"error receiving Data",
           r"I/O stays frozen"]


class Fence:
    """The fence-peer handlers of both nodes: the kernel starts a script as its helper, repld runs what the file names."""

    def __init__(self, p):
        self.p, self.place = p, os.path.join(os.path.dirname(p.repl.disks[0]), "fence")
        self.clear()
        with open(self.place + ".sh", "w") as file:
            file.write(SCRIPT.format(place=self.place))

    @property
    def handlers(self):
        return f'fence-peer "sh {self.place}.sh fence-peer";'

    def install(self):
        """Once the machine runs, and after each start of it."""
        self.p.kernel.machine.run(f"cat >/usr/sbin/fence-helper && chmod 755 /usr/sbin/fence-helper && "
                                  f"printf /usr/sbin/fence-helper >{HELPER}; rm -f /run/fence*",
                                  stdin=SCRIPT.format(place="/run/fence"))

    def remove(self):
        self.p.kernel.machine.run(f"printf /bin/true >{HELPER}")

    def clear(self):
        for name in (self.place, self.place + ".calls"):
            if os.path.exists(name):
                os.remove(name)

    def answer(self, node, code):
        """What the handler says from now on; None: it waits."""
        if node.kind == "kernel":
            node.machine.run("rm -f /run/fence" if code is None else f"echo {code} >/run/fence.new; mv /run/fence.new /run/fence")
        elif code is None:
            if os.path.exists(self.place):
                os.remove(self.place)
        else:
            with open(self.place + ".new", "w") as file:
                file.write(f"{code}\n")
            os.replace(self.place + ".new", self.place)

    def calls(self, node):
        if node.kind == "kernel":
            return len(node.machine.run("cat /run/fence.calls 2>/dev/null; true").splitlines())
        try:
            with open(self.place + ".calls") as file:
                return len(file.readlines())
        except FileNotFoundError:
            return 0

    def called(self, node, count, timeout=60):
        deadline = time.monotonic() + timeout
        while self.calls(node) < count:
            self.p.check(time.monotonic() < deadline, f"{node.name} did not call its fence-peer handler")
            time.sleep(0.2)
        self.p.check(self.calls(node) == count, f"{node.name} called its handler {self.calls(node)} times")


@contextmanager
def fenced(p, policy):
    """Both nodes with this policy, connected and UpToDate, and the hands on their handlers."""
    fence = Fence(p)
    p.synced(Options(disk=f"fencing {policy};", handlers=fence.handlers))
    fence.install()
    p.allowed += REFUSED
    try:
        yield fence
    finally:
        if p.kernel.alive:
            fence.remove()


def refused(p, node, code):
    status, output, errors = node.adm("primary r0", check=False)
    p.check(status != 0, f"{node.name} became Primary")
    p.check(f"({code})" in output + errors, f"{node.name} refused with other words: {shlex.quote(output + errors)}")


def freeze(p, fence, load, calls):
    """Cuts the cable of a Primary under load: it asks its handler and answers nothing meanwhile. The writes answered so far."""
    p.cut()
    p.first.wait(connection="WFConnection", disks="UpToDate/DUnknown", test=lambda s: s.suspended)
    fence.called(p.first, calls)
    p.second.wait(connection="WFConnection", disks="UpToDate/DUnknown")
    count = load.count
    time.sleep(3)  # time enough for what must not happen
    p.check(load.count == count and p.first.state().suspended, "a write was answered, or I/O freed, before the handler's word")
    return count


@scenario("resource-and-stonith: I/O is frozen when the cable is cut, and the word of fence-peer (4, 5, 7) frees it")
def fencing_frozen(p):
    with fenced(p, "resource-and-stonith") as fence:
        p.first.primary()
        for number, code in enumerate((4, 5, 7)):
            fence.answer(p.first, None)
            load = p.load(p.first)
            load.wait(4)
            count = freeze(p, fence, load, calls=number + 1)
            fence.answer(p.first, code)
            p.first.wait(disks="UpToDate/Outdated", test=lambda s: not s.suspended)
            load.wait(count + 4)
            p.mend()
            p.connected()
            load.wait(load.count + 2)
            load.stop()
            p.judge()
        p.check(fence.calls(p.second) == 0, "a Secondary called its handler")


@scenario("resource-and-stonith: a handler that fails leaves I/O frozen until the peer is back, which has everything then")
def fencing_reunited(p):
    with fenced(p, "resource-and-stonith") as fence:
        p.first.primary()
        fence.answer(p.first, 1)
        load = p.load(p.first)
        load.wait(4)
        count = freeze(p, fence, load, calls=1)
        p.mend()
        p.connected()
        p.first.wait(test=lambda s: not s.suspended)
        load.wait(count + 4)
        load.stop()
        p.judge()
        p.check(fence.calls(p.first) == 1, "fenced again")


@scenario("resource-only: the Primary goes on while its handler runs")
def fencing_resource_only(p):
    with fenced(p, "resource-only") as fence:
        p.first.primary()
        load = p.load(p.first)
        load.wait(4)
        p.cut()
        p.first.wait(connection="WFConnection", disks="UpToDate/DUnknown", test=lambda s: not s.suspended)
        fence.called(p.first, 1)
        load.wait(load.count + 4)
        fence.answer(p.first, 4)
        p.first.wait(disks="UpToDate/Outdated")
        p.mend()
        p.connected()
        load.stop()
        p.judge()


@scenario("a Primary that disconnects outdates its peer, a Secondary that disconnects itself; no handler is called")
def fencing_disconnect(p):
    with fenced(p, "resource-and-stonith") as fence:
        p.first.primary()
        p.write(p.first, p.some_extents(8))
        for leaver, stayer in ((p.first, p.second), (p.second, p.first)):
            leaver.disconnect()
            leaver.wait(connection="StandAlone")
            stayer.wait(connection="WFConnection")
            p.first.wait(disks="UpToDate/Outdated", test=lambda s: not s.suspended)
            p.second.wait(disks="Outdated/DUnknown")
            p.write(p.first, p.some_extents(8), flush=True)
            refused(p, p.second, -2)
            leaver.connect()
            p.connected()
            p.settled()
        p.second.down()
        p.first.wait(connection="WFConnection", disks="UpToDate/Outdated")
        p.write(p.first, p.some_extents(8), flush=True)
        p.second.up()
        p.connected()
        p.judge()
        p.check(fence.calls(p.first) + fence.calls(p.second) == 0, "a handler was called")


@scenario("a promotion asks the handler: of an UpToDate disk without its peer, and of one that is Consistent after a start")
def fencing_promotion(p):
    with fenced(p, "resource-only") as fence:
        p.cut()
        for node in p.nodes:
            node.wait(connection="WFConnection")
        fence.answer(p.first, 1)
        refused(p, p.first, -7)
        fence.answer(p.first, 5)
        p.first.primary()
        p.first.wait(disks="UpToDate/Outdated", roles="Primary/Unknown")
        p.write(p.first, p.some_extents(8), flush=True)
        p.mend()
        p.connected()
        p.settled()
        p.first.secondary()
        for node in p.nodes:
            node.down()
        before = fence.calls(p.first)
        p.first.up()
        p.first.wait(disks="Consistent/DUnknown")
        refused(p, p.first, -2)
        p.check(fence.calls(p.first) > before, "the handler was not asked")  # the kernel asks up to four times
        fence.answer(p.first, 7)
        p.first.primary()
        p.first.wait(disks="UpToDate/Outdated", roles="Primary/Unknown")
        p.write(p.first, p.some_extents(8), flush=True)
        p.second.up()
        p.connected()
        p.judge()


@scenario("6, the peer is Primary: the node that asked is Outdated and is not promoted")
def fencing_peer_is_primary(p):
    with fenced(p, "resource-only") as fence:
        p.first.primary()
        fence.answer(p.first, 4)
        p.write(p.first, p.some_extents(8))
        p.cut()
        p.first.wait(connection="WFConnection", disks="UpToDate/Outdated")
        p.second.wait(connection="WFConnection")
        fence.answer(p.second, 6)
        status, _, _ = p.second.adm("primary r0", check=False)
        p.check(status != 0, "promoted beside a Primary")
        p.second.wait(disks="Outdated/DUnknown", roles="Secondary/Unknown")
        p.write(p.first, [(0, MiB, 0)], flush=True)
        p.mend()
        p.connected()
        p.judge()
