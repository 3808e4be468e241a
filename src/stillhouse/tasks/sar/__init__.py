"""Radar lines into focus: simulate, train a teacher, distill students, compare, stream, evaluate."""
