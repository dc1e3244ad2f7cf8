#!/usr/bin/env bash
# repl beside what else there is, by fio's nbd engine: all servers run at the same time, take turns in every round, and
# the medians are printed as tables in Markdown with the ratios that matter.
#   bench.sh                          all contestants, files on disk and on tmpfs
#   bench.sh --only "mirror nbdkit"   some of: repl repl-alone qemu-nbd nbdkit mirror
# REPL_BENCH_PLACES  directories, default "/var/tmp /dev/shm"      REPL_BENCH_SIZE    of a volume, default 512M
# REPL_BENCH_ROUNDS  default 3                                     REPL_BENCH_SECONDS per measurement, default 3
# Absolute numbers of a shared machine mean little: compare what ran side by side.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"

contestants="repl repl-alone qemu-nbd nbdkit mirror"
case ${1:-} in
'') ;;
--only) contestants=${2:?contestants} ;;
*)
  sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
read -r -a places <<<"${REPL_BENCH_PLACES:-/var/tmp /dev/shm}"
rounds=${REPL_BENCH_ROUNDS:-3}
seconds=${REPL_BENCH_SECONDS:-3}
base_port=$((20000 + $$ % 20000))
resync_rate=

# Rows: key, what fio does, what is read from it, unit, whether more is better.
jobs="
w1     --rw=randwrite --bs=4k --iodepth=1              p50   us    less  4k randwrite QD1, p50
w32    --rw=randwrite --bs=4k --iodepth=32             iops  IOPS  more  4k randwrite QD32
r32    --rw=randread  --bs=4k --iodepth=32             iops  IOPS  more  4k randread QD32
big    --rw=write     --bs=1M --iodepth=4              rate  MB/s  more  1 MiB write QD4
sync   --rw=randwrite --bs=4k --iodepth=1 --fsync=1    iops  IOPS  more  4k randwrite + fsync QD1
cpu    -                                               cpu   us    less  CPU of all daemons per 4k write at QD32
"

. "$root/scripts/bench-contestants.sh"
need_linux
need_command fio fio
for name in $contestants; do
  case $name in
  repl*) need_swift ;;
  qemu-nbd) need_command qemu-nbd qemu-utils ;;
  nbdkit) need_command nbdkit nbdkit ;;
  mirror)
    need_command qemu-nbd qemu-utils
    need_command qemu-storage-daemon qemu-system-common
    need_command nbdinfo libnbd-bin
    ;;
  *) die "there is no contestant $name: repl repl-alone qemu-nbd nbdkit mirror" ;;
  esac
done
fio --enghelp=nbd >/dev/null 2>&1 || die "this fio has no nbd engine: Debian's has (apt-get install fio)"
bytes=$(numfmt --from=iec "${REPL_BENCH_SIZE:-512M}") || die "${REPL_BENCH_SIZE} is no size: 512M, 2G"
case " $contestants " in *" repl"*) release_binaries --product repld; release_binaries --product repladm; release_binaries --product repl-device ;; esac

place= results=
stop_all() {
  local pid resource node
  exec 7>&- 8<&- || true
  for resource in bench alone; do
    for node in one two; do
      [ -d "$place/$resource.$node" ] || continue
      repl_on "$node" timeout 15 repladm down $resource >/dev/null 2>&1 || true
    done
  done
  for pid in "${daemons[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${daemons[@]}"; do
    for _ in $(seq 50); do
      [ -d "/proc/$pid" ] || break
      sleep 0.1
    done
    [ ! -d "/proc/$pid" ] || kill -KILL "$pid" 2>/dev/null || true
  done
  daemons=()
  uri=()
  pids=()
  if [ -n "$place" ]; then rm -rf "${place:?}"; fi
}
finish() {
  local status=$?
  trap '' INT TERM HUP PIPE
  trap - EXIT
  set +e
  stop_all
  if [ -n "$results" ]; then rm -f "$results"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# CPU time of processes with all their threads, in microseconds.
cpu_of() {
  local pid sum=0 fields tick
  tick=$((1000000 / $(getconf CLK_TCK)))
  for pid in $1; do
    read -r -a fields < <(sed 's/.*) //' "/proc/$pid/stat") || true
    sum=$((sum + fields[11] + fields[12]))
  done
  echo $((sum * tick))
}

# measure NAME JOB OPTIONS...: one line "p50 iops rate cpu".
measure() {
  local name=$1 before after terse
  shift 2
  before=$(cpu_of "${pids[$name]}")
  terse=$(fio --name=bench --ioengine=nbd --uri="${uri[$name]}" --size=$((bytes >> 1)) --time_based \
    --runtime="$seconds" --ramp_time=0 --randrepeat=0 --output-format=terse --terse-version=3 "$@" 2>&1) ||
    die "fio failed with $name: $(tail -3 <<<"$terse")"
  after=$(cpu_of "${pids[$name]}")
  grep '^3;' <<<"$terse" | awk -F';' -v cpu=$((after - before)) -v seconds="$seconds" '
    function p50(from,  i, part) {
      for (i = from; i < from + 20; i++) { split($i, part, "=")
        if (part[1] ~ /^50\./) return part[2] }
      return 0 }
    { reads = $8 > 0
      iops = reads ? $8 : $49
      rate = (reads ? $7 : $48) * 1024 / 1000000
      printf "%s %d %d %.1f\n", p50(reads ? 18 : 59), iops, rate, (iops > 0 ? cpu / (iops * seconds) : 0) }'
}

median() { sort -n | awk '{v[NR] = $1} END {if (NR) print v[int((NR + 1) / 2)]}'; }

# value PLACE NAME KEY
value() { awk -v p="$1" -v n="$2" -v k="$3" '$1 == p && $2 == n && $3 == k {print $4}' "$results" | median; }

run_place() {
  local name round key rw bs depth rest what options line
  echo "== $1: starting ${contestants}" >&2
  place=$(mktemp -d "$1/repl-bench.XXXXXX")
  dd if=/dev/zero of="$place/probe" bs=4k count=1 status=none
  cache=$(cache_mode)
  for name in $contestants; do "start_$name"; done
  [ -z "$resync_rate" ] || echo "$1 repl resync $resync_rate" >>"$results"
  resync_rate=
  for round in $(seq "$rounds"); do
    while read -r key options; do
      [ -n "$key" ] && [ "$key" != cpu ] || continue
      read -r rw bs depth rest <<<"$options"
      what=$(awk '{for (i = 1; i <= NF; i++) if ($i !~ /^--/) {print $i; exit}}' <<<"$options")
      options="$rw $bs $depth"
      case $rest in --*) options="$options ${rest%% *}" ;; esac
      for name in $contestants; do
        line=$(measure "$name" "$key" $options)
        echo "== round $round, $name, $options: $line (p50 us, IOPS, MB/s, CPU us)" >&2
        read -r p50 iops rate cpu <<<"$line"
        echo "$1 $name $key ${!what}" >>"$results"
        if [ "$key" = w32 ]; then echo "$1 $name cpu $cpu" >>"$results"; fi
      done
    done <<<"$jobs"
  done
  stop_all
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN {if (a > 0 && b > 0) printf "%.2f", a / b; else printf "-"}'; }

print_table() {
  local name key what unit better title mine other row lost=0
  echo
  echo "### Files in $1 ($(findmnt -no FSTYPE --target "$1" | tail -1))"
  echo
  row="| job |"
  for name in $contestants; do row="$row $name |"; done
  echo "$row repl / qemu-nbd | repl / mirror |"
  row="|---|"
  for name in $contestants; do row="$row---:|"; done
  echo "$row---:|---:|"
  while read -r key line; do
    [ -n "$key" ] || continue
    read -r what unit better title < <(sed 's/--[^ ]*//g; s/^ *- //' <<<"$line")
    row="| $title, $unit |"
    for name in $contestants; do row="$row $(value "$1" "$name" "$key") |"; done
    mine=$(value "$1" repl "$key")
    for other in qemu-nbd mirror; do
      if [ "$better" = less ]; then
        row="$row $(ratio "$(value "$1" $other "$key")" "$mine") |"
      else
        row="$row $(ratio "$mine" "$(value "$1" $other "$key")") |"
      fi
    done
    echo "$row"
  done <<<"$jobs"
  mine=$(value "$1" repl resync)
  echo
  echo "Full resync of a $((bytes >> 20)) MiB volume by repl: ${mine:-not measured} MB/s."
}

results=$(mktemp)
for directory in "${places[@]}"; do
  [ -d "$directory" ] || die "$directory is not there: set REPL_BENCH_PLACES"
  run_place "$directory"
done

echo "## $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores, Linux $(uname -r)"
echo
echo "$(date -u +%F), load $(cut -d' ' -f1 /proc/loadavg) at the end; client and all daemons share the machine. Medians of $rounds"
echo "alternating rounds of $seconds s over a $((bytes >> 20)) MiB volume; $(fio --version), $(qemu-nbd --version 2>/dev/null | head -1)."
echo "A ratio above 1 means repl (replicated) is better."
echo
for name in $contestants; do echo "- $name: $(what_is "$name")"; done
for directory in "${places[@]}"; do print_table "$directory"; done
