# Sourced by scripts/cluster.sh: the client. It inserts one row after the other through the address and writes down, with
# the time, each one that was acknowledged. A row of this ledger that the database has not is lost.

ledger_start() {
  local psql=$postgres_bin/psql
  # A second writer in the background gives the volume something to carry.
  cat >"$dir/client.sh" <<CLIENT
export PATH=/usr/bin:/bin PGHOST=$address PGUSER=postgres PGDATABASE=postgres PGCONNECT_TIMEOUT=2
until timeout 5 $psql -qc 'create table if not exists t(i int primary key); create table if not exists b(x int, y text)' 2>/dev/null; do
  sleep 0.2
done
(
  while :; do
    timeout 20 $psql -qc "insert into b select g, repeat('x', 200) from generate_series(1, 2000) g" \
      -c "delete from b where random() < 0.5" >/dev/null 2>&1
    sleep 0.3
  done
) &
i=0
while :; do
  i=\$((i + 1))
  if timeout 0.7 $psql -qc "insert into t values(\$i)" >/dev/null 2>&1; then echo "\$(date +%s.%N) \$i"; fi
  sleep 0.03
done
CLIENT
  : >"$dir/ledger"
  setsid nsenter --net --target "$(host_pid switch)" -- bash "$dir/client.sh" </dev/null >>"$dir/ledger" 2>"$dir/client.log" &
  echo $! >"$dir/client.pid"
  disown
  ledger_goes_on 30
}

ledger_stop() {
  local pid
  pid=$(cat "$dir/client.pid" 2>/dev/null || true)
  if [ -n "$pid" ] && grep -qz client.sh "/proc/$pid/cmdline" 2>/dev/null; then kill -KILL -- "-$pid" 2>/dev/null || true; fi
  rm -f "$dir/client.pid"
}

moment() { date +%s.%N; }
# since MOMENT: seconds, with one decimal.
since() { awk -v from="$1" -v to="$(moment)" 'BEGIN {printf "%.1f", to - from}'; }

# ledger_goes_on SECONDS: a row is acknowledged from now on, within this time.
ledger_goes_on() {
  local from deadline=$((SECONDS + $1)) last
  from=$(moment)
  while [ $SECONDS -lt $deadline ]; do
    last=$(tail -n 1 "$dir/ledger" | cut -d' ' -f1)
    if [ -n "$last" ] && awk -v a="$last" -v b="$from" 'BEGIN {exit !(a > b)}'; then return 0; fi
    sleep 0.1
  done
  return 1
}

# outage FROM: the longest time between two acknowledged rows that ended after this moment.
outage() {
  awk -v from="$1" '
    $1 > from && before { gap = $1 - before; if (gap > longest) longest = gap }
    { before = $1 }
    END { printf "%.1f", longest }' "$dir/ledger"
}

# ledger_check: "acknowledged N lost N".
ledger_check() {
  local try
  for try in $(seq 60); do
    cut -d' ' -f2 -s "$dir/ledger" | sort >"$dir/acknowledged"
    if on switch env PGCONNECT_TIMEOUT=2 "$postgres_bin/psql" -h "$address" -U postgres -Atc 'select i from t' \
      >"$dir/found" 2>/dev/null; then break; fi
    [ "$try" -lt 60 ] || die "the database does not answer: the ledger cannot be checked"
    sleep 1
  done
  sort -o "$dir/found" "$dir/found"
  lost=$(comm -23 "$dir/acknowledged" "$dir/found" | wc -l)
  echo "acknowledged $(wc -l <"$dir/acknowledged"), lost $lost"
}
