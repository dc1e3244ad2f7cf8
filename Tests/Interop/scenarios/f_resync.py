"""Resynchronisation: beside the application, paused, ordered by the operator, by checksums; disks that come and go."""

import os
import threading
import time

from lab.machine import CommandFailed
from lab.pair import KiB, MiB, Options, digest
from scenarios import scenario

# The kernel as the target would make room for the application, down to a quarter of a MiB each second.
SLOW = "resync-rate 6M; c-min-rate 0;"


CHECKSUM_REQUEST = 0x21


def full_sync_begun(p, options=None):
    p.bring_up(options or Options(disk=SLOW))
    p.expect_blank()
    p.first.primary(force=True)
    p.first.wait(connection="SyncSource")


@scenario("the application writes on the source during a resync", quick=True)
def write_on_source(p):
    full_sync_begun(p)
    load = p.load(p.first)
    p.first.wait(test=lambda s: s.connection == "Connected", timeout=120)
    load.stop()
    p.judge()
    return f"{load.count} batches"


@scenario("the application reads and writes on the target during a resync")
def write_on_target(p):
    p.synced(Options(disk=SLOW))
    p.first.primary()
    p.first.adm("detach r0")
    p.first.wait(disks="Diskless/UpToDate")
    p.write(p.first, [(0, 24 * MiB, 0)])
    p.first.adm("attach r0")
    p.first.wait(connection="SyncTarget")
    load = p.load(p.first, (24 * MiB, 60 * MiB))
    p.check(p.first.digest(20 * MiB, MiB) == digest(p.noise[20 * MiB:21 * MiB]), "a read of a dirty block was wrong")
    load.wait(4)
    p.first.wait(test=lambda s: s.connection == "Connected", timeout=120)
    load.stop()
    p.judge()
    return f"{load.count} batches"


@scenario("invalidate: the own data are thrown away and come back", quick=True)
def invalidate(p):
    p.synced()
    p.second.primary()
    p.write(p.second, p.some_extents(20))
    p.second.secondary()
    p.first.adm("invalidate r0")
    p.first.wait(test=lambda s: s.connection == "SyncTarget" or s.disk == "UpToDate")
    p.settled()
    p.judge()
    return f"{p.kernel.resynced()[-1]} KiB resynced"


@scenario("invalidate-remote: the peer's data are thrown away and come back")
def invalidate_remote(p):
    p.synced()
    p.first.primary()
    p.write(p.first, p.some_extents(20))
    p.first.adm("invalidate-remote r0")
    p.first.wait(test=lambda s: s.connection == "SyncSource" or s.peer_disk == "UpToDate")
    p.write(p.first, p.some_extents(4))
    p.settled()
    p.judge()
    return f"{p.kernel.resynced()[-1]} KiB resynced"


def pausing(p, who):
    full_sync_begun(p)
    node = p.first if who == "first" else p.second
    node.adm("pause-sync r0")
    p.first.wait(connection="PausedSyncS")
    p.second.wait(connection="PausedSyncT")
    one = p.first.state().out_of_sync
    p.write(p.first, p.some_extents(4))
    import time
    time.sleep(3)
    two = p.first.state().out_of_sync
    p.check(one - two <= 4096, f"a paused resync went on from {one} to {two} KiB")
    node.adm("resume-sync r0")
    p.settled()
    p.judge()


@scenario("pause-sync and resume-sync on the source")
def pause_source(p):
    pausing(p, "first")


@scenario("pause-sync and resume-sync on the target")
def pause_target(p):
    pausing(p, "second")


@scenario("detach and attach of the Secondary under load")
def detach_secondary(p):
    p.synced()
    p.first.primary()
    load = p.load(p.first)
    load.wait(3)
    p.second.adm("detach r0")
    p.first.wait(disks="UpToDate/Diskless")
    p.second.wait(disks="Diskless/UpToDate")
    load.wait(load.count + 4)
    p.second.adm("attach r0")
    load.wait(load.count + 2)
    load.stop()
    p.judge()


@scenario("detach of the Primary under load: it reads and writes through the peer, and attaches again", quick=True)
def diskless_primary(p):
    p.synced()
    p.first.primary()
    p.write(p.first, [(0, 2 * MiB, 0)])
    load = p.load(p.first, (8 * MiB, 40 * MiB))
    load.wait(3)
    p.first.adm("detach r0")
    p.first.wait(disks="Diskless/UpToDate")
    load.wait(load.count + 4)
    p.check(p.first.digest(0, 2 * MiB) == digest(p.noise[:2 * MiB]), "a read through the peer was wrong")
    load.stop()
    p.first.flush()
    p.first.adm("attach r0")
    p.settled()
    p.judge()
    return f"{p.kernel.resynced()[-1]} KiB resynced"


@scenario("csums-alg: a resync of equal blocks sends digests instead of data")
def csums(p):
    p.synced(Options(net="csums-alg crc32c;", proxy=""))
    p.rules(f"delay {p.second.kind} {CHECKSUM_REQUEST} 0.001")
    p.first.primary()
    p.write(p.first, [(0, 8 * MiB, 0)])
    p.first.adm("invalidate-remote r0")
    p.first.wait(test=lambda s: s.connection == "SyncSource" or s.peer_disk == "UpToDate")
    p.settled()
    p.judge()
    asked = p.proxy_log().count("delay:")
    p.check(asked > 0, "no checksum was sent")
    return f"{asked} checksum requests"


def damage(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@scenario("online verify finds what differs, and a reconnect repairs it")
def verify(p):
    p.synced(Options(net="verify-alg crc32c;"))
    p.first.primary()
    p.write(p.first, [(0, 4 * MiB, 0)])
    p.first.flush()
    for block in (7, 300, 9000):
        damage(p.second.disks[0], block * 4096, b"\xee" * 512)
    if p.second is p.kernel:
        p.kernel.machine.run("echo 3 >/proc/sys/vm/drop_caches")
    p.allowed += [r"Out of sync", r"out of sync", r"Online verify found"]
    p.first.adm("verify r0")
    p.first.wait(connection="VerifyS|Connected")
    p.first.wait(connection="Connected", timeout=120)
    p.first.wait(out_of_sync=12)
    p.second.disconnect()
    p.first.wait(connection="WFConnection")
    p.second.connect()
    p.connected()
    p.judge()
    return f"{p.kernel.resynced()[-1]} KiB repaired"


@scenario("thin resync: rs-discard-granularity, zeroes stay holes")
def thin(p):
    p.bring_up(Options(disk="rs-discard-granularity 65536;"))
    p.expect_blank()
    p.first.primary(force=True)
    p.write(p.first, [(8 * MiB, 2 * MiB, 0)])
    p.settled()
    p.judge()
    taken = os.stat(p.second.disks[0]).st_blocks // 2
    p.check(taken < 16 * 1024, f"{taken} KiB of the target's disk are written")
    return f"{taken} KiB of the target's disk are written"


@scenario("two volumes: both sync, both are written, both are resynced", quick=True)
def two_volumes(p):
    p.synced(Options(volumes=2))
    p.first.primary()
    for volume in (0, 1):
        p.write(p.first, p.some_extents(10, volume=volume), volume)
    p.second.disconnect()
    p.first.wait(connection="WFConnection")
    for volume in (0, 1):
        p.write(p.first, p.some_extents(10, volume=volume), volume)
    p.second.connect()
    p.connected()
    p.judge()


# 64 MiB less what v08 metadata takes is not a multiple of 256 KiB; 64 MiB and 36 KiB for log and superblock, and 4 for the
# bitmap, are.
EXACT = 32 * MiB + 40 * KiB


@scenario("K1: a size that is a multiple of 256 KiB loses nothing when the kernel restarts",
          kernel_sizes=(EXACT,), repl_sizes=(EXACT,), meta_format="v08", quick=True)
def k1_exact_size(p):
    p.synced()
    size = len(p.expected[0])
    p.first.primary()
    p.second.disconnect()
    p.first.wait(connection="WFConnection")
    tail = size // 4096 - 64
    p.write(p.first, [(5 * 4096, 4096, 0), ((tail - 1) * 4096, 4096, 4096)])
    p.write(p.first, [((tail + n) * 4096, 4096, 8192 + 4096 * n) for n in (0, 8, 40, 55)], flush=True)
    p.first.secondary()
    p.first.down()
    p.first.up()
    p.second.connect()
    p.connected()
    p.judge()
    return f"size {size // KiB} KiB, {'a' if size % (256 * KiB) == 0 else 'not a'} multiple of 256 KiB"


@scenario("options change at run time on a connected pair")
def options_change(p):
    p.synced()
    p.first.primary()
    load = p.load(p.first)
    load.wait(2)
    p.configure(Options(net="max-buffers 4000; max-epoch-size 4000; ko-count 5;", disk="resync-rate 20M;"))
    p.first.adm("adjust r0")
    p.second.adm("adjust r0")
    load.wait(load.count + 3)
    load.stop()
    p.check(p.first.state().connection == "Connected", "the change of options cost the connection")
    p.judge()


def enlarge_disks(p):
    os.truncate(p.repl.disks[0], 48 * MiB)
    p.kernel.machine.monitor("block_resize", device="d0", size=48 * MiB)
    p.kernel.machine.run(f"n=0; while [ $(cat /sys/block/vda/size) != {48 * MiB // 512} ] && [ $n -lt 100 ]; do "
                         "n=$((n + 1)); usleep 100000; done")


def grown(p, was):
    """Waits for the new size, and for equal copies of it."""
    # The kernel's command does not wait for the peer's answer.
    deadline = time.monotonic() + 30
    while p.kernel.size() == was and time.monotonic() < deadline:
        time.sleep(0.2)
    p.settled(timeout=120)
    size = p.kernel.size()
    p.check(size > was + 15 * MiB, f"the size is still {size}")
    expected = bytearray(size)
    expected[:was] = p.expected[0]
    p.expected[0] = expected
    # The source's old metadata are data now.
    p.uncertain[0].append((was, 32 * MiB - was))
    return size


def grow_online(p, options=None):
    p.synced(options)
    p.first.primary()
    p.write(p.first, p.some_extents(6))
    was = p.size()
    enlarge_disks(p)
    p.first.adm("resize r0")
    size = grown(p, was)
    p.write(p.first, [(size - MiB, MiB, 0), (was - MiB, 2 * MiB, 0)])
    p.judge()


@scenario("online grow: both disks grow, the device with them", kernel_sizes=(32 << 20,), repl_sizes=(32 << 20,))
def grow(p):
    grow_online(p)
    p.check("successfully moved" in p.repl.log(), "repld has not moved its metadata")


@scenario("online grow: repl's metadata lie elsewhere", kernel_sizes=(32 << 20,), repl_sizes=(32 << 20,))
def grow_external(p):
    with open(p.repl.disks[0] + ".meta", "w") as file:
        file.truncate(MiB)
    grow_online(p, Options(external=True))


def up_after_a_grow(victim):
    """K32: the kernel's own tools do not take what its crash has left; new metadata, and a full resync, do."""
    try:
        victim.up()
        return ""
    except CommandFailed as refused:
        if victim.kind != "kernel" or "No usable activity log found" not in str(refused):
            raise
    victim.adm("down r0")
    victim.create_md()
    victim.up()
    return "K32: new metadata for the kernel"


def grow_and_crash(p, victim):
    p.any_connects = True
    # A kernel whose disk has grown finds fault with the place of its own metadata until it has resized, and with K29.
    p.allowed += [r"resize|[Ss]ize|md_sync|meta", r"drbd_md_ss\(device->ldev\)", r"error receiving CBitmap"]
    p.synced()
    p.first.primary()
    was = p.size()
    load = p.load(p.first, tolerant=True)
    load.wait(2)
    enlarge_disks(p)
    command = threading.Thread(target=lambda: p.first.adm("resize r0", check=False, timeout=60), daemon=True)
    command.start()
    time.sleep(p.random.random() * 0.15)
    p.crash(victim)
    load.stop()
    victim.restart()
    note = up_after_a_grow(victim)
    p.linked(timeout=120)
    p.settled(timeout=240)  # with the minute that repld waits in K29
    command.join(60)
    if victim is p.first:
        p.first.primary()
    if p.kernel.size() == was:
        p.first.adm("resize r0")
    size = grown(p, was)
    p.write(p.first, [(size - MiB, MiB, 0), (was - MiB, 2 * MiB, 0)])
    p.judge()
    return note


@scenario("the Primary crashes in the middle of an online grow", kernel_sizes=(32 << 20,), repl_sizes=(32 << 20,))
def grow_crash_primary(p):
    return grow_and_crash(p, p.first)


@scenario("the Secondary crashes in the middle of an online grow", kernel_sizes=(32 << 20,), repl_sizes=(32 << 20,))
def grow_crash_secondary(p):
    return grow_and_crash(p, p.second)
