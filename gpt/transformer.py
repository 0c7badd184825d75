"""
"Attention Is All You Need", section 3, class by class in the order of the paper (Vaswani et al. 2017):
https://arxiv.org/abs/1706.03762

    python gpt/transformer.py                               # parameters of the paper's base model, against its table 3
    python gpt/translate.py                                 # train a small one

Read it beside the paper; section numbers stand where they begin. Nothing is modernized: the norm comes after each
residual sum, positions are sines, the embedding is shared by source, target and softmax and scaled by sqrt(d_model).
Where torch.nn.Transformer computes the same thing the outputs agree (tests/test_transformer.py). What departs: masks
are one boolean tensor, True where a query may look.

B = batch, T = target positions, S = source positions, H = heads, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import math

import torch
import torch.nn as nn

# ---------------------------------------------------------------------------------------------------
# 3.1 Encoder and decoder stacks


class EncoderLayer(nn.Module):
    """Two sublayers: self-attention and a feed-forward net. The output of each is LayerNorm(x + Sublayer(x))."""

    def __init__(self, d_model, h, d_ff, dropout):
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, h)
        self.feed_forward = PositionwiseFeedForward(d_model, d_ff)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2))
        self.dropout = nn.Dropout(dropout)                   # of each sublayer's output: section 5.4

    def forward(self, x, mask):
        """x: (B, S, d_model);  mask: (B, 1, 1, S)"""
        x = self.norms[0](x + self.dropout(self.self_attention(x, x, x, mask)))
        return self.norms[1](x + self.dropout(self.feed_forward(x)))


class DecoderLayer(nn.Module):
    """Three sublayers: masked self-attention, attention over the encoder's output, a feed-forward net."""

    def __init__(self, d_model, h, d_ff, dropout):
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, h)
        self.cross_attention = MultiHeadAttention(d_model, h)
        self.feed_forward = PositionwiseFeedForward(d_model, d_ff)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, y, memory, mask, memory_mask):
        """y: (B, T, d_model);  memory: (B, S, d_model), the encoder's output"""
        y = self.norms[0](y + self.dropout(self.self_attention(y, y, y, mask)))
        y = self.norms[1](y + self.dropout(self.cross_attention(y, memory, memory, memory_mask)))
        return self.norms[2](y + self.dropout(self.feed_forward(y)))


def causal(T, device=None):
    """(T, T): position i may look at 0 to i, so that a prediction depends only on what came before."""
    return torch.ones(T, T, dtype=torch.bool, device=device).tril()


# ---------------------------------------------------------------------------------------------------
# 3.2 Attention


def attention(q, k, v, mask):
    """
    3.2.1, eq. 1: softmax(q k^T / sqrt(d_k)) v
    q: (B, H, T, d_k);  k: (B, H, S, d_k);  v: (B, H, S, d_v);  mask: broadcastable to (B, H, T, S)
    """
    score = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))                       # (B, H, T, S)
    return score.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ v


class MultiHeadAttention(nn.Module):
    """3.2.2: h attentions in d_model/h channels each, side by side, mixed by W_o."""

    def __init__(self, d_model, h):
        super().__init__()
        if d_model % h:
            raise ValueError(f"{d_model=} is no multiple of {h=}")
        self.h = h
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, q, k, v, mask):
        """q: (B, T, d_model);  k, v: (B, S, d_model);  returns: (B, T, d_model)"""
        q, k, v = (x.unflatten(-1, (self.h, -1)).transpose(1, 2)                  # (B, H, T or S, d_k)
                   for x in (self.w_q(q), self.w_k(k), self.w_v(v)))
        return self.w_o(attention(q, k, v, mask).transpose(1, 2).flatten(2))


# ---------------------------------------------------------------------------------------------------
# 3.3 Position-wise feed-forward networks


class PositionwiseFeedForward(nn.Module):
    """Eq. 2: max(0, x W_1 + b_1) W_2 + b_2, the same at every position."""

    def __init__(self, d_model, d_ff):
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)

    def forward(self, x):
        return self.w_2(self.w_1(x).relu())


# ---------------------------------------------------------------------------------------------------
# 3.4 Embeddings and softmax


class Embedding(nn.Module):
    """One matrix for source, target and the softmax; on the way in multiplied by sqrt(d_model)."""

    def __init__(self, vocab, d_model):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab, d_model) * d_model**-0.5)

    def forward(self, idx):
        return self.weight[idx] * math.sqrt(self.weight.size(1))                  # (B, T, d_model)

    def logits(self, y):
        return y @ self.weight.T                                                  # (B, T, V)


# ---------------------------------------------------------------------------------------------------
# 3.5 Positional encoding


def positional_encoding(length, d_model):
    """PE(pos, 2i) = sin(pos / 10000^(2i/d_model)), PE(pos, 2i + 1) = cos of the same; returns: (length, d_model)"""
    angle = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, d_model, 2) / d_model)  # (length, d_model/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


# ---------------------------------------------------------------------------------------------------
# figure 1


class Transformer(nn.Module):
    """Figure 1; the defaults are the base model of table 3. Id `pad` fills rows up and is never looked at."""

    def __init__(self, vocab, d_model=512, h=8, d_ff=2048, n=6, dropout=0.1, longest=512, pad=0):
        super().__init__()
        self.pad = pad
        self.embedding = Embedding(vocab, d_model)
        self.register_buffer("positions", positional_encoding(longest, d_model), persistent=False)
        self.encoder = nn.ModuleList(EncoderLayer(d_model, h, d_ff, dropout) for _ in range(n))
        self.decoder = nn.ModuleList(DecoderLayer(d_model, h, d_ff, dropout) for _ in range(n))
        self.dropout = nn.Dropout(dropout)                   # of the sum of embedding and position: section 5.4
        for p in self.parameters():
            if p.dim() == 2 and p is not self.embedding.weight:
                nn.init.xavier_uniform_(p)                   # not in the paper; what its own code did

    def embed(self, idx):
        return self.dropout(self.embedding(idx) + self.positions[:idx.size(1)])   # (B, T, d_model)

    def encode(self, source):
        """source: (B, S) ids;  returns: memory (B, S, d_model) and its mask (B, 1, 1, S)"""
        mask = (source != self.pad)[:, None, None]
        x = self.embed(source)
        for layer in self.encoder:
            x = layer(x, mask)
        return x, mask

    def decode(self, memory, memory_mask, target):
        """target: (B, T) ids, each row from the start symbol on;  returns: logits (B, T, V) of what follows each"""
        mask = causal(target.size(1), target.device)
        y = self.embed(target)
        for layer in self.decoder:
            y = layer(y, memory, mask, memory_mask)
        return self.embedding.logits(y)

    def forward(self, source, target):
        """source: (B, S) ids;  target: (B, T) ids;  returns: logits (B, T, V)"""
        return self.decode(*self.encode(source), target)


def main():
    with torch.device("meta"):
        base = Transformer(37000)
    print(f"{sum(p.numel() for p in base.parameters()):,} parameters; the paper's table 3 says 65 million for the base "
          "model, with 37,000 tokens")
    print("next: python gpt/translate.py")


if __name__ == "__main__":
    main()
