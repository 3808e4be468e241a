"""What a teacher put out, kept on disk: asked once, read by students of any task.

files.py      a .npy an array, with its hash; a manifest. No torch.
content.py    what is kept of an answer: all class scores, the k largest with the mass of the rest, chosen features
queries.py    the rows that a task asks its teacher about, and `write_cache`
stored.py     the folder as a teacher, and its comparison with the live one
"""
