"""Images as bits."""
