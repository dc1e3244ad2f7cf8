#!/usr/bin/env python3
"""Writes the Grafana dashboard of repl: make-dashboard.py > repl-dashboard.json

Every query names metrics of `repladm metrics` (docs/monitoring.md); `instance` and `job` are added by Prometheus. The data source is
a variable, so that the file can be imported as it is. Grafana 9.0 and later.
"""
import json

SELECTED = 'instance=~"$instance",name=~"$resource"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
GREEN, YELLOW, RED = "green", "yellow", "red"


def target(expression, legend, **more):
    return {"datasource": SOURCE, "editorMode": "code", "expr": expression, "legendFormat": legend, "range": True} | more


def panel(kind, title, help, width, height, targets, unit="short", defaults=None, options=None):
    for letter, one in zip("ABCDEFGH", targets):
        one["refId"] = letter
    return {
        "type": kind, "title": title, "description": help, "datasource": SOURCE, "targets": targets,
        "gridPos": {"w": width, "h": height}, "options": options or {},
        "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": []},
    }


def words(title, help, metric, legend):
    """The state that holds: each word has a sample, and that of the present one is 1."""
    expression = f"{metric}{{{SELECTED}}} == 1"
    return panel(
        "stat", title, help, 6, 5, [target(expression, legend, instant=True, range=False)],
        defaults={"color": {"mode": "fixed", "fixedColor": "text"}},
        options={"textMode": "name", "graphMode": "none", "orientation": "horizontal", "reduceOptions": {"calcs": ["lastNotNull"]}})


def lines(title, help, targets, unit, width=12):
    custom = {"fillOpacity": 5, "lineWidth": 1, "showPoints": "never"}
    return panel(
        "timeseries", title, help, width, 8, targets, unit, {"custom": custom, "min": 0},
        {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}})


def rate(metric, more=""):
    return f"rate({metric}{{{SELECTED}{more}}}[$__rate_interval])"


def quantile(part, metric, by):
    return f"histogram_quantile({part}, sum by (le, instance, name, {by}) ({rate(metric + '_bucket')}))"


def mean(metric):
    return f"{rate(metric + '_sum')} / {rate(metric + '_count')}"


def steps(*pairs):
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in pairs]}


VOLUME = "{{instance}} {{name}}/{{volume}}"
PEER = "{{instance}} {{name}} {{conn_name}}"
ROWS = [
    [
        panel(
            "stat", "Daemons", "repld runs for the resource and answers.", 6, 5,
            [target(f"repl_resource_up{{{SELECTED}}}", "{{instance}} {{name}}", instant=True, range=False)],
            defaults={
                "thresholds": steps((RED, None), (GREEN, 1)),
                "mappings": [{"type": "value", "options": {"0": {"text": "down"}, "1": {"text": "runs"}}}]},
            options={"colorMode": "background", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}),
        words("Roles", "Role of each node.", "drbd_resource_role", "{{instance}} {{name}}: {{drbd_resource_role}}"),
        words("Disks", "State of the local disk.", "drbd_device_state", VOLUME + ": {{drbd_device_state}}"),
        words("Connections", "State of the connection.", "drbd_connection_state", PEER + ": {{drbd_connection_state}}"),
    ],
    [
        panel(
            "stat", "Needs a person", "1: I/O is suspended, or the connection was given up until an operator connects it again.",
            6, 8,
            [
                target(f"drbd_resource_suspended{{{SELECTED}}}", "{{instance}} {{name}}: I/O suspended"),
                target(f"repl_connection_given_up{{{SELECTED}}}", PEER + ": given up"),
                target(f"drbd_device_unintentionaldiskless{{{SELECTED}}}", VOLUME + ": lost its disk"),
            ],
            defaults={"thresholds": steps((GREEN, None), (RED, 1))},
            options={"colorMode": "value", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}),
        lines(
            "Out of sync", "By the bitmap: what a resync would have to copy.",
            [target(f"drbd_peerdevice_outofsync_bytes{{{SELECTED}}}", PEER + "/{{volume}}")], "bytes", width=9),
        panel(
            "bargauge", "Resync and verify", "Part that is done; empty while none runs.", 9, 8,
            [target(f"repl_peerdevice_resync_done_percent{{{SELECTED}}}", PEER + "/{{volume}}", instant=True, range=False)],
            "percent", {"min": 0, "max": 100, "thresholds": steps((YELLOW, None), (GREEN, 100))},
            {"displayMode": "basic", "orientation": "horizontal", "reduceOptions": {"calcs": ["lastNotNull"]}}),
    ],
    [
        lines(
            "Latency of requests, 99 of 100", "From the arrival of a request of the application to its answer.",
            [target(quantile("0.99", "repl_device_request_seconds", "volume, request"), VOLUME + " {{request}}")], "s"),
        lines(
            "Latency of requests, mean", "From the arrival of a request of the application to its answer.",
            [target(mean("repl_device_request_seconds"), VOLUME + " {{request}}")], "s"),
    ],
    [
        lines(
            "Stages of a write, mean",
            "queue: until its blocks are free. activity_log: until the log covers them. local_write, and send and peer, run side by side. "
            "acknowledgement: from both done until the answer.",
            [target(mean("repl_device_write_stage_seconds"), VOLUME + " {{stage}}")], "s"),
        panel(
            "heatmap", "Writes by their latency", "How many writes took how long.", 12, 8,
            [target(
                f'sum by (le) (increase(repl_device_request_seconds_bucket{{{SELECTED},request="write"}}[$__rate_interval]))',
                "{{le}}", format="heatmap")],
            options={
                "calculate": False, "yAxis": {"unit": "s"}, "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64}, "tooltip": {"show": True}}),
    ],
    [
        lines(
            "Local disk", "Read from and written to the local disk.",
            [
                target(rate("drbd_device_read_bytes_total"), VOLUME + " read"),
                target(rate("drbd_device_written_bytes_total"), VOLUME + " written"),
            ], "Bps"),
        lines(
            "Peer", "Sent to and received from the peer.",
            [
                target(rate("drbd_peerdevice_sent_bytes"), PEER + "/{{volume}} sent"),
                target(rate("drbd_peerdevice_received_bytes"), PEER + "/{{volume}} received"),
            ], "Bps"),
    ],
    [
        lines(
            "Requests without an answer", "Of the application, to the local disk, to the peer, and of the peer.",
            [
                target(f"drbd_device_upperpending{{{SELECTED}}}", VOLUME + " application"),
                target(f"drbd_device_lowerpending{{{SELECTED}}}", VOLUME + " disk"),
                target(f"repl_peerdevice_pending{{{SELECTED}}}", PEER + "/{{volume}} peer"),
                target(f"repl_peerdevice_unacked{{{SELECTED}}}", PEER + "/{{volume}} of the peer"),
            ], "short", width=8),
        lines(
            "On its way", "To the peer, for the application and for a resync.",
            [
                target(f"drbd_connection_apinflight_bytes{{{SELECTED}}}", PEER + " application"),
                target(f"drbd_connection_rsinflight_bytes{{{SELECTED}}}", PEER + " resync"),
            ], "bytes", width=8),
        lines(
            "Metadata", "Writes of the activity log and of bitmap pages.",
            [
                target(rate("drbd_device_alwrites_total"), VOLUME + " activity log"),
                target(rate("drbd_device_bmwrites_total"), VOLUME + " bitmap"),
            ], "wps", width=8),
    ],
]


def placed(rows):
    y, result = 0, []
    for row in rows:
        x = 0
        for one in row:
            one["id"] = len(result) + 1
            one["gridPos"] |= {"x": x, "y": y}
            x += one["gridPos"]["w"]
            result.append(one)
        if x != WIDTH:
            raise SystemExit(f"a row is {x} wide, not {WIDTH}")
        y += max(one["gridPos"]["h"] for one in row)
    return result


def variable(name, label, query):
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
        "definition": query, "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


DASHBOARD = {
    "title": "repl", "uid": "repl-resources", "tags": ["replication", "drbd"], "schemaVersion": 36, "version": 1,
    "description": "Replicated block devices: states, latency, throughput. Metrics of repladm metrics.",
    "editable": True, "refresh": "30s", "time": {"from": "now-3h", "to": "now"}, "timezone": "", "annotations": {"list": []},
    "templating": {"list": [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}},
        variable("instance", "Host", "label_values(repl_resource_up, instance)"),
        variable("resource", "Resource", 'label_values(repl_resource_up{instance=~"$instance"}, name)'),
    ]},
    "panels": placed(ROWS),
}

print(json.dumps(DASHBOARD, indent=1))
