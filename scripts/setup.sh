#!/usr/bin/env bash
# Makes a fresh clone ready: system packages, npm packages, build, mounts. Does nothing that is done already, so it
# runs before every `npm start` and `npm test`. With --test also what the tests need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }
say() { printf 'setup: %s\n' "$*" >&2; }

with_tests=false
case "${1-}" in
  '') ;;
  --test) with_tests=true ;;
  *) fail "usage: $0 [--test]" ;;
esac

# libbpf at run time; the rest compiles the kernel programs.
packages=(libbpf1 clang llvm libbpf-dev linux-libc-dev)
if $with_tests; then
  # shellcheck source=../test/vm/packages.sh
  . test/vm/packages.sh
  packages+=(libclang-rt-dev bpftool nginx-light wrk apache2-utils nghttp2-client nghttp2-server prometheus iproute2 nftables curl wget openssl
    chromium procps dnsmasq-base bind9-dnsutils python3-grpcio python3-hpack "${VM_PACKAGES[@]}")
fi

check_machine() {
  [ "$(uname -s)" = Linux ] || fail "meshtap runs on Linux, this is $(uname -s)."
  local kernel
  kernel=$(uname -r)
  [ "$(printf '%s\n' 5.10 "$kernel" | sort -V | head -n 1)" = 5.10 ] ||
    fail "meshtap needs Linux 5.10 or newer, this is $kernel."
  [ "$(id -u)" = 0 ] || fail "loading eBPF programs takes root, and this is user $(id -un). Run it again as root."
  command -v node >/dev/null && command -v npm >/dev/null || fail 'Node.js 20.19 or newer and npm are missing.'
  node -e 'const [a, b] = process.versions.node.split("."); process.exit(+a > 20 || (+a === 20 && +b >= 19) ? 0 : 1)' ||
    fail "meshtap needs Node.js 20.19 or newer, this is $(node --version)."
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

install_packages() {
  local missing policy=/usr/sbin/policy-rc.d
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    other_distribution
    return
  fi
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  # Servers that tests start themselves should not be started by their packages.
  if [ ! -e "$policy" ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >/dev/null || fail 'apt-get update failed, see above.'
  apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get could not install ${missing[*]}, see above."
}

# Without apt: what is needed, by what it is for. Go on if it is all there.
other_distribution() {
  local missing=() tool
  ldconfig -p 2>/dev/null | grep -q 'libbpf\.so\.1 ' || missing+=('libbpf.so.1 (libbpf 1.1 or newer)')
  for tool in clang llvm-strip; do command -v $tool >/dev/null || missing+=("$tool (14 or newer)"); done
  [ -e /usr/include/bpf/bpf_helpers.h ] || missing+=('bpf/bpf_helpers.h (headers of libbpf)')
  [ -e /usr/include/linux/bpf.h ] || missing+=('linux/bpf.h (headers of the kernel)')
  [ ${#missing[@]} = 0 ] ||
    fail 'this is not Debian or one of its family, so these are yours to install:' "${missing[@]/#/  }"
}

install_modules() {
  # npm writes the hidden lock file last.
  [ -e node_modules/.package-lock.json ] && [ ! package-lock.json -nt node_modules/.package-lock.json ] && return
  say 'installing npm packages'
  npm ci --include=dev --silent --no-progress >&2 || fail 'npm ci failed; try it by hand to see why.'
}

# Whether any source is newer than what was built from it, or nothing was built.
stale() { # BUILT SOURCES...
  local built=$1
  shift
  [ ! -e "$built" ] || [ -n "$(find "$@" -newer "$built" -print -quit)" ]
}

build() {
  local source
  for source in bpf-src/*.bpf.c; do
    stale "bpf/x64/$(basename "${source%.c}").o" bpf-src scripts/build-bpf.sh || continue
    say 'building the kernel programs'
    npm run --silent build:bpf >&2 || fail 'building the kernel programs failed, see above.'
    break
  done
  if stale dist/cli/main.js src package.json scripts/build-page.sh tsconfig.json tsconfig.build.json tsconfig.page.json; then
    say 'building the agent'
    npm run --silent build:ts >&2 || fail 'building the agent failed, see above.'
  fi
}

mounts() {
  if ! grep -q ' cgroup2 ' /proc/mounts; then
    { mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified; } ||
      fail 'no cgroup v2 hierarchy is mounted, and mounting one at /sys/fs/cgroup/unified was refused.'
  fi
  if ! grep -q ' bpf ' /proc/mounts; then
    mount -t bpf bpf /sys/fs/bpf || fail 'no bpffs is mounted, and mounting one at /sys/fs/bpf was refused.'
  fi
}

check_machine
install_packages
install_modules
build
mounts
