"""Talk to a checkpoint: in the terminal, over HTTP in the shape of OpenAI, in the browser."""
