#!/usr/bin/env bash
# Installs the packages into .venv and generates the client from ../../commerce into gen.
set -euo pipefail
cd "$(dirname "$0")"
[ -d .venv ] || python3 -m venv .venv
.venv/bin/pip install --quiet --requirement requirements.txt
rm -rf gen
mkdir gen
mapfile -t protos < <(find ../../commerce -name '*.proto')
.venv/bin/python -m grpc_tools.protoc --proto_path=../.. \
  --python_out=gen --pyi_out=gen --grpc_python_out=gen "${protos[@]}"
