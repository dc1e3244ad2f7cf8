"""What the two nodes must agree on before they talk: secrets, protocols, sizes, algorithms."""

import os

from lab.pair import KiB, MiB, Options
from scenarios import scenario


def secret(algorithm, word="a secret of both"):
    return f'cram-hmac-alg {algorithm}; shared-secret "{word}";'


def works(p, options):
    p.synced(options)
    p.first.primary()
    p.write(p.first, p.some_extents(8))
    p.second.disconnect()
    p.first.wait(connection="WFConnection")
    p.write(p.first, p.some_extents(8))
    p.second.connect()
    p.connected()
    p.judge()


@scenario("authentication by HMAC with sha1", quick=True)
def auth_sha1(p):
    works(p, Options(net=secret("sha1")))


@scenario("authentication by HMAC with sha256")
def auth_sha256(p):
    works(p, Options(net=secret("sha256")))


# What the kernel says about its own way out of a refused connection.
LEAVING = [r"error receiving Report\w+", r"sock_(send|recv)msg returned", r"State change failed", r"mask = 0x",
           r"old_conn:"]


def refused(p, first_net, second_net, allowed, states="StandAlone"):
    """Nodes that disagree do not connect, and do when they agree again."""
    p.allowed += allowed + LEAVING
    p.any_connects = True
    p.prepare(Options(per_host={p.first.name: first_net, p.second.name: second_net}))
    for node in p.nodes:
        node.create_md()
    for node in p.nodes:
        node.up()
    for node in p.nodes:
        node.wait(connection=states)
    for node in p.nodes:
        node.down()
    p.configure(Options(net=first_net))
    for node in p.nodes:
        node.up()
    p.connected("Inconsistent/Inconsistent")
    p.first.adm("new-current-uuid --clear-bitmap r0/0")
    p.settled()
    p.expect_blank()
    p.first.primary()
    p.write(p.first, p.some_extents(4))
    p.judge()


@scenario("no connection with a wrong secret", quick=True)
def auth_wrong(p):
    refused(p, secret("sha1"), secret("sha1", "another one"),
            [r"[Aa]uthentication", r"expected AuthResponse", r"secret"], "StandAlone|WFConnection|Unconnected")


@scenario("one node wants authentication, the other does not")
def auth_one_sided(p):
    refused(p, secret("sha256"), "", [r"[Aa]uth", r"expected \w+ packet", r"Protocol"],
            "StandAlone|WFConnection|Unconnected")


@scenario("different protocols are refused by both", quick=True)
def protocol_mismatch(p):
    refused(p, "protocol C;", "protocol A;", [r"incompatible", r"protocol"])


@scenario("different after-sb policies are refused by both")
def policy_mismatch(p):
    refused(p, "after-sb-0pri discard-zero-changes;", "after-sb-0pri disconnect;", [r"incompatible", r"after-sb"])


@scenario("protocol A: writes, roles, return from a cut")
def protocol_a(p):
    works(p, Options(protocol="A"))


@scenario("protocol B: writes, roles, return from a cut", quick=True)
def protocol_b(p):
    works(p, Options(protocol="B"))


@scenario("protocol A under load, both sides Primary in turn")
def protocol_a_load(p):
    p.synced(Options(protocol="A"))
    for node in (p.first, p.second):
        node.primary()
        load = p.load(node, batch=8)
        load.wait(12)
        load.stop()
        node.secondary()
    p.judge()


def small(p):
    """A size on the first node that is smaller than the second's."""


@scenario("sizes differ with fresh metadata: the smaller one counts", kernel_sizes=(48 << 20,), repl_sizes=(64 << 20,))
def size_repl_larger(p):
    p.synced()
    p.first.primary()
    p.write(p.first, p.some_extents(10))
    p.write(p.first, [(len(p.expected[0]) - 64 * KiB, 64 * KiB, 0)])
    p.judge()


@scenario("sizes differ the other way", kernel_sizes=(64 << 20,), repl_sizes=(48 << 20,))
def size_kernel_larger(p):
    p.synced()
    p.first.primary()
    p.write(p.first, p.some_extents(10))
    p.write(p.first, [(len(p.expected[0]) - 64 * KiB, 64 * KiB, 0)])
    p.judge()
    p.check(len(p.expected[0]) < 48 * MiB, "the size is not that of the smaller disk")


@scenario("data-integrity-alg crc32c and sha1: digests on every write, both ways")
def integrity(p):
    for algorithm in ("crc32c", "sha1"):
        p.connects = 0
        p.synced(Options(net=f"data-integrity-alg {algorithm};"))
        for node in (p.first, p.second):
            node.primary()
            p.write(node, p.some_extents(12))
            node.secondary()
        p.judge()
        p.check_logs()


@scenario("write zeroes and discards beside data-integrity-alg (K2)", directions=("kernel", "repl"))
def integrity_zeroes(p):
    p.synced(Options(net="data-integrity-alg crc32c;"))
    p.first.primary()
    p.write(p.first, [(16 * MiB, 4 * MiB, 0)])
    p.first.zero(17 * MiB, MiB)
    p.expect_zero(17 * MiB, MiB)
    p.first.discard(18 * MiB, MiB)
    p.expect_zero(18 * MiB, MiB)
    p.judge()


@scenario("data-integrity-alg: a payload changed on the way is refused, and comes again after the reconnect")
def integrity_corrupt(p):
    p.allowed += [r"[Dd]igest", r"error receiving Data", r"sock_(send|recv)msg returned"]
    p.synced(Options(net="data-integrity-alg crc32c;", proxy=""))
    for node in (p.first, p.second):
        node.primary()
        p.write(node, p.some_extents(8))
        p.rules(f"corrupt {node.kind} 0")
        p.write(node, p.some_extents(8))
        p.connected()
        p.judge()
        p.check("corrupt:" in p.proxy_log(), "no payload was changed")
        node.secondary()


def resize(p, node, size):
    """A disk of another size in the place of the old one. Nothing uses it."""
    if node is p.kernel:
        node.machine.monitor("block_resize", device="d0", size=size)
    else:
        os.truncate(node.disks[0], size)


@scenario("the data are larger than the peer's new disk: refused, and nothing is cut off")
def size_shrunk(p):
    p.allowed += [r"disk size is too small", r"giving up the connection", *LEAVING]
    p.any_connects = True
    p.synced()
    size = os.path.getsize(p.second.disks[0])
    p.first.primary()
    p.write(p.first, p.some_extents(10))
    p.second.down()
    p.first.wait(connection="WFConnection")
    resize(p, p.second, size // 2)
    p.second.create_md()
    p.second.up()
    p.first.wait(connection="StandAlone")
    p.check(p.first.state().disk == "UpToDate", "the refusal cost the disk")
    p.write(p.first, [(len(p.expected[0]) - 64 * KiB, 64 * KiB, 0)])
    p.second.down()
    resize(p, p.second, size)
    p.second.create_md()
    p.second.up()
    p.first.connect()
    p.connected()
    p.judge()
