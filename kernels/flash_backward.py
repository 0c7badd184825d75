"""
FlashAttention-2 in Triton: the backward pass, two kernels without atomics.

    python -m pytest tests/test_flash.py             # interpreted where there is no GPU

Reads q, k, v, o, L and do; see kernels/flash_reference.py for the mathematics. Every block of scores is made
again, since reading q and k and multiplying them takes less time than writing and reading T S scores did.

    queries_kernel   a block of queries walks over the keys it sees:      delta, dq
    keys_kernel      a block of keys walks over the queries that see it:  dk, dv, summed over the heads that share them

Departs from Dao 2023, algorithm 2, which makes all three in one walk over the keys and adds into dq with atomics:
5 products a block there, 7 here. For that, dq needs no float32 copy in memory that is added into from everywhere,
the same input gives the same bits, and one kernel is the mirror image of the other: rows and intervals change places.
delta = rowsum(do o) is made by the first kernel, which holds do anyway, and read by the second.

B = batch, T = queries, S = keys, H = query heads, G = key/value heads, D = channels of q and k, E = of v,
M = queries of a block, N = keys of a block
"""

import torch
import triton
import triton.language as tl

from kernels.flash import HEADS, LOG2E, build, capability, dot, pads, put, sizes, tile, walk


# ----------------------------------------------------------------------------
# dq: rows are queries

@triton.jit
def visit_keys(dq, q, do, lse, delta, k, v, k_s, v_s, begin, stop, end, lo, hi, scale,
               D: tl.constexpr, E: tl.constexpr, PAD_D: tl.constexpr, PAD_E: tl.constexpr,
               N: tl.constexpr, MASKED: tl.constexpr):
    for start in range(begin, stop, N):
        key = tl.multiple_of(start, N) + tl.arange(0, N)                          # (N,)
        ks = tile(k, k_s, key, end, D, PAD_D, MASKED)                             # (N, D)
        vs = tile(v, v_s, key, end, E, PAD_E, MASKED)                             # (N, E)
        s = dot(q, tl.trans(ks), tl.zeros((q.shape[0], N), tl.float32))           # (M, N)
        p = tl.exp2(s * scale - lse[:, None])
        if MASKED:
            p = tl.where((key[None, :] >= lo[:, None]) & (key[None, :] < hi[:, None]), p, 0.0)
        dp = dot(do, tl.trans(vs), tl.zeros((q.shape[0], N), tl.float32))         # (M, N)
        ds = p * (dp - delta[:, None])
        dq = dot(ds.to(ks.dtype), ks, dq)                                         # (M, D)
    return dq


@triton.jit
def queries_kernel(q, k, v, o, do, lse, delta, dq, lo, hi, scale, T, H, bounds_b,
                   q_b, q_h, q_t, k_b, k_g, k_s, v_b, v_g, v_s, o_b, o_h, o_t, do_b, do_h, do_t, dq_b, dq_h, dq_t,
                   SHARE: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
                   PAD_D: tl.constexpr, PAD_E: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """A program a block of queries, as in the forward pass."""
    blocks = tl.cdiv(T, M)
    start = (blocks - 1 - tl.program_id(0) % blocks) * M
    bh = (tl.program_id(0) // blocks).to(tl.int64)
    b, h = bh // H, bh % H
    q, dq, lse, delta = q + b * q_b + h * q_h, dq + b * dq_b + h * dq_h, lse + bh * T, delta + bh * T
    k, v = k + b * k_b + h // SHARE * k_g, v + b * v_b + h // SHARE * v_g
    o, do, lo, hi = o + b * o_b + h * o_h, do + b * do_b + h * do_h, lo + b * bounds_b, hi + b * bounds_b

    row = start + tl.arange(0, M)                                                 # (M,)
    first, full, rest, end = walk(lo, hi, start, tl.minimum(start + M, T), N)
    lows = tl.load(lo + row, mask=row < T, other=0)                               # (M,)
    highs = tl.load(hi + row, mask=row < T, other=0)
    qs = tile(q, q_t, row, T, D, PAD_D, True)                                     # (M, D)
    dos = tile(do, do_t, row, T, E, PAD_E, True)                                  # (M, E)
    os = tile(o, o_t, row, T, E, PAD_E, True)                                     # (M, E)
    deltas = tl.sum(os.to(tl.float32) * dos.to(tl.float32), 1)                    # (M,)
    tl.store(delta + row, deltas, mask=row < T)
    L = tl.load(lse + row, mask=row < T, other=float("inf")) * LOG2E
    acc = tl.zeros((M, PAD_D), tl.float32)
    acc = visit_keys(acc, qs, dos, L, deltas, k, v, k_s, v_s, first, full, end, lows, highs, scale * LOG2E,
                     D, E, PAD_D, PAD_E, N, True)
    acc = visit_keys(acc, qs, dos, L, deltas, k, v, k_s, v_s, full, rest, end, lows, highs, scale * LOG2E,
                     D, E, PAD_D, PAD_E, N, False)
    acc = visit_keys(acc, qs, dos, L, deltas, k, v, k_s, v_s, rest, end, end, lows, highs, scale * LOG2E,
                     D, E, PAD_D, PAD_E, N, True)
    put(dq, dq_t, row, T, acc * scale, D, PAD_D)


# ----------------------------------------------------------------------------
# dk and dv: rows are keys

@triton.jit
def visit_queries(dk, dv, k, v, q, do, lse, delta, q_t, do_t, begin, stop, end, first, last, scale,
                  D: tl.constexpr, E: tl.constexpr, PAD_D: tl.constexpr, PAD_E: tl.constexpr,
                  M: tl.constexpr, MASKED: tl.constexpr):
    """Everything of a block is transposed: scores are (N, M), so that dv and dk are products without a transpose."""
    for start in range(begin, stop, M):
        row = tl.multiple_of(start, M) + tl.arange(0, M)                          # (M,)
        qs = tile(q, q_t, row, end, D, PAD_D, MASKED)                             # (M, D)
        dos = tile(do, do_t, row, end, E, PAD_E, MASKED)                          # (M, E)
        L = tl.load(lse + row, mask=row < end, other=float("inf")) * LOG2E        # (M,)
        s = dot(k, tl.trans(qs), tl.zeros((k.shape[0], M), tl.float32))           # (N, M)
        p = tl.exp2(s * scale - L[None, :])
        dp = dot(v, tl.trans(dos), tl.zeros((k.shape[0], M), tl.float32))         # (N, M)
        if MASKED:
            seen = (row[None, :] >= first[:, None]) & (row[None, :] < last[:, None])
            p, dp = tl.where(seen, p, 0.0), tl.where(seen, dp, 0.0)               # what nobody sees may be NaN
        dv = dot(p.to(dos.dtype), dos, dv)                                        # (N, E)
        ds = p * (dp - tl.load(delta + row, mask=row < end, other=0.0)[None, :])
        dk = dot(ds.to(qs.dtype), qs, dk)                                         # (N, D)
    return dk, dv


@triton.jit
def keys_kernel(q, k, v, do, lse, delta, dk, dv, first, last, scale, T, S, G, bounds_b,
                q_b, q_h, q_t, k_b, k_g, k_s, v_b, v_g, v_s, do_b, do_h, do_t, dk_b, dk_g, dk_s, dv_b, dv_g, dv_s,
                SHARE: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
                PAD_D: tl.constexpr, PAD_E: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    """A program a block of keys: a head's blocks side by side, the first first, which causality gives most to do."""
    blocks = tl.cdiv(S, N)
    start = tl.program_id(0) % blocks * N
    bg = (tl.program_id(0) // blocks).to(tl.int64)
    b, g = bg // G, bg % G
    k, dk, v, dv = k + b * k_b + g * k_g, dk + b * dk_b + g * dk_g, v + b * v_b + g * v_g, dv + b * dv_b + g * dv_g
    q, do, first, last = q + b * q_b, do + b * do_b, first + b * bounds_b, last + b * bounds_b

    key = start + tl.arange(0, N)                                                 # (N,)
    begin, full, rest, end = walk(first, last, start, tl.minimum(start + N, S), M)
    firsts = tl.load(first + key, mask=key < S, other=0)                          # (N,)
    lasts = tl.load(last + key, mask=key < S, other=0)
    ks = tile(k, k_s, key, S, D, PAD_D, True)                                     # (N, D)
    vs = tile(v, v_s, key, S, E, PAD_E, True)                                     # (N, E)
    dks = tl.zeros((N, PAD_D), tl.float32)
    dvs = tl.zeros((N, PAD_E), tl.float32)
    for h in range(g * SHARE, g * SHARE + SHARE):
        qh, doh, at = q + h * q_h, do + h * do_h, (bg - g) * SHARE + h            # at: b H + h
        dks, dvs = visit_queries(dks, dvs, ks, vs, qh, doh, lse + at * T, delta + at * T, q_t, do_t,
                                 begin, full, end, firsts, lasts, scale * LOG2E, D, E, PAD_D, PAD_E, M, True)
        dks, dvs = visit_queries(dks, dvs, ks, vs, qh, doh, lse + at * T, delta + at * T, q_t, do_t,
                                 full, rest, end, firsts, lasts, scale * LOG2E, D, E, PAD_D, PAD_E, M, False)
        dks, dvs = visit_queries(dks, dvs, ks, vs, qh, doh, lse + at * T, delta + at * T, q_t, do_t,
                                 rest, end, end, firsts, lasts, scale * LOG2E, D, E, PAD_D, PAD_E, M, True)
    put(dk, dk_s, key, S, dks * scale, D, PAD_D)
    put(dv, dv_s, key, S, dvs, E, PAD_E)


# ----------------------------------------------------------------------------
# block sizes and launch

# (M, N, warps, stages, spills): see flash.BLOCKS
QUERIES = {
    80: {2: {64: (128, 64, 8, 3, 0), 128: (64, 64, 4, 2, 0), 256: (64, 32, 8, 2, 0)},
         4: {64: (32, 32, 8, 1, 0), 128: (32, 32, 8, 1, 64), 256: (16, 16, 4, 1, 384)}},
    90: {2: {64: (128, 64, 8, 3, 64), 128: (128, 64, 8, 2, 0), 256: (128, 32, 8, 2, 64)},
         4: {64: (64, 32, 8, 1, 0), 128: (32, 32, 8, 1, 64), 256: (16, 16, 4, 1, 384)}},
    0: {2: {256: (32, 32, 4, 1, 0)}, 4: {256: (32, 32, 4, 1, 0)}},
}
KEYS = {
    80: {2: {64: (32, 128, 8, 3, 192), 128: (64, 64, 8, 2, 128), 256: (32, 64, 8, 1, 192)},
         4: {64: (32, 32, 8, 1, 0), 128: (32, 32, 8, 1, 320), 256: (16, 16, 4, 1, 768)}},
    90: {2: {64: (64, 128, 8, 3, 640), 128: (64, 128, 8, 2, 768), 256: (32, 64, 8, 2, 448)},
         4: {64: (32, 64, 8, 1, 64), 128: (32, 32, 8, 1, 320), 256: (16, 16, 4, 1, 768)}},
    100: {2: {64: (64, 128, 8, 2, 1472), 128: (32, 128, 8, 2, 1088), 256: (64, 32, 8, 1, 0)},
          4: {64: (64, 32, 8, 1, 128), 128: (32, 32, 8, 1, 320), 256: (16, 16, 4, 1, 768)}},
    0: {2: {256: (32, 32, 4, 1, 0)}, 4: {256: (32, 32, 4, 1, 0)}},
}
for table in (QUERIES, KEYS):
    table[86] = {2: table[80][2] | table[0][2], 4: table[80][4]}


def backward(do, q, k, v, o, lse, lo, hi, first, last):
    """dq, dk, dv, laid out as q, k, v are; shapes as in flash.attend(), lo to last as in flash_reference.bounds()"""
    (B, H, T, D), (G, S, E) = q.shape, v.shape[1:]
    PAD_D, PAD_E = pads(D, E)
    do = do if do.stride(-1) == 1 else do.contiguous()                            # that of sum() has strides of 0
    dq, dk, dv, delta = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), torch.empty_like(lse)
    shape = {"SHARE": H // G, "D": D, "E": E, "PAD_D": PAD_D, "PAD_E": PAD_E}
    width, arch = max(PAD_D, PAD_E), capability(q.device)
    one = len(lo) == 1                                                            # intervals for the whole batch

    def strides(*tensors):
        return [n for x in tensors for n in x.stride()[:3]]

    M, N, warps, stages, _ = sizes(QUERIES, arch, q.dtype, width)
    queries_kernel[(triton.cdiv(T, M) * B * H,)](
        q, k, v, o, do, lse, delta, dq, lo, hi, D**-0.5, T, H, 0 if one else T, *strides(q, k, v, o, do, dq),
        M=M, N=N, num_warps=warps, num_stages=stages, **shape)
    M, N, warps, stages, _ = sizes(KEYS, arch, q.dtype, width)
    keys_kernel[(triton.cdiv(S, N) * B * G,)](
        q, k, v, do, lse, delta, dk, dv, first, last, D**-0.5, T, S, G, 0 if one else S,
        *strides(q, k, v, do, dk, dv), M=M, N=N, num_warps=warps, num_stages=stages, **shape)
    return dq, dk, dv


def builds(arch):
    """What kernels/compile.py compiles."""
    for kind, D, E in HEADS:
        x = "*bf16" if kind == torch.bfloat16 else "*fp32"
        pointers = {**dict.fromkeys(("q", "k", "v", "o", "do", "dq", "dk", "dv"), x), "lse": "*fp32", "delta": "*fp32",
                    **dict.fromkeys(("lo", "hi", "first", "last"), "*i32")}
        yield build("flash dq", queries_kernel, QUERIES, arch, pointers, kind, D, E)
        yield build("flash dk dv", keys_kernel, KEYS, arch, pointers, kind, D, E)
