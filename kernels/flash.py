"""
FlashAttention-2 in Triton: the forward pass and attend(), the function that a model takes as `attend=`.

    python -m pytest tests/test_flash.py             # interpreted where there is no GPU
    python kernels/compile.py --only flash           # registers, spills, shared memory
    python kernels/bench.py                          # on a CUDA machine, against torch's own

The mathematics and the algorithm, block by block in torch, stand in kernels/flash_reference.py; read it
first. A program here is one block of M queries of one head: it holds their q (M, D), the running m, l and
a (M, E), and walks over the blocks of N keys that any of its queries sees. Scores exist for one block at a
time, in registers; of everything the backward pass needs only L, one number a query, is written besides o.

Departs from Dao 2023: the mask is an interval of keys a query (see flash_reference.py), so that packed
documents, windows and ragged lengths skip blocks as causality does; a query that sees nothing gets zeros.
Left out on purpose: dropout, soft caps, biases; splitting the keys of one query over several programs,
which decoding with few sequences would want; Hopper's warp specialization (FlashAttention-3).

B = batch, T = queries, S = keys, H = query heads, G = key/value heads, D = channels of q and k, E = of v,
M = queries of a block, N = keys of a block
"""

import torch
import triton
import triton.language as tl

from kernels.flash_reference import bounds

LOG2E = tl.constexpr(1.4426950408889634)  # GPUs have exp2: exp(x) = exp2(x log2(e))
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


# ----------------------------------------------------------------------------
# pieces that the backward kernels use too

@triton.jit
def tile(base, stride, rows, limit, D: tl.constexpr, PAD: tl.constexpr, EDGE: tl.constexpr):
    """Rows of a matrix: (len(rows), PAD), zeros in the channels past D and, at an EDGE, in rows from limit on."""
    channel = tl.arange(0, PAD)
    keep = channel[None, :] < D
    if EDGE:
        keep = keep & (rows < limit)[:, None]
    return tl.load(base + rows[:, None] * stride + channel[None, :], mask=keep, other=0.0)


@triton.jit
def put(base, stride, rows, limit, value, D: tl.constexpr, PAD: tl.constexpr):
    channel = tl.arange(0, PAD)
    keep = (channel < D)[None, :] & (rows < limit)[:, None]
    tl.store(base + rows[:, None] * stride + channel[None, :], value.to(base.dtype.element_ty), mask=keep)


@triton.jit
def dot(a, b, acc):
    """acc + a b, summed in float32. Float32 factors: three products of halves on tensor cores (3xTF32), not one."""
    if INTERPRETED:  # its dot takes bfloat16 for integers; the same numbers in float32 give the same products
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision="tf32x3")


@triton.jit
def walk(lo, hi, start, stop, STEP: tl.constexpr):
    """
    The blocks that the rows start .. stop - 1 have to visit, given the rows' intervals: from a on, inside all
    intervals from b to c (no mask), up to d. Both ends rise with the row: the first and the last row tell all.
    """
    a, b = tl.load(lo + start), tl.load(lo + stop - 1)
    c, d = tl.load(hi + start), tl.load(hi + stop - 1)
    b = tl.minimum(tl.cdiv(b, STEP) * STEP, d)
    return a // STEP * STEP, b, tl.maximum(b, c // STEP * STEP), d


# ----------------------------------------------------------------------------
# forward

@triton.jit
def visit_keys(m, l, acc, q, k, v, k_s, v_s, begin, stop, end, lo, hi, scale,
               D: tl.constexpr, E: tl.constexpr, PAD_D: tl.constexpr, PAD_E: tl.constexpr,
               N: tl.constexpr, MASKED: tl.constexpr):
    """Algorithm 1's inner loop over the keys from begin to stop; scale is in units of log2."""
    for start in range(begin, stop, N):
        key = tl.multiple_of(start, N) + tl.arange(0, N)                          # (N,)
        ks = tile(k, k_s, key, end, D, PAD_D, MASKED)                             # (N, D)
        s = dot(q, tl.trans(ks), tl.zeros((q.shape[0], N), tl.float32))           # (M, N)
        if MASKED:
            seen = (key[None, :] >= lo[:, None]) & (key[None, :] < hi[:, None])
            s = tl.where(seen, s, float("-inf"))
        larger = tl.maximum(m, tl.max(s, 1) * scale)                              # (M,)
        shift = larger
        if MASKED:
            shift = tl.where(larger == float("-inf"), 0.0, larger)                # nothing seen yet
        p = tl.exp2(s * scale - shift[:, None])                                   # (M, N)
        mend = tl.exp2(m - shift)
        l = l * mend + tl.sum(p, 1)
        acc = acc * mend[:, None]
        vs = tile(v, v_s, key, end, E, PAD_E, MASKED)                             # (N, E)
        acc = dot(p.to(vs.dtype), vs, acc)                                        # (M, E)
        m = larger
    return m, l, acc


@triton.jit
def forward_kernel(q, k, v, o, lse, lo, hi, scale, T, H, bounds_b,
                   q_b, q_h, q_t, k_b, k_g, k_s, v_b, v_g, v_s, o_b, o_h, o_t,
                   SHARE: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
                   PAD_D: tl.constexpr, PAD_E: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """A program a block of queries: a head's blocks side by side, the last first, which causality gives most to do."""
    blocks = tl.cdiv(T, M)
    start = (blocks - 1 - tl.program_id(0) % blocks) * M
    bh = (tl.program_id(0) // blocks).to(tl.int64)                                # 64 bits: offsets may pass 2^31
    b, h = bh // H, bh % H
    q, o, lse = q + b * q_b + h * q_h, o + b * o_b + h * o_h, lse + bh * T
    k, v = k + b * k_b + h // SHARE * k_g, v + b * v_b + h // SHARE * v_g
    lo, hi = lo + b * bounds_b, hi + b * bounds_b

    row = start + tl.arange(0, M)                                                 # (M,)
    first, full, rest, end = walk(lo, hi, start, tl.minimum(start + M, T), N)
    lows = tl.load(lo + row, mask=row < T, other=0)                               # (M,)
    highs = tl.load(hi + row, mask=row < T, other=0)
    qs = tile(q, q_t, row, T, D, PAD_D, True)                                     # (M, D)
    m = tl.full((M,), float("-inf"), tl.float32)
    l = tl.zeros((M,), tl.float32)
    acc = tl.zeros((M, PAD_E), tl.float32)
    scale *= LOG2E
    m, l, acc = visit_keys(m, l, acc, qs, k, v, k_s, v_s, first, full, end, lows, highs, scale,
                           D, E, PAD_D, PAD_E, N, True)
    m, l, acc = visit_keys(m, l, acc, qs, k, v, k_s, v_s, full, rest, end, lows, highs, scale,
                           D, E, PAD_D, PAD_E, N, False)
    m, l, acc = visit_keys(m, l, acc, qs, k, v, k_s, v_s, rest, end, end, lows, highs, scale,
                           D, E, PAD_D, PAD_E, N, True)
    empty = l == 0                                                                # saw nothing
    l = tl.where(empty, 1.0, l)
    put(o, o_t, row, T, acc / l[:, None], E, PAD_E)
    tl.store(lse + row, tl.where(empty, float("inf"), (m + tl.log2(l)) / LOG2E), mask=row < T)


# ----------------------------------------------------------------------------
# block sizes

# (M, N, warps, stages, spills) by compute capability, bytes of a number and channels. Chosen by what kernels/compile.py
# says of them: large blocks whose inner loops stay in registers. Nothing here has been timed. `spills` is what it may
# find with Triton 3.6 or 3.7, in bytes a thread: numbers put aside, nearly all of them outside of those loops.
# float32's blocks are small: 3xTF32 triples its registers.
BLOCKS = {
    80: {2: {64: (128, 64, 4, 3, 64), 128: (128, 64, 8, 3, 64), 256: (64, 64, 8, 2, 64)},
         4: {64: (64, 32, 8, 1, 64), 128: (32, 32, 8, 1, 64), 256: (16, 32, 4, 1, 256)}},
    90: {2: {64: (128, 64, 4, 3, 64), 128: (128, 128, 8, 2, 0), 256: (128, 64, 8, 2, 64)},
         4: {64: (64, 32, 8, 2, 0), 128: (32, 32, 8, 1, 64), 256: (16, 32, 4, 1, 256)}},
    0: {2: {256: (32, 32, 4, 1, 0)}, 4: {256: (32, 32, 4, 1, 0)}},  # the interpreter
}
BLOCKS[86] = {2: BLOCKS[80][2] | BLOCKS[0][2], 4: BLOCKS[80][4]}  # less shared memory: see capability()


def pads(D, E):
    """Tiles have powers of two of channels, and tensor cores want 16 at least."""
    return max(16, triton.next_power_of_2(D)), max(16, triton.next_power_of_2(E))


def sizes(table, arch, dtype, width):
    """The table's entry for a GPU (the newest generation not newer than it) and tiles of that many channels at most."""
    rows = table[max(known for known in table if known <= arch)][dtype.itemsize]
    return rows[min(most for most in rows if most >= width)]


def capability(device):
    """
    90 for an H100; 0 for the interpreter, which runs on the CPU; 86 for all GPUs that give a program 99 KiB of shared
    memory: 8.6, 8.9, 12.0. https://docs.nvidia.com/cuda/cuda-c-programming-guide/#compute-capabilities
    """
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 86 if major == 12 or (major, minor) in ((8, 6), (8, 9)) else 10 * major


def forward(q, k, v, lo, hi):
    """o (B, H, T, E), laid out as (B, T, H, E), and L (B, H, T) float32 in nats; shapes as in attend()"""
    (B, H, T, D), (S, E) = q.shape, v.shape[2:]
    PAD_D, PAD_E = pads(D, E)
    M, N, warps, stages, _ = sizes(BLOCKS, capability(q.device), q.dtype, max(PAD_D, PAD_E))
    o = q.new_empty(B, T, H, E).transpose(1, 2)
    lse = q.new_empty(B, H, T, dtype=torch.float32)
    forward_kernel[(triton.cdiv(T, M) * B * H,)](
        q, k, v, o, lse, lo, hi, D**-0.5, T, H, 0 if len(lo) == 1 else T,
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *o.stride()[:3],
        SHARE=H // k.size(1), D=D, E=E, PAD_D=PAD_D, PAD_E=PAD_E, M=M, N=N, num_warps=warps, num_stages=stages)
    return o, lse


# ----------------------------------------------------------------------------
# as a function of torch

class Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, interval):
        lo, hi, _, _ = interval
        o, lse = forward(q, k, v, lo, hi)
        ctx.save_for_backward(q, k, v, o, lse)
        ctx.interval = interval
        return o

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, do):
        from kernels.flash_backward import backward  # which takes its tiles from this file
        return *backward(do, *ctx.saved_tensors, *ctx.interval), None


def attend(q, k, v, *, causal=True, window=None, doc=None, lengths=None):
    """
    softmax(q k^T / sqrt(D)) v over the keys that each query sees, and its gradients in q, k and v.

    q: (B, H, T, D);  k: (B, G, S, D);  v: (B, G, S, E);  returns: (B, H, T, E) of q's dtype
    float16, bfloat16 or float32 on a CUDA device, D and E up to 256, H a multiple of G, any strides, but a
    head's rows lie within 2^31 numbers of each other
    window: how many keys a query sees, itself among them, all if None
    doc: (B, S) ints, packed documents that do not see each other, each one run of equal ids
    lengths: (B,) keys that are there, the rest is empty

    The queries are the last T of the S keys; with `lengths`, the last T of the row's first lengths[b] keys.
    A query that sees nothing gets zeros. Raises ValueError for anything else.
    """
    (B, H, T, D), (G, S, E) = q.shape, v.shape[1:]
    if torch.is_autocast_enabled(q.device.type):
        q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
    if k.shape != (B, G, S, D) or v.shape[0] != B or H % G or T > S or max(D, E) > 256:
        raise ValueError(f"{q.shape=}, {k.shape=}, {v.shape=}: need (B, H, T, D), (B, G, S, D), (B, G, S, E), "
                         "H a multiple of G, T <= S, D and E at most 256")
    if not q.dtype == k.dtype == v.dtype or q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise ValueError(f"{q.dtype=}, {k.dtype=}, {v.dtype=}: need one of float16, bfloat16, float32 for all three")
    if window is not None and window < 1:
        raise ValueError(f"{window=} counts the query itself: 1 at least")
    if doc is not None and doc.shape != (B, S) or lengths is not None and lengths.shape != (B,):
        raise ValueError(f"doc must be {(B, S)} and lengths {(B,)}")
    if q.device.type != "cuda" and not INTERPRETED:
        raise ValueError(f"{q.device=}: Triton needs CUDA, or TRITON_INTERPRET=1 in the environment")
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    return Flash.apply(q, k, v, bounds(T, S, causal, window, doc, lengths, q.device))


# ----------------------------------------------------------------------------
# what kernels/compile.py compiles

HEADS = [(torch.bfloat16, 64, 64), (torch.bfloat16, 128, 128), (torch.bfloat16, 192, 128), (torch.bfloat16, 256, 256),
         (torch.float32, 64, 64), (torch.float32, 128, 128), (torch.float32, 256, 256)]


def build(name, kernel, table, arch, pointers, kind, D, E):
    """One line of builds(): `pointers` are types by name; the numbers without a type are strides, multiples of 16."""
    PAD_D, PAD_E = pads(D, E)
    M, N, warps, stages, spills = sizes(table, arch, kind, max(PAD_D, PAD_E))
    constants = {"SHARE": 4, "D": D, "E": E, "PAD_D": PAD_D, "PAD_E": PAD_E, "M": M, "N": N}
    types = {"scale": "fp32", **{name: "i32" for name in ("T", "S", "H", "G", "bounds_b")}, **pointers}
    signature = {name: types.get(name, "i32:16") for name in kernel.arg_names if name not in constants}
    return {"name": f"{name}, {str(kind)[6:]}, {D}" + f" and {E}" * (D != E), "kernel": kernel, "signature": signature,
            "constants": constants, "options": {"num_warps": warps, "num_stages": stages}, "spills": spills}


def builds(arch):
    for kind, D, E in HEADS:
        x = "*bf16" if kind == torch.bfloat16 else "*fp32"
        pointers = {**dict.fromkeys(("q", "k", "v", "o"), x), "lse": "*fp32", "lo": "*i32", "hi": "*i32"}
        yield build("flash forward", forward_kernel, BLOCKS, arch, pointers, kind, D, E)
