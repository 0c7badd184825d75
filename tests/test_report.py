"""
The report of a run and the checklist of the syllabus, from a run folder made by hand: the keys that
machines read, the words that people read, and that no answer of a model becomes part of the page.
"""

import json
import re
import sys
from html.parser import HTMLParser

import pytest

from eval import page, plots, progress, report, tables

SPY = "<script>alert('x')</script>"
ENVIRONMENT = {"python": "3.12.1", "threads": 2, "processor": "Two <b>cores</b>", "device": "cpu", "commit": None}


def score(value, n, chance=None, stderr=0.01):
    return {"value": value, "n": n, "stderr": stderr, "chance": chance}


def put(folder, name, script, finished, seconds=60.0, numbers=None, scores=None, canaries=None, answers=(), log=""):
    """One stage's folder: done.json, metrics.json and, if given, answers.jsonl and log.csv."""
    stage = folder / name
    stage.mkdir(parents=True)
    (stage / "done.json").write_text(json.dumps(
        {"name": name, "seconds": seconds, "peak_memory_bytes": 10**9 + finished, "finished": finished, "key": "k"}))
    (stage / "metrics.json").write_text(json.dumps(
        {"schema": 1, "script": script, "argv": ["--out", f"out dir/{name}"], "seed": 0, "checkpoint": "c",
         "data_sha": "d", "seconds": seconds, "peak_memory_bytes": 1, "numbers": numbers or {},
         "scores": scores or {}, "canaries": canaries, "environment": ENVIRONMENT}))
    if answers:
        (stage / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    if log:
        (stage / "log.csv").write_text(log)


def curve(first, last, steps=20):
    head = "step,seconds,tokens,loss_nats,perplexity,tokens_per_second,peak_memory_bytes,valid_loss_nats\n"
    return head + "".join(
        f"{i},{i * 15},{i * 4096},{last + (first - last) / (1 + i)},1,{9000 + i},{8e8 + i},"
        f"{last if i % 5 == 0 else ''}\n" for i in range(steps))


def answer(passed, i):
    parts = [{"type": "text", "text": f"{SPY} has "}, {"type": "call", "text": "2+3"},
             {"type": "result", "text": "5"}, {"type": "text", "text": f"5 & more.\n#### {i}"}]
    return {"task": "gsm8k_tiny", "question": f"How <many> are {i}?", "answer": "5", "reply": parts, "ended": True,
            "passed": passed}


def suite(arithmetic, story):
    both = (arithmetic + story) / 2
    return {"arithmetic": score(arithmetic, 200), "story": score(story, 200), "all": score(both, 400)}


@pytest.fixture
def run(tmp_path):
    run = tmp_path / "out" / "tinyworld"
    ledger = {"before": suite(0.1, 0.9), "after": suite(0.95, 0.8), "difference": {
        "arithmetic": score(0.85, 200), "story": score(-0.1, 200, stderr=0.02), "all": score(0.375, 400)}}
    put(run, "sft", "align/sft.py", 2, canaries=ledger, log=curve(2, 0.5))
    put(run, "pretrain", "train/train.py", 1, numbers={"valid_loss_nats": 1.5}, log=curve(7, 1.2), seconds=300.0)
    put(run, "eval_arithmetic", "eval/gsm8k.py", 3, answers=[answer(i % 3 > 0, i) for i in range(9)], scores={
        "gsm8k_tiny": score(0.98, 1000, 0.0), "gsm8k_tiny_no_tool": score(0.2, 1000, 0.0),
        "gsm8k_tiny_unseen": score(0.8, 500, 0.0), "gsm8k_tiny_lenient": score(0.99, 1000, 0.0)})
    put(run, "eval_science", "eval/choice.py", 4, scores={"science_choice": score(0.96, 550, 0.25), "other": None})
    put(run, "eval_fiction", "eval/perplexity.py", 5, numbers={
        "fiction_bits_per_byte": 0.7, "fiction_bits_per_byte_stderr": 0.002, "fiction_floor_bits_per_byte": 0.65,
        "fiction_over_floor": 0.7 / 0.65, "fiction_with_end_over_floor": 1.08})
    return run


def test_keys_for_machines(run):
    report.main(["--run", str(run), "--out", str(run), str(run.parent)])
    got = json.loads((run / "report.json").read_text())
    assert got == json.loads((run.parent / "report.json").read_text())
    assert got["total_seconds"] == 540 and got["peak_memory_bytes"] == 10**9 + 5
    assert [(s["name"], s["seconds"]) for s in got["stages"]][:2] == [("pretrain", 300.0), ("sft", 60.0)]
    want = {"gsm8k_tiny": 0.98, "gsm8k_tiny_no_tool": 0.2, "gsm8k_first200": None, "science_choice": 0.96,
            "fiction_bits_per_byte": 0.7, "fiction_floor_bits_per_byte": 0.65}
    assert {key: got["scores"][key] for key in want} == want
    assert got["details"]["science_choice"] == {**score(0.96, 550, 0.25), "folder": "eval_science"}
    assert got["ledger"][0]["stage"] == "sft" and got["ledger"][0]["difference"]["story"]["value"] == -0.1
    assert got["commands"]["sft"] == "python align/sft.py --out 'out dir/sft'" and got["environment"] == ENVIRONMENT


def test_words_for_people(run):
    report.main(["--run", str(run)])
    text = (run / "report.md").read_text()
    assert text.startswith(
        "# A model that solves 98.0% of TinyWorld arithmetic (GSM8K's form, synthetic), picks 96.0% of science answers "
        "right and writes fiction 7.7% above the entropy of its world, after 9 min 00 s\n")
    assert "| TinyWorld arithmetic (GSM8K's form, synthetic) | 98.0% | ± 1.0% | 1,000 | 0.0% | 97% reached |" in text
    assert "| TinyWorld arithmetic, skeletons never in train | 80.0% | ± 1.0% | 500 | 0.0% | 85% missed |" in text
    assert "| canaries | at first | after sft |" in text and "| story | 90.0% | 80.0% (-10.0 ± 2.0) |" in text
    assert "| pretrain | 5 min 00 s | 1.00 GB |" in text
    assert "gsm8k_tiny" not in text      # the key is for machines alone


class Strict(HTMLParser):
    """Every element that is opened is closed, in order; counts them by name."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], {}

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        for name, value in attrs:
            assert not name.startswith("on") and (name not in ("src", "href") or value.startswith("#"))
        if tag not in ("meta", "br", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(html):
    parser = Strict()
    parser.feed(html)
    assert not parser.open and "script" not in parser.seen and "b" not in parser.seen
    return parser.seen


def test_page_escapes_what_it_shows(run):
    report.main(["--run", str(run)])
    html = (run / "report.html").read_text()
    seen = parse(html)
    assert SPY not in html and "&lt;script&gt;alert" in html and "Two &lt;b&gt;cores" in html
    assert seen["details"] == 2 and html.count('class="sample"') == 4 and html.count(">wrong<") == 2
    assert 'calc 2+3</code> <code class="call">result: 5</code>' in html
    assert 'class="bad">80.0% (-10.0 ± 2.0)' in html and 'class="good">97% reached' in html
    assert not re.search(r"https?://(?!www\.w3\.org/)", html)     # loads nothing


def test_plots_take_the_page_s_colours(run):
    pytest.importorskip("matplotlib", reason="the plots need matplotlib")
    logs = {path.parent.name: report.read_log(path) for path in run.glob("*/log.csv")}
    drawn = plots.draw(report.gather(run), logs)
    assert [finding for finding, _ in drawn] == [
        "4 of 4 scores lie more than two standard errors above chance",
        "Loss falls in pretrain from 7.00 to 1.49, in sft from 2.00 to 0.57 nats a token (dots: validation)",
        "Training reads 9,010 tokens a second in the median", "Training peaks at 0.80 GB"]
    for _, svg in drawn:
        assert svg.startswith('<svg viewBox="0 0 ') and "var(--series0)" in svg and "#0a0a0" not in svg
    assert "TinyWorld arithmetic" in drawn[0][1]      # text stays text


def test_without_matplotlib_only_the_plots_are_missing(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    report.main(["--run", str(run)])
    html = (run / "report.html").read_text()
    assert "pip install matplotlib" in html and "svg" not in parse(html) and "98.0%" in html


def test_a_run_with_little_in_it(tmp_path):
    put(tmp_path / "run", "pretrain", "train/train.py", 1, numbers={"valid_loss_nats": 1.5})
    report.main(["--run", str(tmp_path / "run")])
    got = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(got["scores"].values()) == {None} and got["ledger"] == []
    parse((tmp_path / "run" / "report.html").read_text())
    with pytest.raises(SystemExit, match="no metrics.json in"):
        report.main(["--run", str(tmp_path)])
    (tmp_path / "run" / "pretrain" / "metrics.json").write_text("{")
    with pytest.raises(SystemExit, match="is no JSON"):
        report.main(["--run", str(tmp_path / "run")])


def test_what_is_measured_beside_the_run(run):
    """Scaling, baselines and contamination from out/eval, a line each, and a plot of the sweep."""
    rows = [{"parameters": n, "tokens": d, "loss_nats": 3 - 0.1 * i, "held_out": n == 80} for i, (n, d) in enumerate(
        [(10, 100), (20, 100), (40, 100), (10, 200), (20, 200), (40, 200), (80, 200)])]
    numbers = {"extrapolation_error": 0.012, "held_out_loss_nats": 2.4, "kaplan_alpha": 0.079}
    clean = {"test": "questions_test", "items": 544, "words": 8, "overlapping": 69, "near_duplicates": 16, "scores": {
        "science_choice": [score(0.96, 544), score(0.95, 528), score(0.94, 475)], "other": [score(1, 2), None, None]}}
    measured = {"scaling": {"numbers": numbers, "scaling": rows}, "contamination": {"contamination": [clean]},
                "baseline": {"numbers": {"moe_bits_per_byte": 0.5, "kneser_ney_bits_per_byte": 0.6}}}
    for name, more in measured.items():
        folder, whole = run.parent / "eval" / name, {"script": f"eval/{name}.py", "argv": [], "numbers": {}} | more
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(whole))
    report.main(["--run", str(run)])
    text, html = (run / "report.md").read_text(), (run / "report.html").read_text()
    assert "2.400 nats, as predicted to within 1.2%; Kaplan's exponent of the size is 0.079" in text
    assert "kneser-ney 0.600, moe 0.500" in text and "- scaling: `python eval/scaling.py`" in text
    assert "16 of 544 are near duplicates of training text, 69 share 8 words in a row" in text
    assert "Four-choice science 96.0%, without those 94.0%; other 100.0%, without those –" in text
    assert "the law predicts the one not fitted to 1.2%" in html and "contamination of questions test" in html
    parse(html)
    assert set(json.loads((run / "report.json").read_text())["beside"]) == {"scaling", "baseline", "contamination"}


def test_majority_stands_beside_chance(run):
    path = run / "eval_science" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["scores"]["science_choice"]["majority"] = 0.271
    path.write_text(json.dumps(metrics))
    report.main(["--run", str(run)])
    assert "| 25.0%, majority 27.1% |" in (run / "report.md").read_text()


def test_words_for_numbers():
    assert [tables.duration(x) for x in (0.4, 99, 100, 540)] == ["0 s", "99 s", "1 min 40 s", "9 min 00 s"]
    assert tables.duration(239.7) == "4 min 00 s" and tables.size(None) == "–"
    assert page.content("a < b") == "a &lt; b"
    assert tables.label("science_choice_letter") == "Four-choice science: by likelihood of the letter"
    assert tables.label("gsm8k_tiny_unseen_lenient").startswith("TinyWorld arithmetic, skeletons never in train: ")
    assert tables.label("canaries_all") == "canaries all"
    assert tables.label("science_choice_length") == "Four-choice science: by likelihood per character, question alone"
    assert tables.label("gsm8k_first200_lenient_pass_at_8") == (
        "GSM8K, first 200 test questions: last number counts: pass@8")


def test_progress_ticks_what_is_measured(run, capsys):
    progress.main(["--out", str(run.parent)])
    lines = capsys.readouterr().out.splitlines()
    ticked = [line.split()[1] for line in lines if line.startswith("  [x]")]
    assert ticked == ["train/train.py", "eval/gsm8k.py", "eval/choice.py", "eval/perplexity.py"]
    assert any("unseen skeletons" in line and "0.8" in line and "short of it" in line for line in lines)
    assert any("beyond/htm.py" in line and "not built yet" in line for line in lines)
    assert lines.count("      " + progress.QUESTIONS) == len(progress.WEEKS) == 17 and lines[-1].startswith("4 of ")


def test_progress_takes_the_newest_and_reads_over_rubbish(run, capsys):
    rubbish = run / "eval_old" / "metrics.json"
    rubbish.parent.mkdir()
    rubbish.write_text("[1]")
    progress.main(["--out", str(run.parent)])
    said = capsys.readouterr()
    assert "left out" in said.err and "0.98" in said.out
    progress.main(["--out", str(run / "nothing")])
    assert "0 of " in capsys.readouterr().out
