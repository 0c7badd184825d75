"""Week 8: what a model is worth. Perplexity, four-choice questions, word problems, canaries, the report."""
