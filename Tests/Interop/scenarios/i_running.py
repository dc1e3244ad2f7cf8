"""What changes while both nodes are connected: options of each section, a dry run, a file system in use, a verify under load."""

import re
import time

from lab.kernel_node import SEVERED
from lab.pair import MiB, Options
from scenarios import scenario

RS_DATA_REPLY, BARRIER_ACK, RS_CANCEL = 0x02, 0x1c, 0x29


def take_over(p, node, options):
    """`adjust` on one node; what the other one has stays."""
    p.configure(options)
    node.adm("adjust r0")


def letter(p):
    return re.search(r"ds:\S+ ([ABC]) ", p.kernel.machine.run("cat /proc/drbd")).group(1)


def orders(p):
    """Who is changed first: now the one, now the other."""
    while True:
        yield (p.kernel, p.repl)
        yield (p.repl, p.kernel)


@scenario("the protocol changes between A, B and C under load, on the same connection")
def options_protocol(p):
    # Each tells the other (P_PROTOCOL_UPDATE), who goes on under it before its own file is read again.
    p.synced()
    p.first.primary()
    load = p.load(p.first)
    load.wait(2)
    for wanted, nodes in zip("ABCACBA", orders(p)):
        for node in nodes:
            take_over(p, node, Options(protocol=wanted))
            load.wait(load.count + 2)
            p.check(letter(p) == wanted, f"the kernel still has protocol {letter(p)}")
    load.stop()
    p.judge()


@scenario("the digest of payloads changes under load, on the same connection where P_ZEROES is not agreed")
def options_digest(p):
    p.synced()
    p.first.primary()
    load = p.load(p.first)
    load.wait(2)
    first = True
    for name, nodes in zip(("crc32c", "sha1", "", "crc32c", "sha1", ""), orders(p)):
        for node in nodes:
            take_over(p, node, Options(net=f"data-integrity-alg {name};" if name else ""))
            if first and node is p.repl:
                p.connected()  # beside digests a kernel cannot bear P_ZEROES, which it has agreed to
                first = False
            load.wait(load.count + 2)
    load.stop()
    p.judge()


@scenario("algorithms and policies change on a connected pair, whoever changes them first")
def options_algorithms(p):
    p.synced()
    p.first.primary()
    p.write(p.first, [(0, 4 * MiB, 0)])
    for net, command in (("verify-alg crc32c;", "verify r0"), ("verify-alg sha1;", "verify r0"),
                         ("csums-alg crc32c; after-sb-0pri discard-zero-changes;", "invalidate-remote r0"),
                         ("verify-alg sha1; after-sb-1pri discard-secondary;", "verify r0")):
        options = Options(net=net)
        for node in (p.first, p.second):
            take_over(p, node, options)
        p.check(p.first.state().connection == "Connected", "the change of options cost the connection")
        p.first.adm(command)
        p.settled()
        p.write(p.first, p.some_extents(4))
        p.judge()
    p.second.disconnect()
    p.first.wait(connection="WFConnection")
    p.second.connect()
    p.connected()
    p.judge()


@scenario("options of disks and of the flow change at run time, in a resync and under load")
def options_flow(p):
    p.bring_up(Options(disk="resync-rate 2M;"))
    p.expect_blank()
    p.first.primary(force=True)
    p.first.wait(connection="SyncSource")
    load = p.load(p.first)
    load.wait(2)
    for net, disk in (("max-buffers 8000; max-epoch-size 8000;", "resync-rate 4M; al-extents 67;"),
                      ("max-buffers 1000; max-epoch-size 20; sndbuf-size 0;", "resync-rate 4M; al-extents 1237;"),
                      ("ko-count 9; timeout 40;", "resync-rate 100M; al-extents 7;")):
        for node in (p.second, p.first):
            take_over(p, node, Options(net=net, disk=disk))
        load.wait(load.count + 3)
    p.first.wait(test=lambda s: s.connection == "Connected", timeout=120)
    load.wait(load.count + 2)
    load.stop()
    p.judge()


@scenario("a dry run says what a connection would do, and moves nothing")
def dry_run(p):
    p.allowed += [r"error receiving ReportState", r"dry-run"]
    p.any_connects = True  # the one who was asked goes back to waiting, and may do so before it has been heard
    p.synced()
    p.first.primary()
    p.second.disconnect()
    p.first.wait(connection="WFConnection")
    p.write(p.first, p.some_extents(12), flush=True)
    marked = p.first.state().out_of_sync
    p.second.adm("connect --tentative r0")
    p.second.wait(connection="StandAlone")
    p.first.wait(connection="WFConnection")
    p.check(p.first.state().out_of_sync == marked, "blocks were resynced")
    for node in p.nodes:
        p.check("dry-run connect" in node.log(), f"{node.name} says nothing of a dry run")
    p.check(not p.kernel.resynced(), "a resync began")
    p.second.connect()
    p.connected()
    p.judge()
    p.check(p.kernel.resynced()[-1] == marked, "something else was resynced than what was written")


@scenario("verify beside the application: what is written meanwhile is not called different")
def verify_under_load(p):
    p.synced(Options(net="verify-alg crc32c;", disk="resync-rate 8M; c-min-rate 0;"))
    p.first.primary()
    p.write(p.first, [(0, 16 * MiB, 0)])
    load = p.load(p.first)
    load.wait(2)
    p.first.adm("verify r0")
    p.first.wait(connection="VerifyS")
    p.second.wait(connection="VerifyT")
    while p.first.state().connection == "VerifyS":
        p.first.digest(4 * MiB, MiB)
    load.wait(load.count + 2)
    load.stop()
    p.judge()
    return f"{load.count} batches"


@scenario("two volumes: one is resynced by checksums, both are verified, in each direction")
def two_volumes_checked(p):
    p.synced(Options(volumes=2, net="csums-alg sha1; verify-alg sha1;"))
    p.first.primary()
    for volume in (0, 1):
        p.write(p.first, [(0, 4 * MiB, volume * MiB)], volume)
    p.first.adm("invalidate-remote r0/1")
    p.first.wait(volume=1, test=lambda s: s.connection == "SyncSource" or s.peer_disk == "UpToDate")
    p.write(p.first, p.some_extents(6), 0)
    p.settled()
    for node in (p.first, p.second):
        node.adm("verify r0")
        p.settled()
    p.judge()


def volume_metadata(node, volume):
    how = f"--format {node.meta_format} " if node.kind == "repl" else ""
    node.adm(f"create-md --force {how}r0/{volume}")


@scenario("a volume is added on one node after the other, under load, and removed again")
def volume_comes_and_goes(p):
    p.synced()
    p.first.primary()
    load = p.load(p.first)
    load.wait(2)
    # repld connects again with other volumes, a kernel adds them to the connection that stands.
    p.any_connects = True
    p.configure(Options(volumes=2))
    for node in (p.first, p.second):
        volume_metadata(node, 1)
        node.adm("adjust r0")
        load.wait(load.count + 2)
    for node in p.nodes:
        node.wait(volume=1, connection="Connected", disks="Inconsistent/Inconsistent")
    p.first.adm("new-current-uuid --clear-bitmap r0/1")
    p.settled()
    # A role of 8.4 belongs to a volume.
    p.first.primary()
    p.expected[1], p.uncertain[1] = bytearray(p.size(1)), []
    p.write(p.first, p.some_extents(10, volume=1), 1)
    load.wait(load.count + 2)
    load.stop()
    p.judge()
    # A kernel removes no volume of a Primary, and its `detach` waits for good for a peer that has removed the volume already.
    p.first.secondary()
    p.configure(Options())
    for node in (p.kernel, p.repl):
        node.adm("adjust r0")
        p.first.wait(connection="Connected")
    p.first.primary()
    p.write(p.first, p.some_extents(10))
    p.judge()
    for node in p.nodes:
        p.check(1 not in node.states(), f"{node.name} still has volume 1")


@scenario("resync-after: the second volume waits for the first")
def resync_after(p):
    # The kernel waits; repld, which has no such order of its own, is told so by the peer.
    p.bring_up(Options(volumes=2, disk="resync-rate 8M; c-min-rate 0;", each_volume={1: "resync-after r0/0;"}))
    p.expect_blank()
    p.first.primary(force=True)
    for node in p.nodes:
        node.wait(volume=0, connection="SyncSource|SyncTarget")
        node.wait(volume=1, connection="PausedSyncS|PausedSyncT")
    marked = p.kernel.state(1).out_of_sync
    p.kernel.wait(volume=0, test=lambda s: (s.done or 0) > 40)
    p.check(p.kernel.state(1).out_of_sync == marked, "the second volume did not wait")
    p.settled()
    p.judge()


@scenario("the kernel pulls ahead of a slow peer (protocol A), and resyncs what it left out", directions=("kernel",))
def congestion(p):
    p.synced(Options(protocol="A", per_host={p.first.name: "on-congestion pull-ahead; congestion-fill 128k;"},
                     disk="resync-rate 2M;", proxy=""))
    p.rules(f"delay repl {BARRIER_ACK} 0.4\ndelay kernel {RS_CANCEL} 0.001")
    p.allowed += [SEVERED]  # behind a late ack a PingAck may be late, too
    p.first.primary()
    load = p.load(p.first, (0, 32 * MiB), batch=12, pause=0)
    p.first.wait(connection="Ahead")
    p.second.wait(connection="Behind")
    for _ in range(4):
        load.wait(load.count + 10)
    load.stop()
    p.rules("")
    p.settled()
    p.judge()
    cancelled = p.proxy_log().count(f"delay: 0x{RS_CANCEL:x} of kernel")
    return f"{cancelled} P_RS_CANCEL, {len(p.kernel.resynced())} resyncs"


@scenario("the kernel pulls ahead in the middle of a resync: what was asked for is cancelled (P_RS_CANCEL), and comes later",
          directions=("kernel",))
def congestion_in_resync(p):
    p.synced(Options(protocol="A", per_host={p.first.name: "on-congestion pull-ahead; congestion-fill 128k;"}, proxy=""))
    p.allowed += [SEVERED]
    p.first.primary()
    p.second.disconnect()
    p.first.wait(connection="WFConnection")
    p.write(p.first, [(0, 24 * MiB, 0)])
    p.rules(f"delay kernel {RS_DATA_REPLY} 0.1\ndelay repl {BARRIER_ACK} 0.4\ndelay kernel {RS_CANCEL} 0.001")
    p.second.connect()
    p.first.wait(connection="SyncSource")
    load = p.load(p.first, (32 * MiB, 60 * MiB), batch=12, pause=0)
    p.first.wait(connection="Ahead")
    p.second.wait(connection="Behind")
    deadline = time.monotonic() + 60
    while not (cancelled := p.proxy_log().count(f"delay: 0x{RS_CANCEL:x} of kernel")):
        p.check(time.monotonic() < deadline, "nothing was cancelled")
        load.wait(load.count + 1)
    load.stop()
    p.rules("")
    p.settled()
    p.judge()
    return f"{cancelled} P_RS_CANCEL, {len(p.kernel.resynced())} resyncs"


XFS = 320 << 20


@scenario("XFS on the kernel's device: its log is written with a flush, in P_DATA", directions=("kernel",),
          kernel_sizes=(XFS,), repl_sizes=(XFS,))
def file_system(p):
    p.synced(Options(proxy=""))
    p.rules("watch kernel 0x20")
    p.first.primary()
    run = p.kernel.machine.run
    run("mkfs.xfs -q -f /dev/drbd0 && mkdir -p /mnt && mount -t xfs /dev/drbd0 /mnt", timeout=240)
    for number in range(12):
        run(f"dd if=/share/noise of=/mnt/f{number} bs=4096 skip={number * 100} count={number * 3 + 1} conv=fsync 2>/dev/null")
    run("umount /mnt")
    p.first.secondary()
    p.forget_expected()
    p.judge()
    seen = p.proxy_log().count("watch:")
    p.check(seen > 0, "no write with a flush was seen")
    return f"{seen} writes with the flush flag"
