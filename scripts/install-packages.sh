#!/usr/bin/env bash
# Installs the Debian packages that building, testing and the demo need, only those that are missing.
#   install-packages.sh            install (root)
#   install-packages.sh --check    only say what is missing; exit 1 if something is
#   install-packages.sh --bench    also what scripts/bench.sh compares with
#   install-packages.sh --interop  also what the virtual machines of scripts/interop.sh need
#   install-packages.sh --cluster  also what scripts/cluster.sh runs: Corosync, Pacemaker, its agents, PostgreSQL; their
#                                  services are not started
#   install-packages.sh --package  also what scripts/package.sh and scripts/package-test.sh build and boot with
#   install-packages.sh --zabbix   also what scripts/zabbix-test.sh runs; its services are not started
#   install-packages.sh --docs     also what scripts/docs-test.sh all runs beside --cluster and --zabbix: tunnels, the web front end's
#                                  servers; none of them is started
#   install-packages.sh --callers  also an exporter that a test lets read our status, and promtool; Debian starts services of both
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
need_linux

# libfuse3-dev is for repl-device, which serves block devices where the kernel has no nbd; libnbd-bin has nbdinfo, nbdcopy and the
# nbdfuse of interop's faulty disk, which fuse3 unmounts.
packages="liburing-dev libssl-dev libfuse3-dev pkg-config qemu-utils nbdkit libnbd-bin fio xfsprogs drbd-utils fuse3 iproute2
  util-linux procps xz-utils python3 shellcheck e2fsprogs"
check=
for option in "$@"; do
  case $option in
  --check) check=yes ;;
  --bench) packages="$packages qemu-system-common" ;; # qemu-storage-daemon
  --interop) packages="$packages qemu-system-x86 busybox-static cpio kmod python3" ;;
  --cluster) packages="$packages corosync pacemaker pacemaker-cli-utils crmsh resource-agents
  libxml2-utils postgresql-15" ;; # xmllint is for ocf-tester
  --zabbix) packages="$packages zabbix-server-pgsql zabbix-frontend-php zabbix-agent php-pgsql php-cli php-xml
  php-mbstring php-bcmath php-gd postgresql-15" ;;
  # debhelper, dpkg-dev and rpm build; lintian judges; mmdebstrap makes a system, and systemd-nspawn of systemd-container boots it.
  --package) packages="$packages debhelper dpkg-dev lintian mmdebstrap rpm systemd-container" ;;
  # Tunnels of docs/security.md (wireguard-go is WireGuard without a kernel module); nginx and PHP of docs/zabbix-on-two-machines.md.
  --docs) packages="$packages stunnel4 openssl wireguard-tools wireguard-go iputils-ping nginx-light php-fpm curl" ;;
  --callers) packages="$packages prometheus-hacluster-exporter prometheus python3-yaml" ;; # promtool
  *) die "unknown option $option: there are --check, --bench, --interop, --cluster, --package, --zabbix, --docs and --callers" ;;
  esac
done
command -v dpkg-query >/dev/null ||
  die "this is not a Debian system: install by hand what these packages give: $(echo $packages)"

missing=()
for package in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} = 0 ]; then
  echo "all packages are there"
  exit 0
fi
[ -z "$check" ] || die "missing packages: ${missing[*]}; as root: apt-get install --no-install-recommends ${missing[*]}"
need_root "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Without lists, as on a fresh machine, apt-get would say of every package that it cannot be located.
apt-get update -q || echo "install-packages.sh: the package lists could not be updated; trying with the present ones" >&2
# A cluster of the machine itself is not wanted: its daemons are for hosts made of namespaces.
if [[ $packages == *pacemaker* || $packages == *zabbix* || $packages == *stunnel* ]] && [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
apt-get install -y -q --no-install-recommends "${missing[@]}" ||
  die "apt-get could not install ${missing[*]}: see above"
