#!/usr/bin/env bash
# Calls a running shop by gRPC-Web from a page in Chromium: run.sh PUBLIC_URL [PAGE_ORIGIN]
#
#   PUBLIC_URL   the shop's public listener, such as http://127.0.0.1:50051
#   PAGE_ORIGIN  where the page is served, an origin that web.allowed_origins has: http://localhost:8090
#
# CHROMIUM names the browser. Needs Node 20 or newer and, the first time, npm's registry; all versions are pinned in
# package-lock.json. Ends with 0 when all is well, 1 when not, 2 when it was called wrongly, and 3 when Node or Chromium is
# missing.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
shop=${1%/} origin=${2:-${PAGE_ORIGIN:-http://localhost:8090}}
cd "$(dirname "$0")"

# first NAMES...: the first program there is.
first() {
  local name
  for name; do
    command -v "$name" && return
  done
  printf 'left out: there is no %s\n' "$1" >&2
  exit 3
}

node=$(first node)
npm=$(first npm)
chromium=${CHROMIUM:-$(first chromium chromium-browser google-chrome)}

# Only when the lock file is newer than what is there.
if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
  "$npm" ci --ignore-scripts --no-audit --no-fund --silent
fi
rm -rf gen
node_modules/.bin/buf generate
exec "$node" test.js "$shop" "$origin" "$chromium"
