"""
GPT-2 in numpy: forward, backward and AdamW by hand, trained on Shakespeare letter by letter. No torch in it.

    python gpt/manual.py                                    # about a minute on two cores, ends with a sample
    python gpt/manual.py --steps 20 --layers 1 --width 32   # seconds

The bridge from makemore/backprop.py to the Transformer, and read beside llm.c's train_gpt2.c: each piece is a
forward and, right below it, its backward. What comes in as dy is the gradient of the loss in y, what goes out as
dx that in x. Parameters carry the names of gpt/model.py; losses and all gradients equal its own (tests/test_manual.py).
Constants come from math, since one of numpy's float64 numbers would turn all that it touches into float64.
Left out on purpose: dropout, a cache, and any sharing of memory between activations.

B = batch, T = time, C = channels, H = heads, D = C/H, V = vocabulary
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import math
import time

import numpy as np

from bpe import datasets

# ---------------------------------------------------------------------------------------------------
# the pieces, each with its gradient


def linear(x, w, b):
    """x: (..., I);  w: (O, I);  b: (O,);  returns: (..., O)"""
    return x @ w.T + b


def linear_backward(dy, x, w):
    """dy: (..., O);  returns: dx, dw, db. Every position used the same weights, so theirs is a sum over positions."""
    dy2, x2 = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])   # (BT, O), (BT, I)
    return dy @ w, dy2.T @ x2, dy2.sum(axis=0)


def embedding_backward(dx, idx, rows):
    """dx: (B, T, C), the gradient of table[idx];  returns: dtable (rows, C). An id that occurs twice counts twice."""
    dtable = np.zeros((rows, dx.shape[-1]), dx.dtype)
    np.add.at(dtable, idx, dx)                                           # dtable[idx] += dx would add once
    return dtable


def layernorm(x, w, b, eps=1e-5):
    """Ba et al. 2016, eq. 4: https://arxiv.org/abs/1607.06450;  returns: y and what backward needs"""
    mean = x.mean(axis=-1, keepdims=True)                                # (B, T, 1)
    rstd = 1 / np.sqrt(((x - mean)**2).mean(axis=-1, keepdims=True) + eps)
    xhat = (x - mean) * rstd                                             # (B, T, C)
    return xhat * w + b, (xhat, rstd)


def layernorm_backward(dy, saved, w):
    """A row's mean and deviation depend on all of its x, hence the two means that are taken off; returns: dx, dw, db"""
    xhat, rstd = saved
    dxhat = dy * w                                                       # (B, T, C)
    dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True)
                 - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True))
    return dx, (dy * xhat).sum(axis=(0, 1)), dy.sum(axis=(0, 1))


def attention(qkv, n_head):
    """qkv: (B, T, 3C), query, key and value side by side;  returns: (B, T, C) and what backward needs"""
    B, T, C3 = qkv.shape
    q, k, v = qkv.reshape(B, T, 3, n_head, -1).transpose(2, 0, 3, 1, 4)  # (B, H, T, D) each
    score = q @ k.swapaxes(-2, -1) / math.sqrt(q.shape[-1])                # (B, H, T, T)
    score = np.where(np.tri(T, dtype=bool), score, -np.inf)              # no position sees the future
    weight = np.exp(score - score.max(axis=-1, keepdims=True))
    weight /= weight.sum(axis=-1, keepdims=True)
    y = (weight @ v).swapaxes(1, 2).reshape(B, T, C3 // 3)
    return y, (q, k, v, weight)


def attention_backward(dy, saved):
    """dy: (B, T, C);  returns: dqkv (B, T, 3C). A softmax's rows sum to one, so its gradients sum to zero."""
    q, k, v, weight = saved
    B, H, T, D = q.shape
    dy = dy.reshape(B, T, H, D).swapaxes(1, 2)                           # (B, H, T, D)
    dv = weight.swapaxes(-2, -1) @ dy
    dweight = dy @ v.swapaxes(-2, -1)                                    # (B, H, T, T)
    dscore = weight * (dweight - (dweight * weight).sum(axis=-1, keepdims=True)) / math.sqrt(D)
    dq, dk = dscore @ k, dscore.swapaxes(-2, -1) @ q
    return np.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * H * D)


def gelu(x):
    """The tanh form that GPT-2 uses. Hendrycks and Gimpel 2016, section 2: https://arxiv.org/abs/1606.08415"""
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    return 0.5 * x * (1 + t), t


def gelu_backward(dy, x, t):
    slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return dy * 0.5 * ((1 + t) + x * (1 - t * t) * slope)


def cross_entropy(logits, targets):
    """logits: (B, T, V);  targets: (B, T);  returns: loss in nats per target, dlogits (softmax minus one-hot)"""
    B, T = targets.shape
    at = np.arange(B)[:, None], np.arange(T), targets
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)                                   # (B, T, V)
    loss = -np.log(p[at]).mean()
    p[at] -= 1
    return loss, p / (B * T)


# ---------------------------------------------------------------------------------------------------
# the model


class GPT:
    """Parameters in self.p, by the names of gpt/model.py; backward() fills self.g under the same names."""

    def __init__(self, vocab_size, block_size, n_layer, n_head, n_embd, rng, dtype=np.float32):
        self.n_layer, self.n_head, self.block_size = n_layer, n_head, block_size
        self.p, self.g, C = {}, {}, n_embd

        def norm(name):
            self.p[f"{name}.weight"], self.p[f"{name}.bias"] = np.ones(C, dtype), np.zeros(C, dtype)

        def matrix(name, rows, columns, std=0.02, bias=True):
            self.p[f"{name}.weight"] = rng.normal(0, std, (rows, columns)).astype(dtype)
            if bias:
                self.p[f"{name}.bias"] = np.zeros(rows, dtype)

        matrix("transformer.wte", vocab_size, C, bias=False)             # the head too: they are tied
        matrix("transformer.wpe", block_size, C, bias=False)
        for n in range(n_layer):
            block = f"transformer.h.{n}"
            norm(f"{block}.ln_1")
            matrix(f"{block}.attn.c_attn", 3 * C, C)
            matrix(f"{block}.attn.c_proj", C, C, 0.02 / math.sqrt(2 * n_layer))
            norm(f"{block}.ln_2")
            matrix(f"{block}.mlp.c_fc", 4 * C, C)
            matrix(f"{block}.mlp.c_proj", C, 4 * C, 0.02 / math.sqrt(2 * n_layer))
        norm("transformer.ln_f")

    def weights(self, name):
        return self.p[f"{name}.weight"], self.p[f"{name}.bias"]

    def forward(self, idx, targets=None):
        """idx, targets: (B, T) ids;  returns: logits (B, T, V), loss in nats per target or None"""
        p = self.p
        x = p["transformer.wte.weight"][idx] + p["transformer.wpe.weight"][:idx.shape[1]]  # (B, T, C)
        self.saved = []                                                  # block by block, what its backward needs
        for n in range(self.n_layer):
            block = f"transformer.h.{n}"
            h1, norm1 = layernorm(x, *self.weights(f"{block}.ln_1"))
            y, attended = attention(linear(h1, *self.weights(f"{block}.attn.c_attn")), self.n_head)
            x = x + linear(y, *self.weights(f"{block}.attn.c_proj"))
            h2, norm2 = layernorm(x, *self.weights(f"{block}.ln_2"))
            wide = linear(h2, *self.weights(f"{block}.mlp.c_fc"))        # (B, T, 4C)
            active, t = gelu(wide)
            x = x + linear(active, *self.weights(f"{block}.mlp.c_proj"))
            self.saved.append((h1, norm1, attended, y, h2, norm2, wide, t, active))
        x, norm = layernorm(x, *self.weights("transformer.ln_f"))
        logits = x @ p["transformer.wte.weight"].T                       # (B, T, V)
        if targets is None:
            return logits, None
        loss, dlogits = cross_entropy(logits, targets)
        self.saved += [x, norm, idx, dlogits]
        return logits, loss

    def backward(self):
        """The forward pass from the last line to the first; after it, self.g holds the gradient of every parameter."""
        p, g = self.p, self.g
        *blocks, x, norm, idx, dlogits = self.saved

        def into(name, dx, dw, db):
            g[f"{name}.weight"], g[f"{name}.bias"] = dw, db
            return dx

        wte = p["transformer.wte.weight"]
        dwte = dlogits.reshape(-1, len(wte)).T @ x.reshape(-1, x.shape[-1])   # (V, C), as the head
        dx = into("transformer.ln_f", *layernorm_backward(dlogits @ wte, norm, p["transformer.ln_f.weight"]))
        for n in reversed(range(self.n_layer)):
            block = f"transformer.h.{n}"
            h1, norm1, attended, y, h2, norm2, wide, t, active = blocks[n]
            name = f"{block}.mlp.c_proj"
            d = into(name, *linear_backward(dx, active, p[f"{name}.weight"]))
            name = f"{block}.mlp.c_fc"
            d = into(name, *linear_backward(gelu_backward(d, wide, t), h2, p[f"{name}.weight"]))
            name = f"{block}.ln_2"
            dx = dx + into(name, *layernorm_backward(d, norm2, p[f"{name}.weight"]))   # around the sublayer and through
            name = f"{block}.attn.c_proj"
            d = into(name, *linear_backward(dx, y, p[f"{name}.weight"]))
            name = f"{block}.attn.c_attn"
            d = into(name, *linear_backward(attention_backward(d, attended), h1, p[f"{name}.weight"]))
            name = f"{block}.ln_1"
            dx = dx + into(name, *layernorm_backward(d, norm1, p[f"{name}.weight"]))
        dwpe = np.zeros_like(p["transformer.wpe.weight"])
        dwpe[:idx.shape[1]] = dx.sum(axis=0)
        g["transformer.wpe.weight"] = dwpe
        g["transformer.wte.weight"] = dwte + embedding_backward(dx, idx, len(wte))     # tied: two ways to matter


class AdamW:
    """Loshchilov and Hutter 2017, algorithm 2, https://arxiv.org/abs/1711.05101; decay on matrices alone."""

    def __init__(self, params, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
        self.betas, self.eps, self.weight_decay, self.t = betas, eps, weight_decay, 0
        self.m = {name: np.zeros_like(p) for name, p in params.items()}
        self.v = {name: np.zeros_like(p) for name, p in params.items()}

    def step(self, params, grads, lr):
        self.t += 1
        b1, b2 = self.betas
        for name, p in params.items():
            g, m, v = grads[name], self.m[name], self.v[name]
            m += (1 - b1) * (g - m)
            v += (1 - b2) * (g * g - v)
            if p.ndim == 2:
                p *= 1 - lr * self.weight_decay
            p -= lr * (m / (1 - b1**self.t)) / (np.sqrt(v / (1 - b2**self.t)) + self.eps)


# ---------------------------------------------------------------------------------------------------
# Shakespeare


def batch(ids, size, context, rng):
    """Random windows: inputs (B, T) and the same one token later."""
    at = rng.integers(len(ids) - context, size=size)[:, None] + np.arange(context + 1)
    return ids[at[:, :-1]], ids[at[:, 1:]]


def sample(model, start, n, rng):
    """start: list of ids;  returns: the list with n more, drawn one by one"""
    ids = list(start)
    for _ in range(n):
        logits = model.forward(np.array([ids[-model.block_size:]]))[0][0, -1]
        p = np.exp(logits - logits.max(), dtype=np.float64)
        ids.append(int(rng.choice(len(p), p=p / p.sum())))
    return ids


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=1000, help="optimizer steps [%(default)s]")
    p.add_argument("--batch", type=int, default=16, help="windows a step [%(default)s]")
    p.add_argument("--context", type=int, default=64, help="letters a window [%(default)s]")
    p.add_argument("--layers", type=int, default=2, help="blocks [%(default)s]")
    p.add_argument("--heads", type=int, default=4, help="attention heads [%(default)s]")
    p.add_argument("--width", type=int, default=128, help="channels of the residual stream [%(default)s]")
    p.add_argument("--lr", type=float, default=3e-3, help="learning rate at the start, falls to 0 [%(default)s]")
    p.add_argument("--seed", type=int, default=1337, help="of weights, batches and the sample [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if args.width % args.heads:
        sys.exit(f"--width {args.width} is no multiple of --heads {args.heads}. Give one that is")
    text = datasets.fetch("tinyshakespeare")["input.txt"].read_text(encoding="utf-8")
    letters = sorted(set(text))
    ids = np.array([letters.index(c) for c in text])
    train, valid = np.split(ids, [int(0.9 * len(ids))])
    rng = np.random.default_rng(args.seed)
    model = GPT(len(letters), args.context, args.layers, args.heads, args.width, rng)
    optimizer, began, loss = AdamW(model.p), time.time(), None
    n_params = sum(p.size for p in model.p.values())
    print(f"{n_params:,} parameters; a uniform guess loses {np.log(len(letters)):.4f} nats a letter")
    for step in range(1, args.steps + 1):
        _, loss = model.forward(*batch(train, args.batch, args.context, rng))
        model.backward()
        optimizer.step(model.p, model.g, args.lr * (1 - (step - 1) / args.steps))
        if step % 50 == 0 or step == args.steps:
            each = (time.time() - began) / step
            print(f"step {step:5d}/{args.steps} | loss {loss:.4f} | {args.batch * args.context / each:8,.0f} tok/s"
                  f" | {each * (args.steps - step):4.0f} s left")
    losses = [model.forward(*batch(valid, args.batch, args.context, rng))[1] for _ in range(20)]
    print(f"validation {np.mean(losses):.4f} nats a letter; {time.time() - began:.0f} s\n")
    print("".join(letters[i] for i in sample(model, ids[:1], 300, rng)))


if __name__ == "__main__":
    main()
