"""Wide embeddings into few numbers: a teacher's vectors in; students, controls, verdict and report out.

config.py    a run as one value (YAML, flags and Python are one schema)
data.py      vectors on disk, their splits; texts.py and capture.py: text files to vectors
material.py  what a run learns from and is judged on
network.py   the student; job.py its loss; task.py what the shared run asks of this task
metrics.py   what a code keeps; score.py on held-out rows, beside PCA, UMAP and others
documented/  the names of document 004
"""
