"""From a text model to an assistant: supervised fine-tuning."""
