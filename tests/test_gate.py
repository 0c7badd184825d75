"""
The gate: its bound is exact, won questions do not pay for lost ones, ten small drops do not add up unseen, its three
sets have no question in common, and the base answers each question once.
"""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from continual import gate as gating
from continual.gate import DROP, Gate, asked, compare, judge, sets, suite, upper

N = 994


def chance(k, n, p):
    """Of k or fewer."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


@pytest.mark.parametrize("k, n", [(0, 994), (1, 7), (4, 994), (3, 162), (40, 50), (0, 1)])
def test_upper_is_where_the_chance_is_five_percent(k, n):
    assert chance(k, n, upper(k, n)) == pytest.approx(0.05, abs=1e-9)


def test_upper_at_the_ends():
    assert upper(0, 994) == pytest.approx(1 - 0.05 ** (1 / 994), abs=1e-12)   # the closed form
    assert upper(5, 5) == 1.0
    assert upper(4, N) < DROP < upper(5, N)


def covered(bound, n, p):
    """How often the bound is at least p, if p is the truth."""
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1) if bound(k, n) >= p)


def test_upper_covers_and_the_normal_one_does_not():
    """Whatever the truth is, the bound is above it 95% of the time; k/n + 1.645 standard errors is not."""
    normal = lambda k, n: k / n + 1.645 * math.sqrt(k / n * (1 - k / n) / n)
    truths = [0.001, 0.005, 0.02, 0.1, 0.4, 0.9]
    assert all(covered(upper, 60, p) >= 0.95 for p in truths)
    assert min(covered(normal, 60, p) for p in truths) < 0.5


def rows(passed, kinds=("chat", "sums")):
    return [{"task": kinds[i % len(kinds)], "question": str(i), "reply": "", "ended": True, "passed": bool(ok)}
            for i, ok in enumerate(passed)]


LEARNED = [{"passed": True}] * 20


def test_lost_and_won_are_counted_apart():
    found = compare(rows([1, 1, 0, 0, 1, 1]), rows([0, 1, 1, 0, 1, 0]))
    assert found["all"] == {"n": 6, "lost": 2, "won": 1, "drop": 1 / 6, "upper": upper(2, 6)}
    assert (found["chat"]["lost"], found["chat"]["won"], found["sums"]["lost"]) == (1, 1, 1)


def lose(count, of=N):
    return rows([i >= 2 * count or i % 2 for i in range(of)])     # all of one kind, the first


def test_four_of_994_may_be_lost_and_five_may_not():
    right = rows([1] * N)
    assert judge(right, right, lose(4), LEARNED).accepted
    verdict = judge(right, right, lose(5), LEARNED)
    assert not verdict.accepted and "5 of 994 lost, up to 1.1 points" in verdict.reasons[0]


def test_winning_does_not_pay():
    """Nine lost and thirty won is a better score, and a broken skill."""
    before = rows([i < N - 30 for i in range(N)])
    after = rows([i >= 9 for i in range(N)])
    verdict = judge(before, before, after, LEARNED)
    assert verdict.scores["first"]["all"]["drop"] < 0 and not verdict.accepted


def test_ten_small_drops_do_not_pass_one_by_one():
    first, versions = rows([1] * N), [lose(3 * n) for n in range(4)]
    passed = [judge(first, a, b, LEARNED) for a, b in zip(versions, versions[1:])]
    assert passed[0].accepted and not passed[1].accepted
    assert all(v.scores["previous"]["all"]["upper"] < DROP for v in passed)      # each alone would pass
    assert passed[1].reasons == [reason for reason in passed[1].reasons if "first version" in reason]


def test_one_kind_cannot_hide_among_the_others():
    kinds = ("rare",) + ("other",) * 19
    right = rows([1] * N, kinds)
    verdict = judge(right, right, rows([i not in (0, 20, 40) for i in range(N)], kinds), LEARNED)
    assert not verdict.accepted and "rare 3 of 50 lost" in verdict.reasons[0] and "of 994" not in verdict.reasons[0]


def test_what_is_not_learned_is_refused():
    right = rows([1] * N)
    recalled = lambda right_ones, n: judge(right, right, right, [{"passed": i < right_ones} for i in range(n)])
    assert recalled(11, 20).reasons == ["not learned: 55% of 20 questions in wordings that it was not trained on; "
                                        "80% are wanted, give or take chance"]
    assert recalled(13, 18).accepted and not recalled(72, 100).accepted          # a hundred leave less to chance
    assert recalled(2, 3).accepted and not recalled(1, 3).accepted


# ----------------------------------------------------------------------------

def talk(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def item(question, kind="chat"):
    return {"messages": talk(question), "check": {"type": "contains", "answer": ["yes"]}, "kind": kind}


def corpus(folder):
    """A corpus whose files ask some of the same questions."""
    write = lambda name, records: (folder / name).write_text("".join(json.dumps(r) + "\n" for r in records))
    write("canaries.jsonl", [item(f"Canary {n}?") for n in range(6)])
    write("prompts_test.jsonl", [item("canary 2?"), item("Prompt 1?"), item("Prompt 1?")])
    four = [{"text": t, "label": label} for t, label in zip(("a moo", "a bark", "a hum", "a roar"), "ABCD")]
    write("questions_test.jsonl", [{"question": {"stem": f"What sound does animal {n} make?", "choices": four},
                                    "answerKey": "B"} for n in range(4)])
    write("arithmetic_test.jsonl", [{"question": "Canary 3?", "answer": "#### 3"},
                                    {"question": "Sum?", "answer": "x\n#### 12"}])
    write("sft_train.jsonl", [{"messages": talk("Hello there", "Hi.", text, "Well.")}
                              for text in ("Sum?", "Prompt 1?", "CANARY  5?", "A story, please.", "Who are you?")])
    return folder


def test_sets_have_no_question_in_common(tmp_path):
    found = sets(corpus(tmp_path))
    gate, audit = ({asked(i["messages"]) for i in items} for items in found[:2])
    replay = {asked(messages) for messages in found.replay}
    assert not gate & audit and not gate & replay and not audit & replay
    assert audit == {"prompt 1?", "sum?"} | {" ".join(
        f"what sound does animal {n} make? a. a moo b. a bark c. a hum d. a roar".split()) for n in range(4)}
    assert replay == {"a story, please.", "who are you?"} and len(found.gate) == 6
    assert [i["check"]["answer"] for i in found.audit if i["kind"] != "chat"] == [["a bark"]] * 4 + ["12"]


@pytest.mark.data
def test_sets_of_the_corpus():
    folder = Path("out/tinyworld/corpus")
    if not (folder / "canaries.jsonl").exists():
        pytest.skip("no corpus: bash run.sh")
    found = sets(folder)
    keys = [{asked(i["messages"]) for i in found.gate}, {asked(i["messages"]) for i in found.audit},
            {asked(messages) for messages in found.replay}]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    assert upper(0, len(found.gate)) < DROP and len(found.audit) > 900 and len(found.replay) == gating.REPLAY


class Asked(Gate):
    """A gate over answers that are known; it keeps what it was asked."""

    def __init__(self, questions, folder, base="b" * 64, routed=()):
        served = SimpleNamespace(adapter_for=lambda messages: "a lesson" if asked(messages) in routed else None)
        self.served, self.sets, self.cache, self.hash, self.kept = served, questions, folder, base, {}
        self.log = []

    def ask(self, talks, adapters):
        self.log += [(asked(t), adapter) for t, adapter in zip(talks, adapters)]
        return ["no" if adapter else "yes" for adapter in adapters], [True] * len(talks)


def test_the_base_answers_once_and_lessons_what_is_routed(tmp_path):
    questions = sets(corpus(tmp_path))
    first = Asked(questions, tmp_path / "cache")
    assert all(row["passed"] for row in first.base("gate")) and len(first.log) == 6
    again = Asked(questions, tmp_path / "cache", routed={"canary 1?"})
    after, routed = again.rows("gate")
    assert again.log == [("canary 1?", "a lesson")] and routed == 1
    assert [row["passed"] for row in after] == [True, False, True, True, True, True]
    other = Asked(questions, tmp_path / "cache", base="c" * 64)
    other.base("gate")
    assert len(other.log) == 6                               # another base has answers of its own


def test_check_shows_before_and_after(tmp_path):
    gate = Asked(sets(corpus(tmp_path)), tmp_path, routed={"who?"})
    row, missed = gate.check([("Who?", "no", 0), ("Where?", "Skarvo", 1)])
    assert (row["before"], row["reply"], row["passed"], row["fact"]) == ("yes", "no", True, 0)
    assert not missed["passed"] and missed["reply"] == "yes"


def test_suite_is_what_the_report_reads():
    scores = suite(rows([1, 0, 1, 1]))
    assert scores["all"]["value"] == 0.75 and scores["ends"]["value"] == 1.0 and len(scores["answers"]) == 4
