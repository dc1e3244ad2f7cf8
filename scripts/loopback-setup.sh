#!/usr/bin/env bash
# Backing devices for nodes that run on one machine: a sparse file and a loop device each. Safe to repeat.
#   loopback-setup.sh [--nodes "A B"] up [SIZE]   make what is not there yet, print NODE and DEVICE
#   loopback-setup.sh [--nodes "A B"] status      print NODE, DEVICE and SIZE of what is there
#   loopback-setup.sh [--nodes "A B"] down        remove the devices and files of these nodes
# SIZE like 512M or 2G, default 512M. Without --nodes: REPL_LOOPBACK_NODES, or node1 and node2; `down` and `status`
# without names mean every node there is. Files lie in REPL_LOOPBACK_DIR, default /var/tmp/repl-loopback.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"

dir=${REPL_LOOPBACK_DIR:-/var/tmp/repl-loopback}
nodes=${REPL_LOOPBACK_NODES:-}
usage() {
  sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}
if [ "${1:-}" = --nodes ]; then
  nodes=${2:?names of the nodes}
  shift 2
fi
verb=${1:-}
size=${2:-512M}
[ $# -le 2 ] || usage
case $verb in up | down | status) ;; *) usage ;; esac

need_linux
need_command losetup util-linux
need_command numfmt coreutils
for node in $nodes; do
  [[ $node =~ ^[A-Za-z0-9._-]+$ ]] || die "$node is no name for a node: letters, digits, dot, dash and underscore"
done

# The loop devices of a file, one per line.
devices_of() { losetup --noheadings --output NAME --associated "$1" 2>/dev/null | tr -d ' ' || true; }

known_nodes() {
  local file
  if [ -n "$nodes" ]; then
    echo "$nodes"
  else
    for file in "$dir"/*.img; do
      if [ -e "$file" ]; then basename "$file" .img; fi
    done
  fi
}

up() {
  local bytes node file device found
  need_root "making loop devices"
  need_loop_devices
  bytes=$(numfmt --from=iec "$size" 2>/dev/null) || die "$size is no size: 512M, 2G"
  [ $((bytes % 4096)) = 0 ] && [ "$bytes" -gt 0 ] || die "$size is not a multiple of 4 KiB"
  mkdir -p "$dir"
  exec 9>"$dir/.lock"
  flock 9
  for node in ${nodes:-node1 node2}; do
    file=$dir/$node.img
    if [ -e "$file" ]; then
      found=$(stat -c %s "$file")
      [ "$found" = "$bytes" ] ||
        die "$file is there with $found bytes, not $bytes: keep that size, or remove it first (${0##*/} down)"
    else
      truncate -s "$bytes" "$file"
    fi
    device=$(devices_of "$file" | head -1)
    if [ -z "$device" ]; then
      device=$(losetup --find --show --direct-io=on "$file" 2>/dev/null) ||
        device=$(losetup --find --show "$file") || die "no loop device for $file: see above"
    fi
    echo "$node $device"
  done
}

status() {
  local node file device
  for node in $(known_nodes); do
    file=$dir/$node.img
    [ -e "$file" ] || continue
    device=$(devices_of "$file" | tr '\n' ' ')
    echo "$node ${device:-no-device }$(numfmt --to=iec "$(stat -c %s "$file")")"
  done
}

down() {
  local node file device left=0 try
  [ -d "$dir" ] || return 0
  need_root "removing loop devices"
  for node in $(known_nodes); do
    file=$dir/$node.img
    [ -e "$file" ] || continue
    for device in $(devices_of "$file"); do
      losetup --detach "$device" || true
    done
    # A device in use is only marked for removal: wait for its last user a moment.
    for try in $(seq 50); do
      [ -n "$(devices_of "$file")" ] || break
      sleep 0.1
    done
    if [ -n "$(devices_of "$file")" ]; then
      echo "${0##*/}: $(devices_of "$file" | tr '\n' ' ')is still in use: unmount it, or repladm down, then repeat" >&2
      left=1
    else
      rm -f "$file"
    fi
  done
  if [ $left = 0 ] && [ -z "$(known_nodes | while read -r node; do [ ! -e "$dir/$node.img" ] || echo "$node"; done)" ]; then
    ls "$dir"/*.img >/dev/null 2>&1 || rm -f "$dir/.lock"
    rmdir "$dir" 2>/dev/null || true
  fi
  return $left
}

$verb
