#!/bin/sh
# Trained clauses as logic: a flat machine, a deep one and a TM-ViT on MNIST, exported to every target that they have; each file is
# run after it was written and its answers on the 10 000 test images are held against torch's. Then both machines as hardware (proof,
# 10 000 images in Icarus Verilog, synthesis within 15 minutes), and the ViT end to end. What is done already is not done again.
#   DATA=folder-of-torchvision-MNIST OUT=runs/logic sh benchmarks/logic/trained.sh
set -eu
OUT=${OUT:-runs/logic}
HERE=$(dirname "$0")
for kind in flat deep vit; do
    [ -f "$OUT/$kind/summary.json" ] ||
        stillhouse distill "$HERE/students/$kind.yaml" data.root="$DATA" --out "$OUT/$kind" --resume
done
for kind in flat deep; do
    for target in packed c wasm json numpy; do
        [ -e "$OUT/$kind.$target" ] || stillhouse export "$OUT/$kind" --to $target --out "$OUT/$kind.$target" --data-root "$DATA"
    done
done
for kind in flat deep; do  # a word of the machine between two layers is simulated an image at a time: fewer side by side
    lanes=1024; [ $kind = flat ] || lanes=128
    python -m benchmarks.logic.hardware --packed "$OUT/$kind.packed" --out "$OUT/$kind.hardware" --data-root "$DATA" --lanes $lanes
done
stillhouse export "$OUT/vit" --to rules --out "$OUT/vit.rules" --data-root "$DATA"
python -m benchmarks.logic.transformer --student "$OUT/vit/student" --data mnist --data-root "$DATA"
