"""
Let a checkpoint go on from a prompt, or answer one message.

    python gpt/sample.py --checkpoint out/tinyworld/pretrain/run --prompt "Once upon a time"
    python gpt/sample.py --chat --prompt "What is 48/2?"             # the model of out/tinyworld/model
    python gpt/sample.py --prompt "The" --samples 5 --temperature 1 --top-p 0.9

Text appears as it is written; special tokens, so calculator calls too, are shown by name.
Left out on purpose: several turns (chat/cli.py).
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import codecs
import time
from pathlib import Path

import torch

from bpe import template
from gpt import checkpoint
from gpt.engine import Engine
from gpt.frozen import freeze
from gpt.sampling import Sampling
from gpt.tools import TOOLS


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--checkpoint", type=Path, default=Path("out/tinyworld/model"),
        help="run, step, or file naming one [%(default)s]")
    add("--prompt", default="", help="text to go on from; with --chat, a user's message [empty]")
    add("--chat", action="store_true", help="put the prompt into the chat template, and the calculator at hand")
    add("--max-new", type=int, default=200, help="tokens to write at most [%(default)s]")
    add("--samples", type=int, default=1, help="replies, with seeds that follow each other [%(default)s]")
    add("--temperature", type=float, default=0.8, help="0 takes the likeliest token [%(default)s]")
    add("--top-k", type=int, help="draw from the k likeliest [all]")
    add("--top-p", type=float, help="draw from the fewest that hold this mass [all]")
    add("--min-p", type=float, help="draw from those this many times as likely as the likeliest [all]")
    add("--repetition", type=float, default=1.0, help="penalty on ids that are in the text, 1 none [%(default)s]")
    add("--seed", type=int, default=0, help="the same seed writes the same [%(default)s]")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="[%(default)s]")
    return p.parse_args(argv)


def stream(engine, reply):
    """Yield the reply's text as it is written; a character of several tokens comes when it is whole."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while not reply.finished:
        for _, id, _, _ in engine.step():
            yield decoder.decode(engine.tokenizer.decode_bytes([id]) if id not in engine.stops else b"")
    yield decoder.decode(b"", final=True)


def main(argv=None):
    args = parse(argv)
    try:
        sampling = Sampling(args.temperature, args.top_k, args.top_p, args.min_p, args.repetition)
        model, tokenizer, info = checkpoint.load(args.checkpoint, args.device)
        if args.chat:
            ids, _ = template.render([{"role": "user", "content": args.prompt}], tokenizer, for_reply=True)
        else:
            ids = [tokenizer.specials["<|bos|>"]] + tokenizer.encode(args.prompt)
        engine = Engine(freeze(model), tokenizer, slots=1)
        replies = [engine.submit(ids, args.max_new, sampling, args.seed + i, tools=TOOLS if args.chat else None)
                   for i in range(args.samples)]
    except (checkpoint.CheckpointError, ValueError) as error:
        sys.exit(f"{error}")
    print(f"{info['path']}: step {info['step']}, {sum(p.numel() for p in model.parameters()):,} parameters\n")
    start = time.time()
    for reply in replies:
        print("" if args.chat else args.prompt, end="")
        for text in stream(engine, reply):
            print(text, end="", flush=True)
        print("\n")
    tokens = sum(len(reply.ids) for reply in replies)
    print(f"{tokens} tokens, {tokens / (time.time() - start):.0f} tokens/s")


if __name__ == "__main__":
    main()
