#!/usr/bin/env bash
# Two hosts on one machine, made of namespaces: each with its own network, mounts, host name and processes, its own /run
# and /dev, its own /etc/drbd.d. A veth pair joins them; the machine's own network gets no interface.
#   hosts.sh up              make zabbix-server01 (192.168.1.1) and zabbix-server02 (192.168.1.2)
#   hosts.sh run HOST CMD..  run a command there
#   hosts.sh pid HOST        the process to enter: nsenter --all --target PID
#   hosts.sh status          which hosts are up
#   hosts.sh down            end every process, mount, device and interface of both
# Names in REPL_HOSTS; the files of a host lie in REPL_HOSTS_DIR (default /var/tmp/repl-hosts) and are kept by `down`
# only if they were there before. A host dies with its first process: nothing of it can be left over.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
. "$root/scripts/host-places.sh"

dir=${REPL_HOSTS_DIR:-/var/tmp/repl-hosts}
read -r -a hosts <<<"${REPL_HOSTS:-zabbix-server01 zabbix-server02}"
self=$root/scripts/hosts.sh

pid_of() { cat "$dir/$1.pid" 2>/dev/null || true; }
is_up() {
  local pid
  pid=$(pid_of "$1")
  [ -n "$pid" ] && [ -d "/proc/$pid" ]
}

# First process of a host, inside its namespaces.
init_host() {
  local name=$1
  mount --make-rprivate /
  hostname "$name"
  leave_mounts_of_others
  # The directory of the hosts stays reachable wherever it lies.
  exec 8<"$dir"
  mount -t tmpfs -o mode=0755,size=64m tmpfs /run
  mkdir -p /run/repl /run/lock
  own_dev
  mount --bind "$dir/hosts" /etc/hosts
  if [ -d /etc/drbd.d ]; then mount --bind "$dir/$name.drbd.d" /etc/drbd.d; fi
  ip link set lo up
  : >"$dir/$name.ready"
  exec 8<&-
  reap
}

up() {
  local name number=0 pid parent try
  need_root "making hosts"
  need_linux
  for name in unshare:util-linux nsenter:util-linux ip:iproute2 hostname:hostname; do
    need_command "${name%:*}" "${name#*:}"
  done
  need_namespaces
  for name in "${hosts[@]}"; do
    ! is_up "$name" || die "$name is up already: hosts.sh down ends it"
  done
  trap down EXIT # half a network is worse than none
  mkdir -p "$dir"
  echo "127.0.0.1 localhost" >"$dir/hosts"
  for name in "${hosts[@]}"; do
    number=$((number + 1))
    echo "192.168.1.$number $name" >>"$dir/hosts"
  done
  for name in "${hosts[@]}"; do
    mkdir -p "$dir/$name.drbd.d"
    rm -f "$dir/$name.ready"
    REPL_HOSTS_DIR=$dir setsid unshare --net --mount --uts --pid --fork --kill-child=KILL --mount-proc \
      -- "$self" __init "$name" </dev/null >"$dir/$name.console" 2>&1 &
    parent=$!
    echo $parent >"$dir/$name.parent"
    for try in $(seq 200); do
      [ ! -e "$dir/$name.ready" ] || break
      [ -d /proc/$parent ] || break
      sleep 0.05
    done
    [ -e "$dir/$name.ready" ] || die "$name did not come up: $(tail -3 "$dir/$name.console" | tr '\n' ' ')"
    read -r pid _ <"/proc/$parent/task/$parent/children" || true # the line has no end
    [ -n "$pid" ] || die "$name ended at once: $(tail -3 "$dir/$name.console" | tr '\n' ' ')"
    echo "$pid" >"$dir/$name.pid"
  done
  # The cable.
  nsenter --net --target "$(pid_of "${hosts[0]}")" -- \
    ip link add eth0 type veth peer name eth0 netns "$(pid_of "${hosts[1]}")"
  number=0
  for name in "${hosts[@]}"; do
    number=$((number + 1))
    pid=$(pid_of "$name")
    nsenter --net --target "$pid" -- ip address add 192.168.1.$number/24 dev eth0
    nsenter --net --target "$pid" -- ip link set eth0 up
  done
  trap - EXIT
}

run() {
  local name=$1 pid
  shift
  is_up "$name" || die "$name is down"
  pid=$(pid_of "$name")
  local status=0
  nsenter --mount --uts --net --pid --target "$pid" -- /bin/sh -c 'cd / && exec "$@"' sh "$@" || status=$?
  own_loops "$name" >>"$dir/loops"
  return $status
}

# The loop devices a host uses now, with what they stand on: those on its FUSE mounts, those it has mounted, those its
# device names lead to. The kernel keeps them when the host dies.
own_loops() {
  local pid fuse used link
  pid=$(pid_of "$1")
  fuse=$(awk '$0 ~ / - fuse/ {print $3}' "/proc/$pid/mountinfo" 2>/dev/null || true)
  used=$(sed -n 's/.* - [^ ]* \(\/dev\/loop[0-9]*\) .*/\1/p' "/proc/$pid/mountinfo" 2>/dev/null || true)
  for link in "/proc/$pid/root/dev"/drbd[0-9]*; do
    if [ -L "$link" ]; then used="$used"$'\n'"$(readlink "$link")"; fi
  done
  losetup --list --noheadings --output NAME,BACK-MAJ:MIN,BACK-INO 2>/dev/null | while read -r loop device inode; do
    # A device without a number stands on a server that is gone: whose it was, its number does not tell.
    if { [ -n "$device" ] && grep -qxF "$device" <<<"$fuse"; } || grep -qxF "$loop" <<<"$used"; then echo "$loop $device $inode"; fi
  done
}

down_host() {
  local name=$1 pid parent loops loop try mounted
  pid=$(pid_of "$name")
  parent=$(cat "$dir/$name.parent" 2>/dev/null || true)
  if is_up "$name"; then
    # File systems first, as long as their daemon lives.
    mounted=$(awk '$0 ~ / - [^ ]+ (\/dev\/(loop|nbd|drbd|ublk)|[^ ]+\.nodes\/)/ {print $5}' "/proc/$pid/mountinfo" || true)
    for try in $mounted; do
      timeout 10 nsenter --mount --pid --target "$pid" -- umount "$try" 2>/dev/null ||
        nsenter --mount --pid --target "$pid" -- umount --lazy "$try" 2>/dev/null || true
    done
    own_loops "$name" >>"$dir/loops"
    kill -KILL "$pid" 2>/dev/null || true
  fi
  if [ -n "$parent" ] && grep -qz __init "/proc/$parent/cmdline" 2>/dev/null; then
    kill -KILL "$parent" 2>/dev/null || true # takes its child along
  fi
  for try in $(seq 200); do
    if [ -z "$pid" ] || [ ! -d "/proc/$pid" ]; then
      if [ -z "$parent" ] || [ ! -d "/proc/$parent" ]; then break; fi
    fi
    sleep 0.05
  done
  rm -f "$dir/$name.pid" "$dir/$name.parent" "$dir/$name.ready" "$dir/$name.console"
  [ -z "$pid" ] || [ ! -d "/proc/$pid" ] || die "$name (process $pid) does not end"
}

# Of the loop devices in use once, those that still stand on the same file, or on one whose server is gone, which has no
# number any more. Another file means that the device has a new owner.
still_there() {
  losetup --list --noheadings --output NAME,BACK-MAJ:MIN,BACK-INO 2>/dev/null | while read -r loop device inode; do
    if [ -z "$device" ]; then
      if grep -q "^$loop " "$dir/loops"; then echo "$loop"; fi
    elif grep -qxF "$loop $device $inode" "$dir/loops"; then
      echo "$loop"
    fi
  done
}

down() {
  local name loop try left=
  [ -d "$dir" ] || return 0
  need_root "ending hosts"
  for name in "${hosts[@]}"; do down_host "$name"; done
  # The mounts of a dead host go in the background: its devices are free a moment later.
  if [ -e "$dir/loops" ]; then
    for try in $(seq 100); do
      left=
      while read -r loop; do
        losetup --detach "$loop" 2>/dev/null || true
        left="$left $loop"
      done < <(still_there)
      [ -n "$left" ] || break
      sleep 0.1
    done
    [ -z "$left" ] || die "still in use:$left"
  fi
  rm -f "$dir/loops" "$dir/hosts"
  for name in "${hosts[@]}"; do rm -rf "${dir:?}/$name.drbd.d"; done
  rmdir "$dir" 2>/dev/null || true
}

status() {
  local name
  for name in "${hosts[@]}"; do
    if is_up "$name"; then echo "$name up, process $(pid_of "$name")"; else echo "$name down"; fi
  done
}

case ${1:-} in
__init) init_host "$2" ;;
up | down | status) "$1" ;;
run) [ $# -ge 3 ] || die "run HOST COMMAND..."; shift; run "$@" ;;
pid) pid_of "${2:?name of the host}" ;;
*)
  sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
