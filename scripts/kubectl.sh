#!/usr/bin/env bash
# Prints the path of a kubectl of version 1.32 or later: the one on the PATH, or the one of
# Debian's next release, a static file that is unpacked to out/bin.
set -euo pipefail
cd "$(dirname "$0")/.."

recent() {
  local minor
  minor=$("$1" version --client -o json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -n 1)
  [[ ${minor:-0} -ge 32 ]]
}

if found=$(command -v kubectl) && recent "$found"; then
  echo "$found"
  exit
fi
own=$PWD/out/bin/kubectl
if [[ ! -x $own ]] || ! recent "$own"; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  touch "$work/status"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" out/bin
  # A machine has sources in one of the two places; grep complains of the other.
  mirror=$( (grep -rhoE 'https?://[^ ]*/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null || true) |
    head -n 1 | tr -d ' ')
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} trixie main" >"$work/sources.list"
  options=(-qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
    -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update >&2
  (cd "$work" && apt-get "${options[@]}" download kubectl >&2)
  dpkg-deb -x "$work"/kubectl_*.deb "$work/root"
  install -m 755 "$work/root/usr/bin/kubectl" "$own"
fi
echo "$own"
