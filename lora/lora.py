"""
LoRA: a frozen matrix W plus a product of two thin ones, which alone are trained. Hu et al. 2021, section 4.1,
https://arxiv.org/abs/2106.09685

    y = W x + (alpha / r) B A x          A: (r, in) random, B: (out, r) zero: at the start nothing has changed

    report = inject(model, LoRAConfig(rank=8))          # every nn.Linear of the blocks; the report says what was left
    LoRAConfig(targets=LLAMA + EMBEDDING)               # and what goes in and out: for tokens that are new to the base
    train only parameters(model), then merge(model)     # W + (alpha / r) B A: the adapter costs nothing any more

Several adapters live on one base, each under a name; model.select(rows) says which of them each row of the
next batch uses, so that requests with different adapters run in one batch. Three variants are flags:

    rslora    alpha / sqrt(r) in place of alpha / r, so that large ranks learn too (Kalajdzievski 2023, 2312.03732)
    dora      direction and length apart: m (W + BA) / |W + BA|, the length of each row (Liu et al. 2024, 2402.09353)
    LoRA+     B learns faster than A: groups(ratio) (Hayou et al. 2024, 2402.12354)

Left out on purpose: quantized bases, biases.

B = batch, T = time, R = rank
"""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

LLAMA = "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
GPT2 = "c_attn", "c_proj", "c_fc"
EMBEDDING = "embed_tokens", "wte", "lm_head"


@dataclass(frozen=True)
class LoRAConfig:
    rank: int = 8
    alpha: float = 16.0          # scale of what is added, over rank: a rate that fits one rank then fits all
    dropout: float = 0.0         # on what goes into A
    targets: tuple = LLAMA + GPT2  # last parts of module names
    rslora: bool = False
    dora: bool = False

    def __post_init__(self):
        if self.rank < 1 or not 0 <= self.dropout < 1 or not self.targets:
            raise ValueError(f"{self}: the rank is at least 1, dropout in [0, 1), and something must be adapted")

    @property
    def scale(self):
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class Adapter(nn.Module):
    """
    The two thin matrices, and with dora the length of each row, that one adapter adds to one layer. An embedding reads
    A's columns where a linear layer multiplies by A; there B is random and A zero, as in PEFT, and dora is plain LoRA.
    """

    def __init__(self, base, config, generator=None):
        super().__init__()
        self.config, self.table = config, isinstance(base, nn.Embedding)
        size, out = base.weight.shape if self.table else base.weight.shape[::-1]
        like = dict(dtype=base.weight.dtype, device=base.weight.device)
        bound = size ** -0.5                                 # PEFT's, kaiming_uniform_(a = sqrt(5))
        self.A = nn.Parameter(torch.zeros(config.rank, size, **like))
        self.B = nn.Parameter(torch.zeros(out, config.rank, **like))
        with torch.no_grad():
            if self.table:
                self.B.normal_(0, out ** -0.5, generator=generator)
            else:
                self.A.uniform_(-bound, bound, generator=generator)
        dora = config.dora and not self.table
        self.m = nn.Parameter(base.weight.detach().norm(dim=1)) if dora else None  # (out,)
        self.dropout = nn.Dropout(config.dropout)

    def delta(self, wide=torch.float32):
        """What a merge adds to the weight, without dora: of its shape, in a type at least as wide as `wide`."""
        wide = torch.promote_types(self.A.dtype, wide)
        added = self.config.scale * (self.B.to(wide) @ self.A.to(wide))
        return added.T if self.table else added

    def lengths(self, weight):
        """|W + scale BA| of each row, (out,). No gradient flows through it: Liu et al. 2024, section 4.3"""
        return (weight.detach() + self.delta(weight.dtype).detach()).norm(dim=1).clamp(min=1e-12)

    def forward(self, x, y, weight):
        """x: (..., in), or ids (...);  y = W x: (..., out);  returns: y with this adapter"""
        thin = F.embedding(x, self.A.T) if self.table else F.linear(self.dropout(x), self.A)      # (..., R)
        added = self.config.scale * F.linear(thin, self.B)
        if self.m is None:
            return y + added
        if self.config.dropout and self.training:            # the base's part is dropped alike
            y = F.linear(self.dropout(x), weight)
        return self.m / self.lengths(weight) * (y + added)


class Selection:
    """Which adapter is in use: one name for all rows, or a list with a name or None for each row of the batch."""

    def __init__(self):
        self.rows, self.names = None, set()

    def select(self, rows):
        """ValueError if there is no adapter of that name. Layers that it was not put on answer as the base does."""
        named = {rows} if rows is None or isinstance(rows, str) else {*rows}
        if unknown := named - {None} - self.names:
            raise ValueError(f"no adapter {', '.join(sorted(unknown))}, but {', '.join(sorted(self.names)) or 'none'}")
        self.rows = rows


class LoRALinear(nn.Module):
    """A frozen nn.Linear, or nn.Embedding, and the adapters on it, by name."""

    def __init__(self, base, selection):
        super().__init__()
        self.base, self.selection, self.adapters = base, selection, nn.ModuleDict()
        self.unmerged = None                                 # the weight as it was, while an adapter is merged into it

    @property
    def weight(self):
        return self.base.weight

    def forward(self, x):
        y, rows = self.base(x), self.selection.rows          # (B, T, out)
        if rows is None or isinstance(rows, str):
            return self.adapters[rows](x, y, self.weight) if rows in self.adapters else y
        used = sorted({name for name in rows if name in self.adapters})
        if not used:
            return y
        if len({*rows}) == 1:
            return self.adapters[used[0]](x, y, self.weight)
        y = y.clone()
        for name in used:                                    # each adapter reads its own rows
            own = torch.tensor([i for i, other in enumerate(rows) if other == name], device=x.device)
            y[own] = self.adapters[name](x[own], y[own], self.weight)
        return y


# ----------------------------------------------------------------------------
# a model and its adapters

def layers(model):
    """[(name, LoRALinear), ...] in the model's order."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, LoRALinear)]


def inject(model, config, name="default", generator=None):
    """
    Put an adapter on every linear layer and embedding whose name ends in one of config.targets, freeze all else, and
    use it. An embedding and a head that share their weights get an adapter each, and cannot be merged.
    returns: {"adapted": [names], "left": [names of other modules with weights of their own]}
    ValueError if a name is taken, or if nothing would be adapted
    """
    if any(name in layer.adapters for _, layer in layers(model)):
        raise ValueError(f"there is an adapter {name!r} already")
    found = {path: module for path, module in model.named_modules()
             if isinstance(module, (nn.Linear, nn.Embedding, LoRALinear)) and path.split(".")[-1] in config.targets}
    if not found:
        raise ValueError(f"no linear layer of this model is named {' or '.join(config.targets)}")
    if getattr(model, "head_loss", None) and any(path.endswith("lm_head") for path in found):
        raise ValueError("head and loss in one pass by an adapter on the head: build the model without head_loss")
    selection = next((layer.selection for _, layer in layers(model)), None) or Selection()
    model.requires_grad_(False)
    for path, module in found.items():
        if not isinstance(module, LoRALinear):
            parent, _, leaf = path.rpartition(".")
            layer = LoRALinear(module, selection)
            setattr(model.get_submodule(parent), leaf, layer)
        model.get_submodule(path).adapters[name] = Adapter(model.get_submodule(path).base, config, generator)
    selection.names.add(name)
    model.select = selection.select
    model.select(name)
    for p in parameters(model, name):
        p.requires_grad_(True)
    adapted = [path for path, layer in layers(model) if name in layer.adapters]
    left = [path for path, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None
            and not any(path == a or path.startswith(f"{a}.") for a in adapted)]
    return {"adapted": adapted, "left": left}


def parameters(model, name="default"):
    """What an adapter trains."""
    return [p for _, layer in layers(model) if name in layer.adapters for p in layer.adapters[name].parameters()]


def groups(model, name="default", ratio=1.0):
    """[(parameters, factor of the learning rate), ...]: with LoRA+, B learns `ratio` times as fast (the paper: 16)."""
    adapters = [layer.adapters[name] for _, layer in layers(model) if name in layer.adapters]
    rest = [p for adapter in adapters for p in adapter.parameters() if p is not adapter.B]
    return [(rest, 1.0), ([adapter.B for adapter in adapters], ratio)]


def state(model, name="default"):
    """{"layer.A": tensor, ...}: an adapter's weights, copied."""
    return {f"{path}.{key}": p.detach().clone() for path, layer in layers(model) if name in layer.adapters
            for key, p in layer.adapters[name].named_parameters()}


@torch.no_grad()
def load_state(model, weights, name="default"):
    """Write state() back; ValueError unless exactly its tensors are there."""
    own = {f"{path}.{key}": p for path, layer in layers(model) if name in layer.adapters
           for key, p in layer.adapters[name].named_parameters()}
    if own.keys() != weights.keys():
        raise ValueError(f"the adapter differs in {', '.join(sorted(own.keys() ^ weights.keys())[:4])}")
    for key, p in own.items():
        if p.shape != weights[key].shape:
            raise ValueError(f"{key} has shape {tuple(weights[key].shape)}, this model wants {tuple(p.shape)}")
        p.copy_(weights[key])


def remove(model, name="default"):
    """Take an adapter off; no adapter is selected from then on."""
    for _, layer in layers(model):
        layer.selection.names.discard(name)
        if name in layer.adapters:
            del layer.adapters[name]
    model.select(None)


# ----------------------------------------------------------------------------
# merging

@torch.no_grad()
def merge(model, name="default"):
    """Fold an adapter into the weights, so that it costs nothing. A copy of them is kept for unmerge()."""
    weights = [id(module.weight) for module in model.modules() if isinstance(module, (nn.Linear, nn.Embedding))]
    for path, layer in layers(model):
        if name in layer.adapters and weights.count(id(layer.weight)) > 1:
            raise ValueError(f"{path} shares its weights, so a merge would change two layers: untie(model) first")
    for path, layer in layers(model):
        if layer.unmerged is not None:
            raise ValueError(f"an adapter is merged into {path} already: unmerge(model) first")
        if name in layer.adapters:
            adapter, weight = layer.adapters[name], layer.weight
            total = weight + adapter.delta()                 # in float32 at least
            if adapter.m is not None:
                total *= (adapter.m / total.norm(dim=1).clamp(min=1e-12))[:, None]
            layer.unmerged = weight.clone()
            weight.copy_(total)
    model.select(None)


@torch.no_grad()
def unmerge(model):
    """The base again, to the bit. (Subtracting what was added would leave its rounding behind.)"""
    for _, layer in layers(model):
        if layer.unmerged is not None:
            layer.weight.copy_(layer.unmerged)
            layer.unmerged = None


def untie(model):
    """Give the head weights of its own, for now equal to the embedding's: then adapters on both can be merged."""
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())


def strip(model):
    """Every LoRALinear becomes the nn.Linear that it holds, merged or not: the model that gpt/ knows, to be saved."""
    for path, layer in layers(model):
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer.base)
    del model.select                                         # the class's own is back
