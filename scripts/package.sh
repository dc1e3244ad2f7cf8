#!/usr/bin/env bash
# Builds the packages from packaging/: two .debs with debhelper, and an RPM with rpmbuild. Builds the release programs first.
#   package.sh                   .debs into dist/
#   package.sh --rpm             the RPM, too
#   package.sh --revision N      the packages' own revision, default that of packaging/debian/changelog
#   package.sh --output DIR      where they go
#   REPL_PROGRAMS=DIR            takes repld, repladm and repl-device from there instead of building them
#   DEB_BUILD_OPTIONS=noautodbgsym   leaves out the package of symbols
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/needs.sh"
need_linux

output=$root/dist revision='' rpm=''
while [ $# -gt 0 ]; do
  case $1 in
  --rpm) rpm=yes ;;
  --revision)
    [[ ${2:-} =~ ^[0-9][0-9a-z.+~]*$ ]] || die "--revision needs a number, such as 2"
    revision=$2
    shift
    ;;
  --output)
    [ -n "${2:-}" ] || die "--output needs a directory"
    output=$2
    shift
    ;;
  *) die "unknown option $1: there are --rpm, --revision N and --output DIR" ;;
  esac
  shift
done
need_command dh debhelper
need_command dpkg-buildpackage dpkg-dev
[ -z "$rpm" ] || need_command rpmbuild rpm

programs=${REPL_PROGRAMS:-}
if [ -z "$programs" ]; then
  release_binaries --product repld
  release_binaries --product repladm
  release_binaries --product repl-device
  programs=$root/.build/release
fi
for program in repld repladm repl-device; do
  [ -x "$programs/$program" ] || die "$programs has no $program: build it, or leave REPL_PROGRAMS out"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

version=$("$programs/repladm" --version | sed -n 's/^REPL_VERSION=//p')
[ -n "$version" ] || die "$programs/repladm does not say its version: build it anew"
tree=$work/repl-$version
mkdir -p "$tree/programs/completions" "$output"
output=$(cd "$output" && pwd)
cp "$programs/repld" "$programs/repladm" "$programs/repl-device" "$tree/programs/"
"$programs/repladm" --generate-completion-script bash | sed "1{/^#!/d}" >"$tree/programs/completions/repladm"
for part in docs packaging README.md ARCHITECTURE.md SECURITY.md LICENSE; do cp -r "$root/$part" "$tree/"; done
cp -r "$root/packaging/debian" "$tree/debian"
# Times of files and packages are those of the last commit: the same tree gives the same packages.
SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH

upstream=$(dpkg-parsechangelog -l "$tree/debian/changelog" -S Version)
[ "${upstream%-*}" = "$version" ] ||
  die "packaging/debian/changelog is about $upstream, and the programs are $version: add an entry for $version-1"
if [ -n "$revision" ]; then
  maintainer=$(dpkg-parsechangelog -l "$root/packaging/debian/changelog" -S Maintainer)
  {
    printf 'repl (%s-%s) unstable; urgency=medium\n\n  * Rebuilt.\n\n' "$version" "$revision"
    printf ' -- %s  %s\n\n' "$maintainer" "$(date -Ru -d "@$SOURCE_DATE_EPOCH")"
    cat "$root/packaging/debian/changelog"
  } >"$tree/debian/changelog"
fi

log=$work/log
(cd "$tree" && dpkg-buildpackage --build=binary --no-sign) >"$log" 2>&1 || {
  cat "$log" >&2
  die "dpkg-buildpackage failed: see above"
}
for package in "$work"/*.deb; do
  cp "$package" "$output/"
  echo "$output/${package##*/}"
done

if [ -n "$rpm" ]; then
  rpmbuild -bb --define "_topdir $work/rpm" --define "repl_tree $tree" --define "repl_version $version" \
    --define "repl_release ${revision:-1}" --nodeps "$root/packaging/rpm/repl.spec" >"$log" 2>&1 || {
    cat "$log" >&2
    die "rpmbuild failed: see above"
  }
  for package in "$work"/rpm/RPMS/*/*.rpm; do
    cp "$package" "$output/"
    echo "$output/${package##*/}"
  done
fi
