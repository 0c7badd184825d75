"""
What a model costs before it is trained: parameters by part, operations and cache bytes a token, and the table that
shows why keys and values are shared, and then compressed.

    python gpt/describe.py                                  # multi-head, grouped, one, latent: cache bytes side by side
    python gpt/model.py                                     # GPT-2;  python gpt/llama.py  for the Llama-style one

B = batch, T = time, C = channels, L = layers, H = query heads, G = key/value heads, D = channels of a head
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

PARTS = {"norms": ("norm", "ln_"), "attention": ("attn",), "feed-forward": ("mlp",)}   # the rest is embedding and head


def by_part(model):
    """{part: parameters}, tied ones once."""
    parts = {"embedding": 0, "attention": 0, "feed-forward": 0, "norms": 0}
    for name, p in model.named_parameters():
        part = next((part for part, words in PARTS.items() if any(word in name for word in words)), "embedding")
        parts[part] += p.numel()
    return parts


def idle(model):
    """Parameters of the experts that a token does not use."""
    return sum((moe.config.n_expert - moe.config.top_k) * sum(p.numel() for p in moe.experts[0].parameters())
               for moe in getattr(model, "mixtures", []))


def flops(model):
    """
    Operations a token in training, forward and backward: 6 for each weight of a matrix product, and 12 L H D T for the
    scores and their use. Chowdhery et al. 2022, appendix B: https://arxiv.org/abs/2204.02311
    """
    c, parts = model.config, by_part(model)
    weights = parts["attention"] + parts["feed-forward"] - idle(model) + c.vocab_size * c.n_embd
    return 6 * weights + 6 * c.n_layer * c.n_head * (c.d_head + getattr(c, "d_value", c.d_head)) * c.context


def cache_bytes(config, size=2):
    """Bytes that the cache holds for each token; size: bytes a number, 2 in bfloat16"""
    return size * config.n_layer * sum(G * D for G, D in config.cached)


def lines(model):
    """The table of one model, as lines of text."""
    parts, config = by_part(model), model.config
    total = sum(parts.values())
    return [f"{name:14s} {n:13,d} {n / total:6.1%}" for name, n in parts.items()] + [
        f"{'all':14s} {total:13,d}" + (f", of which a token uses {total - idle(model):,}" if idle(model) else ""),
        f"training: {flops(model) / 1e6:,.1f} MFLOP a token at context {config.context:,}",
        f"cache: {cache_bytes(config):,} bytes a token in bfloat16, "
        f"{cache_bytes(config) * config.context / 1e6:,.1f} MB for a full context"]


def table():
    """Cache bytes a token of DeepSeek-V2's shape (60 layers, 128 heads of 128 channels), as lines of text."""
    from gpt.deepseek import DeepSeekConfig
    from gpt.llama import Config
    shape = dict(vocab_size=102400, n_layer=60, n_head=128, n_embd=5120)
    kinds = {"multi-head (MHA)": Config(**shape, n_kv_head=128, d_head=128),
             "8 heads share a key (GQA)": Config(**shape, n_kv_head=16, d_head=128),
             "multi-query (MQA)": Config(**shape, n_kv_head=1, d_head=128),
             "latent (MLA)": DeepSeekConfig(**shape, kv_rank=512, d_nope=128, d_rope=64, d_value=128)}
    all_heads = cache_bytes(kinds["multi-head (MHA)"])
    return [f"{name:32s} {cache_bytes(c):11,d} bytes a token {all_heads / cache_bytes(c):6.1f}x smaller"
            f" {cache_bytes(c) * 131072 / 1e9:8.1f} GB for 131,072 tokens" for name, c in kinds.items()]


if __name__ == "__main__":
    print("\n".join(table()))
