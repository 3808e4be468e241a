"""What a step costs, alone and on several processes."""
