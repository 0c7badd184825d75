"""
FlashAttention-2 without a GPU: the mathematics, the plain reference, and the algorithm block by block
in torch. kernels/flash.py and kernels/flash_backward.py are this file in Triton.

    python -m pytest tests/test_flash.py             # holds all three against each other

Attention of one head, scores in units of nats (c = 1/sqrt(D)):

    s_ij = c q_i . k_j                               over the keys j that query i may see
    p_ij = exp(s_ij - L_i),  L_i = log sum_j exp s_ij
    o_i  = sum_j p_ij v_j

Forward, Dao 2023, algorithm 1, https://arxiv.org/abs/2307.08691. A block of queries walks over the
blocks of keys and keeps three running things: m, the largest score so far; l = sum exp(s - m); and
a = sum exp(s - m) v. A new block that raises the maximum from m to m' finds l and a measured against
the wrong maximum; one factor exp(m - m') mends both. At the end o = a / l and L = m + log l. Scores
live for one block and are never written.

Backward, algorithm 2. With P of a block made again from q, k and L, and dP_ij = do_i . v_j,

    dv_j = sum_i p_ij do_i
    ds_ij = p_ij (dP_ij - delta_i)                   the gradient of a softmax; delta_i = sum_j p_ij dP_ij
    dq_i = c sum_j ds_ij k_j                         dk_j = c sum_i ds_ij q_i

and delta needs no second walk over the keys: sum_j p_ij (do_i . v_j) = do_i . sum_j p_ij v_j = do_i . o_i.

Who sees whom. Causality, a sliding window, packed documents and ragged lengths all say the same kind
of thing: query i sees the keys from lo_i to hi_i - 1, and neither end ever moves left as i grows. So the
two numbers are the whole mask, blocks of keys outside all of a query block's intervals are skipped,
and blocks inside all of them need no mask. bounds() makes the two; the kernels know nothing else.

B = batch, T = queries, S = keys, H = query heads, G = key/value heads, D = channels of q and k, E = of v
"""

from functools import lru_cache

import torch


def visible(T, S, *, causal, window, doc, lengths, device):
    """Which key each query may see, each rule as it is said: bool (B or 1, T, S). What bounds() is tested with."""
    end = torch.full((1,), S, device=device) if lengths is None else lengths      # (B or 1,)
    key = torch.arange(S, device=device)                                          # (S,)
    query = end[:, None] - T + torch.arange(T, device=device)                     # (B or 1, T) its place among the keys
    keep = (key < end[:, None, None]).expand(-1, T, -1)                           # (B or 1, T, S)
    if causal:
        keep = keep & (key <= query[..., None])
    if window is not None:
        keep = keep & (key > query[..., None] - window)
    if doc is not None:
        own = doc.gather(1, query.clamp(min=0).expand(len(doc), -1))              # (B, T)
        keep = keep & (own[..., None] == doc[:, None])
    return keep


def plain(q, k, v, *, causal=True, window=None, doc=None, lengths=None):
    """The definition, at any precision; a query that sees no key gets zeros. Shapes: see kernels/flash.py, attend()"""
    k, v = (x.repeat_interleave(q.size(1) // x.size(1), dim=1) for x in (k, v))   # (B, H, S, D), (B, H, S, E)
    keep = visible(q.size(2), k.size(2), causal=causal, window=window, doc=doc, lengths=lengths, device=q.device)
    score = (q @ k.mT) * q.size(-1)**-0.5                                         # (B, H, T, S)
    score = score.masked_fill(~keep[:, None], float("-inf"))
    return score.softmax(dim=-1).masked_fill(~keep[:, None], 0) @ v               # 0 where a row had nothing but -inf


# ----------------------------------------------------------------------------
# who sees whom, as intervals

def intervals(T, S, causal, window, doc, lengths, device):
    """
    Query i sees the keys lo_i <= j < hi_i; both never fall as i grows. int32 (B or 1, T) twice.
    doc: a document is a run of equal ids; padding is one more run.
    """
    end = torch.full((1, 1), S, device=device) if lengths is None else lengths[:, None]  # (B or 1, 1)
    query = end - T + torch.arange(T, device=device)                              # (B or 1, T)
    lo = torch.zeros_like(query) if window is None else query - window + 1
    hi = query + 1 if causal else end.expand_as(query)
    if doc is not None:
        place = torch.arange(S, device=device).expand_as(doc)                     # (B, S)
        edge = torch.ones_like(doc, dtype=torch.bool)                             # where a document begins
        edge[:, 1:] = doc[:, 1:] != doc[:, :-1]
        first = (place * edge).cummax(1).values                                   # (B, S) of its document
        stops = place.where(edge.roll(-1, 1), S - 1)                              # its last key, where that is known
        last = stops.flip(1).cummin(1).values.flip(1)                             # (B, S)
        at = query.clamp(min=0).expand(len(doc), T)
        lo, hi = lo.maximum(first.gather(1, at)), hi.minimum(last.gather(1, at) + 1)
    lo, hi = lo.clamp(min=0), hi.minimum(end).clamp(min=0)
    return lo.int().contiguous(), hi.int().contiguous()


def transposed(lo, hi, S):
    """The same seen from the keys: key j is seen by the queries first_j <= i < last_j. int32 (B or 1, S) twice."""
    keys = torch.arange(S, dtype=torch.int32, device=lo.device).expand(len(lo), S).contiguous()
    first = torch.searchsorted(hi, keys, right=True)                              # intervals that end before j
    last = torch.searchsorted(lo, keys, right=True)                               # intervals that have begun by j
    return first.int(), last.int()


@lru_cache(maxsize=32)
def fixed(T, S, causal, window, device):
    lo, hi = intervals(T, S, causal, window, None, None, device)
    return lo, hi, *transposed(lo, hi, S)


def bounds(T, S, causal, window, doc, lengths, device):
    """lo, hi, first, last as above; made once and kept where they depend on sizes alone."""
    if doc is None and lengths is None:
        return fixed(T, S, causal, window, device)
    lo, hi = intervals(T, S, causal, window, doc, lengths, device)
    return lo, hi, *transposed(lo, hi, S)


# ----------------------------------------------------------------------------
# the algorithm: one sequence, one head; the kernels run it for every (b, h) at once

def blocks(lo, hi, size):
    """Starts of the blocks that the intervals of neighbouring rows touch: the others are skipped."""
    return range(int(lo[0]) // size * size, int(hi[-1]), size)


def forward(q, k, v, lo, hi, M, N):
    """
    q: (T, D);  k: (S, D);  v: (S, E);  lo, hi: (T,);  M, N: queries and keys of a block
    returns: o (T, E), L (T,) the log-sum-exp of each row, infinite where a query sees nothing
    """
    c, o, L = q.size(1)**-0.5, torch.empty(len(q), v.size(1), dtype=q.dtype), torch.empty(len(q), dtype=q.dtype)
    for start in range(0, len(q), M):
        row = slice(start, start + M)
        m = torch.full((len(q[row]),), float("-inf"), dtype=q.dtype)              # (M,)
        l, a = torch.zeros_like(m), torch.zeros_like(o[row])                      # (M,), (M, E)
        for at in blocks(lo[row], hi[row], N):
            key = torch.arange(at, min(at + N, len(k)))                           # (N,)
            s = c * q[row] @ k[key].T                                             # (M, N)
            s[(key < lo[row, None]) | (key >= hi[row, None])] = float("-inf")
            larger = m.maximum(s.amax(dim=1))                                     # (M,)
            shift = larger.masked_fill(larger.isinf(), 0)                         # nothing seen yet: exp(-inf - 0) = 0
            p, mend = (s - shift[:, None]).exp(), (m - shift).exp()               # (M, N), (M,)
            l = l * mend + p.sum(dim=1)
            a = a * mend[:, None] + p @ v[key]                                    # (M, E)
            m = larger
        o[row] = a / l.masked_fill(l == 0, 1)[:, None]
        L[row] = (m + l.log()).masked_fill(l == 0, float("inf"))
    return o, L


def backward(do, q, k, v, o, L, lo, hi, first, last, M, N):
    """
    Two walks, as in the kernels: a block of keys over the queries that see it, for dk and dv; a block of
    queries over its keys, for dq. first, last: (S,) see transposed();  returns: dq, dk, dv
    """
    c, delta = q.size(1)**-0.5, (do * o).sum(dim=1)                               # (T,)
    dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))

    def weights(query, key):
        """p and ds of the block (query, key), made again from q, k and L."""
        s = c * q[query] @ k[key].T                                               # (M, N)
        hidden = (key < lo[query, None]) | (key >= hi[query, None])
        p = (s - L[query, None]).exp().masked_fill(hidden, 0)
        return p, p * (do[query] @ v[key].T - delta[query, None])

    for start in range(0, len(k), N):
        key = torch.arange(start, min(start + N, len(k)))
        for at in blocks(first[key], last[key], M):
            query = torch.arange(at, min(at + M, len(q)))
            p, ds = weights(query, key)
            dv[key] += p.T @ do[query]                                            # (N, E)
            dk[key] += c * ds.T @ q[query]                                        # (N, D)
    for start in range(0, len(q), M):
        query = torch.arange(start, min(start + M, len(q)))
        for at in blocks(lo[query], hi[query], N):
            key = torch.arange(at, min(at + N, len(k)))
            dq[query] += c * weights(query, key)[1] @ k[key]                      # (M, D)
    return dq, dk, dv
