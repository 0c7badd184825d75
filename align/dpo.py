"""
Direct preference optimization: a model learns to prefer the better of two replies, without a reward model.

    python align/preferences.py --checkpoint out/tinyworld/sft/run --out out/tinyworld/pairs     # its own mistakes
    python align/dpo.py --checkpoint out/tinyworld/sft/run --pairs-from out/tinyworld/pairs --data out/tinyworld/corpus
    python align/dpo.py ... --ipo          # or --smoothing 0.1 (cDPO), --length-normalized
    python align/dpo.py ... --pairs 64     # seconds, to see that it runs

Of all policies, the one that maximizes E[reward] - beta KL(policy || reference) has

    reward(prompt, reply) = beta log(policy / reference) + something that depends on the prompt alone,

and in the difference of two replies to one prompt that something cancels. So the policy is its own reward model,
and fitting Bradley and Terry's P(chosen beats rejected) = sigmoid(difference of rewards) trains it directly.
Rafailov et al. 2023, eqs. 4 to 7: https://arxiv.org/abs/2305.18290

The reference is the model at the beginning; its log-probabilities are computed once. The same command continues a
run that was killed, to the same bits. Departs from the paper: AdamW for RMSprop, and a rate that falls to zero.
Left out on purpose: several GPUs (align/grpo.py has them), a trained reward model.

P = pairs; of 2P sequences, the first P are the chosen ones
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from align.ledger import Ledger
from align.policy import descend, k3, logprobs, own, pack, replies, totals
from align.preferences import pairs
from align.rollout import own_tokens, sample
from align.sft import settings
from eval.inputs import load_model
from gpt import checkpoint
from train.adamw import AdamW
from train.amp import Mixed
from train.device import device
from train.distributed import World
from train.guard import Guard, warn
from train.log import Log, write_metrics
from train.schedule import trapezoid
from train.state import Clock, capture, restore

COLUMNS = ("reward_chosen", "reward_rejected", "gradient_norm", "heldout_accuracy", "heldout_margin",
           "heldout_preference", "kl_nats_per_reply", "tokens_per_reply")
MAX_NEW = 160     # tokens of a reply drawn to see how far the policy has drifted


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--checkpoint", type=Path, required=True, help="the fine-tuned run, which is the reference as well")
    add("--data", type=Path, required=True, help="corpus folder, for the canaries and, by default, the pairs")
    add("--pairs-from", type=Path, help="folder of preferences_train.jsonl and a held-out file [that of --data]")
    add("--held-out", default="preferences_test.jsonl", help="pairs to measure on [%(default)s]")
    add("--out", type=Path, default=Path("out/align/dpo"), help="where to write [%(default)s]")
    add("--pairs", type=int, default=1600, help="pairs to train on, repeated ones counted again [%(default)s]")
    add("--batch", type=int, default=16, help="pairs of a step [%(default)s]")
    add("--length", type=int, help="tokens of a row, and of the longest conversation kept [the model's context]")
    add("--beta", type=float, default=0.1, help="how dear it is to leave the reference [%(default)s]")
    add("--ipo", action="store_true", help="square loss on the margin: Azar et al. 2023")
    add("--smoothing", type=float, default=0.0, help="share of pairs that may be the wrong way round, cDPO [0]")
    add("--length-normalized", action="store_true", help="log-ratios per token rather than per reply")
    add("--lr", type=float, default=3e-4, help="peak rate of AdamW [%(default)s]")
    add("--clip", type=float, default=1.0, help="largest gradient norm [%(default)s]")
    add("--seed", type=int, default=0, help="[%(default)s]")
    add("--eval-every", type=int, default=50, help="steps between measurements on held-out pairs [%(default)s]")
    add("--replies", type=int, default=100, help="drawn to measure KL and length [%(default)s]")
    add("--save-every", type=int, default=25, help="steps between checkpoints [%(default)s]")
    add("--log-every", type=int, default=10, help="steps between lines on the console [%(default)s]")
    add("--canaries", type=int, help="how many of the canaries to ask [all]")
    args = p.parse_args(argv)
    if args.beta <= 0 or not 0 <= args.smoothing < 0.5:
        p.error("--beta must be above zero, --smoothing from 0 to below 0.5")
    return args


# ----------------------------------------------------------------------------
# the loss

def log_ratios(policy, reference, lengths=None):
    """log(policy / reference) of the chosen and of the rejected replies, (P,) each; per token if lengths are given."""
    ratio = policy - reference                                                    # (2P,)
    return (ratio if lengths is None else ratio / lengths).chunk(2)


def preference_loss(policy, reference, beta, *, ipo=False, smoothing=0.0, lengths=None):
    """
    Nats, (P,). policy, reference: (2P,) log-probabilities of replies;  lengths: (2P,) tokens, to normalize by

    ipo        Azar et al. 2023, eq. 17: https://arxiv.org/abs/2310.12036 (TRL normalizes it by length, they do not)
    smoothing  cDPO, Mitchell 2023: https://ericmitchell.ai/cdpo.pdf
    """
    chosen, rejected = log_ratios(policy, reference, lengths)
    h = chosen - rejected                                                         # (P,)
    if ipo:
        return (h - 1 / (2 * beta)) ** 2
    return -(1 - smoothing) * F.logsigmoid(beta * h) - smoothing * F.logsigmoid(-beta * h)


# ----------------------------------------------------------------------------
# what it does to held-out pairs and to the replies

def flat(some):
    """The sequences of pairs: first all chosen, then all rejected."""
    return [pair[0] for pair in some] + [pair[1] for pair in some]


def share(difference):
    """Of differences above zero; a tie counts half, so that a model that has not moved scores 50%."""
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean().item()


def measure(model, held_out, reference, beta, pad, length, mixed):
    """Of the held-out pairs: how often and by how much the chosen reply has the higher reward, how often the
    higher log-probability per token, which needs no reference (Meng et al. 2024: https://arxiv.org/abs/2405.14734)."""
    sequences = flat(held_out)
    logp = replies(model, sequences, length, pad, mixed).cpu()
    chosen, rejected = log_ratios(logp, reference)
    better, worse = (logp / own(sequences)).chunk(2)
    return {"heldout_accuracy": share(chosen - rejected), "heldout_margin": beta * (chosen - rejected).mean().item(),
            "heldout_preference": share(better - worse)}


def drift(model, reference, tokenizer, prompts, pad, mixed):
    """How far the policy is from the reference in what it writes: KL by k3, and the length of a reply."""
    drawn = [own_tokens(reply) for reply in sample(model, tokenizer, prompts, MAX_NEW, seed=0) if reply.ids]
    kl = 0
    with torch.no_grad():
        for part in pack(drawn, max(len(ids) for ids, _ in drawn), pad, rows=16):
            kl += k3(logprobs(model, part, mixed), logprobs(reference, part, mixed)).sum().item()
    return {"kl_nats_per_reply": kl / len(drawn), "tokens_per_reply": own(drawn).double().mean().item()}


# ----------------------------------------------------------------------------
# training

def order(n, total, seed):
    """Numbers of `total` pairs, each once an epoch, in a new random order every epoch."""
    epochs = [np.random.default_rng([seed, epoch]).permutation(n) for epoch in range(-(-total // n))]
    return np.concatenate(epochs)[:total]


def train(args, model, reference, some, look, tokenizer, info, mixed):
    """The loop. reference: (pairs, 2) log-probabilities;  look: () -> numbers of the held-out pairs"""
    adamw, clock, guard, run = AdamW(model.parameters()), Clock(), Guard(spike=0), args.out / "run"
    steps, done, pad = -(-args.pairs // args.batch), 0, tokenizer.specials["<|pad|>"]
    parts = {"adamw": adamw, "clock": clock, "guard": guard}
    if (run / "latest").exists():
        model.load_state_dict(checkpoint.load(run, mixed.where)[0].state_dict())
        done, _ = restore(checkpoint.load_state(run), settings(args), run, **parts)
        print(f"continuing {run} after step {done} of {steps}")
    log, numbers = Log(args.out, extra=COLUMNS, resume=done), {}
    picked = order(len(some), steps * args.batch, args.seed).reshape(steps, args.batch)
    while done < steps:
        batch = [some[n] for n in picked[done]]
        past = reference[picked[done]].t().flatten()                              # (2P,)
        lengths = own(flat(batch)) if args.length_normalized else None
        rewards = {}

        def loss_of(part):
            policy = totals(logprobs(model, part, mixed), part).cpu()             # (2P,)
            for name, ratio in zip(("reward_chosen", "reward_rejected"), log_ratios(policy.detach(), past)):
                rewards[name] = args.beta * ratio.mean().item()
            return preference_loss(policy, past, args.beta, ipo=args.ipo, smoothing=args.smoothing,
                                   lengths=lengths).mean()

        done += 1
        factor, whole = trapezoid(done, steps, warmup=0.1), pack(flat(batch), args.length, pad)
        loss, norm = descend(model, [(adamw, args.lr)], whole, loss_of, factor, args.clip, guard, mixed, World())
        clock.tokens += whole[0].tokens
        numbers = look() if done % args.eval_every == 0 or done == steps else {}
        log.log(done, seconds=clock.seconds, tokens=clock.tokens, loss_nats=loss, tokens_per_second=clock.rate,
                gradient_norm=norm, **rewards, **numbers)
        if done % args.log_every == 0 or numbers:
            chosen, rejected = rewards.values()
            print(f"step {done:4d}/{steps} | loss {loss:.4f} | rewards {chosen:+.2f} {rejected:+.2f} | "
                  f"{clock.seconds / done * (steps - done):3.0f} s left{show(numbers)}", flush=True)
        if guard.in_a_row:
            warn(guard, done, torch.tensor(loss), run)
        if done == steps or done % args.save_every == 0 and not guard.in_a_row:
            checkpoint.save(run, done, model, tokenizer, capture(settings(args), done, **parts),
                            stage="dpo", parent=info["hash"], keep=2)
    return (numbers or look()) | {"steps": done, "tokens": clock.tokens, "training_seconds": clock.seconds}


def show(numbers):
    return "".join(f" | {name.removeprefix('heldout_').split('_')[0]} {x:.3f}" for name, x in numbers.items())


def main(argv=None):
    args, start = parse(argv), time.time()
    model, tokenizer, info = load_model(args.checkpoint)
    mixed, pad = Mixed(device()), tokenizer.specials["<|pad|>"]
    args.length = args.length or model.config.context
    folder = args.pairs_from or args.data
    some, long = pairs(folder / "preferences_train.jsonl", tokenizer, args.length)
    held_out, _ = pairs(folder / args.held_out, tokenizer, args.length)
    prompts = [list(ids[:np.flatnonzero(mask)[0]]) for (ids, mask), _ in held_out[:args.replies]]
    print(f"{len(some):,} pairs, {long:,} left out as longer than {args.length} tokens; a coin is right in 50%")

    ledger = Ledger(model, tokenizer, args.data, args.canaries, args.checkpoint.parent, info["hash"])
    first, began = copy.deepcopy(model), time.time()
    used = some[:args.pairs] if args.pairs < len(some) else some
    reference = replies(first, flat(used), args.length, pad, mixed).cpu().view(2, -1).t()       # (pairs, 2)
    held_reference = replies(first, flat(held_out), args.length, pad, mixed).cpu()
    print(f"the reference's log-probabilities of {2 * len(used):,} replies took {time.time() - began:.1f} s")

    def look():
        return measure(model, held_out, held_reference, args.beta, pad, args.length, mixed) \
            | drift(model, first, tokenizer, prompts, pad, mixed)

    before = look()
    print(f"before{show(before)}")
    try:
        numbers = train(args, model, reference, used, look, tokenizer, info, mixed)
    except checkpoint.CheckpointError as e:
        sys.exit(str(e))
    write_metrics(args.out, seed=args.seed, checkpoint=checkpoint.load(args.out / "run", "cpu")[2]["hash"],
                  seconds=time.time() - start, canaries=ledger.close(model, args.out),
                  numbers=numbers | {f"{name}_before": x for name, x in before.items()})
    print(f"wrote {args.out / 'run'}; next: python chat/cli.py --checkpoint {args.out / 'run'}")


if __name__ == "__main__":
    main()
