"""A virtual machine with a Debian kernel: started, given commands, paused, unplugged, cut off its power.

Pure emulation (no KVM), booted from the images that images.sh packs. Only the process started here is ever signalled.
"""

import base64
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid

PORTS = 4


class MachineError(Exception):
    pass


class CommandFailed(MachineError):
    def __init__(self, machine, command, status, output, errors):
        self.status, self.output, self.errors = status, output, errors
        super().__init__(f"{machine}: `{command[:200]}` ended with {status}: {(errors or output).strip()[-600:]}")


class Port:
    """One virtio-serial port with an agent behind it: one command at a time."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.setblocking(False)
        self.rest = b""
        self.lock = threading.Lock()
        self.lost = False

    def lines(self, deadline):
        while time.monotonic() < deadline:
            *lines, self.rest = self.rest.split(b"\n")
            for line in lines:
                yield line.strip()
            readable, _, _ = select.select([self.socket], [], [], max(0, min(1, deadline - time.monotonic())))
            if readable:
                chunk = self.socket.recv(1 << 16)
                if not chunk:
                    raise MachineError("the machine is gone")
                self.rest += chunk
        raise TimeoutError

    def run(self, command, timeout, stdin, ready=None):
        """(status, output, errors); raises TimeoutError when nothing came back."""
        request = uuid.uuid4().hex[:12]
        line = f"RUN {request} {max(1, int(timeout))} {base64.b64encode(command.encode()).decode()}"
        if stdin:
            line += " " + base64.b64encode(stdin).decode()
        self.send(line.encode() + b"\n", time.monotonic() + 30)
        status, parts = None, [[], []]
        now = 0
        for line in self.lines(time.monotonic() + (ready or timeout + 30)):
            if line.startswith(b"RES "):
                words = line.split()
                status, parts, now = (int(words[2]) if words[1].decode() == request else None), [[], []], 0
            elif line == b"ERR":
                now = 1
            elif line.startswith(b"END "):
                if line[4:].decode() == request and status is not None:
                    return status, *(base64.b64decode(b"".join(part)) for part in parts)
            elif status is not None:
                parts[now].append(line)
        raise TimeoutError

    def send(self, data, deadline):
        while data:
            if time.monotonic() > deadline:
                raise TimeoutError
            _, writable, _ = select.select([], [self.socket], [], 1)
            if writable:
                data = data[self.socket.send(data):]


class Machine:
    def __init__(self, name, flavour, cache, directory, network, address, disks, memory=384, share=None,
                 faulty=None):
        self.name, self.flavour, self.network, self.address, self.disks = name, flavour, network, address, disks
        self.images = os.path.join(cache, flavour)
        self.directory = os.path.join(directory, name)
        self.share = share or os.path.join(self.images, "share")
        self.faulty = faulty or []  # in the place of the disks: FaultyDisk
        self.tap = "t-" + name[:12]
        self.memory = memory
        self.process, self.ports, self.paused, self.consoles = None, [], False, 0

    @property
    def release(self):
        with open(os.path.join(self.images, "release")) as file:
            return file.read().strip()

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self, wait=180):
        assert not self.running, f"{self.name} is running already"
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        self.network.make_tap(self.tap)
        append = ["console=ttyS0", "quiet", "loglevel=4", "panic=-1", "oops=panic", "mitigations=off", "nokaslr",
                  "no_timer_check", "cryptomgr.notests", "random.trust_cpu=on", "net.ifnames=0", "guest.share=share",
                  f"guest.name={self.name}", f"guest.address={self.address}/24"]
        address = ":".join(f"{byte:02x}" for byte in uuid.uuid5(uuid.NAMESPACE_DNS, self.name).bytes[:3])
        command = [
            "nice", "-n", os.environ.get("REPL_INTEROP_NICE", "5"),
            "qemu-system-x86_64", "-name", self.name, "-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max",
            "-M", "pc,usb=off,vmport=off", "-smp", "1", "-m", str(self.memory), "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-kernel", os.path.join(self.images, "vmlinuz"),
            "-initrd", os.path.join(self.images, "initramfs.cpio"), "-append", " ".join(append),
            "-serial", "file:" + os.path.join(self.directory, "console.log"),
            "-qmp", f"unix:{self.directory}/qmp,server=on,wait=off",
            "-device", f"virtio-serial-pci,max_ports={PORTS + 1}",
            "-fsdev", f"local,id=share,path={self.share},security_model=none,readonly=on",
            "-device", "virtio-9p-pci,fsdev=share,mount_tag=share",
            "-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=n0,mac=52:54:00:{address},romfile=",
        ]
        for number in range(PORTS):
            command += ["-chardev", f"socket,id=a{number},path={self.directory}/agent.{number},server=on,wait=off",
                        "-device", f"virtserialport,nr={number + 1},chardev=a{number},name=agent.{number}"]
        for disk in self.faulty:
            disk.start()
        for number, path in enumerate([disk.uri for disk in self.faulty] or self.disks):
            command += ["-drive", f"if=none,id=d{number},file={path},format=raw,cache=writeback,discard=unmap,"
                                  "detect-zeroes=off,rerror=report,werror=report",
                        "-device", f"virtio-blk-pci,drive=d{number},serial=disk{number}"]
        with open(os.path.join(self.directory, "qemu.log"), "w") as log:
            self.process = subprocess.Popen(self.network.command(command), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.paused = False
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if not self.running:
                raise MachineError(f"{self.name}: qemu ended while booting: {self.read('qemu.log')[-800:]}")
            if "guest: ready" in self.read("console.log"):
                self.ports = [Port(os.path.join(self.directory, f"agent.{number}")) for number in range(PORTS)]
                return
            time.sleep(0.2)
        console = self.read("console.log")
        self.kill()
        raise MachineError(f"{self.name}: not up after {wait} s; its console ends with\n{console[-1500:]}")

    def read(self, name):
        try:
            with open(os.path.join(self.directory, name), errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def run(self, command, timeout=60, stdin=b"", check=True):
        """Runs a shell command in the machine and returns its output."""
        if not self.running:
            raise MachineError(f"{self.name} is down (`{command}`): {self.read('console.log')[-800:]}")
        if isinstance(stdin, str):
            stdin = stdin.encode()
        deadline = time.monotonic() + timeout
        while True:
            port = next((port for port in self.ports if not port.lost and port.lock.acquire(blocking=False)), None)
            if port:
                break
            if time.monotonic() > deadline or all(port.lost for port in self.ports):
                raise MachineError(f"{self.name}: every agent is busy or stuck (`{command}`)")
            time.sleep(0.05)
        try:
            status, output, errors = port.run(command, timeout, stdin)
        except (TimeoutError, OSError):
            port.lost = True
            raise MachineError(f"{self.name}: `{command[:120]}` did not end within {timeout} s") from None
        finally:
            port.lock.release()
        output, errors = output.decode(errors="replace"), errors.decode(errors="replace")
        if check and status != 0:
            raise CommandFailed(self.name, command, status, output, errors)
        return output if check else (status, output, errors)

    def monitor(self, command, **arguments):
        """One command to qemu itself."""
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.settimeout(20)
            qmp.connect(os.path.join(self.directory, "qmp"))
            file = qmp.makefile("rw")
            file.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                file.write(json.dumps(request) + "\n")
                file.flush()
                while True:
                    answer = json.loads(file.readline())
                    if "error" in answer:
                        raise MachineError(f"{self.name}: {command}: {answer['error'].get('desc')}")
                    if "return" in answer:
                        break
            return answer["return"]

    def diagnosis(self):
        """What the processor of a machine that does not answer is at, several times."""
        if not self.running:
            return "down"
        lines = []
        for _ in range(8):
            try:
                registers = self.monitor("human-monitor-command", **{"command-line": "info registers"})
            except (MachineError, OSError) as error:
                return f"qemu does not answer either: {error}"
            with open(f"/proc/{self.process.pid}/stat") as file:
                ticks = file.read().rsplit(")", 1)[1].split()[11:13]
            lines += [line for line in registers.splitlines() if line.startswith(("RAX", "RIP", "RSP", "RSI"))]
            lines.append(f"processor time {ticks}")
            time.sleep(0.5)
        return "\n".join(lines)

    def kill(self):
        """A power cut. What the disk had acknowledged survives; the memory does not."""
        if self.running:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for port in self.ports:
            port.socket.close()
        self.ports, self.process = [], None
        self.network.remove_tap(self.tap)
        for disk in self.faulty:
            disk.end()

    def pause(self):
        os.kill(self.process.pid, signal.SIGSTOP)
        self.paused = True

    def resume(self):
        os.kill(self.process.pid, signal.SIGCONT)
        self.paused = False

    def plug(self, connected):
        self.network.set_tap(self.tap, connected)
