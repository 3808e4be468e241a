#!/bin/sh
# MNIST, patch 4, width 96, 4 blocks, 3 heads, 256 clauses, batch 64, 3 epochs, no teacher, one seed; resumable.
set -eu
cd "$(dirname "$0")/.."
BIN=.venv/bin/stillhouse
ROOT=${DATA:+--data-root $DATA}
# shellcheck disable=SC2086
if [ -f runs/mnist-documented/run.json ]; then $BIN distill mnist-documented $ROOT --resume; else $BIN distill mnist-documented $ROOT; fi
