#!/bin/sh
# Clauses against an MLP of equal cost of the packed form, by the library's energy of the operations: the setting of controls.sh (6 000
# images, 6 epochs of 64), arm kd, 3 seeds. ONLY="vit" runs that alone. MEASURE: see equal_cost.py. LIMIT, EPOCHS, SEEDS: smaller ones.
. "$(dirname "$0")/settings.sh"
mnist_teacher
PYTHON=${PYTHON:-$(dirname "$BIN")/python}
MEASURE=${MEASURE:-energy}
SMALL="--dataset mnist data.train_limit=${LIMIT:-6000} --epochs ${EPOCHS:-6} --batch-size 64 \
 --distill-teacher-checkpoint $TEACHER --distill-teacher-weight 1.0 --distill-teacher-temp 2.0 arms=[kd] --seeds ${SEEDS:-3}"
VIT="--transformer-patch 4 --transformer-embed-dims 64 --transformer-layers 2 --transformer-heads 4"
SWIN="--transformer-arch swin --transformer-patch 4 --transformer-depths 1,1 --transformer-stage-heads 2,4 \
 --transformer-embed-dims 48,96 --transformer-window 7"
# pair NAME "flags of the network" "flags of the clauses": both runs, and the library's verdict
pair() {
    # shellcheck disable=SC2086
    run "equal-$1-clauses" $SMALL $2 $3
    ratio=$("$PYTHON" benchmarks/tsetlin/equal_cost.py "$OUT/equal-$1-clauses/transformer" --ratio "$MEASURE")
    case $1 in swin*) ratio=$ratio,$ratio ;; esac
    # shellcheck disable=SC2086
    run "equal-$1-mlp" $SMALL $2 model.transformer.feed_forward=mlp --transformer-mlp-ratio "$ratio"
    "$PYTHON" benchmarks/tsetlin/equal_cost.py "$OUT/equal-$1-clauses/transformer"
    $BIN compare "$OUT/equal-$1-mlp/transformer" "$OUT/equal-$1-clauses/transformer"
}
want() { [ -z "${ONLY:-}" ] || case " $ONLY " in *" $1 "*) true ;; *) false ;; esac }
{
    if want vit; then pair vit "$VIT" "--transformer-clauses 256"; fi
    if want swin; then pair swin "$SWIN" "--transformer-mlp-ratio 3.0,3.0"; fi
    if want vit-crisp; then pair vit-crisp "$VIT" "--transformer-clauses 256 model.transformer.tm_failures=1"; fi
}
