#!/usr/bin/env bash
# The Zabbix template on a real server: PostgreSQL, Zabbix 6.0 with its frontend and agent, two nodes of a resource, all in namespaces
# of their own. Imports the template by the API, waits for the values, then makes triggers fire and go: a detached disk, a lost peer, a
# split brain. Ends by itself and leaves nothing. About four minutes.
#   zabbix-test.sh              root; builds the release programs first
#   REPL_PROGRAMS=DIR           takes repld and repladm from there
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
need_linux
[ $# = 0 ] || {
  sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}
need_root "a server in namespaces of its own"
need_namespaces
need_command zabbix_server zabbix-server-pgsql
need_command zabbix_agentd zabbix-agent
need_command php php-cli
[ -e /usr/share/zabbix/api_jsonrpc.php ] || die "the frontend of Zabbix is missing: apt-get install zabbix-frontend-php php-pgsql"
postgres=$(find /usr/lib/postgresql -name initdb 2>/dev/null | sort -V | tail -1)
[ -n "$postgres" ] || die "PostgreSQL is missing: apt-get install postgresql"
if [ -n "${REPL_PROGRAMS:-}" ]; then
  PATH=$REPL_PROGRAMS:$PATH
else
  release_binaries --product repld
  release_binaries --product repladm
  release_binaries --product repl-device
fi
export PATH

work=$(mktemp -d /var/tmp/repl-zabbix.XXXXXX)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
# The first process of the namespace ends, and every other one of it with that.
unshare --net --mount --uts --ipc --pid --fork --mount-proc --kill-child \
  "$root/Tests/Monitoring/zabbix.sh" "$work" "$(dirname "$postgres")" "$root/packaging/zabbix"
