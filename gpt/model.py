"""
GPT-2 (Radford et al. 2019, https://openai.com/research/better-language-models), to be read beside nanoGPT's model.py:
the same classes in the same order. It computes exactly what Hugging Face's GPT-2 computes, to rounding.

    python gpt/model.py                                     # GPT-2 small: parameters, FLOPs, cache bytes
    python gpt/model.py --layers 4 --heads 4 --width 128 --context 64 --vocab 65

What it adds to the Transformer's decoder (gpt/transformer.py): the norm stands before each sublayer and once more
at the end, positions are learned, GELU in place of ReLU. What departs from nanoGPT: attention enters as an argument,
a key/value cache and packed documents are possible, GELU is the tanh form that GPT-2 was trained with, and loading
published weights (gpt/hf.py), the optimizer (train/adamw.py) and sampling (gpt/sample.py) have files of their own.
Left out on purpose: dropout inside the attention, which fused kernels would have to draw.

B = batch, T = time (positions), S = keys seen, C = channels, H = heads, D = C/H, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch.nn import functional as F

from gpt.attention import sdpa
from gpt.cache import Reading


class LayerNorm(nn.Module):
    """Ba et al. 2016, eq. 4, https://arxiv.org/abs/1607.06450, with an optional bias."""

    def __init__(self, ndim, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))
        self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

    def forward(self, input):
        return F.layer_norm(input, self.weight.shape, self.weight, self.bias, 1e-5)


class CausalSelfAttention(nn.Module):

    def __init__(self, config, attend):
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)  # query, key and value in one
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)
        self.n_head, self.attend = config.n_head, attend

    def forward(self, x, doc=None, store=None):
        """x: (B, T, C);  store: writes k and v into a cache, returns all of it and lengths"""
        B, T, C = x.size()
        q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        lengths = None
        if store is not None:
            k, v, lengths = store(k, v)                                           # (B, H, S, D) twice, (B,)
        y = self.attend(q, k, v, doc=doc, lengths=lengths)                        # (B, H, T, D)
        y = y.transpose(1, 2).reshape(B, T, C)
        return self.resid_dropout(self.c_proj(y))


class MLP(nn.Module):

    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.gelu = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x):
        x = self.c_fc(x)
        x = self.gelu(x)
        x = self.c_proj(x)
        x = self.dropout(x)
        return x


class Block(nn.Module):

    def __init__(self, config, attend):
        super().__init__()
        self.ln_1 = LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config, attend)
        self.ln_2 = LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x, doc=None, store=None):
        x = x + self.attn(self.ln_1(x), doc, store)
        x = x + self.mlp(self.ln_2(x))
        return x


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT-2; the defaults are the small one with 124M parameters."""
    block_size: int = 1024
    vocab_size: int = 50257
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True        # in the linear layers and norms, as in GPT-2

    def __post_init__(self):
        if self.n_embd % self.n_head:
            raise ValueError(f"{self.n_embd=} is no multiple of {self.n_head=}")

    @property
    def context(self):
        """block_size under the name that the engine and the other models use."""
        return self.block_size

    @property
    def d_head(self):
        return self.n_embd // self.n_head

    @property
    def cached(self):
        """What a layer keeps of each token, (heads, size) each: keys and values. See gpt/cache.py"""
        return (self.n_head, self.d_head), (self.n_head, self.d_head)


class GPT(nn.Module):

    def __init__(self, config, attend=sdpa, generator=None):
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(config.vocab_size, config.n_embd),
            wpe=nn.Embedding(config.block_size, config.n_embd),
            drop=nn.Dropout(config.dropout),
            h=nn.ModuleList([Block(config, attend) for _ in range(config.n_layer)]),
            ln_f=LayerNorm(config.n_embd, bias=config.bias),
        ))
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.transformer.wte.weight = self.lm_head.weight    # Press and Wolf 2017, https://arxiv.org/abs/1608.05859
        self._init_weights(generator)

    @torch.no_grad()
    def _init_weights(self, generator=None):
        """N(0, 0.02), biases 0; what writes into the residual stream less, by 1/sqrt(2 n_layer): GPT-2, section 2.3"""
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                p.zero_()
            elif p.dim() == 2:
                scale = (2 * self.config.n_layer) ** -0.5 if name.endswith("c_proj.weight") else 1
                p.normal_(0, 0.02 * scale, generator=generator)

    def get_num_params(self, non_embedding=True):
        """Parameters, by default without the positions; the token embedding counts, since it is the head as well."""
        n_params = sum(p.numel() for p in self.parameters())
        return n_params - self.transformer.wpe.weight.numel() if non_embedding else n_params

    def select(self, rows):
        """Which adapter each row of the batch uses: nothing here; LoRA layers fill it in."""

    def forward(self, idx, targets=None, *, positions=None, doc=None, cache=None, rows=None, counts=None):
        """
        Logits of every position, or with counts of the last ones, and the loss where there are targets;
        arguments as in gpt/llama.py.

        idx: (B, T) ids;  targets: (B, T) ids, -1 where none counts;  positions: (B, T)
        doc: (B, T) packed documents;  cache, rows, counts: see gpt/cache.py
        returns: logits (B, T, V), with counts (B, 1, V), loss in nats per counted target or None
        """
        reading = Reading(idx, cache, rows, counts)
        pos = reading.positions if positions is None else positions               # (T,) or (B, T)
        if cache is None and idx.size(1) > self.config.block_size:
            raise ValueError(f"{idx.size(1)} tokens for a context of {self.config.block_size}")
        x = self.transformer.drop(self.transformer.wte(idx) + self.transformer.wpe(pos))  # (B, T, C)
        for n, block in enumerate(self.transformer.h):
            x = block(x, doc, reading.layer(n))
        x = reading.close(x)                                                      # (B, T or 1, C)
        logits = self.lm_head(self.transformer.ln_f(x))                           # (B, T or 1, V)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--describe", action="store_true", help="print the table; there is nothing else to do")
    p.add_argument("--layers", type=int, default=12, help="blocks [%(default)s]")
    p.add_argument("--heads", type=int, default=12, help="attention heads [%(default)s]")
    p.add_argument("--width", type=int, default=768, help="channels of the residual stream [%(default)s]")
    p.add_argument("--context", type=int, default=1024, help="tokens [%(default)s]")
    p.add_argument("--vocab", type=int, default=50257, help="ids [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    from gpt.describe import lines
    args = parse(argv)
    if args.width % args.heads:
        sys.exit(f"--width {args.width} is no multiple of --heads {args.heads}. Give one that is")
    with torch.device("meta"):                               # shapes alone, no memory
        model = GPT(GPTConfig(args.context, args.vocab, args.layers, args.heads, args.width))
    print("\n".join(lines(model)))


if __name__ == "__main__":
    main()
