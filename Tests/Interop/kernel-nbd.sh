#!/usr/bin/env bash
# The block device of a promotion by the kernel's nbd, in a virtual machine whose kernel has it: promotion, a file system,
# refused demotion, the death of repld under a mounted file system and the next one that goes on, giving up, and a take-over
# by the other node in between. Both nodes run in the one machine.
#   kernel-nbd.sh [--flavour stable|backports] [--keep]     (root; about five minutes)
# REPL_PROGRAMS: a directory with repld and repladm to test, in place of a release build.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../scripts/needs.sh"
need_linux
case ${1:-} in
-h | --help)
  sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit 0
  ;;
esac
need_root "running a virtual machine on a network of its own"
need_command qemu-system-x86_64 qemu-system-x86
need_command busybox busybox-static
need_command drbdadm drbd-utils
need_command mkfs.xfs xfsprogs
[ -e /dev/net/tun ] || modprobe tun 2>/dev/null || true
[ -e /dev/net/tun ] || die "this kernel has no /dev/net/tun: load the module (modprobe tun), or give the container the device"
flavour=stable
for ((i = 1; i < $#; i++)); do
  if [ "${!i}" = --flavour ]; then j=$((i + 1)) flavour=${!j}; fi
done
"$here/images.sh" "$flavour"
if [ -z "${REPL_PROGRAMS:-}" ]; then
  release_binaries --product repld
  release_binaries --product repladm
  REPL_PROGRAMS=$root/.build/release
fi
export REPL_PROGRAMS PYTHONDONTWRITEBYTECODE=1
exec python3 "$here/kernel_nbd.py" "$@"
