# Sourced by scripts/cluster.sh: Corosync and Pacemaker on the hosts, without an init system, and questions to the cluster.

: "${token:=1000}" # corosync's token timeout in ms: how soon a dead host is noticed
: "${first_properties:=dc-deadtime=2s stonith-enabled=false no-quorum-policy=ignore}"

write_corosync_conf() {
  local name
  cat <<CONF
totem {
  version: 2
  cluster_name: repl
  transport: knet
  crypto_cipher: none
  crypto_hash: none
  token: $token
}
quorum {
  provider: corosync_votequorum
  two_node: 1
  wait_for_all: 0
}
system {
  sched_rr: no
  move_to_root_cgroup: no
}
logging {
  to_stderr: no
  to_syslog: no
  to_logfile: yes
  logfile: /var/log/corosync/corosync.log
}
nodelist {
CONF
  for name in "${hosts[@]}"; do
    printf '  node {\n    name: %s\n    nodeid: %d\n    ring0_addr: %s\n    ring1_addr: %s\n  }\n' "$name" \
      "$(host_number "$name")" "$net.0.1$(host_number "$name")" "$net.1.1$(host_number "$name")"
  done
  echo "}"
}

# A first CIB: with the default dc-deadtime a new cluster does nothing for 20 s.
seed_cib() {
  # shellcheck disable=SC2016
  on "$1" bash -euc '
    file=/var/lib/pacemaker/cib/cib.xml properties=$*
    [ ! -e $file ] || exit 0
    # cibadmin writes the feature set and the schema that this Pacemaker accepts.
    {
      cibadmin --empty | sed -n "/<cib/p" | sed "s/ epoch=\"[0-9]*\"/ epoch=\"1\"/"
      echo "<configuration><crm_config><cluster_property_set id=\"cib-bootstrap-options\">"
      for pair in $properties; do
        echo "<nvpair id=\"set-${pair%%=*}\" name=\"${pair%%=*}\" value=\"${pair#*=}\"/>"
      done
      echo "</cluster_property_set></crm_config><nodes/><resources/><constraints/></configuration><status/></cib>"
    } >$file
    chown hacluster:haclient $file
    chmod 0600 $file' bash "$first_properties"
}

join() {
  write_corosync_conf | on "$1" sh -c 'cat >/etc/corosync/corosync.conf'
  start_member "$1"
}

# start_member HOST: both daemons, adopted by process 1 of the host; none holds a descriptor of ours.
start_member() {
  seed_cib "$1"
  # shellcheck disable=SC2016
  on "$1" bash -c '
    setsid corosync -f </dev/null >/var/log/corosync/console 2>&1 &
    for try in $(seq 200); do
      corosync-cfgtool -s >/dev/null 2>&1 && break
      sleep 0.1
    done
    PCMK_logfile=/var/log/pacemaker/pacemaker.log PCMK_logfacility=none PCMK_service=pacemakerd \
      setsid pacemakerd -f </dev/null >/var/log/pacemaker/console 2>&1 &'
}

members() { on "$1" crm_mon -1 --output-as=xml 2>/dev/null | grep -c '<node name=.* online="true"' || true; }

# wait_members HOST COUNT
wait_members() {
  local deadline=$((SECONDS + 60))
  while [ $SECONDS -lt $deadline ]; do
    if [ "$(members "$1")" = "$2" ] && on "$1" crm_mon -1 2>/dev/null | grep 'partition with quorum' >/dev/null; then return; fi
    sleep 0.25
  done
  die "the cluster did not form: $(members "$1") of $2 members are online; see $dir/$1/var/log/pacemaker"
}

members_up() {
  local name
  for name in "${hosts[@]}"; do join "$name"; done
  wait_members "${hosts[0]}" ${#hosts[@]}
}

# A host that is up.
live_host() {
  local name
  for name in "${hosts[@]}"; do
    if host_is_up "$name"; then
      echo "$name"
      return
    fi
  done
}

# idle [SECONDS]: until the cluster has nothing left to do.
idle() { on "$(live_host)" crm_resource --wait --timeout "${1:-120}s" >/dev/null 2>&1; }

# The host that runs the address, as the asked host reports; empty: none.
address_host() {
  local name
  for name in "${hosts[@]}"; do
    if host_is_up "$name" && on "$name" crm_resource --resource vip --locate --quiet 2>/dev/null; then return; fi
  done
}

failed_actions() { on "$(live_host)" crm_mon -1 --output-as=xml 2>/dev/null | grep '<failure ' || true; }
