"""
DPO: packed log-probabilities equal those of each sequence alone, loss and gradient equal the paper's formulas, and a
run that was killed ends on the bits of one that was not.

In float64, packed against alone differs by the order of sums: 1e-12. The paper's gradient (eq. 7) is written out by
hand; it shares nothing with ours but the log-probabilities.
"""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from align import dpo, parity, preferences
from align.policy import k3, logprobs, own, pack, replies, totals
from bpe.bpe import Tokenizer
from gpt import checkpoint
from gpt.engine import Reply, Sampling
from gpt.llama import Config, Llama
from train.amp import Mixed
from train.pack import batch

CPU = torch.device("cpu")
FULL = Mixed(CPU, torch.float32)                             # no autocast; a float64 model stays float64
TOKENIZER = Tokenizer([])                                    # a byte a token
TINY = Config(vocab_size=TOKENIZER.n_vocab, n_layer=2, n_head=2, n_kv_head=1, n_embd=12, n_hidden=22, context=96,
              qk_norm=True)


def make_model(dtype=torch.float64, seed=0):
    model, generator = Llama(TINY), torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data.normal_(0, 0.3, generator=generator)
    return model.to(dtype)


def make_sequences(n=7, seed=0):
    """Of every length, each with its own tokens behind a prompt and one forced token inside."""
    rng, sequences = np.random.default_rng(seed), []
    for _ in range(n):
        prompt, reply = rng.integers(2, 9), rng.integers(3, 20)
        mask = np.r_[np.zeros(prompt, dtype=bool), np.ones(reply, dtype=bool)]
        mask[prompt + 1] = False
        sequences.append((rng.integers(1, 250, prompt + reply), mask))
    return sequences


def alone(model, ids, mask):
    """Log-probabilities of the tokens under the mask, (n,), the sequence by itself, with the definition of softmax."""
    logits = model(torch.tensor(ids)[None, :-1])[0][0]                            # (T, V)
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return torch.stack([p[t - 1, ids[t]].log() for t in range(1, len(ids)) if mask[t]])


# ----------------------------------------------------------------------------
# log-probabilities

@pytest.mark.parametrize("rows", [None, 1, 2])
def test_packed_is_alone(rows):
    model, sequences = make_model(), make_sequences()
    want = torch.stack([alone(model, *s).sum() for s in sequences])
    torch.testing.assert_close(replies(model, sequences, 40, 0, FULL, rows), want.detach(), rtol=0, atol=1e-12)
    for part in pack(sequences, 40, 0, rows):
        logp = logprobs(model, part, FULL)
        for n in part.owner.unique().tolist():
            torch.testing.assert_close(logp[part.owner == n], alone(model, *sequences[n]), rtol=0, atol=1e-12)


def test_packed_has_teeth():
    """Packed sequences that see each other, or whose positions are stretched, are turned down by the comparison."""
    model, sequences = make_model(), make_sequences()
    part, = pack(sequences, 60, 0)
    want = logprobs(model, part, FULL)
    x, y, doc, positions = part.batch
    for broken in ((x, y, torch.zeros_like(doc), positions), (x, y, doc, 2 * positions)):
        part.batch = broken
        assert (totals(logprobs(model, part, FULL) - want, part)).abs().max() > 1e-3


def test_every_sequence_is_packed_once_and_whole():
    sequences = make_sequences(30)
    parts = pack(sequences, 40, 0, rows=3)
    counts = sum(torch.bincount(part.owner, minlength=30) for part in parts)
    assert counts.tolist() == own(sequences).tolist()
    assert sum(part.tokens for part in parts) == sum(len(ids) for ids, _ in sequences)
    with pytest.raises(ValueError, match="does not fit"):
        pack(sequences, 8, 0)


def test_k3_is_an_unbiased_kl():
    """The mean of k3 under the policy is KL(policy || reference), exactly; that of reference || policy is another."""
    p, q = torch.randn(2, 9, dtype=torch.float64).log_softmax(dim=1)
    want = (p.exp() * (p - q)).sum()
    torch.testing.assert_close((p.exp() * k3(p, q)).sum(), want, rtol=0, atol=1e-12)
    assert k3(p, q).min() >= 0 and ((q.exp() * (q - p)).sum() - want).abs() > 1e-3


# ----------------------------------------------------------------------------
# loss and gradient

POLICY = torch.tensor([-3.0, -9.5, -4.0, -8.0, -8.5, -4.5], dtype=torch.float64)
REFERENCE = torch.tensor([-4.0, -9.0, -4.0, -7.0, -9.5, -4.5], dtype=torch.float64)
LENGTHS = torch.tensor([2, 5, 3, 4, 1, 3])
VARIANTS = {"dpo": {}, "cdpo": {"smoothing": 0.2}, "ipo": {"ipo": True}, "normalized": {"lengths": LENGTHS},
            "ipo, normalized": {"ipo": True, "lengths": LENGTHS}}


def by_hand(policy, reference, beta, ipo=False, smoothing=0.0, lengths=(1,) * 6):
    """The losses, pair by pair in Python's floats."""
    ratio = [(a - b) / n for a, b, n in zip(policy.tolist(), reference.tolist(), list(map(int, lengths)))]
    losses = []
    for chosen, rejected in zip(ratio[:3], ratio[3:]):
        p = 1 / (1 + math.exp(-beta * (chosen - rejected)))
        losses.append((chosen - rejected - 0.5 / beta) ** 2 if ipo else
                      -(1 - smoothing) * math.log(p) - smoothing * math.log(1 - p))
    return losses


@pytest.mark.parametrize("how", VARIANTS.values(), ids=VARIANTS)
def test_loss(how):
    got = dpo.preference_loss(POLICY, REFERENCE, 0.3, **how)
    np.testing.assert_allclose(got, by_hand(POLICY, REFERENCE, 0.3, **how), rtol=0, atol=1e-12)
    swapped = dpo.preference_loss(POLICY.roll(3), REFERENCE.roll(3), 0.3, **how)
    assert (got - swapped).abs().max() > 1e-2                # chosen and rejected are not the same to it


def test_at_the_beginning_the_loss_is_ln_2_and_every_pair_a_tie():
    got = dpo.preference_loss(REFERENCE, REFERENCE, 0.1)
    torch.testing.assert_close(got, torch.full((3,), math.log(2), dtype=torch.float64), rtol=0, atol=1e-15)
    chosen, rejected = dpo.log_ratios(REFERENCE, REFERENCE)
    assert dpo.share(chosen - rejected) == 0.5


def test_gradient_is_the_papers():
    """Eq. 7: -beta sigmoid(reward of rejected - of chosen) (grad log p(chosen) - grad log p(rejected))."""
    model, reference, sequences, beta = make_model(), make_model(seed=1), make_sequences(6), 0.3
    past = replies(reference, sequences, 40, 0, FULL)
    part, = pack(sequences, 40, 0)
    loss = dpo.preference_loss(totals(logprobs(model, part, FULL), part), past, beta).mean()
    got = torch.autograd.grad(loss, list(model.parameters()))

    each = [torch.autograd.grad(alone(model, *s).sum(), list(model.parameters())) for s in sequences]
    reward = beta * (torch.stack([alone(model, *s).sum() for s in sequences]).detach() - past)
    unweighted = [0.0] * len(got)
    for n, (name, _) in enumerate(model.named_parameters()):
        want = 0
        for i in range(3):
            step = -beta * (each[i][n] - each[i + 3][n]) / 3
            want = want + torch.sigmoid(reward[i + 3] - reward[i]) * step
            unweighted[n] = unweighted[n] + 0.5 * step
        torch.testing.assert_close(got[n], want, rtol=0, atol=1e-12, msg=lambda m: f"{name}: {m}")
    assert max((a - b).abs().max() for a, b in zip(got, unweighted)) > 1e-3       # has teeth


# ----------------------------------------------------------------------------
# pairs

CALL = [{"type": "text", "text": "So "}, {"type": "call", "text": "2*3"}, {"type": "result", "text": "6"}]
PROMPT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"},
          {"role": "user", "content": "2*3?"}]


def test_of_a_pair_only_the_last_replys_own_tokens_count():
    ids, mask = preferences.sequence(PROMPT, CALL, TOKENIZER)
    names = {i: name for name, i in TOKENIZER.specials.items()}
    text = "".join(names.get(i) or TOKENIZER.decode([i]) for i in ids[mask].tolist())
    assert text == "So <CALC>2*3</CALC><|end|>"              # neither "hello" nor the result


@pytest.mark.parametrize("record, complaint", [
    ({"prompt": "a", "chosen": "b"}, "line 2 has no 'rejected'"),
    ({"prompt": "a", "chosen": "b", "rejected": 3}, "line 2: message 1: content must be"),
    ({"prompt": [{"role": "assistant", "content": "a"}], "chosen": "b", "rejected": "c"}, "line 2: message 0"),
])
def test_a_malformed_pair_is_named_by_its_line(tmp_path, record, complaint):
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    path = tmp_path / "p.jsonl"
    path.write_text("\n".join(map(json.dumps, [good, record])))
    with pytest.raises(SystemExit, match=complaint):
        preferences.pairs(path, TOKENIZER, 50)


def test_its_own_mistakes(monkeypatch):
    """Of each prompt's tries the likeliest wrong one that ended is rejected, for the world's if none is right."""
    def drawn(model, tokenizer, prompts, max_new, seed):
        said = itertools.cycle([("end", "what?", -2.0), ("length", "", -0.1), ("end", "no idea", -1.0)])
        return [Reply(ids, 9, Sampling(), 0, ids=TOKENIZER.encode(text), finished=how, logprobs=[-9.0, logprob],
                      forced=[True, False]) for ids, (how, text, logprob) in zip(prompts, said)]

    monkeypatch.setattr(preferences, "sample", drawn)
    model = make_model()
    model.config = replace(TINY, context=9000)
    records = preferences.own_mistakes(model, TOKENIZER, "train", 20, 3, seed=0)
    assert len(records) == 20 and records == preferences.own_mistakes(model, TOKENIZER, "train", 20, 3, seed=0)
    for record in records:
        assert record["rejected"] == [{"type": "text", "text": "no idea"}] and record["chosen"] != record["rejected"]
        preferences.sequence(record["prompt"], record["chosen"], TOKENIZER)       # what DPO reads


def test_the_real_sets_splits_share_no_prompt(tmp_path):
    rows = [{"instruction": f"do {n % 40}", "input": "", "chosen": "yes", "rejected": "no" if n % 3 else "yes"}
            for n in range(60)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    splits = preferences.instruct(tmp_path / "rows.json", 0)
    prompts = [record["prompt"] for records in splits.values() for record in records]
    assert len(prompts) == len(set(prompts)) and all(splits.values())
    assert all(record["chosen"] != record["rejected"] for records in splits.values() for record in records)


# ----------------------------------------------------------------------------
# the script

@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A fine-tuned run of a tiny model, and pairs: it should prefer vowels."""
    folder = tmp_path_factory.mktemp("start")
    checkpoint.save(folder / "sft" / "run", 1, make_model(torch.float32), TOKENIZER, stage="sft")
    for name, n in (("train", 12), ("test", 6)):
        rows = [{"prompt": chr(98 + i), "chosen": "aei", "rejected": "xyz"} for i in range(n)]
        (folder / f"preferences_{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def command(start, out, *more):
    return ["--checkpoint", start / "sft" / "run", "--data", start, "--out", out, "--pairs", 40, "--batch", 4,
            "--save-every", 1, "--eval-every", 5, "--replies", 3, "--lr", 0.01, *more]


def run(start, out, *more):
    dpo.main([str(word) for word in command(start, out, *more)])
    numbers = json.loads((out / "metrics.json").read_text())["numbers"]
    log = [line.split(",")[3] for line in (out / "log.csv").read_text().splitlines()]
    return numbers, log, checkpoint.load(out / "run", "cpu")[2]["hash"]


def test_it_learns_what_is_preferred_and_resumes_to_the_bit(start, tmp_path, monkeypatch):
    monkeypatch.setattr(dpo, "MAX_NEW", 8)
    numbers, log, digest = run(start, tmp_path / "whole")
    assert numbers["heldout_accuracy_before"] == 0.5 and numbers["heldout_margin_before"] == 0
    assert numbers["kl_nats_per_reply_before"] == 0
    assert numbers["heldout_accuracy"] == 1.0 and numbers["heldout_margin"] > 0.1 and numbers["kl_nats_per_reply"] > 0

    real, calls = dpo.descend, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(dpo, "descend", killed)
    with pytest.raises(KeyboardInterrupt):
        run(start, tmp_path / "killed")
    monkeypatch.setattr(dpo, "descend", real)
    assert run(start, tmp_path / "killed")[1:] == (log, digest)
    with pytest.raises(SystemExit, match="started with --beta 0.1"):
        run(start, tmp_path / "killed", "--beta", 0.2)


@pytest.mark.peer
def test_the_same_as_trl(tmp_path):
    """Losses, rewards, advantages and gradients; TRL's softmax is float32's, so 1e-6."""
    for name in parity.NEEDS:
        pytest.importorskip(name)
    for compare, folder in ((parity.compare_dpo, "dpo"), (parity.compare_grpo, "grpo")):
        apart = dict(compare(str(tmp_path / folder)))
        assert len(apart) >= 9 and max(apart.values()) < 1e-6, apart
