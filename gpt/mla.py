"""
Multi-head latent attention: keys and values of all heads are made from one short vector a token, and only that
vector is cached. DeepSeek-AI 2024, DeepSeek-V2, section 2.1: https://arxiv.org/abs/2405.04434

    python gpt/mla.py                                       # cache bytes a token beside other kinds of attention

From the latent c, of R numbers, each head makes its own keys W_uk c and values W_uv c. Rotary positions would come
between W_uk and the query, so they go into a few further channels, one rotated key for all heads ("decoupled").
A score is then q . W_uk c + q_r . k_r, and there are two ways to compute it:

    expanded: make keys and values of every position, attend as usual             training, reading a prompt
    absorbed: move W_uk to the query, (W_uk^T q) . c, and W_uv behind the sum     decoding: the cache stays latent

Absorbed, it is multi-query attention with one key/value head of R + D_r channels, whatever the number of heads.
What departs from the paper: nothing but names, which are those of Hugging Face's DeepSeek-V3.

B = batch, T = time, S = keys seen, C = channels, H = heads, R = size of the latent,
D_n, D_r = channels of a query without and with position, D_v = channels of a value
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import torch
import torch.nn as nn

from gpt.fused import rotate
from gpt.llama import RMSNorm

EPS = 1e-6  # of the norms on the latents: DeepSeek's code fixes it, whatever the model's other norms have


def rotate_pairs(x, cos, sin):
    """Rotary positions on pairs (2i, 2i + 1), as in the paper and in DeepSeek's weights; x: (B, n, T, D_r)"""
    return rotate(torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1), cos, sin)


class LatentAttention(nn.Module):
    """config: n_embd, n_head, kv_rank (R), q_rank (None: queries come from x itself), d_nope, d_rope, d_value"""

    def __init__(self, config, attend):
        super().__init__()
        c, H = config, config.n_head
        self.config, self.attend = config, attend
        if c.q_rank is None:
            self.q_proj = nn.Linear(c.n_embd, H * (c.d_nope + c.d_rope), bias=False)
        else:                                                # queries from a latent of their own: fewer parameters
            self.q_a_proj = nn.Linear(c.n_embd, c.q_rank, bias=False)
            self.q_a_layernorm = RMSNorm(c.q_rank, EPS)
            self.q_b_proj = nn.Linear(c.q_rank, H * (c.d_nope + c.d_rope), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(c.n_embd, c.kv_rank + c.d_rope, bias=False)
        self.kv_a_layernorm = RMSNorm(c.kv_rank, EPS)
        self.kv_b_proj = nn.Linear(c.kv_rank, H * (c.d_nope + c.d_value), bias=False)  # W_uk and W_uv, head by head
        self.o_proj = nn.Linear(H * c.d_value, c.n_embd, bias=False)

    def forward(self, x, cos, sin, doc=None, store=None):
        """x: (B, T, C);  cos, sin: (B or 1, 1, T, D_r/2), see gpt/llama.py;  returns: (B, T, C)"""
        B, T, _ = x.shape
        c = self.config
        q = self.q_proj(x) if c.q_rank is None else self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = q.view(B, T, c.n_head, -1).transpose(1, 2)                            # (B, H, T, D_n + D_r)
        q_nope, q_rope = q.split([c.d_nope, c.d_rope], dim=-1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([c.kv_rank, c.d_rope], dim=-1)
        latent, k_rope = self.kv_a_layernorm(latent)[:, None], k_rope[:, None]    # (B, 1, T, R), (B, 1, T, D_r)
        q_rope, k_rope = rotate_pairs(q_rope, cos, sin), rotate_pairs(k_rope, cos, sin)
        lengths = None
        if store is not None:
            latent, k_rope, lengths = store(latent, k_rope)                       # (B, 1, S, R), (B, 1, S, D_r), (B,)
        attention = self.absorbed if T == 1 else self.expanded
        y = attention(q_nope, q_rope, latent, k_rope, doc=doc, lengths=lengths)   # (B, H, T, D_v)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))

    def expanded(self, q_nope, q_rope, latent, k_rope, **masks):
        """Keys and values of all heads, made from the latents: eq. 9 to 19 of the paper; returns: (B, H, T, D_v)"""
        c = self.config
        kv = self.kv_b_proj(latent[:, 0]).unflatten(-1, (c.n_head, -1)).transpose(1, 2)  # (B, H, S, D_n + D_v)
        k_nope, v = kv.split([c.d_nope, c.d_value], dim=-1)
        k = torch.cat([k_nope, k_rope.expand(-1, c.n_head, -1, -1)], dim=-1)      # (B, H, S, D_n + D_r)
        return self.attend(torch.cat([q_nope, q_rope], dim=-1), k, v, **masks)

    def absorbed(self, q_nope, q_rope, latent, k_rope, **masks):
        """The same numbers from the latents as they are: the paper, below eq. 19; returns: (B, H, T, D_v)"""
        c = self.config
        w = self.kv_b_proj.weight.view(c.n_head, c.d_nope + c.d_value, c.kv_rank)
        w_k, w_v = w.split([c.d_nope, c.d_value], dim=1)                          # (H, D_n, R), (H, D_v, R)
        q = torch.cat([q_nope @ w_k, q_rope], dim=-1)                             # (B, H, T, R + D_r)
        q = q * ((c.kv_rank + c.d_rope) / (c.d_nope + c.d_rope)) ** 0.5           # attend divides by the wrong root
        k = torch.cat([latent, k_rope], dim=-1)                                   # (B, 1, S, R + D_r)
        return self.attend(q, k, latent, **masks) @ w_v.transpose(1, 2)


def main():
    from gpt.describe import table
    print("\n".join(table()))


if __name__ == "__main__":
    main()
