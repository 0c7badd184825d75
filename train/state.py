"""
Everything that a resumed run needs so that it continues to the same bits: optimizers, position in the
data, every random generator, what has been spent so far, and the settings it was started with.
"""

import math
import sys
import time
import warnings

import torch


def capture(args, step, **parts):
    """
    state.pt's content as tensors and plain values. Each part is either plain or has a state_dict().
    args: the script's settings that change its result, a dict of plain values
    """
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"args": args, "step": step, "generators": {"cpu": torch.get_rng_state(), "cuda": cuda},
            "threads": torch.get_num_threads(), "torch": str(torch.__version__),
            "parts": {name: part.state_dict() if hasattr(part, "state_dict") else part
                      for name, part in parts.items()}}


def restore(state, args, run, **parts):
    """
    Put a captured state back into the parts that have load_state_dict(); returns (step, the plain parts).
    Exits if the run was started with other settings; warns where the machine may give other bits.
    """
    different = [f"--{key.replace('_', '-')} {state['args'].get(key)}" for key in args
                 if state["args"].get(key) != args[key]]
    if different:
        sys.exit(f"{run} was started with {' '.join(different)}. Give the same, or start over: rm -r {run}")
    for name, now in (("threads", torch.get_num_threads()), ("torch", str(torch.__version__))):
        if state[name] != now:
            warnings.warn(f"{run} ran with {name} {state[name]}, this is {now}: the bits may differ")
    torch.set_rng_state(state["generators"]["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["generators"]["cuda"])
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    return state["step"], {name: part for name, part in state["parts"].items() if name not in parts}


class Clock:
    """Seconds and tokens of a run over all its attempts."""

    def __init__(self):
        self.before, self.tokens, self.start = 0.0, 0, time.perf_counter()

    @property
    def seconds(self):
        return self.before + time.perf_counter() - self.start

    @property
    def rate(self):
        """Tokens a second since the very beginning."""
        return self.tokens / self.seconds

    def state_dict(self):
        return {"seconds": self.seconds, "tokens": self.tokens}

    def load_state_dict(self, state):
        self.before, self.tokens, self.start = state["seconds"], state["tokens"], time.perf_counter()


class Best:
    """The weights of the lowest validation loss so far, and how many validations ago that was."""

    def __init__(self):
        self.loss, self.weights, self.since = math.inf, None, 0

    def update(self, loss, model):
        self.since += 1
        if loss < self.loss:
            self.loss, self.since = loss, 0
            self.weights = {name: p.clone() for name, p in model.state_dict().items()}

    def state_dict(self):
        return vars(self)

    def load_state_dict(self, state):
        vars(self).update(state)
