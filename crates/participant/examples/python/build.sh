#!/usr/bin/env bash
# Makes the virtual environment .venv/ and generates gen/ from the protos. Needs Python 3.9 or newer, and a network or a full
# cache the first time. All versions are pinned in requirements.txt. Then: .venv/bin/python seat.py
set -euo pipefail
cd "$(dirname "$0")"
protos=../../../../proto
if ! .venv/bin/python -c 'import grpc_tools, grpc_reflection' 2>/dev/null; then
  python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
fi
mkdir -p gen
.venv/bin/python -m grpc_tools.protoc -I "$protos" -I ../proto --python_out=gen --grpc_python_out=gen \
  commerce/saga/v1/{options,step,participant}.proto travel/v1/seat_participant_service.proto
