"""What several families share of a student outside torch."""
