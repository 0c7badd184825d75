"""
Our replay and EWC beside Avalanche's (Carta et al. 2023, https://www.jmlr.org/papers/v24/23-0130.html): one model,
one stream, the same windows of text, the same number of steps, the same trials of each hyperparameter.

    python continual/peer.py                                 # a table, after some minutes
    python continual/peer.py --seeds 1 --steps 2 --trials 1  # to see that it runs

Avalanche is made for classification of (x, y). Text is posed so: x is a window of 64 tokens, y the 64 that follow
them, the model answers with scores (B, V, T), and torch's CrossEntropyLoss does the rest; no line of Avalanche is
changed. Its first experience is what the base was pretrained on, gone through without a step, so that its plugins see
what ours are given at the start. Naive fine-tuning is the check: there both must give the same matrix.

Trials are judged on validation texts of another order of the tasks, by average accuracy; the strength of EWC's springs
is tried with one term per task, and online EWC takes it over. What is done is not done again: remove OUT/runs where a
method has changed. Left out on purpose: a schedule of the rate and packed rows (continual/learn.py), which both would
share.

Avalanche would replace torch. These commands leave it alone (0.16.2 is the last torchvision that can be imported where
its CUDA operators cannot be loaded; where they can, take the one that belongs to your torch):

    pip install wandb tensorboard matplotlib psutil requests packaging
    pip install --no-deps avalanche-lib==0.6.0 torchvision==0.16.2 torchmetrics lightning-utilities pytorchcv gputil \
        gdown beautifulsoup4 soupsieve qpsolvers quadprog dill scipy setuptools
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import copy
import json
import logging
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import TensorDataset

from continual import base, ewc, learn, naive, online_ewc, replay
from continual.learner import Learner
from continual.streams import ORDERS, domain
from continual.transfer import average_accuracy, backward_transfer, interval
from gpt import checkpoint
from train.log import write_metrics

LENGTH = 64                  # tokens of a window
REPORTED, TUNED = ORDERS["embedded"][:2]
METHODS = {"naive": naive, "replay": replay, "ewc": ewc, "online ewc": online_ewc}
TRIALS = {"replay": [dict(share=share) for share in (0.125, 0.25, 0.5, 0.75)],
          "ewc": [dict(strength=strength) for strength in (10.0, 30.0, 100.0, 300.0)]}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--seeds", type=int, default=3, help="of the base, the windows and their order [%(default)s]")
    add("--trials", type=int, help="of each hyperparameter [all]")
    add("--steps", type=int, default=40, help="of a task [%(default)s]")
    add("--rows", type=int, default=16, help="windows of a batch [%(default)s]")
    add("--lr", type=float, default=0.001, help="rate of AdamW [%(default)s]")
    add("--test-rows", type=int, default=128, help="windows of a test [%(default)s]")
    add("--bases", type=Path, default=Path("out/continual"), help="where continual/base.py wrote [%(default)s]")
    add("--out", type=Path, default=Path("out/continual/peer"), help="where to write [%(default)s]")
    return p.parse_args(argv)


# ----------------------------------------------------------------------------
# the stream

def windows(texts, tokenizer, count, rng):
    """x and y of `count` windows of the texts, in random order, (count, LENGTH) each."""
    bos, ids = tokenizer.specials["<|bos|>"], []
    for n in rng.permutation(len(texts)):
        ids += [bos, *tokenizer.encode(texts[n])]
        if len(ids) > count * LENGTH:
            break
    count = min(count, (len(ids) - 1) // LENGTH)
    ids, order = torch.tensor(ids[:count * LENGTH + 1]), torch.from_numpy(rng.permutation(count))
    return ids[:-1].view(count, LENGTH)[order], ids[1:].view(count, LENGTH)[order]


@cache
def stream(bases, order, on, seed, steps, rows, test_rows):
    """Base, tokenizer, a training set for each domain, and a test: (x, y) each."""
    model, tokenizer, _ = checkpoint.load(base.folder("embedded", order[0], seed, bases) / "run", "cpu")
    rng = np.random.default_rng(seed)
    tasks = [windows(domain("embedded", name)["train"], tokenizer, steps * rows, rng) for name in order]
    tests = [windows(domain("embedded", name)[on], tokenizer, test_rows, rng) for name in order]
    return model, tokenizer, tasks, tests


def unpacked(x):
    """doc and positions (train/pack.py) of windows: each is one document."""
    return torch.zeros_like(x), torch.arange(x.size(1)).expand_as(x)


@torch.no_grad()
def accuracy(model, test):
    """Share of next tokens that are the likeliest."""
    x, y = test
    return (model(x)[0].argmax(-1) == y).float().mean().item()


# ----------------------------------------------------------------------------
# two libraries: each trains `model` in place, and yields whenever a domain has been learned, the base's first

def ours(args, method, setting, model, tokenizer, tasks, seed):
    module = METHODS[method]
    learner = Learner(model, tokenizer, dict(setting), args.lr, args.steps, args.rows, LENGTH,
                      np.random.default_rng(seed), torch.Generator().manual_seed(seed))
    first, *others = [list(zip(*(t.split(args.rows) for t in (*task, *unpacked(task[0]))))) for task in tasks]
    learner.recent = first
    module.start(learner, first)
    yield
    for batches in others:
        learn.begin(learner, module)
        for batch in batches:
            learn.step(learner, module, batch, 1.0)
        module.end(learner)
        yield


def avalanche():
    """What is used of Avalanche; exits where it cannot be imported (torchvision fails with a RuntimeError)."""
    try:
        from avalanche.benchmarks.scenarios.dataset_scenario import benchmark_from_datasets
        from avalanche.benchmarks.utils import AvalancheDataset
        from avalanche.training import Naive
        from avalanche.training.plugins import EWCPlugin, ReplayPlugin, SupervisedPlugin
    except (ImportError, RuntimeError) as e:
        sys.exit(f"Avalanche cannot be imported ({e}). How to get it without losing torch: python continual/peer.py -h")
    return benchmark_from_datasets, AvalancheDataset, Naive, EWCPlugin, ReplayPlugin, SupervisedPlugin


class Scores(nn.Module):
    """The model as Avalanche wants one: windows in, a score for every class out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x, **dict(zip(("doc", "positions"), unpacked(x))))[0].transpose(1, 2)   # (B, V, T)


def theirs(args, method, setting, model, tokenizer, tasks, seed):
    benchmark_from_datasets, AvalancheDataset, Naive, EWCPlugin, ReplayPlugin, SupervisedPlugin = avalanche()
    old = round(setting.get("share", 0) * args.rows)         # rows of a batch that come from the memory
    strength = setting.get("strength", 0) * args.rows * LENGTH / 2   # about as stiff: see importances(), and no 1/2

    class AsOurs(SupervisedPlugin):
        """As many steps whatever the share of old rows, and the gradient clipped to a norm of one."""

        def after_train_dataset_adaptation(self, strategy, **_):
            strategy.adapted_dataset = strategy.adapted_dataset.subset(range(args.steps * (args.rows - old)))

        def before_update(self, strategy, **_):
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    plugins = {"naive": lambda: [],
               "replay": lambda: [ReplayPlugin(replay.CAPACITY, args.rows - old, old)],
               "ewc": lambda: [EWCPlugin(strength)],
               "online ewc": lambda: [EWCPlugin(strength, "online", setting["gamma"])]}[method]()
    torch.manual_seed(seed)
    strategy = Naive(model=Scores(model), criterion=nn.CrossEntropyLoss(), train_mb_size=args.rows, evaluator=None,
                     optimizer=torch.optim.AdamW(model.parameters(), args.lr, (0.9, 0.95), weight_decay=0),
                     plugins=[*plugins, AsOurs()])
    sets = [AvalancheDataset([TensorDataset(*task)]) for task in tasks]
    for n, experience in enumerate(benchmark_from_datasets(train=sets).train_stream):
        strategy.train_epochs = min(n, 1)
        strategy.train(experience, shuffle=method == "replay", reset_optimizer_state=True)
        yield


# ----------------------------------------------------------------------------
# the comparison

def importances(args, sizes=(1, 4, 16, 64), count=256):
    """
    [(batch size, the sum of Avalanche's importances over ours, cosine of the two)], of the base on its own domain.
    Avalanche squares the gradient of a batch's mean loss (ContinualAI/avalanche@eb075be:avalanche/training/plugins/
    ewc.py, lines 170 to 182), so what it takes for the Fisher shrinks as the batch grows, to 1/targets if gradients of
    tokens were independent; ours is per token. theirs() makes up for that, so that both try about the same springs.
    """
    EWCPlugin = avalanche()[3]
    model, _, (task, *_), _ = stream(args.bases, REPORTED, "test", 0, args.steps, args.rows, args.test_rows)
    x, y = (t[:count] for t in task)
    vector = lambda tensors: torch.cat([t.flatten() for t in tensors])                    # noqa: E731
    right = vector(ewc.fisher(model, [(x, y, *unpacked(x))], torch.Generator().manual_seed(0)))
    found = []
    for size in sizes:
        diagonal = EWCPlugin(1.0).compute_importances(
            Scores(model), nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters()), TensorDataset(x, y), "cpu", size)
        wrong = vector(imp.data for imp in diagonal.values())
        found.append((size, (wrong.sum() / right.sum()).item(), torch.cosine_similarity(wrong, right, dim=0).item()))
    model.eval().zero_grad()
    return found


def matrix(args, library, method, setting, order, on, seed):
    """R of one run, accuracies after each task (rows) on each domain; from its file if it was done before."""
    name = [library.__name__, method, *(f"{k}{v:g}" for k, v in setting.items()), on, args.steps, args.rows, args.lr,
            args.test_rows, seed]
    path = args.out / "runs" / ("_".join(map(str, name)).replace(" ", "-") + ".json")
    if not path.exists():
        began = time.time()
        model, tokenizer, tasks, tests = stream(args.bases, order, on, seed, args.steps, args.rows, args.test_rows)
        model = copy.deepcopy(model)
        R = [[accuracy(model, test) for test in tests]
             for _ in library(args, method, setting, model, tokenizer, tasks, seed)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"R": R, "seconds": time.time() - began}))
    found = json.loads(path.read_text())
    told = " ".join(f"{k} {v:g}" for k, v in setting.items())
    print(f"{library.__name__:7}{method:11}{told:26}{'-'.join(order):24}seed {seed}   average accuracy "
          f"{average_accuracy(found['R']):.4f}   backward transfer {backward_transfer(found['R']):+.4f}   "
          f"{found['seconds']:3.0f} s", flush=True)
    return found["R"]


def chosen(args, library):
    """{method: its setting}: the trial with the highest average accuracy, on the order and the texts of the trials."""
    best = {method: max(trials[:args.trials], key=lambda trial: average_accuracy(
        matrix(args, library, method, trial, TUNED, "valid", 0))) for method, trials in TRIALS.items()}
    return {"naive": {}, **best, "online ewc": best["ewc"] | {"gamma": 1.0}}


def compare(args):
    """{method: {"ours": setting, "theirs": setting, "average_accuracy": {"ours": one per seed, ...}, ...}}"""
    settings, table = [chosen(args, library) for library in (ours, theirs)], {}
    for method in METHODS:
        runs = [[matrix(args, library, method, setting[method], REPORTED, "test", seed) for seed in range(args.seeds)]
                for library, setting in zip((ours, theirs), settings)]
        table[method] = {"ours": settings[0][method], "theirs": settings[1][method]}
        for measure in (average_accuracy, backward_transfer):
            a, b = (np.array([measure(R) for R in side]) for side in runs)
            table[method][measure.__name__] = {"ours": a.tolist(), "theirs": b.tolist(), "difference": (a - b).tolist()}
    return table


def show(table):
    """The table, means and 95% intervals over the seeds; differences are taken seed by seed."""
    for measure in ("average_accuracy", "backward_transfer"):
        print(f"\n{measure.replace('_', ' '):20}{'ours':>17}{'Avalanche':>17}{'difference':>17}")
        for method, row in table.items():
            cells = [interval(row[measure][side]) for side in ("ours", "theirs", "difference")]
            print(f"{method:20}" + "".join(f"{mean:+9.4f} ±{half:6.4f}" for mean, half in cells))


def main(argv=None):
    args, began = parse(argv), time.time()
    avalanche()
    args.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=args.out / "avalanche.log", format="%(message)s")
    logging.captureWarnings(True)                            # Avalanche has many; they are kept, beside the table
    for seed in range(args.seeds):
        base.make("embedded", REPORTED[0], seed, args.bases)
    table = compare(args)
    show(table)
    fishers = importances(args)
    print("\nAvalanche's importances over the Fisher per token\nbatch        sum    cosine")
    for size, ratio, cosine in fishers:
        print(f"{size:5}  1/{1 / ratio:7,.0f}    {cosine:6.3f}")
    write_metrics(args.out, seconds=time.time() - began, numbers=table | {"importances": fishers})
    print(f"\nwrote {args.out}/metrics.json")


if __name__ == "__main__":
    main()
