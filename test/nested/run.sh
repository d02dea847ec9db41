#!/usr/bin/env bash
# Runs commands in machines that QEMU emulates: an AMD CPU with SVM and nested paging, a stock Debian
# kernel with kvm_amd, the built project. Slow (every instruction is translated), with the true
# semantics of hardware paging.
#
#   test/nested/run.sh COMMANDS RESULTS [COMMANDS RESULTS]...
#
# COMMANDS: a file with a shell command on each line, run in the project's folder. RESULTS receives
# their output, each between `nested: begin` and `nested: end STATUS FROM TO COMMAND`. Each pair has a
# machine of one CPU to itself; all of them run at the same time.
#
# NESTED_KERNEL=6.12   the kernel package
# NESTED_VMLINUZ=...   a kernel that needs no modules, in place of a package
# NESTED_SECONDS=280   how long the machines may take
# NESTED_FILES=...     more files, which go to the root of the disk
# NESTED_MAPS=...      a folder for the source maps of what runs in there
# NESTED_MEMORY=1G, NESTED_CPUS=1   of each machine
# NESTED_ACCEL=tcg     how QEMU emulates: tcg,thread=single lets its CPUs take turns
#
# For tests that boot Linux, /guest-kernels/vmlinuz (the kernel that the machine itself runs) and
# /guest-kernels/initrd are on the disk, named by FAULTLINE_LINUX_KERNEL and FAULTLINE_LINUX_INITRD.
#
# Exit status: 0 all machines ended by themselves; 1 one did not; 3 what they need cannot be had.
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
here=$project/test/nested
version=${NESTED_KERNEL:-6.12}
seconds=${NESTED_SECONDS:-280}
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/faultline/nested

lack() {
  echo "nested machine: $1" >&2
  exit 3
}

# A function, so that bash has read all of it before it begins.
main() {
[ $# -ge 2 ] && [ $(($# % 2)) = 0 ] || { echo "usage: $0 COMMANDS RESULTS [COMMANDS RESULTS]..." >&2; exit 2; }

work=$(mktemp -d)
machines=()
# QEMU is a grandchild: `timeout` passes the signal on. It gets one too if this shell is killed.
# A second signal, to the whole group for one, must not end this.
end() {
  trap '' HUP INT TERM
  [ ${#machines[@]} = 0 ] || kill "${machines[@]}" 2>/dev/null || true
  wait || true
  rm -rf "$work"
}
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# What is not installed. One of several at a time: they would be in each other's way with apt, and
# the second finds what the first has brought.
mkdir -p "$cache" 2>/dev/null || lack "cannot write to $cache"
exec 9>"$cache/lock"
flock -w 600 9 || lack 'another one has been downloading for ten minutes'
tools='qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio xz:xz-utils mke2fs:e2fsprogs'
missing=
for tool in $tools; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${tool%%:*}" >/dev/null || missing+=" ${tool##*:}"
done
PATH=$PATH:/usr/sbin:/sbin
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || lack "needs$missing: apt-get install$missing"
  echo "nested machine: installing$missing" >&2
  install="apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=60$missing"
  export DEBIAN_FRONTEND=noninteractive
  { $install || { apt-get update -qq && $install; }; } </dev/null >"$work/apt.log" 2>&1 9>&- ||
    lack "apt-get install$missing fails: $(tail -1 "$work/apt.log")"
fi

# The names of kernel packages rotate: ask what the one of this version depends on now.
find_package() {
  apt-cache depends "linux-image-$version-cloud-amd64" 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }' ||
    true
}
# 6.1 is what Debian 12 calls linux-image-cloud-amd64.
find_default() {
  apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    awk -v v="linux-image-$version." '/Depends:/ && index($2, v) == 1 { print $2; exit }' || true
}
kernel=$cache/linux-$version
if [ -z "${NESTED_VMLINUZ:-}" ] && [ ! -d "$kernel" ]; then
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || lack 'needs apt-get to download a Debian kernel'
  updated=
  package=$(find_package)
  [ -n "$package" ] || package=$(find_default)
  if [ -z "$package" ]; then
    apt-get update -qq >/dev/null 2>&1 9>&- || true
    updated=1
    package=$(find_package)
    [ -n "$package" ] || package=$(find_default)
  fi
  [ -n "$package" ] || lack "no package linux-image-$version-cloud-amd64 in the configured sources"
  echo "nested machine: downloading $package" >&2
  rm -rf "$cache"/part.* # of one that was killed
  part=$(mktemp -d "$cache/part.XXXXXX")
  download() { (cd "$part" && apt-get download -qq "$package" >"$work/apt.log" 2>&1 9>&-); }
  # A list of last week names a file that is not there any more.
  download || { [ -z "$updated" ] && apt-get update -qq >/dev/null 2>&1 9>&- && package=$(find_package) && download; } ||
    { rm -rf "$part"; lack "$package cannot be downloaded: $(tail -1 "$work/apt.log")"; }
  mkdir "$part/root"
  dpkg -x "$part"/*.deb "$part/root"
  rm "$part"/*.deb
  mv -T "$part/root" "$kernel"
  rm -rf "$part"
fi
exec 9>&-
vmlinuz=${NESTED_VMLINUZ:-$(echo "$kernel"/boot/vmlinuz-*)}

# What the commands run of the project's tests.
programs() {
  while [ $# -gt 0 ]; do
    grep -o 'dist/test/[^ ]*\.js' "$1" || true
    shift 2
  done | sort -u
}

# An initramfs of what is in a folder.
pack() {
  (cd "$1" && find . | cpio -o -H newc --quiet) >"$2"
}

# The machine's own: busybox and the modules, in the order in which they need each other.
root=$work/root
mkdir -p "$root/bin" "$root/modules"
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$here/init" "$root/init"
chmod +x "$root/init"
: >"$root/modules/order"
[ -n "${NESTED_VMLINUZ:-}" ] || for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk \
  virtio_console irqbypass ccp kvm kvm-amd hwpoison-inject; do
  found=$(find "$kernel" -name "$module.ko*" | head -1)
  [ -n "$found" ] || continue # built in
  case $found in
    *.xz) xz -dc "$found" ;;
    *) cat "$found" ;;
  esac >"$root/modules/$module.ko"
  echo "$module.ko" >>"$root/modules/order"
done
pack "$root" "$work/initramfs"

# The disk: node with its libraries, busybox, the built project and what its tests import.
disk=$work/disk
mkdir -p "$disk"/{bin,dev,proc,sys,tmp,sbin,usr/bin,root,faultline,guest-kernels}
cp "$(command -v busybox)" "$disk/bin/busybox"
for applet in $(busybox --list); do
  [ "$applet" = busybox ] || ln -s busybox "$disk/bin/$applet"
done
node=$(readlink -f "$(command -v node)")
cp "$node" "$disk/usr/bin/node"
ldd "$node" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "$disk$(dirname "$library")"
  cp -L "$library" "$disk$library"
done
cp "$here/inside" "$disk/sbin/inside"
chmod +x "$disk/sbin/inside"
printf '#!/bin/sh\nexec node /faultline/dist/src/cli/main.js "$@"\n' >"$disk/bin/faultline"
chmod +x "$disk/bin/faultline"
tar -C "$project" -c --exclude='*.map' --exclude='*.d.ts' dist/{src,bench,test,guest-images} package.json README.md \
  guest-images schemas |
  tar -C "$disk/faultline" -x
# The programs are bundled, and threads of tests need koffi alone. tap is made one file of: loading its
# hundreds of modules would cost each test some five seconds in there.
modules=$(readlink -f "$project/node_modules")
tar -C "$(dirname "$modules")" -c --exclude='*.md' node_modules/koffi node_modules/@koromix | tar -C "$disk/faultline" -x
tap=$disk/faultline/node_modules/tap
jsx=$disk/faultline/node_modules/react-element-to-jsx-string
mkdir -p "$tap" "$jsx"
echo '{ "name": "tap", "type": "module", "exports": "./tap.js" }' >"$tap/package.json"
"$modules/.bin/esbuild" "$modules/tap/dist/esm/index.js" --bundle --platform=node --target=node20 --format=esm \
  --banner:js='import { createRequire as requireFrom } from "node:module"; const require = requireFrom(import.meta.url);' \
  --outfile="$tap/tap.js" --log-level=error
echo 'module.exports = () => "";' >"$jsx/index.js" # for differences of JSX, of which there are none
# shellcheck disable=SC2046
node "$project/dist/test/nested/bundle.js" "$disk/faultline" "${NESTED_MAPS:-$work/maps}" dist/src/cli/main.js \
  $(programs "$@")

# A Linux to boot inside, and an initramfs for it.
cp "$vmlinuz" "$disk/guest-kernels/vmlinuz"
if [ -e "$project/test/linux/initrd/init" ]; then
  guest=$work/guest
  mkdir -p "$guest"/{bin,proc,sys,dev,tmp}
  cp "$disk/bin/busybox" "$guest/bin/busybox"
  cp "$project/test/linux/initrd/init" "$guest/init"
  chmod +x "$guest/init"
  pack "$guest" "$disk/guest-kernels/initrd"
fi
for extra in ${NESTED_FILES:-}; do
  cp -r "$extra" "$disk/"
done
truncate -s 1500M "$work/disk.img"
mke2fs -q -t ext4 -O '^has_journal' -E lazy_itable_init=1 -d "$disk" "$work/disk.img"
rm -r "$disk" "$root"

# Each machine writes to a layer of its own over the disk.
count=0
consoles=()
all_results=()
while [ $# -gt 0 ]; do
  commands=$1
  results=$2
  shift 2
  count=$((count + 1))
  : >"$results"
  all_results+=("$results")
  consoles+=("$work/console-$count")
  dd if="$commands" of="$work/commands-$count" bs=4096 conv=sync status=none # a drive has whole sectors
  TMPDIR=$work setpriv --pdeathsig TERM timeout -k 2 "$seconds" \
    qemu-system-x86_64 -accel "${NESTED_ACCEL:-tcg}" -cpu EPYC,+svm,+npt -machine pc \
    -m "${NESTED_MEMORY:-1G}" -smp "${NESTED_CPUS:-1}" -nodefaults -display none -no-reboot \
    -kernel "$vmlinuz" -initrd "$work/initramfs" \
    -append 'console=ttyS0 panic=-1 quiet mitigations=off nokaslr' \
    -drive "file=$work/disk.img,format=raw,if=none,id=disk,snapshot=on" -device virtio-blk-pci,drive=disk \
    -drive "file=$work/commands-$count,format=raw,if=none,id=commands,readonly=on" \
    -device virtio-blk-pci,drive=commands \
    -device virtio-serial-pci -chardev "file,id=results,path=$results" -device virtserialport,chardev=results \
    -serial "file:$work/console-$count" ${NESTED_QEMU:-} </dev/null 2>"$work/qemu-$count" &
  machines+=($!)
done

failed=
for ((machine = 0; machine < count; machine++)); do
  status=0
  wait "${machines[machine]}" || status=$?
  name='machine'
  [ "$count" = 1 ] || name="machine $((machine + 1)) of $count"
  if [ "$status" = 124 ] || [ "$status" = 137 ]; then
    echo "nested machine: $name has not ended after $seconds s" >&2
  elif ! grep -aq '^nested: done' "${all_results[machine]}"; then
    echo "nested machine: $name ended early (QEMU's status $status)" >&2
    grep -v "TCG doesn't support" "$work/qemu-$((machine + 1))" >&2 || true
  else
    continue
  fi
  failed=1
  tail -n 20 "${consoles[machine]}" >&2 2>/dev/null || true
done
machines=()
[ -z "$failed" ]
}

main "$@"
