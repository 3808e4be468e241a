#!/bin/sh
# Flat machines on hard bits: MNIST (aim 98.5 %), Fashion-MNIST raw (aim 91 %) and with boolean features (aim 93 %), taught by the recipes'
# teachers, each beside the same network on labels alone, without clauses and with an MLP (`linear`, `mlp`: at rates of their own).
# ONLY="mnist" runs that alone. ARMS="arms=[kd]" trains fewer, and more can follow.
. "$(dirname "$0")/settings.sh"
mnist_teacher
fashion_teacher
want() { [ -z "${ONLY:-}" ] || case " $ONLY " in *" $1 "*) true ;; *) false ;; esac }
KD="--distill-teacher-weight 1.0 --distill-teacher-temp 4.0"
ARMS=${ARMS:-arms=[kd,no-kd,clauses-off,mlp]}
# shellcheck disable=SC2086
{
    want mnist && run flat-mnist --models tm --dataset mnist model.tm.clauses=2000 --batch-size 128 --epochs 12 output.bitpack=true \
        --distill-teacher-checkpoint $TEACHER $KD $ARMS
    want fashion && run flat-fashion --models tm --dataset fashion-mnist model.tm.clauses=1024 model.tm.levels=7 model.tm.rule.failures=100 \
        model.tm.rule.literals=200 --batch-size 128 --epochs 10 --lr 2e-2 --distill-teacher-checkpoint $FASHION_TEACHER $KD $ARMS
    # the controls among the arms have the clauses' rate, 10 to 1 000 times what suits them: here they have their own
    for rate in 1e-4 1e-3; do
        want linear && run flat-mnist-linear-$rate --models tm --dataset mnist --batch-size 128 --epochs 12 \
            model.tm.part=none --lr $rate --distill-teacher-checkpoint "$TEACHER" $KD arms=[kd]
        want linear && run flat-fashion-linear-$rate --models tm --dataset fashion-mnist model.tm.levels=7 --batch-size 128 \
            --epochs 10 model.tm.part=none --lr $rate --distill-teacher-checkpoint "$FASHION_TEACHER" $KD arms=[kd]
    done
    for rate in 1e-5 1e-4; do
        want linear && run flat-fashion-features-linear-$rate --models tm --dataset fashion-mnist --tm-feature-mode fashion_aug \
            --batch-size 256 --epochs 2 model.tm.part=none --lr $rate \
            --distill-teacher-checkpoint "$FASHION_TEACHER" $KD arms=[kd]
    done
    for rate in 1e-3 3e-3; do
        want mlp && run flat-mnist-mlp-$rate --models tm --dataset mnist model.tm.clauses=2000 --batch-size 128 --epochs 12 \
            model.tm.part=mlp --lr $rate --distill-teacher-checkpoint "$TEACHER" $KD arms=[kd]
        want mlp && run flat-fashion-mlp-$rate --models tm --dataset fashion-mnist model.tm.clauses=1024 model.tm.levels=7 --batch-size 128 \
            --epochs 10 model.tm.part=mlp --lr $rate --distill-teacher-checkpoint "$FASHION_TEACHER" $KD arms=[kd]
    done
    want features && run flat-fashion-features --models tm --dataset fashion-mnist model.tm.clauses=512 --tm-feature-mode fashion_aug \
        model.tm.rule.failures=200 model.tm.rule.literals=300 --batch-size 256 --epochs 2 --lr 4e-2 \
        --distill-teacher-checkpoint "$FASHION_TEACHER" $KD $ARMS
    true
}
