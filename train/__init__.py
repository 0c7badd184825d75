"""Training: optimizers, schedule, batches, logs, exact resume, and the pretraining script."""
