"""
Exercises in broadcasting and batching: five small functions that every file of this folder needs, written by you.

    python makemore/broadcasting.py                         # what to write
    python makemore/broadcasting.py --check mine.py         # which of them are wrong, and how

Broadcasting aligns shapes at the right end; where one of them has a 1, or nothing, it is repeated. It never complains
about (27, 27) / (27,), and that is the trap: the shapes fit, the numbers are another sum's.
makemore/solution_broadcasting.py passes.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F

from makemore import names

TASK = """
normalize(counts)                (V, V) counts -> (V, V) float; each row sums to 1; counts stays as it is
one_hot(idx, n)                  idx of any shape, (B, T) say, int64 -> (B, T, n) float: 1 at idx, 0 elsewhere; no loop
examples(words, context)         list of str -> x (N, context), y (N,) int64: for each letter of each word, and the "."
                                 at its end, the letters before it; "." is 0, "a" is 1; no word sees another
batch(x, y, size, generator)     `size` random rows of x (N, T) with their y (N,) -> (size, T), (size,)
loss(logits, targets)            (B, V), (B,) -> mean of -log softmax(logits)[target], also where logits reach 1,000
"""


def close(got, want):
    """What is wrong with a tensor, or None."""
    if not isinstance(got, torch.Tensor):
        return f"gives {type(got).__name__}, not a tensor"
    if got.shape != want.shape:
        return f"has shape {tuple(got.shape)}, not {tuple(want.shape)}"
    if got.is_floating_point() != want.is_floating_point():
        return f"is {got.dtype}, not {want.dtype}"
    if not torch.allclose(got.double(), want.double(), rtol=0, atol=1e-5):
        return f"differs by up to {(got.double() - want.double()).abs().max():.4g}"


def check_normalize(normalize, generator):
    counts = torch.randint(1, 100, (7, 7), generator=generator)         # square, since only then is the trap silent
    before = counts.clone()
    got = normalize(counts)
    if not torch.equal(counts, before):
        return "changes the counts that it was given"
    if isinstance(got, torch.Tensor) and got.shape == (7, 7) and torch.allclose(got, counts / counts.sum(1)):
        return "divides column j by the sum of row j: counts.sum(1) is (V,), laid along each row. Use keepdim=True"
    if isinstance(got, torch.Tensor) and got.shape == (7, 7) and torch.allclose(got.sum(0), torch.ones(7)):
        return "makes the columns sum to 1, not the rows"
    return close(got, counts / counts.sum(1, keepdim=True))


def check_one_hot(one_hot, generator):
    for shape in [(5,), (4, 3), (2, 3, 4), ()]:
        idx = torch.randint(6, shape, generator=generator)
        if wrong := close(one_hot(idx, 6), F.one_hot(idx, 6).float()):
            return f"{wrong}, for idx of shape {shape}"


def check_examples(examples, generator):
    words = ["emma", "b", "zoe"]
    for context in (1, 2, 3, 5):
        for label, got, want in zip("xy", examples(words, context), names.examples(words, context)):
            wrong = close(got, want)
            if wrong and label == "x" and got.shape == want.shape and torch.equal(got[:5], want[:5]):
                wrong = "is right for the first word; then the end of one word is the context of the next"
            if wrong:
                return f"{label} {wrong}, for context {context}"


def check_batch(batch, generator):
    x = torch.arange(12).view(6, 2)
    y = 100 + torch.arange(6)                                # y of a row follows from its x
    seen = set()
    for _ in range(40):
        xs, ys = batch(x, y, 4, generator)
        if xs.shape != (4, 2) or ys.shape != (4,):
            return f"has shapes {tuple(xs.shape)} and {tuple(ys.shape)}, not (4, 2) and (4,)"
        if not torch.equal(100 + xs[:, 0] // 2, ys):
            return "tears pairs apart: a row of x comes with the y of another. Draw the indices once"
        seen.update(ys.tolist())
    if missing := set(y.tolist()) - seen:
        return f"never draws row {min(missing) - 100} of 6, in 40 batches of 4"
    state = generator.get_state()
    first, _ = batch(x, y, 50, generator)
    generator.set_state(state)
    if not torch.equal(first, batch(x, y, 50, generator)[0]):
        return "does not draw from the generator: the same state gives another batch"


def check_loss(loss, generator):
    for scale in (1, 1000):
        logits = scale * torch.randn(8, 5, generator=generator)
        targets = torch.randint(5, (8,), generator=generator)
        if wrong := close(loss(logits, targets) / scale, F.cross_entropy(logits, targets) / scale):
            hint = ": exp(1000) is inf. Subtract the largest logit first" if scale > 1 else ""
            return f"{wrong}, for logits of size {scale}{hint}"


CHECKS = {"normalize": check_normalize, "one_hot": check_one_hot, "examples": check_examples, "batch": check_batch,
          "loss": check_loss}


def faults(module, seed=0):
    """{name: what is wrong with it} of the functions of a learner's module."""
    found = {}
    for name, check in CHECKS.items():
        generator = torch.Generator().manual_seed(seed)
        try:
            wrong = check(getattr(module, name), generator) if hasattr(module, name) else "is missing"
        except Exception as error:                           # one that stops must not hide the others
            wrong = f"stops with {type(error).__name__}: {error}"
        if wrong:
            found[name] = wrong
    return found


def load(path):
    """The learner's file, run as any script of theirs."""
    if not path.exists():
        sys.exit(f"no {path}. Write the functions that python makemore/broadcasting.py names")
    spec = importlib.util.spec_from_file_location("learner", path)
    if spec is None:
        sys.exit(f"{path} is not a Python file. Give it a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--check", type=Path, metavar="FILE", help="check the functions in this file")
    p.add_argument("--seed", type=int, default=0, help="of the numbers to check with [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if not args.check:
        print(f"Write a file with these functions, then check it with --check FILE:\n{TASK}")
        return
    found = faults(load(args.check), args.seed)
    for name in CHECKS:
        print(f"{name:10s} {found.get(name, 'is right')}")
    if found:
        sys.exit(f"{len(found)} of {len(CHECKS)} wrong. Mend them and run the check again")


if __name__ == "__main__":
    main()
