"""
Scalar autograd against torch's, its own differences, and its own promises.

In float64 two right answers differ by rounding alone: about 1e-15 an operation, 1e-12 through an expression of
dozens. Central differences with h = 1e-5 are good to about 1e-9; 1e-6 still convicts a wrong term.
"""

import json
import math
import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from micrograd import bench, demo, draw, gradcheck
from micrograd.engine import Value
from micrograd.nn import MLP, Layer, Module, Neuron

ROOT = Path(__file__).resolve().parent.parent
SVG = "{http://www.w3.org/2000/svg}"


def against_torch(f, xs):
    """Largest difference in the value and the gradients of f, ours against torch's, relative beyond 1."""
    ours, theirs = [Value(x) for x in xs], [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in xs]
    y, want = f(*ours), f(*theirs)
    y.backward()
    want.backward()
    pairs = [(y.data, want.item())] + [(v.grad, 0.0 if t.grad is None else t.grad.item()) for v, t in zip(ours, theirs)]
    return max(abs(a - b) / max(1, abs(b)) for a, b in pairs)


@pytest.mark.parametrize("name", gradcheck.OPERATIONS)
def test_operation(name):
    """Every operation: torch's value and gradients, and the differences'."""
    f, ranges = gradcheck.OPERATIONS[name]
    rng = random.Random(name)
    for _ in range(20):
        xs = [rng.uniform(*r) for r in ranges]
        assert against_torch(f, xs) < 1e-12
        assert gradcheck.worst(f, xs) < 1e-6


def test_random_expressions():
    rng = random.Random(0)
    for _ in range(150):
        xs = [rng.uniform(-2, 2) for _ in range(3)]
        f = gradcheck.random_expression(rng, xs)
        assert against_torch(f, xs) < 1e-12
        assert gradcheck.worst(f, xs) < 1e-6


def test_has_teeth(monkeypatch):
    """Both comparisons turn down a tanh whose local gradient is 1 - y, and an engine that assigns gradients."""
    f, xs = (lambda a: a.tanh() * a), [0.7]
    with monkeypatch.context() as m:
        m.setattr(Value, "tanh", lambda s: Value(math.tanh(s.data), (s,), "tanh", (1 - math.tanh(s.data),)))
        assert against_torch(f, xs) > 1e-2 and gradcheck.worst(f, xs) > 1e-2

    def assign(self):
        for child, local in zip(self._prev, self._local):
            child.grad = local * self.grad
    monkeypatch.setattr(Value, "_backward", assign)
    assert against_torch(f, xs) > 1e-2 and gradcheck.worst(f, xs) > 1e-2


def test_the_command(tmp_path):
    gradcheck.main(["--expressions", "5", "--out", str(tmp_path)])
    assert 0 < json.loads((tmp_path / "metrics.json").read_text())["numbers"]["max_error"] < 1e-6


def test_the_command_names_a_wrong_operation(monkeypatch, tmp_path):
    monkeypatch.setattr(Value, "exp", lambda s: Value(math.exp(s.data), (s,), "exp", (1.0,)))
    with pytest.raises(SystemExit, match="wrong gradients: exp"):
        gradcheck.main(["--expressions", "0", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "metrics.json").read_text())["numbers"]["max_error"] > 1e-2


def test_deep_chain():
    """100,000 operations in a row: no recursion, neither in backward() nor when the chain is freed."""
    x = y = Value(1.0)
    for _ in range(50_000):
        y = y * 1.00001 + 0.0
    y.backward()
    assert x.grad == pytest.approx(1.00001**50_000, rel=1e-9)
    del y


def test_order_is_topological():
    """A node passes its gradient on only when it has all of it: a diamond of 60 layers has 2**60 paths."""
    x = y = Value(1.0)
    for _ in range(60):
        y = y + y * 1.0
    y.backward()
    assert x.grad == 2.0**60


def test_gradients_accumulate_as_in_torch():
    """Twice through one graph, and two graphs that share a node: leaves add up, and nothing is sent twice."""
    def run(leaf, again):
        a, b = leaf(2.0), leaf(-3.0)
        c = a * b
        d = c * c
        again(d), again(d), again(c * 5.0)
        return [float(a.grad), float(b.grad)]

    want = run(lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True),
               lambda v: v.backward(retain_graph=True))
    assert run(Value, lambda v: v.backward()) == want == [57.0, -38.0]


def test_reflected_and_in_place():
    a = Value(4.0)
    assert [(2 + a).data, (2 - a).data, (2 * a).data, (2 / a).data] == [6, -2, 8, 0.5]
    b = a
    b += 1
    assert (a.data, b.data, b._op) == (4, 5, "+") and b._prev[0] is a
    assert sum([a, a]).data == 8 and repr(Value(1.5)) == "Value(data=1.5, grad=0)"


def test_what_cannot_be_said_is_refused():
    with pytest.raises(TypeError, match="exponent"):
        Value(2.0)**Value(2.0)
    with pytest.raises(ValueError, match="real"):
        Value(-8.0)**0.5
    with pytest.raises(ValueError):
        Value(0.0).log()
    with pytest.raises(ValueError, match="3 numbers"):
        Neuron(2)([1, 2, 3])
    assert Value(-2000.0).sigmoid().data == 0.0             # the textbook form overflows


def test_mlp_names_and_numbers():
    """Shape, repr, order of parameters; the same seed gives the original's first weights; values are torch's."""
    random.seed(1337)
    model = MLP(3, [4, 2])
    random.seed(1337)
    first = random.uniform(-1, 1)
    assert model.layers[0].neurons[0].w[0].data == first and isinstance(model, Module)
    assert len(model.parameters()) == 4 * 4 + 2 * 5 and isinstance(model.layers[1], Layer)
    assert repr(MLP(2, [1])) == "MLP of [Layer of [LinearNeuron(2)]]" and repr(Neuron(3)) == "ReLUNeuron(3)"
    assert MLP(2, [2], rng=random.Random(1)).parameters()[0].data == random.Random(1).uniform(-1, 1)

    out = model([0.3, -0.7, 1.1])
    (out[0] * 2 + out[1]).backward()
    h = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    weights = []
    for layer in model.layers:
        w = torch.tensor([[p.data for p in n.w] for n in layer.neurons], dtype=torch.float64, requires_grad=True)
        h = w @ h + torch.tensor([n.b.data for n in layer.neurons], dtype=torch.float64)
        h = h.relu() if layer.neurons[0].nonlin else h
        weights.append((w, [[p.grad for p in n.w] for n in layer.neurons]))
    (h[0] * 2 + h[1]).backward()
    for w, got in weights:
        torch.testing.assert_close(torch.tensor(got, dtype=torch.float64), w.grad, rtol=0, atol=1e-12)
    model.zero_grad()
    assert all(p.grad == 0 for p in model.parameters())


BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "micrograd/math.md").read_text(), re.S)


@pytest.mark.parametrize("code", BLOCKS, ids=[f"block {i}" for i in range(1, len(BLOCKS) + 1)])
def test_math(code):
    """Each snippet of the refresher runs alone, and claims something."""
    assert "assert" in code
    exec(compile(code, "math.md", "exec"), {})


def test_drawing_has_every_node():
    loss, names = draw.neuron()
    loss._op = "<&>"                                        # what XML must escape
    root = ET.fromstring(draw.svg(loss, names))
    nodes, text = draw.trace(loss), "".join(root.itertext())
    boxes = [r for r in root.iter(f"{SVG}rect") if r.get("class")]
    assert len(boxes) == len(nodes) == 13
    assert len({(r.get("x"), r.get("y")) for r in boxes}) == 13, "two boxes in one place"
    assert len(list(root.iter(f"{SVG}circle"))) == sum(bool(v._op) for v in nodes)
    assert len(list(root.iter(f"{SVG}path"))) == sum(len(v._prev) for v in nodes)
    for v in nodes:
        assert f"{v.data:.4g}" in text and f"grad {v.grad:.4g}" in text
    table = draw.columns(nodes)
    column = {v: i for i, vs in enumerate(table) for v in vs}
    assert all(column[c] < column[v] for v in nodes for c in v._prev), "an arrow that goes left"


def test_draw_writes(tmp_path):
    draw.main(["--out", str(tmp_path)])
    ET.parse(tmp_path / "graph.svg")


def test_demo_smallest(tmp_path):
    demo.main(["--points", "20", "--steps", "3", "--no-picture", "--out", str(tmp_path)])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["schema"] == 1 and metrics["scores"]["train_accuracy"]["n"] == 20
    with pytest.raises(SystemExit, match="--steps 1"):
        demo.main(["--steps", "0"])


def test_demo_learns():
    rng = random.Random(0)
    points, model = demo.moons(20, 0.1, rng), MLP(2, [8, 1], rng)
    losses = [demo.step(model, points, 0.5)[0] for _ in range(25)]
    assert losses[-1] < 0.6 * losses[0]


def test_bench_refuses_a_folder_without_an_engine(tmp_path):
    with pytest.raises(SystemExit, match="git clone"):
        bench.main(["--peer", str(tmp_path)])


def test_exercise(tmp_path, capsys):
    """The solution passes; planted mistakes are named, and only they; an empty answer is told what it lacks."""
    solution = ROOT / "micrograd/solution.py"
    gradcheck.main(["--check", str(solution)])
    assert "all 11" in capsys.readouterr().out
    mine = tmp_path / "mine.py"
    for right, planted, named in [(' + 0.2 * p["w1"]', "", "w1"),
                                  ('x2=dn * p["w2"]', 'x2=math.nan', "x2"), (", c=dc", "", "c")]:
        text = solution.read_text()
        assert right in text
        mine.write_text(text.replace(right, planted))
        with pytest.raises(SystemExit) as stop:
            gradcheck.main(["--check", str(mine)])
        assert re.findall(r"d loss / d (\w+)", str(stop.value)) == [named]
    mine.write_text("x = 1\n")
    with pytest.raises(SystemExit, match="no function gradients"):
        gradcheck.main(["--check", str(mine)])
    with pytest.raises(SystemExit, match="solution.py"):
        gradcheck.main(["--check", str(tmp_path / "none.py")])
