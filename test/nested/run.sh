#!/usr/bin/env bash
# Runs commands in a machine that QEMU emulates: an AMD CPU with SVM and nested paging, a stock Debian
# kernel with kvm_amd, the built project. Slow (every instruction is translated), with the true
# semantics of hardware paging.
#
#   test/nested/run.sh COMMANDS RESULTS
#
# COMMANDS: a file with a shell command on each line, run in the project's folder. RESULTS receives
# their output, each between `nested: begin` and `nested: end STATUS FROM TO COMMAND`.
#
# NESTED_KERNEL=6.12 selects the kernel package; NESTED_SECONDS=280 is how long it may take.
# Exit status: 0 the machine ended by itself; 1 it did not; 3 what it needs cannot be had.
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
here=$project/test/nested
commands=$1
results=$2
version=${NESTED_KERNEL:-6.12}
seconds=${NESTED_SECONDS:-280}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/faultline/nested
mkdir -p "$cache"

lack() {
  echo "nested machine: $1" >&2
  exit 3
}

tools='qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio xz:xz-utils mke2fs:e2fsprogs'
missing=
for tool in $tools; do
  command -v "${tool%%:*}" >/dev/null || missing+=" ${tool##*:}"
done
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || lack "needs$missing: apt-get install$missing"
  echo "nested machine: installing$missing" >&2
  # shellcheck disable=SC2086
  { apt-get install -y -qq --no-install-recommends $missing ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; }; } \
    >"$cache/apt.log" 2>&1 || lack "apt-get install$missing fails: see $cache/apt.log"
fi

# The names of kernel packages rotate: ask what the one of this version depends on now.
find_package() {
  apt-cache depends "linux-image-$version-cloud-amd64" 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }' ||
    true
}
kernel=$cache/kernel-$version
if [ ! -e "$kernel/ready" ]; then
  command -v apt-get >/dev/null || lack 'needs apt-get to download a Debian kernel'
  package=$(find_package)
  [ -n "$package" ] || { apt-get update -qq >/dev/null 2>&1 || true; package=$(find_package); }
  # 6.1 is what Debian 12 calls linux-image-cloud-amd64.
  [ -n "$package" ] || package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    awk -v v="linux-image-$version." '/Depends:/ && index($2, v) == 1 { print $2; exit }')
  [ -n "$package" ] || lack "no package linux-image-$version-cloud-amd64 in the configured sources"
  echo "nested machine: downloading $package" >&2
  rm -rf "$kernel"
  mkdir -p "$kernel/root"
  (cd "$kernel" && apt-get download -qq "$package" >download.log 2>&1) || lack "$package cannot be downloaded"
  dpkg -x "$kernel"/*.deb "$kernel/root"
  rm "$kernel"/*.deb
  touch "$kernel/ready"
fi
vmlinuz=$(echo "$kernel"/root/boot/vmlinuz-*)

# The initramfs: busybox and the modules, in the order in which they need each other.
initramfs=$kernel/initramfs.cpio
if [ ! -e "$initramfs" ] || [ "$here/init" -nt "$initramfs" ] || [ "$here/run.sh" -nt "$initramfs" ]; then
  root=$(mktemp -d)
  mkdir -p "$root/bin" "$root/modules"
  cp "$(command -v busybox)" "$root/bin/busybox"
  cp "$here/init" "$root/init"
  chmod +x "$root/init"
  for module in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk \
    virtio_console irqbypass ccp kvm kvm-amd hwpoison-inject; do
    found=$(find "$kernel/root" -name "$module.ko*" | head -1)
    [ -n "$found" ] || continue # built in
    xz -dc "$found" >"$root/modules/$module.ko"
    echo "$module.ko" >>"$root/modules/order"
  done
  (cd "$root" && find . | cpio -o -H newc --quiet) >"$initramfs"
  rm -r "$root"
fi

work=$(mktemp -d)
machine=
trap '[ -z "$machine" ] || kill "$machine" 2>/dev/null || true; rm -rf "$work"' EXIT

# The disk: node with its libraries, busybox, the built project and what its tests import.
disk=$work/disk
mkdir -p "$disk"/{bin,dev,proc,sys,tmp,sbin,usr/bin,root,faultline}
cp "$(command -v busybox)" "$disk/bin/busybox"
for applet in sh mount umount cat cut sed sync poweroff uname mkdir ls sleep free dmesg grep; do
  ln -s busybox "$disk/bin/$applet"
done
node=$(readlink -f "$(command -v node)")
cp "$node" "$disk/usr/bin/node"
ldd "$node" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$disk$(dirname "$library")"
  cp -L "$library" "$disk$library"
done
cp "$here/inside" "$disk/sbin/inside"
chmod +x "$disk/sbin/inside"
cp "$commands" "$disk/tests"
cp -r "$project/dist" "$project/package.json" "$project/README.md" "$project/guest-images" "$disk/faultline"
[ ! -e "$project/.tap" ] || cp -r "$project/.tap" "$disk/faultline"
modules=$(readlink -f "$project/node_modules")
tar -C "$(dirname "$modules")" -c --anchored --exclude='node_modules/@biomejs' --exclude='node_modules/@typescript' --exclude='node_modules/typescript' \
  --exclude='node_modules/@esbuild' --exclude='node_modules/esbuild' --exclude='node_modules/tshy' --exclude='node_modules/puppeteer-core' --exclude='node_modules/chromium-bidi' \
  --exclude='node_modules/@types' --exclude='node_modules/react-dom' --exclude='node_modules/@mixmark-io' --no-anchored --exclude='*.map' --exclude='*.d.ts' \
  --exclude='*.md' node_modules | tar -C "$disk/faultline" -x
for extra in ${NESTED_FILES:-}; do
  cp -r "$extra" "$disk/"
done
truncate -s 1500M "$work/disk.img"
mke2fs -q -t ext4 -O '^has_journal' -E lazy_itable_init=1 -d "$disk" "$work/disk.img"
rm -r "$disk"

: >"$results"
nice qemu-system-x86_64 -accel tcg -cpu EPYC,+svm,+npt -machine pc -m "${NESTED_MEMORY:-1G}" -smp "${NESTED_CPUS:-1}" \
  -nodefaults -display none -no-reboot \
  -kernel "$vmlinuz" -initrd "$initramfs" \
  -append 'console=ttyS0 panic=-1 quiet mitigations=off nokaslr' \
  -drive "file=$work/disk.img,format=raw,if=none,id=disk,cache=unsafe" -device virtio-blk-pci,drive=disk \
  -device virtio-serial-pci -chardev "file,id=results,path=$results" -device virtserialport,chardev=results \
  -serial "file:$work/console" </dev/null &
machine=$!
for ((waited = 0; waited < seconds * 5; waited++)); do
  kill -0 "$machine" 2>/dev/null || break
  sleep 0.2
done
if kill -0 "$machine" 2>/dev/null; then
  echo "nested machine: not ended after $seconds s" >&2
  tail -5 "$work/console" >&2
  exit 1
fi
wait "$machine" || true
machine=
if ! grep -q '^nested: done' "$results"; then
  echo 'nested machine: ended early' >&2
  tail -20 "$work/console" >&2
  exit 1
fi
