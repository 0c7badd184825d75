"""
Vivid Descent: the optimizers against torch's, the surface against the engine, the planes against their definitions,
and the page in a real headless Chromium, as a visitor uses it.

The numbers of numpy, of the engine and of the page's script are the same sums in another order: 1e-12 in float64.
"""

import json
import random
import re

import numpy as np
import pytest
import torch

from micrograd import vivid
from micrograd.demo import moons
from micrograd.engine import Value
from micrograd.nn import MLP


def random_net(seed):
    """A net with random weights and biases, and its weights."""
    rng = random.Random(seed)
    model = MLP(vivid.SIZES[0], vivid.SIZES[1:], rng)
    for p in model.parameters():
        p.data = rng.gauss(0, 0.7)
    return model, [p.data for p in model.parameters()]


# Optimizers

def torch_momentum(params, rate):
    return torch.optim.SGD(params, lr=rate, momentum=0.9)


THEIRS = {"sgd": torch.optim.SGD, "momentum": torch_momentum, "adam": torch.optim.Adam}


def furthest(ours, theirs, steps=30):
    """Largest difference of the weights over some steps with random gradients of very different sizes."""
    rng = random.Random(0)
    start = [rng.gauss(0, 1) for _ in range(7)]
    params, want = [Value(x) for x in start], torch.tensor(start, dtype=torch.float64, requires_grad=True)
    step, optimizer, worst = ours(params, 0.05), theirs([want], 0.05), 0
    for _ in range(steps):
        grads = [rng.gauss(0, 10**i) for i in range(-3, 4)]
        for p, g in zip(params, grads):
            p.grad = g
        want.grad = torch.tensor(grads, dtype=torch.float64)
        step()
        optimizer.step()
        worst = max(worst, *(abs(p.data - w) / max(1, abs(w)) for p, w in zip(params, want.tolist())))
    return worst


@pytest.mark.parametrize("name", vivid.RUNS)
def test_optimizers(name):
    assert furthest(vivid.RUNS[name][1], THEIRS[name]) < 1e-12


def test_optimizers_have_teeth():
    """Other constants, and another optimizer, are turned down."""
    assert furthest(lambda p, r: vivid.momentum(p, r, beta=0.89), THEIRS["momentum"]) > 1e-3
    assert furthest(lambda p, r: vivid.adam(p, r, beta2=0.99), THEIRS["adam"]) > 1e-3
    assert furthest(vivid.sgd, THEIRS["momentum"]) > 1e-3


# The loss, twice

def test_losses_are_the_engines():
    points, nets = moons(9, 0.1, random.Random(1)), [random_net(seed) for seed in range(4)]
    thetas = np.array([theta for _, theta in nets])
    got = vivid.losses(thetas, points)
    for (model, _), loss, score in zip(nets, got, vivid.scores(thetas, np.array([x for x, _ in points]))):
        assert abs(loss - vivid.loss_of(model, points).data) < 1e-12
        assert np.abs(score - [model(x).data for x, _ in points]).max() < 1e-12
    wrong = vivid.losses(np.roll(thetas, 1, axis=1), points)        # as if the bias came first
    assert np.abs(wrong - got).min() > 1e-3


def test_training_is_the_engines():
    """One step of SGD is the start minus rate times the engine's gradient of that batch."""
    points, (model, start) = moons(8, 0.1, random.Random(2)), random_net(3)
    path = vivid.train(vivid.sgd, 0.1, start, points, [[0, 3, 5], [1, 2, 7]])
    vivid.loss_of(model, [points[i] for i in (0, 3, 5)]).backward()
    assert path.shape == (3, len(start)) and path[0].tolist() == start
    assert np.abs(path[1] - [w - 0.1 * p.grad for w, p in zip(start, model.parameters())]).max() < 1e-15


# Planes

def test_filter_normalized():
    """Each row has the length of the neuron's row; biases are left alone; the two directions differ."""
    model, theta = random_net(4)
    a, b = vivid.filter_normalized(np.array(theta), np.random.default_rng(0))
    at = 0
    for layer in model.layers:
        for neuron in layer.neurons:
            n = len(neuron.w)
            for d in (a, b):
                assert np.isclose(np.linalg.norm(d[at:at + n]), np.linalg.norm([w.data for w in neuron.w]), rtol=1e-12)
                assert d[at + n] == 0
            at += n + 1
    assert at == len(theta) and abs(a @ b) < 0.9 * np.linalg.norm(a) * np.linalg.norm(b)


def test_principal():
    """They are the first eigenvectors of the covariance, and run from start to end up the first, down the second."""
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.standard_normal((40, 105)), axis=0)
    directions = vivid.principal([path[:25], path[25:]])
    values, vectors = np.linalg.eigh(np.cov(path.T))
    assert np.abs(np.abs(directions @ vectors[:, [-1, -2]]) - np.eye(2)).max() < 1e-9
    a, b = directions @ (path[24] - path[0] + path[39] - path[25])
    assert a > 0 > b
    assert abs(vivid.share(path, directions) - values[-2:].sum() / values.sum()) < 1e-12


def test_share():
    """All of a path that lies in the plane, none of one across it, half of one that moves as far in as out."""
    e = np.eye(105)
    path = np.array([[3 * e[0] + e[1]], [e[1] - e[0]], [7 * e[1]]])[:, 0]
    skew = np.array([e[0] + e[1], 2 * e[1] + 0.1 * e[0]])           # the directions need not be perpendicular
    assert abs(vivid.share(path, skew) - 1) < 1e-12
    assert vivid.share(path, e[2:4]) < 1e-12
    assert abs(vivid.share(np.array([e[0] + e[5], -e[0] - e[5]]), e[:2]) - 0.5) < 1e-12


def test_plane():
    """Grid, paths and losses are where they say: recomputed from the directions, and the square holds the path."""
    points, (_, theta) = moons(8, 0.1, random.Random(2)), random_net(5)
    rng = np.random.default_rng(1)
    path = np.array(theta) + np.cumsum(0.1 * rng.standard_normal((6, 105)), axis=0)
    directions = vivid.filter_normalized(path[-1], rng)
    plane = vivid.plane(path[-1], directions, {"sgd": path}, points, 5)
    (ma, mb), half, run = plane["middle"], plane["half"], plane["paths"]["sgd"]
    for j in range(5):
        for i in range(5):
            a, b = ma + half * (i - 2) / 2, mb + half * (j - 2) / 2
            want = vivid.losses((path[-1] + a * directions[0] + b * directions[1])[None], points)[0]
            assert abs(plane["loss"][5 * j + i] - want) < 1e-3 * want               # rounded to five digits
    for (a, b), theta in zip(run["at"], path):
        gap = theta - path[-1] - a * directions[0] - b * directions[1]
        assert np.abs(directions @ gap).max() < 1e-2                # the nearest spot: what is left is across the plane
        assert abs(a - ma) <= half and abs(b - mb) <= half
    assert run["at"][-1] == pytest.approx([0, 0], abs=1e-9)


def test_compact():
    assert vivid.compact(np.array([[1.23456789, 1e-9], [123456.7, 0]])) == [[1.2346, 1e-9], [123460, 0]]


@pytest.mark.parametrize("argv", ["--steps 1", "--batch 0", "--points 5", "--grid 2", "--grid 256"])
def test_mistakes_end_in_a_line(argv):
    with pytest.raises(SystemExit, match="Use"):
        vivid.main(argv.split())


def test_measure_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(vivid.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install playwright"):
        vivid.main(["--measure"])


# The page

STEPS = 12


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of a short run, in a folder of its own."""
    out = tmp_path_factory.mktemp("vivid")
    vivid.main(["--steps", str(STEPS), "--grid", "9", "--points", "30", "--batch", "10", "--out", str(out)])
    return out


def test_what_is_written(written):
    """One file that names nothing outside itself, with the three runs from one start; and the numbers."""
    text = (written / "vivid.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|fetch\(|XMLHttpRequest|/\*(DATA|SCRIPTS)""", text)
    data = json.loads(re.search(r'<script id="run" type="application/json">(.*?)</script>', text, re.S)[1])
    runs, planes = data["runs"], data["planes"]
    assert len(runs) == 3 and all(np.shape(run["path"]) == (STEPS + 1, 105) for run in runs.values())
    assert len({json.dumps(run["path"][0]) for run in runs.values()}) == 1
    assert len({json.dumps(run["path"][-1]) for run in runs.values()}) == 3
    assert set(planes["all"]["paths"]) == set(planes["own"]) == set(planes["random"]) == set(runs)
    numbers = json.loads((written / "metrics.json").read_text())["numbers"]
    assert numbers["steps"] == STEPS and numbers["adam_train_loss_nats"] == runs["adam"]["loss"][-1]


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = vivid.browser(playwright)
        except sync_api.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, written):
    """visit(**settings) -> the page, opened from disk. At the end: it asked for nothing else, nothing went wrong."""
    address, contexts, requests, complaints = (written / "vivid.html").as_uri(), [], [], []

    def visit(before="", reduced_motion="reduce", **settings):
        context = chromium.new_context(reduced_motion=reduced_motion,
                                       **{"viewport": {"width": 910, "height": 640}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(before)
        page.goto(address)
        page.wait_for_function("document.querySelector('#step').textContent")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert all(request == address or request.startswith("data:") for request in requests)
    assert not complaints


def step(page):
    """The step that the page shows, once a frame was drawn."""
    page.evaluate("new Promise(requestAnimationFrame)")
    return int(page.inner_text("#step").split()[1])


def picture(page, where):
    """A number for what this part of the page shows."""
    page.evaluate("new Promise(requestAnimationFrame)")
    return hash(page.evaluate(f"document.querySelector('{where}').toDataURL()"))


def colours(page):
    """How many colours the surface has, and which share of its pixels is drawn on."""
    return page.evaluate("""() => {
        vivid.draw();
        const gl = vivid.gl, w = gl.drawingBufferWidth, h = gl.drawingBufferHeight, pixels = new Uint8Array(4 * w * h);
        gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
        const seen = new Set(new Uint32Array(pixels.buffer));
        return [seen.size, pixels.filter((v, i) => i % 4 === 3 && v > 0).length / (w * h)];
    }""")


@pytest.mark.peer
def test_the_pages_net_is_the_engines(visit):
    """Every neuron's output and every gradient at random weights; the recorded weights give the recorded answers."""
    page = visit()
    for seed, x, y in [(10, [0.3, -0.5], 1), (11, [-0.7, 0.3], -1), (12, [-1.7, 1.1], 1)]:
        model, theta = random_net(seed)
        layers = [[Value(v) for v in x]]
        for layer in model.layers:
            out = layer(layers[-1])
            layers.append(out if isinstance(out, list) else [out])
        (1 + (-y * layers[-1][0]).exp()).log().backward()
        neurons = [v for layer in layers for v in layer]

        a, da, dtheta = page.evaluate("""([theta, x, y]) => {
            const a = vivid.forward(theta, x), {dtheta, da} = vivid.backward(theta, a, y);
            return [a, da, dtheta].map(list => [...list]);
        }""", [theta, x, y])
        for name, got, want in [("a", a, [v.data for v in neurons]), ("da", da, [v.grad for v in neurons]),
                                ("dtheta", dtheta, [p.grad for p in model.parameters()])]:
            assert len(got) == len(want) and max(abs(g - w) for g, w in zip(got, want)) < 1e-12, name
        assert max(map(abs, dtheta)) > 1e-3
    right = page.evaluate("""vivid.data.points.filter(([x, z, y]) =>
        y * vivid.forward(vivid.data.runs.adam.path[5], [x, z]).at(-1) > 0).length""")
    assert right == page.evaluate("vivid.data.runs.adam.right[5]")


@pytest.mark.peer
def test_a_visit_by_mouse(visit):
    """Scrub, choose a run, compare, another plane, another point, gradients: each shows something else."""
    page = visit()
    assert step(page) == STEPS                                      # motion is not wanted: it does not play by itself
    variety, covered = colours(page)
    assert variety > 300 and 0.15 < covered < 0.95

    for where, act in [("#boundary canvas", lambda: page.fill("#time", "2")),
                       ("#net canvas", lambda: page.click("[data-run=sgd]")),
                       ("#net canvas", lambda: page.click("[data-edges=gradients]")),
                       ("#net canvas", lambda: page.click("#boundary canvas", position={"x": 200, "y": 100})),
                       ("#labels", lambda: page.click("[data-plane=random]")),
                       ("#losses canvas", lambda: page.click("#losses canvas", position={"x": 180, "y": 40}))]:
        before = picture(page, where)
        act()
        assert picture(page, where) != before, where
    assert 3 < step(page) < STEPS and page.inner_text("#reading").startswith("SGD")

    page.click("#compare")
    assert page.locator("#net canvas:visible").count() == 2 and colours(page)[0] > 300
    yaw = page.evaluate("vivid.state.yaw")
    page.mouse.move(300, 300)
    page.mouse.down()
    page.mouse.move(350, 300)
    page.mouse.up()
    assert page.evaluate("vivid.state.yaw") != yaw
    page.mouse.wheel(0, 300)
    page.wait_for_function("vivid.state.distance > 5")
    page.click("#reset")
    assert page.evaluate("vivid.state.yaw") == yaw


@pytest.mark.peer
def test_keyboard_alone(visit):
    """A screen reader hears what each control and picture is; every key does what the help line says."""
    page = visit()
    nameless = page.evaluate("""[...document.querySelectorAll("button, input, select, canvas")].filter(e => !e.hidden &&
        !(e.getAttribute("aria-label") || e.textContent.trim() || e.getAttribute("aria-hidden"))).map(e => e.id)""")
    assert nameless == []
    press = page.keyboard.press
    press("Home")
    assert step(page) == 0
    press("ArrowRight")
    press("ArrowRight")
    press("ArrowLeft")
    assert step(page) == 1
    press("Space")
    page.wait_for_function("vivid.state.t > 2")
    press("Space")
    assert page.evaluate("vivid.state.playing") is False
    for key, what, want in [("1", "runs[1]", "sgd"), ("2", "runs[1]", "momentum"), ("c", "compare", True),
                            ("3", "runs[1]", "adam"), ("d", "plane", "own"), ("g", "edges", "gradients"),
                            ("n", "point", 1)]:
        press(key)
        assert page.evaluate(f"vivid.state.{what}") == want, key
    pressed = page.locator("[data-run][aria-pressed=true]").all_inner_texts()
    assert pressed == ["Momentum", "Adam"]

    yaw = page.evaluate("vivid.state.yaw")
    press("Shift+ArrowRight")
    assert page.evaluate("vivid.state.yaw") > yaw
    press("r")
    assert page.evaluate("vivid.state.yaw") == yaw
    dark = page.evaluate("document.documentElement.dataset.theme")
    press("t")
    assert page.evaluate("document.documentElement.dataset.theme") != dark

    for _ in range(4):                                              # wherever the focus goes, it is seen
        press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.focus("#compare")
    press("Space")                                                  # presses the button in focus, and does not play
    assert page.evaluate("[vivid.state.compare, vivid.state.playing]") == [False, False]


@pytest.mark.peer
def test_it_plays_by_itself_and_counts(visit):
    page = visit(reduced_motion="no-preference")
    page.wait_for_function("vivid.state.t > 1")
    counted = page.evaluate("vivid.measure(0.4, 0.1)")
    assert 1 < counted["frames_per_second"] < 250 and 0 < counted["script_ms_per_frame"] < 200
    page.wait_for_timeout(100)
    drawn = page.evaluate("new Promise(done => { const draw = drawStage; let n = 0; drawStage = () => { n++; draw(); };"
                          " setTimeout(() => done(n), 200); })")
    assert drawn == 0                                               # at rest it draws nothing


@pytest.mark.parametrize("compare", [False, True])
@pytest.mark.peer
def test_phone(visit, compare):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.evaluate(f"vivid.arrange({{compare: {str(compare).lower()}, plane: 'own'}})")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    outside = page.evaluate("""[...document.querySelectorAll("button, input, select, canvas")].filter(e => {
        const box = e.getBoundingClientRect();
        return box.width && (box.left < 0 || box.right > 390 || (e.matches("button") && box.height < 30));
    }).map(e => e.outerHTML)""")
    assert outside == []
    page.tap("#play")
    page.wait_for_function("vivid.state.playing || vivid.state.t > 0")


@pytest.mark.peer
def test_without_webgl(visit):
    """The rest of the page works, and says what is missing."""
    page = visit("""const get = HTMLCanvasElement.prototype.getContext; HTMLCanvasElement.prototype.getContext =
        function (kind, ...more) { return kind === "webgl2" ? null : get.call(this, kind, ...more); };""")
    assert "no WebGL 2" in page.inner_text("#stage")
    before = picture(page, "#boundary canvas")
    page.fill("#time", "1")
    assert step(page) == 1 and picture(page, "#boundary canvas") != before
