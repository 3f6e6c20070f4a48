#!/usr/bin/env bash
# Generates gen/ from the protos and builds the program ./seat. Needs Go, Python 3.9 or newer (for protoc), and a network
# or full caches the first time. All versions are pinned: go.mod, go.sum, ../python/requirements.txt.
set -euo pipefail
cd "$(dirname "$0")"
protos=../../../../proto
tools=$PWD/.build
mkdir -p "$tools" gen

# protoc, as grpcio-tools has it; the plug-ins, as go.mod names them.
if ! "$tools/venv/bin/python" -c 'import grpc_tools' 2>/dev/null; then
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r ../python/requirements.txt
fi
GOBIN=$tools go install tool

saga=seat/gen/saga travel=seat/gen/travel
options=module=seat
for file in options step participant; do
  options+=,Mcommerce/saga/v1/$file.proto=$saga
done
options+=,Mtravel/v1/seat_participant_service.proto=$travel

PATH=$tools:$PATH "$tools/venv/bin/python" -m grpc_tools.protoc -I "$protos" -I ../proto \
  --go_out=. --go_opt="$options" --go-grpc_out=. --go-grpc_opt="$options" \
  commerce/saga/v1/{options,step,participant}.proto travel/v1/seat_participant_service.proto

CGO_ENABLED=0 go build -o seat .
