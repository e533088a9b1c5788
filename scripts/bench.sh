#!/usr/bin/env bash
# Measures a cluster made for it: start of Pods, memory of every component, reads and writes.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$PWD/$1 images=$PWD/$2 name=bench

"$program" down --name "$name" >/dev/null 2>&1 || true
trap '"$program" down --name "$name"' EXIT
"$program" up --name "$name" --nodes 3 --images "$images"
KUBECONFIG=$("$program" kubeconfig --name "$name" --path)
export KUBECONFIG

# Resident and proportional memory in MB of each process of the cluster's components.
memory() {
  local pid
  for pid in $(pgrep -f '^(/ironclad (kube-|dns)|kubelet kubelet )'); do
    grep -q "/ironclad/$name/" "/proc/$pid/cgroup" || continue
    awk -v name="$(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -d' ' -f2)" \
      '/^Rss:/ {rss = $2} /^Pss:/ {pss = $2} END {printf "%-26s %6.1f %6.1f\n", name, rss / 1024, pss / 1024}' \
      "/proc/$pid/smaps_rollup"
  done | sort
}

echo; echo "Start of a Pod"; "$program" bench pods
echo; printf '%-26s %6s %6s\n' "IDLE MEMORY (MB)" RSS PSS; memory
echo; echo "Reads and writes"; "$program" bench api
echo; printf '%-26s %6s %6s\n' "LOADED MEMORY (MB)" RSS PSS; memory | grep kube-apiserver
