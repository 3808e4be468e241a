"""How well lines are focused."""
