"""A node with repld: a process of this host, in the network of the run."""

import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import threading

from .faulty_disk import FaultyDisk
from .nbd import Client, NBDError
from .network import HOST
from .node import Node
from .state import from_status


class ReplError(Exception):
    pass


class ReplNode(Node):
    tool = "repladm"
    name = "beta"
    address = HOST

    def __init__(self, programs, directory, network, disks, noise, meta_format="v09",
                 faulty=False):
        super().__init__(disks)
        self.faulty = [FaultyDisk(disk, mounted=True) for disk in disks] if faulty else []
        self.programs, self.directory, self.network = programs, directory, network
        self.noise, self.meta_format = noise, meta_format
        self.run_directory = os.path.join(directory, "run")
        self.config_path = os.path.join(directory, "r0.conf")
        self.clients, self.config = {}, None

    @property
    def kind(self):
        return "repl"

    @property
    def environment(self):
        return {**os.environ, "REPL_RUN_DIR": self.run_directory, "REPL_CONFIG": self.config_path,
                "REPL_STATE_DIR": os.path.join(self.directory, "state"),
                "__DRBD_NODE__": self.name, "PATH": self.programs + ":" + os.environ["PATH"]}

    def adm(self, line, check=True, timeout=60):
        command = self.network.command(["repladm", *line.split()])
        try:
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout,
                                  stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise ReplError(f"repladm {line} did not end within {timeout} s") from None
        if check and done.returncode != 0:
            raise ReplError(f"repladm {line} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-600:]}")
        return done.stdout if check else (done.returncode, done.stdout, done.stderr)

    def backing(self, volume):
        return self.faulty[volume].place if self.faulty else self.disks[volume]

    def prepare(self, config):
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.run_directory)
        self.blank_disks()
        for disk in self.faulty:
            disk.start()
        self.configure(config)

    def configure(self, config):
        self.config = config
        with open(self.config_path, "w") as file:
            file.write(config)

    def create_md(self):
        self.adm(f"create-md --force --format {self.meta_format} r0")

    def up(self):
        self.adm("up --no-device r0")

    def down(self):
        self.hang_up()
        self.adm("down r0")

    def secondary(self):
        self.hang_up()
        self.adm("secondary r0")

    def states(self):
        status, text, _ = self.adm("status --json r0", check=False)
        return from_status(text) if status == 0 else {}

    def size(self, volume=0):
        return self.client(volume).size

    # MARK: The application

    def client(self, volume=0):
        """A connection for this volume and this thread."""
        key = volume, threading.get_ident()
        if key not in self.clients:
            self.clients[key] = Client(os.path.join(self.run_directory, f"r0-{volume}.nbd"))
        return self.clients[key]

    def hang_up(self):
        for client in list(self.clients.values()):
            client.close()
        self.clients = {}

    def write(self, extents, volume=0, flush=False, direct=True, timeout=120, depth=16):
        client = self.client(volume)
        client.write_all([(offset, self.noise[at:at + length]) for offset, length, at in extents], depth, timeout)
        if flush or not direct:
            client.flush(timeout)

    def flush(self, volume=0):
        self.client(volume).flush()

    def write_through(self, offset, length, noise, volume=0):
        self.client(volume).write(offset, self.noise[noise:noise + length], fua=True)

    def discard(self, offset, length, volume=0):
        self.client(volume).discard(offset, length)

    def zero(self, offset, length, volume=0):
        self.client(volume).zero(offset, length)

    def digest(self, offset, length, volume=0, timeout=180):
        digest, client = hashlib.sha256(), self.client(volume)
        for piece in range(offset, offset + length, 1 << 18):
            digest.update(client.read(piece, min(1 << 18, offset + length - piece), timeout))
        return digest.hexdigest()

    # MARK: The end of it

    @property
    def pid(self):
        try:
            with open(os.path.join(self.run_directory, "r0.pid")) as file:
                pid = int(file.read().split()[0])
            with open(f"/proc/{pid}/comm") as file:
                return pid if file.read().startswith("repld") and not self.is_zombie(pid) else None
        except (OSError, ValueError, IndexError):
            return None

    @property
    def alive(self):
        return self.pid is not None

    def crash(self):
        pid = self.pid
        if pid is None:
            raise ReplError("repld does not run")
        handle = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            if not select.select([handle], [], [], 30)[0]:
                raise ReplError("repld does not die")
        finally:
            os.close(handle)
        self.hang_up()

    @staticmethod
    def is_zombie(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def restart(self):
        self.hang_up()

    def log(self):
        try:
            with open(os.path.join(self.run_directory, "r0.log"), errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def complaints(self, allowed):
        bad = re.compile(r"\berror:|[Vv]iolation|Fatal error|precondition|fatalError|Crash")
        return [line for line in self.log().splitlines()
                if bad.search(line) and not any(re.search(pattern, line) for pattern in allowed)]

    def end(self):
        self.hang_up()
        for disk in self.faulty:
            disk.mend()
        if self.pid is not None:
            try:
                self.adm("down r0", check=False, timeout=15)
            except ReplError:
                pass
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
        for disk in self.faulty:
            disk.end()


__all__ = ["ReplNode", "ReplError", "NBDError"]
