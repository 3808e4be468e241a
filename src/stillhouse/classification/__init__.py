"""Labelled rows into classes: data, the job, the plan of a run; shared by the tasks of images and of clauses."""
