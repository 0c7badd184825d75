"""
The gate of the feed-forward layer in one pass over memory forward and one backward.

    y = silu(gate) up        with silu(a) = a s(a) and s(a) = 1 / (1 + exp(-a))
    Shazeer 2020, eq. 5, without its matrices: https://arxiv.org/abs/2002.05202

    dup   = dy silu(gate)
    dgate = dy up s (1 + gate (1 - s))        from s' = s (1 - s)

Autograd keeps silu(gate) beside gate and up, and passes over memory five times; here forward reads two
numbers and writes one, backward reads three and writes two, and s is computed again: 6 and 10 bytes an
element in bfloat16.

Left out on purpose: gate and up as two halves of one matrix (ours are two), other gates.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl


def plain(gate, up):
    """The definition, at any precision. gate, up: (...);  returns: like gate"""
    wide = gate if gate.dtype == torch.float64 else gate.float()
    return (F.silu(wide) * up).type_as(gate)


@triton.jit
def forward_kernel(gate, up, y, n, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)              # 64 bits: n may pass 2^31
    a = tl.load(gate + at, at < n, 0.0).to(tl.float32)
    b = tl.load(up + at, at < n, 0.0).to(tl.float32)
    tl.store(y + at, a * tl.sigmoid(a) * b, at < n)


@triton.jit
def backward_kernel(dy, gate, up, dgate, dup, n, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.load(dy + at, at < n, 0.0).to(tl.float32)
    a = tl.load(gate + at, at < n, 0.0).to(tl.float32)
    b = tl.load(up + at, at < n, 0.0).to(tl.float32)
    s = tl.sigmoid(a)
    tl.store(dgate + at, d * b * s * (1 + a * (1 - s)), at < n)
    tl.store(dup + at, d * a * s, at < n)


LAUNCH = {"BLOCK": 2048, "num_warps": 4}    # 16 numbers a thread: two 16-byte loads in bfloat16


def grid(n):
    return (triton.cdiv(n, LAUNCH["BLOCK"]),)


class SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate, up):
        ctx.save_for_backward(gate, up)
        y = torch.empty_like(gate)
        forward_kernel[grid(y.numel())](gate, up, y, y.numel(), **LAUNCH)
        return y

    @staticmethod
    def backward(ctx, dy):
        gate, up = ctx.saved_tensors
        dgate, dup = torch.empty_like(gate), torch.empty_like(up)
        backward_kernel[grid(gate.numel())](dy.contiguous(), gate, up, dgate, dup, gate.numel(), **LAUNCH)
        return dgate, dup


def swiglu(gate, up):
    """
    The same as plain(), to rounding: computed in float32, rounded once.
    gate, up: one shape and dtype, float32, bfloat16 or float16, on a CUDA device;  returns: like gate.
    Raises ValueError for other shapes, dtypes and devices.
    """
    if gate.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"{gate.dtype=}: the kernel takes float32, bfloat16 and float16; plain() the others")
    if gate.shape != up.shape or gate.dtype != up.dtype or gate.numel() == 0:
        raise ValueError(f"{gate.shape=} {gate.dtype=}, {up.shape=} {up.dtype=}: need the same, and not empty")
    if not gate.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(f"{gate.device=}: Triton needs CUDA, or TRITON_INTERPRET=1 in the environment; or use plain()")
    return SwiGLU.apply(gate.contiguous(), up.contiguous())


def builds(arch):
    """What kernels/compile.py compiles: both directions in bfloat16."""
    options, x = {"num_warps": LAUNCH["num_warps"], "num_stages": 3}, "*bf16"
    for name, kernel, args in [("forward", forward_kernel, ("gate", "up", "y")),
                               ("backward", backward_kernel, ("dy", "gate", "up", "dgate", "dup"))]:
        yield {"name": f"swiglu {name}", "kernel": kernel, "signature": {**{a: x for a in args}, "n": "i32:16"},
               "constants": {"BLOCK": LAUNCH["BLOCK"]}, "options": options, "spills": 0}
