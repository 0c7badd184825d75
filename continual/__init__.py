"""Week 10: streams of tasks, what learning one costs the others, and learning after deployment."""
