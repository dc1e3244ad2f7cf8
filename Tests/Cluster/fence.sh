# Sourced by scripts/cluster.sh: the fence handlers as repld calls them, in the running cluster, and the exit code of each case.

# handler HOST fence|unfence WANTED WORDS [OPTION..]: runs it with repld's environment.
handler() {
  local host=$1 name=$2 wanted=$3 part=$4 said code=0
  shift 4
  said=$(on "$host" env DRBD_RESOURCE=drbd0 DRBD_PEER="$(other_host "$host")" DRBD_MY_NODE_ID=0 "DRBD_NODE_ID_0=$host" \
    REPL_RUN_DIR=/run/repl "/usr/local/sbin/repl-$name-peer" "$@" 2>&1) || code=$?
  [ "$code" = "$wanted" ] && [[ $said == *"$part"* ]] ||
    die "repl-$name-peer on $host: exit code $code instead of $wanted, or '$part' is not in: $said"
}

wait_uncertain() {
  local deadline=$((SECONDS + 60))
  until on "$1" repladm events2 --now drbd0 | grep 'peer-disk:\(DUnknown\|Outdated\)' >/dev/null; do
    [ $SECONDS -lt $deadline ] || die "$1 still knows its peer after 60 s"
    sleep 0.2
  done
}

scenario_fence() {
  local active passive
  [ "$fencing" = repl ] || die "the scenario fence needs --fencing repl"
  active=$(address_host)
  passive=$(other_host "$active")
  handler "$active" fence 1 "unknown option" --suicide
  handler "$active" fence 1 "whole seconds" --timeout soon
  handler "$active" fence 1 "nothing to fence"
  handler "$active" unfence 0 "" # nothing is fenced
  constraint_is no
  # The link is pulled: repld calls the handler, and the constraint names the active host.
  cable "$active" eth1 down
  constraint_is yes
  wait_uncertain "$active"
  wait_uncertain "$passive"
  handler "$active" fence 4 "up"
  handler "$passive" fence 1 "the peer was first: only $active"
  handler "$active" unfence 1 "stays until all are UpToDate"
  handler "$passive" unfence 1 "stays until all are UpToDate"
  constraint_is yes
  on "$active" grep -q 'helper command: fence-peer exit code 4' /run/repl/drbd0.log || die "repld did not get a 4"
  cable "$active" eth1 up
  constraint_is no
  wait_up_to_date
  # The passive host leaves the cluster in order.
  on "$passive" pacemakerd --shutdown >/dev/null 2>&1
  wait_members "$active" 1
  wait_uncertain "$active"
  handler "$active" fence 7 "fenced"
  on "$passive" sh -c 'kill "$(pidof corosync)"'
  host_crash "$passive"
  rejoin_passive "$passive"
  # It crashes.
  host_crash "$passive"
  wait_members "$active" 1
  wait_uncertain "$active"
  handler "$active" fence 5 "down"
  rejoin_passive "$passive"
  echo "fence handlers: every case; rows: $(ledger_check)"
}

rejoin_passive() {
  rejoin "$1"
  constraint_is no
}
