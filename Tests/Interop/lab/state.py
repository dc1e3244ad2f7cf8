"""What a node says about one volume, in the words of DRBD 8.4, read from /proc/drbd or from `repladm status --json`."""

import json
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    connection: str
    role: str
    peer_role: str
    disk: str
    peer_disk: str
    out_of_sync: int  # KiB
    done: float = None  # per cent of a resync
    suspended: bool = False  # I/O waits

    def __str__(self):
        done = "" if self.done is None else f" done:{self.done}"
        suspended = " suspended" if self.suspended else ""
        return (f"cs:{self.connection} ro:{self.role}/{self.peer_role} ds:{self.disk}/{self.peer_disk} "
                f"oos:{self.out_of_sync}{done}{suspended}")

    @property
    def disks(self):
        return f"{self.disk}/{self.peer_disk}"

    @property
    def roles(self):
        return f"{self.role}/{self.peer_role}"

    def fits(self, connection=None, disks=None, roles=None, out_of_sync=None):
        """Several values are given as `A|B`."""
        def among(value, wanted):
            return wanted is None or value in wanted.split("|")
        return (among(self.connection, connection) and among(self.disks, disks) and among(self.roles, roles)
                and (out_of_sync is None or self.out_of_sync == out_of_sync))


def from_proc(text):
    """The volumes of /proc/drbd by minor."""
    found = {}
    pattern = re.compile(r"^ *(\d+): cs:(\S+)(?: ro:(\S+)/(\S+) ds:(\S+)/(\S+))?(.*?)(?=^ *\d+: cs:|\Z)", re.M | re.S)
    for minor, connection, role, peer_role, disk, peer_disk, rest in pattern.findall(text):
        if connection == "Unconfigured":
            continue
        out_of_sync = re.search(r"\boos:(\d+)", rest)
        done = re.search(r"sync'ed: *([\d.]+)%", rest)
        found[int(minor)] = State(connection, role, peer_role, disk, peer_disk,
                                  int(out_of_sync.group(1)) if out_of_sync else 0,
                                  float(done.group(1)) if done else None, bool(re.match(r" \S s", rest)))
    return found


def from_status(text):
    """The volumes of the first resource of `status --json` by volume."""
    resources = json.loads(text)
    if not resources:
        return {}
    resource, found = resources[0], {}
    connections = resource["connections"]
    for device in resource["devices"]:
        volume = device["volume"]
        if not connections:
            found[volume] = State("StandAlone", resource["role"], "Unknown", device["disk-state"], "DUnknown", 0,
                                  suspended=resource["suspended"])
            continue
        link = connections[0]
        peer = next(p for p in link["peer_devices"] if p["volume"] == volume)
        state = link["connection-state"].strip()
        if state == "Connected":
            state = peer["replication-state"]
        state = {"Established": "Connected", "Connecting": "WFConnection"}.get(state, state)
        found[volume] = State(state, resource["role"], link["peer-role"], device["disk-state"], peer["peer-disk-state"],
                              peer["out-of-sync"], peer.get("percent-resync-done"), resource["suspended"])
    return found
