"""A private network for one run: a network namespace with one bridge, on which the host's programs and the machines meet."""

import os
import subprocess

HOST = "10.77.0.254"


class Network:
    def __init__(self, name):
        self.name = name
        subprocess.run(["ip", "netns", "add", name], check=True)
        for command in (["link", "set", "lo", "up"],
                        ["link", "add", "br0", "type", "bridge", "forward_delay", "0", "stp_state", "0"],
                        ["addr", "add", HOST + "/24", "dev", "br0"], ["link", "set", "br0", "up"]):
            self.ip(*command)

    def ip(self, *words, check=True):
        return subprocess.run(["ip", "-n", self.name, *words], check=check, capture_output=not check).returncode

    def command(self, words):
        """The command line that runs `words` inside. `ip netns exec` would pin every mount of the host."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *words]

    def make_tap(self, name):
        self.remove_tap(name)
        self.ip("tuntap", "add", "dev", name, "mode", "tap")
        self.ip("link", "set", name, "master", "br0")
        self.ip("link", "set", name, "up")

    def remove_tap(self, name):
        self.ip("link", "del", name, check=False)

    def set_tap(self, name, up):
        self.ip("link", "set", name, "up" if up else "down")

    def add_address(self, address):
        self.ip("addr", "add", address + "/24", "dev", "br0", check=False)

    def remove(self):
        if os.path.exists(f"/run/netns/{self.name}"):
            subprocess.run(["ip", "netns", "del", self.name], check=False)
