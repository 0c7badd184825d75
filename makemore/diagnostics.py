"""
What goes on inside a net while it learns, or does not: saturation, gradients, updates, and what depth does to them.

    python makemore/diagnostics.py                          # tables, and seven pictures in out/makemore/diagnostics/
    python makemore/diagnostics.py --steps 100 --depth 10   # seconds, to see that it runs

Each figure is read off a forward and a backward pass by hooks, for nets that differ in their start alone (STARTS in
batchnorm.py). Four questions, in the order of the third lecture:

1. Does the first loss equal ln 27? More means that the net is sure of wrong letters before it has seen one.
2. Is tanh saturated? Where |tanh| is near 1 its slope 1 - tanh^2 is near 0, and the gradient ends there.
3. Are gradients alike in all layers? Each layer multiplies; 40 factors of 0.5 or 3 leave nothing or everything.
4. How far does a step move a weight? About a thousandth of its size is right; much more shakes, much less waits.

Left out on purpose: histograms of weights and their gradients, which show nothing here that the ratios do not.

B = batch, C = channels, L = layers
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import importlib.util
import math
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

import torch
import torch.nn as nn

from makemore import names
from makemore.batchnorm import MLP, STARTS, BatchNorm, initialize, step
from makemore.record import write_metrics

UNIFORM = math.log(names.V)                                  # nats a letter, for who knows nothing
EDGE = 0.97                                                  # |tanh| above it is saturated: slope below 0.06
COLOUR = {"normal": "#b3261e", "softmax": "#c77700", "pytorch": "#777777", "kaiming": "#2e7d32", "batchnorm": "#1a56a8"}


# What is measured

@contextmanager
def watch(model, kind=nn.Tanh):
    """Within it, a list of the outputs of every module of a kind, in order; after backward() each has its .grad."""
    outputs = []

    def keep(module, inputs, output):
        output.retain_grad()
        outputs.append(output)

    handles = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, kind)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def saturated(h):
    """The share of numbers in h beyond EDGE."""
    return (h.abs() > EDGE).double().mean().item()


def growth(curve):
    """The factor from one layer to the next, its geometric mean over the last three quarters of the layers."""
    first = len(curve) // 4
    return (curve[-1] / curve[first]) ** (1 / max(1, len(curve) - 1 - first))


def linears(model):
    return [m for m in model.modules() if isinstance(m, nn.Linear)]


def measure(model, x, y):
    """One forward and backward pass; a dict for each hidden layer, and its outputs as a flat tensor under "out"."""
    model.zero_grad()
    with watch(model) as hidden:
        model(x, y)[1].backward()
    return [{"mean": h.mean().item(), "std": h.std().item(), "saturated": saturated(h),
             "grad_mean": h.grad.mean().item(), "grad_std": h.grad.std().item(),
             "grad_to_data": (linear.weight.grad.std() / linear.weight.std()).item(), "out": h.detach().flatten()}
            for h, linear in zip(hidden, linears(model))]


def update_to_data(model, rate):
    """(L,) log10 of how far the last step of gradient descent moved each weight, by its size; -3 is 1 in 1,000."""
    return [math.log10(max(1e-12, rate * (w.grad.std() / w.std()).item())) for w in (m.weight for m in linears(model))]


def net(start, seed, **config):
    """A net as STARTS says; "pytorch" leaves it as nn.Linear does, which is a gain of 1 / sqrt(3)."""
    torch.manual_seed(seed)
    model = MLP(norm=start == "batchnorm", **config)
    if start != "pytorch":
        initialize(model, start, torch.Generator().manual_seed(seed))
    return model


def learn(model, x, y, steps, rate, generator, each=lambda: None, batch=128):
    """steps of gradient descent on random batches; returns each step's loss, and what each() says after each step."""
    losses, said = [], []
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,), generator=generator)
        losses.append(step(model, x[rows], y[rows], rate))
        said.append(each())
    return losses, said


def stack(depth, width, gain, norm, generator, act=nn.Tanh):
    """depth layers: weights of standard deviation gain / sqrt(width), BatchNorm or not, act."""
    layers = []
    for _ in range(depth):
        linear = nn.Linear(width, width, bias=False)
        nn.init.normal_(linear.weight, 0, gain / math.sqrt(width), generator=generator)
        layers.append(nn.Sequential(linear, BatchNorm(width) if norm else nn.Identity(), act()))
    return layers


def propagate(layers, x, dy):
    """Standard deviation of each layer's output for x: (B, C), and of its gradient for dy: (B, C) at the top."""
    h, outputs = x, []
    for layer in layers:
        h = layer(h)
        h.retain_grad()
        outputs.append(h)
    h.backward(dy)
    return [h.std().item() for h in outputs], [h.grad.std().item() for h in outputs]


def table(rows):
    """Prints what measure() returned."""
    keys = [key for key in rows[0] if key != "out"]
    print("layer" + "".join(f"{key:>14}" for key in keys))
    for k, row in enumerate(rows, 1):
        print(f"{k:5d}" + "".join(f"{row[key]:14.3g}" for key in keys))


# What is drawn: a function for each picture, whose title is made from what was measured

def figure(columns=1, rows=1, width=5.0, height=4.4, **kwargs):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    size = max(8.0, width * columns), height * rows
    return plt.subplots(rows, columns, figsize=size, layout="constrained", **kwargs)


def smooth(numbers, n=20):
    """Means over the last n."""
    total = torch.tensor([0.0, *numbers], dtype=torch.float64).cumsum(0)
    ends = torch.arange(1, len(total))
    starts = (ends - n).clamp(min=0)
    return ((total[ends] - total[starts]) / (ends - starts)).tolist()


def shade(k, n):
    """A colour for layer k of n, from dark to light."""
    import matplotlib
    return matplotlib.colormaps["viridis"](0.9 * (k - 1) / max(1, n - 1))


def draw_hockey(losses, path):
    """losses: start -> loss of each step."""
    curves = {start: smooth(values) for start, values in losses.items()}
    late = next((k for k, loss in enumerate(curves["normal"], 1) if loss < UNIFORM), None)
    fig, ax = figure()
    for start, curve in curves.items():
        ax.plot(range(1, len(curve) + 1), curve, color=COLOUR[start], label=f"{start}: {STARTS[start][0]}")
    ax.axhline(UNIFORM, color="black", linestyle=":", label=f"uniform guess, ln 27 = {UNIFORM:.2f}")
    ax.set(xscale="log", yscale="log", xlabel="step of gradient descent",
           ylabel="loss, nats a letter, mean of 20 steps",
           title=f"A start at N(0, 1) loses {losses['normal'][0]:.1f} nats, and "
                 + (f"{late:,} steps go into unlearning it" if late else "all these steps go into unlearning it"))
    ax.set_yticks([2, 3, 5, 10, 20, 30], ["2", "3", "5", "10", "20", "30"])
    ax.legend()
    fig.savefig(path, dpi=130)


def draw_activations(before, after, path):
    """before, after: start -> what measure() returned."""
    fig, axes = figure(len(before), 2, height=3.2, sharex=True, sharey=True)
    for row, (when, measured) in zip(axes, [("at the start", before), ("after training", after)]):
        for ax, (start, layers) in zip(row, measured.items()):
            for k, layer in enumerate(layers, 1):
                density, edges = torch.histogram(layer["out"], 60, range=(-1.0, 1.0), density=True)
                ax.plot((edges[1:] + edges[:-1]) / 2, density, color=shade(k, len(layers)),
                        label=f"layer {k}: {layer['saturated']:.0%} saturated")
            ax.set(title=f"{start}, {when}", yscale="log", ylim=(0.02, 100))
            ax.legend(fontsize=8, loc="upper center", ncols=2)
    for ax in axes[-1]:
        ax.set_xlabel("output of tanh")
    for ax in axes[:, 0]:
        ax.set_ylabel("density")
    share = {start: mean(layer["saturated"] for layer in layers) for start, layers in before.items()}
    fig.suptitle("At the start " + ", ".join(f"{start} holds {s:.0%}" for start, s in share.items())
                 + f" of tanh's outputs beyond ±{EDGE}")
    fig.savefig(path, dpi=130)


def draw_gradients(before, path):
    """before: start -> what measure() returned."""
    fig, axes = figure(2)
    for start, layers in before.items():
        across = range(1, len(layers) + 1)
        for ax, key in zip(axes, ["grad_std", "grad_to_data"]):
            ax.plot(across, [layer[key] for layer in layers], "o-", color=COLOUR[start], label=start)
    axes[0].set(title="gradient of the layer's outputs", ylabel="standard deviation, nats")
    axes[1].set(title="gradient of the weights, by their size", ylabel="ratio of standard deviations")
    for ax in axes:
        ax.set(xlabel="hidden layer", yscale="log", xticks=list(across))
        ax.legend()
    falls = {start: layers[0]["grad_std"] / layers[-1]["grad_std"] for start, layers in before.items()}
    fig.suptitle("The first layer's gradient by the last's: " + ", ".join(f"{k} {v:.2g}" for k, v in falls.items()))
    fig.savefig(path, dpi=130)


def draw_updates(updates, rate, path):
    """updates: start -> for each step, update_to_data of each layer of weights."""
    fig, axes = figure(len(updates), sharey=True)
    for ax, (start, history) in zip(axes, updates.items()):
        for k, values in enumerate(zip(*history), 1):
            last = k == len(history[0])
            ax.plot(range(1, len(values) + 1), smooth(values), color="black" if last else shade(k, len(history[0]) - 1),
                    label="to the logits" if last else f"layer {k}")
        ax.axhline(-3, color="black", linestyle=":")
        ax.set(title=start, xlabel="step of gradient descent")
        ax.legend(fontsize=8, ncols=2)
    axes[0].set_ylabel("log10 of update by weight, mean of 20 steps")
    ends = {start: mean(history[-1][:-1]) for start, history in updates.items()}
    fig.suptitle(f"At rate {rate:g} a step moves hidden weights by a share of "
                 + ", ".join(f"10^{v:.1f} ({k})" for k, v in ends.items()) + " at the end")
    fig.savefig(path, dpi=130)


def draw_depth(curves, way, quantity, title, path):
    """curves: label -> standard deviation at 1, 2, 3 ... layers from where one begins."""
    fig, ax = figure()
    for k, (label, curve) in enumerate(curves.items(), 1):
        batchnorm = label.startswith("BatchNorm")
        ax.plot(range(1, len(curve) + 1), curve, color=COLOUR["batchnorm"] if batchnorm else shade(k, len(curves)),
                linestyle="--" if batchnorm else "-", linewidth=2.5, label=f"{label}: x {growth(curve):.2f} a layer")
    ax.set(yscale="log", xlabel=f"layers {way}", ylabel=f"standard deviation of {quantity}", title=title)
    ax.legend()
    fig.savefig(path, dpi=130)


def draw_depth_loss(losses, letters, steps, path):
    """losses: start -> {hidden layers: loss after training};  letters: the loss of who ignores the context."""
    fig, ax = figure()
    for start, by_depth in losses.items():
        ax.plot(list(by_depth), list(by_depth.values()), "o-", color=COLOUR[start], label=start)
    ax.axhline(letters, color="black", linestyle=":", label=f"only how frequent each letter is: {letters:.2f}")
    deepest = max(by_depth)
    ax.set(xscale="log", xlabel="hidden layers", ylabel=f"loss after {steps:,} steps, nats a letter",
           title=f"Loss with {deepest} hidden layers: " + ", ".join(f"{k} {v[deepest]:.2f}" for k, v in losses.items()))
    ax.set_xticks(list(by_depth), [str(d) for d in by_depth])
    ax.minorticks_off()
    ax.legend()
    fig.savefig(path, dpi=130)


# What is asked, in the order of the header

def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=1000, help="of gradient descent for each net [%(default)s]")
    p.add_argument("--rate", type=float, default=0.1, help="of learning, constant [%(default)s]")
    p.add_argument("--layers", type=int, default=5, help="hidden layers of the nets looked into [%(default)s]")
    p.add_argument("--depth", type=int, default=40, help="of the deepest net [%(default)s]")
    p.add_argument("--seed", type=int, default=1337, help="of weights and batches [%(default)s]")
    p.add_argument("--no-picture", action="store_true", help="tables only; needs no matplotlib")
    p.add_argument("--out", type=Path, default=Path("out/makemore/diagnostics"), help="folder [%(default)s]")
    return p.parse_args(argv)


def hockey(args, x, y):
    """Question 1, with the net of batchnorm.py."""
    losses = {}
    print(f"\n1. The first loss; a uniform guess loses ln 27 = {UNIFORM:.4f} nats a letter")
    for start in STARTS:
        generator = torch.Generator().manual_seed(args.seed)
        losses[start], _ = learn(net(start, args.seed), x, y, args.steps, args.rate, generator)
        first, last = losses[start][0], mean(losses[start][-20:])
        print(f"{start:>10} | first {first:7.4f} | last 20 steps {last:.4f}", flush=True)
    if not args.no_picture:
        draw_hockey(losses, args.out / "hockey.png")
    return {f"first_loss_nats_{start}": values[0] for start, values in losses.items()}


def inside(args, x, y):
    """Questions 2 to 4, with --layers hidden layers of 100 units, on 1,000 examples before and after training."""
    before, after, updates = {}, {}, {}
    for start in ["normal", "kaiming", "batchnorm"]:
        model = net(start, args.seed, n_hidden=100, n_layer=args.layers)
        before[start] = measure(model, x[:1000], y[:1000])
        _, updates[start] = learn(model, x, y, args.steps, args.rate, torch.Generator().manual_seed(args.seed),
                                  each=lambda: update_to_data(model, args.rate))
        after[start] = measure(model, x[:1000], y[:1000])
        print(f"\n2, 3. {start}, at the start")
        table(before[start])
        print(f"{start}, after {args.steps:,} steps")
        table(after[start])
        print(f"4. update to data, log10: " + " ".join(f"{mean(layer[-20:]):.2f}" for layer in zip(*updates[start])))
    if not args.no_picture:
        draw_activations(before, after, args.out / "activations.png")
        draw_gradients(before, args.out / "gradients.png")
        draw_updates(updates, args.rate, args.out / "updates.png")
    return {f"saturated_share_{start}": mean(layer["saturated"] for layer in rows) for start, rows in before.items()}


def depth(args):
    """Question 3 without data: random numbers through layers of tanh, and a random gradient back through them."""
    outputs, gradients, draws = {}, {}, torch.Generator().manual_seed(args.seed)
    print("\n3. Layers of 100 tanh, the factor from layer to layer: on outputs | on gradients")
    for label, gain in [("gain 0.5", 0.5), ("gain 1", 1), ("gain 5/3", 5 / 3), ("gain 3", 3), ("BatchNorm, gain 3", 3)]:
        layers = stack(args.depth, 100, gain, label.startswith("BatchNorm"), draws)
        x, dy = torch.randn(2, 256, 100, generator=draws)
        outputs[label], back = propagate(layers, x, dy)
        gradients[label] = back[::-1]                        # from the top down
        print(f"{label:>18} | {growth(outputs[label]):.3f} | {growth(gradients[label]):.3f}")
    if not args.no_picture:
        for curves, file, way, quantity in [(outputs, "depth_outputs.png", "up from the input", "outputs"),
                                            (gradients, "depth_gradients.png", "down from the loss", "gradients")]:
            title = f"{quantity.capitalize()} after {args.depth} layers: " + ", ".join(
                f"{curves[label][-1]:.2g} ({label})" for label in ["gain 0.5", "gain 5/3", "BatchNorm, gain 3"])
            draw_depth(curves, way, quantity, title, args.out / file)
    return {f"gradient_factor_a_layer, {label}": growth(curve) for label, curve in gradients.items()}


def depth_of_learning(args, x, y):
    """Question 3 by its consequence: what nets of 1 to --depth hidden layers learn in --steps steps."""
    share = torch.bincount(y, minlength=names.V) / len(y)
    letters = torch.special.entr(share).sum().item()
    depths = sorted({d for d in [1, 2, 5, 10, 20, 40] if d < args.depth} | {args.depth})
    losses = {start: {} for start in ["normal", "pytorch", "kaiming", "batchnorm"]}
    print(f"\n3. Loss after {args.steps:,} steps; who knows only how frequent each letter is loses {letters:.4f}")
    for n in depths:
        for start in losses:
            model = net(start, args.seed, n_hidden=100, n_layer=n)
            curve, _ = learn(model, x, y, args.steps, args.rate, torch.Generator().manual_seed(args.seed))
            losses[start][n] = mean(curve[-50:])
        print(f"{n:3d} layers | " + " | ".join(f"{start} {by_depth[n]:.4f}" for start, by_depth in losses.items()),
              flush=True)
    if not args.no_picture:
        draw_depth_loss(losses, letters, args.steps, args.out / "depth_loss.png")
    return {f"loss_nats_{start}_{n}_layers": loss for start, by_depth in losses.items() for n, loss in by_depth.items()}


def main(argv=None):
    args = parse(argv)
    if args.steps < 1 or args.layers < 1 or args.depth < 1:
        sys.exit("there is nothing to look at. Use --steps 1, --layers 1 and --depth 1, or more")
    if not args.no_picture and importlib.util.find_spec("matplotlib") is None:
        sys.exit("the pictures need matplotlib. Get it with\n    pip install matplotlib\nor add --no-picture")
    began = time.time()
    x, y = names.examples(names.split(names.load())[0], 3)
    args.out.mkdir(parents=True, exist_ok=True)
    numbers = {**hockey(args, x, y), **inside(args, x, y), **depth(args), **depth_of_learning(args, x, y)}
    write_metrics(args.out, "makemore/diagnostics.py", argv, seed=args.seed, seconds=round(time.time() - began, 2),
                  numbers=numbers)
    print(f"wrote {args.out}; next: python makemore/backprop.py")


if __name__ == "__main__":
    main()
