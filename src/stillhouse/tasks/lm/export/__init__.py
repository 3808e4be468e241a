"""Language students outside torch."""
