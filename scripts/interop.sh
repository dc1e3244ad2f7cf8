#!/usr/bin/env bash
# Proves that repld and the kernel's own DRBD 8.4 are peers of each other: a small virtual machine with a Debian kernel on one
# side, repld on this host on the other, scenario by scenario, each both ways round.
#   interop.sh [quick]       the set that belongs to every change, under ten minutes (root)
#   interop.sh all           everything
#   interop.sh kernel-nbd    the block device of a promotion by the kernel's nbd, both nodes in one machine; part of `all`
#   interop.sh migrate       from the kernel to repl and back with a file system in use (scripts/migrate-demo.sh)
#   interop.sh SCENARIO...   those whose names are given, or contain what is given; `list` prints the names
#   interop.sh --if-possible ...   where machines cannot run or their kernel cannot be had: one sentence, and success
#   interop.sh --tries 2 ...  what fails is played once more, and said so
# Options go to Tests/Interop/run.py: --kernel stable|backports|both, --direction kernel|repl (who acts), --seed N,
# --control (a second kernel in the place of repld), --verbose. `all` keeps its table in docs/interop.md.
# Images are cached in ${XDG_CACHE_HOME:-~/.cache}/repl-interop; the files of a failure are kept there too.
# REPL_PROGRAMS: a directory with repld and repladm to test, in place of a release build.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"

tolerant='' kernel_nbd='' migrate='' kernel=stable table=() arguments=() scenarios='' tries=1 before=
for word in "$@"; do
  case $word in
  -h | --help)
    sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  list) exec python3 "$root/Tests/Interop/run.py" list ;;
  --if-possible) tolerant=yes ;;
  kernel-nbd) kernel_nbd=yes ;;
  migrate) migrate=yes ;;
  all)
    kernel_nbd=yes migrate=yes table=(--table "$root/docs/interop.md")
    arguments+=("$word") scenarios=yes
    ;;
  --tries) ;;
  *)
    if [ "$before" = --tries ]; then
      tries=$word before=
      continue
    fi
    arguments+=("$word")
    case $word:$before in
    -*) ;;
    *:--kernel | *:--direction | *:--seed | *:--keep) ;;
    *) scenarios=yes ;;
    esac
    ;;
  esac
  before=$word
done
for ((i = 0; i < ${#arguments[@]}; i++)); do
  case ${arguments[i]} in
  --kernel) kernel=${arguments[i + 1]:-stable} ;;
  --kernel=*) kernel=${arguments[i]#*=} ;;
  esac
done
case $kernel in
both) flavours=(stable backports) ;;
stable | backports) flavours=("$kernel") ;;
*) die "there is no kernel $kernel: stable, backports or both" ;;
esac

# What this place lacks is no fault of the code.
lack() {
  [ -n "$tolerant" ] || die "$*"
  echo "${0##*/}: skipped: $*"
  exit 0
}

[ "$(uname -s)" = Linux ] || lack "repl runs on Linux only, this is $(uname -s)"
[ "$(uname -m)" = x86_64 ] || lack "the machines are x86_64, this host is $(uname -m)"
is_root || lack "running virtual machines on a network of their own needs root: run it with sudo"
{ command -v dpkg-query && command -v apt-get; } >/dev/null ||
  lack "the kernels and the tools of the machines are Debian packages, and this is not a Debian system"
"$root/scripts/install-packages.sh" --interop >&2 || lack "Debian packages that the machines need are missing: see above"
[ -e /dev/net/tun ] || modprobe tun 2>/dev/null || true
[ -e /dev/net/tun ] || lack "this kernel has no /dev/net/tun: load the module (modprobe tun), or give the container the device"
unshare --net sh -c 'ip link add br0 type bridge && ip tuntap add dev tap0 mode tap' 2>/dev/null ||
  lack "no network with a bridge and a tap device can be made here: in a container, run it privileged"

status=0
"$root/Tests/Interop/images.sh" "${flavours[@]}" || status=$?
case $status in
0) ;;
75) lack "Debian's kernel package could not be downloaded: see above" ;;
*) die "the images of the machines could not be made: see above" ;;
esac
if [ -z "${REPL_PROGRAMS:-}" ]; then
  release_binaries --product repld
  release_binaries --product repladm
  release_binaries --product repl-device
  REPL_PROGRAMS=$root/.build/release
fi
export REPL_PROGRAMS PYTHONDONTWRITEBYTECODE=1

status=0
# A machine on a busy host may miss a time limit: with --tries 2 what fails is played once more, and said so.
play() {
  python3 "$@" && return
  if [ "$tries" = 2 ]; then
    echo "${0##*/}: ${1##*/} failed: once more"
    python3 "$@" && return
  fi
  status=1
}
for flavour in "${flavours[@]}"; do
  if [ -n "$kernel_nbd" ]; then play "$root/Tests/Interop/kernel_nbd.py" --flavour "$flavour" "${table[@]}"; fi
  if [ -n "$migrate" ]; then play "$root/Tests/Interop/migrate.py" "$flavour"; fi
done
if [ -n "$scenarios" ] || [ -z "$kernel_nbd$migrate" ]; then
  python3 "$root/Tests/Interop/run.py" "${table[@]}" --tries "$tries" "${arguments[@]}" || status=1
fi
exit $status
