"""Which settings students are best at, found on validation rows: the study behind the defaults."""
