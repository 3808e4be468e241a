#!/bin/sh
# Flat machines on hard bits: MNIST (aim 98.5 %), Fashion-MNIST raw (aim 91 %) and with boolean features (aim 93 %), each beside the
# same network without clauses and with an MLP. FEATURES=0 leaves out the boolean features (0.45 GB on disk, hours on one core).
. "$(dirname "$0")/settings.sh"
FLAT="--models tm --tm-n-clauses 2000 --batch-size 128 --lr 1e-2 --epochs 20 --transformer-ema-decay 0.999"
# shellcheck disable=SC2086
{
    run flat-mnist --dataset mnist $FLAT --arms no-kd clauses-off mlp --bitpack
    run flat-fashion --dataset fashion-mnist $FLAT --tm-levels 3 --arms no-kd clauses-off mlp
    [ "${FEATURES:-1}" = 0 ] || run flat-fashion-conv --dataset fashion-mnist $FLAT --tm-n-clauses 512 --tm-feature-mode conv \
        --tm-feature-cache "$OUT/features" --tm-literals 200 --tm-lf 64 --arms no-kd clauses-off
}
