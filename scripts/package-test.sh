#!/usr/bin/env bash
# The packages on two machines that systemd boots: containers (systemd-nspawn) of a fresh Debian with nothing of this tree in them.
# Installation, boot in any order, a killed and a hung daemon, upgrade under a device in use, refused and granted stop, removal,
# purge. Ends by itself, and leaves nothing but the cached system.
#   package-test.sh            builds the packages first, as scripts/package.sh does
#   REPL_PROGRAMS=DIR          packs the repld and repladm of DIR
#   REPL_PACKAGES=DIR          takes the .debs of DIR
#   REPL_PACKAGE_CACHE=DIR     where the fresh system is kept, default ~/.cache/repl-package
#   REPL_PACKAGE_TEST_KEEP=1   keeps the two systems to look at, and says where
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
need_linux
need_root "making systems and booting them"
need_command mmdebstrap mmdebstrap
need_command systemd-nspawn systemd-container
need_command lintian lintian
need_namespaces
if [ ! -c /dev/fuse ] || [ ! -c /dev/loop-control ]; then die "needs /dev/fuse and /dev/loop-control: modprobe fuse loop"; fi

began=$SECONDS
work=$(mktemp -d)
namespace=repl-package-$$
. "$root/scripts/booted.sh"

say() { printf '== %3d s  %s\n' $((SECONDS - began)) "$*"; }

fail() {
  echo "package-test.sh: FAILED: $*" >&2
  local node
  for node in "${!leader[@]}"; do
    echo "-- $node: status and the end of the journal" >&2
    inside "$node" systemctl --no-pager --full status repld@r0.service >&2 || true
    inside "$node" journalctl --no-pager -n 40 >&2 || true
  done
  exit 1
}

clean_up() {
  local node
  for node in "${!nspawn[@]}"; do end_node "$node"; done
  remove_groups
  remove_network
  if [ -n "${REPL_PACKAGE_TEST_KEEP:-}" ]; then
    echo "kept: $work"
  else
    rm -rf --one-file-system "$work"
  fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# 0: there is none. (A signal to 0 would go to this script.)
daemon_pid() { inside "$1" systemctl show -P MainPID repld@r0.service; }
signal_daemon() {
  local pid
  pid=$(daemon_pid "$1")
  [ "$pid" != 0 ] || fail "$1 has no daemon that could be sent $2"
  inside "$1" kill -s "$2" "$pid"
}
status_text() { inside "$1" systemctl show -P StatusText repld@r0.service; }
shows() { [[ "$(status_text "$1")" == *"$2"* ]]; }
restarted() {
  local now
  now=$(daemon_pid "$1")
  [ "$now" != 0 ] && [ "$now" != "$2" ]
}
unit_is() { [ "$(inside "$1" systemctl is-active repld@r0.service || true)" = "$2" ]; }
# The export has a client beside the device server.
is_in_use() { inside "$1" ss --no-header --unix --processes state connected | grep '"nbdcopy"' >/dev/null; }
role_is() { [ "$(inside "$1" repladm role r0)" = "$2" ]; }
is_free() { ! is_in_use "$1"; }
node_ended() { ! kill -0 "${nspawn[$1]}"; }

say "packages"
packages=${REPL_PACKAGES:-}
if [ -z "$packages" ]; then
  packages=$work/first
  DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1 DEB_BUILD_OPTIONS=noautodbgsym \
    "$root/scripts/package.sh" --output "$packages" >"$work/log" || fail "the packages were not built: $(cat "$work/log")"
fi
repl=$(ls "$packages"/repl_*.deb) names=$(ls "$packages"/repl-drbd-names_*.deb) ||
  fail "$packages does not have the two packages"
lintian --fail-on error "$repl" "$names" >"$work/log" 2>&1 ||
  fail "lintian finds errors: $(cat "$work/log")"
# The next version: the same with another number, and other files on the disk.
dpkg-deb -R "$repl" "$work/next"
sed -i 's/^Version: .*/&.next/' "$work/next/DEBIAN/control"
dpkg-deb -Zgzip -z1 -b "$work/next" "$work/next.deb" >/dev/null
rm -rf "$work/next"

[ -e "$system" ] || say "a fresh $suite into $system"
make_system

say "two systems, the package installed"
for node in alfa bravo; do
  unpack_system "$node"
done
# Swift reads the arguments of a program from /proc.
in_chroot() { unshare --mount --pid --fork --mount-proc="$work/$1/proc" chroot "$work/$1" "${@:2}"; }
everything() { (cd "$1" && find . -xdev | sed -E '/^\.\/(proc|sys|dev|run|tmp|root)\//d' | sort); }
everything "$work/alfa" >"$work/before"
for node in alfa bravo; do
  cp "$repl" "$names" "$work/next.deb" "$work/$node/root/"
  chroot "$work/$node" dpkg -i "/root/${repl##*/}" >"$work/log" 2>&1 || fail "dpkg -i: $(cat "$work/log")"
  chroot "$work/$node" systemd-analyze verify --man=yes repld@r0.service repl.target >"$work/log" 2>&1 ||
    fail "systemd-analyze verify: $(cat "$work/log")"
  [ ! -s "$work/log" ] || fail "systemd-analyze verify says: $(cat "$work/log")"
  [ -d "$work/$node/etc/repl.d" ] || fail "/etc/repl.d is missing"
  cat >"$work/$node/etc/repl.d/r0.res" <<CONF
resource r0 {
  device /dev/drbd0 minor 0;
  disk /srv/r0.img;
  meta-disk internal;
  on alfa { address 10.99.0.1:7789; node-id 0; }
  on bravo { address 10.99.0.2:7789; node-id 1; }
}
CONF
  truncate -s 64M "$work/$node/srv/r0.img"
  # What the test has no time for: a minute until a hung daemon is noticed, and until a stop is given up.
  mkdir -p "$work/$node/etc/systemd/system/repld@.service.d"
  printf '[Service]\nWatchdogSec=3\nTimeoutStopSec=12\nTimeoutAbortSec=3\nEnvironment=REPLD_PATIENCE=2\n' \
    >"$work/$node/etc/systemd/system/repld@.service.d/test.conf"
  in_chroot "$node" env "__DRBD_NODE__=$node" repladm create-md --force r0 >"$work/log" 2>&1 ||
    fail "create-md: $(cat "$work/log")"
  chroot "$work/$node" systemctl enable repld@r0.service >"$work/log" 2>&1 || fail "enable: $(cat "$work/log")"
done
say "the exposure by systemd-analyze security: $(chroot "$work/alfa" systemd-analyze security --offline=yes \
  /lib/systemd/system/repld@.service 2>/dev/null | sed -n 's/.*Overall exposure level[^:]*: *//p')"

say "boot, the second node first"
make_network 10.99.0.1 10.99.0.2
boot bravo
until_true 30 "bravo serves without alfa" shows bravo "disk:Inconsistent connection:Connecting"
boot alfa
for node in alfa bravo; do until_true 30 "$node is connected" shows "$node" "connection:Connected"; done
inside alfa repladm primary --force r0 >"$work/log" 2>&1 || fail "primary: $(cat "$work/log")"
until_true 60 "both are UpToDate" shows bravo "disk:UpToDate"
say "booted in the order bravo, alfa: $(status_text alfa)"

say "the devices are there after a boot, on the Secondary, too"
for node in alfa bravo; do
  until_true 20 "$node has /dev/drbd0" inside "$node" test -b /dev/drbd0
  [ "$(inside "$node" systemctl is-active repl-device@r0.service || true)" = active ] || fail "$node: repl-device@r0 is not active"
done
inside bravo sh -c '! LC_ALL=C dd if=/dev/drbd0 of=/dev/null count=1' 2>"$work/log" || fail "a Secondary can be read"
grep -q 'Wrong medium type' "$work/log" || fail "reading a Secondary: $(cat "$work/log")"
inside alfa repladm secondary r0 || fail "secondary"
inside alfa mkfs.ext4 -q /dev/drbd0 2>"$work/log" || fail "mkfs: $(cat "$work/log")"
inside bravo mount /dev/drbd0 /mnt 2>"$work/log" || fail "a mount on the Secondary does not promote: $(cat "$work/log")"
[ "$(inside bravo repladm role r0)" = Primary ] || fail "bravo is $(inside bravo repladm role r0)"
inside bravo umount /mnt
until_true 20 "bravo is demoted by the last close" role_is bravo Secondary
say "mounted and demoted again"

say "the log is in the journal, with its levels"
inside alfa journalctl -o json -u repld@r0.service >"$work/log"
grep -q '"PRIORITY":"6".*repld serves alfa\|repld serves alfa.*"PRIORITY":"6"' "$work/log" ||
  fail "no line of level 6 in the journal: $(head -3 "$work/log")"
! grep -q '"MESSAGE":"<[0-7]>' "$work/log" || fail "the level stands in the text"

say "a killed daemon comes back, attached and connected"
pid=$(daemon_pid alfa)
signal_daemon alfa KILL
until_true 20 "alfa's daemon is restarted" restarted alfa "$pid"
until_true 20 "alfa is connected again" shows alfa "disk:UpToDate connection:Connected"

say "a hung daemon is noticed"
pid=$(daemon_pid alfa)
signal_daemon alfa STOP
until_true 30 "alfa's daemon is restarted" restarted alfa "$pid"
until_true 20 "alfa is connected again" shows alfa "disk:UpToDate connection:Connected"
inside alfa journalctl --no-pager -u repld@r0.service | grep -i 'watchdog' >/dev/null || fail "systemd does not say that it was the watchdog"

say "a command starts the unit, a refused start is not repeated, down --force is the end"
inside alfa repladm down r0 || fail "down"
[ "$(inside alfa systemctl is-active repld@r0.service || true)" = inactive ] || fail "the unit is not inactive after down"
inside alfa mv /etc/repl.d/r0.res /root/r0.res
code=0
inside alfa systemctl start repld@r0.service 2>"$work/log" || code=$?
[ $code != 0 ] || fail "a resource that is not in the file was started"
[ "$(inside alfa systemctl show -P ExecMainStatus repld@r0.service)" = 1 ] || fail "the exit code is not 1"
inside alfa mv /root/r0.res /etc/repl.d/r0.res
inside alfa repladm up r0 2>"$work/log" || fail "up: $(cat "$work/log")"
[ "$(inside alfa systemctl is-active repld@r0.service)" = active ] || fail "repladm up did not start the unit"
! inside alfa test -e /run/repl/r0.bare || fail "RES.bare is left"
until_true 20 "alfa is connected again" shows alfa "disk:UpToDate connection:Connected"
# A killed daemon must not come back after this.
pid=$(daemon_pid alfa)
signal_daemon alfa STOP
inside alfa repladm down --force r0 >"$work/log" 2>&1 || fail "down --force: $(cat "$work/log")"
until_true 20 "the unit is inactive" unit_is alfa inactive
inside alfa repladm up r0 2>"$work/log" || fail "up after down --force: $(cat "$work/log")"
until_true 20 "alfa is connected again" shows alfa "disk:UpToDate connection:Connected"

say "an upgrade while the device is in use"
inside alfa repladm primary r0 >"$work/log" 2>&1 || fail "primary: $(cat "$work/log")"
mkfifo "$work/alfa/root/data"
inside alfa sh -c 'exec nbdcopy --flush - "$(repladm sh-nbd-uri r0)" </root/data' >"$work/client" 2>&1 &
client=$!
exec 9>"$work/alfa/root/data"
until_true 20 "a client uses the export" is_in_use alfa
pid=$(daemon_pid alfa)
inside alfa dpkg -i /root/next.deb >"$work/log" 2>&1 || fail "the upgrade: $(cat "$work/log")"
grep -q 'repladm down r0 && repladm up r0' "$work/log" || fail "the upgrade does not say how to restart: $(cat "$work/log")"
[ "$(daemon_pid alfa)" = "$pid" ] || fail "the upgrade restarted the daemon"
is_in_use alfa || fail "the client was thrown out"
head -c 1M /dev/zero >&9

say "what is in use is neither stopped nor removed"
code=0
inside alfa repladm down r0 >"$work/log" 2>&1 || code=$?
[ $code = 11 ] || fail "down of a device in use: $code, $(cat "$work/log")"
stop_began=$SECONDS
inside alfa systemctl stop repld@r0.service >"$work/log" 2>&1 || true
[ $((SECONDS - stop_began)) -lt 40 ] || fail "the stop hangs"
inside alfa kill -0 "$pid" || fail "the stop ended a daemon in use"
is_in_use alfa || fail "the stop threw the client out"
inside alfa journalctl --no-pager -u repld@r0.service | grep 'repld goes on serving r0' >/dev/null || fail "the stop does not say why"
code=0
inside alfa dpkg -r repl >"$work/log" 2>&1 || code=$?
[ $code != 0 ] || fail "the package was removed below a device in use"
grep -q 'still served: r0' "$work/log" || fail "dpkg -r does not say why: $(cat "$work/log")"
inside alfa kill -0 "$pid" || fail "the refused removal ended the daemon"
exec 9>&-
wait $client || fail "the client: $(cat "$work/client")"

say "restart into the new version"
until_true 20 "the client has left" is_free alfa
inside alfa sh -c 'repladm down r0 && repladm up r0' >"$work/log" 2>&1 || fail "down and up: $(cat "$work/log")"
[ "$(daemon_pid alfa)" != "$pid" ] && [ "$(daemon_pid alfa)" != 0 ] || fail "the daemon is the old one"
until_true 20 "alfa is connected again" shows alfa "disk:UpToDate connection:Connected"

say "DRBD's names, and what conflicts with them"
inside alfa dpkg -i "/root/${names##*/}" >"$work/log" 2>&1 || fail "repl-drbd-names: $(cat "$work/log")"
[ "$(inside alfa drbdadm role r0)" = Secondary ] || fail "drbdadm does not lead to repladm"
inside alfa drbdsetup status r0 | grep 'r0 role:Secondary' >/dev/null || fail "drbdsetup does not lead to repladm"
mkdir -p "$work/drbd-utils/DEBIAN"
printf 'Package: drbd-utils\nVersion: 9.22\nArchitecture: all\nMaintainer: x <x@x.invalid>\nDescription: x\n' \
  >"$work/drbd-utils/DEBIAN/control"
dpkg-deb -b "$work/drbd-utils" "$work/alfa/root/drbd-utils.deb" >/dev/null
! inside alfa dpkg -i /root/drbd-utils.deb >"$work/log" 2>&1 || fail "drbd-utils was installed beside repl-drbd-names"
grep -q 'conflicting packages' "$work/log" || fail "dpkg does not say that they conflict: $(cat "$work/log")"
inside alfa dpkg -P repl-drbd-names >"$work/log" 2>&1 || fail "purge of repl-drbd-names: $(cat "$work/log")"

say "removal takes the resource down, purge leaves nothing"
pid=$(daemon_pid alfa)
inside alfa dpkg -r repl >"$work/log" 2>&1 || fail "dpkg -r: $(cat "$work/log")"
! inside alfa kill -0 "$pid" 2>/dev/null || fail "a daemon is left"
[ -e "$work/alfa/etc/repl.conf" ] || fail "removal took the configuration"
inside alfa rm -r /etc/repl.d/r0.res /etc/systemd/system/repld@.service.d /srv/r0.img
inside alfa dpkg -P repl >"$work/log" 2>&1 || fail "purge: $(cat "$work/log")"
inside alfa sh -c '! test -e /run/repl' || fail "/run/repl is left"
inside alfa systemctl is-system-running --wait >/dev/null 2>&1 || true
kill -s SIGRTMIN+4 "${leader[alfa]}"
until_true 30 "alfa is off" node_ended alfa
everything "$work/alfa" >"$work/after"
# What a boot, dpkg and the services of the system write by themselves.
comm -13 "$work/before" "$work/after" |
  grep -vE '^\./(var/(log|lib/(dpkg|systemd|dbus)|cache|tmp)|etc/(machine-id|\.updated|hostname|resolv\.conf))' \
    >"$work/left" || true
[ ! -s "$work/left" ] || fail "left after the purge: $(cat "$work/left")"
say "passed"
