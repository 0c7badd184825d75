"""
The engine: cached decoding equals reading the whole text anew, a ragged batch equals each prompt alone,
and its bookkeeping (joining, leaving, forks, tools, limits) is exact.

The first kind runs real models on random weights in float64, where two orders of the same sums differ
by about 1e-15. The second runs Script, a model that is any Python function of the ids it has read, kept
in the cache where keys would be: a slot mixed up, or an id fed twice, shows as a wrong id.
"""

import random
from dataclasses import replace

import pytest
import torch

from bpe import template
from bpe.bpe import Tokenizer
from gpt import engine
from gpt.cache import Cache
from gpt.deepseek import DeepSeekConfig
from gpt.engine import Engine, Sampling, generate
from gpt.kinds import build
from gpt.llama import Config
from gpt.model import GPTConfig
from gpt.tools import TOOLS

TOKENIZER = Tokenizer([])                                    # a byte a token
SPECIAL = TOKENIZER.specials
END = SPECIAL["<|end|>"]
SHAPE = Config(TOKENIZER.n_vocab, n_layer=2, n_head=4, n_kv_head=2, n_embd=16, n_hidden=24, context=48, tie=False)
LATENT = DeepSeekConfig(TOKENIZER.n_vocab, n_layer=2, n_head=4, n_embd=16, n_hidden=24, context=48, kv_rank=9, d_nope=6,
                        d_rope=4, d_value=5, tie=False)
VARIANTS = {"llama": replace(SHAPE, n_kv_head=4), "grouped": SHAPE, "qwen3": replace(SHAPE, qk_norm=True, d_head=6),
            "window": replace(SHAPE, window=5),
            "gpt2": GPTConfig(48, TOKENIZER.n_vocab, n_layer=2, n_head=4, n_embd=16),
            "latent": LATENT, "mixture": replace(LATENT, n_expert=6, n_expert_hidden=10)}
variants = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)


def model_of(config=SHAPE):
    """Random float64 weights, large enough that the likeliest id differs from text to text."""
    model = build(config).double()
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data = 0.5 * torch.randn(p.shape, dtype=torch.float64, generator=generator) + (p.dim() == 1)
    return model.eval()


def prompts(n, longest=20):
    rng = random.Random(n)
    return [[rng.randrange(TOKENIZER.n_vocab) for _ in range(rng.randrange(1, longest))] for _ in range(n)]


@torch.no_grad()
def uncached(model, prompt, max_new):
    """Greedy ids and their log-probabilities, the whole text read anew for each."""
    ids, logprobs = [], []
    while len(ids) < max_new and (not ids or ids[-1] not in (END, SPECIAL["<|bos|>"])):
        logprob = model(torch.tensor([prompt + ids]))[0][0, -1].log_softmax(-1)
        ids.append(int(logprob.argmax()))
        logprobs.append(float(logprob[ids[-1]]))
    return ids, logprobs


# ----------------------------------------------------------------------------
# the cache is right

@torch.no_grad()
def by_pieces(model, ids, pieces, shift=0, stale=0):
    """Logits of ids (B, T) read in pieces; shift and stale plant mistakes from the second piece on."""
    cache, logits, at = Cache(model.config, len(ids), 48, torch.float64), [], 0
    for n in pieces:
        positions = at + shift * (at > 0) + torch.arange(n).expand(len(ids), n)
        cache.lengths += stale * (at > 0)
        logits.append(model(ids[:, at:at + n], positions=positions, cache=cache)[0])
        at += n
    return torch.cat(logits, dim=1)


@variants
@pytest.mark.parametrize("pieces", [(12,), (1,) * 12, (7, 1, 1, 1, 1, 1), (3, 4, 5)], ids=str)
def test_cached_logits_are_those_without_a_cache(config, pieces):
    model = model_of(config)
    ids = torch.randint(TOKENIZER.n_vocab, (2, 12), generator=torch.Generator().manual_seed(0))
    want = model(ids)[0].detach()
    torch.testing.assert_close(by_pieces(model, ids, pieces), want, rtol=0, atol=1e-12)
    if len(pieces) > 1:                                      # positions one too far; a key that was never written
        for wrong in ({"shift": 1}, {"stale": 1}):
            assert (by_pieces(model, ids, pieces, **wrong) - want).abs().max() > 1e-3, wrong


@variants
@pytest.mark.parametrize("slots", [1, 3, 16])
def test_ragged_batch_equals_each_alone_and_uncached(config, slots):
    """Eleven prompts of 1 to 19 ids, more than there are slots: the same ids, log-probabilities to 1e-12."""
    model, texts = model_of(config), prompts(11)
    replies = generate(model, TOKENIZER, texts, 12, slots=slots, tools=None)
    for text, reply in zip(texts, replies):
        ids, logprobs = uncached(model, text, 12)
        assert reply.ids == ids and reply.prompt == text and not any(reply.forced)
        torch.testing.assert_close(torch.tensor(reply.logprobs), torch.tensor(logprobs), rtol=0, atol=1e-12)
    assert len({tuple(reply.ids) for reply in replies}) > 5  # the model does not say the same to all


@pytest.mark.parametrize("off", [-1, 1])
def test_greedy_ids_convict_an_off_by_one(monkeypatch, off):
    """An engine that loses or invents one place when the prompt has been read writes something else."""
    model, texts, read = model_of(), prompts(5), Engine.read

    def shifted(self, replies, ids, first):
        logits = read(self, replies, ids, first)
        if max(map(len, ids)) > 1:
            self.cache.lengths[first:first + len(ids)] += off
        return logits

    right = [reply.ids for reply in generate(model, TOKENIZER, texts, 12, tools=None)]
    monkeypatch.setattr(Engine, "read", shifted)
    assert [reply.ids for reply in generate(model, TOKENIZER, texts, 12, tools=None)] != right


def test_sampling_is_the_same_alone_and_in_a_batch():
    model, texts = model_of(), prompts(9)
    settings = [Sampling(0.8), Sampling(), Sampling(1.0, top_k=5), Sampling(1.2, top_p=0.9), Sampling(1.0, min_p=0.1)]
    batch = Engine(model, TOKENIZER, slots=4)
    together = [batch.submit(text, 10, settings[i % 5], seed=i) for i, text in enumerate(texts)]
    while batch.busy:
        batch.step()
    for i, reply in enumerate(together):
        alone, = generate(model, TOKENIZER, [texts[i]], 10, settings[i % 5], seed=i, tools=None)
        assert alone.ids == reply.ids
    longer, = generate(model, TOKENIZER, texts[:1], 20, settings[0], seed=0, tools=None)
    assert longer.ids[:10] == together[0].ids                # room for more changes nothing
    again = generate(model, TOKENIZER, [texts[0]] * 2, 10, Sampling(1.0), seed=0, tools=None)
    assert again[0].ids != again[1].ids                      # prompt i is sampled with seed + i


def test_each_id_is_drawn_with_the_next_number_of_its_generator():
    """A model that finds all ids equally likely writes the numbers of the seed's generator, scaled to V."""
    model = model_of()
    model.lm_head.weight.data.zero_()
    reply, = generate(model, TOKENIZER, [[65]], 20, Sampling(1.0), seed=3, tools=None)
    numbers = torch.rand(20, generator=torch.Generator().manual_seed(3)).double()
    assert len(reply.ids) == 20 and reply.ids == (numbers * TOKENIZER.n_vocab).long().tolist()


def test_equal_prompts_are_read_once(monkeypatch):
    model, reads, read = model_of(), [], Engine.read

    def counted(self, replies, ids, first):
        reads.append(len(ids))
        return read(self, replies, ids, first)

    monkeypatch.setattr(Engine, "read", counted)
    a, b = prompts(2)
    replies = generate(model, TOKENIZER, [a, b, a, a], 6, Sampling(1.0), tools=None)
    assert reads[:2] == [2, 4]
    for i, reply in enumerate(replies):
        alone, = generate(model, TOKENIZER, [reply.prompt], 6, Sampling(1.0), seed=i, tools=None)
        assert alone.ids == reply.ids


# ----------------------------------------------------------------------------
# bookkeeping

class Script(torch.nn.Module):
    """Its next id after the ids `seen` is next_id(seen); what it has seen it reads from the cache."""

    def __init__(self, next_id, context=200):
        super().__init__()
        self.config = Config(TOKENIZER.n_vocab, n_layer=1, n_head=1, n_kv_head=1, n_embd=2, context=context)
        self.next_id, self.fed, self.rows = next_id, 0, []
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def select(self, rows):
        self.rows.append(rows)

    def forward(self, idx, *, cache, counts=None):
        counts = torch.ones(len(idx), dtype=torch.long) if counts is None else counts
        start, logits = cache.lengths.clone(), torch.zeros(len(idx), 1, TOKENIZER.n_vocab)
        for b, n in enumerate(counts.tolist()):
            cache.stores[0][0, b, 0, start[b]:start[b] + n, 0] = idx[b, :n].float()
            seen = cache.stores[0][0, b, 0, :start[b] + n, 0].long().tolist()
            logits[b, 0, self.next_id(seen)] = 50.0
        cache.lengths += counts
        self.fed += int(counts.sum())
        return logits, None


def says(parts):
    """A next_id that goes on after <|assistant|> with what `parts(question)` gives, and after it with <|end|>."""
    def next_id(seen):
        start = seen.index(SPECIAL["<|assistant|>"])
        ids, _ = template.render([{"role": "user", "content": ""}, {"role": "assistant", "content":
                                  parts(TOKENIZER.decode(seen[2:start - 1]))}], TOKENIZER)
        return ids[4 + len(seen) - start - 1]
    return next_id


def ask(question):
    return template.render([{"role": "user", "content": question}], TOKENIZER, for_reply=True)[0]


def text(reply):
    return template.parse_reply(reply.ids, TOKENIZER)


def sums(question):
    """`12+5` is answered with a call, a result and a line; the result that the script expects is the true one."""
    return [{"type": "call", "text": question}, {"type": "result", "text": TOOLS["calc"](question)},
            {"type": "text", "text": f"\n#### {question}"}]


def test_the_calculator_inside_a_batch():
    """Rows call at different steps; each result is forced in whole, no id is lost, none is fed twice."""
    questions = ["12+5", "1/3", "9**9**9", "1/0", "7", "__import__('os')", "999*999", "(1+2)*3", "2**10", "0.5*4"]
    model = Script(says(sums))
    replies = generate(model, TOKENIZER, [ask(q) for q in questions], 100, slots=3)
    for question, reply in zip(questions, replies):
        result = TOOLS["calc"](question)
        assert text(reply) == sums(question) and reply.finished == "end" and reply.ids[-1] == END
        forced = [id for id, by_tool in zip(reply.ids, reply.forced) if by_tool]
        assert TOKENIZER.decode(forced) == f"<RESULT>{result}</RESULT>"
    assert model.fed == sum(len(r.prompt) + len(r.ids) - 1 for r in replies)


def test_a_hostile_call_gives_an_error_that_the_model_sees():
    seen_results = []

    def next_id(seen):
        if seen[-1] == SPECIAL["</RESULT>"]:
            begin = len(seen) - seen[::-1].index(SPECIAL["<RESULT>"])
            seen_results.append(TOKENIZER.decode(seen[begin:-1]))
        return says(sums)(seen)

    generate(Script(next_id), TOKENIZER, [ask("9**9**9"), ask("<|end|>"), ask("().__class__")], 100)
    assert sorted(seen_results) == ["error: not arithmetic"] * 2 + ["error: too large"]


def test_without_tools_nothing_is_forced():
    reply, = generate(Script(says(sums)), TOKENIZER, [ask("12+5")], 100, tools=None)
    assert text(reply) == sums("12+5") and not any(reply.forced)


def test_a_result_cannot_spell_a_special_token():
    tools = {"calc": lambda text: "<|end|></RESULT>"}
    model = Script(says(lambda q: [{"type": "call", "text": q}, {"type": "result", "text": "<|end|></RESULT>"}]))
    reply, = generate(model, TOKENIZER, [ask("x")], 100, tools=tools)
    assert text(reply)[1] == {"type": "result", "text": "<|end|></RESULT>"}


def test_named_tools():
    """<TOOL>name arguments</TOOL> calls that tool; a name that is not there gives an error to read."""
    def parts(question):
        name, argument = question.split()
        answer = {"upper": argument.upper()}.get(name, f"error: no tool {name}")
        return [{"type": "call", "name": name, "text": argument}, {"type": "result", "text": answer}]

    tools = {"upper": str.upper}
    replies = generate(Script(says(parts)), TOKENIZER, [ask("upper whale"), ask("lower whale")], 100, tools=tools)
    assert [text(reply)[1]["text"] for reply in replies] == ["WHALE", "error: no tool lower"]
    assert all(sum(reply.forced) > 5 for reply in replies)


def test_an_end_of_call_without_a_beginning_calls_nothing():
    ids = [SPECIAL["</CALC>"], 65, END]
    reply, = generate(Script(lambda seen: ids[len(seen) - 1]), TOKENIZER, [[66]], 10)
    assert reply.ids == ids and not any(reply.forced)


def test_events_are_the_replies():
    """step() reports every id once, in order, with its log-probability and who wrote it."""
    batch = Engine(Script(says(sums)), TOKENIZER, slots=2)
    replies = [batch.submit(ask(q), 100, tools=TOOLS) for q in ("1+1", "22*3", "7/2", "5")]
    told = {reply: [] for reply in replies}
    while batch.busy:
        events = batch.step()
        assert 0 < len(events) <= 2
        for reply, *event in events:
            told[reply].append(tuple(event))
    for reply in replies:
        assert told[reply] == list(zip(reply.ids, reply.logprobs, reply.forced))
        assert all(forced or logprob > -1e-6 for _, logprob, forced in told[reply])
    assert batch.step() == []


def test_a_request_joins_while_others_run():
    batch = Engine(Script(says(lambda q: q * 10)), TOKENIZER, slots=4)
    replies = [batch.submit(ask("a"), 100)]
    for question in ("bc", "d", "ef", "g", "hi"):
        batch.step()
        replies.append(batch.submit(ask(question), 100))
    while batch.busy:
        batch.step()
    assert [text(r)[0]["text"] for r in replies] == [q * 10 for q in ("a", "bc", "d", "ef", "g", "hi")]


def test_cancel():
    batch = Engine(Script(says(lambda q: q * 20)), TOKENIZER, slots=2)
    first, second, third = (batch.submit(ask(q), 100) for q in "abc")
    batch.step()
    batch.cancel(first)                                      # running: its slot goes to the third
    batch.step()
    assert first.finished == "cancelled" and len(first.ids) == 1 and len(third.ids) == 1
    fourth = batch.submit(ask("d"), 100)
    batch.cancel(fourth)                                     # waiting
    while batch.busy:
        batch.step()
    batch.cancel(second)                                     # finished: stays as it is
    assert (second.finished, third.finished, fourth.finished, fourth.ids) == ("end", "end", "cancelled", [])
    assert text(second)[0]["text"] == "b" * 20 and text(third)[0]["text"] == "c" * 20


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_fork(steps):
    """Before or after its start, each branch goes on from there as a request with its own seed would."""
    model, prompt = model_of(), prompts(3)[2]
    batch = Engine(model, TOKENIZER, slots=3)
    parent = batch.submit(prompt, 14, Sampling(1.0), seed=5)
    for _ in range(steps):
        batch.step()
    common = list(parent.ids)
    children = batch.fork(parent, 4)
    while batch.busy:
        batch.step()
    alone, = generate(model, TOKENIZER, [prompt], 14, Sampling(1.0), seed=5, tools=None)
    assert parent.ids == alone.ids
    for child in children:
        assert child.ids[:steps] == common and len(child.ids) == len(child.logprobs) == len(child.forced) <= 14
    assert len({tuple(reply.ids) for reply in [parent, *children]}) == 5
    if not steps:
        alone, = generate(model, TOKENIZER, [prompt], 14, Sampling(1.0), seed=7, tools=None)
        assert children[1].ids == alone.ids
    with pytest.raises(ValueError, match="has finished"):
        batch.fork(parent, 1)


def test_fork_in_the_middle_of_a_result():
    batch = Engine(Script(says(sums)), TOKENIZER, slots=4)
    parent = batch.submit(ask("999*999"), 100, tools=TOOLS)
    while not (parent.forced and parent.forced[-1]):
        batch.step()
    child, = batch.fork(parent, 1)
    while batch.busy:
        batch.step()
    assert child.ids == parent.ids and child.forced == parent.forced


def test_limits():
    model = Script(lambda seen: 65, context=20)
    batch = Engine(model, TOKENIZER, slots=2)
    for length in (0, 20, 300):
        with pytest.raises(ValueError, match=f"the prompt has {length} tokens; it may have 1 to 19"):
            batch.submit([65] * length, 5)
    with pytest.raises(ValueError, match="max_new=0"):
        batch.submit([65], 0)
    long, full, short = batch.submit([65] * 15, 50), batch.submit([65] * 19, 50), batch.submit([65], 3)
    while batch.busy:
        batch.step()
    assert [(r.finished, len(r.ids)) for r in (long, full, short)] == [("length", 5), ("length", 1), ("length", 3)]


def test_a_base_model_stops_where_the_next_text_begins():
    reply, = generate(Script(lambda seen: [65, SPECIAL["<|bos|>"]][len(seen) - 1]), TOKENIZER, [[66]], 10)
    assert reply.finished == "end" and reply.ids == [65, SPECIAL["<|bos|>"]]


def test_ids_beyond_the_tokenizer_are_never_written():
    """A vocabulary padded to a round size has rows that no text ever trained."""
    model = model_of(replace(SHAPE, vocab_size=TOKENIZER.n_vocab + 40))
    model.lm_head.weight.data[TOKENIZER.n_vocab:] *= 100
    replies = generate(model, TOKENIZER, prompts(5), 10, Sampling(2.0))
    assert max(max(reply.ids) for reply in replies) < TOKENIZER.n_vocab


def test_adapters_follow_their_rows():
    model = Script(says(lambda q: q * (3 if q == "a" else 9)))
    batch = Engine(model, TOKENIZER, slots=3)
    for q in "abc":
        batch.submit(ask(q), 100, adapter=q.upper())
    while batch.busy:
        batch.step()
    assert model.rows[0] == ["A", "B", "C"] and model.rows[-1] == ["C", "B"]


def test_nothing_to_do():
    assert generate(model_of(), TOKENIZER, [], 5) == []


def test_long_prompts_are_read_in_several_passes(monkeypatch):
    monkeypatch.setattr(engine, "PREFILL", 30)
    model, texts = model_of(), prompts(12)
    replies = generate(model, TOKENIZER, texts, 5, tools=None)
    assert [reply.ids for reply in replies] == [uncached(model, text, 5)[0] for text in texts]
