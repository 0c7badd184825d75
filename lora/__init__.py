"""Week 9: low-rank adapters: the layer, fine-tuning, and LoRA against full fine-tuning."""
