"""
A model that starts with heads on the previous token: they look there at any position and whatever the
tokens are, and the rest of the model is as it was.
"""

import json

import pytest
import torch

from bpe.bpe import Tokenizer
from gpt.attention import plain
from gpt.llama import Config, Llama
from gpt.lookback import look_back
from train import copying

CONFIGS = [Config(vocab_size=61, n_layer=2, n_head=4, n_kv_head=4, n_embd=96, n_hidden=64, context=64, qk_norm=True),
           Config(vocab_size=61, n_layer=1, n_head=6, n_kv_head=3, n_embd=96, n_hidden=64, d_head=32, qk_norm=True)]


def weights_of_attention(model, ids):
    """(H, T, T) of the first layer: the definition of attention with the identity for values"""
    seen = []

    def spy(q, k, v, **options):
        T = k.size(2)
        eye = torch.eye(T, dtype=v.dtype).expand(len(k), k.size(1), T, T)
        seen.append(plain(q, k, eye, **options)[0])
        return plain(q, k, v, **options)

    model.model.layers[0].self_attn.attend = spy
    model(ids)
    return seen[0]


@pytest.mark.parametrize("config", CONFIGS, ids=["heads", "grouped"])
def test_half_the_heads_look_at_the_previous_token(config):
    generator = torch.Generator().manual_seed(0)
    model, untouched = (Llama(config, generator=torch.Generator().manual_seed(1)).double() for _ in range(2))
    look_back(model, generator)
    ids = torch.randint(config.vocab_size, (1, 40), generator=generator)
    back = max(1, config.n_kv_head // 2) * config.n_head // config.n_kv_head
    with torch.no_grad():
        weights, before = weights_of_attention(model, ids), weights_of_attention(untouched, ids)
    t = torch.arange(1, 40)
    here = weights[:, t, t - 1]                                                   # (H, T - 1)
    assert (weights[:back, 1:].argmax(-1) == t - 1).all() and here[:back].mean() > 0.4
    assert here[back:].mean() < 0.2 and before[:, t, t - 1].mean() < 0.2           # teeth: by itself no head does
    for (name, a), (_, b) in zip(model.named_parameters(), untouched.named_parameters()):
        changed = name in ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
                           "model.layers.0.self_attn.k_proj.weight")
        assert torch.equal(a, b) != changed, name


def test_it_still_starts_as_a_uniform_guess():
    """All embeddings share the new vector, so it moves all logits alike and the guess stays near uniform."""
    model = Llama(CONFIGS[0], generator=torch.Generator().manual_seed(1))
    look_back(model, torch.Generator().manual_seed(0))
    ids = torch.arange(60)[None]
    _, loss = model(ids, ids.roll(-1, 1))
    assert abs(loss.item() - torch.tensor(61.).log().item()) < 0.1


def test_copying_script(tmp_path):
    """At its smallest setting it runs, and writes a loss for each of the two starts."""
    Tokenizer.train(["Repeat exactly: red house 12 fox. Copy: one two three"] * 3, 320).save(tmp_path / "tokenizer")
    folders = ["--tokenizer", str(tmp_path / "tokenizer"), "--out", str(tmp_path / "out")]
    copying.main([*folders, "--steps", "3", "--width", "32"])
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())["numbers"]
    assert set(numbers) == {"plain_loss_nats", "look_back_loss_nats"} and all(0 < x < 8 for x in numbers.values())
