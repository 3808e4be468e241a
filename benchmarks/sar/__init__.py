"""Evidence for the focusing family."""
