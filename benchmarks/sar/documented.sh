#!/bin/sh
# Document 002's recipe by its own files and commands, cut in size: every key as printed (gate, GELU, dropout 0.2, position channel, plain MSE
# against the truth, T 4, alpha 0.3, beta 0.5, gamma 0.2) but widths and depths to a quarter and a half, 256 simulated lines of 512, 30 epochs,
# batches of 16, rates times 20. Resumable.
#   sh benchmarks/sar/documented.sh FOLDER [teacher|distilled|compressed|tiny]
set -eu
OUT=$1
WHICH=${2:-"teacher distilled compressed tiny"}
SAR="python -m stillhouse sar"
mkdir -p "$OUT"
[ -f "$OUT/training/s4_ssm_complex.yaml" ] || python -m stillhouse documents "$OUT" > /dev/null
cd "$OUT"
for name in complex student; do
  sed -e 's/model_dim: 64/model_dim: 16/; s/state_dim: 540/state_dim: 128/; s/num_layers: 6/num_layers: 3/' \
    -e 's/epochs: [0-9]*$/epochs: 30/; s/warmup_epochs: 30/warmup_epochs: 2/; s/lr: 1.0e-4/lr: 2.0e-3/; s/lr: 5.0e-5/lr: 1.0e-3/' \
    -e 's/batch_size: 32/batch_size: 16/; s/  train: 512/  length: 512\n  train: 256/' -e 's/^device: auto/device: cpu/' \
    "training/s4_ssm_$name.yaml" > "training/cut_$name.yaml"
done
resumed() { if [ -f "$1/run.json" ]; then echo --resume; fi; }
distil() {
  folder=results/s4_ssm_$1
  shift
  # shellcheck disable=SC2046
  $SAR distill --teacher_config training/cut_complex.yaml --teacher_checkpoint results/s4_ssm_results/checkpoints/best_model.pth \
    --student_config training/cut_student.yaml "$@" --save_dir "$folder" --seeds 3 --quiet training.threads=1 $(resumed "$folder")
}
for part in $WHICH; do
  case $part in
    teacher) # shellcheck disable=SC2046
      $SAR train --config training/cut_complex.yaml --quiet training.threads=1 training.batch_size=16 $(resumed results/s4_ssm_results) ;;
    distilled) distil distilled ;;
    compressed) distil compressed --student_model_dim 8 --student_state_dim 64 --student_num_layers 2 ;;
    tiny) distil tiny --student_model_dim 6 --student_state_dim 32 --student_num_layers 2 --temperature 6.0 --alpha 0.1 --beta 0.7 ;;
  esac
done
