#!/usr/bin/env python3
"""Writes the Zabbix 6.0 template of repl (needs python3-yaml): make-template.py > repl.yaml

One agent item fetches the status of all resources as JSON; everything else depends on it, so that a host costs one check per
interval, however many resources it has. The identifiers follow from the keys: a template written anew updates the one before.
"""
import hashlib
import sys

import yaml

TEMPLATE = "repl by Zabbix agent"
ROLES = ["Unknown", "Primary", "Secondary"]
DISKS = [
    "Diskless", "Attaching", "Failed", "Negotiating", "Inconsistent", "Outdated", "DUnknown", "Consistent", "UpToDate",
]
CONNECTIONS = [
    "StandAlone", "Disconnecting", "Unconnected", "Timeout", "BrokenPipe", "NetworkFailure", "ProtocolError", "TearDown",
    "Connecting", "Connected",
]
UP_TO_DATE, CONNECTED = DISKS.index("UpToDate"), CONNECTIONS.index("Connected")
TAGS = [{"tag": "component", "value": "replication"}]

RESOURCE = "$[?(@.name=='{#RES}')]"
DEVICE = RESOURCE + ".devices[?(@.volume=={#VOL})]"
CONNECTION = RESOURCE + ".connections[?(@.name=='{#PEER}')]"
PEER_DEVICE = CONNECTION + ".peer_devices[?(@.volume=={#VOL})]"


def identifier(text):
    digest = bytearray(hashlib.md5(("repl/" + text).encode()).digest())
    digest[6] = digest[6] & 0x0F | 0x40
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()


def path(text, otherwise=None):
    """A resource that does not run is not in the JSON: then its items keep their values, and `repl.running` says so."""
    step = {"type": "JSONPATH", "parameters": [text + ".first()"]}
    if otherwise is None:
        return step | {"error_handler": "DISCARD_VALUE"}
    return step | {"error_handler": "CUSTOM_VALUE", "error_handler_params": otherwise}


def number(words):
    script = f"var i = {words!r}.indexOf(value); if (i < 0) throw 'unknown state ' + value; return i;"
    return {"type": "JAVASCRIPT", "parameters": [script]}


def flag():
    return {"type": "BOOL_TO_DECIMAL", "parameters": [""]}


def bytes_of_kib():
    return {"type": "MULTIPLIER", "parameters": ["1024"]}


def ask(key, function="last", rest=""):
    return f"{function}(/{TEMPLATE}/{key}{rest})"


def item(key, name, steps, triggers=(), **more):
    one = {
        "uuid": identifier(key), "name": name, "type": "DEPENDENT", "key": key, "delay": "0", "history": "7d", **more,
        "preprocessing": steps, "master_item": {"key": "repl.status"}, "tags": TAGS,
    }
    if triggers:
        one["trigger_prototypes"] = [
            {"uuid": identifier(key + text), "expression": expression, "name": text, "priority": priority}
            for text, priority, expression in triggers
        ]
    return one


def states(words, name):
    return {"valuemap": {"name": name}}, number(words)


def discovery(key, name, loops, macros, items, graphs=()):
    """Objects found in the JSON: nested loops over its lists."""
    script, closing = "var found = [], r = JSON.parse(value);", ""
    outer = "r"
    for variable, member in loops:
        source = outer if member is None else f"{outer}.{member}"
        script += f" {source}.forEach(function ({variable}) {{"
        closing = " });" + closing
        outer = variable
    row = ", ".join(f"'{macro}': {value}" for macro, value in macros.items())
    script += f" found.push({{{row}}});{closing} return JSON.stringify(found);"
    one = {
        "uuid": identifier(key), "name": name, "type": "DEPENDENT", "key": key, "delay": "0", "lifetime": "1d",
        "item_prototypes": items, "master_item": {"key": "repl.status"},
        "preprocessing": [{"type": "JAVASCRIPT", "parameters": [script]}],
    }
    if graphs:
        one["graph_prototypes"] = list(graphs)
    return one


def rules():
    role, suspended, running = "repl.role[{#RES}]", "repl.suspended[{#RES}]", "repl.running[{#RES}]"
    role_map, to_role = states(ROLES, "repl role")
    disk_map, to_disk = states(DISKS, "repl disk")
    connection_map, to_connection = states(CONNECTIONS, "repl connection")
    resources = discovery(
        "repl.discovery.resources", "Resources", [("one", None)], {"{#RES}": "one.name"},
        [
            item(role, "{#RES}: role", [path(RESOURCE + ".role"), to_role],
                 [("{#RES}: the role has changed", "INFO", ask(role, "change") + "<>0")], **role_map),
            item(running, "{#RES}: runs", [path(RESOURCE + "['node-id']", otherwise="-1"),
                 {"type": "JAVASCRIPT", "parameters": ["return value < 0 ? 0 : 1;"]}],
                 [("{#RES}: repld does not run", "HIGH", f"max(/{TEMPLATE}/{running},1m)=0")]),
            item(suspended, "{#RES}: I/O suspended", [path(RESOURCE + ".suspended"), flag()],
                 [("{#RES}: I/O is suspended", "DISASTER", ask(suspended) + "=1")]),
        ],
    )
    disk = "repl.disk[{#RES},{#VOL}]"
    devices = discovery(
        "repl.discovery.devices", "Devices", [("one", None), ("device", "devices")],
        {"{#RES}": "one.name", "{#VOL}": "device.volume"},
        [
            item(disk, "{#RES}/{#VOL}: disk state", [path(DEVICE + "['disk-state']"), to_disk],
                 [("{#RES}/{#VOL}: the disk is not UpToDate", "HIGH", f"{ask(disk)}<>{UP_TO_DATE}")], **disk_map),
            item("repl.size[{#RES},{#VOL}]", "{#RES}/{#VOL}: size", [path(DEVICE + ".size"), bytes_of_kib()], units="B"),
            item("repl.written[{#RES},{#VOL}]", "{#RES}/{#VOL}: written to the local disk",
                 [path(DEVICE + ".written"), bytes_of_kib(), {"type": "CHANGE_PER_SECOND", "parameters": [""]}],
                 value_type="FLOAT", units="Bps"),
        ],
    )
    connection, refused = "repl.connection[{#RES},{#PEER}]", "repl.given_up[{#RES},{#PEER}]"
    connections = discovery(
        "repl.discovery.connections", "Connections", [("one", None), ("connection", "connections")],
        {"{#RES}": "one.name", "{#PEER}": "connection.name"},
        [
            item(connection, "{#RES} {#PEER}: connection", [path(CONNECTION + "['connection-state']"), to_connection],
                 [("{#RES}: not connected to {#PEER}", "AVERAGE", f"{ask(connection, 'max', ',1m')}<{CONNECTED}")],
                 **connection_map),
            item(refused, "{#RES} {#PEER}: why the connection was given up",
                 [path(CONNECTION + "['refused-because']", otherwise="")],
                 [("{#RES}: split brain with {#PEER}", "DISASTER", ask(refused, "find", ',,"like","Split-Brain"') + "=1"),
                  ("{#RES}: the connection to {#PEER} was given up", "HIGH", f"length({ask(refused)})>0")],
                 value_type="TEXT", trends="0"),
            item("repl.peer_role[{#RES},{#PEER}]", "{#RES} {#PEER}: role of the peer",
                 [path(CONNECTION + "['peer-role']"), to_role], **role_map),
        ],
    )
    which = "[{#RES},{#PEER},{#VOL}]"
    out, done = "repl.out_of_sync" + which, "repl.in_sync" + which
    graph = {
        "uuid": identifier("graph"), "name": "{#RES}/{#VOL} {#PEER}: out of sync",
        "graph_items": [{"color": "1A7C11", "item": {"host": TEMPLATE, "key": out}}],
    }
    peer_devices = discovery(
        "repl.discovery.peerdevices", "Peer devices",
        [("one", None), ("connection", "connections"), ("device", "peer_devices")],
        {"{#RES}": "one.name", "{#PEER}": "connection.name", "{#VOL}": "device.volume"},
        [
            item("repl.peer_disk" + which, "{#RES}/{#VOL} {#PEER}: disk state of the peer",
                 [path(PEER_DEVICE + "['peer-disk-state']"), to_disk], **disk_map),
            item(out, "{#RES}/{#VOL} {#PEER}: out of sync", [path(PEER_DEVICE + "['out-of-sync']"), bytes_of_kib()],
                 [("{#RES}/{#VOL}: more and more is out of sync with {#PEER}", "WARNING",
                   f"{ask(out)}>{ask(out, 'avg', ',10m')} and {ask(out, 'min', ',10m')}>0")], units="B"),
            item(done, "{#RES}/{#VOL} {#PEER}: in sync", [path(PEER_DEVICE + "['percent-in-sync']")], value_type="FLOAT",
                 units="%"),
        ],
        [graph],
    )
    return [resources, devices, connections, peer_devices]


def value_map(name, words):
    mappings = [{"value": str(i), "newvalue": word} for i, word in enumerate(words)]
    return {"uuid": identifier("map " + name), "name": name, "mappings": mappings}


def export():
    master = {
        "uuid": identifier("status"), "name": "repl: status", "key": "repl.status", "delay": "10s", "history": "0",
        "trends": "0", "value_type": "TEXT", "tags": TAGS,
        "triggers": [{
            "uuid": identifier("nodata"), "expression": ask("repl.status", "nodata", ",2m") + "=1",
            "name": "repl: no status for two minutes", "priority": "HIGH",
        }],
    }
    template = {
        "uuid": identifier("template"), "template": TEMPLATE, "name": TEMPLATE,
        "description": "Roles, disks and connections of the resources of repl.",
        "groups": [{"name": "Templates/Replication"}], "items": [master], "discovery_rules": rules(),
        "valuemaps": [
            value_map("repl role", ROLES), value_map("repl disk", DISKS), value_map("repl connection", CONNECTIONS),
        ],
    }
    group = {"uuid": identifier("group"), "name": "Templates/Replication"}
    return {"zabbix_export": {
        "version": "6.0", "date": "2026-01-01T00:00:00Z", "groups": [group], "templates": [template],
    }}


if __name__ == "__main__":
    yaml.Dumper.ignore_aliases = lambda *_: True
    yaml.dump(export(), sys.stdout, sort_keys=False, allow_unicode=True, width=10**6)
