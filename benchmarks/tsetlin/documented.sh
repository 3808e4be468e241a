#!/bin/sh
# The documented MNIST commands at their sizes, 60 000 images, test read once. Numbers are those of docs/reproduction.md.
# Minutes on one of two busy cores: 1: 9, 2: 26, 4: 4, 5: 15.
# ONLY="01 04" runs those alone. Then: python benchmarks/tsetlin/table.py runs/tsetlin
. "$(dirname "$0")/settings.sh"
mnist_teacher
want() { [ -z "${ONLY:-}" ] || case " $ONLY " in *" $1 "*) true ;; *) false ;; esac }

BASE="--dataset mnist --models transformer --transformer-arch vit --transformer-backend ste"
ENHANCED="--label-smoothing 0.1 --tm-prior-template symmetric --transformer-ff-gate geglu --transformer-ff-mix linear_depthwise \
 --transformer-bitwise-mix --transformer-learnable-tau --transformer-tau-ema 0.9 --transformer-clause-attention \
 --transformer-clause-routing --transformer-bypass --transformer-bypass-scale 0.5 --transformer-clause-drop 0.1 \
 --transformer-literal-drop 0.05 --transformer-sparsity-weight 0.01 --transformer-clause-bias 0.05 --transformer-norm rmsnorm \
 --transformer-aux-weight 0.05 --mixup-alpha 0.2 --cutmix-alpha 0.2 --lr 7e-4 --min-lr 1e-5 --warmup-epochs 1 \
 --lr-layer-decay 0.85 --gradient-centralize --transformer-ema-decay 0.995 --transformer-auto-clause --report-epoch-test"
KD="--distill-teacher-checkpoint $TEACHER --distill-teacher-weight 0.5 --distill-teacher-temp 2.0"

# shellcheck disable=SC2086
{
    want 01 && run 01-baseline $BASE --transformer-patch 4 --epochs 3 --batch-size 64 --test-batch-size 128
    want 02 && run 02-enhanced $BASE --transformer-patch 4 --epochs 3 --batch-size 64 --test-batch-size 128 $ENHANCED \
        --transformer-auto-clause-batches 4
    want 03 && run 03-smoke $BASE --transformer-patch 4 --epochs 1 --batch-size 64 --test-batch-size 128 $ENHANCED \
        --transformer-d-model 32 --transformer-layers 1 --transformer-heads 2 --transformer-mlp-ratio 2.0 \
        --transformer-drop-path 0.05 --transformer-drop-path-schedule cosine --mixup-schedule cosine \
        --cutmix-schedule cosine --lr-cycle-steps 50 --transformer-self-distill-weight 0.5 \
        --transformer-self-distill-temp 2.0 --transformer-contrastive-weight 0.1 --transformer-contrastive-temp 0.2 \
        --transformer-auto-clause-batches 2
    want 04 && run 04-kd-vit $BASE --transformer-patch 4 --transformer-embed-dims 64 --transformer-layers 1 \
        --transformer-heads 4 --transformer-mlp-ratio 3.0 --epochs 1 --batch-size 512 --test-batch-size 512 \
        --tm-target-size 64 64 $KD --transformer-save-path "$OUT/mnist_vit_tm_distilled.pth"
    want 05 && run 05-kd-swin --dataset mnist --models transformer --transformer-arch swin --transformer-backend ste \
        --transformer-patch 2 --transformer-depths 1,1 --transformer-stage-heads 2,4 --transformer-embed-dims 48,96 \
        --transformer-mlp-ratio 3.0,3.0 --transformer-window 4 --epochs 1 --batch-size 512 --test-batch-size 512 \
        --tm-target-size 64 64 $KD --transformer-save-path "$OUT/mnist_swin_tm_distilled.pth"
    want 10 && run 10-patch-2 $BASE --transformer-patch 2 --epochs 10 --batch-size 256
    want 11 && run 11-overlays $BASE --transformer-patch 4 --transformer-embed-dims 64 --transformer-layers 1 \
        --transformer-heads 4 --transformer-mlp-ratio 3.0 --epochs 1 --batch-size 16 --test-batch-size 64 \
        --transformer-use-cls --transformer-pool cls --visualize-overlays "$OUT/vit_tm_overlays" \
        --visualize-samples 4 --visualize-topk 3
    want 13 && run 13-packed --dataset mnist --models tm --epochs 5 --batch-size 256 training.log_every=20 output.bitpack=true
    true
}
