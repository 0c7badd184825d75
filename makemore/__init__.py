"""Character and word models in the order in which they were invented."""
