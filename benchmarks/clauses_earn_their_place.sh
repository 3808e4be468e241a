#!/bin/sh
# MNIST, width 64, 2 blocks, 3 epochs, 3 seeds: kd, no-kd, clauses-off, mlp. About 45 minutes on one core; resumable.
set -eu
cd "$(dirname "$0")/.."
BIN=.venv/bin/stillhouse
ROOT=${DATA:+--data-root $DATA}
# shellcheck disable=SC2086
[ -f runs/mnist-teacher/teacher.safetensors ] || $BIN train-teacher mnist-teacher $ROOT --resume
# shellcheck disable=SC2086
if [ -f runs/mnist/run.json ]; then $BIN distill mnist $ROOT --resume; else $BIN distill mnist $ROOT; fi
