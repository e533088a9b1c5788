#!/usr/bin/env bash
# Installs from the distribution what a cluster (`run`) and its tests (`test`) need and this
# machine lacks; does nothing, and needs no network, when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A package=(
  [containerd]=containerd [ctr]=containerd [runc]=runc [nft]=nftables [gcc]=gcc
  [iptables]=iptables [/usr/lib/cni/bridge]=containernetworking-plugins
  [busybox]=busybox-static [curl]=curl [xz]=xz-utils [ip]=iproute2 [pgrep]=procps
  # The store of several control planes.
  [etcd]=etcd-server [etcdctl]=etcd-client
)
if [[ ${1:-run} == test ]]; then
  package+=([python3]=python3 [docker-registry]=docker-registry)
fi
if [[ ${1:-run} == test ]]; then
  # A member of etcd ends with its test.
  package+=([setpriv]=util-linux)
  # Nodes with disks of their own.
  package+=([mkfs.ext4]=e2fsprogs)
  # Hosts of their own, with services as real ones have.
  package+=([/lib/systemd/systemd]=systemd [nsenter]=util-linux [sysctl]=procps)
fi
missing=()
for program in "${!package[@]}"; do
  command -v "$program" >/dev/null 2>&1 || missing+=("${package[$program]}")
done
if ! file -L "$(command -v busybox)" 2>/dev/null | grep -q static && ! dpkg -s busybox-static >/dev/null 2>&1; then
  missing+=(busybox-static)
fi
if [[ ${1:-run} == test ]] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  missing+=(python3-venv)
fi
if ((${#missing[@]})); then
  echo "installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
# A cluster brings its own containerds; the one that the package starts is not needed for it.

scripts/kubectl.sh >/dev/null
if [[ ${1:-run} == test ]]; then
  scripts/python.sh >/dev/null
  cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
fi
