"""
Our DPO and GRPO beside TRL's on the same batch: losses, rewards, advantages, log-probabilities and every gradient.

    pip install --no-deps trl datasets multiprocess pandas   # --no-deps: none of it may bring another torch
    pip install transformers accelerate pyarrow dill xxhash fsspec jinja2 safetensors
    python align/parity.py

TRL's own trainers are built around our random model in Hugging Face's form (gpt/hf.py), and their loss is asked for.
Their batch is padded and masked, ours is packed. A figure is the largest difference over the largest value. Ours is
float64 and the model a GPT-2, since transformers norms and rotates a Llama in float32; what is left is that TRL takes
the softmax in float32, so about 1e-7. It has to be below 1e-6.

What TRL calls otherwise: its ipo is length-normalized, as `--ipo --length-normalized` here; its GRPO multiplies the KL
by the ratio unless told not to, as `--unbiased-kl` does here; cDPO it has no more.
Made with trl 1.16, transformers 5.23. Left out on purpose: what TRL generates, since the samples are given to it.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import tempfile
from importlib.util import find_spec

import numpy as np
import torch

from align import dpo, grpo
from align.policy import logprobs, own, pack, replies, totals
from bpe.bpe import Tokenizer
from gpt import hf
from gpt.model import GPT, GPTConfig
from train.amp import Mixed

FULL = Mixed(torch.device("cpu"), torch.float32)
TOKENIZER = Tokenizer([])                                    # a byte a token
PAD = TOKENIZER.specials["<|pad|>"]
NEEDS = "trl", "transformers", "datasets", "accelerate", "safetensors"
BETA, CLIP, WIDTH, PROMPT = 0.3, 0.2, 48, 5


def make_model(seed):
    model = GPT(GPTConfig(block_size=WIDTH, vocab_size=TOKENIZER.n_vocab, n_layer=2, n_head=2, n_embd=24))
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data.normal_(0, 0.2, generator=generator).add_(p.dim() == 1)
    return model.double()


def make_sequences(n, forced=False):
    """n (ids, mask), replies of every length; forced: two tokens inside each are a tool's."""
    rng, made = np.random.default_rng(0), []
    for reply in rng.integers(6, 40, n):
        mask = np.r_[np.zeros(PROMPT, dtype=bool), np.ones(reply, dtype=bool)]
        mask[PROMPT + 2:PROMPT + 4] = not forced
        made.append((rng.integers(1, 250, PROMPT + reply), mask))
    return made


def theirs(model, folder):
    """The model as transformers has it."""
    from transformers import AutoModelForCausalLM
    hf.save_hf(model, TOKENIZER, folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


def padded(rows, value):
    width = max(map(len, rows))
    return torch.tensor([list(row) + [value] * (width - len(row)) for row in rows])


def difference(a, b, scale=None):
    """The largest difference over the largest value."""
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    return ((a - b).abs().max() / (b if scale is None else scale).abs().max()).item()


def gradients(loss, model, other_loss, other):
    """The worst difference of all, over the largest gradient. transformers keeps GPT-2's matrices as (in, out)."""
    loss.backward()
    other_loss.backward()
    grads = {name: p.grad.t() if ".c_" in name and p.dim() == 2 else p.grad for name, p in other.named_parameters()}
    largest = torch.stack([g.abs().max() for g in grads.values()])
    worst = max(difference(p.grad, grads[name], largest) for name, p in model.named_parameters())
    model.zero_grad()
    other.zero_grad()
    return worst


# ----------------------------------------------------------------------------
# DPO

def compare_dpo(folder):
    """Yields (what, difference)."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    model, reference, sequences = make_model(0), make_model(1), make_sequences(6)
    other, other_reference = theirs(model, f"{folder}/a"), theirs(reference, f"{folder}/b")
    inputs = {"input_ids": padded([ids.tolist() for ids, _ in sequences], PAD),
              "attention_mask": padded([[1] * len(ids) for ids, _ in sequences], 0),
              "completion_mask": padded([mask.astype(int).tolist() for _, mask in sequences], 0)}
    past, part = replies(reference, sequences, WIDTH, PAD, FULL), pack(sequences, WIDTH, PAD)[0]
    lengths = own(sequences)
    variants = {"sigmoid": {}, "ipo": {"ipo": True, "lengths": lengths}, "sigmoid_norm": {"lengths": lengths}}
    rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    for name, how in variants.items():
        config = DPOConfig(output_dir=folder, use_cpu=True, bf16=False, report_to=[], beta=BETA, loss_type=name)
        trainer = DPOTrainer(other, other_reference, config, train_dataset=rows, processing_class=tokenizer(folder))
        trainer.model.train()
        want = trainer._compute_loss(trainer.model, inputs, False)
        policy = totals(logprobs(model, part, FULL), part)
        loss = dpo.preference_loss(policy, past, BETA, **how).mean()
        yield f"DPO {name}: loss", difference(loss.detach(), want.detach())
        yield f"DPO {name}: gradients", gradients(loss, model, want, other)
        chosen, rejected = (BETA * x.detach() for x in dpo.log_ratios(policy, past))
        logged = {key: x[-1] for key, x in trainer._metrics["train"].items() if key.startswith("rewards/")}
        yield f"DPO {name}: rewards", max(difference(chosen.mean(), logged["rewards/chosen"], chosen),
                                          difference(rejected.mean(), logged["rewards/rejected"], chosen),
                                          difference((chosen - rejected).mean(), logged["rewards/margins"], chosen))


def tokenizer(folder):
    from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(f"{folder}/a")


# ----------------------------------------------------------------------------
# GRPO

def compare_grpo(folder, groups=3, size=4):
    """Yields (what, difference). The second of two updates, so that ratios are not 1 and some are clipped."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer
    from trl.trainer.utils import add_fused_lm_head
    n = groups * size
    model, old, reference, sequences = make_model(0), make_model(0), make_model(1), make_sequences(n, forced=True)
    for p in model.parameters():                             # what an update might have done
        p.data.add_(0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
    rewards = torch.rand(groups, size, generator=torch.Generator().manual_seed(3))
    other, before, other_reference = (theirs(m, f"{folder}/{name}")
                                      for m, name in ((model, "a"), (old, "c"), (reference, "b")))
    drawn = ([ids[:PROMPT].tolist() for ids, _ in sequences], [ids[PROMPT:].tolist() for ids, _ in sequences],
             [mask[PROMPT:].astype(int).tolist() for _, mask in sequences], ["-"] * n, None, {}, None, None)
    rows = Dataset.from_list([{"prompt": "a"}] * n)
    part, = pack(sequences, WIDTH, PAD)
    with torch.no_grad():
        past, ref = logprobs(old, part, FULL), logprobs(reference, part, FULL)
    for normalize, unbiased in zip((*grpo.NORMALIZE, "dapo"), (False, False, False, True)):
        config = GRPOConfig(output_dir=folder, use_cpu=True, bf16=False, report_to=[], beta=BETA, epsilon=CLIP,
                            loss_type=normalize, scale_rewards="none" if normalize == "dr_grpo" else "group",
                            num_generations=size, per_device_train_batch_size=n, gradient_accumulation_steps=1,
                            num_iterations=2, max_completion_length=WIDTH, disable_dropout=True,
                            use_bias_correction_kl=unbiased)
        trainer = GRPOTrainer(before, lambda completions, **_: rewards.flatten().tolist(), config, train_dataset=rows,
                              processing_class=tokenizer(folder))
        trainer.ref_model, trainer._generate = other_reference, lambda prompts: drawn
        for net in (other, other_reference):
            add_fused_lm_head(net, outputs=("log_probs", "entropy"))
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        scored = trainer._generate_and_score_completions([{"prompt": "a"}] * n)
        want = trainer._compute_loss(other, scored)

        logp, owner = logprobs(model, part, FULL), part.owner
        advantage = grpo.advantages(rewards, scale=normalize != "dr_grpo").flatten()
        weight = grpo.weights(own(sequences), normalize, WIDTH, n, int(own(sequences).sum()))
        loss = (weight[owner] * grpo.token_loss(logp, past, ref, advantage[owner], CLIP, BETA, unbiased)).sum()
        name = f"GRPO {normalize}{', unbiased KL' * unbiased}"
        yield f"{name}: advantages", difference(advantage, scored["advantages"])
        order = owner.argsort(stable=True)
        keep = scored["tool_mask"].bool() & scored["completion_mask"].bool()
        yield f"{name}: when drawn", difference(past[order], scored["old_per_token_logps"][keep])
        yield f"{name}: loss", difference(loss.detach(), want.detach())
        yield f"{name}: gradients", gradients(loss, model, want, other)


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return p.parse_args(argv)


def main(argv=None):
    parse(argv)
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        sys.exit(f"this needs {', '.join(missing)}. How to get them without another torch: python align/parity.py -h")
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, compare in (("DPO", compare_dpo), ("GRPO", compare_grpo)):
            for what, apart in compare(folder):
                worst = max(worst, apart)
                print(f"{what:48} {apart:.1e}", flush=True)
    if worst > 1e-6:
        sys.exit(f"they differ by {worst:.1e}. Is it another version of TRL? This was made with 1.16")
    print(f"the same to {worst:.1e}")


if __name__ == "__main__":
    main()
