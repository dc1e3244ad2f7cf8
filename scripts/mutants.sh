#!/usr/bin/env bash
# Plants deliberate faults (Tests/Mutants/mutants.txt), one at a time, and reports for each which ring of tests catches it and how
# fast. Every fault that loses, hides or reorders data has to be caught by simulated lives within a minute.
#   mutants.sh                    all of them: about an hour on two cores
#   mutants.sh NAME...            some of them; `list` prints the names
#   mutants.sh --check            only looks whether each fault still has its place in the source (part of the tests)
# Options: --seconds N (of lives for each fault, default 60), --first-seed N, --rings engine,disk,lives,
# --jobs N (faults at once, default half of the processors: each fault has a process of lives for either era),
# --ignore TEXT (a law that lives break without any fault, too, because a fault of the engine is open: not counted),
# --table docs/reliability.md (keeps the results there), --tree DIR (where the copy with the faults is built; default in ~/.cache).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
need_linux
need_swift
if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 0
fi
exec python3 "$root/Tests/Mutants/run.py" "$@"
