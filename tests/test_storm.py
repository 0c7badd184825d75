"""
A storm of kills: pretraining and fine-tuning, killed with SIGKILL at random instants, a third of them while a
checkpoint is being written, end on the bits of runs that nobody disturbed.

    python -m pytest tests/test_storm.py -m slow -s          # 60 kills; prints where each one fell
"""

import json
import random
import subprocess
import sys
import time

import pytest

from tests.runs import ONE_THREAD, ROOT, command, losses, make_data, run, weights

pytestmark = pytest.mark.slow
KILLS = 6                                                    # of one run; each of the ten storms below


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = make_data(tmp_path_factory.mktemp("data"))
    talk = [{"messages": [{"role": "user", "content": f"what sees the {animal}?"},
                          {"role": "assistant", "content": f"the {animal} {verb} a big {other}"}]}
            for animal in ("ant", "bee", "cat", "dog") for other in ("ant", "bee", "dog") for verb in ("likes", "eats")]
    for name in ("sft_train", "sft_valid"):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, talk)))
    return folder


@pytest.fixture(scope="module")
def stages(data, tmp_path_factory):
    """stage -> its command, given where to write; and what the undisturbed run has left."""
    out = tmp_path_factory.mktemp("whole")
    pretrain = lambda out: command(data, out, "--save-every", 1, "--dropout", 0.1)
    run(pretrain(out / "pretrain"))
    sft = lambda to: ["align/sft.py", "--checkpoint", out / "pretrain" / "run", "--data", data, "--out", to,
                      "--tokens", 10000, "--batch", 4, "--save-every", 1]
    run(sft(out / "sft"))
    return {"pretrain": (pretrain, out / "pretrain"), "sft": (sft, out / "sft")}


def kill(words, out, rng):
    """Start it and kill it at some instant; says where that fell, or that it came too late."""
    log, before = out / "log.csv", time.time()
    process = subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, env=ONE_THREAD,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    kind = rng.choice(["anywhere", "training", "writing"])
    if kind == "anywhere":
        time.sleep(rng.uniform(0, 4))
    else:
        while process.poll() is None and not (log.exists() and log.stat().st_mtime > before):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.3))
        while kind == "writing" and process.poll() is None and not list(out.glob("run/*.tmp")):
            pass
        time.sleep(rng.uniform(0, 0.003))
    ended = process.poll()
    process.kill()
    complaint = process.communicate()[1]
    assert ended in (None, 0), complaint                     # it never fails by itself
    torn = "half a checkpoint" if list(out.glob("run/*.tmp")) else "between checkpoints"
    return None if ended == 0 else f"{kind}: {torn}"


@pytest.mark.parametrize("stage, seed", [(stage, seed) for stage in ("pretrain", "sft") for seed in range(5)])
def test_a_storm_of_kills(stages, tmp_path, stage, seed):
    (start, whole), rng, fell = stages[stage], random.Random(f"{stage} {seed}"), []
    while len(fell) < KILLS:
        where = kill(start(tmp_path), tmp_path, rng)
        if where is None:                                    # it was done: begin another run
            check(tmp_path, whole)
            tmp_path = tmp_path / "again"
        else:
            fell.append(where)
    run(start(tmp_path))
    check(tmp_path, whole)
    print(f"\n{stage} {seed}: survived {len(fell)} kills: {', '.join(fell)}")


def check(out, whole):
    assert losses(out) == losses(whole) and weights(out) == weights(whole)
