"""
The whole speedrun in miniature, as a user starts it: every stage, the report, a question in the terminal.
Once with all that is installed, once with every package beyond the six of requirements.txt blocked.
"""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from train import stage

ROOT = Path(__file__).resolve().parent.parent
STAGES = ["corpus", "tokenizer", "shards", "pretrain", "sft", "eval_arithmetic", "eval_science",
          "eval_fiction", "lesson"]

BLOCKER = '''
import sys
ALLOWED = {allowed!r}

class Blocker:
    """Refuses every package that is neither Python's own, nor one of the six or what they need, nor ours."""
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if path is None and top not in ALLOWED and top not in sys.stdlib_module_names and top[0] != "_":
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)

sys.meta_path.insert(0, Blocker())
'''


def closure(names):
    """The distributions that these need, directly or not, themselves included."""
    found = set()
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in found:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        names += [re.match(r"[\w.-]+", need)[0] for need in needs if "extra ==" not in need]
    return found


def allowed():
    """Top-level modules of the six packages and of what they need, and our own folders."""
    six = closure(["numpy", "torch", "triton", "pytest", "regex", "tqdm"])
    modules = {module for module, owners in metadata.packages_distributions().items()
               if any(re.sub(r"[-_.]+", "-", owner).lower() in six for owner in owners)}
    return modules | {path.parent.name for path in ROOT.glob("*/__init__.py")}


def speedrun(out, *command, **env):
    plain = {key: value for key, value in os.environ.items() if key != "DATA_MIRROR"}
    env = {**plain, "OUT": str(out), "SIZE": "mini", "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(["bash", "run.sh", *command], cwd=ROOT, env=env, capture_output=True, text=True,
                          timeout=900, input="What is 12 + 30?\n/quit\n")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    if not (ROOT / ".venv/bin/python").exists():
        pytest.skip("run.sh makes its own .venv: bash run.sh setup")
    out = tmp_path_factory.mktemp("out")
    speedrun(out)
    return out


def test_every_stage_and_the_report(out):
    run = out / "tinyworld"
    for name in STAGES:
        assert json.loads((run / name / "done.json").read_text())["seconds"] > 0
    report = json.loads((out / "report.json").read_text())
    assert {s["name"] for s in report["stages"]} >= set(STAGES)
    scores = report["scores"]
    assert all(0 <= scores[key] <= 1 for key in ("gsm8k_tiny", "gsm8k_tiny_no_tool", "science_choice"))
    assert scores["gsm8k_first200"] is None                # no real data in this run
    assert 0.35 < scores["fiction_floor_bits_per_byte"] < 1.2 < scores["fiction_bits_per_byte"]
    assert report["total_seconds"] > 1 and report["peak_memory_bytes"] > 1e8
    assert "<html" in (out / "report.html").read_text() and (out / "report.md").stat().st_size > 1000
    first = float((run / "pretrain/log.csv").read_text().splitlines()[1].split(",")[3])
    last = json.loads((run / "pretrain/metrics.json").read_text())["numbers"]["valid_loss_nats"]
    assert last < first - 1                                # it has learned something
    ledger = json.loads((run / "sft/metrics.json").read_text())["canaries"]
    assert set(ledger) >= {"before", "after", "difference"} and "ends" in ledger["after"]


def test_what_is_done_is_skipped_and_what_changed_is_redone(out):
    again = speedrun(out)
    assert all(f"== {name}: done" in again for name in STAGES)
    done = out / "tinyworld/sft/done.json"
    done.unlink()                                          # as after a kill just before the end
    again = speedrun(out)
    assert "== pretrain: done" in again and "continuing" in again and "== eval_science: done" in again


def test_chat_in_the_terminal_and_progress(out):
    answer = speedrun(out, "chat", "--temperature", "0")
    assert "Traceback" not in answer and len(answer) > 40
    assert "gpt" in speedrun(out, "progress")


def test_on_the_six_packages_alone(tmp_path, out):
    """tokenize, train, fine-tune, evaluate, report and chat with everything else blocked."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(allowed=allowed()))
    blocked = {"PYTHONPATH": str(tmp_path)}
    refused = subprocess.run([ROOT / ".venv/bin/python", "-c", "import matplotlib"], env={**os.environ, **blocked},
                             capture_output=True, text=True, timeout=100)
    assert refused.returncode and "No module named" in refused.stderr
    speedrun(tmp_path / "out", **blocked)
    speedrun(tmp_path / "out", "chat", **blocked)
    assert "matplotlib" in (tmp_path / "out/report.html").read_text()   # says what the plots would need


# ----------------------------------------------------------------------------
# the stage runner

@pytest.fixture
def two_stages(tmp_path):
    """A stage b that reads a stage a; each run appends a line, so that runs can be counted."""
    script = tmp_path / "write.py"
    script.write_text("import sys, pathlib\nf = pathlib.Path(sys.argv[1]) / 'runs'\n"
                      "f.write_text((f.read_text() if f.exists() else '') + 'x')\n"
                      "sys.exit(int(sys.argv[2]))\n")

    def run(name, *inputs, code=0):
        folder = tmp_path / name
        stage.main([str(folder), *(str(tmp_path / i) for i in inputs), "--",
                    sys.executable, str(script), str(folder), str(code)])
        return (folder / "runs").read_text()
    run.script, run.folder = script, tmp_path
    return run


def test_stages(two_stages, monkeypatch):
    monkeypatch.setattr(stage, "ROOT", two_stages.folder)
    with pytest.raises(SystemExit, match="is not finished"):
        two_stages("b", "a")
    assert two_stages("a") == "x" and two_stages("b", "a") == "x"
    assert two_stages("a") == "x" and two_stages("b", "a") == "x"          # skipped
    two_stages.script.write_text(two_stages.script.read_text() + "# changed\n")
    with pytest.raises(SystemExit, match="stopped with exit code 3"):
        two_stages("a", code=3)
    with pytest.raises(SystemExit):
        two_stages("a", code=3)                                            # started again as it stands
    assert (two_stages.folder / "a/runs").read_text() == "xx"
    assert two_stages("a") == "x" and two_stages("b", "a") == "x"          # redone from nothing, and what reads it


def test_a_stage_in_progress_is_left_alone(two_stages, monkeypatch):
    import fcntl
    monkeypatch.setattr(stage, "ROOT", two_stages.folder)
    with open(two_stages.folder / ".a.lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="another run is at work"):
            two_stages("a")
