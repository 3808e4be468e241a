# Sourced by the scripts beside it. DATA: torchvision's root; OUT: where runs go; both have defaults. Every script is resumable.
set -eu
cd "$(dirname "$0")/../.."
BIN=${BIN:-.venv/bin/stillhouse}
OUT=${OUT:-runs/tsetlin}
ROOT=${DATA:+--dataset-root $DATA}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# run NAME words...: a run in OUT/NAME, gone on with if it is there
run() {
    name=$1
    shift
    # shellcheck disable=SC2086
    if [ -f "$OUT/$name/run.json" ]; then
        $BIN vision "$@" $ROOT --out "$OUT/$name" --quiet --resume
    else
        $BIN vision "$@" $ROOT --out "$OUT/$name" --quiet
    fi
}

# a teacher that is right, in place of one with a random classifier
mnist_teacher() {
    TEACHER=${TEACHER:-runs/mnist-teacher/teacher.safetensors}
    # shellcheck disable=SC2086
    [ -f "$TEACHER" ] || $BIN train-teacher mnist-teacher ${DATA:+data.root=$DATA} --resume
}

fashion_teacher() {
    FASHION_TEACHER=${FASHION_TEACHER:-runs/fashion-mnist-teacher/teacher.safetensors}
    # shellcheck disable=SC2086
    [ -f "$FASHION_TEACHER" ] || $BIN train-teacher fashion-mnist-teacher ${DATA:+data.root=$DATA} --resume
}
