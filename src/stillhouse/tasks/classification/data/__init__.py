"""Data: labelled images, texts and tables, in three splits; no torch in `config`, `readers` and `decode`."""
