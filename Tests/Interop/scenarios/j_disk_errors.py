"""A disk that cannot be read, or not be written, as Primary, as Secondary, in a resync and in a verify."""

import hashlib

from lab.nbd import NBDError
from lab.pair import MiB, Options
from scenarios import scenario

# What a node says of its own disk and of an answer it could not have.
TROUBLE = (r"I/O error|[Ii]/?[Oo] [Ee][Rr][Rr]|disk|[Nn]eg|[Gg]ot Neg|Detach|[Ff]ailed|Unhandled|read error|write error|"
           r"Can not satisfy|[Ss]ector \d+s")


def faulty(title, **how):
    return scenario(title, faulty=True, **how)


def right(p, node, offset, length):
    return node.digest(offset, length) == hashlib.sha256(p.expected[0][offset:offset + length]).hexdigest()


def meet_anew(p):
    p.second.disconnect()
    p.first.wait(connection="WFConnection")
    p.second.connect()


@faulty("the Primary's disk cannot be read: the application gets the peer's data, the disk is let go and comes back")
def read_error_primary(p):
    p.allowed += [TROUBLE]
    p.synced()
    p.first.primary()
    p.write(p.first, [(0, 4 * MiB, 0)])
    p.first.faulty[0].fail(read=True)
    p.check(right(p, p.first, 0, 4 * MiB), "the application read something else than it wrote")
    p.first.wait(disks="Diskless/UpToDate")
    p.write(p.first, p.some_extents(8))
    p.first.faulty[0].mend()
    p.first.adm("attach r0")
    p.judge()


def write_error(p, node):
    p.allowed += [TROUBLE]
    p.synced()
    p.first.primary()
    load = p.load(p.first)
    load.wait(2)
    node.faulty[0].fail(write=True)
    node.wait(disks="Diskless/UpToDate")
    load.wait(load.count + 2)
    node.faulty[0].mend()
    node.adm("attach r0")
    load.wait(load.count + 2)
    load.stop()
    p.judge()


@faulty("the Primary's disk cannot be written: nothing is lost, the disk is let go and comes back")
def write_error_primary(p):
    write_error(p, p.first)


@faulty("the Secondary's disk cannot be written: it is let go, the Primary writes on, it comes back")
def write_error_secondary(p):
    write_error(p, p.second)


def resync_from_bad_disk(p, disk):
    p.allowed += [TROUBLE]
    p.bring_up(Options(disk=f"resync-rate 4M; {disk}"))
    p.expect_blank()
    p.first.primary(force=True)
    p.first.wait(connection="SyncSource")
    p.write(p.first, [(0, 2 * MiB, 0)])
    p.second.wait(test=lambda s: (s.done or 0) > 10)
    p.first.faulty[0].fail(read=True)


@faulty("the source cannot read in the middle of a resync and lets its disk go; with the disk the resync goes on")
def read_error_source(p):
    resync_from_bad_disk(p, "on-io-error detach;")
    p.first.wait(disks="Diskless/Inconsistent")
    p.second.wait(disks="Inconsistent/Diskless")
    p.first.faulty[0].mend()
    p.first.adm("attach r0")
    p.judge()


@faulty("the source cannot read in the middle of a resync and keeps its disk (K17, K22, K27): no block is called equal that was not read")
def read_error_source_kept(p):
    p.any_connects = True
    # What a kernel says when its resync is cut short and it is connected again at once.
    p.allowed += [r"sock_recvmsg returned -4", r"State change failed", r"mask = 0x", r"old_conn:"]
    resync_from_bad_disk(p, "on-io-error pass_on;")
    # The end of it is called Connected by repl; the kernel as target may stay for good, and is connected anew.
    p.second.wait(test=lambda s: s.disks.startswith("Inconsistent") and (s.connection != "SyncTarget" or s.out_of_sync > 0))
    p.repl.wait(timeout=150, test=lambda s: s.connection not in ("SyncSource", "SyncTarget"))
    p.check(p.second.state().out_of_sync > 0, "everything counts as equal")
    p.first.faulty[0].mend()
    for node in p.nodes:
        p.check(node.alive, f"{node.name} is gone")
    meet_anew(p)
    p.judge()


@faulty("a verify that cannot read calls the blocks different; the next resync makes them equal")
def read_error_verify(p):
    p.allowed += [TROUBLE, r"Online verify found|Out of sync: start"]
    p.synced(Options(net="verify-alg crc32c;", disk="on-io-error pass_on;"))
    p.first.primary()
    p.write(p.first, [(0, 4 * MiB, 0)])
    p.second.faulty[0].fail(read=True)
    p.first.adm("verify r0")
    p.first.wait(test=lambda s: s.connection == "Connected" and s.out_of_sync > 0, timeout=120)
    marked = p.first.state().out_of_sync
    p.second.faulty[0].mend()
    meet_anew(p)
    p.connected()
    p.judge()
    return f"{marked} KiB"


@faulty("a Primary without a disk reads from a peer that cannot read (K23): the application gets an error; with its disk it has the data")
def read_error_remote(p):
    # The kernel's Logic BUG line is its own (K28): two kernels say it, too.
    p.allowed += [TROUBLE, r"drbd_req_destroy: Logic BUG"]
    p.synced(Options(disk="on-io-error pass_on;"))
    p.first.primary()
    p.write(p.first, [(0, 4 * MiB, 0)])
    p.first.adm("detach r0")
    p.first.wait(disks="Diskless/UpToDate")
    p.second.faulty[0].fail(read=True)
    try:
        wrong = not right(p, p.first, 0, 4096)
    except NBDError:
        wrong = True
    p.check(wrong, "what cannot be read was read")
    # The peer's disk counts as Inconsistent now. A Primary attaches only what it lost last (150), a Secondary its older data.
    p.second.faulty[0].mend()
    p.first.secondary()
    p.first.adm("attach r0")
    p.settled()
    p.first.primary()
    p.check(right(p, p.first, 0, 4 * MiB), "the application read something else than it wrote")
    p.judge()
