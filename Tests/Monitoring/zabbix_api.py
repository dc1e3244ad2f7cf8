#!/usr/bin/env python3
"""Zabbix 6.0 by its API.

zabbix_api.py version                     whether the frontend answers
zabbix_api.py import FILE HOST ADDRESS    import the template, register the host with it
zabbix_api.py values RESOURCE PEER        print the items' values; fails while one is missing
zabbix_api.py problem TEXT                whether a problem's name contains the text; `gone` is the opposite
"""
import json
import sys
import urllib.request

URL = "http://127.0.0.1:8080/api_jsonrpc.php"
TEMPLATE = "repl by Zabbix agent"


def call(method, params, token=None):
    body = {"jsonrpc": "2.0", "method": method, "params": params, "id": 1, "auth": token}
    request = urllib.request.Request(URL, json.dumps(body).encode(), {"Content-Type": "application/json-rpc"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        result = json.load(answer)
    if "error" in result:
        sys.exit(f"{method}: {result['error']}")
    return result["result"]


def login():
    return call("user.login", {"username": "Admin", "password": "zabbix"})


def import_template(path, host, address):
    token = login()
    both = {"createMissing": True, "updateExisting": True}
    kinds = ["templates", "items", "discoveryRules", "triggers", "graphs", "valueMaps"]
    rules = {kind: both for kind in kinds} | {"groups": {"createMissing": True}}
    with open(path) as file:
        call("configuration.import", {"format": "yaml", "source": file.read(), "rules": rules}, token)
    template = call("template.get", {"filter": {"host": TEMPLATE}, "output": ["templateid"]}, token)[0]["templateid"]
    group = call("hostgroup.get", {"filter": {"name": "Zabbix servers"}, "output": ["groupid"]}, token)[0]["groupid"]
    interface = {"type": 1, "main": 1, "useip": 1, "ip": address, "dns": "", "port": "10050"}
    call(
        "host.create",
        {"host": host, "groups": [{"groupid": group}], "templates": [{"templateid": template}], "interfaces": [interface]},
        token,
    )


def values(resource, peer):
    expected = {
        f"repl.role[{resource}]": "1",
        f"repl.suspended[{resource}]": "0",
        f"repl.disk[{resource},0]": "8",
        f"repl.connection[{resource},{peer}]": "9",
        f"repl.peer_role[{resource},{peer}]": "2",
        f"repl.peer_disk[{resource},{peer},0]": "8",
        f"repl.out_of_sync[{resource},{peer},0]": "0",
        f"repl.in_sync[{resource},{peer},0]": "100",
    }
    items = call("item.get", {"search": {"key_": "repl."}, "output": ["key_", "lastvalue", "lastclock", "error"]}, login())
    found = {one["key_"]: one for one in items if one["lastclock"] != "0" or one["error"]}
    for key, value in expected.items():
        one = found.get(key)
        print(key, "=", one and (one["error"] or one["lastvalue"]))
        if not one or one["error"] or float(one["lastvalue"]) != float(value):
            sys.exit(f"{key} is not {value}")


def problems():
    return [one["name"] for one in call("problem.get", {"output": ["name"]}, login())]


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "version":
        print(call("apiinfo.version", []))
    elif command == "import":
        import_template(*arguments)
    elif command == "values":
        values(*arguments)
    elif command in ("problem", "gone"):
        names = problems()
        print(*names, sep="\n")
        is_there = any(arguments[0] in name for name in names)
        sys.exit(0 if is_there == (command == "problem") else 1)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
