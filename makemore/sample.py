"""
New names from every model of this folder that you have trained, and which of them are new indeed.

    python makemore/sample.py                               # 20 names from each model below out/makemore
    python makemore/sample.py --n 5 --temperature 0.5       # fewer and more ordinary ones

A model that has only learned its training names by heart writes no new ones, so each name is looked up: known from
training, real but never shown (dev or test alone have it), or new. The bigram's share shows what chance does.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import textwrap
from pathlib import Path

import torch

from makemore import names

KINDS = "bigram", "mlp", "batchnorm", "backprop", "wavenet"  # each writes out/makemore/<kind>/model.pt


def load(path):
    """(kind, model, letters of context) of a model.pt."""
    saved = torch.load(path, weights_only=True)
    kind, config = saved["kind"], saved["config"]
    if kind == "bigram":
        from makemore.bigram import Bigram
        model = Bigram(**config)
    elif kind == "mlp":
        from makemore.mlp import MLP
        model = MLP(**config)
    elif kind == "batchnorm":
        from makemore.batchnorm import MLP
        model = MLP(**config)
    elif kind == "backprop":
        from makemore.backprop import Net
        model = Net(**config)
    elif kind == "wavenet":
        from makemore.wavenet import WaveNet
        model = WaveNet(**config)
    else:
        sys.exit(f"{path} holds a {kind!r}, none of {', '.join(KINDS)}. Train one with\n    python makemore/mlp.py")
    model.load_state_dict(saved["weights"])
    return kind, model, saved["context"]


def sort(drawn, known, real):
    """{"known from training": ..., "real, never shown": ..., "new": ...} of drawn; known, real: sets of names."""
    return {"known from training": [name for name in drawn if name in known],
            "real, never shown": [name for name in drawn if name in real - known],
            "new": [name for name in drawn if name not in real | known]}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", type=Path, nargs="*", help="files model.pt [all of bigram, mlp, batchnorm, wavenet]")
    p.add_argument("--runs", type=Path, default=Path("out/makemore"), help="folder of their folders [%(default)s]")
    p.add_argument("--n", type=int, default=20, help="names from each model [%(default)s]")
    p.add_argument("--temperature", type=float, default=1, help="below 1: more ordinary; above: wilder [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="the same seed writes the same names [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if args.n < 1 or args.temperature <= 0:
        sys.exit("no names can be drawn so. Use --n 1 or more and a --temperature above 0")
    paths = args.models or [path for kind in KINDS if (path := args.runs / kind / "model.pt").exists()]
    for path in paths or [args.runs / "bigram" / "model.pt"]:
        if not path.exists():
            sys.exit(f"no {path}. Train a model with\n    python makemore/bigram.py")
    train, dev, test = map(set, names.split(names.load()))
    for path in paths:
        kind, model, context = load(path)
        generator = torch.Generator().manual_seed(args.seed)
        drawn = names.generate(model, args.n, context, generator, temperature=args.temperature)
        print(f"\n{kind}")
        for label, some in sort(drawn, train, dev | test).items():
            shown = " ".join(some[:40]) + " ..." * (len(some) > 40)
            text = f"{label:19s} {len(some):4d}, {len(some) / args.n:4.0%}  {shown}"
            print(textwrap.fill(text, 110, initial_indent="  ", subsequent_indent=" " * 34))


if __name__ == "__main__":
    main()
