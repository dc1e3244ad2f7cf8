# Sourced by scripts/cluster.sh: the machines of the cluster, two hosts made of namespaces and the switch between them.
#
# A host has its own network, mounts, processes, name and IPC. eth0 (10.77.0.0/24) is for the cluster and its clients, eth1
# (10.77.1.0/24) for replication. The switch is a network namespace with a bridge for each, where clients run. Nothing is
# named in /run/netns and the machine's own network gets no interface: all of it ends with three processes.
# Law: hosts_down leaves no process, mount or loop device, also after a crash in the middle.

hosts=(zabbix-server01 zabbix-server02)
net=10.77

host_number() { if [ "$1" = "${hosts[0]}" ]; then echo 1; else echo 2; fi; }
other_host() { if [ "$1" = "${hosts[0]}" ]; then echo "${hosts[1]}"; else echo "${hosts[0]}"; fi; }
host_pid() { cat "$dir/$1.pid" 2>/dev/null || true; }
host_is_up() {
  local pid
  pid=$(host_pid "$1")
  [ -n "$pid" ] && [ -d "/proc/$pid" ]
}

# on HOST COMMAND ARGUMENT..; `on switch` runs on the network in between.
on() {
  local name=$1 pid
  shift
  host_is_up "$name" || die "$name is down"
  pid=$(host_pid "$name")
  if [ "$name" = switch ]; then
    nsenter --net --target "$pid" -- "$@"
  else
    nsenter --mount --uts --ipc --net --pid --target "$pid" -- /bin/sh -c 'cd / && exec "$@"' sh "$@"
  fi
}

# on_both COMMAND ARGUMENT..
on_both() {
  local name
  for name in "${hosts[@]}"; do on "$name" "$@"; done
}

# cable HOST eth0|eth1 up|down
cable() { on switch ip link set "p$(host_number "$1")-$2" "$3"; }

switch_up() {
  local pid try bridge
  setsid unshare --net -- sleep infinity </dev/null >/dev/null 2>&1 &
  pid=$!
  disown
  echo $pid >"$dir/switch.pid"
  for try in $(seq 200); do
    [ "$(readlink "/proc/$pid/ns/net")" = "$(readlink /proc/self/ns/net)" ] || break
    [ "$try" -lt 200 ] || die "the switch has no network of its own"
    sleep 0.02
  done
  on switch ip link set lo up
  for bridge in 0 1; do
    on switch ip link add "br$bridge" type bridge forward_delay 0 stp_state 0
    on switch ip address add "$net.$bridge.254/24" dev "br$bridge"
    on switch ip link set "br$bridge" up
  done
}

host_boot() {
  local name=$1 number parent pid try cable
  number=$(host_number "$name")
  ! host_is_up "$name" || die "$name is up already"
  mkdir -p "$dir/$name"
  rm -f "$dir/$name.ready"
  setsid unshare --net --mount --uts --ipc --pid --fork --kill-child=KILL --mount-proc \
    -- "$root/Tests/Cluster/host-init.sh" "$dir" "$name" </dev/null >"$dir/$name.console" 2>&1 &
  parent=$!
  disown
  echo $parent >"$dir/$name.parent"
  for try in $(seq 400); do
    [ ! -e "$dir/$name.ready" ] || break
    [ -d "/proc/$parent" ] || break
    sleep 0.05
  done
  [ -e "$dir/$name.ready" ] || die "$name did not come up: $(tail -3 "$dir/$name.console" | tr '\n' ' ')"
  read -r pid _ <"/proc/$parent/task/$parent/children" || true # the line has no end
  echo "${pid:?}" >"$dir/$name.pid"
  for cable in 0 1; do
    # The kernel takes the cables of a dead host away in the background.
    on switch ip link delete "p$number-eth$cable" 2>/dev/null || true
    on switch ip link add "p$number-eth$cable" type veth peer name "eth$cable" netns "$pid"
    on switch ip link set "p$number-eth$cable" master "br$cable" up
    on "$name" ip address add "$net.$cable.1$number/24" dev "eth$cable"
    on "$name" ip link set "eth$cable" up
  done
}

# The loop devices that carry a host's volumes, with what they stand on: the kernel keeps them when the host dies.
note_loops() {
  local pid record minor
  pid=$(host_pid "$1")
  for record in "/proc/$pid/root/run/repl"/*.device; do
    [ -e "$record" ] || continue
    # The order of the names is not fixed.
    grep -q '"major":7[,}]' "$record" || continue
    minor=$(grep -o '"minor":[0-9]*' "$record" | cut -d: -f2)
    losetup --list --noheadings --output NAME,BACK-MAJ:MIN,BACK-INO "/dev/loop$minor" 2>/dev/null >>"$dir/loops" || true
  done
}

# Of the noted loop devices, those that still stand on the same file, or on one whose server is gone, which has no number
# any more. Another file means that the device has a new owner.
own_loops() {
  local loop device inode
  losetup --list --noheadings --output NAME,BACK-MAJ:MIN,BACK-INO 2>/dev/null | while read -r loop device inode; do
    if [ -z "$device" ]; then
      if grep -q "^$loop\( \|$\)" "$dir/loops"; then echo "$loop"; fi
    elif grep -qx "$loop *$device *$inode" "$dir/loops"; then
      echo "$loop"
    fi
  done
}

# The mounts of a dead host go in the background: its devices are free a moment later.
free_loops() {
  local loop try left
  [ -e "$dir/loops" ] || return 0
  for try in $(seq 100); do
    left=$(own_loops)
    [ -n "$left" ] || break
    for loop in $left; do losetup --detach "$loop" 2>/dev/null || true; done
    [ "$try" -lt 100 ] || echo "cluster: still in use: $left" >&2
    sleep 0.1
  done
  rm -f "$dir/loops"
}

# Every process of the host ends at once; its kernel closes the connections unless the cables were pulled before.
host_crash() {
  local name=$1 pid parent try
  pid=$(host_pid "$name") parent=$(cat "$dir/$name.parent" 2>/dev/null || true)
  if host_is_up "$name"; then
    note_loops "$name"
    kill -KILL "$pid" 2>/dev/null || true
  fi
  if [ -n "$parent" ] && grep -qz host-init "/proc/$parent/cmdline" 2>/dev/null; then
    kill -KILL "$parent" 2>/dev/null || true # takes its child along
  fi
  for try in $(seq 600); do
    if { [ -z "$pid" ] || [ ! -d "/proc/$pid" ]; } && { [ -z "$parent" ] || [ ! -d "/proc/$parent" ]; }; then break; fi
    [ "$try" -lt 600 ] || echo "cluster: processes of $name do not end" >&2
    sleep 0.05
  done
  rm -f "$dir/$name.pid" "$dir/$name.parent" "$dir/$name.ready"
}

hosts_up() {
  local name tool
  mkdir -p "$dir/ocf/repl"
  chmod 0755 "$dir"
  install -m 0755 "$root/packaging/ocf/repl" "$dir/ocf/repl/repl"
  {
    echo "127.0.0.1 localhost"
    for name in "${hosts[@]}"; do
      echo "$net.0.1$(host_number "$name") $name"
      echo "$net.1.1$(host_number "$name") $name-repl"
    done
  } >"$dir/hosts"
  switch_up
  for name in "${hosts[@]}"; do
    host_boot "$name"
    on "$name" ln -sfn "$binaries/repladm" /usr/local/sbin/repladm
    on "$name" ln -sfn "$binaries/repld" /usr/local/sbin/repld
    for tool in "$root"/packaging/fence/*; do
      if [ -x "$tool" ]; then on "$name" ln -sfn "$tool" /usr/local/sbin/; fi
    done
  done
}

hosts_down() {
  local name pid
  for name in "${hosts[@]}"; do host_crash "$name"; done
  pid=$(host_pid switch)
  if [ -n "$pid" ] && grep -qz infinity "/proc/$pid/cmdline" 2>/dev/null; then kill -KILL "$pid" 2>/dev/null || true; fi
  free_loops
  rm -rf --one-file-system "${dir:?}"
}
