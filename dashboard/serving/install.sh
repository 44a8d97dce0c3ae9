#!/bin/sh
# Install the dashboard into a new environment: install.sh FOLDER. Run it in the repository's root.
# TORCH_INDEX: a further package index, with torch for CPU alone; empty: torch as the usual index has it.
set -eu
folder=$1
python3 -m venv "$folder"
install="$folder/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir -c constraints.txt"
$install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
$install ".[signin,postgresql,peft]"
mkdir -p "$folder/serving"
cp dashboard/serving/start.sh dashboard/serving/health.sh "$folder/serving/"
