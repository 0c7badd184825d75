"""
Both directions of Hugging Face's form: what we save, transformers loads and computes the same; what it saves,
we load and compute the same. Random small configurations of every kind, fp32: two right answers differ by about 1e-6.
"""

import json
from dataclasses import replace

import pytest
import torch

from bpe.bpe import Tokenizer
from gpt import checkpoint, hf, parity
from gpt.model import GPTConfig
from gpt.parity import drawn, ids, randomized, theirs

pytest.importorskip("safetensors")
pytest.importorskip("transformers")
pytestmark = pytest.mark.peer
TOLERANCE = 1e-4
TOKENIZER = Tokenizer([])                                    # a byte a token


kinds = pytest.mark.parametrize("kind", hf.NAMES)
seeds = pytest.mark.parametrize("seed", [0, 1, 2])


@kinds
@seeds
def test_what_we_save_transformers_computes_and_back(kind, seed, tmp_path):
    """Ours to theirs to ours: logits agree at each station, and the weights come back as they were."""
    config = drawn(kind, seed)
    model = randomized(config, seed)
    assert hf.model_type(config) == kind
    hf.save_hf(model, TOKENIZER, tmp_path / "ours", shard=9_000)                 # several files
    assert (tmp_path / "ours/model.safetensors.index.json").exists()
    peer, want = theirs(tmp_path / "ours"), model(ids())[0].detach()
    assert (peer(ids()).logits - want).abs().max() < TOLERANCE
    with torch.no_grad():                                    # teeth: one weight among thousands
        next(p for name, p in peer.named_parameters() if "norm" in name or "ln_f" in name).mul_(1.05)
    assert (peer(ids()).logits - want).abs().max() > 10 * TOLERANCE

    peer.save_pretrained(tmp_path / "theirs")
    again = hf.load_hf(tmp_path / "theirs")
    want = peer(ids()).logits.detach()
    assert (again(ids())[0] - want).abs().max() < TOLERANCE
    mine = hf.load_hf(tmp_path / "ours")
    assert all(torch.equal(x, mine.state_dict()[name]) for name, x in model.state_dict().items())
    if getattr(config, "bias", True) and getattr(config, "n_expert", True):      # others come back in another form
        assert mine.config == config


def test_the_first_gpt2_files_load(tmp_path):
    """Names without "transformer.", masks among the weights: as OpenAI's GPT-2 stands on the hub."""
    from safetensors.torch import load_file, save_file
    model = randomized(GPTConfig(16, parity.V, 2, 2, 8))
    hf.save_hf(model, None, tmp_path)
    weights = {name.removeprefix("transformer."): x for name, x in load_file(tmp_path / "model.safetensors").items()}
    weights |= {f"h.{n}.attn.bias": torch.ones(1, 1, 16, 16) for n in range(2)}
    save_file(weights, tmp_path / "model.safetensors")
    assert torch.equal(hf.load_hf(tmp_path)(ids()[:, :16])[0], model(ids()[:, :16])[0])


def test_layers_for_a_second_token_are_left_out(tmp_path):
    from safetensors.torch import load_file, save_file
    model = randomized(drawn("deepseek_v3", 1))
    hf.save_hf(model, None, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights[f"model.layers.{model.config.n_layer}.eh_proj.weight"] = torch.ones(4, 8)
    save_file(weights, tmp_path / "model.safetensors")
    assert torch.equal(hf.load_hf(tmp_path)(ids())[0], model(ids())[0])


def test_tokenizer_and_chat_template_travel(tmp_path):
    import transformers

    from bpe import template
    tokenizer = Tokenizer.train("the cat sat on the mat " * 50, 256 + 60)
    model = randomized(replace(drawn("qwen3", 0), vocab_size=tokenizer.n_vocab))
    hf.save_hf(model, tokenizer, tmp_path)
    peer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "the cat"}]
    got = peer.apply_chat_template(messages, add_generation_prompt=True)
    got = got if isinstance(got, list) else list(got["input_ids"])
    assert got == template.render(messages, tokenizer, for_reply=True)[0]
    assert theirs(tmp_path).config.eos_token_id == tokenizer.specials["<|end|>"]


REFUSED = {
    "another model": ({"model_type": "mamba"}, "only gpt2, llama"),
    "scaled positions": ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "scaled rotary"),
    "old name of it": ({"rope_parameters": None, "rope_scaling": {"type": "yarn"}}, "scaled rotary"),
    "biases": ({"attention_bias": True}, "biases"),
    "activation": ({"hidden_act": "gelu"}, "activation"),
    "a size that the weights lack": ({"intermediate_size": 21}, "another shape"),
    "a layer that the weights lack": ({"num_hidden_layers": 9}, "lacks"),
    "nothing said": ({"hidden_size": None}, "nothing of hidden_size"),
}


@pytest.mark.parametrize("change, says", REFUSED.values(), ids=REFUSED)
def test_what_we_would_compute_wrongly_is_refused(change, says, tmp_path):
    hf.save_hf(randomized(drawn("llama", 0)), None, tmp_path)
    made = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(made | change))
    with pytest.raises(ValueError, match=says) as caught:
        hf.load_hf(tmp_path)
    assert "\n" not in str(caught.value)


def test_hostile_and_broken_folders(tmp_path):
    with pytest.raises(ValueError, match="no config.json"):
        hf.load_hf(tmp_path)
    hf.save_hf(randomized(drawn("llama", 0)), None, tmp_path, shard=9_000)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "../../etc/passwd"}}))
    with pytest.raises(ValueError, match="outside"):
        hf.load_hf(tmp_path)
    index.unlink()
    with pytest.raises(ValueError, match="pickled"):
        hf.load_hf(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a header")
    with pytest.raises(ValueError, match="damaged"):
        hf.load_hf(tmp_path)


def test_the_script(tmp_path, capsys):
    model = randomized(drawn("qwen3", 0))
    checkpoint.save(tmp_path / "run", 1, model, TOKENIZER)
    hf.main(["--checkpoint", str(tmp_path / "run"), "--out", str(tmp_path / "hf")])
    assert "model.safetensors" in capsys.readouterr().out
    hf.main(["--load", str(tmp_path / "hf")])
    assert f"{sum(p.numel() for p in model.parameters()):,}" in capsys.readouterr().out
    for wrong in (["--load", str(tmp_path)], ["--checkpoint", str(tmp_path / "nothing")]):
        with pytest.raises(SystemExit) as stopped:
            hf.main(wrong)
        assert "\n" not in str(stopped.value.code) and stopped.value.code


def test_the_parity_table(capsys):
    parity.main(["--seeds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(hf.NAMES)
    assert all(float(x) < TOLERANCE for line in lines[1:-1] for x in line.split()[2:])
    assert float(lines[-1].split()[-1]) < 1e-10
