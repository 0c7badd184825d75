"""
eval/agreement.py: what counts as agreement, and, where lm-evaluation-harness is installed, that it is found.

The comparison's teeth are the planted differences: one other pick, one perplexity a little off, a windowing of another
kind. Floats of one model computed by two programs differ in float32 by about 1e-4 nats an answer.
"""

import json

import pytest
import torch

from bpe.bpe import Tokenizer
from eval import agreement
from gpt import checkpoint
from gpt.llama import Config, Llama

TEXT = "Question: Which metal is liquid?\nAnswer: Mercury is. Tom had 3 kites, iron, A. B. C. D. " * 3
ROWS = [{"question": f"Which metal is {x}?", "choices": ["iron", "Mercury is", "the kite, 3", "2"], "answer": n % 4}
        for n, x in enumerate(["liquid", "3", "iron", "a kite", "Tom", "had"])]
VALUES, PICKS, FIGURES = [[-1.0, -2.0], [-3.0, -1.0]], [[0, 1], [0, 1]], {"word_perplexity": 7.4, "bits_per_byte": 0.5}


def test_agreement_has_teeth():
    numbers, agreed = agreement.compare((VALUES, PICKS), (VALUES, PICKS), FIGURES, FIGURES, [0, 0])
    assert agreed and numbers["arc_acc"] == numbers["arc_acc_harness"] == 0.5
    other = [PICKS[0], [0, 0]]                      # one question by one way, though the accuracy may be the same
    numbers, agreed = agreement.compare((VALUES, PICKS), (VALUES, other), FIGURES, FIGURES, [0, 0])
    assert not agreed and numbers["arc_acc_norm_questions_that_differ"] == 1
    for off, same in ((9e-4, True), (1.1e-3, False)):
        theirs = FIGURES | {"word_perplexity": 7.4 + off}
        assert agreement.compare((VALUES, PICKS), (VALUES, PICKS), FIGURES, theirs, [0, 0])[1] is same
    swapped = agreement.compare((VALUES, PICKS), (VALUES, [[1, 0], PICKS[1]]), FIGURES, FIGURES, [0, 0])
    assert swapped[0]["arc_acc"] == swapped[0]["arc_acc_harness"] and not swapped[1]


def test_without_the_harness_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(agreement.sys.modules, "lm_eval", None)
    with pytest.raises(SystemExit, match="lm_eval is not installed. How to get"):
        agreement.main(["--checkpoint", str(tmp_path), "--text", str(tmp_path)])


@pytest.mark.peer
def test_a_random_model_agrees_with_the_harness(tmp_path):
    pytest.importorskip("lm_eval")
    tokenizer = Tokenizer.train(TEXT, vocab_size=330)
    model = Llama(Config(tokenizer.n_vocab, n_layer=2, n_head=2, n_kv_head=1, n_embd=16, n_hidden=24, context=64))
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.normal_(0, 0.2, generator=generator)
    checkpoint.save(tmp_path / "run", 1, model, tokenizer)
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    texts = TEXT[:40], TEXT[::-1]                   # backwards, so that nothing merges: several windows
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with pytest.raises(SystemExit) as e:
        agreement.main(["--checkpoint", str(tmp_path / "run"), "--questions", str(tmp_path / "questions.jsonl"),
                        "--text", str(tmp_path / "texts.jsonl"), "--out", str(tmp_path / "out")])
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())["numbers"]
    assert e.value.code in (0, 1) and numbers["arc_largest_difference_nats"] < 1e-3, numbers
    assert numbers["arc_acc_questions_that_differ"] == numbers["arc_acc_norm_questions_that_differ"] == 0
    assert numbers["bits_per_byte_difference"] < 1e-5   # a random model's perplexity per word is astronomical
    records = [json.loads(line) for line in open(tmp_path / "texts.jsonl")]
    documents = [tokenizer.encode(r["text"]) for r in records]
    chopped, whole = (agreement.document_nats(model.eval(), documents, 0, stride)[0] for stride in (64, 32))
    assert abs(chopped.sum() - whole.sum()) > 1e-3  # teeth: windows of another stride would not agree
