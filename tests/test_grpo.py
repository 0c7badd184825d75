"""
GRPO: advantages, token weights and the clipped loss equal what the papers write; the policy gradient is that of the
expected reward; what the calculator wrote carries no gradient; a killed run ends on the bits of an undisturbed one.
"""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from align import best_of_n, grpo
from align.policy import logprobs, own, pack, totals
from align.rollout import ask, own_tokens, sample
from bpe.template import render
from gpt import checkpoint
from gpt.llama import Config, Llama
from tests.runs import ONE_THREAD, ROOT
from tests.test_dpo import FULL, TOKENIZER
from train.adamw import AdamW
from train.distributed import World
from train.guard import Guard
from train.pack import batch


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ----------------------------------------------------------------------------
# advantages

def test_advantages():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.2], [0.1, 0.1, 0.1, 0.1]], dtype=torch.float64)
    for scale in (True, False):
        got = grpo.advantages(rewards, scale)
        for group, a in zip(rewards.tolist(), got.tolist()):
            spread = np.std(group, ddof=1) + 1e-4 if scale else 1.0
            np.testing.assert_allclose(a, (np.array(group) - np.mean(group)) / spread, rtol=0, atol=1e-12)
        assert got[1].abs().max() == 0


def test_the_gradient_is_that_of_the_expected_reward():
    """
    Over all 27 groups of three replies from a policy of three, the mean of GRPO's gradient (no scale) is that of the
    expected reward, but for (G - 1) / G, since each reply stands in its own baseline. Enumerated, so exact: 1e-12.
    """
    theta, pays, G = random(3).requires_grad_(), torch.tensor([3.0, 2.3, 1.5], dtype=torch.float64), 3
    p = theta.log_softmax(dim=0)
    want, = torch.autograd.grad((p.exp() * pays).sum(), theta, retain_graph=True)
    mean, square = {"baseline": 0, "none": 0}, {"baseline": 0, "none": 0}
    for group in map(list, itertools.product(range(3), repeat=G)):
        chance, logp = p.detach()[group].sum().exp(), p[group]
        better = grpo.advantages(pays[group][None], scale=False)[0]
        for kind, a in (("baseline", better * G / (G - 1)), ("none", pays[group])):
            loss = grpo.token_loss(logp, logp.detach(), logp.detach(), a, 0.2, 0.0).mean()
            g, = torch.autograd.grad(loss, theta, retain_graph=True)
            mean[kind], square[kind] = mean[kind] - chance * g, square[kind] + chance * g.square().sum()
    for kind in mean:                                        # both are unbiased; the baseline takes the variance away
        torch.testing.assert_close(mean[kind], want, rtol=0, atol=1e-12, msg=lambda m: f"{kind}: {m}")
    assert square["baseline"] < 0.2 * square["none"]
    assert (mean["none"] + want).abs().max() > 1e-2          # another sign is turned down


# ----------------------------------------------------------------------------
# the loss

LENGTHS = [3, 1, 5]
OWNER = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 2])


def by_hand(normalize, logp, old, ref, advantage, clip, beta, max_new):
    """Sample by sample and token by token, as the papers write it."""
    samples = []
    for n, length in enumerate(LENGTHS):
        terms = []
        for i in torch.nonzero(OWNER == n)[:, 0].tolist():
            ratio = torch.exp(logp[i] - old[i])
            clipped = min(max(ratio.item(), 1 - clip), 1 + clip)
            gain = min(ratio.item() * advantage[n].item(), clipped * advantage[n].item())
            r = torch.exp(ref[i] - logp[i]).item()
            terms.append(-gain + beta * (r - torch.log(torch.tensor(r)).item() - 1))
        samples.append(terms)
    if normalize == "grpo":
        return np.mean([np.mean(terms) for terms in samples])
    return sum(map(sum, samples)) / (sum(LENGTHS) if normalize == "dapo" else len(LENGTHS) * max_new)


@pytest.mark.parametrize("normalize", grpo.NORMALIZE)
def test_loss(normalize):
    logp, old, ref = -random(9, seed=1).abs(), -random(9, seed=2).abs(), -random(9, seed=3).abs()
    advantage = torch.tensor([1.5, -0.7, 0.2], dtype=torch.float64)
    w = grpo.weights(torch.tensor(LENGTHS), normalize, 20, 3, sum(LENGTHS)).double()
    got = (w[OWNER] * grpo.token_loss(logp, old, ref, advantage[OWNER], 0.2, 0.3)).sum()
    want = {how: by_hand(how, logp, old, ref, advantage, 0.2, 0.3, 20) for how in grpo.NORMALIZE}
    assert got.item() == pytest.approx(want[normalize], abs=1e-7)                 # weights are float32
    assert all(abs(got.item() - x) > 1e-3 for how, x in want.items() if how != normalize)


@pytest.mark.parametrize("ratio, advantage, flows", [(1.0, 1.0, True), (1.3, 1.0, False), (0.7, 1.0, True),
                                                     (1.3, -1.0, True), (0.7, -1.0, False)])
def test_where_the_clip_stops_the_gradient(ratio, advantage, flows):
    """The gradient is -A ratio inside the range and where the loss grows, else none."""
    logp = torch.tensor([np.log(ratio)], requires_grad=True)
    loss = grpo.token_loss(logp, torch.zeros(1), logp.detach(), torch.tensor([advantage]), 0.2, 0.5).sum()
    g, = torch.autograd.grad(loss, logp)
    assert g.item() == pytest.approx(-advantage * ratio if flows else 0.0)        # k3's is 0 at the reference


def test_the_gradient_of_the_kl():
    """
    Over all tokens that a policy of five may draw, the gradient of k3 is that of KL(reference || policy), and times the
    ratio that of KL(policy || reference). Enumerated, so exact: 1e-12. The two are not the same.
    """
    theta, q = random(5).requires_grad_(), random(5, seed=1).log_softmax(dim=0)
    p = theta.log_softmax(dim=0)
    want = {False: torch.autograd.grad((q.exp() * (q - p)).sum(), theta, retain_graph=True)[0],
            True: torch.autograd.grad((p.exp() * (p - q)).sum(), theta, retain_graph=True)[0]}
    for unbiased in want:
        each = grpo.token_loss(p, p.detach(), q, torch.zeros(5), 0.2, 1.0, unbiased)
        got, = torch.autograd.grad((p.detach().exp() * each).sum(), theta, retain_graph=True)
        torch.testing.assert_close(got, want[unbiased], rtol=0, atol=1e-12)
        assert (got - want[not unbiased]).abs().max() > 1e-2


def test_kl_pulls_back():
    logp = torch.tensor([-1.0, -3.0], requires_grad=True)
    g, = torch.autograd.grad(grpo.token_loss(logp, logp.detach(), torch.tensor([-2.0, -2.0]), torch.zeros(2), 0.2,
                                             0.5).sum(), logp)
    torch.testing.assert_close(g, 0.5 * (1 - (torch.tensor([-2.0, -2.0]) - logp.detach()).exp()))
    assert g[0] > 0 > g[1]


# ----------------------------------------------------------------------------
# rollouts of a tiny model that has learned, somewhat, to call the calculator

SMALL = Config(vocab_size=TOKENIZER.n_vocab, n_layer=2, n_head=2, n_kv_head=1, n_embd=32, n_hidden=64, context=96,
               qk_norm=True)
ITEMS = [{"question": f"{a}+{b}", "answer": f"<<{a}+{b}={a + b}>>{a + b}\n#### {a + b}"}
         for a in range(1, 5) for b in range(1, 5)]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A run of that model, and problems."""
    from bpe.template import from_gsm8k
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    model = Llama(SMALL)
    adamw = AdamW(model.parameters(), lr=0.01)
    talk = [render([{"role": "user", "content": item["question"]},
                    {"role": "assistant", "content": from_gsm8k(item["answer"])}], TOKENIZER) for item in ITEMS]
    x, y, doc, positions = batch([[(ids, mask)] for ids, mask in talk], 40, 0)
    for _ in range(60):
        model(x, y, doc=doc, positions=positions)[1].backward()
        adamw.step()
        adamw.zero_grad()
    checkpoint.save(folder / "sft" / "run", 1, model, TOKENIZER, stage="sft")
    for name in ("train", "valid"):
        (folder / f"arithmetic_{name}.jsonl").write_text("\n".join(map(json.dumps, ITEMS)))
    return folder


@pytest.fixture(scope="module")
def drawn(start):
    model, _, _ = checkpoint.load(start / "sft" / "run", "cpu")
    prompts = [ask(item["question"], TOKENIZER) for item in ITEMS for _ in range(4)]
    return model, sample(model, TOKENIZER, prompts, 40, seed=0)


def test_the_trainer_sees_what_the_engine_drew(drawn):
    """
    Log-probabilities of the policy's own tokens, from the engine's cache token by token and from packed rows, are the
    same (float32: 1e-4); with the calculator's tokens counted as its own, or the mask one off, they are not.
    """
    model, replies = drawn
    assert sum(any(reply.forced) for reply in replies) > 8   # the calculator was at work
    sequences = [own_tokens(reply) for reply in replies]
    want = torch.tensor([sum(lp for lp, f in zip(r.logprobs, r.forced) if not f) for r in replies])

    def gap(sequences):
        return sum((totals(logprobs(model, part, FULL), part) for part in pack(sequences, 96, 0, 8))) - want

    assert gap(sequences).abs().max() < 1e-3
    for broken in ([(ids, np.r_[np.zeros(len(r.prompt), bool), np.ones(len(r.ids), bool)])
                    for (ids, _), r in zip(sequences, replies)], [(ids, np.roll(m, -1)) for ids, m in sequences]):
        assert gap(broken).abs().max() > 0.1


def test_what_the_calculator_wrote_is_no_action(drawn):
    for reply in drawn[1]:
        ids, mask = own_tokens(reply)
        assert ids.tolist() == reply.prompt + reply.ids
        assert mask.tolist() == [False] * len(reply.prompt) + [not f for f in reply.forced]


def improve(start, drawn, monkeypatch, *more):
    """One batch of samples through grpo.improve(): (ratios of every call of the loss, weights after)."""
    words = ["--checkpoint", str(start), "--data", str(start), "--lr", "0.003", "--rows", "8", *more]
    args, seen, real = grpo.parse(words), [], grpo.token_loss
    model, _, _ = checkpoint.load(start / "sft" / "run", "cpu")
    reference, _, _ = checkpoint.load(start / "sft" / "run", "cpu")
    sequences = [own_tokens(reply) for reply in drawn[1]]
    rewards = random(len(ITEMS), 4)
    rewards[3] = 0.5                                         # a group that teaches nothing
    total = {"samples": len(sequences), "tokens": int(own(sequences).sum())}

    def watched(logp, old, *rest):
        seen.append((logp - old).exp().detach())
        return real(logp, old, *rest)

    monkeypatch.setattr(grpo, "token_loss", watched)
    args.group = 4
    grpo.improve(args, model, reference, AdamW(model.parameters()), 1.0, sequences, rewards, total, Guard(spike=0),
                 FULL, World(), 0)
    monkeypatch.setattr(grpo, "token_loss", real)
    return seen, [p.detach().clone() for p in model.parameters()]


def test_the_ratio_is_exactly_1_at_the_first_update(start, drawn, monkeypatch):
    seen, _ = improve(start, drawn, monkeypatch, "--updates", "3")
    parts = len(seen) // 3
    assert parts > 1 and all((ratio == 1).all() for ratio in seen[:parts])
    assert all((ratio != 1).any() for ratio in seen[parts:])


def test_parts_are_the_whole(start, drawn, monkeypatch):
    """The update does not depend on how many rows go through the model at once."""
    _, want = improve(start, drawn, monkeypatch)
    _, got = improve(start, drawn, monkeypatch, "--rows", "100")
    for a, b in zip(got, want):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)  # AdamW's first step is about lr sign(gradient)


# ----------------------------------------------------------------------------
# the script

def words(start, out, *more):
    return [str(w) for w in ("--checkpoint", start / "sft" / "run", "--data", start, "--out", out, "--steps", 4,
                             "--problems", 4, "--group", 4, "--max-new", 40, "--save-every", 1, "--eval-every", 2,
                             "--eval-problems", 4, "--updates", 2, "--lr", 0.001, *more)]


def rows(out):
    lines = [line.split(",") for line in (out / "log.csv").read_text().splitlines()]
    timed = [lines[0].index(name) for name in ("seconds", "tokens_per_second", "peak_memory_bytes")]
    return [[x for i, x in enumerate(line) if i not in timed] for line in lines]


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    grpo.main(words(start, out))
    return out


def test_a_killed_run_ends_on_the_same_bits(start, whole, tmp_path, monkeypatch):
    real, calls = grpo.descend, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 6:                                  # between the two updates of step 3
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(grpo, "descend", killed)
    with pytest.raises(KeyboardInterrupt):
        grpo.main(words(start, tmp_path))
    monkeypatch.setattr(grpo, "descend", real)
    grpo.main(words(start, tmp_path))
    assert rows(tmp_path) == rows(whole)
    assert checkpoint.load(tmp_path / "run", "cpu")[2]["hash"] == checkpoint.load(whole / "run", "cpu")[2]["hash"]


def test_two_ranks_do_what_one_does(start, whole, tmp_path):
    """The same samples, rewards and losses under torchrun; the last bits of sums differ."""
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
                           "align/grpo.py", *words(start, tmp_path, "--steps", 2)], cwd=ROOT, env=ONE_THREAD,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    want, got = rows(whole), rows(tmp_path)
    for name in ("reward", "tokens_per_reply", "entropy_nats", "loss_nats", "gradient_norm"):
        n = want[0].index(name)
        assert float(got[1][n]) == pytest.approx(float(want[1][n]), rel=1e-3, abs=1e-5), name


def test_rejection_sampling_spends_what_grpo_has_spent(start, whole, tmp_path):
    """As many problems and passes, and only right replies are learned."""
    words = ["--checkpoint", start / "sft" / "run", "--data", start, "--out", tmp_path, "--match", whole,
             "--length", 64, "--max-new", 40, "--eval-problems", 4]
    best_of_n.main([str(word) for word in words])
    answers = {item["question"]: item["answer"].split("#### ")[1] for item in ITEMS}
    for name in ("sft_train", "sft_valid"):
        for line in (tmp_path / f"{name}.jsonl").read_text().splitlines():
            question, reply = json.loads(line)["messages"]
            assert reply["content"][-1]["text"].endswith(f"#### {answers[question['content']]}")
    numbers = json.loads((tmp_path / "metrics.json").read_text())["numbers"]
    spent = json.loads((whole / "metrics.json").read_text())["numbers"]["token_passes"]
    assert 0.8 * spent < numbers["token_passes"] <= spent and numbers["right_replies"] > 4
    with pytest.raises(SystemExit, match="no passes are left"):
        best_of_n.main([str(word) for word in [*words[:6], "--problems", 16, "--group", 4, "--passes", 2000]])


def test_what_a_user_gets_wrong(start, tmp_path):
    with pytest.raises(SystemExit):
        grpo.main(words(start, tmp_path, "--group", 1))
    broken = tmp_path / "data"
    broken.mkdir()
    (broken / "arithmetic_train.jsonl").write_text(json.dumps({"question": "1+1", "answer": "2"}))
    with pytest.raises(SystemExit, match="record 1: the answer has no line"):
        grpo.main(words(start, tmp_path, "--data", broken))
