# Sourced by scripts/cluster.sh: events that hit one part and leave the hosts alive: the replication link, and the daemon of
# the active (Primary) or passive (Secondary) host. Each prints the time a client was without service, as scenarios.sh does.

# chosen active|passive
chosen() {
  case $1 in
  active) address_host ;;
  passive) other_host "$(address_host)" ;;
  *) die "a daemon is active or passive, not $1" ;;
  esac
}

# signal_repld HOST SIGNAL
signal_repld() {
  # shellcheck disable=SC2016
  on "$1" sh -c 'kill "-$0" "$(cat /run/repl/drbd0.pid)"' "$2"
}

# The agent has noticed: a failed action of the resource is listed, or the daemon has another process id than before.
noticed() {
  local host=$1 pid=$2 deadline=$((SECONDS + 90))
  while [ $SECONDS -lt $deadline ]; do
    if [ "$(on "$host" cat /run/repl/drbd0.pid 2>/dev/null || true)" != "$pid" ]; then return; fi
    sleep 0.2
  done
  die "Pacemaker did not replace the daemon of $host for 90 s: $(on "$host" crm_mon -1 -r -f)"
}

# The process that serves the device of a Primary where the kernel has neither nbd nor ublk.
kill_device_server() {
  local server
  server=$(on "$1" sed -n 's/.*"fuse":{[^}]*"pid":\([0-9]*\).*/\1/p' /run/repl/drbd0-0.device)
  [ -n "$server" ] || die "the device of $1 has no server: the kernel serves it"
  on "$1" kill -KILL "$server"
}

# strike SIGNAL|device active|passive [N]
strike() {
  local signal=$1 which=${2:-active} count=${3:-1} cycle host start pid
  for cycle in $(seq "$count"); do
    host=$(chosen "$which")
    pid=$(on "$host" cat /run/repl/drbd0.pid)
    start=$(moment)
    if [ "$signal" = device ]; then kill_device_server "$host"; else signal_repld "$host" "$signal"; fi
    noticed "$host" "$pid"
    recovered "$start" 150
    echo "  $signal, $which $host, $cycle: over after $(since "$start") s, active is $(address_host)"
    wait_up_to_date
    clean_failures
  done
  if [ "$signal" = device ]; then report "server of the device killed"; else report "SIG$signal repld, $which host"; fi
}

scenario_kill() { strike KILL "$@"; }
scenario_stop() { strike STOP "$@"; }
scenario_term() { strike TERM "$@"; }
scenario_device() { strike device active "$@"; }

wait_connection() {
  local host=$1 wanted=$2 deadline=$((SECONDS + 60))
  while [ $SECONDS -lt $deadline ]; do
    if [[ $(on "$host" repladm --timeout 5 cstate drbd0 2>/dev/null) =~ ^($wanted)$ ]]; then return; fi
    sleep 0.2
  done
  die "the connection of $host is not $wanted after 60 s: $(on "$host" repladm status drbd0)"
}

# The fencing constraint is there (yes) or not (no).
constraint_is() {
  local deadline=$((SECONDS + 60)) found
  while [ $SECONDS -lt $deadline ]; do
    found=no
    if on "$(live_host)" cibadmin --query --scope constraints 2>/dev/null | grep 'rsc_location.*fence' >/dev/null; then found=yes; fi
    [ "$found" != "$1" ] || return 0
    sleep 0.2
  done
  die "60 s have gone and the fencing constraint is there: $found; wanted: $1"
}

# cut: the replication link is pulled, rows go on, then the active host is put into standby, and the link comes back. Without
# fencing the other host is promoted with old data. With it the service waits for the link.
scenario_cut() {
  local host other start
  host=$(address_host)
  other=$(other_host "$host")
  start=$(moment)
  cable "$host" eth1 down
  wait_connection "$host" 'Connecting|StandAlone|NetworkFailure|Unconnected'
  ledger_goes_on 60 || die "no row was acknowledged for 60 s after the link was pulled"
  echo "  link pulled: rows go on after $(outage "$start") s"
  outages+=" $(outage "$start")"
  [ "$fencing" = none ] || constraint_is yes
  # Rows that only this host has.
  for _ in 1 2 3; do ledger_goes_on 30 || die "the rows stopped"; done
  wait_rows 20
  start=$(moment)
  on "$host" crm node standby "$host" >/dev/null
  idle 180 || die "standby with the link pulled: the cluster is not idle: $(on "$host" crm_mon -1 -r -f)"
  if [ "$fencing" = none ]; then
    ledger_goes_on 60 || die "no row was acknowledged: $(on "$host" crm_mon -1 -r -f)"
    echo "  standby: the group runs on $(address_host) with old data"
    wait_rows 20
  else
    [ -z "$(address_host)" ] || die "fencing did not hold: the group runs on $(address_host)"
    echo "  standby: the group waits, $other has old data and may not be promoted"
  fi
  cable "$host" eth1 up
  on "$host" crm node online "$host" >/dev/null
  idle 180 || die "the link is back: the cluster is not idle: $(on "$host" crm_mon -1 -r -f)"
  if [ "$fencing" = none ]; then
    solve_split_brain "$host"
  else
    constraint_is no
    ledger_goes_on 90 || die "no row was acknowledged after the link came back: $(on "$host" crm_mon -1 -r -f)"
    echo "  link back: rows go on, $(outage "$start") s after the standby"
  fi
  wait_up_to_date
  clean_failures
  report "link cut and standby, fencing $fencing"
}

# wait_rows N: this many more rows are acknowledged.
wait_rows() {
  local wanted=$(($(wc -l <"$dir/ledger") + $1)) deadline=$((SECONDS + 60))
  while [ "$(wc -l <"$dir/ledger")" -lt $wanted ]; do
    [ $SECONDS -lt $deadline ] || die "fewer than $1 rows were acknowledged in 60 s"
    sleep 0.1
  done
}

# solve_split_brain VICTIM: its newer rows are given up, as the operator of the other host has decided.
solve_split_brain() {
  local victim=$1
  on "$victim" repladm disconnect drbd0 >/dev/null 2>&1 || true
  on "$victim" repladm connect --discard-my-data drbd0
  # The survivor may still be waiting for the peer by itself.
  on "$(other_host "$victim")" repladm connect drbd0 >/dev/null 2>&1 || true
}
