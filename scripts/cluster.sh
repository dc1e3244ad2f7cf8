#!/usr/bin/env bash
# A Pacemaker cluster of two hosts made of namespaces, with a replicated volume, XFS, PostgreSQL and an address on it, and
# what happens to it. A client writes down each acknowledged row; every scenario prints the time without service and the
# acknowledged rows that are lost.
#   cluster.sh short                 two standby cycles and a crash, under six minutes
#   cluster.sh SCENARIO [WORD]..     one or several of those below, separated by commas: cluster.sh standby 20, crash 3
#   cluster.sh agent                 the resource agent alone: ocf-tester, then cases of our own
#   cluster.sh --fencing repl|drbd|none ..   with the fence handlers (default repl), those of drbd-utils, or without
#   standby [N]                 the active host is put into standby and back
#   crash [N]                   all processes of the active host end at once
#   power [N]                   its cables are pulled first: no connection is closed
#   cut                         the replication link is pulled, then the active host put into standby
#   kill|term|stop active|passive [N]   SIGKILL, SIGTERM, SIGSTOP to repld of that host
#   device [N]                  the server of the active host's device is killed
#   fence                       the fence handlers, case by case
# Needs root and the packages of scripts/install-packages.sh --cluster. Everything it starts it ends.
# REPL_CLUSTER_DIR: where the hosts' files lie. REPL_CLUSTER_KEEP: a failed run is left as it is; cluster.sh down ends it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"

dir=${REPL_CLUSTER_DIR:-/var/tmp/repl-cluster}
fencing=repl
total_lost=0

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d' >&2
  exit 2
}

need() {
  local row program package
  [ "$(uname -s)" = Linux ] || die "needs Linux"
  is_root || die "needs root: run it with sudo"
  for row in corosync:corosync pacemakerd:pacemaker crm_mon:pacemaker-cli-utils crm:crmsh ocf-tester:resource-agents \
    xmllint:libxml2-utils mkfs.xfs:xfsprogs ip:iproute2 losetup:mount drbdadm:drbd-utils; do
    IFS=: read -r program package <<<"$row"
    command -v "$program" >/dev/null || die "needs $package ($program): scripts/install-packages.sh --cluster"
  done
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    die "needs postgresql-15: scripts/install-packages.sh --cluster"
  [ -e /usr/lib/ocf/resource.d/heartbeat/Filesystem ] ||
    die "needs resource-agents: scripts/install-packages.sh --cluster"
  { [ -e /dev/loop-control ] && [ -e /dev/fuse ]; } || die "needs loop devices and FUSE: modprobe loop fuse"
  unshare --net --mount --uts --ipc --pid --fork true 2>/dev/null ||
    die "needs namespaces: in a container, run it privileged"
}

# Names the binaries: those of PATH, else a release build.
find_binaries() {
  if ! command -v repld >/dev/null || ! command -v repladm >/dev/null; then
    # shellcheck disable=SC2119
    release_binaries
  fi
  binaries=$(dirname "$(readlink -f "$(command -v repladm)")")
}

finish() {
  local status=$?
  trap - EXIT INT TERM ERR
  set +e # one part that cannot be ended must not keep the others
  ledger_stop
  if [ "$status" != 0 ] && [ -n "${REPL_CLUSTER_KEEP:-}" ]; then
    echo "cluster.sh: $dir is kept; scripts/cluster.sh down ends it" >&2
  else
    hosts_down
  fi
  exit "$status"
}

while [ $# -gt 0 ]; do
  case $1 in
  --fencing)
    case ${2:-} in repl | drbd | none) fencing=$2 ;; *) die "--fencing takes repl, drbd or none" ;; esac
    shift 2
    ;;
  --*) die "unknown option $1: there is --fencing" ;;
  *) break ;;
  esac
done
[ $# -gt 0 ] || usage
need
[ ! -e "$dir/switch.pid" ] || [ "$1" = down ] || die "$dir is in use: scripts/cluster.sh down ends what a killed run has left"

. "$root/Tests/Cluster/hosts.sh"
. "$root/Tests/Cluster/members.sh"
. "$root/Tests/Cluster/group.sh"
. "$root/Tests/Cluster/ledger.sh"
. "$root/Tests/Cluster/scenarios.sh"
. "$root/Tests/Cluster/faults.sh"
. "$root/Tests/Cluster/fence.sh"
. "$root/Tests/Cluster/agent.sh"

if [ "$1" = down ]; then
  ledger_stop
  hosts_down
  exit
fi

# "standby 2, crash" to one scenario a line; every name is known before anything starts.
plan=$(tr ',' '\n' <<<"$*" | xargs -L 1 echo)
plan=${plan//short/$'standby 2\ncrash 1'}
while read -r name _; do
  [ "$name" = agent ] || declare -F "scenario_$name" >/dev/null || die "no scenario $name: see cluster.sh without arguments"
done <<<"$plan"

find_binaries
set -E
trap 'echo "cluster.sh: failed in ${FUNCNAME[0]:-main}: $BASH_COMMAND" >&2' ERR
trap finish EXIT
trap 'exit 130' INT TERM
start=$SECONDS
hosts_up
if grep -qx agent <<<"$plan"; then
  agent_cases
  plan=$(grep -vx agent <<<"$plan" || true)
fi
if [ -n "$plan" ]; then
  make_volume "$fencing"
  members_up
  make_resources
  ledger_start
  echo "the group runs on $(address_host) after $((SECONDS - start)) s; fencing: $fencing"
  while read -r name words <&3; do
    # shellcheck disable=SC2086
    "scenario_$name" $words
  done 3<<<"$plan"
  [ "$total_lost" = 0 ] || [ "$fencing" = none ] || die "$total_lost acknowledged rows are lost"
fi
echo "cluster.sh: done in $((SECONDS - start)) s"
