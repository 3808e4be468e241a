"""What a teacher put out, kept on disk: asked once, by any number of processes, read by students of any task.

files.py      shards of .npy with their hashes, claimed by one writer each; a manifest. No torch.
content.py    what is kept of an answer: all class scores, the k largest with the mass of the rest, chosen features
queries.py    the rows that a task asks its teacher about, and `write_cache`
stored.py     the folder as a teacher, and its comparison with the live one
"""
