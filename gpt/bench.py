"""
How fast the engine reads and writes, beside the machine's own memory and beside transformers' generate, in one run.

    python gpt/bench.py                                     # GPT-2 124M and the speedrun's shape: about two minutes
    python gpt/bench.py --shape small --checkpoint out/tinyworld/model        # a trained model
    python gpt/bench.py --shape tiny --tokens 8 --rounds 1  # seconds, to see that it runs

Each way takes its turn in every round, so that what else the machine does meets them all; the median round counts. A
prompt's ids are random, every reply has its full length, and all is greedy. What the columns are:

    first ms    from the request to its first id: what somebody waits for
    prefill     tokens of prompts read a second, the first id included
    decode      ids written a second after the first, all rows together
    GB/s        bytes of weights and of cached keys and values that a step must read, times steps a second
    of memory   that as a share of what this machine reads from a large array: near 100%, no arithmetic can help

Against transformers stands its faster number format. Left out on purpose: GPUs' graphs, compiled models.

B = batch
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import copy
import importlib.util
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from bpe.record import write_metrics
from gpt import checkpoint, int8
from gpt.describe import cache_bytes
from gpt.engine import Engine
from gpt.frozen import freeze
from gpt.kinds import build
from gpt.llama import Config
from gpt.model import GPTConfig
from gpt.prefix import Prefixes

SHAPES = {"gpt2": GPTConfig(), "tiny": Config(64, 2, 2, 2, 16, 32, 64, qk_norm=True),
          "small": Config(2048, 4, 4, 4, 128, 352, 512, qk_norm=True)}             # train/presets.py's for a CPU
MATRICES = torch.nn.Linear, int8.Int8Linear


class Endless:
    """What the engine asks of a tokenizer, with special ids that no model writes: every reply has its full length."""

    def __init__(self, n_vocab):
        self.n_vocab, self.specials = n_vocab, {"<|end|>": -1, "<|bos|>": -1}


def memory_speed(size=1 << 28, times=5):
    """Bytes a second at which a sum reads an array far larger than the caches; the best of some."""
    x, best = torch.ones(size // 4), float("inf")
    for _ in range(times):
        start = time.perf_counter()
        x.sum()
        best = min(best, time.perf_counter() - start)
    return size / best


def matrix_bytes(model):
    """What every step reads whatever the batch: all matrices, the head among them."""
    return sum(m.weight.nbytes for m in model.modules() if isinstance(m, MATRICES))


def ours(model, prompts, tokens):
    """Seconds to the first ids, and for `tokens` further ones a row."""
    engine = Engine(model, Endless(model.config.vocab_size), len(prompts), len(prompts[0]) + tokens + 1)
    start = time.perf_counter()
    for prompt in prompts:
        engine.submit(prompt, tokens + 1)
    engine.step()
    first = time.perf_counter()
    while engine.busy:
        engine.step()
    return first - start, time.perf_counter() - first


def second_turn(model, prompt, tokens):
    """Seconds to the first id of a conversation's second turn, without prefixes and with them."""
    seconds = []
    for prefixes in (None, Prefixes()):
        engine = Engine(model, Endless(model.config.vocab_size), 1, prefixes=prefixes)
        for turn in (prompt, None):
            reply = engine.submit(turn or reply.prompt + reply.ids + prompt[:8], tokens)
            start = time.perf_counter()
            engine.step()
            first = time.perf_counter() - start
            while engine.busy:
                engine.step()
        seconds.append(first)
    return seconds


@torch.inference_mode()
def theirs(model, prompts, tokens):
    """The same of transformers' generate."""
    ids, seconds = torch.tensor(prompts), []
    for n in (1, tokens + 1):
        start = time.perf_counter()
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=n, max_new_tokens=n,
                       pad_token_id=0)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1] - seconds[0]


def ways(model, shape, peer):
    """{what it is called: (function, model, bytes of its matrices)}; peer: transformers too, on an exported copy"""
    made, whole = {"float32": (ours, model, matrix_bytes(model))}, matrix_bytes(model)
    if shape == "gpt2":                                      # for a small model these do not pay
        half, small = copy.deepcopy(model).bfloat16(), copy.deepcopy(model)
        int8.quantize(small)
        made |= {"bfloat16": (ours, half, whole // 2), "int8": (ours, small, matrix_bytes(small))}
    elif freeze(model) is not model:
        made["frozen"] = ours, freeze(model), whole
    if peer:
        import transformers

        from gpt import hf
        transformers.utils.logging.disable_progress_bar()
        with tempfile.TemporaryDirectory() as folder:
            hf.save_hf(model, None, folder)
            for dtype in (torch.float32, torch.bfloat16):
                copied = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
                made[f"transformers {str(dtype).removeprefix('torch.')}"] = theirs, copied, None
    return made


def measure(made, prompts, args):
    """{way: (seconds to the first ids, seconds of the rest)}, medians of the rounds"""
    for run, model, _ in made.values():                      # whatever is made at first use
        run(model, prompts, 2)
    rounds = [{way: run(model, prompts, args.tokens) for way, (run, model, _) in made.items()}
              for _ in range(args.rounds)]
    return {way: tuple(median(r[way][i] for r in rounds) for i in (0, 1)) for way in made}


def table(shape, model, made, args, memory):
    """Measure and print one shape, batch by batch; returns the numbers of metrics.json."""
    numbers, generator = {}, torch.Generator().manual_seed(args.seed)
    print(f"\n{shape}: {sum(p.numel() for p in model.parameters()):,} parameters, prompts of {args.prompt}, "
          f"replies of {args.tokens + 1}\n{'':22s} batch  first ms    prefill     decode   GB/s  of memory  "
          "x transformers")
    for B in args.batch:
        prompts = torch.randint(model.config.vocab_size, (B, args.prompt), generator=generator).tolist()
        seconds = measure(made, prompts, args)
        rates = {way: B * args.tokens / rest for way, (_, rest) in seconds.items()}
        best = max((rate for way, rate in rates.items() if made[way][0] is theirs), default=None)
        if best:
            fastest = max(rate for way, rate in rates.items() if made[way][0] is ours)
            numbers[f"{shape}_batch{B}_times_transformers"] = fastest / best
        for way, (first, _) in seconds.items():
            key = f"{shape}_{way.replace(' ', '_')}_batch{B}"
            numbers |= {f"{key}_first_token_seconds": first, f"{key}_decode_tokens_per_second": rates[way],
                        f"{key}_prefill_tokens_per_second": B * args.prompt / first}
            line = f"{way:22s} {B:5d} {1e3 * first:9.1f} {B * args.prompt / first:10,.0f} {rates[way]:10,.1f}"
            if made[way][0] is ours:
                cached = cache_bytes(model.config, 2 if way == "bfloat16" else 4) * (args.prompt + args.tokens / 2)
                speed = rates[way] / B * (made[way][2] + B * cached)
                numbers[f"{key}_bytes_per_second"] = speed
                line += f" {speed / 1e9:6.1f} {speed / memory:10.0%}"
                line += f" {rates[way] / best:15.2f}" if best else ""
            print(line, flush=True)
    whole, rest = second_turn(model, prompts[0], args.tokens)
    numbers |= {f"{shape}_second_turn_seconds": whole, f"{shape}_second_turn_with_prefixes_seconds": rest}
    print(f"first id of a second turn of {args.prompt + args.tokens + 8} tokens: {1e3 * whole:.1f} ms, "
          f"with the first turn's keys and values kept {1e3 * rest:.1f} ms")
    return numbers


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--shape", nargs="+", choices=SHAPES, default=["gpt2", "small"], help="[gpt2 small]")
    add("--checkpoint", type=Path, help="a trained model in place of the shape small")
    add("--batch", type=int, nargs="+", default=[1, 8], help="rows [1 8]")
    add("--prompt", type=int, default=32, help="tokens of a prompt [%(default)s]")
    add("--tokens", type=int, default=64, help="ids to write after the first [%(default)s]")
    add("--rounds", type=int, default=3, help="turns of each way; the median counts [%(default)s]")
    add("--threads", type=int, help="[torch's own choice]")
    add("--no-peer", dest="peer", action="store_false", help="without transformers, though it is installed")
    add("--seed", type=int, default=0, help="of weights and prompts [%(default)s]")
    add("--out", type=Path, default=Path("out/gpt/bench"), help="folder of metrics.json [%(default)s]")
    args = p.parse_args(argv)
    if min(args.batch + [args.prompt, args.tokens, args.rounds]) < 1:
        p.error("--batch, --prompt, --tokens and --rounds begin at 1")
    return args


def load(shape, args):
    """The model to measure: of a checkpoint, or random weights."""
    if shape == "small" and args.checkpoint:
        try:
            return checkpoint.load(args.checkpoint, "cpu")[0].eval()
        except checkpoint.CheckpointError as error:
            sys.exit(str(error))
    return build(SHAPES[shape], generator=torch.Generator().manual_seed(args.seed)).eval()


def main(argv=None):
    args, began = parse(argv), time.time()
    if args.threads:
        torch.set_num_threads(args.threads)
    models = {shape: load(shape, args) for shape in args.shape}
    for shape, model in models.items():
        if args.prompt + 2 * args.tokens + 8 >= model.config.context:                # two turns
            sys.exit(f"{shape} holds {model.config.context} tokens. Give fewer with --prompt and --tokens")
    peer = args.peer and all(importlib.util.find_spec(name) for name in ("transformers", "safetensors"))
    if args.peer and not peer:
        print("without transformers; for its column: pip install transformers safetensors")
    memory = memory_speed()
    print(f"{torch.get_num_threads()} threads; this machine reads {memory / 1e9:.1f} GB/s from memory")
    numbers = {"memory_bytes_per_second": memory, "threads": torch.get_num_threads()}
    for shape, model in models.items():
        numbers |= table(shape, model, ways(model, shape, peer), args, memory)
    write_metrics(args.out, "gpt/bench.py", argv, seed=args.seed, seconds=round(time.time() - began, 1),
                  numbers=numbers)
    print(f"\nwrote {args.out}/metrics.json")


if __name__ == "__main__":
    main()
