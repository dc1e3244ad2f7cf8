# Sourced by scripts/docs-test.sh: the stages on which documents are played. A stage is two nodes, 01 and 02, entered by the programs
# enter.01 and enter.02 in $work, which lead to the stage that was named last. hosts and connected begin anew whenever they are named.
#   hosts       two hosts of scripts/hosts.sh, the programs installed, an empty disk /dev/sdb1 on each
#   connected   the same, with the resource drbd0 of two equal disks, connected, both Secondary
#   cluster, booted   in stage-cluster.sh, stage-booted.sh
# Law: stages_down leaves no process, mount, loop device or file of any stage.
# shellcheck shell=bash disable=SC2154,SC2016
. "$root/Tests/Docs/stage-cluster.sh"
. "$root/Tests/Docs/stage-booted.sh"

one=zabbix-server01
two=zabbix-server02
export REPL_HOSTS="$one $two" REPL_HOSTS_DIR=$work/hosts

host_of() { if [ "$1" = 01 ]; then echo $one; else echo $two; fi; }

# enter_by NODE WORDS..: makes the program that runs a command on a node.
enter_by() {
  local node=$1
  shift
  printf '#!/bin/bash\nexec %s "$@"\n' "$(printf '%q ' "$@")" >"$work/enter.$node"
  chmod 755 "$work/enter.$node"
}

# The environment of a login of root.
login=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb SYSTEMD_PAGER=cat)

at() { "$work/enter.$1" "${@:2}"; }

# The files of a package where it puts them, on a host whose /etc and /usr are its own from now on.
install_package() {
  at "$1" sh -euc '
    root=$1 programs=$2
    cp /etc/hosts /run/hosts
    for place in etc usr; do
      mkdir -p /run/own/$place.upper /run/own/$place.work
      mount -t overlay overlay -o "lowerdir=/$place,upperdir=/run/own/$place.upper,workdir=/run/own/$place.work" "/$place"
    done
    cp /run/hosts /etc/hosts
    ln -sf "$programs/repladm" "$programs/repld" /usr/sbin/
    ln -sf repladm /usr/sbin/replsetup
    ln -sf repladm /usr/sbin/replmeta
    mkdir -p /usr/lib/repl /usr/lib/ocf/resource.d/repl /usr/share/doc/repl/examples /etc/repl.d
    cp "$root"/packaging/fence/* /usr/lib/repl/
    cp "$root/packaging/ocf/repl" /usr/lib/ocf/resource.d/repl/
    cp "$root"/packaging/conf/examples/* /usr/share/doc/repl/examples/
    cp "$root/packaging/conf/repl.conf" /etc/
    rm -f /etc/drbd.d/*.res' sh "$root" "$REPL_DOCS_PROGRAMS"
}

# MARK: hosts

# A disk lies on a file system of its own, /run/disk on its host, whose size can be taken away: then the disk has write errors.
disk_size=512M
disk_room=1g

stage_hosts() {
  local node device
  hosts_down
  for node in 01 02; do
    mkdir -p "$work/disk.$node"
    mount -t tmpfs -o "size=$disk_room" tmpfs "$work/disk.$node"
    disk_setup $node up $disk_size >"$work/device.$node"
  done
  "$root/scripts/hosts.sh" up
  enter_hosts
  for node in 01 02; do
    device=$(awk '{print $2}' "$work/device.$node")
    at $node sh -euc 'ln -sfn "$1" /dev/sdb1; ln -s "$2" /run/disk' sh "$device" "$work/disk.$node"
    install_package $node
  done
}

# A section may have changed the disk: room, size and sectors.
restore_disk() {
  local device
  device=$(disk_setup "$1" status | awk '{print $2}')
  mount -o "remount,size=$disk_room" tmpfs "$work/disk.$1"
  truncate -s $disk_size "$work/disk.$1/files/$(host_of "$1").img"
  losetup --sector-size 512 "$device"
  losetup --set-capacity "$device"
  blkdiscard --force "$device" 2>/dev/null
}

enter_hosts() {
  local node
  for node in 01 02; do
    enter_by $node nsenter --mount --uts --net --pid --target "$("$root/scripts/hosts.sh" pid "$(host_of $node)")" -- "${login[@]}"
  done
}

disk_setup() {
  REPL_LOOPBACK_DIR=$work/disk.$1/files "$root/scripts/loopback-setup.sh" --nodes "$(host_of "$1")" "${@:2}"
}

hosts_down() {
  local node status=0
  [ -d "$REPL_HOSTS_DIR" ] || [ -d "$work/disk.01" ] || return 0
  enter_hosts
  # A mount whose daemon died can go only after `down --force`: its requests wait for the next daemon.
  for node in 01 02; do
    at $node sh -c 'repladm role drbd0 && umount /mnt; timeout 15 repladm down --force drbd0; umount /mnt' >/dev/null 2>&1 || true
  done
  if [ -d "$REPL_HOSTS_DIR" ]; then "$root/scripts/hosts.sh" down || status=1; fi
  for node in 01 02; do
    [ -d "$work/disk.$node" ] || continue
    disk_setup $node down >/dev/null || status=1
    if mountpoint -q "$work/disk.$node"; then umount "$work/disk.$node" || status=1; fi
    rmdir "$work/disk.$node" || status=1
  done
  rm -f "$work"/device.0?
  return $status
}

# MARK: connected

stage_connected() {
  if [ -d "$REPL_HOSTS_DIR" ]; then enter_hosts; else stage_hosts; fi
  # Both go down first: a new disk would be resynced from the other node's old one.
  on_each clear_node
  on_each new_pair
  on_each start_resource
  at 01 repladm --timeout 20 wait-connect drbd0
  # Both disks are all zero: there is nothing to resync.
  at 01 repladm new-current-uuid --clear-bitmap drbd0/0
  at 01 repladm --timeout 20 wait-sync drbd0
}

# on_each FUNCTION: on both nodes at the same time.
on_each() {
  local first status=0
  "$1" 01 &
  first=$!
  "$1" 02 || status=$?
  wait $first || status=$?
  return $status
}

clear_node() {
  at "$1" sh -c 'repladm role drbd0 && umount /mnt; repladm --timeout 15 down --force drbd0; umount /mnt; rm -f /run/repl/drbd0.log' >/dev/null 2>&1 || true
  restore_disk "$1"
}

new_pair() {
  at "$1" sh -euc '
    ip address replace "192.168.1.$1/24" dev eth0
    ip link set eth0 up
    rm -f /etc/repl.d/* /etc/drbd.d/*.res
    cat >/etc/repl.d/drbd0.res
    repladm create-md --force drbd0 >/run/create-md 2>&1 || { cat /run/create-md; exit 1; }' sh "${1#0}" <<'RES'
resource drbd0 {
  protocol C;
  device /dev/drbd0;
  disk /dev/sdb1;
  meta-disk internal;
  net { verify-alg crc32c; }
  on zabbix-server01 { address 192.168.1.1:7789; }
  on zabbix-server02 { address 192.168.1.2:7789; }
}
RES
}

start_resource() { at "$1" repladm up drbd0; }

# MARK: the end

stages_down() {
  local stage status=0
  [ -d "$work" ] || return 0
  for stage in hosts cluster booted; do "${stage}_down" || status=1; done
  if [ $status = 0 ]; then rm -rf --one-file-system "${work:?}"; fi
  return $status
}

# What is left, a line each; nothing is the right answer.
left_over() {
  if [ -e "$work" ]; then echo "$work"; fi
  grep -F " $work/" /proc/self/mountinfo || true
  losetup --list --noheadings --output BACK-FILE 2>/dev/null | grep -F "$work/" || true
}
