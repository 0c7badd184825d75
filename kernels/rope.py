"""
Rotary positions in one pass over memory.

The pair of channels (i, i + D/2) of the token at position p is turned by the angle p theta^(-2i/D):

    y_i = x_i cos - x_(i+D/2) sin        y_(i+D/2) = x_(i+D/2) cos + x_i sin
    Su et al. 2021, eq. 15, computed as in eq. 34: https://arxiv.org/abs/2104.09864

The paper pairs (2i, 2i + 1); the two halves are Hugging Face's convention, and need no shuffling of
neighbours. A turn is undone by the turn back, and its transpose is the same: the gradient is the same
kernel with the sign of the sine changed, and nothing of x is kept.

The angles come from a table (S, D/2), which the caches hold, made once in float64: position 16,000
times a rate in float32 is off by a thousandth of a radian. Each token looks up its own row, so that
packed documents may restart at zero.

Left out on purpose: position scaling for longer contexts (a matter of the table), turning in place.

B = batch, H = heads, T = time, D = channels of a head, S = positions of the table
"""

import torch
import triton
import triton.language as tl


def table(length, D, theta=10000.0, device=None):
    """cos and sin for positions 0 to length - 1. returns: (S, D/2) twice, float32"""
    rate = theta ** (-torch.arange(0, D, 2, dtype=torch.float64, device=device) / D)            # (D/2,)
    angle = torch.arange(length, dtype=torch.float64, device=device)[:, None] * rate            # (S, D/2)
    return angle.cos().float(), angle.sin().float()


def plain(x, positions, cos, sin):
    """The definition. x: (B, H, T, D);  positions: (B, T);  cos, sin: (S, D/2);  returns: like x"""
    wide = x if x.dtype == torch.float64 else x.float()
    cos, sin = cos[positions][:, None], sin[positions][:, None]                   # (B, 1, T, D/2) twice
    a, b = wide.chunk(2, dim=-1)                                                  # (B, H, T, D/2) twice
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).type_as(x)


@triton.jit
def turn_kernel(x, positions, cos, sin, y, N, H, T, S, x_b, x_h, x_t, y_b, y_h, y_t, SIGN: tl.constexpr,
                D: tl.constexpr, ROWS: tl.constexpr, HALF: tl.constexpr):
    """
    A program turns ROWS of the N = B T H rows of D channels. The heads of a token follow each other, as they
    lie in memory behind a projection, and share their row of the table in the first-level cache.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)                            # (ROWS,)
    h, token = row % H, row // H                                                  # token = b T + t
    b, t = (token // T).to(tl.int64), (token % T).to(tl.int64)                    # offsets may pass 2^31, rows not
    pair = tl.arange(0, HALF)                                                     # (HALF,) at least D/2
    inside = (row < N)[:, None] & (pair < D // 2)[None, :]                        # (ROWS, HALF)

    position = tl.load(positions + token, row < N, 0)[:, None]                    # (ROWS, 1)
    known = inside & (position >= 0) & (position < S)                             # NaN where the table has no row
    at = position.to(tl.int64) * (D // 2) + pair[None, :]
    c = tl.load(cos + at, known, float("nan"))                                    # (ROWS, HALF)
    s = tl.load(sin + at, known, float("nan")) * SIGN

    x += (b * x_b + h * x_h + t * x_t)[:, None] + pair[None, :]
    y += (b * y_b + h * y_h + t * y_t)[:, None] + pair[None, :]
    first = tl.load(x, inside, 0.0).to(tl.float32)
    second = tl.load(x + D // 2, inside, 0.0).to(tl.float32)
    tl.store(y, first * c - second * s, inside)
    tl.store(y + D // 2, second * c + first * s, inside)


def launch(D):
    """Tile and warps for heads of D: 1,024 pairs a tile, eight pairs a thread."""
    HALF = triton.next_power_of_2(D // 2)
    return {"D": D, "ROWS": max(1, 1024 // HALF), "HALF": HALF, "num_warps": 4}


def turn(x, positions, cos, sin, sign):
    """x: (B, H, T, D) with any strides but 1 in D;  sign: 1, or -1 to turn back;  returns: like x, its strides too"""
    B, H, T, D = x.shape
    if x.stride(3) != 1:
        x = x.contiguous()
    y = torch.empty_like(x)                           # keeps the strides of a transposed (B, T, H, D)
    shape = launch(D)
    turn_kernel[(triton.cdiv(B * T * H, shape["ROWS"]),)](
        x, positions, cos, sin, y, B * T * H, H, T, len(cos), *x.stride()[:3], *y.stride()[:3], SIGN=sign, **shape)
    return y


class Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, positions, cos, sin):
        ctx.save_for_backward(positions, cos, sin)
        return turn(x, positions, cos, sin, 1)

    @staticmethod
    def backward(ctx, dy):
        return turn(dy, *ctx.saved_tensors, -1), None, None, None


def rope(x, positions, cos, sin):
    """
    The same as plain(), to rounding: computed in float32, rounded once.
    x: (B, H, T, D) float32, bfloat16 or float16 on a CUDA device, D even;  positions: (B, T) int32 or int64;
    cos, sin: (S, D/2) float32, see table();  returns: like x. A position that the table does not hold gives
    NaN: to look for one would wait for the GPU. Raises ValueError for other shapes, dtypes and devices.
    """
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16) or cos.dtype != torch.float32:
        raise ValueError(f"{x.dtype=}, {cos.dtype=}: the kernel takes float32, bfloat16 and float16 with a table in "
                         "float32; plain() the others")
    if x.dim() != 4 or x.size(3) % 2 or x.numel() == 0 or positions.shape != (x.size(0), x.size(2)):
        raise ValueError(f"{x.shape=}, {positions.shape=}: need (B, H, T, D) with D even, and (B, T)")
    if cos.shape != sin.shape or cos.shape[1:] != (x.size(3) // 2,):
        raise ValueError(f"{cos.shape=}, {sin.shape=}: need (S, {x.size(3) // 2}) twice")
    if not x.is_cuda and not triton.knobs.runtime.interpret:
        raise ValueError(f"{x.device=}: Triton needs CUDA, or TRITON_INTERPRET=1 in the environment; or use plain()")
    return Turn.apply(x, positions.contiguous(), cos.contiguous(), sin.contiguous())


def builds(arch):
    """What kernels/compile.py compiles: heads of 64 and of 128, in either direction."""
    strides = {name: "i32:16" for name in ("x_b", "x_h", "x_t", "y_b", "y_h", "y_t")}
    signature = {"x": "*bf16", "positions": "*i64", "cos": "*fp32", "sin": "*fp32", "y": "*bf16",
                 "N": "i32", "H": "i32", "T": "i32", "S": "i32", **strides}
    for D in (64, 128):
        for sign, way in [(1, "forward"), (-1, "backward")]:
            shape = launch(D) | {"SIGN": sign}
            options = {"num_warps": shape.pop("num_warps"), "num_stages": 3}
            yield {"name": f"rope {way}, D {D}", "kernel": turn_kernel, "signature": signature, "constants": shape,
                   "options": options, "spills": 0}
