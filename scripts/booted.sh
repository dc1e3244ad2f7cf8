# Sourced by the scripts that test packages: systems that systemd boots in containers (systemd-nspawn), made of a fresh Debian.
# The one who sources it sets $work (a directory: the system NODE lies in $work/NODE) and $namespace (a name of its own for the network and
# the control groups), and has a function `fail SENTENCE`.
# Law: end_node leaves no process of the node, remove_groups and remove_network nothing else.
# shellcheck shell=bash disable=SC2154

suite=bookworm
included=systemd-sysv,udev,dbus,procps,iproute2,kmod,liburing2,libssl3,libfuse3-3,libnbd-bin,man-db
cache=${REPL_PACKAGE_CACHE:-$HOME/.cache/repl-package}
# The name says what is in it: another list makes another system.
system=$cache/$suite-$(printf %s "$included" | sha256sum | cut -c1-12).tar
declare -A nspawn=() leader=()

make_system() {
  [ ! -e "$system" ] || return 0
  mkdir -p "$cache"
  mmdebstrap --quiet --format=tar --variant=minbase --include="$included" "$suite" "$system.$$" || fail "mmdebstrap failed"
  mv "$system.$$" "$system"
}

unpack_system() {
  mkdir "$work/$1"
  tar -C "$work/$1" -xf "$system"
  echo "$1" >"$work/$1/etc/hostname"
}

# make_network ADDRESS..: the systems share one network, and each has its address there.
make_network() {
  local address
  ip netns add "$namespace"
  ip -n "$namespace" link set lo up
  for address in "$@"; do ip -n "$namespace" addr add "$address/32" dev lo; done
}

remove_network() { if [ -e "/run/netns/$namespace" ]; then ip netns delete "$namespace"; fi; }

end_node() {
  local node=$1 pid=${nspawn[$1]:-}
  [ -n "$pid" ] || return 0
  # systemd's own signal for "power off"; then the end of its container.
  [ -z "${leader[$node]:-}" ] || kill -s SIGRTMIN+4 "${leader[$node]}" 2>/dev/null || true
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  kill -KILL ${leader[$node]:+"${leader[$node]}"} "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  unset "nspawn[$node]" "leader[$node]"
}

# inside NODE COMMAND...: in the running container.
inside() {
  local node=$1
  shift
  nsenter --target "${leader[$node]}" --mount --uts --ipc --net --pid --root --wd=/ \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# until_true SECONDS WHAT COMMAND...: looks again and again.
until_true() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "waited in vain: $what"
    sleep 0.2
  done
}

# The directories of systemd's control groups here: of version 2, of version 1, or of both.
group_roots() {
  local candidate
  for candidate in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    if [ -e "$candidate/cgroup.procs" ]; then echo "$candidate"; fi
  done
}

# Each system has control groups of its own, or the two would end each other's processes.
in_own_group() {
  local group
  while read -r group; do
    mkdir -p "$group/$namespace-$1"
    echo "$BASHPID" >"$group/$namespace-$1/cgroup.procs"
  done < <(group_roots)
  shift
  exec "$@"
}

remove_groups() {
  local group
  while read -r group; do
    find "$group" -mindepth 1 -depth -type d -path "$group/$namespace-*" -exec rmdir {} + 2>/dev/null || true
  done < <(group_roots)
}

boot() {
  local node=$1
  # The containers of systemd do not allow io_uring and locked memory by themselves.
  in_own_group "$node" systemd-nspawn --quiet --register=no --keep-unit --directory="$work/$node" --hostname="$node" --machine="$node" \
    --network-namespace-path="/run/netns/$namespace" --resolv-conf=off --link-journal=no --boot \
    --bind=/dev/fuse --bind=/dev/loop-control --capability=CAP_IPC_LOCK --system-call-filter="io_uring_setup io_uring_enter io_uring_register" \
    </dev/null >"$work/$node.console" 2>&1 &
  nspawn[$node]=$!
  local end=$((SECONDS + 30))
  while [ -z "${leader[$node]:-}" ]; do
    leader[$node]=$(pgrep -P "${nspawn[$node]}" -x systemd || true)
    [ -n "${leader[$node]}" ] || [ $SECONDS -lt $end ] || fail "$node did not begin to boot: $(tail -5 "$work/$node.console")"
    sleep 0.1
  done
  until_true 60 "$node is up" node_is_up "$node"
}

node_is_up() { inside "$1" systemctl is-active multi-user.target; }
