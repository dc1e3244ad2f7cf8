# Sourced by scripts/cluster.sh: what the cluster serves. One replicated volume with XFS and PostgreSQL on it, an address in
# front, and the resources of Pacemaker that move them. The commands are those of docs/cluster.md.

address=$net.0.100
postgres_bin=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -1)

# volume_file FENCING: the configuration of the volume, with the fence handlers or without.
volume_file() {
  local fencing=''
  case $1 in
  repl) fencing='net { fencing resource-only; }
  handlers {
    fence-peer "/usr/local/sbin/repl-fence-peer";
    unfence-peer "/usr/local/sbin/repl-unfence-peer";
  }' ;;
  drbd) fencing='net { fencing resource-only; }
  handlers {
    fence-peer "/usr/lib/drbd/crm-fence-peer.9.sh";
    unfence-peer "/usr/lib/drbd/crm-unfence-peer.9.sh";
  }' ;;
  esac
  cat <<CONF
resource drbd0 {
  protocol C;
  device /dev/drbd0 minor 0;
  disk /var/lib/drbd/drbd0.img;
  meta-disk internal;
  $fencing
  on ${hosts[0]} { address $net.1.11:7789; }
  on ${hosts[1]} { address $net.1.12:7789; }
}
CONF
}

write_volume_file() {
  local name
  for name in "${hosts[@]}"; do
    # Debian's /etc/drbd.conf includes this file by name.
    on "$name" sh -c 'echo "global { usage-count no; }" >/etc/drbd.d/global_common.conf'
    volume_file "$1" | on "$name" sh -c 'cat >/etc/drbd.d/drbd0.res'
  done
}

# The first steps of a new volume, by hand as a person does them; at the end it is down on both hosts, and Pacemaker's.
make_volume() {
  local first=${hosts[0]}
  write_volume_file "$1"
  on_both truncate -s 512M /var/lib/drbd/drbd0.img
  on_both repladm create-md drbd0 >"$dir/create-md.log" 2>&1 || die "create-md failed: $(tail -2 "$dir/create-md.log")"
  on_both repladm up drbd0
  on "$first" repladm --timeout 30 wait-connect drbd0
  # Both disks are new and all zero: there is nothing to resync.
  on "$first" repladm new-current-uuid --clear-bitmap drbd0/0
  on "$first" repladm primary drbd0
  on "$first" mkfs.xfs -q -f /dev/drbd0
  on "$first" bash -euc "
    mount /dev/drbd0 /mnt/drbd
    install -d -o postgres -g postgres -m 700 /mnt/drbd/pgdata
    su postgres -c '$postgres_bin/initdb -D /mnt/drbd/pgdata --encoding=utf8 --no-locale -A trust >/dev/null'
    echo 'host all all $net.0.0/24 trust' >>/mnt/drbd/pgdata/pg_hba.conf
    cat >>/mnt/drbd/pgdata/postgresql.conf <<CONF
listen_addresses = '*'
unix_socket_directories = '/run/postgresql'
shared_buffers = 32MB
max_wal_size = 128MB
min_wal_size = 64MB
CONF
    umount /mnt/drbd
    repladm secondary drbd0"
  on_both repladm down drbd0
}

resources() {
  local parameter=resource
  # The handler of drbd-utils finds the clone by the name that DRBD's agent has for this parameter.
  [ "$fencing" != drbd ] || parameter=drbd_resource
  cat <<CRM
primitive drbd ocf:repl:repl params $parameter=drbd0 \
  op monitor interval=10s role=Promoted timeout=20s op monitor interval=11s role=Unpromoted timeout=20s \
  op start interval=0 timeout=240s op stop interval=0 timeout=100s \
  op promote interval=0 timeout=90s op demote interval=0 timeout=90s op notify interval=0 timeout=90s
clone drbd-clone drbd \
  meta promotable=true promoted-max=1 promoted-node-max=1 clone-max=2 clone-node-max=1 notify=true
primitive filesystem ocf:heartbeat:Filesystem params device=/dev/drbd0 directory=/mnt/drbd fstype=xfs \
  op monitor interval=20s timeout=40s op start interval=0 timeout=60s op stop interval=0 timeout=60s
primitive pgsql ocf:heartbeat:pgsql params pgctl=$postgres_bin/pg_ctl psql=$postgres_bin/psql \
  pgdata=/mnt/drbd/pgdata socketdir=/run/postgresql \
  op monitor interval=30s timeout=30s op start interval=0 timeout=120s op stop interval=0 timeout=120s
primitive vip ocf:heartbeat:IPaddr2 params ip=$address cidr_netmask=24 op monitor interval=10s timeout=20s
group db-group filesystem pgsql vip
colocation db-with-drbd inf: db-group drbd-clone:Promoted
order drbd-then-db Mandatory: drbd-clone:promote db-group:start
CRM
}

# Warnings of crmsh about timeouts are about the defaults of other agents.
make_resources() {
  local said
  said=$(resources | on "${hosts[0]}" crm configure load update - 2>&1) || die "crm refused the resources: $said"
  idle 120 || die "the resources did not come up: $(on "${hosts[0]}" crm_mon -1 -r -f)"
  [ -n "$(address_host)" ] || die "the address runs nowhere: $(on "${hosts[0]}" crm_mon -1 -r -f)"
}

# wait_up_to_date: both disks are UpToDate, as the host that runs the address reports.
wait_up_to_date() {
  local deadline=$((SECONDS + 120)) name said=
  while [ $SECONDS -lt $deadline ]; do
    name=$(address_host)
    if [ -n "$name" ]; then
      said=$(on "$name" repladm --timeout 5 dstate drbd0 2>&1) || true
      [ "$said" != UpToDate/UpToDate ] || return 0
    fi
    sleep 0.2
  done
  die "the disks are not UpToDate on both hosts: $said"
}
