#!/usr/bin/env bash
# Process 1 of a host: gives it its own places inside the namespaces it was started in, then reaps what the host orphans.
# Started by hosts.sh with the directory of the cluster and the name of the host.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/host-places.sh"
dir=$1 name=$2 disk=$1/$2

mount --make-rprivate /
hostname "$name"
leave_mounts_of_others
# The sysfs of this network namespace. It comes without the tree of control groups.
mount -t sysfs sysfs /sys

# own PATH OWNER GROUP MODE: a directory that the host keeps when it crashes.
own() {
  [ -d "$disk$1" ] || install -d -o "$2" -g "$3" -m "$4" "$disk$1"
  mount --bind "$disk$1" "$1"
}
own /etc/corosync root root 0755
own /etc/pacemaker root haclient 0750
own /etc/drbd.d root root 0755
own /var/lib/corosync root root 0755
own /var/lib/pacemaker hacluster haclient 0750
own /var/lib/drbd root root 0755
own /var/log root root 0755
own /mnt root root 0755
own /usr/local/sbin root root 0755
install -d -o hacluster -g haclient -m 0750 /var/lib/pacemaker/{cib,pengine,cores,blackbox}
install -d -o hacluster -g haclient -m 0770 /var/log/pacemaker
install -d /var/log/corosync
install -d -g haclient -m 0775 /var/log/crmsh # crmsh needs it
install -d -o postgres -g postgres -m 1775 /var/log/postgresql
mkdir -p /mnt/drbd
mount --bind "$dir/hosts" /etc/hosts
echo "$name" >"$disk/hostname"
mount --bind "$disk/hostname" /etc/hostname
# The agent beside the installed ones, without a change to /usr.
mount -t overlay overlay -o "lowerdir=$dir/ocf:/usr/lib/ocf/resource.d" /usr/lib/ocf/resource.d

# Places that a crash empties. The directory of the cluster stays reachable where it lies.
exec 8<"$dir"
mount -t tmpfs -o mode=0755,size=64m tmpfs /run
mount -t tmpfs -o mode=1777,size=256m tmpfs /dev/shm
own_dev
install -d -m 0755 /run/lock /run/repl
install -d -m 1755 /run/resource-agents
install -d -o hacluster -g haclient -m 0750 /run/crm
install -d -o postgres -g postgres -m 2775 /run/postgresql
ip link set lo up

: >"/proc/self/fd/8/$name.ready"
exec 8<&-
reap
