"""Both nodes were Primary while they did not see each other."""

from lab.pair import MiB, Options
from scenarios import scenario

UNRESOLVED = [r"Split-Brain detected", r"error receiving ReportState", r"split.?brain", r"Split.?[Bb]rain"]


def part(p, first_blocks, second_blocks, stay_primary=(), options=None):
    """Both write alone; then none, one or both stay Primary. Blocks are apart from each other."""
    p.synced(options)
    p.first.primary()
    p.write(p.first, p.some_extents(4, (0, 4 * MiB)))
    p.first.secondary()
    p.first.disconnect()
    p.second.wait(connection="WFConnection")
    p.second.disconnect()
    for node, count, at in ((p.first, first_blocks, 8 * MiB), (p.second, second_blocks, 16 * MiB)):
        node.primary()
        if count:
            node.write([(at + n * 8192, 4096, 4096 * n) for n in range(count)], flush=True)
        if node not in stay_primary:
            node.secondary()


def keep_changes_of(p, node, first_blocks, second_blocks):
    count, at = (first_blocks, 8 * MiB) if node is p.first else (second_blocks, 16 * MiB)
    for n in range(count):
        p.expected[0][at + n * 8192:at + n * 8192 + 4096] = p.noise[4096 * n:4096 * n + 4096]


@scenario("split brain is found by both, and resolved by --discard-my-data", quick=True)
def split_brain(p):
    p.allowed += UNRESOLVED
    part(p, 5, 3)
    for node in p.nodes:
        node.connect()
    for node in p.nodes:
        node.wait(connection="StandAlone")
    p.connects += 1
    p.second.connect(discard=True)
    p.first.connect()
    p.connected()
    keep_changes_of(p, p.first, 5, 3)
    p.judge()
    return f"{p.kernel.resynced()[-1]} KiB resynced"


@scenario("split brain with both still Primary: refused by both, then one gives in")
def split_brain_primaries(p):
    p.allowed += UNRESOLVED
    part(p, 5, 3, stay_primary=p.nodes)
    for node in p.nodes:
        node.connect()
    for node in p.nodes:
        node.wait(connection="StandAlone")
    p.connects += 1
    p.second.secondary()
    p.second.connect(discard=True)
    p.first.connect()
    p.connected()
    keep_changes_of(p, p.first, 5, 3)
    p.judge()
    p.check(p.first.state().roles == "Primary/Secondary", "the survivor kept its role")


# policy, blocks written by first and second, who stays Primary, whose changes survive (None: nobody decides)
POLICIES = [
    ("after-sb-0pri discard-zero-changes;", 3, 0, (), "first"),
    ("after-sb-0pri discard-zero-changes;", 0, 3, (), "second"),
    ("after-sb-0pri discard-zero-changes;", 3, 2, (), None),
    ("after-sb-0pri discard-least-changes;", 2, 5, (), "second"),
    ("after-sb-0pri discard-least-changes;", 5, 2, (), "first"),
    ("after-sb-0pri discard-younger-primary;", 5, 2, ("first",), None),
    ("after-sb-0pri discard-younger-primary;", 2, 5, (), "second"),
    ("after-sb-0pri discard-older-primary;", 2, 5, (), "second"),
    ("after-sb-1pri discard-secondary;", 2, 5, ("first",), "first"),
    ("after-sb-1pri discard-secondary;", 5, 2, ("second",), "second"),
    ("after-sb-0pri discard-least-changes; after-sb-1pri consensus;", 5, 2, ("first",), "first"),
    ("after-sb-0pri discard-least-changes; after-sb-1pri consensus;", 2, 5, ("first",), None),
    ("after-sb-0pri discard-least-changes; after-sb-1pri violently-as0p;", 5, 2, ("first",), "first"),
    ("after-sb-2pri disconnect;", 2, 5, ("first", "second"), None),
]


@scenario("every automatic policy after a split brain decides alike on both nodes")
def split_brain_policies(p):
    p.allowed += UNRESOLVED
    for policy, first_blocks, second_blocks, primaries, survivor in POLICIES:
        if policy == "after-sb-0pri discard-younger-primary;" and primaries:
            continue
        stay = [p.first if who == "first" else p.second for who in primaries]
        p.connects = 0
        part(p, first_blocks, second_blocks, stay, Options(net=policy))
        for node in p.nodes:
            node.connect()
        what = f"{policy} {first_blocks}/{second_blocks} blocks, Primary {primaries or 'none'}"
        try:
            if survivor is None:
                for node in p.nodes:
                    node.wait(connection="StandAlone")
                p.connects += 1
            else:
                p.connected()
                keep_changes_of(p, p.first if survivor == "first" else p.second, first_blocks, second_blocks)
                p.judge()
            p.check_logs()
        except Exception as error:
            raise type(error)(f"{what}: {error}") from error
    return f"{len(POLICIES) - 1} cases"
