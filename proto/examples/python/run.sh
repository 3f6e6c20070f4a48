#!/usr/bin/env bash
# Runs the program. Usage: ./run.sh PUBLIC ADMIN, each as HOST:PORT.
set -euo pipefail
cd "$(dirname "$0")"
export PYTHONPATH=gen
exec .venv/bin/python -u shop.py "$@"
