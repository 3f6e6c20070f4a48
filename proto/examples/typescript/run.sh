#!/usr/bin/env bash
# Runs the example against a running system: run.sh PUBLIC ADMIN, each HOST:PORT.
set -euo pipefail
cd "$(dirname "$0")"

exec node dist/example.js "$@"
