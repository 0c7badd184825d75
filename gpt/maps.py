"""
Where every head looks: a picture of all attention maps, a page to point at, and each head's kind where it has one.

    python gpt/maps.py --text "Copy: red blue green. Done: red blue"        # the model of out/tinyworld/model
    python gpt/maps.py --checkpoint out/tinyworld/pretrain/run --no-picture

Three kinds are measured on random ids said twice, where nothing but position and repetition can help:

    previous:   the weight on the token before
    induction:  the weight on the token after the earlier occurrence of this one, which is what comes next if the
                text repeats itself (Olsson et al. 2022: https://arxiv.org/abs/2209.11895)
    duplicate:  the weight on the earlier occurrence itself

Each is a mean over positions between 0 and 1; a head with 0.3 or more is marked. Writes maps.html and maps.png.

B = batch, T = time, L = layers, H = heads
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

import torch

from gpt import checkpoint
from gpt.attention import visible

PAGE = Path(__file__).with_name("maps.html")
CLEAR = 0.3
TEXT = ("The lamp is red. The door is blue. The boat is green. What colour is the door? The door is blue. "
        "What colour is the lamp? The lamp is red.")


@torch.no_grad()
def attention_maps(model, idx):
    """Softmax weights of every head: idx (B, T) ids;  returns: (L, B, H, T, T), rows are queries"""
    found, modules = [], [m for m in model.modules() if hasattr(m, "attend")]
    kept = [m.attend for m in modules]

    def recording(attend):
        def record(q, k, v, *, causal=True, window=None, doc=None, lengths=None):
            T, S = q.size(2), k.size(2)
            keep = visible(T, S, causal=causal, window=window, doc=doc, lengths=lengths, device=q.device)
            score = q @ k.repeat_interleave(q.size(1) // k.size(1), dim=1).transpose(-2, -1) * q.size(-1) ** -0.5
            found.append(score.masked_fill(~keep, float("-inf")).softmax(dim=-1))   # (B, H, T, T)
            return attend(q, k, v, causal=causal, window=window, doc=doc, lengths=lengths)
        return record

    for m in modules:
        m.attend = recording(m.attend)
    try:
        model(idx)
    finally:
        for m, attend in zip(modules, kept):
            m.attend = attend
    return torch.stack(found)


def kinds(model, vocab, length=40, rows=8, seed=0):
    """{"previous", "induction" or "duplicate": (L, H)}, mean weights on `rows` texts of `length` ids said twice."""
    generator = torch.Generator().manual_seed(seed)
    length = min(length, model.config.context // 2)
    once = torch.stack([torch.randperm(vocab, generator=generator)[:length] for _ in range(rows)])   # no id twice
    maps = attention_maps(model, once.repeat(1, 2))          # (L, B, H, 2n, 2n)
    second = maps[..., length:, :]                           # queries of the second time
    return {"previous": maps.diagonal(-1, -2, -1).mean(dim=(1, 3)),
            "induction": second.diagonal(1, -2, -1)[..., :length].mean(dim=(1, 3)),
            "duplicate": second.diagonal(0, -2, -1)[..., :length].mean(dim=(1, 3))}


def page(tokens, maps, scores):
    """The page as text; tokens: T strings;  maps: (L, H, T, T);  scores: what kinds() returns"""
    L, H, T, _ = maps.shape
    data = {"tokens": tokens, "clear": CLEAR,
            "maps": (99 * maps).round().int().view(L, H, T * T).tolist(),
            "kinds": [[{name: round(x[n, h].item(), 3) for name, x in scores.items()} for h in range(H)]
                      for n in range(L)]}
    text = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")            # no </script> can come of a token
    return PAGE.read_text(encoding="utf-8").replace("= DATA ", f"= {text} ")


def picture(maps, scores, path):
    """All maps, a row a layer, with the kind of those that have one."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    L, H = maps.shape[:2]
    fig, axes = plt.subplots(L, H, figsize=(1.7 * H + 0.6, 1.95 * L + 0.7), squeeze=False, layout="constrained")
    for n in range(L):
        for h in range(H):
            ax, best = axes[n, h], max(scores, key=lambda name: scores[name][n, h])
            ax.imshow(maps[n, h].sqrt().numpy(), cmap="Greens", vmin=0, vmax=1, interpolation="nearest")
            strong = scores[best][n, h] >= CLEAR
            ax.set_title(f"{best} {scores[best][n, h]:.0%}" if strong else "", fontsize=9)
            ax.set(xticks=[], yticks=[])
        axes[n, 0].set_ylabel(f"layer {n}")
    count = {name: int((x >= CLEAR).sum()) for name, x in scores.items()}
    fig.suptitle(", ".join(f"{n} {name}" for name, n in count.items()) + f" among {L * H} heads", fontsize=11)
    fig.savefig(path, dpi=130)
    plt.close(fig)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", type=Path, default=Path("out/tinyworld/model"),
                   help="run, step, or file naming one [%(default)s]")
    p.add_argument("--text", default=TEXT, help="what to look at [a text that repeats itself]")
    p.add_argument("--no-picture", action="store_true", help="the page alone; needs no matplotlib")
    p.add_argument("--out", type=Path, default=Path("out/gpt/maps"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    if not args.no_picture and find_spec("matplotlib") is None:
        sys.exit("the picture needs matplotlib. Get it with\n    pip install matplotlib\nor add --no-picture")
    try:
        model, tokenizer, info = checkpoint.load(args.checkpoint)
    except checkpoint.CheckpointError as error:
        sys.exit(str(error))
    ids = ([tokenizer.specials["<|bos|>"]] + tokenizer.encode(args.text))[:model.config.context]
    maps = attention_maps(model, torch.tensor([ids]))[:, 0]  # (L, H, T, T)
    scores = kinds(model, min(tokenizer.n_vocab - len(tokenizer.specials), model.config.vocab_size))
    for n in range(len(maps)):
        marks = [f"head {h} {name} {x[n, h]:.0%}" for h in range(maps.size(1)) for name, x in scores.items()
                 if x[n, h] >= CLEAR]
        print(f"layer {n}: {', '.join(marks) or '-'}")
    args.out.mkdir(parents=True, exist_ok=True)
    tokens = [tokenizer.decode([i]) for i in ids]
    (args.out / "maps.html").write_text(page(tokens, maps, scores), encoding="utf-8")
    if not args.no_picture:
        picture(maps, scores, args.out / "maps.png")
    print(f"wrote {args.out}; next: open {args.out / 'maps.html'} in a browser")


if __name__ == "__main__":
    main()
