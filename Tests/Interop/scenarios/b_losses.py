"""A node dies, or the cable is cut: who has the data, and how little of it has to travel."""

from lab.pair import KiB, MiB, Options
from scenarios import scenario

REGION = (8 * MiB, 16 * MiB)  # two extents of the activity log
SMALL_LOG = "al-extents 7;"


@scenario("the Primary crashes while it writes: its activity log says what is resynced", quick=True)
def crash_primary(p):
    p.synced(Options(disk=SMALL_LOG))
    p.first.primary()
    load = p.load(p.first, REGION, tolerant=True)
    load.wait(6)
    p.crash(p.first)
    load.stop()
    p.second.wait(connection="WFConnection", disks="UpToDate/DUnknown")
    p.first.restart()
    p.first.up()
    p.connected()
    p.settled()
    resynced = p.kernel.resynced()[-1]
    p.check(0 < resynced <= 3 * 4096, f"{resynced} KiB were resynced; the log names two extents of 4096 KiB")
    p.judge()
    return f"{resynced} KiB of 65 MiB resynced"


@scenario("the Primary crashes, the other node takes over and writes, the crashed one returns", quick=True)
def crash_failover(p):
    p.synced(Options(disk=SMALL_LOG))
    p.first.primary()
    load = p.load(p.first, REGION, tolerant=True)
    load.wait(6)
    p.crash(p.first)
    load.stop()
    p.second.wait(connection="WFConnection")
    p.second.primary()
    p.write(p.second, p.some_extents(20, (32 * MiB, 40 * MiB)), flush=True)
    p.first.restart()
    p.first.up()
    p.connected()
    p.settled()
    resynced = p.kernel.resynced()[-1]
    p.check(0 < resynced <= 6 * 4096, f"{resynced} KiB were resynced")
    p.judge()
    p.check(p.second.state().roles == "Primary/Secondary", "the new Primary kept its role")
    return f"{resynced} KiB resynced"


@scenario("the Secondary crashes under load, the Primary writes on, the Secondary returns")
def crash_secondary(p):
    p.synced()
    p.first.primary()
    load = p.load(p.first)
    load.wait(4)
    p.crash(p.second)
    load.wait(load.count + 6)
    p.first.wait(connection="WFConnection", disks="UpToDate/DUnknown")
    load.stop()
    marked = p.first.state().out_of_sync
    p.second.restart()
    p.second.up()
    p.connected()
    p.settled()
    resynced = p.kernel.resynced()[-1]
    p.check(0 < resynced <= marked + 4096, f"{resynced} KiB were resynced, {marked} were marked")
    p.judge()
    return f"{resynced} KiB resynced"


@scenario("both nodes crash under load and return")
def crash_both(p):
    p.synced(Options(disk=SMALL_LOG))
    p.first.primary()
    load = p.load(p.first, REGION, tolerant=True)
    load.wait(6)
    p.crash(p.second)
    p.crash(p.first)
    load.stop()
    for node in p.nodes:
        node.restart()
        node.up()
    p.connected()
    p.settled()
    resynced = p.kernel.resynced()[-1]
    p.check(0 < resynced <= 5 * 4096, f"{resynced} KiB were resynced")
    p.judge()
    return f"{resynced} KiB resynced"


@scenario("the cable is cut and mended under load", quick=True)
def cable_cut(p):
    p.synced()
    p.first.primary()
    load = p.load(p.first)
    load.wait(4)
    p.cut()
    p.first.wait(connection="WFConnection", disks="UpToDate/DUnknown")
    p.second.wait(connection="WFConnection")
    load.wait(load.count + 4)
    p.mend()
    p.connected()
    load.wait(load.count + 4)
    load.stop()
    p.judge()


def interrupted(p, interrupt, resume):
    """A full sync from `first` that stops half way and goes on where it was."""
    p.prepare(Options(disk="resync-rate 6M;"))
    with open(p.first.disks[0], "r+b") as disk:
        disk.write(p.noise[:56 * MiB])
    for node in p.nodes:
        node.create_md()
        node.up()
    p.connected("Inconsistent/Inconsistent")
    p.expect_blank()
    p.expected[0][:56 * MiB] = p.noise[:56 * MiB]
    p.first.primary(force=True)
    p.first.wait(test=lambda s: s.connection == "SyncSource" and (s.done or 0) > 60)
    interrupt()
    for node in p.nodes:
        if node.alive:
            node.wait(connection="WFConnection|StandAlone")
    resume()
    p.connected()
    p.settled()
    announced = p.kernel.resynced()
    p.check(announced[-1] < 56 * 1024, f"the resync began anew: {announced} KiB")
    p.judge()
    return f"{announced[-1]} KiB were left"


@scenario("a resync is interrupted by a cut cable and goes on where it was")
def resync_cut(p):
    return interrupted(p, p.cut, p.mend)


@scenario("a resync is interrupted by the operator and goes on where it was", quick=True)
def resync_disconnect(p):
    return interrupted(p, p.second.disconnect, p.second.connect)


@scenario("the target of a resync crashes and returns; the resync goes on where it was")
def resync_target_crash(p):
    def resume():
        p.second.restart()
        p.second.up()
    return interrupted(p, lambda: p.crash(p.second), resume)


@scenario("the source of a resync, Primary, crashes and returns")
def resync_source_crash(p):
    def resume():
        p.first.restart()
        p.first.up()
    return interrupted(p, lambda: p.crash(p.first), resume)


@scenario("a paused peer is noticed by ping, within the timeouts; it returns", quick=False)
def paused_peer(p):
    p.synced()
    p.first.primary()
    p.write(p.first, p.some_extents(4))
    p.pause(p.second)
    p.first.wait(timeout=45, connection="WFConnection", disks="UpToDate/DUnknown")
    p.write(p.first, p.some_extents(10))
    p.second.resume()
    p.connected()
    p.judge()


@scenario("a peer that pauses in the middle of writes: ko-count or ping ends the connection, not the application")
def paused_under_load(p):
    p.synced(Options(net="ko-count 2;"))
    p.first.primary()
    load = p.load(p.first)
    load.wait(4)
    p.pause(p.second)
    p.first.wait(timeout=45, connection="WFConnection", disks="UpToDate/DUnknown")
    load.wait(load.count + 4, timeout=30)
    p.second.resume()
    p.connected()
    load.wait(load.count + 2)
    load.stop()
    p.judge()


@scenario("writes do not wait for a peer that is gone: 1000 blocks of 4 KiB while the peer is away, plain and compressed bitmap")
def away(p):
    kib = []
    for rle in ("yes", "no"):
        p.connects = 0
        p.synced(Options(net=f"use-rle {rle};"))
        p.first.primary()
        p.second.disconnect()
        p.first.wait(connection="WFConnection")
        blocks = p.random.sample(range(len(p.expected[0]) // 4096), 1000)
        p.write(p.first, [(b * 4096, 4 * KiB, (b * 7 % 16000) * 4096) for b in blocks[:500]], direct=False)
        p.second.connect()
        p.connected()
        p.settled()
        kib.append(p.kernel.resynced()[-1])
        p.check(kib[-1] == 2000, f"{kib[-1]} KiB were resynced where 2000 differ")
        p.judge()
        p.check_logs()
    return f"{kib} KiB resynced"
