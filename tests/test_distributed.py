"""
Several ranks are one: DDP and FSDP give one process's losses, gradients and weights on the same global batch, and
their checkpoints load on any number of ranks. On the CPU with gloo, one thread a rank.
"""

import pytest
import torch

from bpe.bpe import Tokenizer
from gpt import checkpoint
from gpt.checkpoint import CheckpointError
from tests import ranks
from train.distributed import World

TOKENIZER = Tokenizer([])
F64, F32 = torch.float64, torch.float32
WAYS = [("ddp", F64), ("ddp parts", F64), ("fsdp", F64), ("fsdp parts checkpointing", F64),
        ("ddp", F32), ("fsdp", F32)]


@pytest.fixture(scope="module")
def alone():
    """What one process does with the global batch."""
    return {dtype: ranks.train(World(), "", dtype) for dtype in (F64, F32)}


def far(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_are_one_process(alone, size):
    """
    Ten steps of Muon and AdamW with uneven masks: losses, gradient norms, validation and final weights within
    1e-12 in float64; losses within 1e-5 in float32, where the order of a sum is worth 1e-7 a step.
    """
    for rank, found in enumerate(ranks.spawn(ranks.trajectories, size, WAYS)):
        for (how, dtype), got in zip(WAYS, found):
            want = alone[dtype]
            losses, wanted = torch.tensor(got["losses"], dtype=F64), torch.tensor(want["losses"], dtype=F64)
            close = 1e-12 if dtype == F64 else 1e-5
            assert (losses - wanted)[:, 0].abs().max() < close, f"losses, {how}, {dtype}, rank {rank}"
            if dtype == F64:
                assert (losses - wanted)[:, 1].abs().max() < 1e-11, f"norms, {how}, rank {rank}"
                assert abs(got["valid"] - want["valid"]) < 1e-12, f"validation, {how}, rank {rank}"
                assert far(got["weights"], want["weights"]) < 1e-11, f"weights, {how}, rank {rank}"
