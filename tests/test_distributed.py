"""
Several ranks are one: DDP and FSDP give one process's losses, gradients and weights on the same global batch, and
their checkpoints load on any number of ranks. On the CPU with gloo, one thread a rank. (Whole runs under torchrun,
with ranks that are killed, are in test_torchrun.py.)
"""

import pickle

import pytest
import torch

from gpt import checkpoint
from gpt.checkpoint import CheckpointError
from tests import ranks
from train.distributed import World

F64, F32 = torch.float64, torch.float32
WAYS = [("ddp", F64), ("ddp parts", F64), ("fsdp", F64), ("fsdp parts checkpointing", F64),
        ("ddp", F32), ("fsdp", F32)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def alone(folder):
    """What one process does with the global batch."""
    return {"trajectories": {dtype: ranks.train(World(), "", dtype) for dtype in (F64, F32)},
            "saved": ranks.continued(World(), folder / "by_1", "", fresh=True), "bfloat16": ranks.bfloat16(World())}


@pytest.fixture(scope="module", params=[2, 4])
def found(request, alone, folder):
    """What every one of 2, and of 4, ranks has seen."""
    return ranks.spawn(ranks.everything, request.param, WAYS, folder)


def far(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


def test_ranks_are_one_process(alone, found):
    """
    Ten steps of Muon and AdamW with uneven masks: losses and validation within 1e-12 in float64, norms and weights
    within 1e-11; losses within 1e-5 in float32, where the order of a sum is worth 1e-7 a step.
    """
    for rank, each in enumerate(found):
        for (how, dtype), got in zip(WAYS, each["trajectories"]):
            want, where = alone["trajectories"][dtype], f"{how}, {dtype}, rank {rank}"
            assert far(got["losses"][:, :1], want["losses"][:, :1]) < (1e-12 if dtype == F64 else 1e-5), where
            if dtype == F64:
                assert far(got["losses"], want["losses"]) < 1e-11, f"norms, {where}"
                assert abs(got["valid"] - want["valid"]) < 1e-12, f"validation, {where}"
                assert far(got["weights"], want["weights"]) < 1e-11, f"weights, {where}"


def test_three_ways_to_sum_gradients(found):
    """Buckets under way during backward, one parameter after another, torch's wrapper; and summed they must be."""
    for each in found:
        ways = each["gradients"]
        assert ways["messages"] > 2
        for name in ("one by one", "torch's wrapper"):
            assert far(ways["buckets"], ways[name]) < 1e-12, name
        assert far(ways["buckets"], ways["not summed"]) > 1e-2
        assert all(map(torch.equal, ways["buckets"], found[0]["gradients"]["buckets"]))    # the same bits everywhere


def test_sharded_in_bfloat16(alone, found):
    """Sharded matrices that are gathered in bfloat16 are autocast's casts: the losses differ by the gradients' sums."""
    for each in found:
        assert far(torch.tensor(each["bfloat16"]), torch.tensor(alone["bfloat16"])) < 5e-3
    assert far(torch.tensor(alone["bfloat16"], dtype=F64), alone["trajectories"][F32]["losses"][:5, 0]) > 1e-5


def test_checkpoints_load_on_any_number_of_ranks(alone, found, folder):
    """Written whole by one, or in shards by 2 or 4; read by 1, 2 or 4, whole or in shards: the same three losses."""
    want = torch.tensor(alone["saved"], dtype=F64)
    for each in found:
        for name, losses in [("saved", each["saved"]), *each["resumed"].items()]:
            assert far(torch.tensor(losses, dtype=F64), want) < 1e-12, name
    assert (folder / f"by_{len(found)}" / "step_000002" / "shards").exists()
    back = ranks.continued(World(), folder / f"by_{len(found)}", "", fresh=False)
    assert far(torch.tensor(back, dtype=F64), want) < 1e-12


def test_shards_are_a_model_for_everybody_else(alone, found, folder):
    """gpt/checkpoint.py loads them in one process, and their hash is that of the weights."""
    loaded, _, info = checkpoint.load(folder / f"by_{len(found)}")
    whole = checkpoint.load(folder / "by_1")[0]
    assert far(loaded.parameters(), whole.parameters()) < 1e-12
    assert info["hash"] == checkpoint.weights_hash(loaded.state_dict())
    piece = folder / f"by_{len(found)}" / "step_000002" / "shards" / "__1_0.distcp"
    content = piece.read_bytes()
    piece.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match="is damaged .it has"):
        checkpoint.load(folder / f"by_{len(found)}")
    piece.write_bytes(content)


class Program:
    """A pickle of it would call print."""

    def __reduce__(self):
        return print, ("this must never be printed",)


def test_a_program_in_the_index_is_not_run(tmp_path, capsys):
    for content in (pickle.dumps(Program()), b"ctorch.distributed.checkpoint.filesystem\nos.system\n(S'true'\ntR."):
        (tmp_path / ".metadata").write_bytes(content)
        with pytest.raises(CheckpointError, match="in an index of shards"):
            checkpoint.read_shards(tmp_path, {"x": torch.zeros(2)})
    assert "never" not in capsys.readouterr().out
