"""
The first neural language model to beat the n-grams: Bengio, Ducharme, Vincent and Jauvin 2003.

    python makemore/bengio2003.py                          # 10,000 words, under three minutes on two cores
    python makemore/bengio2003.py --steps 20 --vocab 1000 --order 2    # seconds, to see that it runs
    python makemore/bengio2003_table.py                    # every word of WikiText-2, the paper's table

A word is m numbers, its features, and they are learned. Those of the last n - 1 words, one after the other,
are x, and each word of the vocabulary has one score in  y = b + W x + U tanh(d + H x)  (the paper's eq. 1):
https://www.jmlr.org/papers/v3/bengio03a.html. What no n-gram can do follows: words that are used alike get
features alike, and so a sentence never seen is likely if one of similar words was.

How it departs from the paper:
- Scoring every word at every step kept the authors' 40 processors busy for three weeks (AP News). Here the
  sum over all words is estimated, while learning, from a thousand drawn ones: see estimate(). It is their own
  next step (Bengio and Senécal 2003). Every perplexity reported comes from the whole sum.
- AdamW on batches with dropout, where the paper has stochastic gradient ascent with weight decay.
- tied: a word is scored by its own features, U = C P. The paper proposes it in section 5.1; Press and Wolf 2017
  made it usual: https://aclanthology.org/E17-2025
- WikiText-2 instead of Brown and AP News; no class-based n-gram among the opponents.

Left out on purpose: recurrence, attention, anything that looks back further than n - 1 words.

B = batch, T = n - 1 words of context, V = vocabulary, K = words drawn, N = words of a text, R = width of U and W
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import time
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from bpe import datasets
from makemore.bengio2003_mix import TITLES, compare, opponents, perplexity
from makemore.record import write_metrics

BATCH, DRAWN = 1024, 1000                  # words learned from at a time, words drawn against them
RATE, WARM, DECAY = 8e-3, 100, 0.1         # of AdamW: highest learning rate, steps up to it, weight decay
SPLITS = ("train", "valid", "test")
PAPER = {"trigram": 336, "kneser_ney": 321, "net": 276, "net_trigram_half": 252}    # MLP9 and MLP10 of table 1
WORDS = ("two", "city", "was", "river")    # whose neighbours are shown


def load(size=None):
    """({split: (N,) int64}, [word]) of WikiText-2, the most frequent word first; beyond `size` all are <unk>."""
    words = {}
    for file, path in datasets.fetch("wikitext-2").items():      # wiki.train.tokens and so on
        lines = path.read_text(encoding="utf-8").splitlines()
        words[file.split(".")[1]] = [word for line in lines for word in line.split() + ["<eos>"]]
    vocab = [word for word, _ in Counter(words["train"]).most_common(size)]
    number = {word: i for i, word in enumerate(vocab)}
    unknown = number["<unk>"]
    return {split: torch.tensor([number.get(word, unknown) for word in words[split]]) for split in SPLITS}, vocab


# ---------------------------------------------------------------------------------------------------
# The model


def drop(x, p, generator):
    """Dropout: p of x, to the nearest 256th, set to 0, the rest made larger; torch's takes ten times as long."""
    if generator is None or p == 0:
        return x
    bits = torch.randint(-2**63, 2**63 - 1, (x.numel() // 8 + 1,), generator=generator)
    kept = bits.view(torch.uint8)[:x.numel()].view_as(x) >= round(256 * p)
    return x * kept / (1 - round(256 * p) / 256)


class Bengio(nn.Module):
    """
    Eq. 1 over words 0 to vocab - 1. h = 0 leaves the hidden layer out; direct: W; tied: U = C P, so that a word
    is scored by its own features. dropout: of the features and of the hidden layer, while learning.
    """

    def __init__(self, vocab, n, m, h, direct=False, tied=False, dropout=(0.0, 0.0)):
        super().__init__()
        if tied and (direct or not h) or not (h or direct):
            raise ValueError(f"{h=}, {direct=}, {tied=}: needs a hidden layer or W; tied, the first and no W")
        self.n, self.direct, self.dropout = n, direct, dropout
        self.C = nn.Parameter(0.1 * torch.randn(vocab, m))
        self.hidden = nn.Linear((n - 1) * m, h) if h else None   # d + H x
        self.P = nn.Linear(h, m, bias=False) if tied else None
        self.UW = None if tied else nn.Parameter(torch.zeros(vocab, h + direct * (n - 1) * m))
        self.b = nn.Parameter(torch.zeros(vocab))

    @property
    def rows(self):
        """(V, R) what each word is scored with, the rows of [U W]"""
        return self.C if self.UW is None else self.UW

    def features(self, idx, generator=None):
        """(B, R) what those rows meet: [tanh(d + H x), x] of the words idx (B, T). With a generator, dropout."""
        x = drop(F.embedding(idx, self.C).flatten(1), self.dropout[0], generator)        # (B, T m)
        if self.hidden is None:
            return x
        hidden = drop(torch.tanh(self.hidden(x)), self.dropout[1], generator)            # (B, h)
        if self.P is not None:
            return self.P(hidden)                                # (B, m)
        return torch.cat([hidden, x], dim=1) if self.direct else hidden

    def forward(self, idx, targets=None):
        """idx: (B, T) int64;  targets: (B,) int64;  returns: (B, V) scores, and nats a word or None"""
        logits = F.linear(self.features(idx), self.rows, self.b)  # (B, V)
        return logits, None if targets is None else F.cross_entropy(logits, targets)

    def estimate(self, idx, targets, drawn, chance, generator=None):
        """
        The loss, with the sum over all words but the target estimated from a few. Word j is drawn with chance_j,
        whatever the others do, and counts 1 / chance_j times: on average over draws the sum is right (Horvitz
        and Thompson 1952), and with every chance 1 it is exact. One draw serves the whole batch: one product.

        idx: (B, T);  targets: (B,);  drawn: (K,) int64, all different;  chance: (V,);  returns: nats a word
        """
        B, words = len(targets), torch.cat([targets, drawn])     # (B + K,)
        f, rows, b = self.features(idx, generator), F.embedding(words, self.rows), self.b[words]
        target = (f * rows[:B]).sum(dim=1) + b[:B]               # (B,)
        others = torch.addmm(b[B:] - chance[drawn].log(), f, rows[B:].T)                 # (B, K)
        others = others.masked_fill(targets[:, None] == drawn, -torch.inf)
        return (torch.logaddexp(others.logsumexp(dim=1), target) - target).mean()


def chances(counts, expected):
    """(V,) chance of each word to be drawn, `expected` in all, frequent ones for certain; counts: (V,)"""
    weight = counts ** 0.75                                      # rarer words more often than they occur
    chance = torch.ones_like(weight)
    if expected < len(counts):
        scale = expected / weight.sum()
        for _ in range(100):                                     # what is cut off at 1 goes to the others
            chance = (scale * weight).clamp(max=1)
            scale *= expected / chance.sum()
    return chance


# ---------------------------------------------------------------------------------------------------
# Training and scoring


def train(model, ids, steps, seed, state=None, deadline=float("inf")):
    """
    AdamW over all windows of n words of ids (N,), in a new order each epoch. What is done by the deadline
    (time.time()) is kept in the file `state` and gone on from, bit for bit; returns whether all of it is done.
    """
    matrices, vectors = ([p for p in model.parameters() if (p.dim() > 1) == many] for many in (True, False))
    optimizer = torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0}],
                                  weight_decay=DECAY, fused=True)
    generator = torch.Generator().manual_seed(seed)
    counts = torch.bincount(ids, minlength=len(model.b)) + 0.5   # a word of valid alone is not impossible
    chance = chances(counts, DRAWN)
    with torch.no_grad():
        model.b.copy_((counts / counts.sum()).log())             # begin as the unigram
    windows = ids.unfold(0, model.n, 1)                          # (N - n + 1, n)
    per_epoch, step, loss = max(1, len(windows) // BATCH), 0, 0.0
    if state and state.exists():
        kept = torch.load(state, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        generator.set_state(kept["generator"])
        step, loss = kept["step"], kept["loss"]
    first, began, order = step, time.time(), None
    while step < steps and time.time() < deadline:
        epoch, at = divmod(step, per_epoch)
        if order is None or at == 0:
            order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(seed + 1 + epoch))
        window = windows[order[at * BATCH:(at + 1) * BATCH]]     # (B, n)
        drawn = (torch.rand(len(chance), generator=generator) < chance).nonzero()[:, 0]          # (K,)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM) * (1 - step / steps)
        now = model.estimate(window[:, :-1], window[:, -1], drawn, chance, generator)
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
        step += 1
        loss += max(0.01, 1 / step) * (now.item() - loss)        # mean of about the last hundred
        if step % 200 == 0 or step == steps:
            pace = (time.time() - began) / (step - first)
            print(f"step {step:6d}/{steps} | epoch {step / per_epoch:5.2f} | loss {loss:.4f} | "
                  f"{BATCH / pace:7,.0f} words/s | {pace * (steps - step):4.0f} s left", flush=True)
    if state:
        torch.save({"step": step, "loss": loss, "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(), "generator": generator.get_state()}, state)
    return step >= steps


@torch.no_grad()
def logprob(model, ids, batch=512):
    """(N,) float64 log probability of each word of ids (N,) after those before it; the sum is over all words."""
    padded = torch.cat([ids.new_zeros(model.n - 1), ids])
    windows = padded.unfold(0, model.n, 1)                       # (N, n)
    scores = model.b.new_empty(batch, len(model.b))              # one for all: fresh memory costs time
    found = []
    for window in windows.split(batch):
        y = torch.addmm(model.b, model.features(window[:, :-1]), model.rows.T, out=scores[:len(window)])    # (B, V)
        y -= y.amax(dim=1, keepdim=True)
        target = y.gather(1, window[:, -1:])[:, 0]               # (B,)
        found.append(target - y.exp_().sum(dim=1).log())
    return torch.cat(found).double().numpy()


def neighbours(model, vocab, word, k=5):
    """The k words whose features point most nearly where those of `word` do."""
    C = F.normalize(model.C.detach(), dim=1)
    nearest = (C @ C[vocab.index(word)]).topk(k + 1).indices[1:]
    return [vocab[i] for i in nearest]


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--vocab", type=int, default=10_000, help="most frequent words kept, others <unk> [%(default)s]")
    p.add_argument("--n", type=int, default=6, help="order: n - 1 words of context [%(default)s]")
    p.add_argument("--m", type=int, default=100, help="features of a word [%(default)s]")
    p.add_argument("--hidden", type=int, default=200, help="hidden units, h [%(default)s]")
    p.add_argument("--direct", action="store_true", help="connect the features to the output (not tied then)")
    p.add_argument("--untied", action="store_true", help="score words by rows of their own, as in the paper")
    p.add_argument("--order", type=int, default=6, help="longest Kneser-Ney to try against it [%(default)s]")
    p.add_argument("--steps", type=int, default=3000, help=f"updates, of {BATCH} words each [%(default)s]")
    p.add_argument("--seed", type=int, default=0, help="of all that is random [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/makemore/bengio2003"), help="[%(default)s]")
    args = p.parse_args(argv)
    if min(args.vocab - 99, args.n - 1, args.m, args.hidden, args.order, args.steps) < 1:
        sys.exit("--vocab must be at least 100, --n 2, --m, --hidden, --order and --steps 1")
    return args


def main(argv=None):
    args = parse(argv)
    began = time.time()
    ids, vocab = load(args.vocab)
    print(f"{len(ids['train']):,} words to learn from; a uniform guess has the perplexity {len(vocab):,}")
    trigram, kn, bins, order = opponents({split: x.numpy() for split, x in ids.items()}, len(vocab), args.order)
    print(f"n-grams on the test set: interpolated trigram {perplexity(trigram['test']):.1f}, "
          f"Kneser-Ney of order {order} {perplexity(kn['test']):.1f} ({time.time() - began:.0f} s)")

    torch.manual_seed(args.seed)
    model = Bengio(len(vocab), args.n, args.m, args.hidden, args.direct, not (args.untied or args.direct))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, ids["train"], args.steps, args.seed)
    net = {split: logprob(model, ids[split]) for split in SPLITS[1:]}

    found = compare(net, trigram, kn, bins)
    print(f"\n{'perplexity':30} {'valid':>7} {'test':>7}   paper (Brown, test)")
    for name, row in found.items():
        print(f"{TITLES[name]:30} {row['valid']:7.1f} {row['test']:7.1f}   {PAPER.get(name, '')}")
    below = 1 - found["net"]["test"] / found["kneser_ney"]["test"]
    mixed = 1 - found["net_kneser_ney_learned"]["test"] / found["kneser_ney"]["test"]
    print(f"the network is {below:.1%} below Kneser-Ney on the test set, mixed with it {mixed:.1%}")
    for word in filter(vocab.__contains__, WORDS):
        print(f"like {word}: {', '.join(neighbours(model, vocab, word))}")
    write_metrics(args.out, "makemore/bengio2003.py", argv, seed=args.seed, seconds=round(time.time() - began, 1),
                  numbers={"below_ngram": below, "mix_below_ngram": mixed, "vocab": len(vocab), "ngram_order": order,
                           **{f"{split}_perplexity_{name}": row[split]
                              for name, row in found.items() for split in row}})
    print(f"wrote {args.out}/metrics.json; next: python makemore/bengio2003_table.py")


if __name__ == "__main__":
    main()
