#!/usr/bin/env bash
# From kernel DRBD to repl and back, without a full resync and with a file system in use: two virtual machines run the
# kernel's DRBD, XFS on the Primary is being written; the Secondary's machine goes, repld takes its disk and its address, is
# resynced by the bitmap, becomes Primary, and gives the role back. The checksums of every file are compared at each step.
#   migrate-demo.sh [stable|backports]    the Debian kernel of the machines (root; about a minute of pure emulation)
# It leaves nothing behind. REPL_PROGRAMS: a directory with repld and repladm to use, in place of a release build.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
need_linux
case ${1:-stable} in
stable | backports) ;;
*)
  sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
need_root "running virtual machines on a network of their own"
need_namespaces
need_loop_devices
[ -n "$(device_means)" ] ||
  die "no block device can be made here: neither kernel nbd nor FUSE with loop devices (modprobe fuse loop)"
exec "$root/scripts/interop.sh" migrate --kernel "${1:-stable}"
