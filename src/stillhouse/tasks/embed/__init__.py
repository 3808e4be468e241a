"""Wide embeddings into few numbers: a teacher's vectors in; students, controls, verdict and report out.

plan.py      a run as one value (YAML, flags and Python are one schema)
task.py    what the shared run asks of this task
corpus.py    text files -> texts, captured once
material.py  what a run learns from and is judged on
job.py       the loss of a vector student; text.py of a text student
judge.py     every student and control on the same held-out rows
use.py       what a finished student is for: evaluate, encode, explore, export
"""
