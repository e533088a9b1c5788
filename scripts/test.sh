#!/usr/bin/env bash
# Runs every test: pure, in-process and, on a three-node cluster made for them, end to end.
set -euo pipefail
cd "$(dirname "$0")/.."
export IRONCLAD_BIN=$PWD/$1 IRONCLAD_IMAGES=$PWD/$2 IRONCLAD_E2E=e2e
KUBECTL=$(scripts/kubectl.sh)
PYTHON=$(scripts/python.sh)
export KUBECTL PYTHON

"$IRONCLAD_BIN" down --name "$IRONCLAD_E2E" >/dev/null 2>&1 || true
"$IRONCLAD_BIN" up --name "$IRONCLAD_E2E" --nodes 3 --images "$IRONCLAD_IMAGES"
trap '"$IRONCLAD_BIN" down --name "$IRONCLAD_E2E"' EXIT
cargo nextest run --workspace --locked --profile ci
