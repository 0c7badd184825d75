"""
Train a GPT on the letters of Shakespeare: how far do two CPU cores get in seconds?

    python gpt/train.py                          # a model of 0.4 million weights, in about ten seconds
    python gpt/train.py --target 1.8857          # stops at this validation loss: where nanoGPT's CPU setting ends
    python gpt/train.py --long                   # 0.8 million weights, context 128, about a minute and a half
    python gpt/train.py --plain                  # nanoGPT's CPU setting itself, to race against
    python gpt/train.py --large                  # nanoGPT's GPU setting with our recipe; wants CUDA
    python gpt/train.py --activation swiglu ...  # any change alone: --help; all of them: python gpt/ablation.py

One file, in the spirit of nanoGPT (https://github.com/karpathy/nanoGPT): model, optimizer, loop. --plain is
GPT-2: learned positions, LayerNorm, GELU, tied embedding, AdamW, cosine, windows drawn anywhere. The default
replaces each of these, and mixes the last characters into the embedding before the first layer. Hence the
short Muon of its own; train/muon.py has the explanation. Left out on purpose: checkpoints (train/train.py).

B = batch, T = time, C = channels, H = heads, D = C/H, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import time
from dataclasses import dataclass, fields
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from bpe import datasets
from bpe.record import peak_memory_bytes, write_metrics

OURS = dict(activation="relu2", position="rotary", norm="rms", qk_norm=True, zero_init=True, tie=False, taps=3,
            optimizer="muon", muon_lr=0.02, lr=0.015, schedule="linear", order="epoch")
GPT2 = dict(activation="gelu", position="learned", norm="layer", qk_norm=False, zero_init=False, tie=True, taps=0,
            optimizer="adamw", muon_lr=0.02, lr=1e-3, schedule="cosine", order="random")
SETTINGS = {  # what the flags start from
    "fast": dict(OURS, layers=2, heads=2, width=128, context=64, batch=16, steps=200, dropout=0.0),
    "long": dict(OURS, layers=4, heads=4, width=128, context=128, batch=16, steps=800, dropout=0.0),
    "plain": dict(GPT2, layers=4, heads=4, width=128, context=64, batch=12, steps=2000, dropout=0.0),
    "large": dict(OURS, layers=6, heads=6, width=384, context=256, batch=64, steps=2000, dropout=0.2),
}
CHOICES = {"activation": ("gelu", "relu2", "swiglu"), "position": ("learned", "rotary"), "norm": ("layer", "rms"),
           "optimizer": ("adamw", "muon"), "schedule": ("cosine", "linear"), "order": ("random", "epoch")}
HELP = {"layers": "blocks", "heads": "attention heads", "width": "channels", "context": "characters a window",
        "batch": "windows a step", "steps": "optimizer steps", "dropout": "share of activations set to zero",
        "activation": "of the hidden layer, equal parameters", "position": "how attention knows the place",
        "norm": "LayerNorm or RMSNorm", "qk_norm": "normalize queries and keys", "zero_init": "blocks start as nothing",
        "tie": "one matrix for embedding and head", "taps": "earlier characters mixed into the embedding",
        "optimizer": "of the matrices in the blocks", "lr": "peak rate of AdamW", "muon_lr": "peak rate of Muon",
        "schedule": "of the rates", "order": "windows from anywhere, or each once an epoch"}

# ---------------------------------------------------------------------------- the model


@dataclass(frozen=True)
class Config:
    vocab: int = 65
    context: int = 64            # positions a window has
    layers: int = 2
    heads: int = 2
    width: int = 128             # channels C
    dropout: float = 0.0
    activation: str = "relu2"    # gelu, relu2 or swiglu, of equal size
    position: str = "rotary"     # or learned
    norm: str = "rms"            # or layer
    qk_norm: bool = True         # queries, keys of length sqrt(D): Henry et al. 2020, https://arxiv.org/abs/2010.04245
    zero_init: bool = True       # each block starts as the identity, the head at the uniform guess
    tie: bool = False            # head and embedding are one matrix
    taps: int = 3                # earlier characters that the embedding mixes in


def rotate(x, cos, sin):
    """Turn channels (i, i + D/2) by an angle that grows with the position (RoPE: Su et al. 2021). x: (B, H, T, D)"""
    a, b = x.chunk(2, dim=-1)                                          # (B, H, T, D/2) twice
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def norm(config):
    """LayerNorm without a bias, or RMSNorm without any weight: the matrix that follows can learn it."""
    C = config.width
    return nn.LayerNorm(C, bias=False) if config.norm == "layer" else nn.RMSNorm(C, elementwise_affine=False)


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        C, D = config.width, config.width // config.heads
        self.heads, self.qk_norm, self.dropout = config.heads, config.qk_norm, config.dropout
        self.c_attn, self.c_proj = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.rotary = config.position == "rotary"
        angle = torch.arange(config.context)[:, None] * 10000.0 ** (-torch.arange(0, D, 2) / D)  # (T, D/2) radians
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x):
        B, T, C = x.shape
        qkv = self.c_attn(x).view(B, T, 3, self.heads, C // self.heads)
        qk, v = qkv[:, :, :2].flatten(2, 3).transpose(1, 2), qkv[:, :, 2].transpose(1, 2)  # (B, 2H or H, T, D)
        if self.qk_norm:
            qk = F.rms_norm(qk, qk.shape[-1:])
        if self.rotary:
            qk = rotate(qk, self.cos[:T], self.sin[:T])
        q, k = qk.chunk(2, dim=1)                                      # (B, H, T, D) twice
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout * self.training)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))         # (B, T, C)


class MLP(nn.Module):
    """Hidden layer of 4C, of 8C/3 for SwiGLU, which has a third matrix: equal parameters (Shazeer 2020, section 3)."""

    def __init__(self, config):
        super().__init__()
        C, self.activation = config.width, config.activation
        hidden = round(8 * C / 3) if config.activation == "swiglu" else 4 * C
        self.c_fc = nn.Linear(C, hidden * (2 if config.activation == "swiglu" else 1), bias=False)
        self.c_proj = nn.Linear(hidden, C, bias=False)

    def forward(self, x):
        x = self.c_fc(x)
        if self.activation == "swiglu":
            gate, x = x.chunk(2, dim=-1)
            x = F.silu(gate) * x
        elif self.activation == "relu2":
            x = x.relu().square()                              # So et al. 2021, https://arxiv.org/abs/2109.08668
        else:
            x = F.gelu(x)
        return self.c_proj(x)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = norm(config), CausalSelfAttention(config), norm(config), MLP(config)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x):
        x = x + self.drop(self.attn(self.ln_1(x)))
        return x + self.drop(self.mlp(self.ln_2(x)))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, C = config, config.width
        self.wte = nn.Embedding(config.vocab, C)
        self.wpe = nn.Embedding(config.context, C) if config.position == "learned" else None
        self.taps = nn.Parameter(torch.empty(config.taps, C).uniform_(-1, 1)) if config.taps else None
        self.ln_0 = norm(config) if config.norm == "rms" else nn.Identity()
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.ln_f, self.lm_head = norm(config), nn.Linear(C, config.vocab, bias=False)
        if config.tie:
            self.lm_head.weight = self.wte.weight
        self.start()

    @torch.no_grad()
    def start(self):
        """GPT-2's 0.02 where the embedding is also the head; else unit embeddings and matrices by their width."""
        config = self.config
        for name, p in self.named_parameters():
            if p.dim() == 2 and name != "taps":
                p.normal_(std=0.02 if config.tie else 1.0 if name.startswith("w") else 0.6 * config.width ** -0.5)
            if name.endswith("c_proj.weight"):
                p.mul_(0 if config.zero_init else (2 * config.layers) ** -0.5)
        if config.zero_init and not config.tie:
            self.lm_head.weight.zero_()

    def forward(self, idx, targets=None):
        """idx, targets: (B, T) int64;  returns: logits (B, T, V), loss in nats per character or None"""
        embedded = x = self.wte(idx)                                   # (B, T, C)
        for n in range(self.config.taps):                              # what stood n + 1 places before
            x = x + self.taps[n] * F.pad(embedded, (0, 0, n + 1, 0))[:, :idx.size(1)]
        if self.wpe is not None:
            x = x + self.wpe.weight[:idx.size(1)]
        x = self.drop(self.ln_0(x))
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))                            # (B, T, V)
        return logits, None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())


# ---------------------------------------------------------------------------- the optimizer

POLAR = [(8.28721201814563, -23.595886519098837, 17.300387312530933),   # Amsel et al. 2025, algorithm 1
         (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
         (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
         (3.3184196573706015, -2.488488024314874, 0.51004894012372)]


class Muon:
    """Momentum made orthogonal (Jordan et al. 2024): U S V^T -> U V^T. Matrices of one shape go as one batch."""

    def __init__(self, params, momentum=0.95):
        self.momentum, self.shapes = momentum, {}
        for p in params:
            self.shapes.setdefault(p.shape, []).append(p)
        self.m = {shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self.shapes.items()}

    @torch.no_grad()
    def step(self, lr):
        for (rows, columns), params in self.shapes.items():
            g, m = torch.stack([p.grad for p in params]), self.m[rows, columns]    # (n, rows, columns)
            g = g.lerp_(m.lerp_(g, 1 - self.momentum), self.momentum)              # Nesterov
            x = g.mT if rows > columns else g                                      # short side on the left
            x = x / (1.01 * x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            for a, b, c in POLAR:                                                  # ax + b(xx')x + c(xx')(xx')x
                s = x @ x.mT
                x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=b, alpha=c), x, beta=a)
            x = x.mT if rows > columns else x
            for p, update in zip(params, x):
                p.add_(update, alpha=-lr * max(1, rows / columns) ** 0.5)


class AdamW:
    """train/adamw.py, with weight decay on matrices alone. (torch's own takes a second to import.)"""

    def __init__(self, params, betas, weight_decay):
        self.params, self.betas, self.weight_decay, self.t = params, betas, weight_decay, 0
        self.m, self.v = ([torch.zeros_like(p) for p in params] for _ in range(2))

    @torch.no_grad()
    def step(self, lr):
        (b1, b2), self.t = self.betas, self.t + 1
        for p, m, v in zip(self.params, self.m, self.v):
            m.lerp_(p.grad, 1 - b1)
            v.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
            if self.weight_decay and p.dim() == 2:
                p.mul_(1 - lr * self.weight_decay)
            p.addcdiv_(m, (v / (1 - b2**self.t)).sqrt_().add_(1e-8), value=-lr / (1 - b1**self.t))


def factor(schedule, step, steps):
    """Of the peak rate at step 1..steps: level, then down to 0; or nanoGPT's warm-up and cosine to a tenth."""
    if schedule == "linear":
        return min(1.0, (steps - step + 1) / (0.6 * steps))
    warmup = min(100, steps // 10)
    if step <= warmup:
        return step / (warmup + 1)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


# ---------------------------------------------------------------------------- data, training, a sample


def load():
    """(characters, train ids, validation ids): the first nine tenths of the text and the rest, nanoGPT's split."""
    text = datasets.fetch("tinyshakespeare")["input.txt"].read_text(encoding="utf-8")
    letters = sorted(set(text))
    ids = torch.tensor([*map({c: i for i, c in enumerate(letters)}.get, text)])
    return letters, *ids.split([int(0.9 * len(ids)), len(ids) - int(0.9 * len(ids))])


def batches(ids, args, generator):
    """(B, T) inputs and targets without end: windows that begin anywhere, or each window of an epoch once."""
    T, window = args.context, torch.arange(args.context + 1)
    while True:
        if args.order == "random":
            starts = torch.randint(len(ids) - T, (1, args.batch), generator=generator)
        else:
            first = torch.randint(T, (1,), generator=generator).item()  # other cuts in every epoch
            starts = torch.arange(first, len(ids) - T, T)
            starts = starts[torch.randperm(len(starts), generator=generator)].split(args.batch)
        for some in starts:
            rows = ids[some[:, None] + window]                         # (B, T + 1)
            yield rows[:, :-1], rows[:, 1:]


@torch.inference_mode()
def evaluate(model, ids, where):
    """Nats per character over ids in windows that do not overlap, every character but the first once."""
    model.eval()
    T, total, n = model.config.context, 0.0, len(ids) - 1
    whole = n // T * T                                                 # the last window may be shorter
    parts = [*zip(ids[:whole].view(-1, T).split(128), ids[1:whole + 1].view(-1, T).split(128))]
    parts += [(ids[None, whole:n], ids[None, whole + 1:])] * (whole < n)
    for x, y in parts:
        total += model(x.to(where), y.to(where))[1].item() * y.numel()
    model.train()
    return total / n


def reached(model, ids, target, where):
    """The validation loss if it is at most the target, else None. A tenth of the text is asked first: that is quick."""
    likely = evaluate(model, ids[:len(ids) // 10], where) < target + 0.02
    loss = evaluate(model, ids, where) if likely else math.inf
    return loss if loss <= target else None


@torch.inference_mode()
def sample(model, letters, n, generator, where):
    """n characters, each drawn from what the model says after the last `context` of them."""
    model.eval()
    ids = torch.zeros(1, 1, dtype=torch.int64)                         # a line break
    for _ in range(n):
        logits = model(ids[:, -model.config.context:].to(where))[0][0, -1].float().cpu()
        ids = torch.cat((ids, torch.multinomial(logits.softmax(0), 1, generator=generator)[None]), dim=1)
    return "".join(letters[i] for i in ids[0, 1:])


def optimizers(model, args):
    """[(optimizer, its peak learning rate), ...]: Muon for the matrices in the blocks, or AdamW for all, as nanoGPT."""
    if args.optimizer == "adamw":
        return [(AdamW([*model.parameters()], (0.9, 0.99), 0.1), args.lr)]
    inside = [p for p in model.h.parameters() if p.dim() == 2]
    taken = {id(p) for p in inside}
    rest = [p for p in model.parameters() if id(p) not in taken]
    return [(Muon(inside), args.muon_lr), (AdamW(rest, (0.9, 0.95), 0.0), args.lr)]


def train(model, args, data, held_out, where):
    """The loop; returns the numbers of the run. Seconds are those of training alone, without validation."""
    args.out.mkdir(parents=True, exist_ok=True)
    feed = batches(data, args, torch.Generator().manual_seed(args.seed))
    updates, seconds, recent, target = optimizers(model, args), 0.0, [], args.target
    with open(args.out / "log.csv", "w", newline="") as file:
        print("step,seconds,tokens,loss_nats,perplexity,tokens_per_second,peak_memory_bytes,valid_loss_nats", file=file)
        for step in range(1, args.steps + 1):
            began = time.perf_counter()
            x, y = next(feed)
            with torch.autocast("cuda", torch.bfloat16, enabled=where == "cuda"):
                loss = model(x.to(where), y.to(where))[1]
            loss.backward()
            if args.optimizer == "adamw":
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, peak in updates:
                optimizer.step(peak * factor(args.schedule, step, args.steps))
            model.zero_grad(set_to_none=True)
            recent = recent[-9:] + [loss.item()]
            seconds, valid, tokens = seconds + time.perf_counter() - began, None, step * args.batch * args.context
            if step == args.steps or step % args.eval_every == 0 and not target:
                valid = evaluate(model, held_out, where)
            elif step % args.eval_every == 0 and sum(recent) / len(recent) < target:
                valid = reached(model, held_out, target, where)
            print(step, f"{seconds:.4f}", tokens, f"{recent[-1]:.5f}", f"{math.exp(recent[-1]):.4f}",
                  f"{tokens / seconds:.0f}", peak_memory_bytes(), f"{valid:.5f}" if valid else "", sep=",", file=file)
            if valid or step % max(1, args.steps // 10) == 0:
                print(f"step {step:5d}/{args.steps} | loss {sum(recent) / len(recent):.4f} | "
                      f"{tokens / seconds:8,.0f} tok/s | {seconds / step * (args.steps - step):4.0f} s left"
                      + (f" | validation {valid:.4f}" if valid else ""), flush=True)
            if target and valid and valid <= target:
                break
    return {"valid_loss_nats": valid, "steps": step, "tokens": tokens, "train_seconds": seconds,
            "tokens_per_second": tokens / seconds, "parameters": sum(p.numel() for p in model.parameters())}


def parse(argv):
    first = argparse.ArgumentParser(add_help=False)
    for name in ("long", "plain", "large"):
        first.add_argument(f"--{name}", dest="setting", action="store_const", const=name, help="see above")
    start = SETTINGS[first.parse_known_args(argv)[0].setting or "fast"]  # what the other flags change
    p = argparse.ArgumentParser(description=__doc__, parents=[first],
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.set_defaults(**start)
    for name, value in start.items():
        flag, help = f"--{name.replace('_', '-')}", f"{HELP[name]} [{value}]"
        if name in CHOICES:
            p.add_argument(flag, choices=CHOICES[name], help=help)
        elif isinstance(value, bool):
            p.add_argument(flag, action=argparse.BooleanOptionalAction, default=value, help=help)
        else:
            p.add_argument(flag, type=type(value), help=help)
    p.add_argument("--target", type=float, help="stop at this validation loss, in nats per character")
    p.add_argument("--eval-every", type=int, help="steps between validations [steps/5; /20 with --target]")
    p.add_argument("--seed", type=int, default=0, help="of weights, windows and the sample [%(default)s]")
    p.add_argument("--sample", type=int, default=300, help="characters to write at the end [%(default)s]")
    p.add_argument("--out", type=Path, default=Path("out/gpt/train"), help="where to write [%(default)s]")
    args = p.parse_args(argv)
    sizes = args.layers, args.heads, args.width, args.context, args.batch, args.steps
    if min(sizes) < 1 or args.width % (2 * args.heads):
        p.error("--layers, --heads, --context, --batch, --steps: at least 1; --width: a multiple of twice the heads")
    args.eval_every = args.eval_every or max(1, args.steps // (20 if args.target else 5))
    return args


def main(argv=None):
    args = parse(argv)
    letters, data, held_out = load()
    if 10 * args.context >= len(held_out):
        sys.exit(f"--context {args.context} leaves no ten windows in {len(held_out):,} validation characters. Use less")
    where = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    model = GPT(Config(len(letters), **{f.name: getattr(args, f.name) for f in fields(Config)[1:]})).to(where)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {where}, {len(data):,} characters; "
          f"a uniform guess loses {math.log(len(letters)):.4f} nats")
    numbers = train(model, args, data, held_out, where)
    loss, seconds = numbers["valid_loss_nats"], numbers["train_seconds"]
    missed = "; the target was not reached. More --steps, or --long" if loss > (args.target or loss) else ""
    print(f"validation {loss:.4f} nats per character after {seconds:.1f} s of training{missed}")
    print(sample(model, letters, args.sample, torch.Generator().manual_seed(args.seed), where))
    write_metrics(args.out, "gpt/train.py", argv, seed=args.seed, seconds=seconds, numbers=numbers)
    print(f"wrote {args.out}; next: python gpt/ablation.py")


if __name__ == "__main__":
    main()
