"""
Checkpoints: what is saved comes back to the last bit, a kill at any instant leaves the last good step,
and whatever is missing, damaged or does not fit ends in one line.
"""

import json
import os
import sys
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch

from bpe.bpe import Tokenizer
from gpt import checkpoint
from gpt.checkpoint import CheckpointError
from gpt.llama import Config, Llama

TOKENIZER = Tokenizer([])                                    # a byte a token
CONFIG = Config(TOKENIZER.n_vocab, n_layer=1, n_head=2, n_kv_head=1, n_embd=8, n_hidden=8, qk_norm=True)


def model(seed=0, **changes):
    model = Llama(replace(CONFIG, **changes))
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        torch.nn.init.normal_(p, generator=generator)
    return model


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def complaint(path, read=checkpoint.load):
    with pytest.raises(CheckpointError) as error:
        read(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    return str(error.value)


# ----------------------------------------------------------------------------
# what goes in comes out

@pytest.mark.parametrize("changes", [{}, {"tie": False}, {"window": 5, "d_head": 6}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_round_trip(tmp_path, changes, dtype):
    saved = model(**changes).to(dtype)
    step = checkpoint.save(tmp_path / "run", 500, saved, TOKENIZER, stage="sft", parent="abc")
    assert step == tmp_path / "run" / "step_000500"
    assert sorted(p.name for p in step.iterdir()) == ["checkpoint.json", "model.pt", "tokenizer.json"]
    loaded, tokenizer, info = checkpoint.load(tmp_path / "run")
    assert equal(loaded, saved) and loaded.config == saved.config and not loaded.training
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == saved.config.tie
    assert tokenizer.hash == TOKENIZER.hash == info["tokenizer"]
    assert (info["step"], info["stage"], info["parent"], info["kind"]) == (500, "sft", "abc", "llama")
    assert info["path"] == str(step)


def test_every_way_to_name_it(tmp_path):
    """A step, a run (its latest), and a text file whose line is relative to where the file lies."""
    first = checkpoint.save(tmp_path / "a" / "run", 1, model(1), TOKENIZER)
    checkpoint.save(tmp_path / "a" / "run", 2, model(2), TOKENIZER)
    checkpoint.point(tmp_path / "model", "a/run")
    assert checkpoint.load(first)[2]["step"] == 1
    assert checkpoint.load(tmp_path / "a" / "run")[2]["step"] == 2
    assert checkpoint.load(str(tmp_path / "model"))[2]["step"] == 2
    checkpoint.point(tmp_path / "model", "a/run/step_000001")
    assert checkpoint.load(tmp_path / "model")[2]["step"] == 1


def test_state(tmp_path):
    state = {"step": 3, "lr": 0.1, "done": False, "name": "é", "none": None, "bytes": b"\0\xff",
             "list": [1, (2.5, "x")],
             "moments": {0: torch.randn(3), 1: torch.zeros(2, dtype=torch.long)},
             "generator": torch.Generator().manual_seed(5).get_state()}
    checkpoint.save(tmp_path, 1, model(), TOKENIZER, state)
    loaded = checkpoint.load_state(tmp_path)
    for name in ("moments", "generator"):
        torch.testing.assert_close(loaded.pop(name), state.pop(name), rtol=0, atol=0)
    assert loaded == state
    checkpoint.save(tmp_path, 2, model(), TOKENIZER)
    assert "no state to resume from" in complaint(tmp_path, checkpoint.load_state)


@pytest.mark.parametrize("bad", [np.float64(1), {1}, defaultdict(int), print, {"a": [0, np.zeros(2)]}], ids=repr)
def test_state_of_anything_but_plain_values_is_refused(tmp_path, bad):
    """Before anything is written: weights_only=True would refuse it when it is too late."""
    with pytest.raises(ValueError, match=r"^state\['x'\].* is a \w+; a checkpoint holds tensors and plain values$"):
        checkpoint.save(tmp_path / "run", 1, model(), TOKENIZER, {"x": bad})
    assert not (tmp_path / "run").exists()


def test_hash_is_of_the_weights_alone(tmp_path):
    one = checkpoint.load(checkpoint.save(tmp_path / "a", 1, model(), TOKENIZER))[2]["hash"]
    two = checkpoint.load(checkpoint.save(tmp_path / "b", 9, model(), TOKENIZER, {"x": 1}, stage="sft"))[2]["hash"]
    assert one == two and len(one) == 64
    other = model()
    with torch.no_grad():
        other.model.norm.weight[0] += 1e-6
    assert checkpoint.weights_hash(other.state_dict()) != one


def test_loading_leaves_the_random_numbers_alone(tmp_path):
    checkpoint.save(tmp_path, 1, model(), TOKENIZER)
    before = torch.get_rng_state()
    checkpoint.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_taken_step_gets_another_name(tmp_path):
    names = [checkpoint.save(tmp_path, 7, model(seed), TOKENIZER).name for seed in range(3)]
    assert names == ["step_000007", "step_000007_1", "step_000007_2"]
    assert equal(checkpoint.load(tmp_path / names[0])[0], model(0))
    assert equal(checkpoint.load(tmp_path)[0], model(2))


def test_keep(tmp_path):
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, step, model(), TOKENIZER, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step_000003", "step_000004"]
    checkpoint.save(tmp_path, 2, model(), TOKENIZER, keep=1)  # the newest stays, even with a smaller number
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step_000002"]


# ----------------------------------------------------------------------------
# kills

class Kill(BaseException):
    """No `except Exception` of ours may stop it."""


def kill_at(line, work):
    """Run work(), killed before the given line (the n-th executed) of checkpoint.py; False if it got through."""
    left = line

    def trace(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != checkpoint.__file__:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                raise Kill
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Kill:
        return True
    finally:
        sys.settrace(before)
    return False


def survives(folder, save):
    """Kill a save of step 2 before each of its lines: is step 1 or step 2 always there, and can a run go on?"""
    one, two = model(1), model(2)
    for line in range(10_000):
        run = folder / str(line)
        checkpoint.save(run, 1, one, TOKENIZER, {"step": 1}, keep=1)
        killed = kill_at(line, lambda: save(run, 2, two, TOKENIZER, {"step": 2}, keep=1))
        try:
            loaded, _, info = checkpoint.load(run)
            good = equal(loaded, {1: one, 2: two}[info["step"]]) and checkpoint.load_state(run)["step"] == info["step"]
        except CheckpointError:
            good = False
        if not good:
            return False
        assert killed or info["step"] == 2
        checkpoint.save(run, 2, two, TOKENIZER, {"step": 2}, keep=1)
        assert equal(checkpoint.load(run)[0], two) and not list(run.glob("*.tmp"))
        if not killed:
            return line > 50                                 # or the tracer saw nothing


def test_a_kill_before_any_line(tmp_path):
    assert survives(tmp_path, checkpoint.save)


def test_the_kills_have_teeth(tmp_path):
    """They convict a save that points to a step first and writes it then."""
    def save(run, step, *args, **kwargs):
        checkpoint.point(run / "latest", f"step_{step:06d}")
        checkpoint.save(run, step, *args, **kwargs)

    assert not survives(tmp_path, save)


def test_all_is_on_the_disk_before_it_has_a_name(tmp_path, monkeypatch):
    """When a name changes, every file under it has been synced after its last write."""
    synced, renames = {}, []

    def fsync(handle, fsync=os.fsync):
        path = os.readlink(f"/proc/self/fd/{handle}")
        synced[path] = os.stat(handle).st_mtime_ns
        fsync(handle)

    def checked(move):
        def moved(source, target):
            for path in [source, *(source.iterdir() if source.is_dir() else [])]:
                assert synced.get(str(path)) == path.stat().st_mtime_ns, f"{path} was not synced"
            renames.append(target.name)
            move(source, target)
        return moved

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("needs /proc, to see which file is synced")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(checkpoint.os, "rename", checked(os.rename))
    real = os.replace
    monkeypatch.setattr(checkpoint.os, "replace", lambda a, b: (checked(real) if b.name == "latest" else real)(a, b))
    checkpoint.save(tmp_path, 1, model(), TOKENIZER, {"step": 1})
    assert renames == ["step_000001", "latest"] and str(tmp_path) in synced


# ----------------------------------------------------------------------------
# what a user can get wrong

def test_missing(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        assert complaint(path) == f"no checkpoint at {path}. Make one: bash run.sh"
    (tmp_path / "model").write_text("gone/run\n")
    assert "no checkpoint at" in complaint(tmp_path / "model")


@pytest.mark.parametrize("name, read", [("model.pt", checkpoint.load), ("state.pt", checkpoint.load_state),
                                        ("tokenizer.json", checkpoint.load), ("checkpoint.json", checkpoint.load)])
def test_truncated(tmp_path, name, read):
    step = checkpoint.save(tmp_path, 1, model(), TOKENIZER, {"x": torch.arange(50)})
    whole = (step / name).read_bytes()
    for size in [0, 1, 2, *range(3, len(whole) - 2, max(1, len(whole) // 50)), len(whole) - 2]:
        (step / name).write_bytes(whole[:size])
        assert complaint(tmp_path, read).startswith(f"{step / name} is damaged (")
    (step / name).unlink()
    complaint(tmp_path, read)
    (step / name).write_bytes(whole)
    read(tmp_path)


def test_changed_bytes(tmp_path):
    """Same length, other bytes: an error, or the very same weights (a zip file has bytes that mean nothing)."""
    step = checkpoint.save(tmp_path, 1, model(), TOKENIZER)
    whole, caught = (step / "model.pt").read_bytes(), 0
    for at in range(0, len(whole), max(1, len(whole) // 100)):
        (step / "model.pt").write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1:])
        try:
            assert equal(checkpoint.load(tmp_path)[0], model())
        except CheckpointError as e:
            assert "is damaged (" in str(e) and "\n" not in str(e)
            caught += 1
    assert caught > 50


def edit(step, **changes):
    path = step / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_wrong_tokenizer(tmp_path):
    """Another one of the same length, and one that is too large for the model, are both turned down by name."""
    step = checkpoint.save(tmp_path, 1, model(), TOKENIZER)
    other = Tokenizer([(97, 98)])
    other.save(step)
    sizes = {name: (step / name).stat().st_size for name in ("model.pt", "tokenizer.json")}
    edit(step, bytes=sizes)
    wrong = f"wrong tokenizer in {step}: it is {other.hash[:12]} with {other.n_vocab} ids"
    assert complaint(tmp_path).startswith(wrong)
    edit(step, tokenizer=other.hash)
    assert complaint(tmp_path).startswith(wrong)


def test_unknown_kind(tmp_path):
    step = checkpoint.save(tmp_path, 1, model(), TOKENIZER)
    edit(step, kind="mamba")
    assert "holds a model of kind 'mamba'" in complaint(tmp_path)
    with pytest.raises(ValueError, match="no checkpoint kind for a Linear"):
        checkpoint.save(tmp_path, 2, torch.nn.Linear(2, 2), TOKENIZER)


@pytest.mark.parametrize("config", [None, 3, {}, CONFIG.__dict__ | {"n_layer": 2}, CONFIG.__dict__ | {"n_head": 3},
                                    CONFIG.__dict__ | {"more": 1}, CONFIG.__dict__ | {"n_embd": "8"}], ids=repr)
def test_config_that_is_not_the_weights(tmp_path, config):
    step = checkpoint.save(tmp_path, 1, model(), TOKENIZER)
    edit(step, config=config)
    assert "is damaged (" in complaint(tmp_path)


def test_a_program_in_the_file_is_not_run(tmp_path):
    """A pickle that would call print is data that cannot be read."""
    class Program:
        def __reduce__(self):
            return print, ("this must never be printed",)

    step = checkpoint.save(tmp_path, 1, model(), TOKENIZER)
    torch.save({"x": Program()}, step / "model.pt")
    edit(step, bytes={"model.pt": (step / "model.pt").stat().st_size})
    assert "is damaged (" in complaint(tmp_path)
