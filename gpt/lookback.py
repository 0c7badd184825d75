"""
A start that can copy: half the heads of the first layer look at the previous token from step 0.

    from gpt.lookback import look_back
    look_back(model)                       # a new Llama, before training

To copy "gallery 457 Lane" after "Copy:", a model finds where the last token stood before and says what
followed: an induction head (Olsson et al. 2022, https://arxiv.org/abs/2209.11895). It needs another head
below it, which tells every token what stood before it. Neither pays without the other, so gradient descent
waits long for the pair to form, on two cores longer than the whole run. Given the lower one, the
upper one forms within a hundred steps. Training goes on from there and may undo it.

How the head is set: all embeddings share a vector u; keys and queries of these heads read u alone, so they
are the same for every token but for the rotation by position; the query is turned back by one position,
so that the score of a key at distance d is the mean of cos((d - 1) rate_i), largest at d = 1.
"""

import torch

PAIRS = 3    # channel pairs that carry it, the fastest: slow ones hardly tell one position from the next
SHARE = 2.0  # length of u over that of an embedding


@torch.no_grad()
def look_back(model, generator=None):
    """Sets the first layer's query and key weights of half its key/value heads (at least one) of a Llama in place."""
    config, attention = model.config, model.model.layers[0].self_attn
    D, group = config.d_head, config.n_head // config.n_kv_head
    embedding = model.model.embed_tokens.weight                                    # (V, C)
    u = torch.randn(config.n_embd, generator=generator).to(embedding)
    u /= u.norm()
    embedding += SHARE * embedding.norm(dim=1).mean() * u

    rate = config.rope_theta ** (-torch.arange(0, D, 2).to(embedding) / D)[:PAIRS]  # radians a position
    key, query = torch.zeros(2, D).to(embedding)
    key[:len(rate)] = 1
    query[:len(rate)], query[D // 2:D // 2 + len(rate)] = rate.cos(), -rate.sin()
    heads = max(1, config.n_kv_head // 2)
    attention.k_proj.weight[:heads * D] = torch.outer(key.repeat(heads), u)         # (heads D, C)
    attention.q_proj.weight[:heads * group * D] = torch.outer(query.repeat(heads * group), u)
