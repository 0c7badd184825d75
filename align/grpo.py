"""
Group relative policy optimization: a model practises problems whose answers a rule can check.

    python align/grpo.py --checkpoint out/tinyworld/sft/run --data out/tinyworld/corpus
    python align/grpo.py ... --normalize dapo                # or dr_grpo: see weights()
    python align/grpo.py ... --steps 2 --problems 4 --group 4    # seconds, to see that it runs
    torchrun --nproc-per-node 2 align/grpo.py ...            # each rank practises its share of the problems

Each step draws a group of replies to each of some problems, the calculator at work inside them (align/rollout.py),
and rewards them by rule (align/rewards.py). The policy gradient is the mean of grad log p(reply) times its reward; to
take a baseline from the reward leaves that mean as it is, and takes away variance. PPO learns the baseline with a
second network. GRPO takes the mean of the group:

    advantage = (reward - mean of its group) / standard deviation of its group
    loss      = -min(ratio A, clip(ratio, 1 - eps, 1 + eps) A) + beta KL(policy || reference),  summed over tokens

where ratio = p(token) / p(token) when it was drawn, exactly 1 at the first update from a batch of samples.
Shao et al. 2024, DeepSeekMath, eqs. 3 and 4: https://arxiv.org/abs/2402.03300

Departs from the paper: groups whose rewards are all equal have no advantage and are not trained on; the reference
stays the model at the beginning. The same command continues a run that was killed, to the same bits. Left out on
purpose: a model of the reward, a clip range of its own above (DAPO), engines on other machines.

Q = problems of a step, G = replies of a group, S = Q G samples, N = tokens of a part that the policy chose itself
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import argparse
import copy
import time
from pathlib import Path

import torch

from align.dpo import order
from align.ledger import Ledger
from align.policy import descend, k3, logprobs, own, pack
from align.rewards import WEIGHTS, judge, reward
from align.rollout import ask, own_tokens, sample
from align.sft import settings
from eval.check import strict
from eval.gsm8k import read, solve
from eval.inputs import load_model
from gpt import checkpoint
from gpt.tools import TOOLS
from train.adamw import AdamW
from train.amp import Mixed
from train.device import device
from train.distributed import joined
from train.guard import Guard, warn
from train.log import Log, write_metrics
from train.schedule import trapezoid
from train.state import Clock, capture, restore

COLUMNS = ("reward", *WEIGHTS, "ended", "entropy_nats", "kl_nats", "clipped", "groups_used", "tokens_per_reply",
           "gradient_norm", "heldout_right")
NORMALIZE = "grpo", "dapo", "dr_grpo"


def parse(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--checkpoint", type=Path, required=True, help="the fine-tuned run, which is the reference as well")
    add("--data", type=Path, required=True, help="folder of arithmetic_train.jsonl and a held-out file")
    add("--held-out", default="arithmetic_valid.jsonl", help="problems to measure on, greedily [%(default)s]")
    add("--out", type=Path, default=Path("out/align/grpo"), help="where to write [%(default)s]")
    add("--steps", type=int, default=100, help="batches of samples [%(default)s]")
    add("--problems", type=int, default=16, help="problems of a step [%(default)s]")
    add("--group", type=int, default=8, help="replies to each [%(default)s]")
    add("--updates", type=int, default=1, help="of the weights from each batch of samples [%(default)s]")
    add("--max-new", type=int, default=160, help="tokens of a reply at most [%(default)s]")
    add("--normalize", choices=NORMALIZE, default="dapo", help="how tokens are weighed: see weights() [%(default)s]")
    add("--clip-ratio", type=float, default=0.2, help="how far a token's ratio may pay to move from 1 [%(default)s]")
    add("--beta", type=float, default=0.01, help="of the KL to the reference [%(default)s]")
    add("--unbiased-kl", action="store_true", help="the KL's own gradient: see token_loss()")
    add("--lr", type=float, default=3e-4, help="peak rate of AdamW [%(default)s]")
    add("--clip", type=float, default=1.0, help="largest gradient norm [%(default)s]")
    add("--rows", type=int, default=16, help="rows that go through the model at once [%(default)s]")
    add("--seed", type=int, default=0, help="[%(default)s]")
    add("--eval-every", type=int, default=10, help="steps between measurements on held-out problems [%(default)s]")
    add("--eval-problems", type=int, default=100, help="how many of them [%(default)s]")
    add("--save-every", type=int, default=10, help="steps between checkpoints [%(default)s]")
    add("--canaries", type=int, help="how many of the canaries to ask [all]")
    args = p.parse_args(argv)
    if args.group < 2 or min(args.steps, args.problems, args.updates, args.rows) < 1:
        p.error("--group must be at least 2, and --steps, --problems, --updates and --rows at least 1")
    return args


# ----------------------------------------------------------------------------
# the loss

def advantages(rewards, scale=True):
    """
    How much better than its group each reply is. rewards: (Q, G);  returns: (Q, G)
    scale: divide by the group's spread; Dr. GRPO does not: it favours problems nearly solved or nearly hopeless
    """
    a = rewards - rewards.mean(dim=1, keepdim=True)
    return a / (rewards.std(dim=1, keepdim=True) + 1e-4) if scale else a


def weights(lengths, normalize, max_new, samples, tokens):
    """
    What one token of each sample counts in the loss, (S,). samples, tokens: of the whole step, over all ranks

    grpo     samples count alike, so that a token of a long reply counts less: Shao et al. 2024, eq. 3
    dapo     tokens count alike: Yu et al. 2025, eq. 8, https://arxiv.org/abs/2503.14476
    dr_grpo  tokens count alike and by a constant: Liu et al. 2025, section 3.1, https://arxiv.org/abs/2503.20783
    """
    if normalize == "grpo":
        return 1 / (samples * lengths.clamp(min=1))
    return torch.full(lengths.shape, 1 / (tokens if normalize == "dapo" else samples * max_new))


def token_loss(logp, old, reference, advantage, clip_ratio, beta, unbiased_kl=False):
    """
    (N,) from log-probabilities now, when drawn and under the reference, and the advantage of each token's sample.
    The minimum is pessimistic: a ratio outside the range earns nothing more, but a loss it makes is felt in full.
    Schulman et al. 2017, eq. 7: https://arxiv.org/abs/1707.06347

    The mean of k3 is KL(policy || reference), but the mean of its gradient is that of KL(reference || policy), as the
    tokens are drawn from a policy that moves as well. Times the ratio it is right:
    DeepSeek-V3.2 2025, section 3.1, https://arxiv.org/abs/2512.02556
    """
    ratio = (logp - old).exp()
    surrogate = torch.min(ratio * advantage, ratio.clamp(1 - clip_ratio, 1 + clip_ratio) * advantage)
    return -surrogate + beta * k3(logp, reference) * (ratio if unbiased_kl else 1)


# ----------------------------------------------------------------------------
# one step

def practise(args, model, tokenizer, items, step, world):
    """This rank's share of the step's samples: (sequences, rewards (Q, G), sums over samples of what is logged)."""
    share = len(items) // world.size
    mine = items[world.rank * share:(world.rank + 1) * share]
    prompts = [ask(item["question"], tokenizer) for item in mine for _ in range(args.group)]
    first = ((args.seed * args.steps + step) * args.problems + world.rank * share) * args.group
    drawn = sample(model, tokenizer, prompts, args.max_new, seed=first)
    wants = [strict(item["answer"]) for item in mine for _ in range(args.group)]
    verdicts = [judge(reply, want, tokenizer) for reply, want in zip(drawn, wants)]
    rewards = torch.tensor([reward(v) for v in verdicts], dtype=torch.float64).view(share, args.group)
    chosen = [lp for reply in drawn for lp, forced in zip(reply.logprobs, reply.forced) if not forced]
    sums = {"samples": len(drawn), "tokens": len(chosen), "reward": rewards.sum().item(), "surprise": -sum(chosen),
            "ended": sum(reply.finished == "end" for reply in drawn), "groups": (rewards.std(dim=1) > 0).sum().item(),
            "passes": sum(len(reply.ids) for reply in drawn) + sum(map(len, prompts[::args.group])),
            **{name: sum(v[name] for v in verdicts) for name in WEIGHTS}}
    return [own_tokens(reply) for reply in drawn], rewards, sums


def improve(args, model, reference, adamw, factor, sequences, rewards, total, guard, mixed, world, pad):
    """
    The updates from one batch of samples; (loss of the first, gradient norm of the last, sums over trained tokens).
    total: sums over the samples of all ranks
    """
    advantage = advantages(rewards, scale=args.normalize != "dr_grpo")
    used = (rewards.std(dim=1) > 0).repeat_interleave(args.group).nonzero()[:, 0].tolist() or [0]    # hooks need one
    picked = [sequences[n] for n in used]
    advantage = advantage.flatten()[used].float().to(mixed.where)                 # (S,)
    weight = weights(own(picked), args.normalize, args.max_new, total["samples"], total["tokens"]).to(mixed.where)
    parts, past, losses = pack(picked, max(len(ids) for ids, _ in picked), pad, args.rows), {}, []
    sums = torch.zeros(3, dtype=torch.float64)               # KL at the first update, tokens clipped and tokens of all

    def loss_of(part):
        logp, owner = logprobs(model, part, mixed), part.owner.to(mixed.where)    # (N,) twice
        if part not in past:                                                      # the first update: ratio is 1
            with torch.no_grad():
                past[part] = logp.detach(), logprobs(reference, part, mixed)
                sums[0] += k3(*past[part]).sum().item()
        old, ref = past[part]
        outside = ((logp - old).exp() - 1).abs() > args.clip_ratio
        sums[1:] += torch.tensor([outside.sum().item(), len(logp)])
        each = token_loss(logp, old, ref, advantage[owner], args.clip_ratio, args.beta, args.unbiased_kl)
        return (weight[owner] * each).sum()

    for _ in range(args.updates):
        loss, norm = descend(model, [(adamw, args.lr)], parts, loss_of, factor, args.clip, guard, mixed, world)
        losses.append(loss)
    kl, outside, n = world.sum(sums).tolist()
    trained = sum(part.tokens for part in parts)
    return losses[0], norm, {"kl_nats": kl * args.updates / n, "clipped": outside / n}, (3 * args.updates + 1) * trained


def train(args, model, reference, problems, look, tokenizer, info, mixed, world):
    """The loop. look: () -> share of the held-out problems that are right"""
    adamw, clock, guard, run = AdamW(model.parameters()), Clock(), Guard(spike=0), args.out / "run"
    parts, done, pad = {"adamw": adamw, "clock": clock, "guard": guard}, 0, tokenizer.specials["<|pad|>"]
    if (run / "latest").exists():
        model.load_state_dict(checkpoint.load(run, mixed.where)[0].state_dict())
        done, _ = restore(checkpoint.load_state(run), settings(args), run, **parts)
        print(f"continuing {run} after step {done} of {args.steps}")
    world.replicate(model)
    log = Log(args.out, extra=COLUMNS, resume=done) if world.first else None
    picked = order(len(problems), args.steps * args.problems, args.seed).reshape(args.steps, args.problems)
    while done < args.steps:
        items = [problems[n] for n in picked[done]]
        sequences, rewards, sums = practise(args, model, tokenizer, items, done, world)
        total = dict(zip(sums, world.sum(torch.tensor(list(sums.values()), dtype=torch.float64)).tolist()))
        done += 1
        factor = trapezoid(done, args.steps, warmup=0.05, cooldown=0.3, floor=0.1)
        loss, norm, numbers, passes = improve(args, model, reference, adamw, factor, sequences, rewards,
                                              total, guard, mixed, world, pad)
        clock.tokens += total["passes"] + world.sum(torch.tensor(passes)).item()
        numbers |= {name: total[name] / total["samples"] for name in ("reward", *WEIGHTS, "ended")}
        numbers |= {"entropy_nats": total["surprise"] / total["tokens"],
                    "groups_used": total["groups"] / args.problems,
                    "tokens_per_reply": total["tokens"] / total["samples"], "gradient_norm": norm}
        last = done == args.steps
        if last or done % args.eval_every == 0:
            numbers["heldout_right"] = look()
        if world.first:
            log.log(done, seconds=clock.seconds, tokens=clock.tokens, loss_nats=loss, tokens_per_second=clock.rate,
                    **numbers)
        print(line(done, args.steps, clock, numbers), flush=True)
        if guard.in_a_row:
            warn(guard, done, torch.tensor(loss), run)
        if world.first and (last or done % args.save_every == 0 and not guard.in_a_row):
            checkpoint.save(run, done, model, tokenizer, capture(settings(args), done, **parts), stage="grpo",
                            parent=info["hash"], keep=2)
        world.barrier()
    return {"steps": done, "problems": args.steps * args.problems, "replies_to_each": args.group,
            "token_passes": int(clock.tokens), "training_seconds": clock.seconds}


def line(step, steps, clock, numbers):
    held = f" | held-out {numbers['heldout_right']:.1%}" if "heldout_right" in numbers else ""
    return (f"step {step:4d}/{steps} | reward {numbers['reward']:.3f} right {numbers['right']:.1%} | entropy "
            f"{numbers['entropy_nats']:.3f} kl {numbers['kl_nats']:.4f} | {numbers['tokens_per_reply']:3.0f} tokens | "
            f"{clock.seconds / step * (steps - step):4.0f} s left{held}")


def main(argv=None):
    args, start, where = parse(argv), time.time(), device()
    with joined(where) as world:
        if args.problems % world.size:
            sys.exit(f"--problems {args.problems} do not divide among {world.size} ranks. Give a multiple.")
        problems = read(args.data / "arithmetic_train.jsonl", None)
        held_out = read(args.data / args.held_out, args.eval_problems)
        model, tokenizer, info = load_model(args.checkpoint)
        reference, mixed = copy.deepcopy(model), Mixed(where)      # both stay in evaluation mode: no dropout
        ledger = Ledger(model, tokenizer, args.data, args.canaries, args.checkpoint.parent, info["hash"]) \
            if world.first else None

        def look():
            rows = solve(model, tokenizer, held_out, args.max_new, TOOLS)
            return sum(row["passed"] for row in rows) / len(rows)

        before = look()
        print(f"{len(problems):,} problems; before, {before:.1%} of {len(held_out)} held-out ones are right")
        try:
            numbers = train(args, model, reference, problems, look, tokenizer, info, mixed, world)
        except checkpoint.CheckpointError as e:
            sys.exit(str(e))
        if world.first:
            digest = checkpoint.load(args.out / "run", "cpu")[2]["hash"]
            write_metrics(args.out, seed=args.seed, checkpoint=digest, seconds=time.time() - start,
                          canaries=ledger.close(model, args.out),
                          numbers=numbers | {"heldout_right_before": before, "heldout_right": look()})
            print(f"wrote {args.out / 'run'}; next: python eval/gsm8k.py --checkpoint {args.out / 'run'} "
                  f"--data {args.data}")


if __name__ == "__main__":
    main()
