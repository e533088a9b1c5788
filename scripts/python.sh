#!/usr/bin/env bash
# Prints the path of a python that has the official Kubernetes client, in an environment of its own
# under out/python.
set -euo pipefail
cd "$(dirname "$0")/.."

own=$PWD/out/python
if ! "$own/bin/python" -c 'import kubernetes' 2>/dev/null; then
  rm -rf "$own"
  python3 -m venv "$own" >&2
  "$own/bin/pip" install --quiet --disable-pip-version-check 'kubernetes>=35' >&2
fi
echo "$own/bin/python"
