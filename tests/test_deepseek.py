"""
Latent attention, mixtures of experts and the model made of both: against transformers' DeepSeek-V3, against slow
loops, and against each other (absorbed equals expanded). That its cached logits are those without a cache is in
test_engine.py, with every other model.

Float64, where two right answers differ by rounding alone: 1e-12 a piece, 1e-10 through a model. transformers keeps
its router in float32, hence 1e-5 there.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from gpt import describe
from gpt.attention import plain, sdpa
from gpt.deepseek import DeepSeek, DeepSeekConfig
from gpt.mla import rotate_pairs
from gpt.moe import Gate, MoE

SMALL = dict(vocab_size=40, n_layer=3, n_head=3, n_embd=20, n_hidden=28, context=16, kv_rank=10, d_nope=6, d_rope=4,
             d_value=5, tie=False)
EXPERTS = dict(n_expert=8, top_k=3, n_expert_hidden=9, route_scale=1.7)
SHAPES = {"latent": DeepSeekConfig(**SMALL), "latent queries": DeepSeekConfig(**SMALL, q_rank=7),
          "mixture": DeepSeekConfig(**SMALL, **EXPERTS), "two shared": DeepSeekConfig(**SMALL, **EXPERTS, n_shared=2),
          "groups": DeepSeekConfig(**SMALL, **EXPERTS, q_rank=7, n_group=4, top_group=2)}
shapes = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def randomize(module, std=0.3):
    """Every parameter and every bias of a gate random: ones and zeros would hide what they do."""
    for n, p in enumerate(module.parameters()):
        p.data = std * random(*p.shape, seed=n) + (p.dim() == 1)
    for n, (name, buffer) in enumerate(module.named_buffers()):
        if name.endswith("bias"):
            buffer.data = 0.2 * random(*buffer.shape, seed=n)
    return module.double().eval()


def far(a, b):
    return (a - b).abs().max().item()


IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [5, 3, 5, 8, 9, 7, 9, 39]])


# ----------------------------------------------------------------------------
# the whole model

def theirs(model):
    """transformers' DeepSeek-V3 with the same weights; its experts are stacked."""
    transformers = pytest.importorskip("transformers")
    c = model.config
    config = transformers.DeepseekV3Config(
        vocab_size=c.vocab_size, hidden_size=c.n_embd, intermediate_size=c.n_hidden, num_hidden_layers=c.n_layer,
        moe_intermediate_size=c.n_expert_hidden, num_attention_heads=c.n_head, num_key_value_heads=c.n_head,
        n_shared_experts=c.n_shared, n_routed_experts=c.n_expert or 8, routed_scaling_factor=c.route_scale,
        kv_lora_rank=c.kv_rank, q_lora_rank=c.q_rank, qk_rope_head_dim=c.d_rope, v_head_dim=c.d_value,
        qk_nope_head_dim=c.d_nope, n_group=c.n_group, topk_group=c.top_group, num_experts_per_tok=c.top_k,
        first_k_dense_replace=c.first_dense if c.n_expert else c.n_layer, rms_norm_eps=c.norm_eps,
        max_position_embeddings=c.context, rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
        num_nextn_predict_layers=0, attn_implementation="eager",
        experts_implementation="eager")
    peer = transformers.DeepseekV3ForCausalLM(config).double().eval()
    weights = dict(model.state_dict())
    for n, block in enumerate(model.model.layers):
        if not isinstance(block.mlp, MoE):
            continue
        name = f"model.layers.{n}.mlp.experts"
        weights = {key: x for key, x in weights.items() if not key.startswith(name)}
        weights[f"{name}.gate_up_proj"] = torch.stack([torch.cat([e.gate_proj.weight, e.up_proj.weight])
                                                       for e in block.mlp.experts])
        weights[f"{name}.down_proj"] = torch.stack([e.down_proj.weight for e in block.mlp.experts])
    peer.load_state_dict(weights)
    return peer


@pytest.mark.peer
@shapes
@pytest.mark.parametrize("attend", [plain, sdpa])
def test_logits_are_those_of_transformers(config, attend):
    model = randomize(DeepSeek(config, attend))
    want = theirs(model)(IDS).logits.detach()
    assert far(model(IDS)[0], want) < 1e-5
    if config.n_expert:                                      # teeth: a bias that weighs as well as chooses
        with torch.no_grad():
            for moe in model.mixtures:
                moe.gate.e_score_correction_bias.zero_()
        assert far(model(IDS)[0], want) > 1e-3


@shapes
def test_no_position_sees_the_future(config):
    model = randomize(DeepSeek(config))
    before = model(IDS)[0]
    for t in (1, 5, 7):
        changed = IDS.clone()
        changed[:, t] = 30
        after = model(changed)[0]
        assert far(after[:, :t], before[:, :t]) < 1e-12 and far(after[:, t], before[:, t]) > 1e-3


# ----------------------------------------------------------------------------
# latent attention

@pytest.mark.parametrize("config", [SHAPES["latent"], replace(SHAPES["latent"], n_head=1, kv_rank=3)], ids=["3", "1"])
def test_absorbed_equals_expanded(config):
    attention = randomize(DeepSeek(config).model.layers[0].self_attn)
    c, T, S = config, 4, 7
    q_nope, q_rope = random(2, c.n_head, T, c.d_nope), random(2, c.n_head, T, c.d_rope, seed=1)
    latent, k_rope = random(2, 1, S, c.kv_rank, seed=2), random(2, 1, S, c.d_rope, seed=3)
    masks = {"doc": torch.tensor([[0] * 3 + [1] * 4] * 2), "lengths": torch.tensor([7, 5])}
    want = attention.expanded(q_nope, q_rope, latent, k_rope, **masks)
    assert want.shape == (2, c.n_head, T, c.d_value)
    assert far(attention.absorbed(q_nope, q_rope, latent, k_rope, **masks), want) < 1e-12
    attend = attention.attend
    attention.attend = lambda q, k, v, **masks: attend(q * 0.9, k, v, **masks)   # teeth: another scale
    assert far(attention.absorbed(q_nope, q_rope, latent, k_rope, **masks), want) > 1e-3


def test_rotation_turns_neighbouring_pairs():
    x, angle = random(1, 1, 3, 4), random(3, 2, seed=1)
    got = rotate_pairs(x, angle.cos()[None, None], angle.sin()[None, None])[0, 0]      # (3, 4): first, then second
    z = torch.view_as_complex(x[0, 0].view(3, 2, 2).contiguous()) * torch.exp(1j * angle)
    assert far(got, torch.cat([z.real, z.imag], dim=-1)) < 1e-12


def test_the_cache_is_small():
    """DeepSeek-V2's figures: 60 layers of 512 + 64 numbers a token, 57 times less than 128 heads of 128."""
    table = "\n".join(describe.table())
    assert f"{60 * 576 * 2:,}" in table and f"{60 * 2 * 128 * 128 * 2:,}" in table and "56.9x" in table


# ----------------------------------------------------------------------------
# the mixture

def choice(gate, x):
    """{expert: share} of one token, by loops over what sections 2.1.2 and 2.1.3 say."""
    c, s = gate.config, [float(torch.sigmoid(w @ x)) for w in gate.weight.detach()]
    wish = [a + float(b) for a, b in zip(s, gate.e_score_correction_bias)]
    size = c.n_expert // c.n_group
    groups = [list(range(g * size, (g + 1) * size)) for g in range(c.n_group)]
    best = sorted(groups, key=lambda g: -sum(sorted(wish[e] for e in g)[-2:]))[:c.top_group]
    chosen = sorted((e for g in best for e in g), key=lambda e: -wish[e])[:c.top_k]
    return {e: c.route_scale * s[e] / sum(s[i] for i in chosen) for e in chosen}


@pytest.mark.parametrize("name", ["mixture", "groups"])
def test_gate_and_mixture_by_loops(name):
    moe, x = randomize(MoE(SHAPES[name]), std=1.0), random(1, 9, 20)
    share, expert, _ = moe.gate(x[0])
    for n in range(9):
        want = choice(moe.gate, x[0, n])
        got = dict(zip(expert[n].tolist(), share[n].tolist()))
        assert set(got) == set(want) and all(abs(got[e] - want[e]) < 1e-12 for e in want)
    want = torch.stack([sum(s * moe.experts[e](t) for e, s in choice(moe.gate, t).items()) for t in x[0]])
    assert far(moe(x)[0], want + moe.shared_experts(x[0])) < 1e-12


def test_gradients_reach_gate_and_experts_but_not_the_bias():
    moe = randomize(MoE(SHAPES["mixture"]), std=1.0).train()
    moe(random(1, 50, 20)).pow(2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in moe.parameters())
    assert not moe.gate.e_score_correction_bias.requires_grad


def unevenness(moe, x):
    """Tokens of the busiest expert over the mean, minus 1: MaxVio of Wang et al. 2024, eq. 4"""
    load = moe.gate(x)[1].flatten().bincount(minlength=moe.config.n_expert).double()
    return float(load.max() / load.mean() - 1)


def test_bias_evens_the_work_and_touches_no_share():
    """A gate that prefers two experts; after 300 nudges of 0.005 all are busy, and no affinity has moved."""
    moe, x = randomize(MoE(SHAPES["mixture"]), std=0.3).train(), random(1, 400, 20)
    with torch.no_grad():
        moe.gate.e_score_correction_bias.zero_()
        moe.gate.e_score_correction_bias[:2] = 0.5
    before, affinity = unevenness(moe, x[0]), moe.gate(x[0])[2]
    for _ in range(300):
        moe(x)
        share = moe.balance(5e-3)
    assert before > 0.9 and unevenness(moe, x[0]) < 0.1, (before, unevenness(moe, x[0]))
    assert abs(share.sum().item() - 1) < 1e-6 and moe.load.sum() == 0
    assert torch.equal(moe.gate(x[0])[2], affinity)


def test_auxiliary_loss_is_least_when_even_and_evens_the_work():
    config = replace(SHAPES["mixture"], balance="loss")
    moe = MoE(config).double()
    even, skewed = torch.full((8,), 3), torch.tensor([24, 0, 0, 0, 0, 0, 0, 0])
    flat = torch.ones(4, 8).double()
    peaked = flat.clone()
    peaked[:, 0] = 9.0
    assert abs(moe.unevenness(even, flat).item() - 1) < 1e-12
    assert moe.unevenness(skewed, peaked) > 4 > moe.unevenness(even, peaked) > 0.99
    torch.manual_seed(0)
    moe, x = randomize(MoE(config), std=0.3).train(), random(1, 400, 20)
    moe.gate.e_score_correction_bias.zero_()
    before = unevenness(moe, x[0])
    optimizer = torch.optim.Adam([moe.gate.weight], lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        moe(x)
        moe.penalty.backward()
        optimizer.step()
    assert unevenness(moe, x[0]) < before / 2
    assert torch.equal(moe.balance(1.0) * 0, torch.zeros(8)) and not moe.gate.e_score_correction_bias.any()


def test_loss_carries_the_penalty_in_training_alone():
    model = randomize(DeepSeek(replace(SHAPES["mixture"], balance="loss", balance_weight=0.5)))
    targets = IDS.roll(-1, 1)
    bare = model(IDS, targets)[1]
    loss = model.train()(IDS, targets)[1]
    assert abs(loss - bare - 0.5 * sum(moe.penalty for moe in model.mixtures)) < 1e-12 and loss > bare + 0.5


@pytest.mark.parametrize("wrong", [dict(top_k=9), dict(n_group=3), dict(n_group=8, top_group=2), dict(d_rope=3),
                                   dict(balance="hope")], ids=str)
def test_impossible_shapes(wrong):
    with pytest.raises(ValueError, match="self"):
        replace(SHAPES["mixture"], **wrong)


def test_parameters_that_a_token_uses():
    model = DeepSeek(SHAPES["mixture"])
    used = 3 + 1                                             # experts a token uses, of 8 and a shared one
    expert = 3 * 20 * 9
    assert describe.idle(model) == 2 * (8 + 1 - used) * expert
    assert sum(describe.by_part(model).values()) == sum(p.numel() for p in model.parameters())
