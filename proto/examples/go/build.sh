#!/usr/bin/env bash
# Generates the client from ../../commerce and builds the program `shop`.
set -euo pipefail
cd "$(dirname "$0")"
npx --yes @bufbuild/buf@1.75.0 generate
go build -o shop .
