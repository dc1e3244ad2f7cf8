"""A disk changes hands between the kernel and repld: its metadata and its history go on."""

import os

from lab.pair import MiB, Options
from scenarios import scenario

SMALL_LOG = "al-extents 7;"


def swap(p):
    """Each node gets the other's disk. Both are down."""
    a, b = p.kernel.disks[0], p.repl.disks[0]
    with open(a, "rb") as one, open(b, "rb") as two:
        contents = one.read(), two.read()
    for path, data in ((b, contents[0]), (a, contents[1])):
        with open(path, "r+b") as file:
            file.write(data)
            os.fsync(file.fileno())
    if p.kernel.machine.running:
        p.kernel.machine.run("blockdev --flushbufs /dev/vda; echo 3 >/proc/sys/vm/drop_caches")


def after(p, most):
    """Both up again on exchanged disks: connected, with no more resync than `most` KiB."""
    before = len(p.kernel.resynced())
    for node in p.nodes:
        node.up()
    p.connected()
    p.settled()
    resynced = sum(p.kernel.resynced()[before:])
    p.check(resynced <= most, f"{resynced} KiB were resynced where {most} may be")
    p.judge()
    return resynced


@scenario("clean disks change hands, v08: no resync at all, and back", meta_format="v08", quick=True)
def handover_clean(p):
    p.synced(Options(disk=SMALL_LOG))
    p.first.primary()
    p.write(p.first, p.some_extents(20))
    p.first.secondary()
    for _ in range(2):
        for node in p.nodes:
            node.down()
        swap(p)
        after(p, 0)
        p.first.primary()
        p.write(p.first, p.some_extents(8))
        p.first.secondary()
    p.judge()


@scenario("the Primary's disk after a power cut is attached by the other: activity log only", meta_format="v08", quick=True)
def handover_crashed(p):
    p.synced(Options(disk=SMALL_LOG))
    p.first.primary()
    load = p.load(p.first, (8 * MiB, 16 * MiB), tolerant=True)
    load.wait(6)
    p.crash(p.first)
    load.stop()
    p.second.wait(connection="WFConnection")
    p.second.down()
    p.first.restart()
    swap(p)
    resynced = after(p, 3 * 4096)
    p.check(resynced > 0, "nothing was resynced after a crash")
    return f"{resynced} KiB resynced"


@scenario("a disk written while the other was away changes hands: bitmap only", meta_format="v08")
def handover_dirty(p):
    p.synced(Options(disk=SMALL_LOG))
    p.first.primary()
    p.second.down()
    p.first.wait(connection="WFConnection")
    p.write(p.first, p.some_extents(30))
    p.first.secondary()
    marked = p.first.state().out_of_sync
    p.first.down()
    swap(p)
    resynced = after(p, marked)
    p.check(resynced == marked, f"{resynced} KiB were resynced, {marked} were marked")
    return f"{resynced} KiB resynced"


@scenario("Debian's drbdmeta reads what repld left behind, clean and after a crash", directions=("repl",))
def drbdmeta_reads(p):
    import subprocess
    p.synced(Options(disk=SMALL_LOG))
    p.first.primary()
    p.write(p.first, p.some_extents(10))
    p.second.down()
    p.first.wait(connection="WFConnection")
    load = p.load(p.first, (8 * MiB, 16 * MiB), tolerant=True)
    load.wait(3)
    p.crash(p.first)
    load.stop()

    def drbdmeta(*words):
        done = subprocess.run(["drbdmeta", "--force", "0", "v09", p.repl.disks[0], "internal", *words],
                              capture_output=True, text=True)
        p.check(done.returncode == 0, f"drbdmeta {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout
    drbdmeta("apply-al")
    dump = drbdmeta("dump-md")
    p.check("bitmap[0]" in dump and "la-size-sect" in dump, "no metadata in drbdmeta's dump")
    for node in p.nodes:
        node.up()
    p.connected()
    p.settled()
    p.judge()
