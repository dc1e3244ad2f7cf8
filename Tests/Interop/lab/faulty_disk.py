"""A disk that fails to read or to write while it is told to: nbdkit over the image file of a disk.

A machine has it as its disk by NBD; repld sees it as a file (nbdfuse). The image holds what was written, so it can be compared.
"""

import os
import select
import subprocess
import time


class FaultyDisk:
    def __init__(self, image, mounted=False):
        self.image, self.mounted = image, mounted
        self.socket, self.place = image + ".nbd", image + ".disk"
        self.server = self.mount = None

    @property
    def uri(self):
        return f"nbd+unix:///?socket={self.socket}"

    @property
    def running(self):
        return self.server is not None

    def start(self):
        self.mend()
        for path in (self.socket, self.place):
            if os.path.exists(path):
                os.unlink(path)
        with open(self.image + ".log", "w") as log:
            self.server = subprocess.Popen(
                ["nbdkit", "--foreground", "--exit-with-parent", "--unix", self.socket, "--filter=error", "file", self.image,
                 "error-pread-rate=100%", f"error-pread-file={self.image}.no-read",
                 "error-pwrite-rate=100%", f"error-pwrite-file={self.image}.no-write"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.until(lambda: os.path.exists(self.socket), self.server)
            if self.mounted:
                open(self.place, "w").close()
                self.mount = subprocess.Popen(["nbdfuse", self.place, "--unix", self.socket], stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log)
                self.until(lambda: os.path.getsize(self.place) == os.path.getsize(self.image), self.mount)

    def until(self, condition, process):
        deadline = time.monotonic() + 20
        while not condition():
            if process.poll() is not None or time.monotonic() > deadline:
                with open(self.image + ".log") as log:
                    raise RuntimeError(f"the disk that fails on purpose did not come up: {log.read()[-400:]}")
            time.sleep(0.02)

    def fail(self, read=False, write=False):
        """From now on every read, or every write, has an I/O error."""
        for wanted, kind in ((read, "read"), (write, "write")):
            if wanted:
                open(f"{self.image}.no-{kind}", "w").close()

    def mend(self):
        for kind in ("read", "write"):
            try:
                os.unlink(f"{self.image}.no-{kind}")
            except FileNotFoundError:
                pass

    def end(self):
        self.mend()
        if self.mount:
            subprocess.run(["fusermount3", "-u", self.place], check=False)
            handle = os.pidfd_open(self.mount.pid)
            if not select.select([handle], [], [], 10)[0]:
                self.mount.kill()
            os.close(handle)
            self.mount.wait()
            self.mount = None
        if self.server:
            self.server.terminate()
            self.server.wait()
            self.server = None
