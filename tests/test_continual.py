"""
The bench that all methods of continual learning are tried on: streams, the base, the learner, one run, many runs.

The stream here is three made-up languages that share no letters, and the base a model of width 16 in a folder of its
own, so that a whole run takes a fraction of a second.
"""

import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from bpe.bpe import QWEN, Tokenizer
from continual import base, fresh, joint, learn, streams, train
from continual.learner import Learner, size
from continual.methods import METHODS
from gpt import checkpoint
from gpt.llama import Config, Llama

WORDS = {"fiction": "once upon a time there was some good king who ran home again".split(),
         "code": "DEF GHI JKL MNO XYZ = ( )".split(), "science": "31 41 59 26 53 58 97 + %".split()}


def texts(name, n, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[name], rng.integers(15, 60))) for _ in range(n)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a corpus and two bases, as bpe/tinyworld.py and continual/base.py would leave them."""
    folder = tmp_path_factory.mktemp("world")
    corpus = folder / streams.CORPUS
    corpus.mkdir(parents=True)
    for k, name in enumerate(WORDS):
        for seed, (part, n) in enumerate({"train": 60, "valid": 20, "test": 20}.items()):
            lines = [json.dumps({"text": text}) + "\n" for text in texts(name, n, [k, seed])]
            (corpus / f"{name}_{part}.jsonl").write_text("".join(lines))
    (corpus / "meta.json").write_text("{}")
    tokenizer = Tokenizer.train(texts("fiction", 50, 9), 280, QWEN)
    shape = Config(vocab_size=tokenizer.n_vocab, n_layer=2, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=128)
    for seed in (0, 1):
        run = base.folder("embedded", "fiction", seed, folder / "out/continual")
        checkpoint.save(run / "run", 1, Llama(shape, generator=torch.Generator().manual_seed(seed)), tokenizer)
        (run / "metrics.json").write_text("{}")
    return folder


@pytest.fixture
def there(world, monkeypatch):
    """In that folder, and with nothing remembered of any other."""
    monkeypatch.chdir(world)
    for remembered in (streams.domain, learn.examples):
        remembered.cache_clear()
    yield world
    for remembered in (streams.domain, learn.examples):
        remembered.cache_clear()


def arguments(method="naive", **more):
    """Small ones for continual/learn.py."""
    given = {"steps": 12, "rows": 4, "length": 80, "test-rows": 6, "watch": 4} | more
    flags = [part for key, value in given.items() for part in (f"--{key}", *str(value).split())]
    return ["--method", method, *flags]


def run(method="naive", **more):
    return learn.run(learn.parse(arguments(method, **more)))


def same(a, b):
    """Two results, but for the time they took."""
    return {**a, "seconds": 0} == {**b, "seconds": 0}


def learner(model=None, **setting):
    model = model or Llama(Config(vocab_size=13, n_layer=2, n_head=2, n_kv_head=2, n_embd=16, n_hidden=24, context=12),
                           generator=torch.Generator().manual_seed(0))
    return Learner(model.eval(), None, setting, 0.01, 5, 4, 6, np.random.default_rng(0),
                   torch.Generator().manual_seed(0))


def batch(seed=0, rows=4):
    ids = torch.randint(13, (rows, 7), generator=torch.Generator().manual_seed(seed))
    return ids[:, :-1], ids[:, 1:], torch.zeros(rows, 6, dtype=torch.long), torch.arange(6).expand(rows, 6)


# ----------------------------------------------------------------------------
# streams

def test_a_domain_is_the_same_every_time_and_not_too_large(there, monkeypatch):
    first, again = streams.domain.__wrapped__("embedded", "code"), streams.domain.__wrapped__("embedded", "code")
    assert first == again and sorted(first["train"]) == sorted(texts("code", 60, [1, 0]))
    assert first["train"] != texts("code", 60, [1, 0]), "what is cut off at the end should be any of them"
    monkeypatch.setattr(streams, "LARGEST", 2000)
    cut = streams.domain.__wrapped__("embedded", "code")
    assert cut["train"] == first["train"][:len(cut["train"])] and cut["test"] == first["test"]
    assert 1500 < sum(map(len, cut["train"])) <= 2000


# ----------------------------------------------------------------------------
# the base

def test_the_base_is_made_from_the_first_domain_alone_and_once(there, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(base, "script", lambda name, *flags: made.append((name, list(map(str, flags)))))
    base.main(["--domain", "science", "--seed", "3", "--tokens", "1000", "--out", str(tmp_path)])
    assert [name for name, _ in made] == ["bpe/train.py", "bpe/shards.py", "train/train.py"]
    data = tmp_path / "embedded" / "data_science"
    lines = [json.loads(line)["text"] for line in (data / "train.jsonl").read_text().splitlines()]
    assert lines == streams.domain("embedded", "science")["train"]
    assert str(data / "train.jsonl") in made[0][1] and str(data / "tokenizer") in made[2][1]
    assert made[2][1][-2:] == ["--seed", "3"] and "1000" in made[2][1]
    made.clear()
    base.make("embedded", "fiction", 1)
    assert not made, "what is done is not done again"


# ----------------------------------------------------------------------------
# the learner

def test_size_counts_bytes():
    thing = {"a": torch.zeros(3, 4), "b": [torch.zeros(5).half(), (torch.zeros(2).double(), "no bytes", None, 7)],
             "ids": torch.zeros(10, dtype=torch.long), "array": np.zeros(6, dtype=np.float32), "model": nn.Linear(3, 2)}
    assert size(thing) == 48 + 10 + 16 + 20 + 24 + 4 * (6 + 2)
    one = learner()
    one.kept["teacher"] = one.copy()
    assert one.stored() == 4 * sum(p.numel() for p in one.model.parameters()), "tied weights are kept once"


def test_work_is_6nd_and_2nd():
    """Kaplan et al. 2020: 6 N a token for forward and backward, 2 N for a look; a teacher's looks count as well."""
    one, (x, _, doc, positions) = learner(), batch()
    n, tokens = sum(p.numel() for p in one.model.parameters()), x.numel()
    one.nats(batch()).backward()
    assert one.flops == 6 * n * tokens
    with torch.no_grad():
        one.read(x, doc, positions)
    assert one.flops == 8 * n * tokens
    one.copy()(x, doc=doc, positions=positions)
    assert one.flops == 10 * n * tokens
    few = list(one.model.parameters())[-1]
    one.model.requires_grad_(False)
    few.requires_grad_(True)
    one.nats(batch())
    assert one.flops == (10 + 4) * n * tokens + 2 * few.numel() * tokens, "frozen weights still hand gradients on"


def test_measuring_is_not_work(there):
    done, often = run(), run(watch=1)
    model = checkpoint.load(base.folder("embedded", "fiction", 0) / "run", "cpu")[0]
    n = sum(p.numel() for p in model.parameters())
    assert done["flops"] == often["flops"] == 6 * n * done["tokens"] and done["tokens"] == 2 * 12 * 4 * 80
    assert done["inference"] == 1 and done["parameters"] == done["trained_parameters"] == n


# ----------------------------------------------------------------------------
# one run

def test_the_first_row_is_the_base(there):
    """Loss and accuracy of the untouched checkpoint, computed here once more from the texts on."""
    args = learn.parse(arguments())
    done = learn.run(args)
    model, tokenizer, _ = checkpoint.load(base.folder("embedded", "fiction", 0) / "run", "cpu")
    for k, name in enumerate(args.order):
        x, y, doc, positions = learn.held_out(args, name, "test", 6, tokenizer)
        with torch.no_grad():
            z = model.eval()(x, doc=doc, positions=positions)[0]
        assert done["losses"][0][k] == pytest.approx(F.cross_entropy(z[y >= 0], y[y >= 0]).item(), abs=1e-6)
        assert done["accuracies"][0][k] == pytest.approx((z[y >= 0].argmax(-1) == y[y >= 0]).double().mean().item())
    learned = done["losses"]
    assert learned[1][1] < learned[0][1] - 0.5 and learned[2][2] < learned[1][2] - 0.5, "and then it learns"
    assert [row[0] for row in done["curve"]] == [0, 4, 8, 12, 16, 20, 24]


def test_what_was_to_be_read_is_not_scored(there):
    args = learn.parse(arguments())
    tokenizer = checkpoint.load(base.folder("embedded", "fiction", 0) / "run", "cpu")[1]
    x, y, doc, _ = learn.held_out(args, "code", "test", 6, tokenizer)
    assert x.shape == (6, 80) and (y[:, :learn.READ] == -1).all() and (y[:, learn.READ:] >= 0).float().mean() > 0.9
    inside = (y[:, :-1] >= 0) & (doc[:, :-1] == doc[:, 1:])
    assert torch.equal(y[:, :-1][inside], x[:, 1:][inside]), "a target is the next token"


def test_measure_does_not_depend_on_rows():
    """However the rows are cut, though they have different numbers of targets; and it equals the formulas."""
    one, other = learner(), learner(Llama(learner().model.config, generator=torch.Generator().manual_seed(1)))
    x, y, doc, positions = batch(rows=7)
    y = y.clone()
    for b in range(7):
        y[b, :b % 5] = -1
    whole = learn.measure(one.read, (x, y, doc, positions), other.read, rows=7)
    for rows in (1, 3, 32):
        assert learn.measure(one.read, (x, y, doc, positions), other.read, rows) == pytest.approx(whole, rel=1e-5)
    with torch.no_grad():
        p, q = (m.read(x, doc, positions).double().log_softmax(-1) for m in (one, other))
    scored = y >= 0
    assert whole[0] == pytest.approx(-p[scored].gather(1, y[scored][:, None]).mean().item(), rel=1e-5)
    assert whole[2] == pytest.approx((p.exp() * (p - q))[scored].sum(-1).mean().item(), rel=1e-4)
    means = [learn.measure(one.read, tuple(t[b:b + 1] for t in (x, y, doc, positions)))[0] for b in range(7)]
    assert abs(np.mean(means) - whole[0]) > 1e-4, "teeth: the mean of the rows' means is something else"


def test_the_frozen_base_does_not_change_a_bit(there):
    done = run("frozen")
    assert done["losses"][0] == done["losses"][1] == done["losses"][2] and done["kl"] == [0, 0, 0]
    assert done["trained_parameters"] == done["stored_bytes"] == 0
    assert all(row[1:] == done["curve"][0][1:] for row in done["curve"])
    assert min(run()["kl"]) > 1e-3, "teeth: fine-tuning moves away from the base on every domain"


def test_the_same_seed_gives_the_same_bits(there):
    one, other = run("replay_25"), run("replay_25", seed=1)
    assert same(one, run("replay_25")) and not same(one, other)
    assert one["losses"][0] != other["losses"][0], "another seed is another base, too"


@pytest.mark.parametrize("kind", ["hidden", "blurred"])
def test_hidden_boundaries_are_found(there, kind):
    """At the very step, if nothing blurs it, and never elsewhere. (The first task has nothing before it.)"""
    done = run(boundaries=kind, steps=30, set="lr=0.02")
    assert done["found"] == [31] if kind == "hidden" else all(31 <= at <= 40 for at in done["found"])


def test_one_file_for_every_set_of_arguments():
    def name(method="naive", **more):
        return learn.result(learn.parse(arguments(method, **more)))

    best = METHODS["naive"].chosen("embedded")["lr"]
    assert name() == name() == name(set=f"lr={best}") == name(order="fiction code science")
    others = [name(seed=1), name(set="lr=0.5"), name(order="fiction science code"), name(on="valid"), name(steps=13),
              name(boundaries="hidden"), name("fresh"), name(rows=5), name(stream="real"), name(watch=3),
              name(length=81)]
    assert len({name(), *others}) == 12
    assert name(out="elsewhere").name == name().name


@pytest.mark.parametrize("wrong, what", [
    (["--method", "magic"], "magic"), (["--method", "naive", "--order", "fiction", "poetry"], "fiction, code, science"),
    (["--method", "naive", "--order", "fiction", "fiction"], "two or more"),
    (["--method", "naive", "--set", "lr:3"], "lr=0.001"), (["--method", "naive", "--set", "lr=fast"], "lr=0.001"),
    (["--method", "naive", "--boundaries", "soft"], "soft"), ([], "--method")], ids=" ".join)
def test_bad_input(wrong, what, capsys):
    with pytest.raises(SystemExit) as ended:
        learn.parse(wrong)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert ended.value.code == 2 and "error" in last and what in last


# ----------------------------------------------------------------------------
# the simplest methods

def test_joint_is_the_mean_over_all_domains(monkeypatch):
    one = learner()
    joint.start(one, [batch(1)])
    joint.begin(one)
    assert joint.loss(one, batch(2)).item() == pytest.approx((one.nats(batch(1)) + one.nats(batch(2))).item() / 2)
    one.recent = [batch(2)]
    joint.end(one)
    want = sum(one.nats(batch(k)) for k in (1, 2, 3)).item() / 3
    assert joint.loss(one, batch(3)).item() == pytest.approx(want)
    assert one.stored() == 2 * 2 * 4 * (4 * 6), "two domains, a batch each: four ids of two bytes a token"


def test_single_never_saw_the_other_tasks(there):
    """Its second task ends as naive fine-tuning does in a stream that has no other, to the bit."""
    alone, naive = run("single"), run("naive")
    without = run("naive", order="fiction science")
    assert alone["losses"][2][2] == without["losses"][1][1] != naive["losses"][2][2]
    assert alone["losses"][1] == naive["losses"][1]


def test_fresh_knows_nothing():
    """Whatever the model was, the new one depends on the generator alone; the next task's is another."""
    one, other = learner(), learner()
    for p in other.model.parameters():
        p.data.normal_()
    for each in (one, other):
        fresh.begin(each)
    assert all(map(torch.equal, one.model.parameters(), other.model.parameters()))
    norms = [p for name, p in one.model.named_parameters() if "norm" in name]
    assert norms and all((p == 1).all() for p in norms)
    before = [p.clone() for p in one.model.parameters()]
    fresh.begin(one)
    assert not all(map(torch.equal, one.model.parameters(), before))


# ----------------------------------------------------------------------------
# many runs

def trial(lost, gained):
    """Losses of a run that keeps `gained` of a possible 4 nats, and raises the first domain's by `lost`."""
    return {"losses": [[1.0, 5.0], [1 + lost, 5 - 4 * gained]]}


def test_the_best_trial():
    """Least forgotten among those that learn enough; if none does, most learned."""
    tuned = trial(9, 1)
    assert train.best([trial(0.0, 0.5), trial(0.3, 0.96), trial(0.2, 0.95), trial(3, 1.1)], tuned) == 2
    assert train.best([trial(0.0, 0.1), trial(0.5, 0.9), trial(0.1, 0.8)], tuned) == 1
    assert train.learned_best([trial(0, 0.5), trial(9, 1.0), trial(0, 0.9)]) == 1


@pytest.fixture
def here(there, monkeypatch):
    """continual/train.py with runs in this process, which are listed."""
    made = []

    run = subprocess.run

    def instead(command, **more):
        if command[0] == "git":
            return run(command, **more)
        made.append(command[command.index("--method") + 1])
        learn.main(command[2:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(train.subprocess, "run", instead)
    return made


MINIATURE = ["--method", "naive", "replay_5", "--seeds", "2", "--steps", "2", "--test-rows", "4", "--jobs", "1",
             "--no-picture"]


def test_a_killed_command_goes_on(here, there, capsys, monkeypatch):
    """Killed while it writes a result, it leaves none; the same command makes that one and the missing alone."""
    order = streams.ORDERS["embedded"][0]
    killed = learn.result(learn.parse(train.arguments(train.parse(MINIATURE), "fresh", order, 1)))
    replace = type(killed).replace

    def dies(path, target):
        if target == killed:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(type(killed), "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        train.main(MINIATURE)
    assert not killed.exists() and not (there / "out/continual/metrics.json").exists()
    monkeypatch.setattr(type(killed), "replace", replace)
    before = len(here)
    train.main(MINIATURE)
    assert len(here) - before == 8 - (before - 1) and here[before] == "fresh"
    said, numbers = capsys.readouterr().out, (there / "out/continual/metrics.json").read_text()
    assert "naive: perplexity" in said and "one set of weights, best:" in said and "2 seeds" in said
    assert "naive_gain" in numbers and "NaN" not in numbers
    train.main(MINIATURE)
    assert len(here) == 9, "nothing is left to be done"


def test_a_failing_run_ends_the_command_with_a_line(there, monkeypatch):
    broken = SimpleNamespace(returncode=1, stderr="broken", stdout="")
    monkeypatch.setattr(train.subprocess, "run", lambda *_, **__: broken)
    with pytest.raises(SystemExit, match="learn.py --method naive .*\nfailed: broken"):
        train.main([*MINIATURE, "--steps", "3"])


def test_the_sweep_looks_at_tuning_texts_of_another_order(here, there, capsys):
    args = train.parse([*MINIATURE, "--sweep"])
    run = train.arguments(args, "replay_5", streams.ORDERS["embedded"][1], 0, 2)
    parsed = learn.parse(run)
    assert parsed.on == "valid" and parsed.order == ["fiction", "science", "code"] and parsed.setting == METHODS[
        "replay_5"].trials[2]
    assert learn.parse(train.arguments(args, "naive", ("fiction", "code"), 0)).on == "test"
    assert all(len(method.trials) == 4 for name, method in METHODS.items() if name not in ("frozen", "lora_oracle"))


@pytest.mark.parametrize("wrong", [["--method", "magic"], ["--seeds", "0"], ["--jobs", "0"], ["--stream", "x"]],
                         ids=" ".join)
def test_bad_commands(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        train.parse(wrong)
    assert ended.value.code == 2 and "error" in capsys.readouterr().err.splitlines()[-1]
