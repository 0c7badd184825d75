"""
A Llama-style transformer: RMSNorm before each sublayer, rotary positions, grouped-query attention,
SwiGLU. It computes exactly what Hugging Face's Llama computes and, with qk_norm=True, exactly its
Qwen3, with the same parameter names, so that weights go both ways as they are.

    python gpt/llama.py                    # parameters by part, FLOPs and cache bytes a token

What it adds to GPT-2 (Radford et al. 2019): no biases, no learned positions, no LayerNorm means,
a gate in the feed-forward, fewer key/value heads. Left out on purpose: tensor parallelism, position
scaling for longer contexts.

B = batch, T = time (positions), S = keys seen, C = channels, H = query heads, G = key/value heads,
D = channels of a head, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt.attention import sdpa
from gpt.cache import Reading
from gpt.fused import rms_norm, rotate


@dataclass(frozen=True)
class Config:
    """The shape of a Llama; `d_head` is n_embd / n_head unless given, `window` counts the keys a query sees."""
    vocab_size: int
    n_layer: int = 4
    n_head: int = 4
    n_kv_head: int = 4
    n_embd: int = 192
    n_hidden: int = 512
    context: int = 256
    d_head: int | None = None
    rope_theta: float = 10000.0
    norm_eps: float = 1e-6
    qk_norm: bool = False
    tie: bool = True
    window: int | None = None
    dropout: float = 0.0     # of what a sublayer adds, in training alone: for data that is read many times

    def __post_init__(self):
        if self.d_head is None:
            if self.n_embd % self.n_head:
                raise ValueError(f"{self.n_embd=} is no multiple of {self.n_head=}: give d_head")
            object.__setattr__(self, "d_head", self.n_embd // self.n_head)
        if self.n_head % self.n_kv_head:
            raise ValueError(f"{self.n_head=} is no multiple of {self.n_kv_head=}")
        if self.d_head % 2:
            raise ValueError(f"{self.d_head=} must be even: rotary positions turn pairs of channels")

    @property
    def cached(self):
        """What a layer keeps of each token, (heads, size) each: keys and values. See gpt/cache.py"""
        return (self.n_kv_head, self.d_head), (self.n_kv_head, self.d_head)


# ----------------------------------------------------------------------------
# the layers

class RMSNorm(nn.Module):
    """x / rms(x) * weight: Zhang and Sennrich 2019, eq. 4, https://arxiv.org/abs/1910.07467"""

    def __init__(self, size, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return rms_norm(x, self.weight, self.eps)


def turns(positions, d_head, theta):
    """
    cos and sin of the angle by which each channel pair of each position is turned: position *
    theta^(-2i/D) radians for pair i, which is channels (i, i + D/2), as in Hugging Face's Llama; the
    paper pairs (2i, 2i + 1). Su et al. 2021, section 3.2.2, eq. 34: https://arxiv.org/abs/2104.09864
    positions: (B, T) or (T,);  returns: (B or 1, 1, T, D/2) twice, float64
    """
    rate = theta ** (-torch.arange(0, d_head, 2, device=positions.device, dtype=torch.float64) / d_head)
    angle = positions[..., None].double() * rate                                  # (B, T, D/2) or (T, D/2)
    angle = angle[:, None] if positions.dim() == 2 else angle[None, None]         # (B or 1, 1, T, D/2)
    return angle.cos(), angle.sin()


class Attention(nn.Module):
    """Causal self-attention; H/G query heads share a key/value head; q and k may be normed (Qwen3)."""

    def __init__(self, config, attend):
        super().__init__()
        C, H, G, D = config.n_embd, config.n_head, config.n_kv_head, config.d_head
        self.config, self.attend = config, attend
        self.q_proj = nn.Linear(C, H * D, bias=False)
        self.k_proj = nn.Linear(C, G * D, bias=False)
        self.v_proj = nn.Linear(C, G * D, bias=False)
        self.o_proj = nn.Linear(H * D, C, bias=False)
        if config.qk_norm:
            self.q_norm, self.k_norm = RMSNorm(D, config.norm_eps), RMSNorm(D, config.norm_eps)

    def forward(self, x, cos, sin, doc=None, store=None):
        """x: (B, T, C);  cos, sin: see turns();  store: writes k and v into a cache, returns all of it and lengths"""
        B, T, C = x.shape
        D = self.config.d_head
        q = self.q_proj(x).view(B, T, -1, D)                                      # (B, T, H, D)
        k = self.k_proj(x).view(B, T, -1, D)                                      # (B, T, G, D)
        v = self.v_proj(x).view(B, T, -1, D).transpose(1, 2)                      # (B, G, T, D)
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q.transpose(1, 2), cos, sin), rotate(k.transpose(1, 2), cos, sin)
        lengths = None
        if store is not None:
            k, v, lengths = store(k, v)                                           # (B, G, S, D) twice, (B,)
        y = self.attend(q, k, v, window=self.config.window, doc=doc, lengths=lengths)  # (B, H, T, D)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))                   # (B, T, C)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)). Shazeer 2020, eq. 6: https://arxiv.org/abs/2002.05202"""

    def __init__(self, config, n_hidden=None):
        super().__init__()
        n_hidden = n_hidden or config.n_hidden
        self.gate_proj = nn.Linear(config.n_embd, n_hidden, bias=False)
        self.up_proj = nn.Linear(config.n_embd, n_hidden, bias=False)
        self.down_proj = nn.Linear(n_hidden, config.n_embd, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Attention and feed-forward, each after a norm, each added to the residual stream."""

    def __init__(self, config, attend, attention=None):
        super().__init__()
        self.input_layernorm = RMSNorm(config.n_embd, config.norm_eps)
        self.self_attn = attention or Attention(config, attend)
        self.post_attention_layernorm = RMSNorm(config.n_embd, config.norm_eps)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()

    def forward(self, x, cos, sin, doc=None, store=None):
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), cos, sin, doc, store))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


# ----------------------------------------------------------------------------
# the model

class Decoder(nn.Module):
    """Everything below the head: embedding, blocks, last norm (the `model.` of Hugging Face's names)."""

    def __init__(self, config, blocks):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.layers = nn.ModuleList(blocks)
        self.norm = RMSNorm(config.n_embd, config.norm_eps)


class Llama(nn.Module):
    def __init__(self, config, attend=sdpa, head_loss=None, generator=None):
        """head_loss(x, weight, targets): head and cross-entropy in one; with it the logits are never made"""
        super().__init__()
        self.config, self.head_loss = config, head_loss
        self.model = Decoder(config, [self.block(config, attend, n) for n in range(config.n_layer)])
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.initialize(generator)

    @staticmethod
    def block(config, attend, n):
        """Layer n; another architecture puts its own here (gpt/deepseek.py)."""
        return Block(config, attend)

    def turns(self, positions):
        return turns(positions, self.config.d_head, self.config.rope_theta)

    @torch.no_grad()
    def initialize(self, generator=None):
        """
        Matrices ~ N(0, 1/fan_in), embedding ~ N(0, 0.02), and zero for what writes into the residual
        stream, so that at step 0 every block is the identity (Zhang et al. 2019, Fixup:
        https://arxiv.org/abs/1901.09321). Norm weights stay at one.
        """
        for name, p in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                p.zero_()
            elif p.dim() == 2:
                std = 0.02 if "embed" in name or "lm_head" in name else p.size(1) ** -0.5
                p.normal_(0, std, generator=generator)

    def select(self, rows):
        """Which adapter each row of the batch uses: nothing here; LoRA layers fill it in."""

    def forward(self, idx, targets=None, *, positions=None, doc=None, cache=None, rows=None, counts=None):
        """
        Logits of every position, and the loss where there are targets.

        idx: (B, T) ids;  targets: (B, T) ids, -1 where none counts;  positions: (B, T), by default
        0..T-1 or what follows the cache;  doc: (B, T) packed documents that do not see each other
        cache: idx holds the next tokens of its slots `rows` (B,), by default the first B; counts (B,) says how
        many of the T are real, the rest is padding on the right, and only the last real one gets logits
        returns: logits (B, T, V), with counts (B, 1, V), or None, loss in nats per counted target or None
        """
        reading = Reading(idx, cache, rows, counts)
        positions = reading.positions if positions is None else positions
        x = self.model.embed_tokens(idx)                                          # (B, T, C)
        cos, sin = self.turns(positions)
        for n, block in enumerate(self.model.layers):
            x = block(x, cos, sin, doc, reading.layer(n))
        x = self.model.norm(reading.close(x))                                     # (B, T or 1, C)
        if targets is not None and self.head_loss is not None:
            return None, self.head_loss(x.flatten(0, 1), self.lm_head.weight, targets.flatten())
        logits = self.lm_head(x)                                                  # (B, T or 1, V)
        if targets is None:
            return logits, None
        flat = logits.flatten(0, 1)
        flat = flat if flat.dtype == torch.float64 else flat.float()
        return logits, F.cross_entropy(flat, targets.flatten(), ignore_index=-1)


def main():
    from gpt.describe import lines
    print("\n".join(lines(Llama(Config(vocab_size=2048)))))


if __name__ == "__main__":
    main()
