#!/usr/bin/env bash
# Inside the namespaces of scripts/zabbix-test.sh: zabbix.sh WORK POSTGRES-BIN TEMPLATE-DIR
set -euo pipefail
work=$1 postgres=$2 template=$3
here=$(dirname "${BASH_SOURCE[0]}")
ip link set lo up

say() { echo "$(date +%T) $*"; }

# until_true SECONDS WHAT COMMAND...
until_true() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || {
      echo "zabbix-test: $what did not happen in time" >&2
      tail -n 20 "$work"/*.log >&2
      exit 1
    }
    sleep 0.5
  done
}

start_database() {
  mkdir -p "$work/pg"
  chown postgres: "$work/pg"
  su postgres -s /bin/sh -c "'$postgres/initdb' -D '$work/pg/data' -A trust" >"$work/initdb.log"
  su postgres -s /bin/sh -c "'$postgres/pg_ctl' -D '$work/pg/data' -w -l '$work/pg/log' -o '-c listen_addresses=127.0.0.1 -c fsync=off \
    -c unix_socket_directories=$work/pg' start" >"$work/pg_ctl.log"
  psql -q -h 127.0.0.1 -U postgres -c 'create role zabbix login' -c 'create database zabbix owner zabbix'
  (cd /usr/share/zabbix-server-pgsql && zcat schema.sql.gz images.sql.gz data.sql.gz) |
    PGOPTIONS='-c client_min_messages=error' psql -q -h 127.0.0.1 -U zabbix -v ON_ERROR_STOP=1 zabbix >/dev/null
}

start_zabbix() {
  mkdir -p "$work/etc" "$work/run"
  chmod 777 "$work/run"
  cat >"$work/etc/zabbix.conf.php" <<'PHP'
<?php
$DB['TYPE'] = 'POSTGRESQL';
$DB['SERVER'] = '127.0.0.1';
$DB['PORT'] = '5432';
$DB['DATABASE'] = 'zabbix';
$DB['USER'] = 'zabbix';
$DB['PASSWORD'] = '';
$DB['SCHEMA'] = '';
$DB['ENCRYPTION'] = false;
$DB['DOUBLE_IEEE754'] = true;
$ZBX_SERVER_NAME = 'test';
PHP
  cat >"$work/etc/server.conf" <<CONF
LogType=console
SocketDir=$work/run
PidFile=$work/run/server.pid
DBHost=127.0.0.1
DBName=zabbix
DBUser=zabbix
CacheUpdateFrequency=3
StartPollers=1
StartDiscoverers=0
StartVMwareCollectors=0
CONF
  cat >"$work/etc/agent.conf" <<CONF
LogType=console
PidFile=$work/run/agent.pid
Server=127.0.0.1
Hostname=a
Include=$template/userparameter_repl.conf
CONF
  # The frontend knows one place for its file.
  mount --bind "$work/etc" /etc/zabbix
  # The readers of the status socket are this group.
  zabbix_server -f -c "$work/etc/server.conf" >"$work/server.log" 2>&1 &
  REPL_RUN_DIR=$work/a zabbix_agentd -f -c "$work/etc/agent.conf" >"$work/agent.log" 2>&1 &
  php -S 127.0.0.1:8080 -t /usr/share/zabbix >"$work/php.log" 2>&1 &
}

# on NODE COMMAND...: repladm as that node.
on() {
  local node=$1
  shift
  REPL_CONFIG=$work/repl.conf REPL_RUN_DIR=$work/$node REPL_STATE_DIR=$work/$node.state REPL_READERS=zabbix __DRBD_NODE__=$node repladm "$@"
}

start_resource() {
  local node
  cat >"$work/repl.conf" <<CONF
resource r0 {
  device minor 0;
  meta-disk internal;
  on a { address 127.0.0.1:7789; disk $work/a.img; }
  on b { address 127.0.0.1:7790; disk $work/b.img; }
}
CONF
  mkdir "$work/names"
  on a install-names "$work/names" >/dev/null
  for node in a b; do
    truncate -s 16M "$work/$node.img"
    on $node create-md --force r0 >/dev/null
    on $node up --no-device r0
  done
  on a wait-connect r0
  on a primary --force r0
  on a wait-sync r0 >/dev/null
}

api() { python3 "$here/zabbix_api.py" "$@"; }

say "database"
start_database
say "resource r0 on a and b"
start_resource
PATH=$PATH:$work/names
say "server, agent, frontend"
start_zabbix
until_true 60 "an answer of the frontend" api version
say "import of the template"
api import "$template/repl.yaml" a 127.0.0.1
until_true 120 "the value of each item" api values r0 b
api values r0 b
! api problem 'r0' || { echo "zabbix-test: a problem is shown of a healthy resource" >&2; exit 1; }

say "a detached disk"
on a detach r0
until_true 90 "the problem of the disk" api problem 'r0/0: the disk is not UpToDate'
on a attach r0
on a wait-sync r0 >/dev/null
until_true 90 "the end of the problem of the disk" api gone 'r0/0: the disk is not UpToDate'

say "suspended I/O"
on a suspend-io r0
until_true 90 "the problem of the suspension" api problem 'r0: I/O is suspended'
on a resume-io r0

say "a split brain"
on a disconnect r0
on b disconnect r0
until_true 120 "the problem of the connection" api problem 'r0: not connected to b'
on b primary --force r0
on b secondary r0
for node in a b; do on $node connect r0 || true; done
until_true 90 "the problem of the split brain" api problem 'r0: split brain with b'
for node in a b; do on $node down r0 >/dev/null 2>&1 || on $node down --force r0; done
until_true 150 "the problem of the resource" api problem 'r0: repld does not run'
say "The template was imported, its items have values, and its triggers fire and go."
