#!/bin/sh
# The documents' sweep (patch size x clauses) on Tiny ImageNet from an EfficientNet-Lite0, then one run of each other student.
# tiny_imagenet.sh OUT, the folder that `python -m benchmarks.tsetlin.tiny_imagenet` wrote. EPOCHS, BIN, PYTHON.
set -eu
out=${1:-$OUT}
common="--dataset-root $out/images --epochs ${EPOCHS:-3} --batch-size 64 --distill-teacher-timm efficientnet_lite0
 --distill-teacher-checkpoint $out/efficientnet_lite0.pth --distill-teacher-weight 1 --tm-target-size 64 --threads 1 --quiet teacher.head=probe"
# shellcheck disable=SC2086
"${PYTHON:-.venv/bin/python}" -m fptm_ste.imagenet_sweeps --out "$out/sweep" --patches 8,16 --drop-paths 0.1 --clauses 128,256 $common \
    --transformer-layers 2 --transformer-heads 3
for model in tm hybrid pyramid_tm resnet_tm deep_tm swin_tm; do
    # shellcheck disable=SC2086
    "${BIN:-.venv/bin/stillhouse}" vision --dataset folder --models $model --out "$out/$model" \
        --label-smoothing 0.1 $([ -d "$out/$model" ] && echo --resume) $common
done
