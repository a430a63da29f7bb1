#!/bin/bash
# boot.sh STATE   The first process of the node: a machine within the machine, started by node.ts in namespaces of its
# own for mounts, processes, the network and the host's name. What runs there finds Kubernetes' usual paths, ports and
# kernel settings, and the machine around it sees none of that. All of it ends with this process.
set -euo pipefail
state=$1
# The proc that is still mounted tells our number outside.
read -r pid _ </proc/self/stat

mount -t proc proc /proc
mount --make-rshared / # the kubelet's mounts are to reach its containers
hostname meshtap-node

umount --recursive --lazy /run/netns 2>/dev/null || true # others may want to remove theirs
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$state"/{lib,log,settings}
mount --bind "$state/lib" /var/lib
mount --bind "$state/log" /var/log
mount -t bpf bpf /sys/fs/bpf # pinned programs are detached when the last process is gone

# What the kubelet wants the whole machine's kernel to do, it may write to files that look like the kernel's.
pretend() { # SYSCTL VALUE
  echo "$2" >"$state/settings/$1"
  mount --bind "$state/settings/$1" "/proc/sys/${1//.//}"
}
pretend vm.overcommit_memory 1
pretend vm.panic_on_oom 0
pretend kernel.panic 10
pretend kernel.panic_on_oops 1
pretend kernel.keys.root_maxkeys 1000000
pretend kernel.keys.root_maxbytes 25000000

ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo "$pid"
# Reaps orphans, as bash does while it waits.
sleep infinity &
wait
