#!/usr/bin/env bash
# Proves that a change of structure changes no behaviour: the fingerprint of a life changes with every effect of its two engines.
#   fingerprints.sh record FILE    before the change: the fingerprints of 10,000 lives
#   fingerprints.sh compare FILE   after it: the same lives again; exit 1, with the first seeds, when one differs
# Options: --lives N, --first-seed N, --steps N (events of a life with faults), --jobs N (default: the processors). `compare`
# takes what `record` has written into the file. About 15 minutes on two cores that do nothing else.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
need_linux
need_swift

usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# -ge 2 ] || usage
what=$1 file=$2
shift 2
lives=10000 first=1 steps=8000 jobs=$(nproc)
case $what in
record) ;;
compare)
  [ -r "$file" ] || die "$file cannot be read; record it with the tree before the change: scripts/fingerprints.sh record $file"
  read -r _ lives first steps <"$file"
  ;;
*) usage ;;
esac
while [ $# -gt 0 ]; do
  case $1:${2:-} in
  --lives:[1-9]*) lives=$2 ;;
  --first-seed:[0-9]*) first=$2 ;;
  --steps:[1-9]*) steps=$2 ;;
  --jobs:[1-9]*) jobs=$2 ;;
  *) usage ;;
  esac
  shift 2
done

release_binaries --product replsim
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
share=$(((lives + jobs - 1) / jobs)) pids=() begin=$first end=$((first + lives))
for ((job = 0; begin < end; job++)); do
  count=$((end - begin < share ? end - begin : share))
  "$root/.build/release/replsim" --fingerprint --all --lives "$count" --first-seed "$begin" --steps "$steps" >"$work/$job.out" &
  pids+=($!)
  begin=$((begin + count))
done
# A life that breaks a law has its fingerprint, too.
for pid in "${pids[@]}"; do wait "$pid" || true; done
{
  echo "# $lives $first $steps"
  cat "$work"/*.out | { grep -E '^[0-9]+ [0-9a-f]+$' || true; } | sort -n
} >"$work/all"
got=$(($(wc -l <"$work/all") - 1))
[ "$got" -eq "$lives" ] || die "only $got of $lives lives came to their end; run .build/release/replsim --lives $lives --first-seed $first"
if [ "$what" = record ]; then
  cp "$work/all" "$file"
  echo "$lives lives from seed $first recorded in $file"
elif cmp -s "$work/all" "$file"; then
  echo "$lives lives from seed $first: every effect is the same"
else
  comm -3 <(sort "$work/all") <(sort "$file") | awk '{ print $1 }' | sort -nu >"$work/differ"
  echo "$(wc -l <"$work/differ") of $lives lives differ, the first: $(head -5 "$work/differ" | tr '\n' ' ')" >&2
  exit 1
fi
