#!/bin/sh
# Is DeepTM more accurate than STE, as the documents say? At equal parameters (by the clauses of the STE net) and at equal time (by its
# epochs), 3 seeds, 6 000 MNIST images (LIMIT), width 64, 2 blocks. With LIMIT=3000 11 minutes on a busy core. Parameters and seconds are in results.json: adjust
# CLAUSES and EPOCHS if they are not within 5 % on your machine.
. "$(dirname "$0")/settings.sh"
CLAUSES=${CLAUSES:-428}
EPOCHS=${EPOCHS:-10}
LIMIT=${LIMIT:-6000}
NET="--dataset mnist data.train_limit=$LIMIT --batch-size 64 --transformer-patch 4 --transformer-embed-dims 64 \
 --transformer-layers 2 --transformer-heads 4 --seeds 3"
# shellcheck disable=SC2086
{
    run deep --transformer-backend deeptm --transformer-clauses 128 --epochs 5 $NET
    run ste-equal-parameters --transformer-backend ste --transformer-clauses "$CLAUSES" --epochs 5 $NET
    run ste-equal-time --transformer-backend ste --transformer-clauses 128 --epochs "$EPOCHS" $NET
}
