"""First contact, writes of every kind, leaving and coming back, changing roles."""

from lab.pair import KiB, MiB, Options
from scenarios import scenario


@scenario("fresh metadata, initial sync of the whole device", quick=True)
def initial_sync(p):
    p.prepare()
    # The source has data already; the target has other data, which must go.
    size = 64 * MiB
    with open(p.first.disks[0], "r+b") as disk:
        disk.write(p.noise[:40 * MiB])
    with open(p.second.disks[0], "r+b") as disk:
        disk.write(p.noise[MiB:33 * MiB])
    for node in p.nodes:
        node.create_md()
        node.up()
    p.connected("Inconsistent/Inconsistent")
    p.first.primary(force=True)
    p.expect_blank()
    p.expected[0][:40 * MiB] = p.noise[:40 * MiB]
    p.settled()
    p.check(p.first.state().roles == "Primary/Secondary", f"roles are {p.first.state().roles}")
    p.judge()
    assert len(p.expected[0]) < size


@scenario("protocol C: writes of all sizes, flush, FUA, discard, write zeroes", quick=True)
def writes(p):
    p.synced()
    first = p.first
    first.primary()
    p.write(first, p.some_extents(40))
    p.write(first, p.some_extents(6), flush=True)
    first.flush()
    p.write(first, [(20 * MiB, 4 * MiB, 3 * MiB)])
    for offset, length, noise in ((28 * MiB, 4 * KiB, 8 * KiB), (28 * MiB + 64 * KiB, 64 * KiB, 128 * KiB)):
        first.write_through(offset, length, noise)
        p.expected[0][offset:offset + length] = p.noise[noise:noise + length]
    p.write(first, [(32 * MiB, 8 * MiB, 16 * MiB)])
    first.discard(33 * MiB, 2 * MiB)
    p.expect_zero(33 * MiB, 2 * MiB)
    first.zero(36 * MiB, 3 * MiB)
    p.expect_zero(36 * MiB, 3 * MiB)
    first.zero(39 * MiB + 4 * KiB, 12 * KiB)
    p.expect_zero(39 * MiB + 4 * KiB, 12 * KiB)
    first.discard(21 * MiB + 4 * KiB, 64 * KiB)
    p.expect_zero(21 * MiB + 4 * KiB, 64 * KiB)
    p.write(first, p.some_extents(20), direct=False)
    p.judge()


def leave_and_return(p, rle, who):
    p.synced(Options(disk="", net=f"use-rle {'yes' if rle else 'no'};"))
    p.first.primary()
    p.write(p.first, p.some_extents(10))
    leaving = p.first if who == "first" else p.second
    leaving.disconnect()
    leaving.wait(connection="StandAlone")
    p.other(leaving).wait(connection="WFConnection")
    extents = p.some_extents(30)
    p.write(p.first, extents, flush=True)
    marked = p.first.state().out_of_sync
    least = sum(length for _, length, _ in extents) // KiB
    p.check(marked >= least, f"{marked} KiB are marked after {least} KiB were written")
    p.check(marked < 4 * least, f"{marked} KiB are marked after only {least} KiB were written")
    leaving.connect()
    p.connected()
    p.judge()
    resynced = p.kernel.resynced()[-1]
    p.check(resynced == marked, f"{resynced} KiB were resynced, {marked} were marked")
    return f"{resynced} KiB resynced"


@scenario("disconnect by the Primary, write, reconnect: compressed bitmap", quick=True)
def reconnect_rle(p):
    return leave_and_return(p, True, "first")


@scenario("disconnect by the Secondary, write, reconnect: plain bitmap")
def reconnect_plain(p):
    return leave_and_return(p, False, "second")


@scenario("the roles change 20 times, each side writes while it is Primary", quick=True)
def role_switches(p):
    p.synced()
    node, times = p.first, 20
    for _ in range(times):
        node.primary()
        load = p.load(node)
        load.wait(2)
        load.stop()
        node.secondary()
        node = p.other(node)
    p.judge()
    return f"{times} changes"


@scenario("promotion is refused while the peer is Primary", directions=("kernel", "repl"))
def second_primary(p):
    p.synced()
    p.first.primary()
    status = p.second.adm("primary r0", check=False)[0]
    p.check(status != 0, "a second Primary was let in")
    p.check(p.second.state().role == "Secondary", "the refused node thinks it is Primary")
    p.allowed += [r"State change failed", r"Multiple primaries"]
    p.write(p.first, p.some_extents(4))
    p.judge()
