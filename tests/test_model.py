"""
GPT-2 against transformers' GPT-2, and its own promises: causality, packed documents, its start, its error.
That its cached logits are those without a cache is in test_engine.py, with every other model.
"""

import pytest
import torch

from gpt import describe, model
from gpt.attention import plain, sdpa
from gpt.model import GPT, GPTConfig

SHAPES = {"typical": GPTConfig(16, 40, n_layer=2, n_head=4, n_embd=24),
          "one head": GPTConfig(9, 23, n_layer=3, n_head=1, n_embd=7),
          "no bias": GPTConfig(12, 31, n_layer=1, n_head=5, n_embd=10, bias=False)}
shapes = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
TRANSPOSED = "c_attn.weight", "c_proj.weight", "c_fc.weight"     # Hugging Face's Conv1D keeps (in, out)


def randomized(config, attend=sdpa):
    """Random in every parameter, float64: ones and zeros would hide what multiplies by them."""
    gpt, generator = GPT(config, attend).double().eval(), torch.Generator().manual_seed(0)
    for p in gpt.parameters():
        p.data = 0.3 * torch.randn(p.shape, dtype=torch.float64, generator=generator) + (p.dim() == 1)
    return gpt


def far(a, b):
    return (a - b).abs().max().item()


def ids_for(config, rows=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(config.vocab_size, (rows, config.block_size), generator=generator)


def theirs(gpt):
    """transformers' GPT-2 with the same weights."""
    transformers = pytest.importorskip("transformers")
    c = gpt.config
    config = transformers.GPT2Config(vocab_size=c.vocab_size, n_positions=c.block_size, n_embd=c.n_embd,
                                     n_layer=c.n_layer, n_head=c.n_head, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    peer = transformers.GPT2LMHeadModel(config).double().eval()
    weights = {name: x.T if name.endswith(TRANSPOSED) else x for name, x in gpt.state_dict().items()}
    missing, unknown = peer.load_state_dict(weights, strict=False)
    assert not unknown and all(name.endswith(".bias") for name in missing)       # its masks; ours without biases
    return peer


@pytest.mark.peer
@pytest.mark.parametrize("config", [SHAPES["typical"], SHAPES["one head"]], ids=["typical", "one head"])
@pytest.mark.parametrize("attend", [plain, sdpa])
def test_logits_are_those_of_transformers(config, attend):
    gpt, ids = randomized(config, attend), ids_for(config)
    want = theirs(gpt)(ids).logits.detach()
    assert far(gpt(ids)[0].detach(), want) < 1e-10
    for block in gpt.transformer.h:                          # teeth: nanoGPT's GELU is another function
        block.mlp.gelu = torch.nn.GELU()
    assert far(gpt(ids)[0].detach(), want) > 1e-6


@shapes
def test_no_position_sees_the_future(config):
    gpt, ids = randomized(config), ids_for(config)
    before = gpt(ids)[0].detach()
    for t in (1, config.block_size - 1):
        changed = ids.clone()
        changed[:, t] = (ids[:, t] + 1) % config.vocab_size
        after = gpt(changed)[0].detach()
        assert far(after[:, :t], before[:, :t]) < 1e-12 and far(after[:, t], before[:, t]) > 1e-3


@shapes
def test_packed_documents_are_separate_documents(config):
    gpt, ids = randomized(config), ids_for(config, 1)
    cut = config.block_size // 3
    doc = (torch.arange(config.block_size) >= cut).long()[None]
    positions = torch.cat([torch.arange(cut), torch.arange(config.block_size - cut)])[None]
    alone = torch.cat([gpt(ids[:, :cut])[0], gpt(ids[:, cut:])[0]], dim=1)
    assert far(gpt(ids, doc=doc, positions=positions)[0], alone) < 1e-12
    assert far(gpt(ids, positions=positions)[0], alone) > 1e-3


def test_it_starts_as_the_paper_says():
    """Loss ln V at step 0; 0.02 for matrices, 0.02/sqrt(2 n_layer) into the residual stream; tied; reproducible."""
    config = GPTConfig(64, 500, n_layer=8, n_head=4, n_embd=128)
    gpt = GPT(config, generator=torch.Generator().manual_seed(0))
    ids = ids_for(config, 8)
    assert abs(gpt(ids, ids.roll(-1, 1))[1].item() - torch.tensor(500.0).log().item()) < 0.05
    assert gpt.transformer.wte.weight is gpt.lm_head.weight
    block = gpt.transformer.h[3]
    assert abs(block.attn.c_attn.weight.std().item() / 0.02 - 1) < 0.05
    assert abs(block.mlp.c_proj.weight.std().item() / (0.02 / 4) - 1) < 0.05
    again = GPT(config, generator=torch.Generator().manual_seed(0)).state_dict()
    assert all(torch.equal(x, again[name]) for name, x in gpt.state_dict().items())


def test_masked_targets_do_not_count():
    gpt, ids = randomized(SHAPES["typical"]), ids_for(SHAPES["typical"])
    targets = ids.roll(-1, 1)
    targets[0] = -1
    logits, loss = gpt(ids, targets)
    p = logits[1].softmax(-1)[torch.arange(16), targets[1]]
    assert abs(loss.item() + p.log().mean().item()) < 1e-12


def test_more_tokens_than_positions():
    with pytest.raises(ValueError, match="17 tokens for a context of 16"):
        GPT(SHAPES["typical"])(torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(ValueError, match="no multiple"):
        GPTConfig(n_embd=10, n_head=3)


def test_it_is_gpt2_small(capsys):
    """124,439,808 parameters, as published weights have; 36 KiB of cache a token; the table adds up."""
    model.main([])
    table = capsys.readouterr().out
    assert "124,439,808" in table and "36,864 bytes" in table
    with torch.device("meta"):
        small = GPT(GPTConfig())
    assert sum(describe.by_part(small).values()) == small.get_num_params(non_embedding=False) == 124_439_808
    assert small.get_num_params() == 124_439_808 - 1024 * 768
    assert 6 * 124e6 < describe.flops(small) < 7 * 124e6
