#!/usr/bin/env bash
# The founding story, on one machine: two hosts, one replicated device, a planned and an unplanned switch-over, nothing
# lost. Every command is shown as a person would type it, with its real output, and what has to be true is checked.
#   demo.sh           run the story, then take everything down (root; about two minutes after the build)
#   demo.sh --keep    leave the hosts up and say how to enter them
#   demo.sh --down    take down what --keep left
# Without root, or without any means to make a block device, the same story is told over the NBD sockets.
# REPL_DEMO_SIZE: size of the disks, default 1G. REPL_DEMO_DIR: where its files lie, default /var/tmp/repl-demo.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"

work=${REPL_DEMO_DIR:-/var/tmp/repl-demo}
size=${REPL_DEMO_SIZE:-1G}
one=zabbix-server01
two=zabbix-server02
keep= mode= kept= writer=
case ${1:-} in
'') ;;
--keep) keep=yes ;;
--down) mode=down ;;
*)
  sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
is_root || [ -n "${REPL_DEMO_DIR:-}" ] || work=$work-$(id -un)
export REPL_HOSTS="$one $two" REPL_HOSTS_DIR=$work/hosts
export REPL_LOOPBACK_DIR=$work/disks REPL_LOOPBACK_NODES="$one $two"
. "$root/scripts/demo-story.sh"

# MARK: The end, whatever happened

# Ends the daemons of the sockets-only variant by the pid files they wrote.
end_daemons() {
  local host pid
  for host in $one $two; do
    [ -d "$work/run/$host" ] || continue
    run_on "$host" 'timeout 15 repladm down drbd0' >/dev/null 2>&1 || true
    for pid in $(cat "$work/run/$host"/*.pid 2>/dev/null || true); do
      if grep -q repld "/proc/$pid/comm" 2>/dev/null; then kill -KILL "$pid" 2>/dev/null || true; fi
    done
  done
}

take_down() {
  local status=0 host
  [ -d "$work" ] || return 0
  if [ -n "$writer" ]; then kill "$writer" 2>/dev/null || true; fi
  if [ -d "$work/run" ]; then end_daemons; fi
  if [ -d "$REPL_HOSTS_DIR" ]; then
    for host in $one $two; do
      # The polite way first; what does not answer dies with its host.
      # First what a daemon that died has left: to unmount it is to wait for the next daemon.
      "$root/scripts/hosts.sh" run "$host" sh -c \
        'pgrep --exact repld || repladm down drbd0; umount /mnt; timeout 15 repladm down drbd0' >/dev/null 2>&1 || true
    done
    "$root/scripts/hosts.sh" down || status=1
  fi
  if [ -d "$REPL_LOOPBACK_DIR" ]; then "$root/scripts/loopback-setup.sh" down || status=1; fi
  if [ $status = 0 ]; then rm -rf "${work:?}"; fi
  return $status
}

# What is left of the demo, a word each; nothing is the right answer.
left_over() {
  local pid file
  for file in "$work"/* "$work"; do if [ -e "$file" ]; then echo "$file"; fi; done
  for pid in /proc/[0-9]*; do
    if tr '\0' ' ' 2>/dev/null <"$pid/environ" | grep -qF "REPL_DEMO_RUN=$work " && [ "${pid#/proc/}" != $$ ]; then
      tr '\0' ' ' <"$pid/cmdline" 2>/dev/null | grep -v demo.sh || true
    fi
  done
  grep -F "$work" /proc/self/mountinfo || true
  if is_root; then losetup --list --noheadings --output BACK-FILE 2>/dev/null | grep -F "$work/" || true; fi
}

finish() {
  local status=$? left
  trap '' INT TERM HUP PIPE
  trap - EXIT
  set +e
  if [ -n "$kept" ]; then exit "$status"; fi
  if [ $status != 0 ]; then
    echo "demo.sh: the story broke off; taking everything down" >&2
    logs_of_failure >&2
  fi
  take_down || status=1
  left=$(left_over)
  if [ -n "$left" ]; then
    echo "demo.sh: left over: $left" >&2
    status=1
  elif [ $status = 0 ]; then
    echo "Nothing is left: no process, mount, loop device, namespace or file. The story took $((SECONDS - begun)) s."
  fi
  exit "$status"
}

logs_of_failure() {
  local host
  for host in $one $two; do
    echo "--- last words of repld on $host"
    run_on "$host" 'tail -n 25 "${REPL_RUN_DIR:-/run/repl}"/*.log' 2>/dev/null || echo "(none)"
  done
}

# MARK: The beginning

need_linux
if [ "$mode" = down ]; then
  take_down || die "something is still in use: see above"
  [ -z "$(left_over)" ] || die "left over: $(left_over)"
  echo "nothing is left"
  exit 0
fi
[ ! -d "$work" ] || die "$work is there: a demo is running or was kept; scripts/demo.sh --down ends it"
need_swift
if is_root; then "$root/scripts/install-packages.sh" >/dev/null || die "packages are missing: see above"; fi
for tool in nbdcopy:libnbd-bin qemu-io:qemu-utils cmp:diffutils timeout:coreutils; do
  need_command "${tool%:*}" "${tool#*:}"
done
means=$(device_means)
if ! is_root; then
  mode=sockets
  why="you are not root"
elif [ -z "$means" ]; then
  mode=sockets
  why="this kernel has neither nbd nor FUSE with loop devices"
elif ! (need_namespaces) 2>/dev/null; then
  mode=sockets
  why="namespaces cannot be made here"
else
  mode=hosts
fi
release_binaries --product repld
release_binaries --product repladm
release_binaries --product repl-device

trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'exit 141' PIPE
export REPL_DEMO_RUN=$work
begun=$SECONDS
mkdir -p "$work"
if [ $mode = hosts ]; then prepare_hosts; else prepare_sockets; fi
if [ -n "$keep" ]; then
  story_until_kept
  kept=yes
  say_how_to_enter
  exit 0
fi
story
