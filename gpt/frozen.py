"""
The decode step of a Llama in numpy: the numbers of the model's own forward, three times sooner.

    engine = Engine(freeze(model), tokenizer, slots=8)      # a Llama or Qwen3 on the CPU; any other comes back as it is

One token of a small model is hardly any arithmetic. What takes the time is that torch spends 1 to 3 microseconds on an
operation of any size and 3 more on a module, and a token of four layers takes four hundred of them; numpy spends 0.4.
So that step stands here once more. Prompts are read by the model itself, and both write into one cache.

    q, k and v are one product, gate and up another         matrices lie (in, out), as a row times a matrix reads them
    q and k are normed and turned as one array              the norms' weights go into the matrices, once
    products and attention stay torch's                     all else is numpy's

Adapters (low-rank, lora/lora.py) are put on under a name, and select() says which of them each row uses. The model
reads the prompts, so it has to have the same ones; without any, a step does not even ask.

    fast.attach("code", {"model.layers.0.mlp.up_proj": (A, B, scale), ...})
    fast.select(["code", None, None])                        # what the engine does before each step

The copy does not follow its model: train further, freeze again, or prompts are read with new weights and replies
written with old ones. It pays up to a few hundred channels; beyond, the products rule, and int8 weights pay
(gpt/int8.py). Left out on purpose: GPT-2, latent attention, mixtures, dora.

B = batch, S = keys seen, C = channels, H = query heads, G = key/value heads, D = channels of a head, V = vocabulary,
R = rank
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt import llama

KNOWN = {llama.Llama, llama.Decoder, llama.Block, llama.Attention, llama.MLP, llama.RMSNorm, nn.ModuleList, nn.Linear,
         nn.Embedding, nn.Identity, nn.Dropout}              # LoRA and int8 put others in their place
ATTN, MLP = "model.layers.{}.self_attn.", "model.layers.{}.mlp."
SIDE = {"qkv": (ATTN + "q_proj", ATTN + "k_proj", ATTN + "v_proj"), "out": (ATTN + "o_proj",),  # what lies side by side
        "up": (MLP + "gate_proj", MLP + "up_proj"), "down": (MLP + "down_proj",)}
NORMS = {"qkv": "model.layers.{}.input_layernorm", "up": "model.layers.{}.post_attention_layernorm"}


def unit(x, floor):
    """x / sqrt(|x|^2 + floor) over the last axis: RMSNorm, if floor = C eps and what follows is times sqrt(C)."""
    return x / np.sqrt(np.vecdot(x, x, keepdims=True) + floor)


def matrix(*weights, norm=None):
    """Weights (out, in) one under the other, behind a norm's weight (in,), as one matrix (in, sum of outs)."""
    weight = torch.cat(weights) if norm is None else torch.cat(weights) * (norm * len(norm) ** 0.5)
    return weight.t().contiguous()


def product(x, weight, add=None, thin=()):
    """
    x (B, in) times weight (in, out), a tensor: torch's product, since numpy's would start threads of its own.
    thin: [(rows, A (in, R), B (R, out)), ...], what adapters add to their rows
    """
    wide = torch.from_numpy(x)
    y = (torch.mm(wide, weight) if add is None else torch.addmm(torch.from_numpy(add), wide, weight)).numpy()
    for rows, A, B in thin:
        y[rows] += product(product(x[rows], A), B)
    return y


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
        self.model, self.config, self.parameters = model, c, model.parameters
        self.adapters, self.rows, self.thin = {None: {}}, None, {}    # name -> place -> (A, B); place -> see product()
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
        c, (floor, head_floor) = self.config, self.floors
        H, G, D, N = c.n_head, c.n_kv_head, c.d_head, c.n_hidden
        S, row = int(lengths.max()) + 1, np.arange(len(ids))
        cos, sin, mask = self.cos[lengths], self.sin[lengths], self.mask(lengths, S)  # (B, 1, D) twice, (B, 1, 1, S)
        x, thin = self.embed[ids], self.thin                                      # (B, C)
        for rows, A, B in thin.get("embed", ()):
            x[rows] += product(A[ids[rows]], B)
        seen = zip(keys[:, :, :, :S].unbind(), values[:, :, :, :S].unbind())      # (B, G, S, D) twice, of each layer
        for n, (layer, k, v, (all_k, all_v)) in enumerate(zip(self.layers, keys.numpy(), values.numpy(), seen)):
            qkv = product(unit(x, floor), layer.qkv, None, thin.get((n, "qkv"), ())).reshape(len(ids), H + 2*G, D)
            qk = qkv[:, :H + G]                                                   # (B, H + G, D)
            if c.qk_norm:
                qk = unit(qk, head_floor) * layer.qk_norm
            qk = qk * cos + qk.take(self.swap, -1) * sin
            k[row, :, lengths], v[row, :, lengths] = qk[:, H:], qkv[:, H + G:]
            q = torch.from_numpy(qk[:, :H, None])                                 # (B, H, 1, D)
            y = F.scaled_dot_product_attention(q, all_k, all_v, mask, enable_gqa=H != G)
            x = product(y.numpy().reshape(len(ids), -1), layer.out, x, thin.get((n, "out"), ()))
            up = product(unit(x, floor), layer.up, None, thin.get((n, "up"), ())) # (B, 2N)
            half = up[:, :N]                                                      # the gate's: silu(2a) = a + a tanh(a)
            x = product((half + half * np.tanh(half)) * up[:, N:], layer.down, x, thin.get((n, "down"), ()))
        lengths += 1
        return product(unit(x, floor), self.head, None, thin.get("head", ()))

    def mask(self, lengths, S):
        """What is added to the scores of row b, which has lengths[b] + 1 keys of S; None where that is nothing."""
        window = self.config.window or S
        if window >= S and lengths.min() == S - 1:
            return None
        at, last = np.arange(S), lengths[:, None, None, None]
        return torch.from_numpy(np.where((at <= last) & (at > last - window), 0, -np.inf).astype(self.embed.dtype))

    @torch.no_grad()
    def attach(self, name, parts):
        """
        Put an adapter on, or another one under its name. parts: {path of a layer in the model: (A (R, in), B (out, R),
        scale)}; of the embedding, A (R, V) and B (C, R);  ValueError for a layer that no Llama has
        """
        dtype, module, places = torch.from_numpy(self.embed).dtype, self.model.get_submodule, {}
        parts = {path: (A.to(dtype), B.to(dtype) * scale) for path, (A, B, scale) in parts.items()}

        def lay(place, paths, norm=None, factors=(1, 1, 1)):
            own = [parts[path][0] for path in paths if path in parts]
            outs = [factor * parts.pop(path)[1].t() if path in parts else torch.zeros(0, len(module(path).weight))
                    for path, factor in zip(paths, factors)]
            if own:
                places[place] = matrix(*own, norm=norm and module(norm).weight), torch.block_diag(*outs).to(dtype)

        for n in range(len(self.layers)):
            for key, paths in SIDE.items():
                lay((n, key), [path.format(n) for path in paths], NORMS[key].format(n) if key in NORMS else None,
                    (0.5, 1) if key == "up" else (1, 1, 1))                       # the gate's is halved, as in Layer
        lay("head", ["lm_head"], "model.norm")
        if table := parts.pop("model.embed_tokens", None):
            places["embed"] = table[0].t().numpy().copy(), table[1].t().contiguous()
        if parts:
            raise ValueError(f"no layer {', '.join(sorted(parts))} to put an adapter on")
        self.adapters[name] = places
        self.select(None)

    def detach(self, name):
        """Take an adapter off; no adapter is selected from then on."""
        del self.adapters[name]
        self.select(None)

    def select(self, rows):
        """Which adapter is in use: one name for all rows, or a list with a name or None for each row of the batch."""
        self.model.select(rows)
        if rows == self.rows:
            return
        names = list(dict.fromkeys(rows)) if isinstance(rows, list) else [rows]
        groups = {name: np.flatnonzero([other == name for other in rows]) for name in names} if len(names) > 1 else {
            names[0]: slice(None)}
        if unknown := groups.keys() - self.adapters.keys():
            raise ValueError(f"no adapter {', '.join(sorted(unknown))} is attached")
        self.rows, self.thin = rows[:] if isinstance(rows, list) else rows, {}
        for name, own in groups.items():
            for place, (A, B) in self.adapters[name].items():
                self.thin.setdefault(place, []).append((own, A, B))


@torch.no_grad()
def freeze(model):
    """A Frozen copy of a Llama in float32 or float64 on the CPU; any other model, adapters or int8 in it, itself."""
    if type(model) is not llama.Llama:
        return model
    weight = next(model.parameters())
    numeric = weight.dtype in (torch.float32, torch.float64) and weight.device.type == "cpu"
    known = {type(module) for module in model.modules()} <= KNOWN
    return Frozen(model) if known and numeric else model
