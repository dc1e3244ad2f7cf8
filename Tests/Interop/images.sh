#!/usr/bin/env bash
# Packs the images of the test's virtual machines: a Debian kernel with DRBD 8.4 and an initramfs of the tools installed here.
#   images.sh [--force] [--refresh] [stable|backports] ...      (default: stable)
# Result, for each of the two: DIR/<flavour>/{vmlinuz,initramfs.cpio,release,share}, DIR being $REPL_INTEROP_CACHE, by
# default ${XDG_CACHE_HOME:-~/.cache}/repl-interop; share is what the machines see as /share: fio, and 64 MiB of noise to
# write. A run with nothing changed only compares a stamp; --force packs again, --refresh also asks apt for a newer kernel.
# Exit status 75: the kernel could not be downloaded.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${REPL_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/repl-interop}
export PATH=$PATH:/usr/sbin:/sbin
force='' refresh='' flavours=()
for option in "$@"; do
  case $option in
  --force) force=yes ;;
  --refresh) force=yes refresh=yes ;;
  stable | backports) flavours+=("$option") ;;
  *)
    sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
  esac
done
[ ${#flavours[@]} -gt 0 ] || flavours=(stable)

say() { echo "images: $*" >&2; }
die() {
  say "$*"
  exit 1
}
no_download() {
  say "$*"
  exit 75
}

# Loaded at boot, and there for modprobe.
base_modules=(virtio_pci virtio_blk virtio_net virtio_console 9pnet_virtio 9p crc32c-intel crc32c_generic)
more_modules=(drbd nbd xfs sha1_generic sha256_generic hmac dm-mod dm-flakey)
programs=(drbdadm drbdsetup drbdmeta mkfs.xfs blkdiscard dd)

# The distribution's own mirror, as apt is configured; the list stays in the cache, never in the system's sources.
backports_list() {
  local codename site keys=/usr/share/keyrings/debian-archive-keyring.gpg
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  site=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $codename" "Component: main" \
    2>/dev/null | sort -u | head -1)
  [ -n "$site" ] || no_download "apt knows no source for $codename main"
  if [ -r "$keys" ]; then keys="[signed-by=$keys] "; else keys=; fi
  mkdir -p "$cache/apt/lists/partial"
  echo "deb $keys$site $codename-backports main" >"$cache/apt/backports.list"
}

apt_of() { # flavour command...
  local flavour=$1
  shift
  if [ "$flavour" = backports ]; then
    "$1" -o Dir::Etc::sourcelist="$cache/apt/backports.list" -o Dir::Etc::sourceparts=/dev/null \
      -o Dir::State::Lists="$cache/apt/lists" "${@:2}"
  else
    "$@"
  fi
}

kernel_package() { # flavour
  apt_of "$1" apt-cache depends --no-recommends --no-suggests "linux-image-$(dpkg --print-architecture)" 2>/dev/null |
    awk '/Depends: linux-image-/ && !found {print $2; found = 1}'
}

fetch_kernel() { # flavour: unpacks the package into $cache/flavour/tree
  local flavour=$1 dir=$cache/$1 package deb
  mkdir -p "$dir/deb"
  deb=$(find "$dir/deb" -name 'linux-image-*.deb' | sort -V | tail -1)
  if [ -z "$deb" ] || [ -n "$refresh" ]; then
    if [ "$flavour" = backports ]; then
      backports_list
      apt_of "$flavour" apt-get -q update >"$dir/apt.log" 2>&1 || no_download "$(cat "$dir/apt.log")"
    fi
    package=$(kernel_package "$flavour")
    download() {
      say "$flavour: downloading $package"
      (cd "$dir/deb" && apt_of "$flavour" apt-get -q download "$package" >"$dir/apt.log" 2>&1)
    }
    # The lists may never have been fetched, or name a kernel that the mirror has replaced.
    if [ -z "$package" ] || ! download; then
      apt_of "$flavour" apt-get -q update >"$dir/apt.log" 2>&1 || no_download "$(cat "$dir/apt.log")"
      package=$(kernel_package "$flavour")
      [ -n "$package" ] || no_download "apt knows no kernel package ($flavour)"
      download || no_download "$(cat "$dir/apt.log")"
    fi
    deb=$(find "$dir/deb" -name "${package}_*.deb" | sort -V | tail -1)
  fi
  rm -rf "$dir/tree"
  mkdir -p "$dir/tree"
  dpkg-deb --fsys-tarfile "$deb" | tar -C "$dir/tree" -xf -
  [ -d "$dir/tree/lib/modules" ] || { mkdir -p "$dir/tree/lib"; mv "$dir/tree/usr/lib/modules" "$dir/tree/lib/"; }
}

copy_libraries() { # root elf
  local library
  { ldd "$2" 2>/dev/null | grep -oE '/[^ ]+\.so[^ ]*' || true; } | sort -u | while read -r library; do
    library=/usr/${library#/}
    library=${library/#\/usr\/usr\//\/usr\/}
    [ ! -e "$1$library" ] || continue
    mkdir -p "$1${library%/*}"
    cp -L "$library" "$1$library"
  done
}

copy_program() { # root program
  local from
  from=$(command -v "$2") || die "$2 is missing: scripts/interop.sh installs what is needed"
  cp -L "$from" "$1/usr/sbin/${2##*/}"
  copy_libraries "$1" "$from"
}

build() { # flavour
  local flavour=$1 dir=$cache/$1 root release module path
  fetch_kernel "$flavour"
  release=$(ls "$dir/tree/lib/modules" | head -1)
  root=$dir/root
  rm -rf "$root"
  mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{etc,proc,sys,dev,run,tmp,mnt,share,root}
  mkdir -p "$root"/var/{lib/drbd,lock,run/drbd,tmp} "$root/etc/drbd.d"
  for path in bin sbin lib lib64; do ln -s "usr/$path" "$root/$path"; done

  # Modules with what they depend on, decompressed, then a depmod over this subset.
  depmod -b "$dir/tree" "$release"
  put_modules() { # module: copies it, prints the paths inside the image in the order of loading
    local source inside
    modprobe -d "$dir/tree" -S "$release" --show-depends -i "$1" 2>/dev/null | awk '$1 == "insmod" {print $2}' |
      while read -r source; do
        inside=${source#"$dir/tree"}
        inside=${inside%.xz}
        inside=${inside%.zst}
        if [ ! -e "$root$inside" ]; then
          mkdir -p "$root/usr${inside%/*}"
          case $source in
          *.xz) xz -dc "$source" >"$root/usr$inside" ;;
          *.zst) zstd -qdc "$source" >"$root/usr$inside" ;;
          *) cp "$source" "$root/usr$inside" ;;
          esac
        fi
        echo "$inside"
      done
  }
  for module in "${base_modules[@]}"; do put_modules "$module"; done | awk '!seen[$0]++' >"$root/etc/base-modules"
  for module in "${more_modules[@]}"; do put_modules "$module"; done >"$dir/more-modules"
  cp "$dir/tree/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$root/usr/lib/modules/$release/" \
    2>/dev/null || true
  depmod -b "$root" "$release" 2>/dev/null
  rm -f "$root/usr/lib/modules/$release"/*.bin

  # busybox last: a real program of the same name wins.
  for module in "${programs[@]}"; do copy_program "$root" "$module"; done
  mkdir -p "$root/usr/lib/drbd"
  for path in /lib/drbd/drbdadm-* /lib/drbd/drbdsetup-*; do
    [ -f "$path" ] || continue
    cp -L "$path" "$root/usr/lib/drbd/"
    copy_libraries "$root" "$path"
  done
  cp "$(command -v busybox)" "$root/usr/bin/busybox"
  copy_libraries "$root" "$root/usr/bin/busybox"
  for path in $("$root/usr/bin/busybox" --list); do
    [ -e "$root/usr/sbin/$path" ] || [ -e "$root/usr/bin/$path" ] || ln -s busybox "$root/usr/bin/$path"
  done
  for path in modprobe insmod ip; do ln -sf ../bin/busybox "$root/usr/sbin/$path"; done
  install -m 755 "$here/guest/init" "$root/init"
  install -m 755 "$here/guest/agent" "$root/usr/sbin/guest-agent"
  printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\n' >"$root/etc/group"
  printf 'include "drbd.d/*.res";\n' >"$root/etc/drbd.conf"
  ln -s /proc/mounts "$root/etc/mtab"

  (cd "$root" && find . -mindepth 1 -print0 | LC_ALL=C sort -z | cpio --null -o -H newc --owner=0:0 --quiet) \
    >"$dir/initramfs.cpio.new"
  mv "$dir/initramfs.cpio.new" "$dir/initramfs.cpio"
  cp "$dir/tree/boot/vmlinuz-$release" "$dir/vmlinuz"
  echo "$release" >"$dir/release"
  rm -rf "$dir/tree" "$root"

  # fio links half of the distribution: too much for the memory of a small machine.
  root=$dir/share.new
  rm -rf "$root" "$dir/share"
  mkdir -p "$root/usr/sbin"
  copy_program "$root" fio
  python3 -c 'import random, sys; sys.stdout.buffer.write(random.Random(7).randbytes(64 << 20))' >"$root/noise"
  mv "$root" "$dir/share"
  say "$flavour: $release, initramfs of $(du -h "$dir/initramfs.cpio" | cut -f1)"
}

stamp() {
  {
    cat "$here/images.sh" "$here/guest/init" "$here/guest/agent"
    dpkg-query -W -f '${Package} ${Version}\n' busybox-static drbd-utils fio xfsprogs libc6 2>/dev/null
  } | sha256sum | cut -d' ' -f1
}

wanted=$(stamp)
for flavour in "${flavours[@]}"; do
  mkdir -p "$cache/$flavour"
  exec 9>"$cache/$flavour/lock"
  flock 9
  if [ -z "$force" ] && [ -s "$cache/$flavour/initramfs.cpio" ] &&
    [ "$(cat "$cache/$flavour/stamp" 2>/dev/null)" = "$wanted" ]; then
    say "$flavour: up to date ($(cat "$cache/$flavour/release"))"
  else
    build "$flavour"
    echo "$wanted" >"$cache/$flavour/stamp"
  fi
  exec 9>&-
done
