"""Two nodes of one resource: their common configuration, what their devices must contain, and the checks at the end."""

import hashlib
import os
import random
import subprocess
import sys
import threading
import time

from .kernel_node import LEAVING, PROXIED, SEVERED
from .node import KiB, MiB, StateNotReached


class CheckFailed(Exception):
    pass


class Options:
    """What a scenario wants in the configuration, over the defaults of slow machines."""

    def __init__(self, protocol="C", net="", disk="", volumes=1, per_host=None, proxy=None, external=False,
                 each_volume=None, handlers=""):
        self.handlers = handlers  # of the resource
        self.each_volume = each_volume or {}  # number of the volume -> more for its disk section
        self.external = external  # repl's metadata lie in a file of their own
        self.protocol, self.net, self.disk, self.volumes = protocol, net, disk, volumes
        self.proxy = proxy  # rules of lab/proxy.py: the nodes meet through it
        self.per_host = per_host or {}  # name of the host -> its own net section


PROXIES = {"kernel": "10.77.0.11", "repl": "10.77.0.12"}
APART = ("StandAlone", "Disconnecting", "Unconnected", "Timeout", "BrokenPipe", "NetworkFailure", "ProtocolError", "TearDown",
         "WFConnection", "WFReportParams", "Off")
DEFAULT_NET = {"ping-int": "10", "ping-timeout": "30", "connect-int": "3", "timeout": "25"}
DEFAULT_DISK = {"resync-rate": "500M", "c-plan-ahead": "0"}


def section(defaults, more):
    given = {words.split()[0] for words in more.split(";") if words.strip()}
    kept = " ".join(f"{key} {value};" for key, value in defaults.items() if key not in given)
    return f"{kept} {more}".strip()


def configuration(options, nodes, reader):
    """The file as `reader` gets it: the same for both but where a scenario wants the nodes to disagree."""
    own = options.per_host.get(reader, "")
    text = ["global { usage-count no; }", "common { handlers { } }", "resource r0 {",
            f"  net {{ protocol {options.protocol}; {section(DEFAULT_NET, options.net + own)} }}"
            if "protocol" not in own else f"  net {{ {section(DEFAULT_NET, options.net + own)} }}",
            f"  disk {{ {section(DEFAULT_DISK, options.disk)} }}", f"  handlers {{ {options.handlers} }}"]
    for node in nodes:
        text.append(f"  on {node.name} {{")
        for volume in range(options.volumes):
            disk = node.backing(volume)
            place = f"{disk}.meta" if options.external and node.kind == "repl" else "internal"
            text.append(f"    volume {volume} {{ device /dev/drbd{volume} minor {volume}; disk {disk}; "
                        f"meta-disk {place}; disk {{ {options.each_volume.get(volume, '')} }} }}")
        seen = PROXIES[node.kind] if options.proxy is not None and node.name != reader else node.address
        text.append(f"    address {seen}:7789;")
        text.append("  }")
    return "\n".join([*text, "}", ""])


class Pair:
    def __init__(self, kernel, repl, network, noise, direction, seed, say):
        self.kernel, self.repl, self.network, self.noise = kernel, repl, network, noise
        self.first, self.second = (kernel, repl) if direction == "kernel" else (repl, kernel)
        self.direction, self.seed, self.random, self.say = direction, seed, random.Random(seed), say
        self.nodes = (self.first, self.second)
        self.options = Options()
        self.allowed = [LEAVING]   # patterns of complaints a scenario brings about on purpose
        self.connects = 0          # how often the nodes should have shaken hands
        self.any_connects = False  # when a scenario cuts at random
        self.expected = {}         # volume -> bytearray
        self.uncertain = {}        # volume -> [(offset, length)]: written without an answer, or given up
        self.lock = threading.Lock()
        self.proxy, self.rules_path = None, os.path.join(os.path.dirname(repl.disks[0]), "rules")

    def other(self, node):
        return self.second if node is self.first else self.first

    # MARK: Setting up

    def configure(self, options):
        self.options = options
        for node in self.nodes:
            node.configure(configuration(options, (self.kernel, self.repl), node.name))

    def prepare(self, options=None):
        self.options = options or Options()
        self.end_proxy()
        if self.options.proxy is not None:
            self.begin_proxy()
        for node in self.nodes:
            node.prepare(configuration(self.options, (self.kernel, self.repl), node.name))

    # MARK: The proxy

    def begin_proxy(self):
        for address in PROXIES.values():
            self.network.add_address(address)
        self.rules(self.options.proxy)
        # It accepts connections for a node that does not listen yet, and has to end them again.
        self.any_connects = True
        self.allowed += [PROXIED, r"State change failed: In transient state", r"mask = 0x", r"old_conn:BrokenPipe"]
        program = os.path.join(os.path.dirname(__file__), "proxy.py")
        with open(self.rules_path + ".log", "w") as log:
            self.proxy = subprocess.Popen(self.network.command([sys.executable, program, self.rules_path]), stdout=log)
        deadline = time.monotonic() + 30
        while "ready" not in self.proxy_log():
            if self.proxy.poll() is not None or time.monotonic() > deadline:
                raise CheckFailed(f"the proxy did not come up: {self.proxy_log()[-400:]}")
            time.sleep(0.05)

    def proxy_log(self):
        with open(self.rules_path + ".log") as log:
            return log.read()

    def rules(self, text):
        """What the proxy does from now on."""
        with open(self.rules_path + ".new", "w") as file:
            file.write(text + "\n")
        os.replace(self.rules_path + ".new", self.rules_path)

    def end_proxy(self):
        if self.proxy:
            self.proxy.kill()
            self.proxy.wait()
            self.proxy = None

    def bring_up(self, options=None):
        """Fresh metadata, both up, connected."""
        self.prepare(options)
        for node in self.nodes:
            node.create_md()
        for node in self.nodes:
            node.up()
        self.connected("Inconsistent/Inconsistent")

    def synced(self, options=None):
        """Connected and UpToDate without a resync: both disks are blank."""
        self.bring_up(options)
        for volume in range(self.options.volumes):
            self.first.adm(f"new-current-uuid --clear-bitmap r0/{volume}")
        self.settled()
        self.expect_blank()

    def expect_blank(self):
        for volume in range(self.options.volumes):
            self.expected[volume] = bytearray(self.size(volume))
            self.uncertain[volume] = []

    def size(self, volume=0):
        return self.kernel.size(volume)

    # MARK: Failures

    def cut(self):
        """Unplugs the cable between the nodes."""
        self.allowed += [SEVERED]
        self.kernel.machine.plug(False)

    def mend(self):
        self.kernel.machine.plug(True)

    def crash(self, node):
        """A power cut of the machine, or the end of repld by SIGKILL."""
        self.allowed += [SEVERED]
        node.crash()

    def pause(self, node):
        """It stands still, and knows nothing of it afterwards."""
        self.allowed += [SEVERED]
        node.pause()

    # MARK: Waiting

    def linked(self, timeout=60):
        """Until the nodes have met, whatever follows."""
        for node in self.nodes:
            for volume in range(self.options.volumes):
                node.wait(timeout, volume, test=lambda s: s.connection not in APART)

    def connected(self, disks=None, timeout=60):
        """After something that had to lead to one new connection."""
        self.connects += 1
        self.linked(timeout)
        for node in self.nodes if disks else ():
            for volume in range(self.options.volumes):
                node.wait(timeout, volume, disks=disks)

    def settled(self, disks="UpToDate/UpToDate", timeout=240):
        """Nothing left to resync on either node, both agree."""
        for node in self.nodes:
            for volume in range(self.options.volumes):
                node.wait(timeout, volume, connection="Connected", disks=disks, out_of_sync=0)

    def agree(self, volume=0):
        """The two nodes say the same about each other, now."""
        a, b = self.first.state(volume), self.second.state(volume)
        if (a.role, a.peer_role, a.disk, a.peer_disk) != (b.peer_role, b.role, b.peer_disk, b.disk):
            raise CheckFailed(f"the nodes disagree: {self.first.name} {a}; {self.second.name} {b}")

    def check(self, condition, text):
        if not condition:
            raise CheckFailed(text)

    # MARK: The application

    def some_extents(self, count, region=None, largest=64 * KiB, volume=0):
        """Random extents of 4 KiB units that do not overlap, with what to write there."""
        begin, end = region or (0, len(self.expected[volume]))
        taken, extents = [], []
        while len(extents) < count:
            length = self.random.choice([4, 4, 8, 16, 64]) * KiB
            length = min(length, largest)
            offset = self.random.randrange(begin // 4096, (end - length) // 4096 + 1) * 4096
            if any(offset < o + n and o < offset + length for o, n in taken):
                continue
            taken.append((offset, length))
            extents.append((offset, length, self.random.randrange((len(self.noise) - length) // 4096) * 4096))
        return extents

    def write(self, node, extents, volume=0, **how):
        """Writes, and remembers it: answered writes must be there, others may be."""
        try:
            node.write(extents, volume, **how)
        except Exception:
            with self.lock:
                self.uncertain[volume] += [(offset, length) for offset, length, _ in extents]
            raise
        with self.lock:
            for offset, length, at in extents:
                self.expected[volume][offset:offset + length] = self.noise[at:at + length]

    def expect_zero(self, offset, length, volume=0):
        self.expected[volume][offset:offset + length] = bytes(length)

    def load(self, node, region=None, **how):
        return Load(self, node, region, **how)

    # MARK: The end

    def compare(self, contents=True):
        """Both data areas are equal, byte for byte, and hold what was answered."""
        for volume in range(self.options.volumes):
            size = len(self.expected[volume])
            with open(self.kernel.disks[volume], "rb") as a, open(self.repl.disks[volume], "rb") as b:
                kernel, repl = a.read(size), b.read(size)
            if kernel != repl:
                raise CheckFailed(f"the devices of volume {volume} differ: {differences(kernel, repl)}")
            if contents:
                want = self.expected[volume]
                for offset, length in self.uncertain[volume]:
                    want[offset:offset + length] = kernel[offset:offset + length]
                if kernel != want:
                    raise CheckFailed(f"volume {volume} does not hold what was written: {differences(kernel, want)}")

    def forget_expected(self):
        """What the devices hold is only compared with each other from here on."""
        for volume in range(self.options.volumes):
            self.uncertain[volume] = [(0, len(self.expected[volume]))]

    def judge(self, contents=True, disks="UpToDate/UpToDate", settle=240):
        """The end of most scenarios: settled, agreed, equal."""
        if settle:
            self.settled(disks, settle)
        for volume in range(self.options.volumes):
            self.agree(volume)
        if self.options.protocol == "C":
            self.compare(contents)
            return
        # What was answered may still be on its way.
        deadline = time.monotonic() + 10
        while True:
            try:
                return self.compare(contents)
            except CheckFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def check_logs(self):
        found = [f"{node.name}: {line}" for node in self.nodes for line in node.complaints(self.allowed)]
        if found:
            raise CheckFailed("complaints:\n  " + "\n  ".join(found[:8]))
        if not self.any_connects:
            kernels = [node for node in self.nodes if node.kind == "kernel"]
            for node in kernels:
                seen = node.handshakes()
                if seen != self.connects:
                    raise CheckFailed(f"{node.name} shook hands {seen} times where {self.connects} were due")


class Load:
    """Writes one small batch after the other until told to stop, on a node that may fail or change."""

    def __init__(self, pair, node, region=None, batch=4, volume=0, tolerant=False, pause=0.05, flush=False):
        self.pair, self.node, self.region, self.batch, self.volume = pair, node, region, batch, volume
        self.tolerant, self.pause, self.flush = tolerant, pause, flush
        self.stopping, self.error, self.count = threading.Event(), None, 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping.is_set():
            try:
                extents = self.pair.some_extents(self.batch, self.region, volume=self.volume)
                self.pair.write(self.node, extents, self.volume, flush=self.flush)
                self.count += 1
            except Exception as error:
                self.error = error
                return
            time.sleep(self.pause)

    def wait(self, count, timeout=60):
        deadline = time.monotonic() + timeout
        while self.count < count and not self.error:
            if time.monotonic() > deadline:
                raise CheckFailed(f"the load on {self.node.name} stands still at {self.count} batches of {count}")
            time.sleep(0.05)
        if self.error and not self.tolerant:
            raise self.error

    def stop(self, timeout=120):
        self.stopping.set()
        self.thread.join(timeout)
        if self.thread.is_alive():
            raise CheckFailed(f"a write on {self.node.name} does not end")
        if self.error and not self.tolerant:
            raise self.error
        return self.count


def differences(a, b):
    blocks = [block for block in range(0, max(len(a), len(b)), 4096) if a[block:block + 4096] != b[block:block + 4096]]
    shown = ", ".join(str(block // 4096) for block in blocks[:12])
    return f"{len(blocks)} blocks of 4 KiB, the first {shown}"


def digest(data):
    return hashlib.sha256(data).hexdigest()


__all__ = ["Pair", "Options", "CheckFailed", "StateNotReached", "Load", "digest", "KiB", "MiB"]
