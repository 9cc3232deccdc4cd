#!/usr/bin/env bash
# Installs, on Debian and as root, the servers that the tests of this folder talk to, and the browser that looks at the pages. Prometheus 3 is not in every release: the
# newest one is unpacked beside the tests, from the same mirror, and installed nowhere.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export DEBIAN_FRONTEND=noninteractive

programs=(prometheus prometheus-alertmanager docker-compose redis-server chromium)
# Asked for several names, `command -v` is content with one.
for program in "${programs[@]}"; do
  command -v "$program" >/dev/null && continue
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${programs[@]}"
  break
done

if [ ! -x "$here/.prometheus-3/prometheus" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$here/.prometheus-3"
  # The machine's own mirror, another suite.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 'debian/*$')
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sid.list"
  apt=(apt-get -qq -o Dir::Etc::sourcelist="$work/sid.list" -o Dir::Etc::sourceparts=/nonexistent
    -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$work" && "${apt[@]}" download prometheus && dpkg -x prometheus_*.deb .)
  cp "$work/usr/bin/prometheus" "$here/.prometheus-3/"
fi
"$here/.prometheus-3/prometheus" --version 2>&1 | head -n1
