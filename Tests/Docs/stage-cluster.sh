# Sourced by stages.sh: two hosts of Tests/Cluster with two networks, on which a document makes a cluster.
#   cluster   the hosts, with the package and an empty disk /dev/sdb1, without a cluster
#   members   Corosync and Pacemaker begin on them, with the files that the document has written
# shellcheck shell=bash disable=SC2154,SC2016

# The functions of Tests/Cluster know one directory, and one place of the programs.
in_cluster() {
  local dir=$work/cluster binaries=$REPL_DOCS_PROGRAMS
  # What a cluster needs is set by the document.
  local first_properties=dc-deadtime=2s
  . "$root/Tests/Cluster/hosts.sh"
  . "$root/Tests/Cluster/members.sh"
  "$@"
}

stage_cluster() {
  local node
  cluster_down
  mkdir -p "$work/cluster"
  in_cluster hosts_up
  enter_cluster
  for node in 01 02; do install_in_cluster $node; done
}

enter_cluster() {
  local node
  for node in 01 02; do
    enter_by $node nsenter --mount --uts --ipc --net --pid --target "$(cat "$work/cluster/$(host_of $node).pid")" -- "${login[@]}"
  done
}

# As install_package, but with the directories that the host has as its own already.
install_in_cluster() {
  at "$1" sh -euc '
    root=$1 programs=$2
    for place in etc usr; do
      mkdir -p /run/own/$place /run/own/$place.upper /run/own/$place.work
      mount -t overlay overlay -o "lowerdir=/$place,upperdir=/run/own/$place.upper,workdir=/run/own/$place.work" "/run/own/$place"
    done
    for own in etc/corosync etc/pacemaker etc/hosts etc/hostname usr/local/sbin usr/lib/ocf/resource.d; do
      mount --bind "/$own" "/run/own/$own"
    done
    mount --rbind /run/own/etc /etc
    mount --rbind /run/own/usr /usr
    rm -f /etc/drbd.conf
    mkdir -p /usr/lib/repl /etc/repl.d
    cp "$root"/packaging/fence/* /usr/lib/repl/
    cp "$root/packaging/conf/repl.conf" /etc/
    # What packages and tmpfiles.d make, in places that are empty on this host.
    install -d -o zabbix -g zabbix /run/zabbix /var/log/zabbix-server
    install -d -o www-data -g www-data /run/php
    install -d /var/log/nginx
    truncate -s 1G /var/lib/drbd/sdb1.img
    ln -s /var/lib/drbd/sdb1.img /dev/sdb1' sh "$root" "$REPL_DOCS_PROGRAMS"
}

stage_members() {
  local name
  enter_cluster
  cp "$work/cluster/$one/etc/corosync/authkey" "$work/cluster/$two/etc/corosync/authkey"
  for name in "$one" "$two"; do in_cluster start_member "$name"; done
  in_cluster wait_members "$one" 2
}

cluster_down() {
  [ -d "$work/cluster" ] || return 0
  REPL_DOCS_PROGRAMS=${REPL_DOCS_PROGRAMS:-} in_cluster hosts_down
}
