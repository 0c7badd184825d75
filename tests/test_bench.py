"""The engine's benchmark, smallest setting: every way is measured, and metrics.json says what was printed."""

import json

import pytest
import torch

from gpt import bench
from gpt.engine import generate
from gpt.int8 import quantize
from gpt.kinds import build
from tests.test_engine import TOKENIZER, model_of, prompts, variants


def test_it_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "memory_speed", lambda: 1e10)
    bench.main(["--shape", "tiny", "--tokens", "3", "--prompt", "4", "--rounds", "1", "--batch", "1", "3", "--no-peer",
                "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("float32", "frozen"))] == ["float32", "frozen"] * 2
    made = json.loads((tmp_path / "metrics.json").read_text())
    assert made["schema"] == 1 and made["script"] == "gpt/bench.py"
    for B in (1, 3):
        for way in ("float32", "frozen"):
            for unit in ("first_token_seconds", "decode_tokens_per_second", "bytes_per_second"):
                assert made["numbers"][f"tiny_{way}_batch{B}_{unit}"] > 0


@pytest.mark.peer
def test_beside_transformers(tmp_path, capsys, monkeypatch):
    pytest.importorskip("transformers")
    pytest.importorskip("safetensors")
    monkeypatch.setattr(bench, "memory_speed", lambda: 1e10)
    bench.main(["--shape", "tiny", "--tokens", "3", "--prompt", "4", "--rounds", "1", "--batch", "2",
                "--out", str(tmp_path)])
    assert capsys.readouterr().out.count("transformers") >= 2
    assert json.loads((tmp_path / "metrics.json").read_text())["numbers"][
        "tiny_transformers_float32_batch2_decode_tokens_per_second"] > 0


@variants
def test_a_prompt_costs_one_row_of_the_head(config):
    """Of a prompt's T positions only the last is asked what comes next; without counts all are."""
    model, seen = model_of(config), []
    model.lm_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].size(1)))
    generate(model, TOKENIZER, prompts(3), 2, tools=None)
    assert set(seen) == {1}
    assert model(torch.tensor([[65, 66, 67]]))[0].shape == (1, 3, config.vocab_size) and seen[-1] == 3


def test_bytes_are_those_of_the_matrices():
    """Every matrix once, the head among them though it is tied to the embedding; int8 a quarter."""
    config = bench.SHAPES["tiny"]
    model = build(config)
    C, N, V = config.n_embd, config.n_hidden, config.vocab_size
    assert bench.matrix_bytes(model) == 4 * (config.n_layer * (4 * C * C + 3 * C * N) + V * C)
    quantize(model)
    assert bench.matrix_bytes(model) == config.n_layer * (4 * C * C + 3 * C * N) + V * C
    assert bench.memory_speed(size=1 << 16, times=1) > 0 and torch.is_grad_enabled()


@pytest.mark.parametrize("wrong", [["--batch", "0"], ["--tokens", "-1"], ["--shape", "tiny", "--prompt", "64"],
                                   ["--shape", "small", "--checkpoint", "nothing/here"]])
def test_mistakes_end_in_one_line(wrong):
    with pytest.raises(SystemExit) as stopped:
        bench.main(wrong)
    assert stopped.value.code == 2 or "\n" not in str(stopped.value.code)
