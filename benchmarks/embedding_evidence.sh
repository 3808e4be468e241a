#!/bin/sh
# Does a student of five numbers keep more of real sentence embeddings than PCA, UMAP and an autoencoder do? Near and far apart.
#
#   TEXTS: a folder with stsb/stsb-en-{train,dev,test}.csv, sst2/{train,dev,test}.tsv, wikitext-2/train.txt
#   MINILM: a folder (or name) of all-MiniLM-L6-v2; RUNS: where results go [runs]
#
# The texts are captured once (4 minutes of one core), equal ones taken once. Three seeds; every step resumes. On one core: 25
# minutes in all. The STS-B column of the results is of commit d4e4155, which judged pairs too.
set -eu
: "${TEXTS:?}" "${MINILM:?}"
RUNS="${RUNS:-runs}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

mkdir -p "$RUNS"
python "$(dirname "$0")/wikitext_sentences.py" "$TEXTS/wikitext-2/train.txt" > "$RUNS/wikitext-2.txt"
stillhouse embed capture \
    "$TEXTS/stsb/stsb-en-train.csv:0,1" "$TEXTS/stsb/stsb-en-dev.csv:0,1" "$TEXTS/stsb/stsb-en-test.csv:0,1" \
    "$TEXTS/sst2/train.tsv:0" "$TEXTS/sst2/dev.tsv:0" "$TEXTS/sst2/test.tsv:0" "$RUNS/wikitext-2.txt" \
    --min-chars 12 --max-chars 300 --limit 6000 --model "$MINILM" --out "$RUNS/sentences"

resume=""
[ -f "$RUNS/five/run.json" ] && resume="--resume"
stillhouse embed distill "$RUNS/sentences" --out "$RUNS/five" --threads 1 $resume "$@"
