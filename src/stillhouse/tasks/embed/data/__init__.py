"""Texts and the vectors of a teacher."""
