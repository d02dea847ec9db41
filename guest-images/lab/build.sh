#!/usr/bin/env bash
# Builds the lab's kernel: the distribution's source with our patch and configuration. Prints where it
# is. The first time takes some ten minutes on two cores, a 150 MB download and 1.9 GB of disk; later
# the cached kernel is taken, or, if patch or configuration changed, what changed is built again.
#
# LAB_SOURCE=6.12 selects the package linux-source-6.12, from the configured package sources. There is
# a patch for 6.12 and for 7.3.
# Exit status: 0 built; 1 the patch does not apply or the build fails; 3 what it needs cannot be had.
set -euo pipefail
# A function, so that bash has read all of it before it begins.
main() {
here=$(cd "$(dirname "$0")" && pwd)
version=${LAB_SOURCE:-6.12}
package=linux-source-$version
diff=$here/exit-on-missing-$version.patch
cache=${XDG_CACHE_HOME:-$HOME/.cache}/faultline/lab

say() { echo "lab kernel: $1" >&2; }
lack() {
  say "$1"
  exit 3
}

[ -e "$diff" ] || lack "there is no patch for Linux $version, but for: $(cd "$here" && echo *.patch | sed 's/exit-on-missing-//g; s/.patch//g')"

if ! mkdir -p "$cache" 2>/dev/null; then
  lack "cannot make the folder $cache"
fi
candidate() { apt-cache policy "$package" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" { print $2 }'; }
# Prints the kernel of this source, patch and configuration, if it has been built.
take_cached() {
  [ -n "$known" ] || return
  key=$(cat <(echo "$known") "$diff" "$here/config" | sha256sum | cut -c1-16)
  kernel=$cache/linux-$version-$key
  [ ! -e "$kernel" ] || { echo "$kernel"; exit; }
}
known=$(cat "$cache/$package.version" 2>/dev/null || true)
take_cached || true

# Two at once would build in the same folder.
{ exec 9>"$cache/lock"; } 2>/dev/null || lack "cannot write to $cache"
flock -n 9 || { say 'waiting for another build'; flock 9; }
known=$(cat "$cache/$package.version" 2>/dev/null || true)
if [ -z "$known" ]; then
  command -v apt-get >/dev/null || lack "needs apt-get to download $package"
  known=$(candidate)
  [ -n "$known" ] || { apt-get update -qq >/dev/null 2>&1 || true; known=$(candidate); }
  [ -n "$known" ] || lack "no package $package in the configured sources"
fi
take_cached

missing=
for tool in gcc make flex bison bc lz4 cpio patch xz; do
  case $tool in xz) needs=xz-utils ;; *) needs=$tool ;; esac
  command -v "$tool" >/dev/null || missing+=" $needs"
done
[ -e /usr/include/libelf.h ] || missing+=' libelf-dev'
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || lack "needs$missing: apt-get install$missing"
  say "installing$missing"
  # shellcheck disable=SC2086
  { apt-get install -y -qq --no-install-recommends $missing ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; }; } \
    >"$cache/apt.log" 2>&1 || lack "apt-get install$missing fails: see $cache/apt.log"
fi

source=$cache/$package-$known
if [ ! -e "$source/ready" ]; then
  free=$(df --output=avail -k "$cache" | tail -1)
  [ "$free" -gt 2500000 ] || lack "needs 2.5 GB for source and build in $cache"
  say "downloading $package $known (150 MB), then some ten minutes of building; 1.9 GB in $cache"
  rm -rf "$cache/$package"-* "$cache/download"
  mkdir -p "$cache/download"
  (cd "$cache/download" && apt-get download -qq "$package=$known" >apt.log 2>&1) ||
    lack "$package cannot be downloaded: see $cache/download/apt.log"
  dpkg -x "$cache"/download/*.deb "$cache/download/root"
  say 'unpacking'
  mkdir -p "$source.part"
  tar -C "$source.part" --strip-components=1 -xf "$cache"/download/root/usr/src/linux-source-*.tar.xz
  rm -r "$cache/download"
  touch "$source.part/ready"
  mv "$source.part" "$source"
  echo "$known" >"$cache/$package.version"
fi

cd "$source"
# What the patch changes, as it was: the tree is patched anew each time. Unchanged files keep their
# dates, for make's sake.
mkdir -p original
sed -n 's,^--- a/,,p' "$diff" | while read -r file; do
  [ -e "original/$file" ] || cp --parents "$file" original
done
patched=$(mktemp -d)
trap 'trap "" HUP INT TERM; rm -rf "$patched"' EXIT
cp -r original/. "$patched"
patch -s -d "$patched" -p1 --fuzz=0 --no-backup-if-mismatch <"$diff" >&2 ||
  { say "the patch does not apply to $package $known"; exit 1; }
(cd "$patched" && find . -type f) | while read -r file; do
  cmp -s "$patched/$file" "$file" || cp "$patched/$file" "$file"
done

log=$cache/build.log
{
  make -s allnoconfig && ./scripts/kconfig/merge_config.sh -m .config "$here/config" && make -s olddefconfig
} >"$log" 2>&1 || { say "configuring fails: see $log"; exit 1; }
# An option that has another name in this version, or lacks what it depends on, would be lost silently.
while read -r option; do
  grep -q "^$option" .config || say "this source does not take $option"
done < <(grep -o '^CONFIG_[A-Z0-9_]*=y' "$here/config")

began=$SECONDS
nice make -j"$(nproc)" bzImage >>"$log" 2>&1 &
build=$!
trap 'trap "" HUP INT TERM; kill "$build" 2>/dev/null || true; rm -rf "$patched"' EXIT
while kill -0 "$build" 2>/dev/null; do
  sleep 1
  if [ $(((SECONDS - began) % 30)) = 29 ]; then
    say "$(grep -c '^  \(CC\|AS\|LD\|AR\)' "$log" || true) of some 1950 steps, $((SECONDS - began)) s"
  fi
done
wait "$build" || { say "the build fails: see $log"; grep -m 3 'error' "$log" >&2 || true; exit 1; }
cp arch/x86/boot/bzImage "$kernel.part"
mv "$kernel.part" "$kernel"
say "built in $((SECONDS - began)) s"
echo "$kernel"
}

main "$@"
