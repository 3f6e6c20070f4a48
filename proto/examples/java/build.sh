#!/usr/bin/env bash
# Generates target/generated-sources from the contract, compiles, and copies the libraries to target/lib.
set -euo pipefail
cd "$(dirname "$0")"

mvn --batch-mode --quiet process-classes
