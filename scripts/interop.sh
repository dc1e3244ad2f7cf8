#!/usr/bin/env bash
# Proves that repld and the kernel's own DRBD 8.4 are peers of each other: a small virtual machine with a Debian kernel on one
# side, repld on this host on the other, scenario by scenario, each both ways round.
#   interop.sh [quick]       the set that belongs to every change, under ten minutes (root)
#   interop.sh all           everything
#   interop.sh SCENARIO...   those whose names are given, or contain what is given; `list` prints the names
# Options go to Tests/Interop/run.py: --kernel stable|backports|both, --direction kernel|repl (who acts), --seed N,
# --control (a second kernel in the place of repld), --verbose. `all` keeps its table in docs/interop.md.
# Images are cached in ${XDG_CACHE_HOME:-~/.cache}/repl-interop; the files of a failure are kept there too.
# REPL_PROGRAMS: a directory with repld and repladm to test, in place of a release build.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
need_linux

case ${1:-} in
-h | --help)
  sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 0
  ;;
list) exec python3 "$root/Tests/Interop/run.py" list ;;
esac
need_root "running virtual machines on a network of their own"
packages="qemu-system-x86 busybox-static cpio kmod xz-utils drbd-utils xfsprogs fio iproute2 util-linux python3"
missing=()
for package in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} != 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  install() { apt-get install -y -q --no-install-recommends "${missing[@]}"; }
  { install || { apt-get update -q && install; }; } >&2 || die "apt-get could not install ${missing[*]}: see above"
fi
[ -e /dev/net/tun ] || modprobe tun 2>/dev/null || true
[ -e /dev/net/tun ] || die "this kernel has no /dev/net/tun: load the module (modprobe tun), or give the container the device"

kernel=stable table=()
arguments=("$@")
for ((i = 0; i < ${#arguments[@]}; i++)); do
  case ${arguments[i]} in
  --kernel) kernel=${arguments[i + 1]:-stable} ;;
  --kernel=*) kernel=${arguments[i]#*=} ;;
  all) table=(--table "$root/docs/interop.md") ;;
  esac
done
case $kernel in both) flavours=(stable backports) ;; *) flavours=("$kernel") ;; esac
"$root/Tests/Interop/images.sh" "${flavours[@]}"
if [ -z "${REPL_PROGRAMS:-}" ]; then
  release_binaries --product repld
  release_binaries --product repladm
  REPL_PROGRAMS=$root/.build/release
fi
export REPL_PROGRAMS PYTHONDONTWRITEBYTECODE=1
exec python3 "$root/Tests/Interop/run.py" "${table[@]}" "$@"
