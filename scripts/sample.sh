#!/usr/bin/env bash
# Deploys the sample application and shows it answering, through its Service on every node.
set -euo pipefail
cd "$(dirname "$0")/.."
kubectl=$(scripts/kubectl.sh)

"$kubectl" apply -f examples/hello.yaml
"$kubectl" rollout status deployment/hello --timeout=60s
"$kubectl" get nodes -o wide
"$kubectl" get pods -A -o wide
port=$("$kubectl" get service hello -o jsonpath='{.spec.ports[0].nodePort}')
for address in $("$kubectl" get nodes -o jsonpath='{.items[*].status.addresses[?(@.type=="InternalIP")].address}'); do
  echo "http://$address:$port answers: $(curl -sS --max-time 5 --retry 5 --retry-connrefused "http://$address:$port/")"
done
cat <<EOF

Yours to use:   export KUBECONFIG=$KUBECONFIG
The end of it:  make down
EOF
