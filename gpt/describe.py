"""
What a model costs before it is trained: parameters by part, operations and cache bytes a token, and the table that
shows why keys and values are shared, and then compressed.

    python gpt/describe.py                                  # multi-head, grouped, one, latent: cache bytes side by side
    python gpt/model.py                                     # GPT-2;  python gpt/llama.py  for the Llama-style one

B = batch, T = time, C = channels, L = layers, H = query heads, G = key/value heads, D = channels of a head
"""

PARTS = {"norms": ("norm", "ln_"), "attention": ("attn",), "feed-forward": ("mlp",)}   # the rest is embedding and head


def by_part(model):
    """{part: parameters}, tied ones once."""
    parts = {"embedding": 0, "attention": 0, "feed-forward": 0, "norms": 0}
    for name, p in model.named_parameters():
        part = next((part for part, words in PARTS.items() if any(word in name for word in words)), "embedding")
        parts[part] += p.numel()
    return parts


def flops(model):
    """
    Operations a token in training, forward and backward: 6 for each weight of a matrix product, and 12 L H D T for the
    scores and their use. Chowdhery et al. 2022, appendix B: https://arxiv.org/abs/2204.02311
    """
    c, parts = model.config, by_part(model)
    weights = parts["attention"] + parts["feed-forward"] + c.vocab_size * c.n_embd
    return 6 * weights + 12 * c.n_layer * c.n_head * c.d_head * c.context


def cache_bytes(config, size=2):
    """Bytes that the cache holds for each token; size: bytes a number, 2 in bfloat16"""
    return size * config.n_layer * sum(G * D for G, D in config.cached)


def lines(model):
    """The table of one model, as lines of text."""
    parts, config = by_part(model), model.config
    total = sum(parts.values())
    return [f"{name:14s} {n:13,d} {n / total:6.1%}" for name, n in parts.items()] + [
        f"{'all':14s} {total:13,d}",
        f"training: {flops(model) / 1e6:,.1f} MFLOP a token at context {config.context:,}",
        f"cache: {cache_bytes(config):,} bytes a token in bfloat16, "
        f"{cache_bytes(config) * config.context / 1e6:,.1f} MB for a full context"]
