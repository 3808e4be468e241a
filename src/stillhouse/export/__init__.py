"""What several tasks share of a student outside torch."""
