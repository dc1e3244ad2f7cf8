"""A node with the kernel's own DRBD 8.4, in a virtual machine."""

import re

from .machine import CommandFailed, MachineError
from .node import MiB, Node
from .state import from_proc

FIO = "LD_LIBRARY_PATH=$(echo /share/usr/lib/* /share/usr/lib/*/* | tr ' ' :) /share/usr/sbin/fio"

# Lines of level error that say nothing about the peer's behaviour: what the kernel says when the peer leaves in good order
# while something is under way,
LEAVING = r"sock_recvmsg returned -104|sock_sendmsg returned -(32|104)|meta connection shut down by peer|sock was shut down by peer"
# when the cable is cut, or a node dies or stands still,
SEVERED = r"PingAck did not arrive in time|drbd_send_block\(\) failed|got_Ping \S+ failed|error receiving (RS)?Data"
# and when something in between accepts connections for a peer that does not.
PROXIED = r"connect failed, err = -104"


class KernelNode(Node):
    tool = "drbdadm"

    def __init__(self, machine):
        super().__init__(machine.disks)
        self.machine = machine
        self.name, self.address = machine.name, machine.address
        self.config = None
        self.former = ""  # kernel messages before a power cut
        self.sizes = ""

    @property
    def kind(self):
        return "kernel"

    @property
    def alive(self):
        return self.machine.running

    @property
    def faulty(self):
        return self.machine.faulty

    def adm(self, line, check=True, timeout=60):
        return self.machine.run(f"drbdadm {line}", timeout=timeout, check=check)

    def backing(self, volume):
        return f"/dev/vd{'abcdef'[volume]}"

    def prepare(self, config):
        """A clean start: nothing configured, blank disks, a new configuration file."""
        if not self.machine.running:
            self.machine.start()
        elif self.config is not None:
            self.machine.run("drbdadm down all 2>/dev/null; drbdsetup-84 r0 down 2>/dev/null; true", timeout=60)
        self.machine.run("dmesg -c >/dev/null")
        self.former = ""
        self.blank_disks()
        self.machine.run("for d in /dev/vd?; do blockdev --flushbufs $d; done; echo 3 >/proc/sys/vm/drop_caches")
        self.configure(config)

    def configure(self, config):
        self.config = config
        self.machine.run("cat >/etc/drbd.d/r0.res", stdin=config)

    def states(self):
        return from_proc(self.machine.run("cat /proc/drbd"))

    def size(self, volume=0):
        """Of the replicated device, in bytes."""
        return int(self.machine.run(f"cat /sys/block/drbd{volume}/size")) * 512

    # MARK: The application

    def write(self, extents, volume=0, flush=False, direct=True, timeout=120):
        """Writes pieces of the noise: (offset, length, offset in the noise), all multiples of 4 KiB."""
        commands = []
        for offset, length, noise in extents:
            unit = 4096
            while length % (unit * 2) == offset % (unit * 2) == noise % (unit * 2) == 0 and unit < MiB:
                unit *= 2
            flags = ("oflag=direct " if direct else "") + ("conv=notrunc,fsync" if flush else "conv=notrunc")
            commands.append(f"dd if=/share/noise of=/dev/drbd{volume} bs={unit} skip={noise // unit} "
                            f"seek={offset // unit} count={length // unit} {flags} 2>/run/dd || {{ cat /run/dd >&2; exit 1; }}")
        if not direct and not flush:
            commands.append(f"sync /dev/drbd{volume} 2>/dev/null || sync")
        for first in range(0, len(commands), 40):
            self.machine.run("\n".join(commands[first:first + 40]), timeout=timeout)

    def flush(self, volume=0):
        self.machine.run(f"dd if=/dev/zero of=/dev/drbd{volume} count=0 conv=notrunc,fsync")

    def write_through(self, offset, length, noise, volume=0):
        """By FUA: a direct write to a device opened for synchronous data. Its unit is one request."""
        self.machine.run(f"/usr/sbin/dd if=/share/noise of=/dev/drbd{volume} bs=4096 skip={noise // 4096} "
                         f"seek={offset // 4096} count={length // 4096} oflag=direct,dsync conv=notrunc 2>/dev/null")

    def fio(self, arguments, timeout=180):
        return self.machine.run(f"{FIO} --allow_file_create=0 {arguments}", timeout=timeout)

    def discard(self, offset, length, volume=0):
        self.machine.run(f"/usr/sbin/blkdiscard -o {offset} -l {length} /dev/drbd{volume}")

    def zero(self, offset, length, volume=0):
        self.machine.run(f"/usr/sbin/blkdiscard -z -o {offset} -l {length} /dev/drbd{volume}")

    def digest(self, offset, length, volume=0, timeout=180):
        """SHA-256 of a range, multiple of 4 KiB, read by the device."""
        unit = 4096
        while length % (unit * 2) == offset % (unit * 2) == 0 and unit < MiB:
            unit *= 2
        return self.machine.run(f"dd if=/dev/drbd{volume} iflag=direct bs={unit} skip={offset // unit} "
                                f"count={length // unit} 2>/dev/null | sha256sum", timeout=timeout).split()[0]

    # MARK: The end of it

    def crash(self):
        self.former += self.kernel_log()
        # A real machine keeps it on its disk: how large the devices were (metadata spec 5.6).
        if self.machine.running and not self.machine.paused:
            self.sizes = self.machine.run("cd /var/lib/drbd 2>/dev/null && grep -H . *.lkbd 2>/dev/null || true")
        self.machine.kill()

    def pause(self):
        self.machine.pause()

    def resume(self):
        self.machine.resume()

    def restart(self):
        """The machine boots again; the resource stays down."""
        self.machine.start()
        self.machine.run("cat >/etc/drbd.d/r0.res", stdin=self.config)
        for line in self.sizes.splitlines():
            name, _, text = line.rpartition(".lkbd:")
            self.machine.run(f"mkdir -p /var/lib/drbd && cat >>/var/lib/drbd/{name}.lkbd", stdin=text + "\n")

    def kernel_log(self):
        return self.machine.run("dmesg -r") if self.machine.running and not self.machine.paused else ""

    def log(self):
        return self.former + self.kernel_log()

    def complaints(self, allowed):
        """Lines of level error and worse, and DRBD's own assertions, without those that a pattern of `allowed` takes out."""
        found = []
        for line in self.log().splitlines():
            level = re.match(r"<(\d+)>", line)
            bad = (level and int(level.group(1)) & 7 <= 3) or re.search(r"ASSERT|BUG|Oops|BAD!|Call Trace", line)
            if bad and "drbd" in line.lower() and not any(re.search(pattern, line) for pattern in allowed):
                found.append(line)
        return found

    def handshakes(self):
        return len(re.findall(r"Handshake successful", self.log()))

    def resynced(self):
        """KiB announced for each resync, from the kernel's own words."""
        return [int(kib) for kib in re.findall(r"Began resync as \S+ \(will sync (\d+) KB", self.log())]

    def end(self):
        for disk in self.faulty:
            disk.mend()
        if self.machine.running:
            if self.machine.paused:
                self.machine.resume()
            try:
                self.machine.run("drbdadm down r0", timeout=30)
            except (CommandFailed, MachineError):
                self.machine.kill()
