"""Whole embedding runs: a teacher's vectors in, students, controls, verdict and report out.

plan.py      a run as one value (YAML, flags and Python are one schema); no torch
corpus.py    text files -> texts, captured once
material.py  what a run learns from and is judged on
train.py     one training: a vector student, a text student
judge.py     every student and control on the same held-out rows; the verdict
run.py       all of it in order, resumable
use.py       what a finished student is for: evaluate, encode, explore, export
"""
