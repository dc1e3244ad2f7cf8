# Sourced by the other scripts: where the repository is, how a script stops with one sentence, and the checks of what
# it needs before it starts. Nothing here changes anything.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH=$PATH:/usr/sbin:/sbin

die() {
  echo "${0##*/}: $*" >&2
  exit 1
}

need_linux() {
  [ "$(uname -s)" = Linux ] || die "repl runs on Linux only, this is $(uname -s)"
}

need_swift() {
  local found
  command -v swift >/dev/null ||
    die "Swift 6.3 is missing: install it with swiftly (https://www.swift.org/install/linux) and put it in PATH"
  found=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -1)
  [ "$(printf '%s\n' 6.3 "${found:-0}" | sort -V | head -1)" = 6.3 ] ||
    die "Swift 6.3 or newer is needed and ${found:-something else} was found: swiftly install 6.3"
}

is_root() { [ "$(id -u)" = 0 ]; }

need_root() {
  is_root || die "$* needs root: run it with sudo"
}

# need_command PROGRAM PACKAGE
need_command() {
  command -v "$1" >/dev/null || die "$1 is missing: apt-get install $2 (or scripts/install-packages.sh)"
}

need_loop_devices() {
  [ -e /dev/loop-control ] || modprobe loop 2>/dev/null || true
  [ -e /dev/loop-control ] ||
    die "this kernel has no loop devices: load the module (modprobe loop), or give the container /dev/loop-control"
}

need_namespaces() {
  local kind
  for kind in net mnt uts pid; do
    [ -e /proc/self/ns/$kind ] || die "this kernel has no $kind namespaces (CONFIG_NAMESPACES)"
  done
  unshare --net --mount --uts --pid --fork true 2>/dev/null ||
    die "namespaces cannot be made here: in a container, run it privileged"
}

# Prints the means by which a block device can be made of an export: nbd, fuse, or nothing.
device_means() {
  is_root || return 0
  modprobe nbd 2>/dev/null || true
  if [ -e /sys/module/nbd ] && [ -b /dev/nbd0 ]; then
    echo nbd
  elif [ -e /dev/loop-control ]; then
    [ -e /dev/fuse ] || modprobe fuse 2>/dev/null || true
    if [ -e /dev/fuse ]; then echo fuse; fi
  fi
}

# release_binaries: builds them and puts them in front of PATH.
release_binaries() {
  need_swift
  (cd "$root" && swift build -c release --static-swift-stdlib "$@") >&2 ||
    die "the release build failed: see above"
  PATH=$root/.build/release:$PATH
  export PATH
}
