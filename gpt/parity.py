"""
Every model beside its reference, on random small configurations: the largest difference of a logit, both directions.

    python gpt/parity.py                                    # needs transformers: pip install transformers safetensors

Ours to theirs: gpt/hf.py writes our random model, transformers reads it, both read the same ids. Theirs to ours: what
transformers then writes, gpt/hf.py reads. In float32; two right answers differ by rounding, about 1e-6 at these sizes.
The last line is GPT-2 in numpy against GPT-2 in torch, loss and every gradient, in float64. The Transformer of 2017
stands against torch.nn's layers in tests/test_transformer.py.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import random
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from gpt import hf, manual, model
from gpt.deepseek import DeepSeekConfig
from gpt.kinds import build
from gpt.llama import Config
from gpt.model import GPTConfig

V = 300


def drawn(kind, seed):
    """A small random configuration that Hugging Face calls `kind`."""
    rng = random.Random(f"{kind}{seed}")
    heads = rng.choice([2, 3, 4])
    shared = dict(vocab_size=V, n_layer=rng.choice([2, 3]), n_head=heads)
    if kind == "gpt2":
        return GPTConfig(**shared, block_size=32, n_embd=heads * rng.choice([4, 6]), bias=rng.random() < 0.7)
    shared |= dict(context=32, n_embd=rng.choice([12, 24]), n_hidden=rng.choice([20, 33]), tie=rng.random() < 0.5,
                   rope_theta=rng.choice([100.0, 1e4, 1e6]), norm_eps=rng.choice([1e-5, 1e-6]))
    if kind == "deepseek_v3":
        return DeepSeekConfig(**shared, kv_rank=rng.choice([8, 11]), q_rank=rng.choice([None, 9]), d_rope=4,
                              d_nope=rng.choice([4, 6]), d_value=rng.choice([4, 5]), n_expert=rng.choice([0, 8]),
                              top_k=rng.choice([2, 3]), n_expert_hidden=10, n_group=4 if seed else 1,
                              top_group=2 if seed else 1, first_dense=rng.choice([0, 1]), n_shared=rng.choice([1, 2]),
                              route_scale=2.5)
    return Config(**shared, n_kv_head=rng.choice([1, heads]), d_head=rng.choice([6, 8]), qk_norm=kind == "qwen3",
                  window=5 if kind == "mistral" or kind == "qwen3" and seed else None)


def randomized(config, seed=0):
    """A model of this shape, every parameter and a gate's bias random: ones and zeros would hide what they do."""
    made, generator = build(config), torch.Generator().manual_seed(seed)
    for p in made.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=generator) + (p.dim() == 1)
    for name, b in made.named_buffers():
        if name.endswith("correction_bias"):
            b.data = 0.3 * torch.randn(b.shape, generator=generator)
    return made.eval()


def theirs(folder):
    """What transformers makes of a folder."""
    import transformers
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    peer.config._experts_implementation = "eager"            # the grouped kernel wants sizes that are multiples of 16
    return peer.eval()


def ids():
    return torch.randint(V, (3, 20), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def both_ways(config, folder, seed=0):
    """(largest difference ours to theirs, theirs to ours)"""
    ours = randomized(config, seed)
    hf.save_hf(ours, None, folder / "ours")
    peer = theirs(folder / "ours")
    want = peer(ids()).logits
    peer.save_pretrained(folder / "theirs")
    again = hf.load_hf(folder / "theirs")
    return tuple((x(ids())[0] - want).abs().max().item() for x in (ours, again))


def by_hand(seed=0):
    """(difference of the loss, largest of a gradient) between gpt/manual.py and gpt/model.py, float64."""
    rng = np.random.default_rng(seed)
    ours = manual.GPT(29, 16, 3, 3, 24, rng, dtype=np.float64)
    for p in ours.p.values():
        p += rng.normal(0, 0.3, p.shape)
    peer = model.GPT(GPTConfig(16, 29, 3, 3, 24)).double()
    weights = {name: torch.from_numpy(p.copy()) for name, p in ours.p.items()}
    peer.load_state_dict(weights | {"lm_head.weight": weights["transformer.wte.weight"]})
    idx, targets = rng.integers(29, size=(2, 4, 15))
    loss = ours.forward(idx, targets)[1]
    ours.backward()
    want = peer(torch.from_numpy(idx), torch.from_numpy(targets))[1]
    want.backward()
    worst = max(np.abs(ours.g[name] - p.grad.numpy()).max() for name, p in peer.named_parameters())
    return abs(loss - want.item()), worst


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, default=3, help="random configurations of each kind [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    for package in ("transformers", "safetensors"):
        if find_spec(package) is None:
            sys.exit(f"the references need {package}. Get it with\n    pip install {package}")
    from transformers.utils import logging
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    print(f"{'model':14s} {'as':24s} {'ours to theirs':>16s} {'theirs to ours':>16s}")
    for kind in hf.NAMES:
        with tempfile.TemporaryDirectory() as folder:
            found = [both_ways(drawn(kind, seed), Path(folder) / str(seed), seed) for seed in range(args.seeds)]
        out, back = (max(column) for column in zip(*found))
        print(f"{kind:14s} {hf.CLASSES[kind]:24s} {out:16.1e} {back:16.1e}")
    print("gpt/manual.py against gpt/model.py, float64: loss %.1e, largest difference of a gradient %.1e" % by_hand())


if __name__ == "__main__":
    main()
