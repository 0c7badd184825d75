"""Attention maps: the weights are those that the model uses, planted heads get their names, the page holds its data."""

import json
import re

import pytest
import torch

from bpe.bpe import Tokenizer
from gpt import checkpoint, maps
from gpt.attention import plain, sdpa
from gpt.kinds import build
from gpt.llama import Config, Llama
from gpt.lookback import look_back
from gpt.model import GPTConfig

TOKENIZER = Tokenizer([])
SHAPES = [Config(TOKENIZER.n_vocab, n_layer=2, n_head=4, n_kv_head=2, n_embd=16, n_hidden=24, context=64, window=6),
          GPTConfig(64, TOKENIZER.n_vocab, n_layer=2, n_head=2, n_embd=8)]


@pytest.mark.parametrize("config", SHAPES, ids=["llama", "gpt2"])
def test_weights_are_those_that_the_model_uses(config):
    """With them in place of its attention the model says the same; the model is as before afterwards."""
    model, idx = build(config).double().eval(), torch.randint(200, (2, 12), generator=torch.Generator().manual_seed(0))
    for n, p in enumerate(model.parameters()):
        p.data += 0.3 * torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(n))
    before = model(idx)[0]
    found = maps.attention_maps(model, idx)
    assert found.shape == (2, 2, config.n_head, 12, 12) and found.triu(1).abs().max() == 0
    torch.testing.assert_close(found.sum(-1), torch.ones_like(found[..., 0]))
    modules = [m for m in model.modules() if hasattr(m, "attend")]
    assert all(m.attend is sdpa for m in modules)
    for m, weights in zip(modules, found):
        m.attend = lambda q, k, v, weights=weights, **_: weights @ v.repeat_interleave(q.size(1) // v.size(1), dim=1)
    torch.testing.assert_close(model(idx)[0], before, rtol=0, atol=1e-12)


class Planted(torch.nn.Module):
    """A layer of four heads with one-hot queries and keys: previous, induction, duplicate, and one that sees itself."""

    def __init__(self):
        super().__init__()
        self.attend, self.config = plain, Config(50, context=64)

    def forward(self, idx):
        B, T = idx.shape
        word = 60 * torch.nn.functional.one_hot(idx, 80).float()                  # (B, T, 80)
        place = 60 * torch.nn.functional.one_hot(torch.arange(T), 80).float().expand(B, T, 80)
        before = torch.nn.functional.pad(place, (0, 0, 1, 0))[:, :-1]             # a key that says whom it follows
        after = torch.nn.functional.pad(word, (0, 0, 1, 0))[:, :-1]
        q = torch.stack([before, word, word, place], dim=1)
        k = torch.stack([place, after, word, place], dim=1)
        self.attend(q, k, k)


def test_planted_heads_get_their_names():
    scores = maps.kinds(Planted(), 50, length=20)
    assert [round(x.item(), 1) for x in scores["induction"][0]] == [0.0, 1.0, 0.0, 0.0]
    assert scores["previous"][0, 0] > 0.95 and scores["previous"][0, 1:].max() < 0.1
    assert scores["duplicate"][0, 2] > 0.45 > 0.1 > scores["duplicate"][0, [0, 1, 3]].max()   # it sees itself as well


def test_a_head_that_was_set_to_look_back_is_found():
    model = Llama(Config(300, n_layer=2, n_head=4, n_kv_head=4, n_embd=64, n_hidden=64, context=64),
                  generator=torch.Generator().manual_seed(0))
    look_back(model, torch.Generator().manual_seed(0))
    previous = maps.kinds(model, 300)["previous"]
    assert previous[0, :2].min() > 2 * previous[0, 2:].max()


def test_page_and_picture(tmp_path, capsys):
    checkpoint.save(tmp_path / "run", 1, build(SHAPES[0]), TOKENIZER)
    hostile = "a</script><b>&amp; \u2028 Zoë"
    run, out = str(tmp_path / "run"), str(tmp_path / "out")
    maps.main(["--checkpoint", run, "--text", hostile, "--out", out, "--no-picture"])
    text = (tmp_path / "out/maps.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 1
    data = json.loads(re.search(r"const data = (\{.*\}) {2,}//", text)[1])
    assert data["tokens"][0] == "<|bos|>" and len(data["maps"]) == 2 and len(data["maps"][0]) == 4
    assert all(len(row) == len(data["tokens"]) ** 2 for heads in data["maps"] for row in heads)
    pytest.importorskip("matplotlib")
    maps.main(["--checkpoint", run, "--text", "abc", "--out", out])
    assert (tmp_path / "out/maps.png").stat().st_size > 5000 and "layer 1" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no checkpoint"):
        maps.main(["--checkpoint", str(tmp_path / "nothing")])
