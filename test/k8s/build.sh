#!/bin/bash
# build.sh   Make the components of a Kubernetes node ready; nothing is done if they already are.
#
# Debian ships kubectl alone, but its source package has everything, vendored, and builds without a network. The
# mirror is the one this machine's own apt uses; apt checks the signatures. It takes 7 minutes on two idle cores, and
# goes on where it was interrupted. Result, in ${MESHTAP_K8S_CACHE:-~/.cache/meshtap-k8s}:
#   bin/        kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl
#   version     the source package's version
#   build.log   of the last build
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MESHTAP_K8S_CACHE:-$HOME/.cache/meshtap-k8s}
build=$cache/build
components=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

say() { echo "k8s: $*" >&2; }
fail() { say "$*"; exit 1; }

# A private apt that knows the sources of the machine's own suites; the machine's apt stays as it is.
fetch_source() {
  local apt=$build/apt
  mkdir -p "$apt"/{lists/partial,archives/partial,parts}
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(LABEL) $(REPO_URI) $(CODENAME) $(RELEASE)' 'Created-By: Packages' |
    awk '$1 ~ /^Debian/ { print "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $2, $NF, "main" }' |
    sort -u >"$apt/sources.list"
  [ -s "$apt/sources.list" ] || fail "this machine's apt has no source labelled Debian: Kubernetes is built from Debian's package"
  local options=(-o "Dir::Etc::sourceparts=$apt/parts" -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::State::lists=$apt/lists"
    -o APT::Sandbox::User=root -o APT::Update::Post-Invoke-Success= -o Acquire::Retries=3)
  apt-get -qq "${options[@]}" update >&2 || true # what counts is whether the package is found
  rm -rf kubernetes-*/
  apt-get -qq "${options[@]}" source kubernetes >>"$log" 2>&1 || fail "the source package of kubernetes could not be fetched, see $log"
  patch_reflect2
  touch source-is-ready
}

# The vendored reflect2 1.0.1 reads Go's maps by a layout that Go 1.18 changed: the API server faults on some lists.
patch_reflect2() {
  local vendored
  vendored=$(echo kubernetes-*/vendor/github.com/modern-go/reflect2)
  apt-get -qq download golang-github-modern-go-reflect2-dev >>"$log" 2>&1 || fail "golang-github-modern-go-reflect2-dev cannot be had, see $log"
  dpkg-deb -x golang-github-modern-go-reflect2-dev_*.deb reflect2
  rm "$vendored"/*.go
  cp reflect2/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$vendored/"
}

compile() {
  cd kubernetes-*/
  mkdir -p .go/src/k8s.io
  ln -sfn ../../.. .go/src/k8s.io/kubernetes
  export GOPATH=$PWD/.go CGO_ENABLED=0 PATH=/usr/lib/go/bin:$PATH
  make WHAT="${components[*]/#/cmd/}" >>"$log" 2>&1 || fail "the build failed, see the end of $log"
  mkdir -p "$cache/bin"
  local component
  for component in "${components[@]}"; do mv "_output/bin/$component" "$cache/bin/$component"; done
  dpkg-parsechangelog -S Version >"$cache/version.new"
}

# shellcheck source=packages.sh
. "$here/packages.sh"
install_k8s_packages "${K8S_PACKAGES[@]}" || fail 'installing packages failed, see above'
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock --nonblock 9 || { say 'somebody else is building, waiting'; flock 9; }
[ ! -e "$cache/version" ] || exit 0

start=$SECONDS log=$cache/build.log
say "building Kubernetes in $cache, once: 7 minutes on two idle cores; tail -f $log"
install_k8s_packages "${K8S_BUILD_PACKAGES[@]}" || fail 'installing packages failed, see above'
mkdir -p "$build"
cd "$build"
renice -n 19 $$ >/dev/null
: >"$log"
[ -e source-is-ready ] || fetch_source
compile
cd "$cache"
rm -rf build
mv version.new version
say "Kubernetes $(cat version) built in $((SECONDS - start)) s"
