"""
The model against three witnesses: each piece and the whole block against loops in numpy, written here
from the papers' formulas; the whole model against transformers' Llama and Qwen3; and the properties
that any such model has. Float64 where the witness allows it: two right answers then differ by rounding
alone, about 1e-15 a sum, so that 1e-12 (1e-10 through a whole model) still convicts a wrong term.
Each comparison also turns down plausible wrong answers.

B = batch, T = time, S = keys, C = channels, H = query heads, G = key/value heads, D = channels of a head
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gpt import fused
from gpt.attention import plain, sdpa
from gpt.llama import MLP, Block, Config, Llama, RMSNorm, rotate, turns

VARIANTS = {
    "llama": Config(40, n_layer=2, n_head=4, n_kv_head=4, n_embd=24, n_hidden=20, context=16, tie=False),
    "tied, grouped": Config(40, n_layer=3, n_head=6, n_kv_head=2, n_embd=24, n_hidden=36, context=16, rope_theta=500.0),
    "qwen3": Config(40, n_layer=2, n_head=4, n_kv_head=1, n_embd=20, n_hidden=28, context=16, d_head=8, qk_norm=True),
    "window": Config(40, n_layer=2, n_head=2, n_kv_head=2, n_embd=12, n_hidden=20, context=16, window=3),
}
variants = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def randomize(module, std=0.3):
    """Every parameter random, norm weights too: zeros and ones would hide what multiplies by them."""
    for n, p in enumerate(module.parameters()):
        p.data = std * random(*p.shape, seed=n) + (p.dim() == 1)
    return module


def far(a, b):
    return (torch.as_tensor(a) - torch.as_tensor(b)).abs().max().item()


def close(a, b, atol=1e-12):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=0, atol=atol)


# ----------------------------------------------------------------------------
# the witness: one sequence at a time, in numpy, with loops

def np_norm(x, weight, eps):
    return np.stack([row / np.sqrt(np.mean(row**2) + eps) * weight for row in x])


def np_rope(x, positions, theta):
    """x (T, D): channels i and i + D/2 are one complex number, turned by t theta^(-2i/D)."""
    D = x.shape[1]
    z = x[:, :D // 2] + 1j * x[:, D // 2:]
    z = z * np.exp(1j * np.outer(positions, theta ** (-2.0 * np.arange(D // 2) / D)))
    return np.concatenate([z.real, z.imag], axis=1)


def np_attention(q, k, v, sees):
    """q (H, T, D), k and v (G, S, D);  sees(t, s): may query t see key s?"""
    H, T, D = q.shape
    y = np.zeros_like(q)
    for h in range(H):
        g = h * len(k) // H                                  # neighbouring query heads share a key head
        for t in range(T):
            keys = [s for s in range(k.shape[1]) if sees(t, s)]
            score = np.array([q[h, t] @ k[g, s] for s in keys]) / np.sqrt(D)
            weight = np.exp(score - score.max())
            y[h, t] = sum(w * v[g, s] for w, s in zip(weight / weight.sum(), keys))
    return y


def np_mlp(x, w):
    gate = x @ w["gate_proj.weight"].T
    return (gate / (1 + np.exp(-gate)) * (x @ w["up_proj.weight"].T)) @ w["down_proj.weight"].T


def np_block(x, w, config, positions):
    """x (T, C), as in Touvron et al. 2023, section 2.2, https://arxiv.org/abs/2302.13971"""
    w = {name: p.detach().numpy() for name, p in w.items()}
    sub = lambda part: {name[len(part) + 1:]: p for name, p in w.items() if name.startswith(part + ".")}  # noqa: E731
    a, D, eps = sub("self_attn"), config.d_head, config.norm_eps

    def heads(kind, y):
        out = []
        for one in np.split(y @ a[f"{kind}_proj.weight"].T, a[f"{kind}_proj.weight"].shape[0] // D, axis=1):
            if config.qk_norm and kind != "v":
                one = np_norm(one, a[f"{kind}_norm.weight"], eps)
            out.append(one if kind == "v" else np_rope(one, positions, config.rope_theta))
        return np.stack(out)                                                      # (heads, T, D)

    y = np_norm(x, w["input_layernorm.weight"], eps)
    window = config.window or len(x)
    y = np_attention(heads("q", y), heads("k", y), heads("v", y), lambda t, s: t - window < s <= t)
    x = x + np.concatenate(list(y), axis=1) @ a["o_proj.weight"].T
    return x + np_mlp(np_norm(x, w["post_attention_layernorm.weight"], eps), sub("mlp"))


def np_model(model, ids):
    w = model.state_dict()
    x = w["model.embed_tokens.weight"][ids].numpy()
    for block in model.model.layers:
        x = np_block(x, block.state_dict(), model.config, np.arange(len(ids)))
    return np_norm(x, w["model.norm.weight"].numpy(), model.config.norm_eps) @ w["lm_head.weight"].numpy().T


# ----------------------------------------------------------------------------
# the pieces

@pytest.mark.parametrize("shape", [(2, 3, 8), (1, 5), (7, 1)], ids=str)
def test_rms_norm(shape):
    norm, x = randomize(RMSNorm(shape[-1], 1e-3).double()), random(*shape)
    want = np_norm(x.reshape(-1, shape[-1]).numpy(), norm.weight.detach().numpy(), 1e-3).reshape(shape)
    close(norm(x).detach(), want)
    with torch.no_grad():
        close(norm(x), want)                                 # another path: torch's kernel
        wrong = [F.layer_norm(x, shape[-1:], norm.weight, eps=1e-3), norm(x) / norm.weight,
                 x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-3) * norm.weight]  # eps outside the root
    assert all(far(answer, want) > 1e-5 for answer in wrong)


def test_rope():
    x, positions = random(1, 2, 5, 6), torch.tensor([0, 1, 2, 7, 100])
    want = np.stack([np_rope(head, positions.numpy(), 500.0) for head in x[0].numpy()])[None]
    close(rotate(x, *turns(positions, 6, 500.0)), want)
    cos, sin = turns(positions, 6, 500.0)
    interleaved = rotate(x.unflatten(-1, (3, 2)).transpose(-1, -2).flatten(-2), cos, sin)
    assert min(far(interleaved, want), far(rotate(x, cos, -sin), want),
               far(rotate(x, *turns(positions + 1, 6, 500.0)), want)) > 1e-2


def test_rope_depends_only_on_the_distance():
    """<rotate(q, t), rotate(k, s)> is the same for every pair with the same t - s, and differs with it."""
    q, k = random(1, 1, 1, 8), random(1, 1, 1, 8, seed=1)

    def product(t, s):
        q_t, k_s = (rotate(x, *turns(torch.tensor([at]), 8, 100.0)) for x, at in ((q, t), (k, s)))
        return (q_t * k_s).sum().item()

    for t, s in [(0, 0), (5, 2), (3, 9)]:
        assert all(abs(product(t + shift, s + shift) - product(t, s)) < 1e-12 for shift in (1, 17, 1000))
    assert abs(product(5, 2) - product(5, 3)) > 1e-3


def test_positions_may_be_given_per_row():
    positions = torch.tensor([[0, 1, 2], [5, 0, 1]])
    x = random(2, 2, 3, 4)
    together = rotate(x, *turns(positions, 4, 10.0))
    for b in range(2):
        close(together[b:b + 1], rotate(x[b:b + 1], *turns(positions[b], 4, 10.0)), atol=0)


def test_swiglu():
    mlp, x = randomize(MLP(VARIANTS["llama"]).double()), random(5, 24)
    w = {name: p.detach().numpy() for name, p in mlp.named_parameters()}
    want = np_mlp(x.numpy(), w)
    close(mlp(x).detach(), want)
    swapped = np_mlp(x.numpy(), w | {"gate_proj.weight": w["up_proj.weight"], "up_proj.weight": w["gate_proj.weight"]})
    gelu = mlp.down_proj(F.gelu(mlp.gate_proj(x)) * mlp.up_proj(x)).detach()
    assert min(far(swapped, want), far(gelu, want)) > 1e-2


MASKS = {
    "causal": {},
    "all": {"causal": False},
    "window": {"window": 2},
    "documents": {"doc": torch.tensor([[0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 1, 1]])},
    "lengths": {"lengths": torch.tensor([4, 6])},
    "window and lengths": {"window": 3, "lengths": torch.tensor([6, 5])},
}


def seen(b, T, S, causal=True, window=None, doc=None, lengths=None):
    """visible() in words, for the witness: may query t of row b see key s?"""
    end = S if lengths is None else int(lengths[b])

    def sees(t, s):
        t = end - T + t                                      # where the query stands among the keys
        return (s < end and (not causal or s <= t) and (window is None or s > t - window)
                and (doc is None or doc[b, t] == doc[b, s]))
    return sees


@pytest.mark.parametrize("attend", [plain, sdpa])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("T", [1, 3, 6])
@pytest.mark.parametrize("H, G", [(4, 4), (4, 2), (3, 1)])
def test_attention(attend, mask, T, H, G):
    T = min(T, mask.get("lengths", torch.tensor(6)).min())   # no more queries than keys
    q, k, v = random(2, H, T, 4), random(2, G, 6, 4, seed=1), random(2, G, 6, 4, seed=2)
    want = np.stack([np_attention(*(x[b].numpy() for x in (q, k, v)), seen(b, T, 6, **mask)) for b in range(2)])
    close(attend(q, k, v, **mask), want)


@pytest.mark.parametrize("name, wrong", [
    ("heads shared in turn, not in blocks", lambda q, k, v: plain(q, k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1))),
    ("no scale", lambda q, k, v: plain(q * 2, k, v)),
    ("sees the future", lambda q, k, v: plain(q, k, v, causal=False)),
    ("does not see itself", lambda q, k, v: torch.cat([v[:, :1].expand(-1, 4, -1, -1)[:, :, :1],
                                                       plain(q[:, :, 1:], k[:, :, :5], v[:, :, :5])], 2)),
    ("a window one too wide", lambda q, k, v: plain(q, k, v, window=5)),
])
def test_attention_has_teeth(name, wrong):
    q, k, v = random(1, 4, 6, 4), random(1, 2, 6, 4, seed=1), random(1, 2, 6, 4, seed=2)
    window = 4 if "window" in name else None
    want = np_attention(q[0].numpy(), k[0].numpy(), v[0].numpy(), seen(0, 6, 6, window=window))
    assert far(wrong(q, k, v)[0], want) > 1e-2


@variants
def test_block(config):
    block, x = randomize(Block(config, plain).double()), random(7, config.n_embd)
    positions = torch.tensor([3, 4, 5, 6, 7, 8, 9])
    want = np_block(x.numpy(), block.state_dict(), config, positions.numpy())
    cos, sin = turns(positions, config.d_head, config.rope_theta)
    close(block(x[None], cos, sin)[0].detach(), want)
    attended = x + block.self_attn(x[None], cos, sin)[0]
    no_norm = attended + block.mlp(block.post_attention_layernorm(attended))
    attended = x + block.self_attn(block.input_layernorm(x[None]), cos, sin)[0]
    no_residual = block.mlp(block.post_attention_layernorm(attended))
    no_rope = block(x[None], torch.ones_like(cos), torch.zeros_like(sin))[0]
    for wrong in (no_norm, no_residual, no_rope):
        assert far(wrong.detach(), want) > 1e-3


@variants
@pytest.mark.parametrize("attend", [plain, sdpa])
def test_model(config, attend):
    model, ids = randomize(Llama(config, attend).double()), torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 35])
    close(model(ids[None])[0][0].detach(), np_model(model, ids), atol=1e-10)


# ----------------------------------------------------------------------------
# gradients written by hand

@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (5, 1, 3, 2), (1, 1, 1, 8)], ids=str)
def test_gradients_of_the_fused_pieces(shape):
    """dy is random: y.sum() would send back dy = 1, and a backward that forgot to multiply by dy would pass."""
    x, dy = random(*shape).requires_grad_(), random(*shape, seed=1)
    weight = random(shape[-1], seed=2).requires_grad_()
    cos, sin = turns(torch.arange(shape[2]) + 3, shape[3], 50.0)
    a, b = x.chunk(2, dim=-1)
    turned = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
    normed = F.rms_norm(x, shape[-1:], weight, eps=1e-3)
    for want, got, inputs in [(turned, rotate(x, cos, sin), {"x": x}),
                              (normed, fused.rms_norm(x, weight, 1e-3), {"x": x, "weight": weight})]:
        close(got.detach(), want.detach())
        expected = torch.autograd.grad(want, list(inputs.values()), dy)
        for name, p, q in zip(inputs, torch.autograd.grad(got, list(inputs.values()), dy), expected):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-12, msg=lambda m: f"d{name}: {m}")
    # teeth: turned the same way again; an rms that does not depend on x
    right, = torch.autograd.grad(rotate(x, cos, sin), x, dy)
    assert far(rotate(dy, cos, sin), right) > 1e-2
    right, = torch.autograd.grad(fused.rms_norm(x, weight, 1e-3), x, dy)
    assert far(dy * weight * (x.pow(2).mean(-1, keepdim=True) + 1e-3).rsqrt(), right) > 1e-2


@variants
def test_gradients_of_the_model(config):
    """Central differences along a random direction of all parameters at once: error about 1e-8 at this step."""
    model, ids = randomize(Llama(config).double()), torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])
    model(ids, ids.roll(-1, 1))[1].backward()
    way = [random(*p.shape, seed=n) for n, p in enumerate(model.parameters())]
    slope = sum((p.grad * d).sum() for p, d in zip(model.parameters(), way)).item()
    losses = []
    for step in (-1e-5, 1e-5):
        with torch.no_grad():
            moved = {name: p + step * d for (name, p), d in zip(model.named_parameters(), way)}
            losses.append(torch.func.functional_call(model, moved, (ids, ids.roll(-1, 1)))[1].item())
    assert abs((losses[1] - losses[0]) / 2e-5 - slope) < 1e-5 * max(1, abs(slope))


# ----------------------------------------------------------------------------
# properties

@variants
def test_no_position_sees_the_future(config):
    model, ids = randomize(Llama(config).double()), torch.arange(8)[None]
    before = model(ids)[0]
    for t in range(1, 8):
        changed = ids.clone()
        changed[0, t] = 30
        after = model(changed)[0]
        close(after[:, :t].detach(), before[:, :t].detach())
        assert far(after[:, t:], before[:, t:]) > 1e-3


def test_a_window_is_all_that_one_layer_sees():
    config = Config(40, n_layer=1, n_head=2, n_kv_head=2, n_embd=12, n_hidden=20, window=3)
    model, ids = randomize(Llama(config).double()), torch.arange(8)[None]
    changed = ids.clone()
    changed[0, 2] = 30                                       # seen by 2, 3 and 4
    difference = (model(changed)[0] - model(ids)[0]).abs().amax(dim=(0, 2))
    assert (difference > 1e-6).tolist() == [False, False, True, True, True, False, False, False]


@variants
def test_packed_documents_are_separate_documents(config):
    """Three documents in one row, told apart by doc and positions, and each alone."""
    model, lengths = randomize(Llama(config).double()), (4, 1, 5)
    docs = [torch.randint(40, (1, n), generator=torch.Generator().manual_seed(n)) for n in lengths]
    doc = torch.cat([torch.full((1, n), i) for i, n in enumerate(lengths)], dim=1)
    positions = torch.cat([torch.arange(n)[None] for n in lengths], dim=1)
    packed = model(torch.cat(docs, dim=1), doc=doc, positions=positions)[0]
    alone = torch.cat([model(one)[0] for one in docs], dim=1)
    close(packed.detach(), alone.detach())
    assert far(model(torch.cat(docs, dim=1))[0], alone) > 1e-2


@variants
def test_only_distances_between_positions_matter(config):
    model, ids = randomize(Llama(config).double()), torch.arange(6)[None]
    positions = torch.arange(6)[None]
    close(model(ids, positions=positions + 9)[0].detach(), model(ids)[0].detach(), atol=1e-11)
    assert far(model(ids, positions=positions * 2)[0], model(ids)[0]) > 1e-4


def test_loss():
    """Mean of -ln p over the targets that are not -1: a masked one moves neither the loss nor a gradient."""
    model, ids = randomize(Llama(VARIANTS["llama"]).double()), torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]])
    targets = torch.tensor([[1, -1, 1, 5], [-1, -1, 6, -1]])
    logits, loss = model(ids, targets)
    logits = logits.detach()
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)    # (B, T, V)
    right = [-p[b, t, targets[b, t]].log() for b in range(2) for t in range(4) if targets[b, t] >= 0]
    close(loss.detach(), sum(right) / len(right))
    assert abs(loss - sum(right) / 8) > 1e-2
    logits, loss = model(ids[1:], targets[1:])
    slope, = torch.autograd.grad(loss, logits)
    assert slope[0, 2].abs().max() > 1e-3 and not slope[0, [0, 1, 3]].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_loss_of_half_precision_logits_is_float32(dtype):
    ids = torch.tensor([[3, 1, 4, 1]])
    assert Llama(VARIANTS["llama"]).to(dtype)(ids, ids)[1].dtype == torch.float32


def test_it_starts_as_a_uniform_guess():
    """The embedding is small and every block the identity, so that the first loss is about ln V."""
    generator = torch.Generator().manual_seed(0)
    model = Llama(Config(1000, n_embd=64, n_layer=2), generator=generator)
    ids = torch.randint(1000, (4, 32), generator=generator)
    assert abs(model(ids, ids.roll(1, 1))[1].item() - np.log(1000)) < 0.1


@pytest.mark.parametrize("wrong", [dict(n_head=5, n_kv_head=5), dict(n_head=4, n_kv_head=3), dict(d_head=3)], ids=str)
def test_shapes_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="no multiple|must be even"):
        Config(40, **wrong)


# ----------------------------------------------------------------------------
# the peer

def hugging_face(config, **wrong):
    """transformers' model of the same shape, without weights; `wrong` changes a setting."""
    transformers = pytest.importorskip("transformers")
    kind = "Qwen3" if config.qk_norm else "Llama"
    settings = getattr(transformers, f"{kind}Config")(**{**dict(
        vocab_size=config.vocab_size, hidden_size=config.n_embd, intermediate_size=config.n_hidden,
        num_hidden_layers=config.n_layer, num_attention_heads=config.n_head, num_key_value_heads=config.n_kv_head,
        head_dim=config.d_head, max_position_embeddings=config.context, rms_norm_eps=config.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=config.tie, attn_implementation="eager"), **wrong})
    return getattr(transformers, f"{kind}ForCausalLM")(settings).eval()


@pytest.mark.peer
@pytest.mark.parametrize("name", ["llama", "tied, grouped", "qwen3"])
def test_equals_transformers(name):
    """
    Logits and loss on random weights, which load by name and strictly. transformers computes angles and
    norms in float32 whatever it is told, which leaves 1e-5; a setting that is off shows a hundred times that.
    """
    config = VARIANTS[name]
    ours, ids = randomize(Llama(config)).float(), torch.randint(40, (3, 16), generator=torch.Generator().manual_seed(0))
    far_off = [{"rms_norm_eps": 1e-2}, {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}]
    for wrong in [{}, *far_off]:
        theirs = hugging_face(config, **wrong)
        theirs.load_state_dict(ours.state_dict(), strict=True)
        with torch.no_grad():
            logits, loss = ours(ids, ids.roll(-1, 1))
            want = theirs(ids).logits
        if wrong:
            assert far(logits, want) > 1e-3
        else:
            close(logits, want, atol=1e-5)
            close(loss, F.cross_entropy(want.flatten(0, 1), ids.roll(-1, 1).flatten()), atol=1e-5)
