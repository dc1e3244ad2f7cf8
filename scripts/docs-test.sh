#!/usr/bin/env bash
# Every command of the tutorials in docs/, run on two nodes of this machine, and its output compared with the one shown there.
#   docs-test.sh                    what needs no packages beside those of scripts/install-packages.sh
#   docs-test.sh all                also the Pacemaker cluster, and systems that systemd boots (install-packages.sh --cluster --zabbix
#                                   --docs --package)
#   docs-test.sh --stages LIST ..   only the stages of the list: hosts, connected, cluster, members, booted
#   docs-test.sh DOCUMENT[:HEADING]..   only these documents, or their sections whose heading has these words
#   docs-test.sh --record ..        writes the outputs that came into the documents: read the difference before it is committed
# What a block may say of itself is told in Tests/Docs/blocks.py, what counts as the same output in Tests/Docs/picture.py.
# Root. REPL_PROGRAMS: a directory with repld and repladm, default .build/release, built where they are missing. Leaves nothing behind.
# REPL_DOCS_KEEP=1: a failed run is left as it is; docs-test.sh down ends it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"

work=${REPL_DOCS_WORK:-/var/tmp/repl-docs}
export REPL_DOCS_WORK=$work
. "$root/Tests/Docs/stages.sh"

usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d' >&2
  exit 2
}

finish() {
  local status=$?
  trap '' INT TERM HUP PIPE
  trap - EXIT
  set +e
  if [ "$status" != 0 ] && [ -n "${REPL_DOCS_KEEP:-}" ]; then
    echo "docs-test.sh: $work is kept; scripts/docs-test.sh down ends it" >&2
    exit "$status"
  fi
  stages_down || status=1
  [ -z "$(left_over)" ] || {
    echo "docs-test.sh: left over: $(left_over)" >&2
    status=1
  }
  exit "$status"
}

case ${1:-} in
__stage)
  "stage_$2"
  exit
  ;;
down)
  stages_down
  [ -z "$(left_over)" ] || die "left over: $(left_over)"
  exit
  ;;
-h | --help) usage ;;
esac

stages=hosts,connected record=() documents=()
while [ $# -gt 0 ]; do
  case $1 in
  all) stages=hosts,connected,cluster,members,booted ;;
  --stages)
    stages=${2:?names of stages}
    shift
    ;;
  --record) record=(--record) ;;
  -*) usage ;;
  *)
    [ -e "${1%%:*}" ] || die "there is no document ${1%%:*}"
    documents+=("$(readlink -f "${1%%:*}")${1#"${1%%:*}"}")
    ;;
  esac
  shift
done
if [ ${#documents[@]} = 0 ]; then
  for name in getting-started zabbix-on-two-machines coming-from-drbd when-something-is-wrong security; do
    documents+=("$root/docs/$name.md")
  done
fi

need_linux
need_root "making hosts"
need_namespaces
need_loop_devices
need_command python3 python3
need_command mkfs.xfs xfsprogs
[ -n "$(device_means)" ] || die "no block device can be made here: neither kernel nbd, nor FUSE with loop devices"
[ ! -e "$work" ] || die "$work is in use: scripts/docs-test.sh down ends what a killed run has left"
programs=${REPL_PROGRAMS:-$root/.build/release}
if [ ! -x "$programs/repld" ] || [ ! -x "$programs/repladm" ]; then
  [ -z "${REPL_PROGRAMS:-}" ] || die "$REPL_PROGRAMS has no repld and repladm"
  release_binaries --product repld
  release_binaries --product repladm
fi
REPL_DOCS_PROGRAMS=$(readlink -f "$programs")
export REPL_DOCS_PROGRAMS
PATH=$REPL_DOCS_PROGRAMS:$PATH

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'exit 141' PIPE
python3 "$root/Tests/Docs/selftest.py" 2>&1 | tail -3
mkdir -p "$work"
"$root/Tests/Docs/play.py" "${record[@]}" --stages "$stages" "${documents[@]}"
echo "docs-test.sh: done in $SECONDS s"
