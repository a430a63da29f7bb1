#!/bin/bash
# fetch.sh NAME PACKAGE SUITE...   Make kernel NAME ready to boot; nothing is done if it already is.
#
# NAME is a version such as 6.1, which takes PACKAGE's newest 6.1.x in the suites, or any other word, which
# takes PACKAGE's newest version of all. The exact version is resolved now: archives drop old ones.
# The mirror is the one this machine's own apt uses; apt checks the signatures. Result, in
# ${MESHTAP_VM_CACHE:-~/.cache/meshtap-vm}/kernels/NAME:
#   release     the kernel's release, as uname -r prints it
#   kernel      what QEMU boots
#   lib/modules/RELEASE   its modules, unpacked and indexed
#   initramfs   busybox, the modules that mounting the shared root needs, and guest/init
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MESHTAP_VM_CACHE:-$HOME/.cache/meshtap-vm}
name=$1 metapackage=$2
shift 2
suites=("$@")
target=$cache/kernels/$name

fail() { echo "fetch.sh: kernel $name: $*" >&2; exit 1; }

# The address of the machine's own source with that label ("Debian", "Debian-Security").
mirror() {
  apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
    awk -v label="$1" '$1 == label { uri = $2 } END { print uri }'
}

# A private apt: its own sources, lists and cache, so that the machine's stay as they are.
write_apt_configuration() {
  local apt=$work/apt suite label uri
  mkdir -p "$apt"/{lists/partial,archives/partial,sources}
  : >"$apt/status"
  for suite in "${suites[@]}"; do
    case $suite in *-security) label=Debian-Security ;; *) label=Debian ;; esac
    uri=$(mirror $label)
    [ -n "$uri" ] || { apt-get -qq update >&2 && uri=$(mirror $label); } # labels come with the lists
    [ -n "$uri" ] || fail "this machine's apt has no source labelled $label"
    cat >>"$apt/sources/kernels.sources" <<EOF
Types: deb
URIs: $uri
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

EOF
  done
  cat >"$apt/apt.conf" <<EOF
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/sources";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Architecture "amd64";
APT::Sandbox::User "root";
APT::Update::Post-Invoke-Success "";
EOF
  export APT_CONFIG=$apt/apt.conf
}

dependencies() { apt-cache show "$1" | sed -n 's/^Depends: //p' | tr ',' '\n' | awk '{print $1}'; }

# The real package behind the metapackage, and what it was split into from 6.19 on.
resolve_packages() {
  local prefix='' version image
  case $name in [0-9]*) prefix=$name. ;; esac
  # madison lists a package's versions newest first
  version=$(apt-cache madison "$metapackage" | awk -v p="$prefix" 'index($3, p) == 1 && !n++ { print $3 }')
  [ -n "$version" ] || fail "no $metapackage $prefix* in ${suites[*]}"
  image=$(dependencies "$metapackage=$version" | grep '^linux-image-[0-9]') || fail "$metapackage $version has no image"
  packages=("$image")
  mapfile -t -O 1 packages < <(dependencies "$image" | grep -E '^linux-(base|binary|modules)-[0-9]')
}

# A bzImage wraps a compressed ELF kernel. Unwrapped, QEMU starts it directly (PVH): no BIOS, and no unpacking
# at the emulator's pace. Offsets: Linux, Documentation/arch/x86/boot.rst (setup_sects, payload_offset, _length).
unwrap_kernel() {
  local sectors offset length
  sectors=$(od -An -tu1 -j 0x1f1 -N 1 "$1")
  read -r offset length < <(od -An -tu4 -j 0x248 -N 8 "$1")
  dd if="$1" of=payload bs=1M iflag=skip_bytes,count_bytes status=none \
    skip=$(((sectors + 1) * 512 + offset)) count="$length"
  # each complains about the four bytes of length that follow the stream: the ELF magic is the test
  case $(od -An -tx1 -N 4 payload) in
    ' fd 37 7a 58') xz -dc --single-stream ;;
    ' 28 b5 2f fd') zstd -dcq ;;
    ' 02 21 4c 18') lz4 -dc ;;
    ' 1f 8b '*) gzip -dc ;;
  esac <payload >"$2" 2>/dev/null || true
  [ "$(head -c 4 "$2")" = $'\x7fELF' ] || cp "$1" "$2"
  rm payload
}

# Copies a module and, before it, what it depends on; their order of loading goes into initramfs/order.
add_module() {
  local path=$1 file dependency
  file=$(basename "$path")
  [ -e "root/$file" ] && return
  for dependency in $(sed -n "s|^$path:||p" "lib/modules/$release/modules.dep"); do add_module "$dependency"; done
  cp "lib/modules/$release/$path" "root/$file"
  echo "$file" >>root/order
}

build_initramfs() {
  local module path
  rm -rf root
  mkdir -p root/{bin,proc,sys,dev,lower,upper,new}
  cp "$(command -v busybox)" root/bin/busybox
  install -m 755 "$here/guest/init" root/init
  : >root/order
  for module in virtio_pci virtio_console virtiofs overlay; do # those not listed are built in
    path=$(grep -oE "^[^:]*/$module\.ko" "lib/modules/$release/modules.dep" || true)
    [ -z "$path" ] || add_module "$path"
  done
  (cd root && find . | cpio --quiet -o -H newc) >initramfs.new
  mv initramfs.new initramfs
  rm -r root
}

. "$here/packages.sh"
install_vm_packages
mkdir -p "$cache/kernels"
exec 9>"$cache/kernels/.lock"
flock 9

if [ ! -e "$target/release" ]; then
  work=$(mktemp -d "$cache/kernels/.fetch-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  cd "$work"
  write_apt_configuration
  # one of several suites may have left the mirror: what counts is whether the kernel is found
  apt-get -qq update >&2 || true
  resolve_packages
  for package in "${packages[@]}"; do
    # a backport's linux-base may be gone before its image is; only the files are needed
    apt-get -qq download "$package" >&2 || [ "${package#linux-base}" != "$package" ] || fail "$package cannot be had"
  done
  for deb in *.deb; do dpkg-deb -x "$deb" tree; done
  mkdir lib
  mv tree/lib/modules lib/modules 2>/dev/null || mv tree/usr/lib/modules lib/modules
  release=$(basename lib/modules/*)
  find lib -name '*.ko.xz' -exec xz -d -q {} +
  busybox depmod -b "$work" "$release"
  unwrap_kernel "$(find tree/boot lib/modules/* -maxdepth 1 -name 'vmlinuz*' -type f 2>/dev/null)" kernel
  echo "$release" >release
  rm -rf tree apt ./*.deb "$target"
  chmod 755 .
  mv "$work" "$target"
  echo "kernel $name: $release (${packages[0]})" >&2
fi

if [ ! "$target/initramfs" -nt "$here/guest/init" ]; then
  cd "$target"
  release=$(cat release)
  build_initramfs
fi
