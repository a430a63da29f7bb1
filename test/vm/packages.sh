# shellcheck shell=bash
# Sourced: what the virtual machines need from Debian, and a function that installs what is missing of it.
VM_PACKAGES=(qemu-system-x86 qemu-system-common busybox-static cpio lz4 zstd xz-utils)

install_vm_packages() {
  local missing=() package
  for package in "${VM_PACKAGES[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  [ "$(id -u)" = 0 ] || { echo "not root, and these packages are missing: ${missing[*]}" >&2; return 1; }
  echo "installing ${missing[*]}" >&2
  apt-get -qq update >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
}
