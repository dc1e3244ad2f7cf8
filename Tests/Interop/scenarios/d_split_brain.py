"""Both nodes were Primary while they did not see each other."""

from lab.pair import MiB, Options
from scenarios import scenario

UNRESOLVED = [r"Split-Brain detected", r"error receiving ReportState", r"split.?brain", r"Split.?[Bb]rain"]


def part(p, first_blocks, second_blocks, stay_primary=(), options=None, parted_as_primary=False):
    """Both write alone; then none, one or both stay Primary. Blocks are apart from each other."""
    p.synced(options)
    p.first.primary()
    p.write(p.first, p.some_extents(4, (0, 4 * MiB)))
    if not parted_as_primary:
        p.first.secondary()
    p.first.disconnect()
    p.second.wait(connection="WFConnection")
    p.second.disconnect()
    for node, count, at in ((p.first, first_blocks, 8 * MiB), (p.second, second_blocks, 16 * MiB)):
        if node is not p.first or not parted_as_primary:
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


REFUSED = UNRESOLVED + [r"I shall become SyncTarget, but I am primary", r"State change failed", r"mask = 0x", r"old_conn:",
                        r"Multiple primaries", r"(state|wanted) = \{", r"both nodes are Primary", r"ASSERT\( rv == SS_SUCCESS \)",
                        r"error receiving \w+"]


class Case:
    """Who wins: `first`, `second`, `either` (a tie, which one of the two rolls), `nobody` (both StandAlone), or
    `loser stays`: the one that would lose is Primary and refuses, and the other may not have heard of it."""

    def __init__(self, net, blocks, wins, primaries=(), parted_as_primary=False, unrelated=False):
        self.net, self.blocks, self.wins, self.primaries = net, blocks, wins, primaries
        self.parted_as_primary, self.unrelated = parted_as_primary, unrelated

    def __str__(self):
        return (f"{self.net} {self.blocks[0]}/{self.blocks[1]} blocks, Primary {' and '.join(self.primaries) or 'none'}"
                f"{', parted as Primary' if self.parted_as_primary else ''}")

    def play(self, p):
        p.connects = 0
        stay = [p.first if who == "first" else p.second for who in self.primaries]
        net = self.net.replace("FIRST", p.first.name).replace("SECOND", p.second.name)
        part(p, *self.blocks, stay, Options(net=net), self.parted_as_primary)
        if self.unrelated:  # a generation of its own on each node: no common bitmap UUID any more
            for node in p.nodes:
                node.adm("new-current-uuid r0/0")
        for node in p.nodes:
            node.connect()
        if self.wins in ("nobody", "loser stays"):
            loser = p.second if self.primaries == ("second",) else p.first
            for node in p.nodes:
                either = self.wins == "loser stays" and node is not loser
                node.wait(connection="StandAlone|WFConnection" if either else "StandAlone")
            p.connects += 1
            for node, count, at in ((p.first, self.blocks[0], 8 * MiB), (p.second, self.blocks[1], 16 * MiB)):
                with open(node.disks[0], "rb") as disk:
                    disk.seek(at)
                    p.check(not count or disk.read(4096) == p.noise[:4096], f"{node.name} lost what it had")
            # A repld that loses stays, too: the application's connection of `part` is open still, and it steps down only idle.
            if "call-pri-lost" in self.net and self.wins == "loser stays" and loser is p.kernel:
                # No role changes while a connection is being made: it does not step down, idle or not, and calls for help.
                said = p.kernel.log()
                p.check("pri-lost-after-sb" in said and "gave up primary role" not in said, "the kernel did not call for help")
            return
        p.connected()
        wins = self.wins
        if wins == "either":
            p.settled()
            source = p.kernel if "Began resync as SyncSource" in p.kernel.log() else p.repl
            wins = "first" if source is p.first else "second"
        keep_changes_of(p, p.first if wins == "first" else p.second, *self.blocks)
        p.judge()


def play(p, cases):
    """Every case, whatever became of those before it."""
    p.allowed += REFUSED
    failed = []
    for case in cases:
        try:
            case.play(p)
            p.check_logs()
        except Exception as error:
            states = "; ".join(f"{node.name} {node.state()}" for node in p.nodes)
            p.say(f"{case}: {error} ({states})")
            failed.append(f"{case}: {error}")
    p.check(not failed, f"{len(failed)} of {len(cases)} cases: " + " / ".join(failed))
    return f"{len(cases)} cases"


@scenario("after-sb-0pri and always-asbp: every policy decides alike on both nodes, neither being Primary")
def split_brain_policies(p):
    return play(p, [
        Case("after-sb-0pri disconnect;", (3, 2), "nobody"),
        Case("after-sb-0pri discard-zero-changes;", (3, 0), "first"),
        Case("after-sb-0pri discard-zero-changes;", (0, 3), "second"),
        Case("after-sb-0pri discard-zero-changes;", (0, 0), "either"),
        Case("after-sb-0pri discard-zero-changes;", (3, 2), "nobody"),
        Case("after-sb-0pri discard-least-changes;", (2, 5), "second"),
        Case("after-sb-0pri discard-least-changes;", (5, 2), "first"),
        Case("after-sb-0pri discard-least-changes;", (3, 3), "either"),
        Case("after-sb-0pri discard-younger-primary;", (2, 5), "second"),
        Case("after-sb-0pri discard-younger-primary;", (2, 5), "first", parted_as_primary=True),
        Case("after-sb-0pri discard-older-primary;", (2, 5), "second"),
        Case("after-sb-0pri discard-older-primary;", (5, 2), "second", parted_as_primary=True),
        Case("after-sb-0pri discard-node-FIRST;", (5, 2), "second"),
        Case("after-sb-0pri discard-node-SECOND;", (2, 5), "first"),
        Case("after-sb-0pri discard-zero-changes;", (3, 0), "nobody", unrelated=True),
        Case("always-asbp yes; after-sb-0pri discard-least-changes;", (5, 2), "first", unrelated=True),
    ])


ZERO, LEAST = "after-sb-0pri discard-zero-changes;", "after-sb-0pri discard-least-changes;"


@scenario("after-sb-1pri: every policy decides alike on both nodes, one being Primary")
def split_brain_one_primary(p):
    first, second = ("first",), ("second",)
    return play(p, [
        Case(f"{LEAST} after-sb-1pri disconnect;", (5, 2), "nobody", first),
        Case("after-sb-1pri discard-secondary;", (2, 5), "first", first),
        Case("after-sb-1pri discard-secondary;", (5, 2), "second", second),
        Case(f"{LEAST} after-sb-1pri consensus;", (5, 2), "first", first),
        Case(f"{LEAST} after-sb-1pri consensus;", (2, 5), "nobody", first),
        Case("after-sb-0pri discard-node-SECOND; after-sb-1pri consensus;", (2, 5), "first", first),
        Case(f"{LEAST} after-sb-1pri violently-as0p;", (5, 2), "first", first),
        Case(f"{LEAST} after-sb-1pri violently-as0p;", (2, 5), "loser stays", first),
        Case(f"{LEAST} after-sb-1pri violently-as0p;", (5, 2), "loser stays", second),
        Case(f"{LEAST} after-sb-1pri violently-as0p; rr-conflict violently;", (2, 5), "second", first),
        Case(f"{LEAST} after-sb-1pri call-pri-lost-after-sb;", (5, 2), "first", first),
        Case(f"{LEAST} after-sb-1pri call-pri-lost-after-sb;", (2, 5), "loser stays", first),
    ])


@scenario("after-sb-2pri: every policy decides alike on both nodes, both being Primary")
def split_brain_both_primary(p):
    both = ("first", "second")
    return play(p, [
        Case(f"{LEAST} after-sb-2pri disconnect;", (2, 5), "nobody", both),
        Case(f"{LEAST} after-sb-2pri violently-as0p;", (2, 5), "loser stays", both),
        Case(f"{LEAST} after-sb-2pri violently-as0p; rr-conflict violently;", (2, 5), "loser stays", both),
        Case(f"{LEAST} after-sb-2pri call-pri-lost-after-sb;", (2, 5), "loser stays", both),
        Case(f"{ZERO} after-sb-2pri call-pri-lost-after-sb;", (2, 5), "nobody", both),
    ])
