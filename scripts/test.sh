#!/usr/bin/env bash
# Everything a clean machine can run, one step after the other: packages, format and build, unit and golden tests, the
# tests with real daemons, a minute of simulated lives of every era. A failed step does not stop the next; the last line counts.
#   test.sh            REPL_TEST_SIM_LIVES: how many lives of the first era, default 140, twice as many of the second, as
#                      many of the third;
#                      REPL_TEST_SIM_SEED: the first seed
#                      REPL_NO_SKIPS=1: a skipped test is a failed one, unless its reason matches REPL_MAY_SKIP (a pattern
#                      of grep -E)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
need_linux
need_swift
cd "$root"

passed=0 failed=0 skipped=0 failures= skips=
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# step NAME COMMAND...: counts as one test.
step() {
  local name=$1 begun=$SECONDS
  shift
  echo
  echo "== $name"
  if "$@"; then
    passed=$((passed + 1))
    echo "== $name: passed in $((SECONDS - begun)) s"
  else
    failed=$((failed + 1))
    failures="$failures"$'\n'"$name"
    echo "== $name: FAILED"
  fi
}

packages() {
  if is_root; then scripts/install-packages.sh; else scripts/install-packages.sh --check; fi
}

# Skipped tests with their reasons: every one is named, and where none is allowed it is a failure. A suite that is skipped
# has a line of its own beside those of its tests.
count_skips() {
  local line
  while IFS= read -r line; do
    skipped=$((skipped + 1))
    skips="$skips"$'\n'"$line"
    if [ -n "${REPL_NO_SKIPS:-}" ] && ! { [ -n "${REPL_MAY_SKIP:-}" ] && grep -qE "$REPL_MAY_SKIP" <<<"$line"; }; then
      failed=$((failed + 1))
      failures="$failures"$'\n'"skipped, and must not be here: $line"
    fi
  done < <(sed -nE 's/^➜ Test (.*) skipped(: "(.*)"|\.)$/\1: \3/p; s/^➜ Test (.*) was cancelled after [^:]*(: "(.*)")?\.?$/\1: \3/p' "$1")
}

# The tests that stop a process come first, and alone: the library that watches their children waits for good behind another child of
# the same process that has ended, such as a daemon that a command in this process has started and killed.
swift_tests() {
  local status=0
  swift build --build-tests --explicit-target-dependency-import-check error >"$log" 2>&1 || {
    cat "$log"
    return 1
  }
  counted_tests --filter EngineTests.OwnerTests || status=1
  counted_tests --skip EngineTests.OwnerTests || status=1
  return $status
}

# swift test, its tests counted one by one.
counted_tests() {
  local status=0 good bad
  swift test --skip-build "$@" 2>&1 | tee "$log" | grep --line-buffered -vE '^◇|^✔ Test .*passed|^\[' || true
  good=$(grep -E '^✔ Test .* passed after' "$log" | grep -vc '^✔ Test run with' || true)
  bad=$(grep -E '^✘ Test .* failed after' "$log" | grep -vc '^✘ Test run with' || true)
  grep -qE '^✔ Test run with [1-9]' "$log" || status=1
  passed=$((passed + good))
  failed=$((failed + bad))
  count_skips "$log"
  if [ "$bad" -gt 0 ]; then
    failures="$failures"$'\n'"$(sed -nE '/^✘ Test run with/d; s/^✘ Test (.*) failed after.*/\1/p' "$log")"
  fi
  return $status
}

# The same lives every time, so that a red run means a change. Seeds that nobody has tried: scripts/sim --all --first-seed $RANDOM$RANDOM
simulate() {
  local lives=${REPL_TEST_SIM_LIVES:-140} seed=${REPL_TEST_SIM_SEED:-1}
  swift build -c release --static-swift-stdlib --product replsim >"$log" 2>&1 || {
    cat "$log"
    return 1
  }
  echo "$lives lives of the first era from seed $seed on"
  .build/release/replsim --all --era 1 --lives "$lives" --first-seed "$seed" || return 1
  echo
  seed=${REPL_TEST_SIM_SEED:-60000}
  echo "$((lives * 2)) lives of the second era from seed $seed on"
  .build/release/replsim --all --era 2 --lives "$((lives * 2))" --first-seed "$seed" || return 1
  echo
  seed=${REPL_TEST_SIM_SEED:-70000}
  echo "$lives lives of the third era from seed $seed on"
  .build/release/replsim --all --era 3 --lives "$lives" --first-seed "$seed" || return 1
}

step "packages" packages
step "format, build, tidy" scripts/check
step "unit, golden and daemon tests" swift_tests
step "simulated lives" simulate

echo
[ -z "$skips" ] || echo "skipped:$skips"
[ -z "$failures" ] || echo "failed:$failures"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
