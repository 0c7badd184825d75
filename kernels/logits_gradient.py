"""
The CUDA half of kernels/cross_entropy.py: a block of logits becomes its own gradient where it lies.

    loss_n  = log sum_v exp(z_nv) - z_n,target
    dz_nv   = exp(z_nv) / sum_u exp(z_nu) - [v is the target]

A row is read twice: once for its largest logit and the sum of exponentials, in one pass with the online
softmax (Milakov and Gimelshein 2018, algorithm 3: https://arxiv.org/abs/1805.02867), which rescales the
sum whenever a larger logit turns up; once more, from the second-level cache, to write the gradient.
6 bytes a logit in bfloat16. It lies in a file of its own because cross_entropy.py must work where there
is no Triton.

N = rows, V = vocabulary
"""

import torch
import triton
import triton.language as tl


@triton.jit
def loss_kernel(z, targets, loss, V, GRADIENT: tl.constexpr, BLOCK: tl.constexpr):
    """A program per row. A row without a target (-1) has loss and gradient 0."""
    row = tl.program_id(0).to(tl.int64)
    z += row * V
    col = tl.arange(0, BLOCK)                                                     # (BLOCK,)
    target = tl.load(targets + row)
    counts = target >= 0
    right = tl.load(z + target, counts, 0.0).to(tl.float32)   # now: below, the gradient is written over it

    largest, total = float("-inf"), 0.0
    for start in range(0, V, BLOCK):
        block = tl.load(z + start + col, start + col < V, float("-inf")).to(tl.float32)
        larger = tl.maximum(largest, tl.max(block, 0))
        total = total * tl.exp(largest - larger) + tl.sum(tl.exp(block - larger), 0)
        largest = larger
    tl.store(loss + row, tl.where(counts, tl.log(total) + largest - right, 0.0))

    if GRADIENT:
        share = 1 / total
        for start in range(0, V, BLOCK):
            inside = start + col < V
            block = tl.load(z + start + col, inside, 0.0).to(tl.float32)
            dz = tl.exp(block - largest) * share - tl.where(start + col == target, 1.0, 0.0)
            tl.store(z + start + col, tl.where(counts, dz, 0.0), inside)


def launch(V):
    """4,096 logits at a time by eight warps: 16 a thread, and several rows share a multiprocessor."""
    return {"BLOCK": min(4096, triton.next_power_of_2(V)), "num_warps": 8}


def loss_and_gradient_(z, targets, gradient=True):
    """
    Overwrites the logits z (N, V), contiguous, with the gradient of the sum of the losses, unless gradient=False.
    targets: (N,) int64, -1 where none counts;  returns: (N,) float32, nats
    """
    loss = torch.empty(len(z), dtype=torch.float32, device=z.device)
    loss_kernel[(len(z),)](z, targets, loss, z.size(1), GRADIENT=gradient, **launch(z.size(1)))
    return loss


def builds(arch):
    """What kernels/compile.py compiles: a vocabulary of 32,768, with the gradient and without."""
    options = launch(32768)
    block = options.pop("BLOCK")
    for gradient in (True, False):
        yield {"name": "cross-entropy, " + ("loss and gradient" if gradient else "loss"), "kernel": loss_kernel,
               "signature": {"z": "*bf16", "targets": "*i64", "loss": "*fp32", "V": "i32:16"}, "spills": 0,
               "constants": {"GRADIENT": gradient, "BLOCK": block}, "options": options | {"num_stages": 3}}
