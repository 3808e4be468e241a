"""Labelled rows into classes: data, the job, the plan of a run; shared by the families of images and of clauses."""
