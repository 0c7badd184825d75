"""
Both directions of Hugging Face's form: what we save, transformers loads and computes the same; what it saves,
we load and compute the same. Random small configurations of every kind, fp32: two right answers differ by about 1e-6.
"""

import json
import random
from dataclasses import replace

import pytest
import torch

from bpe.bpe import Tokenizer
from gpt import checkpoint, hf
from gpt.deepseek import DeepSeekConfig
from gpt.kinds import build
from gpt.llama import Config
from gpt.model import GPTConfig

pytest.importorskip("safetensors")
pytestmark = pytest.mark.peer
TOLERANCE = 1e-4
TOKENIZER = Tokenizer([])


def drawn(kind, seed):
    """A small random configuration of a kind."""
    rng = random.Random(f"{kind}{seed}")
    heads = rng.choice([2, 3, 4])
    shared = dict(vocab_size=TOKENIZER.n_vocab, n_layer=rng.choice([2, 3]), n_head=heads, context=32)
    if kind == "gpt2":
        shared["block_size"] = shared.pop("context")
        return GPTConfig(**shared, n_embd=heads * rng.choice([4, 6]), bias=rng.random() < 0.7)
    shared |= dict(n_embd=rng.choice([12, 24]), n_hidden=rng.choice([20, 33]), tie=rng.random() < 0.5,
                   rope_theta=rng.choice([100.0, 1e4, 1e6]), norm_eps=rng.choice([1e-5, 1e-6]))
    if kind == "deepseek_v3":
        return DeepSeekConfig(**shared, kv_rank=rng.choice([8, 11]), q_rank=rng.choice([None, 9]), d_rope=4,
                              d_nope=rng.choice([4, 6]), d_value=rng.choice([4, 5]), n_expert=rng.choice([0, 8]),
                              top_k=rng.choice([2, 3]), n_expert_hidden=10, n_group=4 if seed else 1,
                              top_group=2 if seed else 1, first_dense=rng.choice([0, 1]), n_shared=rng.choice([1, 2]),
                              route_scale=2.5)
    return Config(**shared, n_kv_head=rng.choice([1, heads]), d_head=rng.choice([6, 8]), qk_norm=kind == "qwen3",
                  window=5 if kind == "mistral" or kind == "qwen3" and seed else None)


def randomized(config, seed=0):
    model, generator = build(config), torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=generator) + (p.dim() == 1)
    for name, b in model.named_buffers():
        if name.endswith("correction_bias"):
            b.data = 0.3 * torch.randn(b.shape, generator=generator)
    return model.eval()


def ids():
    return torch.randint(TOKENIZER.n_vocab, (3, 20), generator=torch.Generator().manual_seed(3))


def eager(folder):
    transformers = pytest.importorskip("transformers")
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    peer.config._experts_implementation = "eager"            # the grouped kernel wants sizes that are multiples of 16
    return peer.eval()


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
    peer, want = eager(tmp_path / "ours"), model(ids())[0].detach()
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
    model = randomized(GPTConfig(16, TOKENIZER.n_vocab, 2, 2, 8))
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
    transformers = pytest.importorskip("transformers")
    from bpe import template
    tokenizer = Tokenizer.train("the cat sat on the mat " * 50, 256 + 60)
    model = randomized(replace(drawn("qwen3", 0), vocab_size=tokenizer.n_vocab))
    hf.save_hf(model, tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "the cat"}]
    got = theirs.apply_chat_template(messages, add_generation_prompt=True)
    got = got if isinstance(got, list) else list(got["input_ids"])
    assert got == template.render(messages, tokenizer, for_reply=True)[0]
    assert eager(tmp_path).config.eos_token_id == tokenizer.specials["<|end|>"]


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
