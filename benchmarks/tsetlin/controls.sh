#!/bin/sh
# Does the teacher help, do the clauses? Four arms, 3 seeds, a smaller size: 12 000 images, width 64, 2 blocks, 4 epochs; ViT and
# Swin. About 2 hours on one core.
. "$(dirname "$0")/settings.sh"
mnist_teacher
SMALL="--dataset mnist --train-limit 12000 --epochs 4 --batch-size 128 --lr 4e-3 --transformer-dropout 0 --transformer-drop-path 0 \
 --distill-teacher-checkpoint $TEACHER --distill-teacher-weight 1.0 --distill-teacher-temp 2.0 \
 --arms kd no-kd clauses-off mlp --seeds 3"
# shellcheck disable=SC2086
run controls-vit $SMALL --transformer-patch 4 --transformer-embed-dims 64 --transformer-layers 2 --transformer-heads 4 \
    --transformer-clauses 256 --no-transformer-use-cls --transformer-pool mean
# shellcheck disable=SC2086
run controls-swin $SMALL --transformer-arch swin --transformer-patch 4 --transformer-depths 1,1 \
    --transformer-stage-heads 2,4 --transformer-embed-dims 48,96 --transformer-mlp-ratio 3.0,3.0 --transformer-window 7
