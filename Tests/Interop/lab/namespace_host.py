"""A host made of namespaces on the network of the machines: what scripts/hosts.sh makes, with a place on their bridge."""

import os
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
HOSTS = os.path.join(ROOT, "scripts", "hosts.sh")


class HostError(Exception):
    pass


class NamespaceHost:
    """Mounts, processes, /dev and /run of its own. It dies with its first process, which is the one started here."""

    def __init__(self, name, network, directory, environment):
        self.name, self.directory, self.environment = name, directory, environment
        os.makedirs(os.path.join(directory, f"{name}.drbd.d"))
        # Debian's /etc/drbd.conf includes it.
        open(os.path.join(directory, f"{name}.drbd.d", "global_common.conf"), "w").close()
        with open(os.path.join(directory, "hosts"), "w") as file:
            file.write(f"127.0.0.1 localhost {name}\n")
        self.parent = subprocess.Popen(
            network.command(["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--",
                             HOSTS, "__init", name]),
            env={**os.environ, "REPL_HOSTS_DIR": directory, "REPL_HOSTS": name}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 20
        while not os.path.exists(os.path.join(directory, f"{name}.ready")):
            if time.monotonic() > deadline or self.parent.poll() is not None:
                raise HostError(f"the host {name} did not come up")
            time.sleep(0.05)
        with open(f"/proc/{self.parent.pid}/task/{self.parent.pid}/children") as file:
            self.pid = int(file.read().split()[0])

    def configure(self, text):
        with open(os.path.join(self.directory, f"{self.name}.drbd.d", "r0.res"), "w") as file:
            file.write(text)

    def run(self, command, timeout=60, check=True):
        words = ["nsenter", "--mount", "--uts", "--net", "--pid", "--target", str(self.pid), "--", "bash", "-c", command]
        done = subprocess.run(words, env={**os.environ, **self.environment}, cwd="/", capture_output=True, text=True,
                              timeout=timeout, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise HostError(f"{self.name}: `{command}` ended with {done.returncode}: {(done.stderr or done.stdout)[-800:]}")
        return done.stdout if check else (done.returncode, done.stdout, done.stderr)

    def start(self, command):
        """In the background, as a child of the host's first process: it ends with the host."""
        self.run(f"setsid {command} </dev/null >/run/background.log 2>&1 &")

    def end(self):
        if self.parent.poll() is None:
            self.parent.kill()
            self.parent.wait()
