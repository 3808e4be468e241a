"""Evidence for the focusing task."""
