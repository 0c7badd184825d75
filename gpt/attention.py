"""
Attention twice: the definition, and torch's fused version of it. One signature everywhere, so that a kernel can
take its place: attend(q, k, v, *, causal=True, window=None, doc=None, lengths=None).

    q: (B, H, T, D);  k: (B, G, S, D);  v: (B, G, S, E), E = D but for latent attention;  returns: (B, H, T, E)
    window: how many keys a query sees, itself among them, all if None
    doc: (B, S) ints, packed documents that do not see each other;  lengths: (B,) keys that are there, the rest is empty

The queries are the last T of the S keys; with `lengths`, the last T of the row's first lengths[b] keys.

B = batch, T = queries, S = keys, H = query heads, G = key/value heads, D = channels of a head
"""

import torch
import torch.nn.functional as F


def visible(T, S, *, causal, window, doc, lengths, device):
    """Which key each query may see: bool, broadcastable to (B, 1, T, S)."""
    end = torch.full((1,), S, device=device) if lengths is None else lengths      # (B,) or (1,)
    key = torch.arange(S, device=device)                                          # (S,)
    query = end[:, None] - T + torch.arange(T, device=device)                     # (B, T)
    query, keep = query[:, None, :, None], key < end[:, None, None, None]         # (B, 1, T, 1), (B, 1, 1, S)
    if causal:
        keep = keep & (key <= query)                                              # (B, 1, T, S)
    if window is not None:
        keep = keep & (key > query - window)
    if doc is not None:
        keep = keep & (doc[:, None, -T:, None] == doc[:, None, None, :])
    return keep


def plain(q, k, v, *, causal=True, window=None, doc=None, lengths=None):
    """
    softmax(q k^T / sqrt(D)) v, as written: Vaswani et al. 2017, eq. 1, https://arxiv.org/abs/1706.03762, with each
    key/value head shared by H/G query heads: Ainslie et al. 2023, section 2.2, https://arxiv.org/abs/2305.13245
    """
    H, T, D, S = q.size(1), q.size(2), q.size(3), k.size(2)
    k, v = (x.repeat_interleave(H // x.size(1), dim=1) for x in (k, v))           # (B, H, S, D)
    keep = visible(T, S, causal=causal, window=window, doc=doc, lengths=lengths, device=q.device)
    score = (q @ k.transpose(-2, -1)) * D**-0.5                                   # (B, H, T, S)
    return score.masked_fill(~keep, float("-inf")).softmax(dim=-1) @ v


def sdpa(q, k, v, *, causal=True, window=None, doc=None, lengths=None):
    """The same numbers as plain(), to rounding, from torch's fused kernel, which never holds all scores."""
    H, T, S = q.size(1), q.size(2), k.size(2)
    if H != k.size(1):
        k, v = (x.repeat_interleave(H // x.size(1), dim=1) for x in (k, v))       # (B, H, S, D)
    if causal and T in (1, S) and (window is None or window >= S) and doc is None and lengths is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=T > 1)
    keep = visible(T, S, causal=causal, window=window, doc=doc, lengths=lengths, device=q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
