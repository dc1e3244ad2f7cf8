# Sourced by stages.sh: two systems that systemd boots, with the package lying in /root. They stay as they are when the stage is named
# again: the sections of a document that need systemd follow each other on them.
# shellcheck shell=bash disable=SC2154,SC2016
namespace=repl-docs-$$
. "$root/scripts/booted.sh"

fail() { die "$*"; }

stage_booted() {
  local docs=$work node
  # The functions of booted.sh know one directory.
  local work=$docs/booted
  if [ ! -d "$work" ]; then
    need_command mmdebstrap mmdebstrap
    need_command systemd-nspawn systemd-container
    need_command dpkg-buildpackage dpkg-dev
    if ldd "$REPL_DOCS_PROGRAMS/repladm" | grep libswiftCore >/dev/null; then
      die "a package needs programs that are linked statically: swift build -c release --static-swift-stdlib"
    fi
    mkdir -p "$work/packages"
    echo "$namespace" >"$work/namespace"
    REPL_PROGRAMS=$REPL_DOCS_PROGRAMS DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1 DEB_BUILD_OPTIONS=noautodbgsym \
      "$root/scripts/package.sh" --output "$work/packages" >"$work/log" 2>&1 || die "the packages were not built: $(tail -5 "$work/log")"
    make_system
    make_network 192.168.1.1 192.168.1.2
    for node in "$one" "$two"; do
      unpack_system "$node"
      cp "$work"/packages/repl_*.deb "$work/$node/root/"
      boot "$node"
      echo "${nspawn[$node]} ${leader[$node]}" >"$work/$node.pids"
    done
  fi
  booted_processes
  work=$docs
  enter_booted 01 "$one"
  enter_booted 02 "$two"
}

enter_booted() {
  enter_by "$1" nsenter --target "${leader[$2]}" --mount --uts --ipc --net --pid --root --wd=/ \
    env -C /root "${login[@]}" DEBIAN_FRONTEND=noninteractive
}

# What another call has booted.
booted_processes() {
  local node
  for node in "$one" "$two"; do
    if [ -e "$work/$node.pids" ]; then read -r "nspawn[$node]" "leader[$node]" <"$work/$node.pids"; fi
  done
}

booted_down() {
  local work=$work/booted namespace node
  [ -d "$work" ] || return 0
  namespace=$(cat "$work/namespace")
  booted_processes
  for node in "${!nspawn[@]}"; do
    # A number that another process has by now is left alone.
    if grep -qz -- "--directory=$work/$node" "/proc/${nspawn[$node]}/cmdline" 2>/dev/null; then end_node "$node"; fi
  done
  remove_groups
  remove_network
  rm -rf --one-file-system "${work:?}"
}
