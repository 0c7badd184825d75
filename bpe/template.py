"""
The chat template: messages to token ids, with a mask of what the assistant wrote, and back.

    <|bos|>[<|system|>…<|end|>](<|user|>…<|end|><|assistant|>…<|end|>)*
"""

SPECIALS = ("<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
            "<CALC>", "</CALC>", "<RESULT>", "</RESULT>", "<TOOL>", "</TOOL>",
            "<|context|>", "<|pad|>") + tuple(f"<|reserved_{i}|>" for i in range(8))
