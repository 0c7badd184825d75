"""
What several ranks do in tests/test_distributed.py: functions of a World, and spawn(), which runs one of them in
so many processes of one thread each and returns what every rank has returned.
"""

import os
import socket
from dataclasses import replace

import numpy as np
import torch
import torch.multiprocessing as mp

from bpe.bpe import Tokenizer
from gpt.llama import Config, Llama
from kernels.cross_entropy import linear_cross_entropy
from train import sharded
from train.adamw import AdamW
from train.amp import Mixed
from train.distributed import World, joined, one_by_one, whole
from train.muon import Muon, split
from train.pack import batch
from train.state import capture
from train.step import evaluate, gradients, optimize

TOKENIZER = Tokenizer([])                                    # a byte a token
CPU = torch.device("cpu")
TINY = Config(vocab_size=61, n_layer=3, n_head=2, n_kv_head=1, n_embd=12, n_hidden=22, context=32, qk_norm=True)


def spawn(function, size, *args):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(enter, (size, port, results, function, args), nprocs=size)
        return [results[rank] for rank in range(size)]


def enter(rank, size, port, results, function, args):
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(size)}
    with joined(CPU, patience=100) as world:
        results[rank] = function(world, *args)


# ----------------------------------------------------------------------------

def model(dtype=torch.float64, config=TINY):
    net = Llama(config, head_loss=linear_cross_entropy)
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        p.data.normal_(0, 0.3, generator=generator)
    return net.to(dtype)


def rows(step, n=8):
    """Documents of every length and masks of every share, so that each rank has another number of targets."""
    rng = np.random.default_rng(step)
    examples = [[(rng.integers(1, 60, 33), rng.random(33) < rng.random())] for _ in range(n)]
    return batch(examples, 32, 60)


def optimizers(net):
    matrices, rest = split(net)
    return Muon(matrices, weight_decay=0.1), AdamW(rest)


def lay_out(net, world, how):
    if "checkpointing" in how:
        sharded.forget_activations(net)
    if "ddp" in how:
        world.replicate(net, megabytes=0.002)                # several buckets even here
    if "fsdp" in how:
        sharded.shard(net)
    return net


def train(world, how, dtype=torch.float64, steps=10):
    """Losses and weights of a few steps in one of the layouts."""
    world = World(world.rank, world.size)                    # a World replicates one model
    net = lay_out(model(dtype), world, how)
    muon, adamw = optimizers(net)
    losses = []
    for n in range(steps):
        loss, norm = optimize(net, ((muon, 0.02), (adamw, 0.004)), rows(n), 1.0, 1.0, CPU, world=world,
                              micro=2 if "parts" in how else None)
        losses.append([loss.item(), norm.item()])
    valid = evaluate(net, [rows(99)], CPU, world=world)
    return {"losses": torch.tensor(losses, dtype=torch.float64), "valid": valid,
            "weights": [whole(p).detach() for p in net.parameters()]}


def trajectories(world, ways):
    return [train(world, how, dtype) for how, dtype in ways]


def first_gradients(world):
    """The gradient of one step by each way to sum it, from weights that only rank 0 has right."""
    found, bare = {}, World(world.rank, world.size)          # bare: takes its rows and sends no gradients
    world, net = World(world.rank, world.size), model()
    for p in net.parameters():
        p.data.add_(world.rank)
    world.replicate(net, megabytes=0.002)
    gradients(net, rows(0), CPU, 2, world, Mixed(CPU))
    found["buckets"] = [p.grad for p in net.parameters()]
    found["messages"] = len({id(bucket) for bucket in world.buckets.values()})
    net = model()
    gradients(net, rows(0), CPU, None, bare, Mixed(CPU))
    found["not summed"] = [p.grad.clone() for p in net.parameters()]
    one_by_one(net)
    found["one by one"] = [p.grad for p in net.parameters()]
    wrapped = torch.nn.parallel.DistributedDataParallel(model())
    gradients(wrapped, rows(0), CPU, None, bare, Mixed(CPU))
    found["torch's wrapper"] = [p.grad * world.size for p in wrapped.parameters()]    # it averages
    return found


def continued(world, run, how, fresh):
    """Train 2 steps and save them to `run`, or resume what is there; then 3 more, and their losses."""
    world = World(world.rank, world.size)
    net = lay_out(model(config=replace(TINY, vocab_size=TOKENIZER.n_vocab)), world, how)
    muon, adamw = optimizers(net)
    parts, done = {"muon": muon, "adamw": adamw}, 0
    if not fresh:
        for p in net.parameters():
            p.data.zero_()
        done = sharded.resume(run, net, {}, CPU, **parts)
    losses = []
    for n in range(done, 5):
        losses.append(optimize(net, ((muon, 0.02), (adamw, 0.004)), rows(n), 1.0, 1.0, CPU, world=world)[0].item())
        if fresh and n == 1:
            sharded.save(run, 2, net, TOKENIZER, capture({}, 2, **parts), world, stage="pretrain", keep=2)
    return losses[-3:]


def bfloat16(world):
    """Losses of five steps in bfloat16: one rank by autocast, or sharded with matrices gathered in bfloat16."""
    net, mixed = model(torch.float32), Mixed(CPU, torch.bfloat16)
    if world.size > 1:
        sharded.forget_activations(net)
        sharded.shard(net, torch.bfloat16)
    adamw = AdamW(net.parameters())
    return [optimize(net, [(adamw, 0.004)], rows(n), 1.0, 1.0, CPU, world=World(world.rank, world.size),
                     mixed=mixed)[0].item() for n in range(5)]


def everything(world, ways, folder):
    """All that a test wants of so many ranks, since starting them is what takes long."""
    found = {"trajectories": trajectories(world, ways), "gradients": first_gradients(world)}
    found["bfloat16"] = bfloat16(world)
    found["saved"] = continued(world, folder / f"by_{world.size}", "fsdp", fresh=True)
    found["resumed"] = {(name, how): continued(world, folder / name, how, fresh=False) for name, how in
                        [("by_1", "fsdp"), ("by_2", "fsdp"), ("by_2", "ddp")]}
    return found
