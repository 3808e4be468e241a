"""What a step costs, alone, on several processes, compiled, and on paper at a size that nobody here has."""
