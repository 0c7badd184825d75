"""Transformers: the model, its KV-cache engine, its checkpoints, and the calculator it may call."""
