"""The script that samples from a checkpoint: what it prints, and how it ends on a user's mistake."""

import pytest

from bpe.bpe import Tokenizer
from gpt import checkpoint, sample
from gpt.llama import Config, Llama

TOKENIZER = Tokenizer([])


@pytest.fixture
def run(tmp_path):
    """A model that says after each letter the next: its blocks are the identity, its head looks one ahead."""
    model = Llama(Config(TOKENIZER.n_vocab, n_layer=1, n_embd=TOKENIZER.n_vocab + 3, n_head=1, n_kv_head=1,
                         n_hidden=4, context=64, tie=False))
    model.model.embed_tokens.weight.data.zero_().fill_diagonal_(1.0)
    model.lm_head.weight.data.zero_()[:, :-3].fill_diagonal_(1.0)
    model.lm_head.weight.data = model.lm_head.weight.data.roll(1, 0)
    for this, following in ((ord("z"), TOKENIZER.specials["<|end|>"]), (TOKENIZER.specials["<|assistant|>"], ord("a"))):
        model.lm_head.weight.data[following, this] = 2.0
    checkpoint.save(tmp_path / "run", 3, model, TOKENIZER)
    return str(tmp_path / "run")


def test_goes_on_from_a_prompt(run, capsys):
    sample.main(["--checkpoint", run, "--prompt", "abc", "--temperature", "0"])
    out = capsys.readouterr().out
    assert f"{run}/step_000003: step 3, " in out and "\nabcdefghijklmnopqrstuvwxyz\n" in out and "24 tokens, " in out


def test_samples_differ_and_repeat(run, capsys):
    outs = []
    for seed in ("0", "0", "1"):
        sample.main(["--checkpoint", run, "--samples", "2", "--temperature", "9", "--max-new", "20", "--seed", seed])
        outs.append(capsys.readouterr().out.split("\n\n")[1:3])
    assert outs[0] == outs[1] != outs[2] and outs[0][0] != outs[0][1]
    assert outs[2][0] == outs[0][1]                          # seeds follow each other


@pytest.mark.parametrize("args, message", [
    (["--checkpoint", "nowhere"], "no checkpoint at nowhere"), (["--top-p", "2"], "top_p=2.0 is not in"),
    (["--prompt", "a" * 64], "the prompt has 65 tokens; it may have 1 to 63"), (["--max-new", "0"], "max_new=0")],
    ids=str)
def test_mistakes(run, args, message):
    with pytest.raises(SystemExit) as error:
        sample.main(["--checkpoint", run, *args])
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_chat(run, capsys):
    """The template puts <|assistant|> after the message, and this model goes on from there."""
    sample.main(["--checkpoint", run, "--chat", "--prompt", "hi", "--temperature", "0", "--max-new", "5"])
    assert "\nabcde\n\n5 tokens, " in capsys.readouterr().out
