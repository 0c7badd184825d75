"""
Mixed precision: multiply in 16 bits, keep weights, gradients and moments in 32.

    mixed = Mixed(where, torch.float16)
    with mixed.autocast():
        loss = model(x, y)[1]
    mixed.scaled(loss).backward()
    mixed.unscale(model.parameters())                       # now clip and step, unless something is not finite
    mixed.update(finite)

bfloat16 has float32's range with 8 bits of precision and needs nothing more. float16 has 11 bits, but its
smallest number is 6e-8, and most gradients of a language model are smaller: they would round to zero. So the
loss is multiplied by a large number before backward and the gradients are divided by it after. Too large a
number overflows; then the step is left out and the number halved. After `patience` good steps it is doubled.
Micikevicius et al. 2017, section 3.2: https://arxiv.org/abs/1710.03740

It takes the same decisions as torch.amp.GradScaler. Left out on purpose: float8.
"""

import contextlib

import torch

from train.device import bfloat16_is_fast

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Mixed:
    """dtype: what autocast multiplies in, float32 for no autocast [bfloat16 where the processor has it]"""

    def __init__(self, where, dtype=None, scale=2.0**16, patience=2000):
        self.where = where
        self.dtype = dtype or (torch.bfloat16 if bfloat16_is_fast(where) else torch.float32)
        self.scale = scale if self.dtype == torch.float16 else 1.0
        self.patience, self.good = patience, 0               # good: finite steps since the scale last changed

    def autocast(self):
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.where.type, self.dtype)

    def scaled(self, loss):
        return loss if self.scale == 1 else loss * self.scale

    @torch.no_grad()
    def unscale(self, params):
        """Divide the gradients by the scale. One that overflowed stays infinite or nan, and so does their norm."""
        if self.scale != 1:
            for p in params:
                if p.grad is not None:
                    p.grad.mul_(1 / self.scale)

    def update(self, finite):
        """finite: whether all gradients of this step were"""
        if self.dtype != torch.float16:
            return
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.scale /= 2
        elif self.good == self.patience:
            self.scale, self.good = self.scale * 2, 0

    def state_dict(self):
        return {"scale": self.scale, "good": self.good}

    def load_state_dict(self, state):
        self.scale, self.good = state["scale"], state["good"]
