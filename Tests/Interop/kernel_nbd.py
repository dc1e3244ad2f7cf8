#!/usr/bin/env python3
"""The block device of a promotion by the kernel's nbd, in one virtual machine with both nodes. Called by
scripts/interop.sh kernel-nbd, which installs and builds what is needed first."""

import argparse
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

from lab.machine import Machine, MachineError  # noqa: E402
from lab.network import Network  # noqa: E402
from lab.pair import MiB  # noqa: E402
from lab.table import Result, write_table  # noqa: E402

CACHE = os.environ.get("REPL_INTEROP_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "repl-interop")
ONE, TWO = "one", "two"
# XFS takes no device under 300 MiB.
SIZES = [320 * MiB, 320 * MiB, 16 * MiB, 16 * MiB]
GROWN = 384 * MiB
CONFIG = """resource r0 {
  protocol C;
  net { ping-timeout 50; timeout 100; connect-int 3; }
  disk { resync-rate 200M; c-max-rate 400M; c-fill-target 2M; }
  on one {
    address 127.0.0.1:7789;
    volume 0 { device /dev/drbd0 minor 0; disk /dev/vda; meta-disk internal; }
    volume 1 { device /dev/drbd1 minor 1; disk /dev/vdc; meta-disk internal; }
  }
  on two {
    address 127.0.0.1:7790;
    volume 0 { device /dev/drbd10 minor 10; disk /dev/vdb; meta-disk internal; }
    volume 1 { device /dev/drbd11 minor 11; disk /dev/vdd; meta-disk internal; }
  }
}
"""
# Numbered blocks, each durable before its number is given out.
WRITER = """i=0
while [ ! -e /run/stop ]; do
  i=$((i + 1))
  echo $i | dd of=/mnt/blocks bs=4096 seek=$i conv=notrunc,fsync,sync 2>/run/writer.dd || { echo $i >/run/failed; exit 1; }
  echo $i >/run/durable
done
"""


def say(text):
    print(f"[{time.strftime('%T')}] {text}", flush=True)


def check(condition, words):
    if not condition:
        raise AssertionError(words)


class Story:
    def __init__(self, machine):
        self.machine = machine

    def run(self, command, timeout=240, check=True):
        return self.machine.run(command, timeout=timeout, check=check)

    def repladm(self, node, line):
        return (f"export LD_LIBRARY_PATH=/share/lib REPL_CONFIG=/etc/r0.conf REPL_RUN_DIR=/run/{node} "
                f"__DRBD_NODE__={node}; /root/repladm {line}")

    def adm(self, node, line, check=True):
        """`repladm` as the operator of that node."""
        begun = time.monotonic()
        answer = self.run(self.repladm(node, line), check=check)
        say(f"{node}: repladm {line}: {'done' if check else f'exit {answer[0]}'} ({time.monotonic() - begun:.1f} s)")
        for text in [answer] if check else answer[1:]:
            for row in text.splitlines():
                say(f"    {row}")
        return answer

    def wait(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while self.run(condition, check=False)[0] != 0:
            check(time.monotonic() < deadline, f"not within {seconds} s: {what}")
            time.sleep(0.5)

    def kill_daemon(self, node):
        self.run(f"pid=$(cat /run/{node}/r0.pid); kill -9 $pid; while [ -d /proc/$pid ]; do usleep 20000; done")
        say(f"{node}: repld killed")

    def number(self, path):
        return int(self.run(f"cat {path}").strip() or 0)

    def connected(self):
        return self.run("ls -d /sys/block/nbd*/pid 2>/dev/null | wc -l").strip()

    def no_device(self, node):
        found = self.run("for f in /dev/drbd0 /dev/drbd1 /dev/drbd10 /dev/drbd11 /dev/drbd/by-res/r0*; do "
                         f"[ ! -e $f ] || echo $f; done; ls /run/{node}/*.device 2>/dev/null; true").split()
        check(not found, f"left behind: {' '.join(found)}")
        check(self.connected() == "0", f"{self.connected()} nbd devices are connected still")

    def no_errors(self):
        found = [line for line in self.run("dmesg").splitlines()
                 if re.search(r"I/O error|Buffer I/O|XFS.*(error|shut)|Remounting|BUG:|Oops|WARNING:", line)]
        check(not found, "the kernel complains: " + "; ".join(found[:5]))

    # MARK: The chapters

    def prepare(self):
        self.run("mkdir -p /mnt /mnt2 /run/one /run/two; cp /share/repld /share/repladm /root/; cat >/etc/r0.conf <<'E'\n"
                 + CONFIG + "E")
        say(f"Linux {self.run('uname -r').strip()}")
        # As an operator would: with partitions, and fewer devices than are wanted.
        self.run("modprobe nbd nbds_max=1")
        for node in (ONE, TWO):
            self.adm(node, "create-md --force r0")
        for node in (ONE, TWO):
            self.adm(node, "up r0")
        self.adm(ONE, "wait-connect r0")

    def promotion(self):
        self.adm(ONE, "primary --force r0")
        for volume in (0, 1):
            facts = self.run(f"set -e; test -b /dev/drbd{volume}; stat -c %t:%T /dev/drbd{volume}; "
                             f"cat /sys/block/nbd{volume}/dev /sys/block/nbd{volume}/size "
                             f"/sys/block/nbd{volume}/backend /sys/block/nbd{volume}/queue/write_cache "
                             f"/sys/block/nbd{volume}/queue/fua /sys/block/nbd{volume}/queue/io_timeout; "
                             f"readlink -f /dev/drbd/by-res/r0/{volume}").split("\n")
            say(f"    /dev/drbd{volume}: {' | '.join(facts).strip(' |')}")
            check(facts[0].startswith("2b:"), "the device is no nbd device")
            check(facts[3] == f"/run/one/r0-{volume}.nbd", "something else is behind it")
            check(facts[4] == "write back", "flushes will not be sent")
        self.adm(ONE, "primary r0")
        check(self.connected() == "2", "a second promotion changed the devices")

    def file_system(self):
        self.run("modprobe xfs; mkfs.xfs -q -f /dev/drbd0 && mount -t xfs /dev/drbd0 /mnt", timeout=400)
        self.run("dd if=/dev/urandom of=/run/noise bs=64k count=128 2>/dev/null; cp /run/noise /mnt/noise; "
                 "dd if=/dev/null of=/mnt/noise bs=1 count=0 conv=notrunc,fsync 2>/dev/null")
        say("XFS made and mounted, 8 MiB written, fsync")
        status, _, errors = self.adm(ONE, "secondary r0", check=False)
        check(status == 11 and "(-12)" in errors and "mounted on /mnt" in errors, "demotion was not refused as it must be")
        status, _, errors = self.adm(ONE, "down r0", check=False)
        check(status == 11 and "mounted on /mnt" in errors, "`down` was not refused as it must be")
        self.run("cmp /run/noise /mnt/noise")
        self.adm(ONE, "wait-sync r0")

    def start_writer(self):
        self.run("rm -f /run/stop /run/failed; echo 0 >/run/durable; cat >/run/writer.sh <<'E'\n" + WRITER + "E\n"
                 "setsid sh /run/writer.sh </dev/null >/dev/null 2>&1 & true")
        self.wait("[ $(cat /run/durable) -ge 5 ]", 120, "the writer writes")

    def stop_writer(self):
        self.run("touch /run/stop; while pgrep -f writer.sh >/dev/null; do usleep 100000; done", timeout=120)

    def death(self):
        """repld dies under a file system in use; the next one serves it on."""
        self.start_writer()
        self.kill_daemon(ONE)
        time.sleep(3)
        held = self.number("/run/durable")
        time.sleep(2)
        check(self.number("/run/durable") == held, "something was called durable without a daemon")
        check(self.run("[ -e /run/failed ] && echo yes; true") == "", "a write failed instead of waiting")
        say(f"block {held} was the last, the writer waits")
        self.adm(ONE, "up r0")
        self.adm(ONE, "wait-connect r0")
        check(self.connected() == "2", "the devices did not outlive their daemon")
        begun = time.monotonic()
        self.adm(ONE, "primary r0")
        self.wait(f"[ $(cat /run/durable) -ge {held + 10} ]", 120, "the writer goes on")
        say(f"the writer goes on ({time.monotonic() - begun:.1f} s after the promotion was asked for)")
        self.stop_writer()
        check(self.run("[ -e /run/failed ] && echo yes; true") == "", "a write failed")
        self.run("cmp /run/noise /mnt/noise; touch /mnt/alive")
        self.no_errors()
        self.adm(ONE, "wait-sync r0")
        last = self.number("/run/durable")
        self.run("umount /mnt")
        self.adm(ONE, "secondary r0")
        self.no_device(ONE)
        # The other node has all of it.
        self.adm(TWO, "primary r0")
        self.run("mount -t xfs /dev/drbd10 /mnt")
        read = self.run(f"cmp /run/noise /mnt/noise && i=1; while [ $i -le {last} ]; do "
                        "dd if=/mnt/blocks bs=4096 skip=$i count=1 2>/dev/null | head -1 | tr -d '\\0'; i=$((i + 1)); done",
                        timeout=400)
        check(read.split() == [str(i) for i in range(1, last + 1)], "the other node lacks durable blocks")
        self.run("umount /mnt")
        self.adm(TWO, "secondary r0")
        self.no_device(TWO)
        say(f"{last} blocks are on the other node")

    def give_up(self):
        """repld dies, and the operator wants no more of it: nothing hangs."""
        self.adm(ONE, "primary r0")
        self.run("mount -t xfs /dev/drbd0 /mnt")
        self.start_writer()
        self.kill_daemon(ONE)
        self.adm(ONE, "down r0")
        self.wait("[ -e /run/failed ]", 60, "the waiting write gets its error")
        self.run("umount /mnt", timeout=60)
        self.wait("! ls /sys/block/nbd*/pid 2>/dev/null", 20, "the kernel lets go")
        self.no_device(ONE)
        say("given up: the write failed, the file system could be unmounted")

    def take_over(self):
        """repld dies, the other node takes over and writes: the old mount must never see the new data."""
        self.adm(ONE, "up r0")
        self.adm(ONE, "wait-connect r0")
        self.adm(ONE, "wait-sync r0")
        self.adm(ONE, "primary r0")
        self.run("mount -t xfs /dev/drbd0 /mnt; ls /mnt >/dev/null")
        self.kill_daemon(ONE)
        # The kernel closes a dead process's sockets when it gets round to it.
        self.wait(f"! ({self.repladm(TWO, 'status r0')}) | grep -q 'one role:Primary'", 60, "the other node misses its peer")
        self.adm(TWO, "primary r0")
        self.run("mount -t xfs -o nouuid /dev/drbd10 /mnt2; cp /run/noise /mnt2/taken; umount /mnt2")
        self.adm(TWO, "secondary r0")
        self.adm(ONE, "up r0")
        self.adm(ONE, "wait-connect r0")
        self.adm(ONE, "wait-sync r0")
        self.adm(ONE, "primary r0")
        status = self.run("dd if=/dev/zero of=/mnt/stale bs=4096 count=1 conv=fsync", check=False)[0]
        check(status != 0, "the old mount was let loose on changed data")
        self.run("umount /mnt; mount -t xfs /dev/drbd0 /mnt; cmp /run/noise /mnt/taken; umount /mnt")
        say("the old mount got errors, a new one sees what the other node wrote")
        self.adm(ONE, "secondary r0")
        self.no_device(ONE)

    def growing(self):
        """The disks of both nodes grow under a mounted file system that is written, and the device with them."""
        self.adm(ONE, "primary r0")
        self.run("mount -t xfs /dev/drbd0 /mnt")
        self.start_writer()
        was = self.number("/sys/block/nbd0/size")
        for disk in ("d0", "d1"):
            self.machine.monitor("block_resize", device=disk, size=GROWN)
        self.wait(f"[ $(cat /sys/block/vda/size) = {GROWN // 512} ] && [ $(cat /sys/block/vdb/size) = {GROWN // 512} ]",
                  20, "the machine sees larger disks")
        said = self.adm(ONE, "resize r0/0")
        now = self.number("/sys/block/nbd0/size")
        check(now > was + (GROWN - SIZES[0] - MiB) // 512, f"the device has {now} sectors still, it had {was}")
        check(f"/dev/drbd0 has {now // 2} KiB now" in said, "the command does not say so")
        self.adm(ONE, "wait-sync r0")
        held = self.number("/run/durable")
        self.wait(f"[ $(cat /run/durable) -ge {held + 5} ]", 60, "the writer goes on")
        self.stop_writer()
        check(self.run("[ -e /run/failed ] && echo yes; true") == "", "a write failed")
        self.run("cmp /run/noise /mnt/taken; umount /mnt")
        self.run(f"dd if=/run/noise of=/dev/drbd0 bs=64k count=16 seek={now // 128 - 16} conv=fsync 2>/dev/null")
        self.adm(ONE, "secondary r0")
        self.adm(TWO, "primary r0")
        self.run("set -e; [ $(cat /sys/block/nbd0/size) = %d ]; dd if=/run/noise bs=64k count=16 of=/run/one.piece 2>/dev/null; "
                 "dd if=/dev/drbd10 bs=64k count=16 skip=%d of=/run/piece 2>/dev/null; cmp /run/one.piece /run/piece"
                 % (now, now // 128 - 16))
        self.adm(TWO, "secondary r0")
        for node in (ONE, TWO):
            check("successfully moved" in self.run(f"cat /run/{node}/r0.log"), f"{node} has not moved its metadata")

    def loading(self):
        """Where nobody has loaded the module, promotion does."""
        self.run("rmmod nbd")
        self.adm(ONE, "primary r0")
        check(self.number("/sys/module/nbd/parameters/max_part") == 0, "the device could have partitions")
        self.adm(ONE, "secondary r0")
        self.no_device(ONE)

    def end(self):
        for node in (ONE, TWO):
            self.adm(node, "down r0")
        check(self.run("pgrep repld || true") == "", "a daemon is left")


def share(directory, programs):
    """What the machine sees: the programs and the libraries they need."""
    os.makedirs(os.path.join(directory, "lib"))
    for name in ("repld", "repladm"):
        program = os.path.join(programs, name)
        shutil.copy(program, directory)
        subprocess.run(["strip", os.path.join(directory, name)], check=False)
        needed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        for path in re.findall(r"=> (/\S+)", needed):
            shutil.copy(path, os.path.join(directory, "lib"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flavour", default="stable", choices=["stable", "backports"])
    parser.add_argument("--keep", action="store_true", help="leave the files of a failure")
    parser.add_argument("--table", help="merge the result into this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = tempfile.mkdtemp(prefix="rn-")
    network, machine, failed = Network(f"rn-{os.getpid()}"), None, True
    begun, trouble = time.monotonic(), "it was broken off"
    try:
        share(os.path.join(work, "share"), os.environ["REPL_PROGRAMS"])
        disks = []
        for number, size in enumerate(SIZES):
            disks.append(os.path.join(work, f"disk{number}.img"))
            with open(disks[-1], "wb") as file:
                file.truncate(size)
        machine = Machine("nbd", options.flavour, CACHE, os.path.join(work, "vm"), network, "10.77.0.1", disks,
                          memory=1024, share=os.path.join(work, "share"))
        machine.start()
        story = Story(machine)
        for chapter in (story.prepare, story.promotion, story.file_system, story.death, story.give_up, story.take_over,
                        story.growing, story.loading, story.end):
            say(f"== {chapter.__name__}")
            chapter()
        failed, trouble = False, None
        say("OK")
    except (AssertionError, MachineError) as error:
        trouble = str(error)
        say(f"FAILED: {error}")
        if machine and machine.running:
            for command in ("ps", "tail -30 /run/one/r0.log /run/two/r0.log", "cat /run/*/*.device"):
                try:
                    print(machine.run(command, check=False)[1])
                except MachineError as lost:
                    print(lost)
    finally:
        if machine:
            if failed:
                print("".join(machine.read("console.log").splitlines(keepends=True)[-60:]))
            release = machine.release
            machine.kill()
            if options.table:
                write_table(options.table, [Result("kernel-nbd", "both nodes in one machine: the device by the kernel's nbd, "
                                                   "XFS on it, repld killed and started again under it", "both", release,
                                                   trouble, "", time.monotonic() - begun)])
        network.remove()
        if failed and options.keep:
            say(f"kept {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
