"""
Weights that do not fit one device: every rank keeps one part of each, and gathers a block's weights when it comes
to that block (ZeRO stage 3, Rajbhandari et al. 2019, https://arxiv.org/abs/1910.02054), by torch's fully_shard.

    torchrun --nproc-per-node 8 train/train.py --parallel fsdp --precision bfloat16 --checkpoint-activations ...

Forward gathers a block's weights from all ranks (all-gather) and forgets them after; backward gathers them again,
and leaves each rank the sum of one part of the gradient (reduce-scatter). The optimizer then works on that part
alone, and so do checkpoints: every rank writes what it holds, and any number of ranks, or one, reads it back.

Left out on purpose: tensor and pipeline parallelism; weights that do not fit one host's memory at the start.
"""

import functools
from pathlib import Path

import torch
import torch.distributed as dist

from gpt import checkpoint
from train.state import restore

SHARDED = "in the shards"                                    # stands in state.pt where a sharded tensor was


def blocks(model):
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))


def forget_activations(model):
    """
    Keep only what enters a block, and compute the inside again in backward: a third more work, memory of one
    block instead of all. Chen et al. 2016: https://arxiv.org/abs/1604.06174
    """
    for block in blocks(model):
        block.forward = functools.partial(torch.utils.checkpoint.checkpoint, block.forward, use_reentrant=False)


def shard(model, dtype=torch.float32):
    """
    Every rank keeps its part of each parameter, in float32. A block's matrices are gathered in `dtype`, together;
    what is left (embedding, head, norms) stays float32 and is gathered once a step. Gradients are summed in float32.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    half = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False) \
        if dtype != torch.float32 else MixedPrecisionPolicy()
    groups = [[m for m in block.modules() if isinstance(m, torch.nn.Linear)] for block in blocks(model)]
    for group in groups:
        fully_shard(group, mp_policy=half)
    fully_shard(model)
    for module in [model, *(group[0] for group in groups)]:
        module.set_force_sum_reduction_for_comms(True)       # gradients add up; train/step.py has divided them
        module.set_gradient_divide_factor(1.0)


# ----------------------------------------------------------------------------
# Muon needs whole matrices

def of_whole_matrices(function, parts, rows, group):
    """
    function of n matrices of which every rank holds some rows. Instead of every rank gathering every matrix, an
    all-to-all turns "some rows of all matrices" into "all rows of some": each rank does its share of the work,
    and the way back is another all-to-all.

    function: (n, rows, columns) -> the same;  parts: n tensors (own rows, columns);  returns: such parts of the result
    """
    size, columns = dist.get_world_size(group), parts[0].size(1)
    most, each = -(-rows // size), -(-len(parts) // size)    # rows of a part, matrices of a rank: rounded up
    held = parts[0].new_zeros(size * each, most, columns)
    for slot, part in zip(held, parts):
        slot[:len(part)] = part
    mine = torch.empty_like(held)
    dist.all_to_all_single(mine, held, group=group)
    mine = mine.view(size, each, most, columns).transpose(0, 1).reshape(each, size * most, columns)
    mine[:, :rows] = function(mine[:, :rows])
    mine = mine.view(each, size, most, columns).transpose(0, 1).reshape(size * each, most, columns)
    dist.all_to_all_single(held, mine, group=group)
    return [slot[:len(part)] for slot, part in zip(held, parts)]


# ----------------------------------------------------------------------------
# checkpoints

def leaves(value, path):
    """(path, tensor) of all tensors in nested dicts and lists."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{path}.{key}")


def replace(value, live, change):
    """The nested value with change(leaf, the leaf at the same place of `live`) for every leaf that both have."""
    if isinstance(value, dict):
        return {key: replace(item, live[key], change) if isinstance(live, dict) and key in live else item
                for key, item in value.items()}
    if isinstance(value, list) and isinstance(live, list) and len(value) == len(live):
        return [replace(*pair, change) for pair in zip(value, live)]
    return change(value, live)


def is_sharded(x):
    return hasattr(x, "full_tensor")


def elsewhere(x):
    return isinstance(x, str) and x == SHARDED


def save(run, step, model, tokenizer, state, world, **info):
    """
    checkpoint.save() by all ranks together, to a folder that all can see; whole weights are written by the first.
    state: of train/state.py
    """
    if not any(map(is_sharded, model.parameters())):
        if world.first:
            checkpoint.save(run, step, model, tokenizer, state, **info)
        return world.barrier()
    from torch.distributed.checkpoint import save as write_shards
    model.reshard()                                          # after a validation, the root is still gathered
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    tensors |= {path: x for path, x in leaves(state["parts"], "parts") if is_sharded(x)}
    state = state | {"parts": replace(state["parts"], state["parts"], lambda x, _: SHARDED if is_sharded(x) else x)}
    digest = checkpoint.weights_hash(model.state_dict())     # gathers one after another, so all ranks call it
    with checkpoint.writing(run):
        part = [checkpoint.begin(run, step) if world.first else None]
        dist.broadcast_object_list(part)
        write_shards(tensors, checkpoint_id=part[0] / "shards")
        if world.first:
            checkpoint.finish(part[0], step, model, tokenizer, state, digest, **info)
    world.barrier()


@torch.no_grad()
def resume(run, model, settings, where, **parts):
    """
    Put the newest step of a run into the model and the parts of its training, whatever layout (whole or sharded,
    by however many ranks) it was written in and whichever these have; returns the step.
    """
    info, state = checkpoint.describe(run), checkpoint.load_state(run, where)
    live = {name: part.state_dict() for name, part in parts.items()}
    if "model.pt" in info["bytes"]:
        weights = checkpoint.load(run, where)[0].state_dict()
        replace(weights, model.state_dict(), lambda saved, mine: put(mine, saved))
    else:
        asked = replace(state["parts"], live, lambda saved, mine: mine if elsewhere(saved) else None)
        tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()} | dict(leaves(asked, "parts"))
        checkpoint.read_shards(Path(info["path"]) / "shards", tensors)
    state["parts"] = replace(state["parts"], live, lambda saved, mine: put(mine, saved))
    return restore(state, settings, run, **parts)[0]


def put(mine, saved):
    """A saved leaf in the form that this rank needs: a sharded tensor takes its part of a whole one."""
    if not isinstance(mine, torch.Tensor):
        return saved
    if is_sharded(mine) and not elsewhere(saved):
        from torch.distributed.tensor import distribute_tensor
        saved = distribute_tensor(saved, mine.device_mesh, mine.placements, src_data_rank=None)
    return mine if elsewhere(saved) else mine.copy_(saved)
