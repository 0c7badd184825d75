"""
The Transformer of 2017 against torch's own, its promises (causality, masks, positions, schedule, smoothing), and the
small translator built on it. Float64, where two right answers differ by rounding alone, about 1e-14.
"""

import math
import random

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt import translate
from gpt.transformer import (DecoderLayer, EncoderLayer, MultiHeadAttention, PositionwiseFeedForward, Transformer,
                             attention, causal, positional_encoding)

D, H, FF = 12, 3, 20


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def randomized(module):
    for n, p in enumerate(module.parameters()):
        p.data = 0.3 * draw(*p.shape, seed=n) + (p.dim() == 1)
    return module.double().eval()


def far(a, b):
    return (a - b).abs().max().item()


def names_of(theirs):
    """Weights of torch's layer under our names."""
    w = dict(theirs.state_dict())
    ours = {}
    for their, our in [("self_attn", "self_attention"), ("multihead_attn", "cross_attention")]:
        if f"{their}.in_proj_weight" in w:
            for kind in ("weight", "bias"):
                parts = w[f"{their}.in_proj_{kind}"].chunk(3)
                ours |= {f"{our}.w_{x}.{kind}": part for x, part in zip("qkv", parts)}
                ours[f"{our}.w_o.{kind}"] = w[f"{their}.out_proj.{kind}"]
    for kind in ("weight", "bias"):
        ours |= {f"feed_forward.w_{n}.{kind}": w[f"linear{n}.{kind}"] for n in (1, 2)}
        ours |= {f"norms.{n - 1}.{kind}": w[f"norm{n}.{kind}"] for n in (1, 2, 3) if f"norm{n}.{kind}" in w}
    return ours


# ----------------------------------------------------------------------------
# torch computes the same

def test_encoder_layer_is_torchs():
    theirs = randomized(nn.TransformerEncoderLayer(D, H, FF, dropout=0.0, batch_first=True))
    ours = randomized(EncoderLayer(D, H, FF, 0.0))
    ours.load_state_dict(names_of(theirs))
    x, keep = draw(2, 7, D, seed=99), torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    want = theirs(x, src_key_padding_mask=~keep)
    got = ours(x, keep[:, None, None])
    assert far(got[keep], want[keep]) < 1e-12                # padding's own outputs mean nothing
    before = x + ours.self_attention(ours.norms[0](x), ours.norms[0](x), ours.norms[0](x), keep[:, None, None])
    before = before + ours.feed_forward(ours.norms[1](before))
    assert far(before[keep], want[keep]) > 1e-2              # teeth: the norm before the sublayer, as in GPT-2


def test_decoder_layer_is_torchs():
    theirs = randomized(nn.TransformerDecoderLayer(D, H, FF, dropout=0.0, batch_first=True))
    ours = randomized(DecoderLayer(D, H, FF, 0.0))
    ours.load_state_dict(names_of(theirs))
    y, memory = draw(2, 5, D, seed=98), draw(2, 7, D, seed=97)
    keep = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    want = theirs(y, memory, tgt_mask=~causal(5), memory_key_padding_mask=~keep)
    assert far(ours(y, memory, causal(5), keep[:, None, None]), want) < 1e-12
    assert far(ours(y, memory, torch.ones(5, 5, dtype=torch.bool), keep[:, None, None]), want) > 1e-2
    assert far(ours(y, memory, causal(5), torch.ones(2, 1, 1, 7, dtype=torch.bool)), want) > 1e-3


def test_gradients_are_torchs():
    theirs = randomized(nn.MultiheadAttention(D, H, batch_first=True))
    ours = randomized(MultiHeadAttention(D, H))
    w = theirs.state_dict()
    ours.load_state_dict({f"w_{x}.{kind}": part for kind in ("weight", "bias")
                          for x, part in zip("qkv", w[f"in_proj_{kind}"].chunk(3))} |
                         {f"w_o.{kind}": w[f"out_proj.{kind}"] for kind in ("weight", "bias")})
    x, dy = draw(2, 5, D, seed=96).requires_grad_(), draw(2, 5, D, seed=95)
    want, = torch.autograd.grad(theirs(x, x, x, attn_mask=~causal(5), need_weights=False)[0], x, dy)
    got, = torch.autograd.grad(ours(x, x, x, causal(5)), x, dy)
    assert far(got, want) < 1e-12


def test_attention_as_written():
    q, k, v = draw(1, 1, 3, 4), draw(1, 1, 5, 4, seed=1), draw(1, 1, 5, 6, seed=2)
    for t in range(3):
        e = [math.exp(sum(q[0, 0, t, i].item() * k[0, 0, s, i].item() for i in range(4)) / 2) for s in range(5)]
        want = sum(e[s] * v[0, 0, s] for s in range(5)) / sum(e)
        assert far(attention(q, k, v, torch.ones(3, 5, dtype=torch.bool))[0, 0, t], want) < 1e-12


def test_feed_forward():
    net, x = randomized(PositionwiseFeedForward(D, FF)), draw(2, 3, D)
    want = torch.clamp(x @ net.w_1.weight.T + net.w_1.bias, min=0) @ net.w_2.weight.T + net.w_2.bias
    assert far(net(x), want) < 1e-12


# ----------------------------------------------------------------------------
# promises

def test_positions():
    pe = positional_encoding(50, 8)
    for pos, i in [(0, 0), (7, 1), (49, 3)]:
        assert abs(pe[pos, 2 * i].item() - math.sin(pos / 10000 ** (2 * i / 8))) < 1e-5
        assert abs(pe[pos, 2 * i + 1].item() - math.cos(pos / 10000 ** (2 * i / 8))) < 1e-5
    dots = pe.double() @ pe.double().T                       # section 3.5: an offset is a rotation, so these are
    assert far(dots[10, 13], dots[30, 33]) < 1e-5            # functions of the distance alone


def small(**options):
    torch.manual_seed(0)
    return randomized(Transformer(21, D, H, FF, 2, 0.0, **options))


def test_no_target_sees_its_future_and_nobody_sees_padding():
    model = small()
    source, target = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[1, 9, 10, 11, 12]])
    before = model(source, target)
    for t in range(1, 5):
        changed = target.clone()
        changed[0, t] = 3
        after = model(source, changed)
        assert far(after[:, :t], before[:, :t]) < 1e-12 and far(after[:, t], before[:, t]) > 1e-3
    padded = model(torch.tensor([[5, 6, 7, 8, 0, 0]]), target)
    assert far(padded, before) < 1e-12
    assert far(model(torch.tensor([[5, 6, 7, 8, 3, 3]]), target), before) > 1e-3


def test_one_matrix_for_everything():
    model = small()
    assert [name for name, p in model.named_parameters() if p.shape == (21, D)] == ["embedding.weight"]
    assert far(model.embedding(torch.tensor([[4]])), model.embedding.weight[4] * math.sqrt(D)) < 1e-12


def test_base_model_is_that_of_table_3():
    with torch.device("meta"):
        n = sum(p.numel() for p in Transformer(37000).parameters())
    assert abs(n / 65e6 - 1) < 0.05


# ----------------------------------------------------------------------------
# training

def test_learning_rate():
    """Eq. 3: highest when the warm-up ends, 1/sqrt(d_model warmup); linear before, inverse root after."""
    rates = [translate.rate(step, 128, 400) for step in range(1, 2000)]
    assert max(rates) == rates[399] and abs(rates[399] - (128 * 400) ** -0.5) < 1e-12
    assert abs(rates[99] * 4 - rates[399]) < 1e-12 and abs(rates[1599] * 2 - rates[399]) < 1e-12


def test_label_smoothing_is_torchs():
    logits, answer = draw(3, 4, 9).requires_grad_(), torch.tensor([[1, 2, 0, 0], [3, 4, 5, 8], [7, 0, 0, 0]])
    want = F.cross_entropy(logits.flatten(0, 1), answer.flatten(), ignore_index=0, label_smoothing=0.1)
    got = translate.smoothed(logits, answer)
    assert abs(got - want) < 1e-12
    assert far(*(torch.autograd.grad(x, logits)[0] for x in (got, want))) < 1e-12
    assert abs(translate.smoothed(logits, answer, 0.2) - want) > 1e-3


# ----------------------------------------------------------------------------
# the task

@pytest.mark.parametrize("n, text", [(0, "zero"), (13, "thirteen"), (40, "forty"), (100, "one hundred"),
                                     (70_000, "seventy thousand"),
                                     (742_906, "seven hundred forty two thousand nine hundred six")])
def test_numbers_in_words(n, text):
    assert " ".join(translate.words(n)) == text


def test_different_numbers_have_different_words():
    assert len({tuple(translate.words(n)) for n in range(1_000_000 // 7)}) == 1_000_000 // 7
    assert len({tuple(translate.ordinal(n)) for n in range(1, 32)}) == 31


def test_held_out_is_held_out():
    train, test = translate.pairs(2000, random.Random(0)), translate.pairs(300, random.Random(0), test=True)
    assert not {tuple(t) for _, t in train} & {tuple(t) for _, t in test}
    kinds = [("sort" in s, "of" in s) for s, _ in test]
    assert min(kinds.count((True, False)), kinds.count((False, True)), kinds.count((False, False))) > 50
    assert all(set(s) | set(t) <= set(translate.SYMBOLS) for s, t in train)
    assert len(set(translate.SYMBOLS)) == len(translate.SYMBOLS)


def by_force(model, source, length):
    """log p of every answer of up to `length` symbols that ends, for one source, one by one."""
    memory, mask = model.encode(source)
    found, open_ = {}, {(): 0.0}
    for _ in range(length):
        longer = {}
        for row, score in open_.items():
            logp = model.decode(memory, mask, torch.tensor([[translate.START, *row]]))[0, -1].log_softmax(-1)
            for i, p in enumerate(logp.tolist()):
                if i == translate.END:
                    found[row] = score + p
                elif i != translate.PAD:
                    longer[(*row, i)] = score + p
        open_ = longer
    return found


def test_beam_finds_the_best_and_a_beam_of_one_is_greedy(monkeypatch):
    """A vocabulary of six and answers of three symbols: with enough beams, the search is over all of them."""
    monkeypatch.setattr(translate, "SYMBOLS", ["<pad>", "<start>", "<end>", "a", "b", "c"])
    for seed in range(3):
        torch.manual_seed(seed)
        model = Transformer(6, 8, 2, 16, 1, 0.0).double().eval()
        for p in model.parameters():
            p.data = torch.randn_like(p)
        source = torch.tensor([[3, 4, 5], [5, 3, 0]])
        with torch.inference_mode():
            assert translate.beam(model, source, k=1, longest=8) == translate.greedy(model, source, longest=8)
            got = translate.beam(model, source, k=200, alpha=0.6, longest=4)
            for row, reply in zip(source, got):
                row = row[row != 0][None]
                found = by_force(model, row, 4)
                best = max(found, key=lambda r: found[r] / ((5 + len(r) + 1) / 6) ** 0.6)
                if len(reply) < 4:                           # it ended, so it must be the best that does
                    assert tuple(reply) == best


def test_it_learns(tmp_path, capsys):
    """Thirty steps on numbers alone bring the loss down; the saved model translates; mistakes get one line."""
    small = ["--steps", "30", "--width", "16", "--layers", "1", "--batch", "16", "--test", "20", "--out", str(tmp_path)]
    translate.main(small)
    text = capsys.readouterr().out
    assert "20 held-out examples" in text and (tmp_path / "metrics.json").exists()
    loss = float(text.split("loss ")[1].split()[0])
    assert loss < 4.0
    translate.main(["--say", "nine hundred six", "--out", str(tmp_path)])
    for wrong, says in [(["--say", "nine florps", "--out", str(tmp_path)], "florps"),
                        (["--say", "nine", "--out", str(tmp_path / "no")], "Train one"),
                        (["--width", "30"], "multiple of 4")]:
        with pytest.raises(SystemExit) as stopped:
            translate.main(wrong)
        assert says in stopped.value.code
