# Sourced by scripts/cluster.sh: the resource agent without a cluster. ocf-tester of resource-agents first, then cases of
# our own: what Pacemaker would call, and the exit code, the words and the time it has to get.
#
# A stand-in for crm_attribute writes the promotion scores down. Law: a case prints what it wanted when it fails, the rest
# go on, and one failed case fails the script.

agent=/usr/lib/ocf/resource.d/repl/repl
one=${hosts[0]} two=${hosts[1]}
failed_cases=0

fail_case() {
  echo "  FAILED $*"
  failed_cases=$((failed_cases + 1))
}

# act HOST ACTION [NAME=VALUE..]: runs the agent as the executor does, which kills it at its timeout; sets $code, $words, $took.
limit=20
act() {
  local host=$1 action=$2 start=$SECONDS
  shift 2
  code=0
  words=$(on "$host" timeout --kill-after 2 "$limit" env OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE=drbd:0 OCF_RESKEY_resource=drbd0 \
    OCF_RESKEY_CRM_meta_interval=10000 OCF_RESKEY_CRM_meta_timeout=20000 OCF_RESKEY_failed_promotion_pause=0 \
    OCF_RESKEY_wfc_timeout=2 "$@" "$agent" "$action" 2>&1 </dev/null) || code=$?
  took=$((SECONDS - start))
}

# expect CODE HOST ACTION [NAME=VALUE..] [-- WORDS]: the exit code, and words that the reason must have.
expect() {
  local wanted=$1 host=$2 action=$3 settings=() part=''
  shift 3
  limit=20
  while [ $# -gt 0 ]; do
    case $1 in
    --)
      part=$2
      shift 2
      ;;
    *)
      settings+=("$1")
      case $1 in OCF_RESKEY_CRM_meta_timeout=*) limit=$((${1#*=} / 1000)) ;; esac
      shift
      ;;
    esac
  done
  act "$host" "$action" "${settings[@]}"
  if [ "$code" != "$wanted" ]; then
    fail_case "$action ${settings[*]}: exit code $code instead of $wanted: $words"
  elif [ "$took" -ge "$limit" ]; then
    fail_case "$action ${settings[*]}: took $took s of $limit s"
  elif [ -n "$part" ] && [[ $words != *"$part"* ]]; then
    fail_case "$action ${settings[*]}: '$part' is not in: $words"
  fi
}

# expect_score HOST SCORE: the last score set there; none: the last call deleted it.
expect_score() {
  local said
  said=$(on "$1" tail -n 1 /run/scores 2>/dev/null) || said=nothing
  case $said in
  *--delete*) said=none ;;
  *--update*) said=${said##*--update } ;;
  esac
  [ "$said" = "$2" ] || fail_case "promotion score on $1: $said instead of $2"
}

# signal_daemon HOST SIGNAL
signal_daemon() {
  # shellcheck disable=SC2016
  on "$1" sh -c '
    pid=$(cat /run/repl/drbd0.pid)
    kill "-$0" "$pid"
    [ "$0" = KILL ] || exit 0
    # A killed process holds its locks until it has ended.
    for _ in $(seq 100); do
      state=$(ps -o stat= -p "$pid") || exit 0
      case $state in Z*) exit 0 ;; esac
      sleep 0.05
    done
    exit 1' "$2"
}

prepare_agent() {
  local host
  write_volume_file none
  for host in "$one" "$two"; do
    on "$host" truncate -s 320M /var/lib/drbd/drbd0.img # mkfs.xfs wants 300 MiB
    # shellcheck disable=SC2016
    on "$host" sh -c 'printf "#!/bin/sh\necho \"\$*\" >>/run/scores\n" >/usr/local/sbin/crm_attribute
      chmod 755 /usr/local/sbin/crm_attribute'
  done
  on_both repladm create-md drbd0 >"$dir/create-md.log" 2>&1 || die "create-md failed: $(tail -2 "$dir/create-md.log")"
  on_both repladm up drbd0
  on "$one" repladm --timeout 30 wait-connect drbd0
  on "$one" repladm new-current-uuid --clear-bitmap drbd0/0
  on "$one" repladm primary drbd0
  on "$one" mkfs.xfs -q -f /dev/drbd0
  on "$one" repladm secondary drbd0
  on_both repladm down drbd0
}

case_parameters() {
  expect 6 "$one" validate-all OCF_RESKEY_resource= -- "no resource is named"
  expect 6 "$one" validate-all 'OCF_RESKEY_resource=a;b' -- "not allowed"
  expect 6 "$one" validate-all OCF_RESKEY_resource=drbd0/0 -- "whole resources"
  expect 6 "$one" validate-all OCF_RESKEY_drbd_resource=other -- "name two resources"
  expect 0 "$one" validate-all OCF_RESKEY_resource= OCF_RESKEY_drbd_resource=drbd0
  expect 6 "$one" validate-all "OCF_RESKEY_adjust_master_score=5 4 3 2" -- "do not decrease"
  expect 6 "$one" validate-all "OCF_RESKEY_adjust_master_score=1 2 3" -- "four numbers"
  expect 6 "$one" validate-all OCF_RESKEY_failed_promotion_pause=soon -- "failed_promotion_pause"
  expect 6 "$one" validate-all OCF_RESKEY_remove_master_score_if_peer_primary=perhaps -- "unexpected"
  expect 6 "$one" validate-all OCF_RESKEY_unfence_if_all_uptodate=perhaps -- "true or false"
  expect 5 "$one" validate-all OCF_RESKEY_conf=/etc/none.conf -- "/etc/none.conf"
  expect 5 "$one" validate-all OCF_RESKEY_resource=other -- "other"
  expect 6 "$one" validate-all OCF_RESKEY_CRM_meta_promoted_max=2 -- "promoted-max"
  expect 6 "$one" start OCF_RESKEY_CRM_meta_clone_max=2 OCF_RESKEY_CRM_meta_notify=false -- "notify=true"
  expect 5 "$one" monitor OCF_RESKEY_resource=other -- "other"
  expect 7 "$one" monitor OCF_RESKEY_resource=other OCF_RESKEY_CRM_meta_interval=0
  expect 0 "$one" stop OCF_RESKEY_conf=/etc/none.conf
  expect 0 "$one" stop OCF_RESKEY_resource=
  expect 3 "$one" reload
  act "$one" meta-data
  [[ $words != *'"reload"'* ]] || fail_case "the meta-data offer reload: Pacemaker takes a promoted instance for unpromoted then"
  on "$one" "$agent" >/dev/null 2>&1 && fail_case "the agent without an action succeeds"
  return 0
}

# A resource that is not running: probes are honest, notify has no opinion.
case_stopped() {
  expect 7 "$one" monitor
  expect 7 "$one" demote -- "not running"
  expect 1 "$one" promote -- "cannot be promoted"
  expect 0 "$one" notify OCF_RESKEY_CRM_meta_notify_type=post OCF_RESKEY_CRM_meta_notify_operation=start
  expect 0 "$one" stop
  expect_score "$one" none
}

case_roles() {
  expect 0 "$one" start OCF_RESKEY_CRM_meta_timeout=30000
  expect_score "$one" 1000 # the peer's disk is unknown
  expect 0 "$two" start OCF_RESKEY_CRM_meta_timeout=30000
  on "$two" repladm --timeout 20 wait-connect drbd0
  # The start may have seen the comparison still under way.
  for node in "$one" "$two"; do
    expect 0 "$node" notify OCF_RESKEY_CRM_meta_notify_type=post OCF_RESKEY_CRM_meta_notify_operation=start
    expect_score "$node" 10000
  done
  expect 0 "$one" monitor
  expect 0 "$one" promote
  expect 8 "$one" monitor
  expect 0 "$one" promote
  expect 0 "$one" demote
  expect 0 "$one" demote
  expect 0 "$one" monitor
}

case_promote_refused() {
  expect 0 "$one" promote
  expect 1 "$two" promote OCF_RESKEY_CRM_meta_timeout=7000 -- "was not promoted"
  expect 1 "$two" promote OCF_RESKEY_fail_promote_early_if_peer_primary=true -- "the peer is Primary"
  [ "$took" -lt 8 ] || fail_case "fail_promote_early_if_peer_primary: took $took s"
  expect_score "$two" none
  expect 0 "$two" monitor OCF_RESKEY_remove_master_score_if_peer_primary=true
  expect_score "$two" none
  expect 0 "$two" monitor
  expect_score "$two" 10000
  expect 0 "$one" demote
  # No data to be Primary with: ends at once.
  on "$two" repladm disconnect drbd0
  on "$two" repladm outdate drbd0
  expect 1 "$two" promote OCF_RESKEY_CRM_meta_timeout=60000 -- "no access to UpToDate data"
  [ "$took" -lt 15 ] || fail_case "promote without data: took $took s"
  expect 0 "$two" monitor
  expect_score "$two" none
  on "$two" repladm connect drbd0
  on "$two" repladm --timeout 30 wait-connect drbd0
  on "$two" repladm --timeout 30 wait-sync drbd0 >/dev/null
}

# A living daemon does not take the device away from a file system.
case_device_in_use() {
  expect 0 "$one" promote
  on "$one" mount /dev/drbd0 /mnt/drbd
  expect 1 "$one" demote OCF_RESKEY_CRM_meta_timeout=9000 -- "stays Primary"
  expect 1 "$one" stop OCF_RESKEY_CRM_meta_timeout=9000 -- "/mnt/drbd"
  expect 8 "$one" monitor
  on "$one" touch /mnt/drbd/still-works
  on "$one" umount /mnt/drbd
  expect 0 "$one" demote
}

case_dead_daemon() {
  expect 0 "$two" monitor
  signal_daemon "$two" KILL
  expect 7 "$two" monitor
  expect 0 "$two" start OCF_RESKEY_CRM_meta_timeout=30000
  expect 0 "$one" promote
  on "$one" mount /dev/drbd0 /mnt/drbd
  signal_daemon "$one" KILL
  expect 9 "$one" monitor -- "ended while this node was Primary"
  on "$one" umount /mnt/drbd
  expect 0 "$one" demote
  expect 7 "$one" monitor
  expect 0 "$one" stop
  expect 0 "$one" start OCF_RESKEY_CRM_meta_timeout=30000
}

# The next daemon is there before the monitor is: what waits for a promotion ends, or the file system could not be unmounted.
case_restarted_daemon() {
  expect 0 "$one" promote
  on "$one" mount /dev/drbd0 /mnt/drbd
  on "$one" sh -c 'echo waits >/mnt/drbd/file; sync /mnt/drbd/file' || fail_case "the file system cannot be written"
  signal_daemon "$one" KILL
  on "$one" repladm up drbd0
  expect 0 "$one" monitor
  on "$one" timeout 10 umount /mnt/drbd || fail_case "the file system cannot be unmounted after monitor"
  expect 0 "$one" promote
  expect 0 "$one" demote
}

# The same as with a dead daemon, and the stop comes first, with the file system still mounted: the device has to go.
case_dead_daemon_stop() {
  expect 0 "$one" promote
  on "$one" mount /dev/drbd0 /mnt/drbd
  signal_daemon "$one" KILL
  expect 0 "$one" stop
  on "$one" umount /mnt/drbd
  expect 7 "$one" monitor
  expect 0 "$one" start OCF_RESKEY_CRM_meta_timeout=30000
}

# The server of the device died: role and state are as before, reading tells.
case_dead_device() {
  local server
  expect 0 "$one" promote
  server=$(on "$one" sed -n 's/.*"fuse":{[^}]*"pid":\([0-9]*\).*/\1/p' /run/repl/drbd0-0.device)
  [ -n "$server" ] || {
    fail_case "no server of the device is found"
    return
  }
  on "$one" kill -KILL "$server"
  expect 9 "$one" monitor -- "/dev/drbd0"
  expect 0 "$one" demote
  expect 0 "$one" stop
  expect 0 "$one" start OCF_RESKEY_CRM_meta_timeout=30000
}

case_hung_daemon() {
  local pid
  expect 0 "$two" monitor
  signal_daemon "$two" STOP
  expect 1 "$two" monitor -- "does not answer"
  expect 0 "$two" stop OCF_RESKEY_CRM_meta_timeout=30000
  expect 7 "$two" monitor
  expect 0 "$two" start OCF_RESKEY_CRM_meta_timeout=30000
  expect 0 "$one" promote OCF_RESKEY_CRM_meta_timeout=90000
  on "$one" mount /dev/drbd0 /mnt/drbd
  pid=$(on "$one" cat /run/repl/drbd0.pid)
  signal_daemon "$one" STOP
  # The monitor ends it: what has the device open gets errors and can be stopped.
  expect 9 "$one" monitor -- "does not answer"
  on "$one" test ! -e "/proc/$pid/exe" || fail_case "the hung repld of a Primary lives on after monitor"
  on "$one" timeout 10 umount /mnt/drbd || fail_case "the file system cannot be unmounted after monitor"
  expect 0 "$one" demote
  expect 0 "$one" stop
  expect 0 "$one" start OCF_RESKEY_CRM_meta_timeout=30000
  expect 0 "$one" promote
  signal_daemon "$one" STOP
  expect 0 "$one" demote OCF_RESKEY_CRM_meta_timeout=40000
  expect 7 "$one" monitor
}

# Taken out of the configuration while it runs: it can be stopped, and a monitor says what is wrong.
case_unconfigured() {
  expect 0 "$one" start OCF_RESKEY_CRM_meta_timeout=30000
  on "$one" mv /etc/drbd.d/drbd0.res /etc/drbd.d/drbd0.away
  expect 5 "$one" monitor
  expect 0 "$one" stop
  on "$one" test ! -e /run/repl/drbd0.pid || fail_case "repld of a resource without configuration runs on after stop"
  on "$one" mv /etc/drbd.d/drbd0.away /etc/drbd.d/drbd0.res
  expect 0 "$one" start OCF_RESKEY_CRM_meta_timeout=30000
}

# A person has made it Primary and left it so; and the handler that monitor calls on request.
case_left_over() {
  on "$one" repladm primary drbd0
  expect 0 "$one" start OCF_RESKEY_CRM_meta_timeout=30000
  expect 0 "$one" monitor
  on "$one" sed -i 's/meta-disk internal;/& handlers { unfence-peer "touch \/run\/unfenced"; }/' /etc/drbd.d/drbd0.res
  expect 0 "$one" promote
  expect 8 "$one" monitor
  on "$one" test ! -e /run/unfenced || fail_case "monitor calls unfence-peer and was not asked to"
  expect 8 "$one" monitor OCF_RESKEY_unfence_if_all_uptodate=true
  on "$one" test -e /run/unfenced || fail_case "monitor does not call unfence-peer"
  expect 0 "$one" demote
}

# The disk is missing: start says so, and stop works.
case_no_disk() {
  expect 0 "$one" stop
  on "$one" mv /var/lib/drbd/drbd0.img /var/lib/drbd/away.img
  expect 1 "$one" start OCF_RESKEY_CRM_meta_timeout=40000 -- "drbd0"
  expect 0 "$one" stop
  expect 7 "$one" monitor
  on "$one" mv /var/lib/drbd/away.img /var/lib/drbd/drbd0.img
  expect 0 "$one" start OCF_RESKEY_CRM_meta_timeout=30000
}

# DRBD's own agent (drbd-utils), which knows the tools by DRBD's names: every action, and what its monitor makes of a daemon that died.
# Unchanged it finds nothing running, because it looks for the file /proc/drbd, which only DRBD's module makes. That look is taken out.
case_drbd_agent() {
  local drbd=/usr/lib/ocf/resource.d/linbit agent=/usr/local/sbin/drbd-agent host settings
  settings=(OCF_RESKEY_drbd_resource=drbd0 OCF_RESKEY_drbdconf=/etc/drbd.conf HA_SBIN_DIR=/usr/local/sbin
    OCF_RESKEY_CRM_meta_clone_max=2 OCF_RESKEY_CRM_meta_clone_node_max=1 OCF_RESKEY_CRM_meta_master_max=1
    OCF_RESKEY_CRM_meta_master_node_max=1 OCF_RESKEY_CRM_meta_notify=true OCF_RESKEY_crm_feature_set=3.16.2
    OCF_RESKEY_CRM_meta_timeout=60000)
  for host in "$one" "$two"; do
    on "$host" repladm down drbd0
    on "$host" repladm install-names /usr/local/sbin >/dev/null
    on "$host" sh -c "sed 's|test -f /proc/drbd|true|' $drbd/drbd >$agent && cp $drbd/drbd.shellfuncs.sh /usr/local/sbin && chmod 755 $agent"
    # shellcheck disable=SC2016
    on "$host" sh -c 'printf "%s\n" "#!/bin/sh" "case \"\$*\" in *-D*) echo --delete ;; *-v*) echo \"--update \${*##*-v }\" ;; esac >>/run/scores" \
      >/usr/local/sbin/crm_master
      chmod 755 /usr/local/sbin/crm_master'
  done
  notify_both() {
    for host in "$one" "$two"; do
      expect 0 "$host" notify "${settings[@]}" OCF_RESKEY_CRM_meta_notify_type="$1" OCF_RESKEY_CRM_meta_notify_operation="$2" \
        OCF_RESKEY_CRM_meta_notify_start_uname="$one $two" OCF_RESKEY_CRM_meta_notify_promote_uname="$one"
    done
  }
  expect 0 "$one" validate-all "${settings[@]}"
  # What an unchanged one comes to, so that the documents stay true.
  agent=$drbd/drbd expect 5 "$one" start "${settings[@]}" -- "Cannot load the drbd module"
  expect 7 "$one" monitor "${settings[@]}"
  for host in "$one" "$two"; do expect 0 "$host" start "${settings[@]}"; done
  on "$one" repladm --timeout 20 wait-connect drbd0
  notify_both post start
  for host in "$one" "$two"; do
    expect 0 "$host" monitor "${settings[@]}"
    expect_score "$host" 10000
  done
  notify_both pre promote
  expect 0 "$one" promote "${settings[@]}"
  notify_both post promote
  expect 8 "$one" monitor "${settings[@]}"
  expect 0 "$two" monitor "${settings[@]}"
  on "$one" mount /dev/drbd0 /mnt/drbd
  # It tries until the executor ends it.
  limit=5
  act "$one" demote "${settings[@]}"
  [ "$code" = 124 ] || fail_case "demote of a mounted device: exit code $code: $words"
  [[ $words == *"/mnt/drbd"* ]] || fail_case "demote of a mounted device does not say who has it: $words"
  expect 8 "$one" monitor "${settings[@]}"
  on "$one" touch /mnt/drbd/still-works
  on "$one" umount /mnt/drbd
  notify_both pre demote
  expect 0 "$one" demote "${settings[@]}"
  notify_both post demote
  expect 0 "$one" monitor "${settings[@]}"
  # The other node takes over.
  expect 0 "$two" promote "${settings[@]}"
  expect 8 "$two" monitor "${settings[@]}"
  expect 0 "$two" demote "${settings[@]}"
  signal_daemon "$two" KILL
  expect 7 "$two" monitor "${settings[@]}"
  expect 0 "$two" start "${settings[@]}"
  expect 0 "$two" monitor "${settings[@]}"
  notify_both pre stop
  for host in "$one" "$two"; do
    expect 0 "$host" stop "${settings[@]}"
    expect_score "$host" none
    expect 7 "$host" monitor "${settings[@]}"
    expect 0 "$host" stop "${settings[@]}"
    on "$host" repladm install-names --remove /usr/local/sbin >/dev/null
    on "$host" rm -f /usr/local/sbin/crm_master "$agent" /usr/local/sbin/drbd.shellfuncs.sh
  done
  unset -f notify_both
}

run_ocf_tester() {
  on "$one" ocf-tester -n drbd0 -o resource=drbd0 -o failed_promotion_pause=0 -o wfc_timeout=1 "$agent" \
    >"$dir/ocf-tester.log" 2>&1 || die "ocf-tester: $(cat "$dir/ocf-tester.log")"
  echo "ocf-tester: $(tail -n 1 "$dir/ocf-tester.log")"
}

# REPL_AGENT_CASES names some of the cases, to look at one again.
agent_cases() {
  local name before count=0
  prepare_agent
  [ -n "${REPL_AGENT_CASES:-}" ] || run_ocf_tester
  for name in ${REPL_AGENT_CASES:-parameters stopped roles promote_refused device_in_use dead_daemon restarted_daemon \
    dead_daemon_stop dead_device hung_daemon unconfigured left_over no_disk drbd_agent}; do
    before=$SECONDS
    "case_$name"
    count=$((count + 1))
    echo "agent: $name, $((SECONDS - before)) s"
  done
  on_both "$agent" usage >/dev/null
  on_both repladm --timeout 20 down --force drbd0
  on_both rm -f /usr/local/sbin/crm_attribute /run/scores /var/lib/drbd/drbd0.img
  [ "$failed_cases" = 0 ] || die "agent: $failed_cases failures"
  echo "agent: $count cases"
}
