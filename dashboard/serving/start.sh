#!/bin/sh
# Serve the runs in $RUNS to people who sign in. $SETTINGS holds secrets.toml and roles.toml.
set -eu
exec coupling dashboard "${RUNS:-/runs}" --address "${ADDRESS:-0.0.0.0}" --port "${PORT:-8501}" \
  --secrets "${SETTINGS:-/settings}/secrets.toml" --roles "${SETTINGS:-/settings}/roles.toml"
