"""
The graph behind a Value as a picture: SVG, written by hand, no program and no package needed.

    python micrograd/draw.py                                # a neuron: out/micrograd/draw/graph.svg

A box is a number, with its gradient under it; a circle is the operation that made it. Columns are layers (every
arrow goes right); within a column a box goes near the boxes that it is connected with, which keeps crossings few.

Left out on purpose: routing long arrows around boxes, which a drawing of more than a hundred nodes would need.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
from html import escape
from pathlib import Path

from micrograd.engine import Value

WIDE, HIGH = 112, 50                                        # pixels of a box
ACROSS, DOWN = 200, 74                                      # from one column to the next, from one row to the next
SIGNS = {"sigmoid": "σ", "neg": "−", "-": "−", "*": "×"}    # what reads better in a circle
STYLE = """
text { font: 13px ui-monospace, Menlo, Consolas, monospace; text-anchor: middle; fill: #1f2933 }
.grad { fill: #b4451f } .op { font-weight: bold; fill: white; font-size: 12px }
rect { fill: #fdfcf8; stroke: #52606d } .leaf { fill: #e3eef9 } circle { fill: #31708f }
path { fill: none; stroke: #9aa5b1; stroke-width: 1.5 }
"""


def trace(root):
    """Every node below root, each after its children."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        v, open_ = stack.pop()
        if open_:
            order.append(v)
        elif v not in seen:
            seen.add(v)
            stack.append((v, True))
            stack.extend((child, False) for child in reversed(v._prev) if child not in seen)
    return order


def columns(nodes):
    """Lists of nodes by longest way from a leaf; a leaf stands just left of the first node that uses it."""
    layer, users = {}, {}
    for v in nodes:
        layer[v] = 1 + max((layer[c] for c in v._prev), default=-1)
        for c in v._prev:
            users.setdefault(c, []).append(v)
    for v in nodes:
        if not v._prev and v in users:
            layer[v] = min(layer[u] for u in users[v]) - 1
    table = [[] for _ in range(1 + max(layer.values()))]
    for v in nodes:
        table[layer[v]].append(v)
    for sweep in range(8):                                  # each node to the mean height of its neighbours
        height = {v: i - len(column) / 2 for column in table for i, v in enumerate(column)}
        for column in table:
            near = {v: [height[u] for u in (*v._prev, *users.get(v, ()))] or [height[v]] for v in column}
            column.sort(key=lambda v: sum(near[v]) / len(near[v]))
            height.update((v, i - len(column) / 2) for i, v in enumerate(column))
    return table


def box(v, x, y, name):
    """One node, its middle at (x, y): the operation on the left edge, then the name, the data, the gradient."""
    left, top = x - WIDE / 2, y - HIGH / 2
    kind = "made" if v._prev else "leaf"
    lines = [f'<rect x="{left}" y="{top}" width="{WIDE}" height="{HIGH}" rx="6" class="{kind}"/>']
    label = f"{name} = " if name else ""
    lines.append(f'<text x="{x}" y="{y - 5}">{escape(label)}{v.data:.4g}</text>')
    lines.append(f'<text x="{x}" y="{y + 15}" class="grad">grad {v.grad:.4g}</text>')
    if v._op:
        lines.append(f'<circle cx="{left - 22}" cy="{y}" r="19"/>')
        lines.append(f'<text x="{left - 22}" y="{y + 4}" class="op">{escape(SIGNS.get(v._op, v._op)[:5])}</text>')
    return "\n".join(lines)


def svg(root, names=None):
    """The graph of root as the text of an SVG file. names: {Value: what to call it}, for as many as you like."""
    names, nodes = names or {}, trace(root)
    table = columns(nodes)
    tall = max(map(len, table))
    place = {v: (70 + ACROSS * i, 50 + DOWN * (j + (tall - len(column)) / 2))
             for i, column in enumerate(table) for j, v in enumerate(column)}
    arrows = []
    for v in nodes:
        x, y = place[v]
        for child in v._prev:
            (x0, y0), x1 = place[child], x - WIDE / 2 - 41
            bend = (x1 - x0 - WIDE / 2) / 2
            arrows.append(f'<path d="M{x0 + WIDE / 2},{y0} C{x0 + WIDE / 2 + bend},{y0} {x1 - bend},{y} {x1},{y}"/>')
    boxes = [box(v, *place[v], names.get(v, "")) for v in nodes]
    width, height = 140 + ACROSS * (len(table) - 1), 100 + DOWN * (tall - 1)
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                      f'height="{height}" role="img">', f"<style>{STYLE}</style>",
                      '<rect width="100%" height="100%" style="fill:white;stroke:none"/>',
                      *arrows, *boxes, "</svg>"])


def neuron():
    """(loss, names) of one tanh neuron with two inputs that should have said 1."""
    p = {name: Value(x) for name, x in [("x1", 2.0), ("w1", -0.5), ("x2", -1.0), ("w2", 0.25), ("b", 1.5)]}
    n = p["x1"] * p["w1"] + p["x2"] * p["w2"] + p["b"]
    y = n.tanh()
    loss = (y - 1)**2
    loss.backward()
    return loss, {**{v: name for name, v in p.items()}, n: "n", y: "y", loss: "loss"}


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("out/micrograd/draw"), help="folder to write to [%(default)s]")
    return p.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "graph.svg").write_text(svg(*neuron()))
    print(f"wrote {args.out}/graph.svg: open it in a browser; next: python micrograd/demo.py")


if __name__ == "__main__":
    main()
