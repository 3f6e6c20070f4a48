#!/usr/bin/env bash
# Installs what package-lock.json names, generates src/gen from the contract and compiles.
set -euo pipefail
cd "$(dirname "$0")"

npm ci --no-audit --no-fund
npm run generate
npm run build
