"""
The decode step of a Llama in numpy: the numbers of the model's own forward, three times sooner.

    engine = Engine(freeze(model), tokenizer, slots=8)      # a Llama or Qwen3 on the CPU; any other comes back as it is

One token of a small model is hardly any arithmetic. What takes the time is that torch spends 1 to 3 microseconds on an
operation of any size and 3 more on a module, and a token of four layers takes four hundred of them; numpy spends 0.4.
So that step stands here once more. Prompts are read by the model itself, and both write into one cache.

    q, k and v are one product, gate and up another         matrices lie (in, out), as a row times a matrix reads them
    q and k are normed and turned as one array              the norms' weights go into the matrices, once
    products and attention stay torch's                     all else is numpy's

The copy does not follow its model: train further, freeze again, or prompts are read with new weights and replies
written with old ones. It pays up to a few hundred channels; beyond, the products rule, and int8 weights pay
(gpt/int8.py). Left out on purpose: GPT-2, latent attention, mixtures, adapters.

B = batch, S = keys seen, C = channels, H = query heads, G = key/value heads, D = channels of a head, V = vocabulary
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt import llama

KNOWN = {llama.Llama, llama.Decoder, llama.Block, llama.Attention, llama.MLP, llama.RMSNorm, nn.ModuleList, nn.Linear,
         nn.Embedding, nn.Identity, nn.Dropout}              # LoRA and int8 put others in their place


def unit(x, floor):
    """x / sqrt(|x|^2 + floor) over the last axis: RMSNorm, if floor = C eps and what follows is times sqrt(C)."""
    return x / np.sqrt(np.vecdot(x, x, keepdims=True) + floor)


def matrix(*weights, norm=None):
    """Weights (out, in) one under the other, behind a norm's weight (in,), as one matrix (in, sum of outs)."""
    weight = torch.cat(weights) if norm is None else torch.cat(weights) * (norm * len(norm) ** 0.5)
    return weight.t().contiguous()


def product(x, weight, add=None):
    """x (B, in) times weight (in, out), a tensor: torch's product, since numpy's would start threads of its own."""
    x = torch.from_numpy(x)
    return (torch.mm(x, weight) if add is None else torch.addmm(torch.from_numpy(add), x, weight)).numpy()


class Layer:
    """The weights of a block."""

    def __init__(self, block, config):
        attn, mlp, D = block.self_attn, block.mlp, config.d_head
        if config.qk_norm:
            rows = [attn.q_norm.weight] * config.n_head + [attn.k_norm.weight] * config.n_kv_head
            self.qk_norm = (torch.stack(rows) * D ** 0.5).numpy()                 # (H + G, D)
        self.qkv = matrix(attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight,
                          norm=block.input_layernorm.weight)                      # (C, (H + 2G) D)
        self.out = matrix(attn.o_proj.weight)                                     # (H D, C)
        self.up = matrix(mlp.gate_proj.weight / 2, mlp.up_proj.weight, norm=block.post_attention_layernorm.weight)
        self.down = matrix(mlp.down_proj.weight)                                  # (hidden, C)


class Frozen:
    """Takes a Llama's place in an Engine; made by freeze()."""

    def __init__(self, model):
        c, head = model.config, model.lm_head.weight
        self.model, self.config, self.parameters, self.select = model, c, model.parameters, model.select
        self.embed = model.model.embed_tokens.weight.numpy().copy()               # (V, C)
        self.layers = [Layer(block, c) for block in model.model.layers]
        self.head = matrix(head, norm=model.model.norm.weight)                    # (C, V)
        cos, sin = (x[0, 0].to(head.dtype) for x in llama.turns(torch.arange(c.context), c.d_head, c.rope_theta))
        self.cos = torch.cat([cos, cos], -1).numpy()[:, None]                     # (context, 1, D)
        self.sin = torch.cat([-sin, sin], -1).numpy()[:, None]
        self.swap = np.roll(np.arange(c.d_head), c.d_head // 2)                   # each channel's partner
        self.floors = [self.embed.dtype.type(n * c.norm_eps) for n in (c.n_embd, c.d_head)]

    def __call__(self, idx, *, cache, counts=None):
        """As Llama.forward: idx (B, T) ids that follow what the cache holds;  returns: logits (B, 1, V), None"""
        if idx.size(1) > 1:
            return self.model(idx, cache=cache, counts=counts)
        logits = self.step(idx[:, 0].numpy(), cache.lengths.numpy(), *cache.stores)
        return torch.from_numpy(logits)[:, None], None

    def step(self, ids, lengths, keys, values):
        """ids, lengths: (B,);  keys, values: (n_layer, B, G, context, D), written to;  returns: logits (B, V)"""
        c, B, (floor, head_floor) = self.config, len(ids), self.floors
        H, G, D, N = c.n_head, c.n_kv_head, c.d_head, c.n_hidden
        S, row = int(lengths.max()) + 1, np.arange(B)
        cos, sin, mask = self.cos[lengths], self.sin[lengths], self.mask(lengths, S)  # (B, 1, D) twice, (B, 1, 1, S)
        x = self.embed[ids]                                                       # (B, C)
        seen = zip(keys[:, :, :, :S].unbind(), values[:, :, :, :S].unbind())      # (B, G, S, D) twice, of each layer
        for layer, k, v, (all_k, all_v) in zip(self.layers, keys.numpy(), values.numpy(), seen):
            qkv = product(unit(x, floor), layer.qkv).reshape(B, H + 2*G, D)
            qk = qkv[:, :H + G]                                                   # (B, H + G, D)
            if c.qk_norm:
                qk = unit(qk, head_floor) * layer.qk_norm
            qk = qk * cos + qk.take(self.swap, -1) * sin
            k[row, :, lengths], v[row, :, lengths] = qk[:, H:], qkv[:, H + G:]
            q = torch.from_numpy(qk[:, :H, None])                                 # (B, H, 1, D)
            y = F.scaled_dot_product_attention(q, all_k, all_v, mask, enable_gqa=H != G)
            x = product(y.numpy().reshape(B, -1), layer.out, x)
            up = product(unit(x, floor), layer.up)                                # (B, 2N)
            half = up[:, :N]                                                      # the gate's: silu(2a) = a + a tanh(a)
            x = product((half + half * np.tanh(half)) * up[:, N:], layer.down, x)
        lengths += 1
        return product(unit(x, floor), self.head)

    def mask(self, lengths, S):
        """What is added to the scores of row b, which has lengths[b] + 1 keys of S; None where that is nothing."""
        window = self.config.window or S
        if window >= S and lengths.min() == S - 1:
            return None
        at, last = np.arange(S), lengths[:, None, None, None]
        return torch.from_numpy(np.where((at <= last) & (at > last - window), 0, -np.inf).astype(self.embed.dtype))


@torch.no_grad()
def freeze(model):
    """A Frozen copy of a Llama in float32 or float64 on the CPU; any other model, adapters or int8 in it, itself."""
    if type(model) is not llama.Llama:
        return model
    weight = next(model.parameters())
    numeric = weight.dtype in (torch.float32, torch.float64) and weight.device.type == "cpu"
    known = {type(module) for module in model.modules()} <= KNOWN
    return Frozen(model) if known and numeric else model
