"""
DeepSeek-V3 in this house's form: a Llama-style model with latent attention (gpt/mla.py) and, after the first dense
layers, mixtures of experts (gpt/moe.py). DeepSeek-AI 2024: https://arxiv.org/abs/2412.19437

    python gpt/deepseek.py                                  # parameters by part, how many a token uses, cache bytes

It computes exactly what Hugging Face's DeepSeek-V3 computes, with its parameter names. With n_expert = 0 it is a dense
model with latent attention alone. Left out on purpose: the layers that predict a second token, and position scaling.
"""

import os, sys
if not __package__: sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from dataclasses import dataclass

from gpt.llama import Block, Config, Llama, turns
from gpt.mla import LatentAttention
from gpt.moe import MoE


@dataclass(frozen=True)
class DeepSeekConfig(Config):
    """A Llama's shape and what is new; n_kv_head has no meaning here, d_head is d_nope + d_rope."""
    kv_rank: int = 64            # numbers of the cached latent
    q_rank: int | None = None    # of the queries' latent; None: no latent
    d_nope: int = 32             # channels of a query without position
    d_rope: int = 16             # and with
    d_value: int = 32
    n_expert: int = 0            # 0: no mixture at all
    n_shared: int = 1            # experts that every token uses
    top_k: int = 2               # experts a token chooses
    n_expert_hidden: int = 128
    n_group: int = 1             # experts are chosen from the best `top_group` of these groups
    top_group: int = 1
    first_dense: int = 1         # layers before the first mixture
    route_scale: float = 1.0
    balance: str = "bias"        # or "loss", "none": see gpt/moe.py
    balance_weight: float = 1e-2  # of the auxiliary loss

    def __post_init__(self):
        object.__setattr__(self, "d_head", self.d_nope + self.d_rope)
        object.__setattr__(self, "n_kv_head", self.n_head)
        super().__post_init__()
        if self.d_rope % 2:
            raise ValueError(f"{self.d_rope=} must be even: rotary positions turn pairs of channels")
        eligible = self.n_expert // self.n_group * self.top_group
        if self.n_expert and not (self.n_expert % self.n_group == 0 and self.top_k <= eligible <= self.n_expert):
            raise ValueError(f"{self.n_expert=}, {self.n_group=}, {self.top_group=}: no {self.top_k=} to choose from")
        if self.balance not in ("bias", "loss", "none"):
            raise ValueError(f"{self.balance=} is none of bias, loss, none")

    @property
    def cached(self):
        """What a layer keeps of each token: the latent and one rotated key. See gpt/cache.py"""
        return (1, self.kv_rank), (1, self.d_rope)


class DeepSeek(Llama):

    @staticmethod
    def block(config, attend, n):
        block = Block(config, attend, LatentAttention(config, attend))
        if config.n_expert and n >= config.first_dense:
            block.mlp = MoE(config)
        return block

    def turns(self, positions):
        return turns(positions, self.config.d_rope, self.config.rope_theta)

    @property
    def mixtures(self):
        return [block.mlp for block in self.model.layers if isinstance(block.mlp, MoE)]

    def forward(self, idx, targets=None, **where):
        logits, loss = super().forward(idx, targets, **where)
        if self.training and loss is not None and self.config.balance == "loss":
            loss = loss + self.config.balance_weight * sum(moe.penalty for moe in self.mixtures)
        return logits, loss

    def balance(self, rate=1e-3):
        """To be called after each optimizer step; returns the share of the work of every expert, (E,) a mixture."""
        return [moe.balance(rate) for moe in self.mixtures]


def main():
    from gpt.describe import lines
    print("\n".join(lines(DeepSeek(DeepSeekConfig(2048, n_expert=16, top_k=4, n_expert_hidden=128, n_hidden=640)))))


if __name__ == "__main__":
    main()
