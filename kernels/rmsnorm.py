"""
RMSNorm in one pass over memory forward and one backward.

    y = x r w        with r = 1 / sqrt(mean(x^2) + eps), one number for each row
    Zhang and Sennrich 2019, eq. 4: https://arxiv.org/abs/1910.07467

With h = x r (the normalized row) and g = dy w, the gradient that reaches h,

    dx = r (g - h mean(g h))       the second term because r depends on every x of its row
    dw = sum over the rows of dy h

Forward reads x and writes y; backward reads x and dy and writes dx: 4 and 6 bytes an element in
bfloat16, which is all the time there is, since the arithmetic is a few operations an element. Only r
is kept for backward, not h.

Left out on purpose: adding the residual in the same pass, LayerNorm's mean and bias.

N = rows, C = channels
"""

import torch
import triton
import triton.language as tl


def plain(x, w, eps=1e-6):
    """The definition, at any precision. x: (..., C);  w: (C,);  returns: like x"""
    wide = x if x.dtype == torch.float64 else x.float()
    r = (wide.pow(2).mean(dim=-1, keepdim=True) + eps).rsqrt()                    # (..., 1)
    return (wide * r * w).type_as(x)


def tiled_backward(dy, x, w, r, rows):
    """
    The gradients by hand as the kernel forms them: `rows` rows at a time, each block adding its share to dw.
    dy, x: (N, C);  w: (C,);  r: (N,);  returns: dx (N, C), dw (C,)
    """
    dx, dw = torch.empty_like(x), torch.zeros_like(w)
    for start in range(0, len(x), rows):
        block = slice(start, start + rows)
        h, g = x[block] * r[block, None], dy[block] * w                           # (rows, C) twice
        dx[block] = r[block, None] * (g - h * (g * h).mean(dim=1, keepdim=True))
        dw += (dy[block] * h).sum(dim=0)
    return dx, dw


# ----------------------------------------------------------------------------
# the kernels: a program holds a tile of ROWS whole rows in its registers

@triton.jit
def forward_kernel(x, w, y, r, N, C, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)               # (ROWS,) 64 bits: N C may pass 2^31
    col = tl.arange(0, BLOCK)                                                     # (BLOCK,) at least C
    at = row[:, None] * C + col[None, :]                                          # (ROWS, BLOCK)
    inside = (row < N)[:, None] & (col < C)[None, :]
    xs = tl.load(x + at, inside, 0.0).to(tl.float32)
    ws = tl.load(w + col, col < C, 0.0).to(tl.float32)                            # (BLOCK,)
    rs = tl.rsqrt(tl.sum(xs * xs, 1) / C + eps)                                   # (ROWS,)
    tl.store(y + at, xs * rs[:, None] * ws[None, :], inside)
    tl.store(r + row, rs, row < N)


@triton.jit
def backward_kernel(dy, x, w, r, dx, shares, N, C, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """
    Each program takes every P-th tile and keeps its share of dw in registers to the end: dw costs (P, C)
    numbers of traffic and no atomics, so that the same input gives the same bits.
    """
    col = tl.arange(0, BLOCK)                                                     # (BLOCK,)
    ws = tl.load(w + col, col < C, 0.0).to(tl.float32)
    share = tl.zeros((ROWS, BLOCK), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(N, ROWS), tl.num_programs(0)):
        row = tile * ROWS + tl.arange(0, ROWS).to(tl.int64)                       # (ROWS,)
        at = row[:, None] * C + col[None, :]                                      # (ROWS, BLOCK)
        inside = (row < N)[:, None] & (col < C)[None, :]
        rs = tl.load(r + row, row < N, 0.0)[:, None]                              # (ROWS, 1)
        h = tl.load(x + at, inside, 0.0).to(tl.float32) * rs
        dys = tl.load(dy + at, inside, 0.0).to(tl.float32)
        g = dys * ws[None, :]
        tl.store(dx + at, rs * (g - h * (tl.sum(g * h, 1) / C)[:, None]), inside)
        share += dys * h
    tl.store(shares + tl.program_id(0) * C + col, tl.sum(share, 0), col < C)


def launch(C):
    """Tile and warps for rows of C: about 2,048 numbers a tile and 16 a thread, two 16-byte loads in bfloat16."""
    BLOCK = triton.next_power_of_2(C)
    ROWS = max(1, 2048 // BLOCK)
    return {"ROWS": ROWS, "BLOCK": BLOCK, "num_warps": min(32, max(4, ROWS * BLOCK // 512))}


def programs(N, ROWS, num_warps, device):
    """Programs of the backward kernel: sixteen warps on each multiprocessor, no more than there are tiles."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    return min(triton.cdiv(N, ROWS), max(1, 16 // num_warps) * processors)


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, eps):
        rows = x.reshape(-1, x.size(-1)).contiguous()                             # (N, C)
        N, C = rows.shape
        y, r = torch.empty_like(rows), rows.new_empty(N, dtype=torch.float32)
        shape = launch(C)
        forward_kernel[(triton.cdiv(N, shape["ROWS"]),)](rows, w, y, r, N, C, eps, **shape)
        ctx.save_for_backward(rows, w, r)
        return y.view(x.shape)

    @staticmethod
    def backward(ctx, dy):
        rows, w, r = ctx.saved_tensors
        N, C = rows.shape
        shape = launch(C)
        P = programs(N, shape["ROWS"], shape["num_warps"], rows.device)
        dx, shares = torch.empty_like(rows), rows.new_empty(P, C, dtype=torch.float32)
        backward_kernel[(P,)](dy.reshape(N, C).contiguous(), rows, w, r, dx, shares, N, C, **shape)
        return dx.view(dy.shape), shares.sum(dim=0).to(w.dtype), None


def rmsnorm(x, w, eps=1e-6):
    """
    The same as plain(), to rounding: computed in float32, rounded once.
    x: (..., C) float32, bfloat16 or float16 on a CUDA device, C up to 32,768;  w: (C,) any of the three;
    returns: like x. Raises ValueError for other shapes, dtypes and devices.
    """
    kinds = (torch.float32, torch.bfloat16, torch.float16)
    if x.dtype not in kinds or w.dtype not in kinds:
        raise ValueError(f"{x.dtype=}, {w.dtype=}: the kernel takes float32, bfloat16 and float16; plain() the others")
    if w.shape != x.shape[-1:] or not 0 < x.size(-1) <= 32768 or x.numel() == 0:
        raise ValueError(f"{x.shape=}, {w.shape=}: need (..., C) and (C,), C from 1 to 32,768, at least one row")
    if not x.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(f"{x.device=}: Triton needs CUDA, or TRITON_INTERPRET=1 in the environment; or use plain()")
    return RMSNorm.apply(x, w.contiguous(), eps)


def builds(arch):
    """What kernels/compile.py compiles: a wide row (a model of 4,096 channels) and a narrow one (heads of 128)."""
    for C in (128, 4096):
        shape = launch(C)
        options = {"num_warps": shape.pop("num_warps"), "num_stages": 3}
        x, n, f = "*bf16", "i32", "*fp32"
        yield {"name": f"rmsnorm forward, C {C}", "kernel": forward_kernel, "constants": shape, "options": options,
               "signature": {"x": x, "w": f, "y": x, "r": f, "N": n, "C": "i32:16", "eps": "fp32"}, "spills": 0}
        yield {"name": f"rmsnorm backward, C {C}", "kernel": backward_kernel, "constants": shape, "options": options,
               "signature": {"dy": x, "x": x, "w": f, "r": f, "dx": x, "shares": f, "N": n, "C": "i32:16"},
               "spills": 0}
