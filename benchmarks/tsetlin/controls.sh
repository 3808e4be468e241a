#!/bin/sh
# Does the teacher help, do the clauses? Four arms, 3 seeds, a smaller size: 6 000 images, width 64, 2 blocks, 6 epochs of 64; ViT and
# Swin. The ViT's took 18 minutes on one of two busy cores. ONLY="vit" runs that alone.
# ONLY="swin-tuned": clauses and MLP each at the best of four settings by validation images, labels alone (1.7 minutes a seed).
. "$(dirname "$0")/settings.sh"
mnist_teacher
want() { [ -z "${ONLY:-}" ] || case " $ONLY " in *" $1 "*) true ;; *) false ;; esac }
SMALL="--dataset mnist data.train_limit=6000 --epochs 6 --batch-size 64 \
 --distill-teacher-checkpoint $TEACHER --distill-teacher-weight 1.0 --distill-teacher-temp 2.0 \
 arms=[kd,no-kd,clauses-off,mlp] --seeds 3"
# shellcheck disable=SC2086
{
    want vit && run controls-vit $SMALL --transformer-patch 4 --transformer-embed-dims 64 --transformer-layers 2 \
        --transformer-heads 4 --transformer-clauses 256
    want swin && run controls-swin $SMALL --transformer-arch swin --transformer-patch 4 --transformer-depths 1,1 \
        --transformer-stage-heads 2,4 --transformer-embed-dims 48,96 --transformer-mlp-ratio 3.0,3.0 --transformer-window 7
    TUNED="--dataset mnist data.train_limit=6000 --epochs 6 --batch-size 64 arms=[no-kd] --seeds 3 --transformer-arch swin --transformer-patch 4 \
 --transformer-depths 1,1 --transformer-stage-heads 2,4 --transformer-embed-dims 48,96 --transformer-mlp-ratio 3.0,3.0 --transformer-window 7"
    want swin-tuned && run swin-tuned-clauses $TUNED learning_rate=6e-3
    want swin-tuned && run swin-tuned-mlp $TUNED learning_rate=1.2e-2 model.transformer.feed_forward=mlp
    true
}
