# Sourced by scripts/cluster.sh: the events a cluster has to outlive, each with the time a client was without service and
# the acknowledged rows that are lost. A scenario leaves the cluster as it was: both hosts up, both disks UpToDate.

# Seconds of one scenario, one a line.
outages=

# report NAME: one line of the table. Median and worst of $outages.
report() {
  local figures
  figures=$(printf '%s\n' $outages | sort -n | awk '
    { value[NR] = $1 }
    END {
      middle = int((NR + 1) / 2)
      median = NR % 2 ? value[middle] : (value[middle] + value[middle + 1]) / 2
      printf "%d times, without service: median %.1f s, worst %.1f s", NR, median, value[NR]
    }')
  echo "$1: $figures; rows: $(ledger_check)"
  outages=
  # `lost` was set in a subshell.
  lost=$(comm -23 "$dir/acknowledged" "$dir/found" | wc -l)
  total_lost=$((total_lost + lost))
}

# recovered FROM LIMIT: waits until rows are acknowledged again and the cluster is idle; notes the outage since FROM.
recovered() {
  ledger_goes_on "$2" || die "no row was acknowledged for $2 s: $(on "$(live_host)" crm_mon -1 -r -f)"
  idle 180 || die "the cluster is not idle: $(on "$(live_host)" crm_mon -1 -r -f)"
  ledger_goes_on "$2" || die "no row was acknowledged for $2 s: $(on "$(live_host)" crm_mon -1 -r -f)"
  outages+=" $(outage "$1")"
}

no_failed_actions() {
  local failed
  failed=$(failed_actions)
  [ -z "$failed" ] || die "$1: failed actions: $failed"
}

clean_failures() {
  on "$(live_host)" crm_resource --cleanup >/dev/null 2>&1 || true
  idle 120 || die "the cluster is not idle after crm_resource --cleanup"
}

# standby [N]: the active host is put into standby and back.
scenario_standby() {
  local count=${1:-2} cycle from to start
  for cycle in $(seq "$count"); do
    from=$(address_host)
    start=$(moment)
    on "$from" crm node standby "$from" >/dev/null
    idle 150 || die "standby of $from: the cluster is not idle after 150 s"
    to=$(address_host)
    [ -n "$to" ] && [ "$to" != "$from" ] || die "standby of $from: the group did not move: $(on "$from" crm_mon -1 -r -f)"
    echo "  standby $cycle: $from to $to, idle after $(since "$start") s"
    recovered "$start" 30
    on "$from" crm node online "$from" >/dev/null
    idle 120 || die "online $from: the cluster is not idle after 120 s"
    wait_up_to_date
    no_failed_actions "standby of $from"
  done
  report "standby"
}

# rejoin HOST: the host boots with its disk and becomes a member again.
rejoin() {
  local start
  start=$(moment)
  host_boot "$1"
  join "$1"
  wait_members "$(other_host "$1")" ${#hosts[@]}
  idle 120 || die "$1 is back and the cluster is not idle"
  wait_up_to_date
  clean_failures
  echo "  $1 is back and UpToDate after $(since "$start") s"
}

# crash [N]: all processes of the active host end at once; its kernel closes the connections.
scenario_crash() {
  local count=${1:-1} cycle from start
  for cycle in $(seq "$count"); do
    from=$(address_host)
    start=$(moment)
    host_crash "$from"
    recovered "$start" 90
    echo "  crash $cycle: $from to $(address_host)"
    rejoin "$from"
  done
  report "crash"
}

# power [N]: the cables go first, so that no connection is closed.
scenario_power() {
  local count=${1:-1} cycle from start
  for cycle in $(seq "$count"); do
    from=$(address_host)
    start=$(moment)
    cable "$from" eth0 down
    cable "$from" eth1 down
    host_crash "$from"
    for cable in eth0 eth1; do on switch ip link delete "p$(host_number "$from")-$cable" 2>/dev/null || true; done
    recovered "$start" 120
    echo "  power $cycle: $from to $(address_host)"
    rejoin "$from"
  done
  report "power"
}
