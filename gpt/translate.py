"""
Train the Transformer of gpt/transformer.py to translate: numbers in words to digits, dates, lists to sort.

    python gpt/translate.py                                 # under three minutes on two cores, then greedy and beam
    python gpt/translate.py --steps 50 --width 32           # seconds
    python gpt/translate.py --say "nine hundred six thousand eleven"       # with the model that the last run left

    seven hundred forty two thousand nine hundred six      ->  7 4 2 9 0 6
    the twenty third of march nineteen ninety nine         ->  1 9 9 9 - 0 3 - 2 3
    sort 7 3 9 1 3                                         ->  1 3 3 7 9

A task that needs an encoder: the first digit of a number depends on words far behind it. As in section 5 of the paper:
Adam with its betas, the warm-up schedule of eq. 3, label smoothing 0.1; as in section 6.1: weights averaged over the
last part of training, beam search with a length penalty of 0.6. Every tenth example, by a hash of its answer, is held
out and never seen in training.

B = batch, S = source positions, T = target positions, K = beams, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import random
import time
import zlib
from calendar import monthrange
from pathlib import Path

import torch
import torch.nn.functional as F

from bpe.record import score, write_metrics
from gpt.transformer import Transformer

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
FIRST = ("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
         "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth").split()
MONTHS = ("january february march april may june july august september october november december").split()
SYMBOLS = ["<pad>", "<start>", "<end>", *ONES, *TENS, "hundred", "thousand", *FIRST, "thirtieth", *MONTHS,
           "the", "of", "sort", *"0123456789-"]
PAD, START, END = 0, 1, 2
ID = {word: i for i, word in enumerate(SYMBOLS)}

# ---------------------------------------------------------------------------------------------------
# the task


def words(n):
    """A number from 0 to 999,999 in words, as a list."""
    if n >= 1000:
        return words(n // 1000) + ["thousand"] + (words(n % 1000) if n % 1000 else [])
    if n >= 100:
        return [ONES[n // 100], "hundred"] + (words(n % 100) if n % 100 else [])
    if n >= 20:
        return [TENS[n // 10 - 2]] + ([ONES[n % 10]] if n % 10 else [])
    return [ONES[n]]


def ordinal(n):
    """1 to 31 as a list of words."""
    if n <= 20:
        return [FIRST[n - 1]]
    return ["thirtieth"] if n == 30 else [TENS[n // 10 - 2], FIRST[n % 10 - 1]]


def pair(rng):
    """(source, target), lists of symbols."""
    kind = rng.randrange(3)
    if kind == 0:
        n = rng.randrange(10 ** rng.randrange(1, 7))
        return words(n), list(str(n))
    if kind == 1:
        month, year = rng.randrange(12), rng.randrange(1100, 2000)
        day = rng.randrange(1, monthrange(year, month + 1)[1] + 1)
        year_words = words(year // 100) + (words(year % 100) if year % 100 else ["hundred"])
        return ["the", *ordinal(day), "of", MONTHS[month], *year_words], list(f"{year}-{month + 1:02d}-{day:02d}")
    digits = [str(rng.randrange(10)) for _ in range(rng.randrange(2, 11))]
    return ["sort", *digits], sorted(digits)


def held_out(target):
    return zlib.crc32(" ".join(target).encode()) % 10 == 0


def pairs(n, rng, test=False):
    """n examples of the part that is trained on, or of the other."""
    found = []
    while len(found) < n:
        source, target = pair(rng)
        if held_out(target) == test:
            found.append((source, target))
    return found


def rows(lists):
    """(B, longest) ids, filled up with PAD."""
    longest = max(map(len, lists))
    return torch.tensor([[ID[s] for s in row] + [PAD] * (longest - len(row)) for row in lists])


def tensors(batch):
    """source (B, S), target (B, T) from <start> on, answer (B, T) the same one later, with <end>"""
    source = rows([source for source, _ in batch])
    target = rows([["<start>", *target] for _, target in batch])
    answer = rows([[*target, "<end>"] for _, target in batch])
    return source, target, answer


# ---------------------------------------------------------------------------------------------------
# section 5: training


def rate(step, d_model, warmup):
    """Eq. 3: linear for `warmup` steps, then with the inverse square root of the step; step from 1."""
    return d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)


def smoothed(logits, answer, smoothing=0.1):
    """
    5.4: cross-entropy against 1 - smoothing on the answer and the rest spread evenly over the vocabulary
    (Szegedy et al. 2015, section 7: https://arxiv.org/abs/1512.00567). Nats per symbol that is no PAD.
    """
    logp = logits.log_softmax(dim=-1)                                             # (B, T, V)
    right = logp.gather(-1, answer[..., None])[..., 0]                            # (B, T)
    loss = -(1 - smoothing) * right - smoothing * logp.mean(dim=-1)
    return loss[answer != PAD].mean()


# ---------------------------------------------------------------------------------------------------
# section 6.1: translating


@torch.inference_mode()
def greedy(model, source, longest=16):
    """The likeliest symbol at each step; source: (B, S);  returns: B lists of ids, <end> not among them"""
    memory, mask = model.encode(source)
    out = torch.full((len(source), 1), START)
    while out.size(1) <= longest and not (out == END).any(dim=1).all():
        logits = model.decode(memory, mask, out)[:, -1, PAD + 1:]                 # (B, V - 1): PAD is no answer
        out = torch.cat([out, logits.argmax(-1, keepdim=True) + PAD + 1], dim=1)
    return [cut(row) for row in out.tolist()]


@torch.inference_mode()
def beam(model, source, k=4, alpha=0.6, longest=16):
    """
    The k likeliest beginnings at each step, all sources at once; in the end the best by log p / ((5 + T)/6)^alpha
    (Wu et al. 2016, eq. 14: https://arxiv.org/abs/1609.08144). source: (B, S);  returns: B lists of ids
    """
    B, V = len(source), len(SYMBOLS)
    memory, mask = (x.repeat_interleave(k, dim=0) for x in model.encode(source))  # (BK, S, d_model), (BK, 1, 1, S)
    out = torch.full((B * k, 1), START)
    score = torch.full((B, k), float("-inf"))
    score[:, 0] = 0                                          # all beams are the same so far: only one may go on
    for _ in range(longest):
        logp = model.decode(memory, mask, out)[:, -1].log_softmax(-1)             # (BK, V)
        ended = out[:, -1:].eq(END) | out[:, -1:].eq(PAD)
        logp = logp.masked_fill(ended, float("-inf"))
        logp[:, PAD] = torch.where(ended[:, 0], 0.0, float("-inf"))               # what has ended stays as it is
        score, at = (score[..., None] + logp.view(B, k, V)).flatten(1).topk(k)    # (B, K) twice
        row = torch.arange(B)[:, None] * k + at // V                              # (B, K) whom each goes on from
        out = torch.cat([out[row.flatten()], (at % V).view(-1, 1)], dim=1)
        if (out[:, -1].eq(PAD) | out[:, -1].eq(END)).all():
            break
    length = (out != PAD).sum(1).view(B, k) - 1
    best = (score / ((5 + length) / 6) ** alpha).argmax(dim=1)                    # (B,)
    return [cut(row) for row in out.view(B, k, -1)[torch.arange(B), best].tolist()]


def cut(row):
    """What stands between <start> and <end>."""
    row = row[1:]
    return row[:row.index(END)] if END in row else [i for i in row if i != PAD]


def exact(model, examples, translate):
    """How many of the examples come out right to the symbol."""
    model.eval()
    right = 0
    for i in range(0, len(examples), 250):
        batch = examples[i:i + 250]
        replies = translate(model, rows([source for source, _ in batch]))
        right += sum([SYMBOLS[i] for i in reply] == target for reply, (_, target) in zip(replies, batch))
    return right


# ---------------------------------------------------------------------------------------------------


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=1800, help="optimizer steps [%(default)s]")
    p.add_argument("--batch", type=int, default=128, help="examples a step [%(default)s]")
    p.add_argument("--width", type=int, default=128, help="d_model, four heads [%(default)s]")
    p.add_argument("--layers", type=int, default=2, help="of encoder and of decoder [%(default)s]")
    p.add_argument("--warmup", type=int, default=400, help="steps until the learning rate is highest [%(default)s]")
    p.add_argument("--test", type=int, default=2000, help="held-out examples [%(default)s]")
    p.add_argument("--seed", type=int, default=1, help="of weights and examples [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/gpt/translate"), help="folder to write to [%(default)s]")
    p.add_argument("--say", metavar="WORDS", help="translate this with the model that --out holds")
    return p.parse_args(argv)


def say(args):
    path = args.out / "model.pt"
    if not path.is_file():
        sys.exit(f"no {path}. Train one with\n    python gpt/translate.py --out {args.out}")
    source = args.say.lower().split()
    if strange := [word for word in source if word not in ID]:
        sys.exit(f"{strange[0]!r} is none of the words it knows: {' '.join(SYMBOLS[3:])}")
    saved = torch.load(path, weights_only=True)
    model = Transformer(len(SYMBOLS), *saved["shape"])
    model.load_state_dict(saved["weights"])
    print(" ".join(SYMBOLS[i] for i in beam(model.eval(), rows([source]))[0]))


def main(argv=None):
    args = parse(argv)
    if args.say:
        return say(args)
    if args.width % 4:
        sys.exit(f"--width {args.width} is no multiple of 4 heads. Give one that is")
    torch.manual_seed(args.seed)
    rng, began = random.Random(args.seed), time.time()
    shape = args.width, 4, 4 * args.width, args.layers, 0.0
    model = Transformer(len(SYMBOLS), *shape)
    adam = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.9, 0.98), eps=1e-9)    # section 5.3
    test = pairs(args.test, random.Random(args.seed + 1), test=True)
    n_params = sum(p.numel() for p in model.parameters())
    print(f"{n_params:,} parameters; a uniform guess loses {torch.tensor(float(len(SYMBOLS))).log():.4f} nats a symbol")
    mean, n_kept = {}, 0
    for step in range(1, args.steps + 1):
        for group in adam.param_groups:
            group["lr"] = rate(step, args.width, args.warmup)
        source, target, answer = tensors(pairs(args.batch, rng))
        logits = model.train()(source, target)
        loss = smoothed(logits, answer)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step > 0.85 * args.steps:                         # 6.1: a running mean of the weights from here on
            n_kept += 1
            for name, p in model.state_dict().items():
                mean[name] = p.clone() if n_kept == 1 else mean[name].lerp(p, 1 / n_kept)
        if step % 200 == 0 or step == args.steps:
            plain = F.cross_entropy(logits.flatten(0, 1), answer.flatten(), ignore_index=PAD).item()
            each = (time.time() - began) / step
            right = exact(model, test[:250], greedy) / len(test[:250])
            print(f"step {step:5d}/{args.steps} | loss {plain:.4f} | held out {right:6.1%}"
                  f" | {args.batch / each:6,.0f} examples/s | {each * (args.steps - step):3.0f} s left")
    model.load_state_dict(mean)
    scores = {"exact": exact(model, test, greedy), "exact_beam": exact(model, test, beam)}
    print(f"exact on {len(test):,} held-out examples: greedy {scores['exact'] / len(test):.2%}, beam of 4 "
          f"{scores['exact_beam'] / len(test):.2%}; {time.time() - began:.0f} s")
    for source, target in test[:6]:
        reply = beam(model, rows([source]))[0]
        print(f"    {' '.join(source):60s} -> {' '.join(SYMBOLS[i] for i in reply)}")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save({"shape": shape, "weights": model.state_dict()}, args.out / "model.pt")
    write_metrics(args.out, "gpt/translate.py", argv, seed=args.seed, seconds=time.time() - began,
                  scores={name: score(right, len(test), chance=0.0) for name, right in scores.items()})
    print(f"wrote {args.out}; next: python gpt/translate.py --say \"nine hundred six thousand eleven\"")


if __name__ == "__main__":
    main()
