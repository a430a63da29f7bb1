# shellcheck shell=bash
# Sourced: what a Kubernetes node needs from Debian, what building it needs, and a function that installs what is missing.
K8S_PACKAGES=(etcd-server containerd runc containernetworking-plugins iptables conntrack ipset dnsmasq-base iproute2 openssl prometheus nginx-light apache2-utils curl libbpf1)
K8S_BUILD_PACKAGES=(golang-go rsync make dpkg-dev jq)

install_k8s_packages() { # PACKAGE...
  local missing=() package policy=/usr/sbin/policy-rc.d
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  [ "$(id -u)" = 0 ] || { echo "not root, and these packages are missing: ${missing[*]}" >&2; return 1; }
  echo "k8s: installing ${missing[*]}" >&2
  # etcd and containerd are started by the harness, in its own directories, not by their packages.
  if [ ! -e "$policy" ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
  fi
  apt-get -qq update >&2 &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}
