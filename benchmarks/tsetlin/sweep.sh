#!/bin/sh
# The documents' sweep (patch size x drop-path x clauses), with a teacher, which their script did not take. DATASET, TEACHER_FLAGS, EPOCHS.
. "$(dirname "$0")/settings.sh"
for patch in ${PATCHES:-4 8}; do
    for drop in ${DROPS:-0.1 0.2 0.3}; do
        for clauses in ${CLAUSES:-384 576 768}; do
            # shellcheck disable=SC2086
            run "sweep/patch${patch}_drop${drop}_clauses${clauses}" --dataset "${DATASET:-cifar10}" --epochs "${EPOCHS:-300}" \
                --batch-size 256 --transformer-backend deeptm --transformer-patch "$patch" --transformer-drop-path "$drop" \
                --transformer-clauses "$clauses" --mixup-alpha 0.8 --cutmix-alpha 1.0 --randaugment --label-smoothing 0.1 \
                --transformer-residual-attn data.augment=crop-flip ${TEACHER_FLAGS:-}
        done
    done
done
