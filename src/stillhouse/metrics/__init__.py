"""What any network costs: weights, operations, bytes, time."""
