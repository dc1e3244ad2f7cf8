"""Older versions of the protocol, and packets that get lost at the worst moment: a proxy stands between the nodes."""

from lab.kernel_node import SEVERED
from lab.pair import KiB, MiB, Options
from scenarios import scenario

SYNC_UUID, STATE, UUIDS, COMPRESSED_BITMAP, RESYNC_ACK = 0x0f, 0x0e, 0x0c, 0x24, 0x17
# The kernel stays at the second word while it tries on, when the proxy first accepts for a peer that is away.
ALONE = "WFConnection|BrokenPipe"


def session(p, version, flags=""):
    """Writes, a reconnect with a bitmap resync, a full resync, with the version forced down."""
    p.synced(Options(proxy=f"max-version {version} {flags}"))
    agreed = p.kernel.log().rsplit("Agreed network protocol version ", 1)[1].split()[0]
    p.check(agreed == str(version), f"version {agreed} was agreed")
    p.first.primary()
    p.write(p.first, p.some_extents(12))
    p.write(p.first, [(20 * MiB, 2 * MiB, 0)], flush=True)
    if version >= 95:  # below, a discard on a kernel Primary crashes the kernel (K24)
        p.first.discard(20 * MiB + 64 * KiB, 256 * KiB)
        p.expect_zero(20 * MiB + 64 * KiB, 256 * KiB)
        p.first.zero(21 * MiB, 256 * KiB)
        p.expect_zero(21 * MiB, 256 * KiB)
    p.second.disconnect()
    p.first.wait(connection=ALONE)
    p.write(p.first, p.some_extents(12))
    p.second.connect()
    p.connected()
    p.judge()
    p.first.secondary()
    p.second.primary()
    p.write(p.second, p.some_extents(6))
    p.second.secondary()
    p.first.adm("invalidate r0")
    p.first.wait(test=lambda s: s.connection == "SyncTarget" or s.disk == "UpToDate")
    p.settled()
    p.judge()


def define(version, quick=False):
    @scenario(f"protocol version {version}: writes, bitmap resync, full resync", quick=quick, name=f"version-{version}")
    def run(p):
        session(p, version)


# Skipping the initial sync needs 90.
for number in (100, 99, 96, 95, 94, 90):
    define(number)


@scenario("protocol version 86 and 88: initial sync, writes, bitmap resync")
def version_86(p):
    for version in (86, 88):
        p.connects = 0
        p.prepare(Options(proxy=f"max-version {version}"))
        with open(p.first.disks[0], "r+b") as disk:
            disk.write(p.noise[:8 * MiB])
        for node in p.nodes:
            node.create_md()
            node.up()
        p.connected("Inconsistent/Inconsistent")
        p.first.primary(force=True)
        p.expect_blank()
        p.expected[0][:8 * MiB] = p.noise[:8 * MiB]
        p.settled()
        p.write(p.first, p.some_extents(10))
        p.second.disconnect()
        p.first.wait(connection=ALONE)
        p.write(p.first, p.some_extents(10))
        p.second.connect()
        p.connected()
        p.judge()
        p.check_logs()


@scenario("no feature flags: no trim, no thin resync, no write-zeroes packets")
def no_features(p):
    session(p, 101, "0")


def lost(p, rules):
    """The connection ends in the middle of something, and what was to come is made up for."""
    # Behind a late ack a PingAck is late, too.
    p.allowed += [SEVERED, r"ASSERT\( rv == SS_SUCCESS \)"]  # the kernel's, when the connection ends while it sends its bitmap
    p.synced(Options(proxy=""))
    p.first.primary()
    p.second.disconnect()
    p.first.wait(connection=ALONE)
    p.write(p.first, p.some_extents(12))
    p.rules(rules)
    p.second.connect()
    p.settled()
    p.judge()
    text = p.proxy_log()
    p.check("cut:" in text or "drop:" in text or "delay:" in text, "the rule was never used")


@scenario("P_SYNC_UUID is lost with the connection")
def lost_sync_uuid(p):
    lost(p, f"cut {p.first.kind} {SYNC_UUID}")


@scenario("the target's last P_STATE is lost with the connection")
def lost_final_state(p):
    lost(p, f"cut {p.second.kind} {STATE} after {SYNC_UUID}")


@scenario("the source's bitmap is lost with the connection")
def lost_bitmap(p):
    lost(p, f"cut {p.first.kind} {COMPRESSED_BITMAP}")


@scenario("the target's bitmap is lost with the connection")
def lost_target_bitmap(p):
    lost(p, f"cut {p.second.kind} {COMPRESSED_BITMAP}")


@scenario("the UUIDs of the handshake are lost with the connection")
def lost_uuids(p):
    lost(p, f"cut {p.second.kind} {UUIDS}")


@scenario("the acks of a resync come late: the end overtakes them (K5)")
def late_acks(p):
    lost(p, f"delay {p.second.kind} {RESYNC_ACK} 0.3")
