#!/usr/bin/env python3
"""From kernel DRBD to repl and back, under a mounted file system that is being written. Called by scripts/migrate-demo.sh."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)

from lab.kernel_node import LEAVING  # noqa: E402
from lab.machine import Machine, MachineError  # noqa: E402
from lab.namespace_host import HostError, NamespaceHost  # noqa: E402
from lab.network import Network  # noqa: E402
from lab.node import MiB  # noqa: E402
from lab.state import from_proc  # noqa: E402

CACHE = os.environ.get("REPL_INTEROP_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "repl-interop")
# XFS takes no device under 300 MiB.
SIZE = 320 * MiB
CONFIG = """resource r0 {
  net { protocol C; ping-timeout 30; timeout 60; connect-int 3; }
  disk { resync-rate 200M; c-plan-ahead 0; al-extents 67; }
  device /dev/drbd0 minor 0;
  meta-disk internal;
  on alpha { disk /dev/vda; address 10.77.0.1:7789; }
  on beta  { disk %s; address 10.77.0.2:7789; }
}
"""
# One file after the other, each durable before its checksum is noted. Stops when /run/stop appears.
WRITER = """i=$(cat /mnt/last 2>/dev/null || echo 0)
while [ ! -e /run/stop ]; do
  i=$((i + 1))
  dd if=NOISE of=/mnt/f$i bs=4096 skip=$((i * 37 % 16000)) count=$((1 + i % 24)) conv=fsync 2>/run/dd || exit 1
  (cd /mnt && sha256sum f$i) >>/mnt/sums && echo $i >/mnt/last && sync || exit 1
done
echo $i >/run/stopped
"""


def say(text):
    print(f"\n## {text}\n", flush=True)


def check(condition, words):
    if not condition:
        raise AssertionError(words)


class Kernel:
    """A machine with the kernel's DRBD, as an administrator uses it."""
    share = "/share/noise"

    def __init__(self, machine):
        self.machine, self.name = machine, machine.name

    def quiet(self, command, timeout=120, check=True):
        return self.machine.run(command, timeout=timeout, check=check)

    def background(self, script):
        self.machine.run("cat >/run/writer", stdin=script)
        self.machine.run("rm -f /run/stop /run/stopped; setsid sh /run/writer </dev/null >/run/writer.log 2>&1 &")

    def state(self):
        return from_proc(self.quiet("cat /proc/drbd")).get(0)


class Host:
    """The host with repld."""

    def __init__(self, host, noise):
        self.host, self.name, self.share = host, host.name, noise

    def quiet(self, command, timeout=120, check=True):
        return self.host.run(command, timeout=timeout, check=check)

    def background(self, script):
        self.host.run("cat >/run/writer <<'END'\n" + script + "END\nrm -f /run/stop /run/stopped")
        self.host.start("sh /run/writer")


def at(node, command, timeout=120):
    """Shows the command and what it prints; it must succeed."""
    print(f"{node.name}# {command}", flush=True)
    output = node.quiet(command, timeout=timeout)
    if output.strip():
        print(output.rstrip(), flush=True)
    return output


def until(what, test, timeout=120):
    deadline = time.monotonic() + timeout
    while not test():
        check(time.monotonic() < deadline, f"not within {timeout} s: {what}")
        time.sleep(0.3)


class Story:
    def __init__(self, flavour):
        self.work = tempfile.mkdtemp(prefix="rm-")
        self.network = Network(f"rm-{os.getpid()}")
        self.flavour, self.loop, self.nodes = flavour, None, []
        self.noise = os.path.join(CACHE, flavour, "share", "noise")

    def disk(self, name):
        path = os.path.join(self.work, f"{name}.img")
        with open(path, "wb") as file:
            file.truncate(SIZE)
        return path

    def machine(self, name, number):
        machine = Machine(name, self.flavour, CACHE, os.path.join(self.work, "vm"), self.network, f"10.77.0.{number}",
                          [self.disk(name)])
        self.nodes.append(machine)
        machine.start()
        machine.run("cat >/etc/drbd.d/r0.res", stdin=CONFIG % "/dev/vda")
        return Kernel(machine)

    # MARK: The application

    def mount(self, node):
        at(node, "mkdir -p /mnt && mount -t xfs /dev/drbd0 /mnt")

    def write(self, node):
        node.background(WRITER.replace("NOISE", node.share))
        print(f"({node.name} writes one file after the other, each with fsync)", flush=True)

    def written(self, node):
        return int(node.quiet("cat /mnt/last 2>/dev/null || echo 0").strip() or 0)

    def grows(self, node, files):
        begin = self.written(node)
        until("the writer goes on", lambda: self.written(node) >= begin + files, 180)

    def stop(self, node):
        node.quiet("touch /run/stop")
        until("the writer stops", lambda: node.quiet("ls /run/stopped 2>/dev/null; true").strip() != "")

    def checksums(self, node):
        bad = node.quiet("cd /mnt && sha256sum -c sums 2>&1 | grep -v ': OK$'; true", timeout=300).strip()
        check(bad == "", f"files differ on {node.name}:\n{bad[:600]}")
        count = int(node.quiet("wc -l </mnt/sums").strip())
        check(count == self.written(node), f"{count} checksums of {self.written(node)} files")
        print(f"({node.name}: {count} files, every checksum holds)", flush=True)
        return count

    # MARK: The story

    def run(self):
        begun = time.monotonic()
        say("1. Two machines with the kernel's DRBD; alpha is Primary, XFS is mounted and being written")
        alpha, old = self.machine("alpha", 1), self.machine("beta", 2)
        version = alpha.quiet("cat /proc/drbd").split()[1]
        print(f"alpha and beta run Linux {alpha.quiet('uname -r').strip()} with DRBD {version}")
        for node in (alpha, old):
            at(node, "drbdadm create-md --force r0 2>/dev/null")
            at(node, "drbdadm up r0")
        until("alpha and beta are connected", lambda: alpha.state().fits(connection="Connected"))
        at(alpha, "drbdadm -- --clear-bitmap new-current-uuid r0")
        at(alpha, "drbdadm primary r0")
        at(alpha, "mkfs.xfs -q /dev/drbd0", timeout=240)
        self.mount(alpha)
        self.write(alpha)
        self.grows(alpha, 10)
        at(alpha, "cat /proc/drbd")

        say("2. beta's machine is taken away; the application on alpha goes on")
        at(old, "drbdadm down r0")
        old.machine.kill()
        self.grows(alpha, 10)
        missing = alpha.state().out_of_sync
        print(f"(out of sync by now: {missing} KiB of {SIZE >> 10})")

        say("3. repld takes the old disk, with the metadata the kernel left on it, and beta's address")
        self.loop = subprocess.run(["losetup", "--find", "--show", old.machine.disks[0]], check=True,
                                   capture_output=True, text=True).stdout.strip()
        self.network.add_address("10.77.0.2")
        directory = os.path.join(self.work, "hosts")
        os.makedirs(directory)
        host = NamespaceHost("beta", self.network, directory,
                             {"PATH": os.environ["REPL_PROGRAMS"] + ":" + os.environ["PATH"]})
        self.nodes.append(host)
        host.configure(CONFIG % self.loop)
        beta = Host(host, self.noise)
        print(f"(the file is the same but for the disk: {self.loop} holds what was beta's /dev/vda)")
        before = alpha.quiet("dmesg | grep -c 'Began resync' || true").strip()
        at(beta, "repladm up r0")
        at(beta, "repladm wait-sync r0")
        until("both UpToDate", lambda: alpha.state().fits(connection="Connected", disks="UpToDate/UpToDate"))
        at(beta, "repladm status r0")
        resyncs = [int(kib) for kib in re.findall(r"will sync (\d+) KB", alpha.quiet("dmesg | grep 'Began resync'"))]
        check(len(resyncs) == int(before) + 1, f"one resync, not {resyncs}")
        check(missing <= resyncs[-1] < SIZE >> 12, f"{resyncs[-1]} KiB were resynced, {missing} were out of sync before")
        print(f"(resynced by the bitmap: {resyncs[-1]} KiB of {SIZE >> 10})")

        say("4. Switch-over to repl, planned")
        self.grows(alpha, 5)
        self.stop(alpha)
        self.checksums(alpha)
        at(alpha, "umount /mnt")
        at(alpha, "drbdadm secondary r0")
        at(beta, "repladm primary r0")
        self.mount(beta)
        self.checksums(beta)
        self.write(beta)
        self.grows(beta, 40)
        at(beta, "repladm status r0")

        say("5. And back to the kernel")
        self.stop(beta)
        at(beta, "umount /mnt")
        at(beta, "repladm secondary r0")
        at(alpha, "drbdadm primary r0")
        self.mount(alpha)
        self.checksums(alpha)
        self.write(alpha)
        self.grows(alpha, 5)
        self.stop(alpha)
        files = self.checksums(alpha)
        at(alpha, "umount /mnt")
        at(alpha, "drbdadm secondary r0")
        size = int(alpha.quiet("cat /sys/block/drbd0/size")) * 512
        at(beta, "repladm down r0")
        at(alpha, "drbdadm down r0")
        complaints = [line for line in alpha.quiet("dmesg -r").splitlines()
                      if re.match(r"<[0-3]>", line) and "drbd" in line and not re.search(LEAVING, line)]
        check(not complaints, "the kernel complained:\n" + "\n".join(complaints[:10]))
        alpha.machine.kill()
        compared = subprocess.run(["cmp", "-n", str(size), alpha.machine.disks[0], self.loop], capture_output=True, text=True)
        check(compared.returncode == 0, f"the two disks differ: {compared.stdout or compared.stderr}")
        print(f"(both disks are equal over {size >> 10} KiB; {files} files; {time.monotonic() - begun:.0f} s)")

    def end(self):
        for node in reversed(self.nodes):
            if isinstance(node, NamespaceHost):
                try:
                    node.run("umount /mnt 2>/dev/null; timeout 20 repladm down r0 >/dev/null 2>&1; true", timeout=40)
                except (HostError, OSError, subprocess.TimeoutExpired):
                    pass
                node.end()
            else:
                node.kill()
        if self.loop:
            subprocess.run(["losetup", "--detach", self.loop], check=False)
        self.network.remove()
        shutil.rmtree(self.work, ignore_errors=True)


def main():
    flavour = sys.argv[1] if len(sys.argv) > 1 else "stable"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    story = Story(flavour)
    try:
        story.run()
    except (AssertionError, MachineError, HostError) as error:
        print(f"\nFAILED: {error}", flush=True)
        for node in story.nodes:
            try:
                if isinstance(node, NamespaceHost):
                    print(node.run("tail -30 /run/repl/r0.log; cat /run/background.log", check=False)[1])
                elif node.running:
                    print(node.run("dmesg | tail -20; cat /proc/drbd; cat /run/writer.log /run/dd", check=False)[1])
            except (MachineError, HostError):
                pass
        return 1
    finally:
        story.end()
    print("\nThe story holds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
