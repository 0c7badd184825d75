"""
A mixture of experts: many small feed-forwards, of which each token uses a few, and one that all tokens share.

    python gpt/sparse.py                                    # dense against sparse at equal compute, with each balance

Fine-grained and shared experts: Dai et al. 2024, DeepSeekMoE, section 3: https://arxiv.org/abs/2401.06066. Gate,
groups and balancing without a loss: DeepSeek-AI 2024, DeepSeek-V3, section 2.1.2: https://arxiv.org/abs/2412.19437;
names are those of Hugging Face's files of it. Two ways to keep all experts busy, both here to be compared:

    bias: each expert carries a number that counts only when experts are chosen; after a step it rises where there
          was too little work and falls where there was too much. No gradient is disturbed. (Wang et al. 2024,
          https://arxiv.org/abs/2408.15664)
    loss: an auxiliary loss, least when work and probability are even (Fedus et al. 2021, eq. 4 to 6,
          https://arxiv.org/abs/2101.03961; for k experts a token DeepSeekMoE, eq. 12 to 14)

Left out on purpose: capacity limits, which drop tokens, and experts on several devices.

N = tokens, C = channels, E = experts, K = experts a token uses, G = groups of experts
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from gpt.llama import MLP


class Gate(nn.Module):
    """Which experts a token uses, and how much. config: n_embd, n_expert, top_k, n_group, top_group, route_scale"""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.zeros(config.n_expert, config.n_embd))
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_expert))

    def forward(self, x):
        """x: (N, C);  returns: share (N, K), chosen expert (N, K), affinities (N, E) between 0 and 1"""
        c = self.config
        affinity = F.linear(*(a if a.dtype == torch.float64 else a.float() for a in (x, self.weight))).sigmoid()
        wish = affinity + self.e_score_correction_bias                            # (N, E): chooses, does not weigh
        if c.n_group > 1:                                                         # only experts of the best groups
            group = wish.unflatten(-1, (c.n_group, -1))                           # (N, G, E/G)
            best = group.topk(2, dim=-1).values.sum(-1).topk(c.top_group, dim=-1).indices     # (N, top_group)
            barred = torch.ones(len(x), c.n_group, dtype=torch.bool, device=x.device).scatter_(1, best, False)
            wish = group.masked_fill(barred[..., None], float("-inf")).flatten(1)  # (N, E)
        expert = wish.topk(c.top_k, dim=-1).indices                               # (N, K)
        share = affinity.gather(1, expert)
        return c.route_scale * share / (share.sum(-1, keepdim=True) + 1e-20), expert, affinity


class MoE(nn.Module):
    """config: what Gate needs, n_expert_hidden, n_shared (experts that all tokens use), balance (bias, loss, none)"""

    def __init__(self, config):
        super().__init__()
        self.config, self.gate = config, Gate(config)
        self.experts = nn.ModuleList(MLP(config, config.n_expert_hidden) for _ in range(config.n_expert))
        self.shared_experts = MLP(config, config.n_expert_hidden * config.n_shared) if config.n_shared else None
        self.register_buffer("load", torch.zeros(config.n_expert), persistent=False)  # tokens since the last balance()
        self.penalty = 0.0                                                        # of the last pass, for balance "loss"

    def forward(self, x):
        """x: (B, T, C);  returns: (B, T, C)"""
        c, flat = self.config, x.flatten(0, -2)                                   # (N, C)
        share, expert, affinity = self.gate(flat)
        work = expert.flatten().bincount(minlength=c.n_expert)                    # (E,)
        order = expert.flatten().argsort(stable=True)                             # (NK,) expert by expert
        y = torch.zeros_like(flat)
        for mlp, at in zip(self.experts, order.split(work.tolist())):
            if len(at):
                token = at // c.top_k
                y.index_add_(0, token, mlp(flat[token]) * share.flatten()[at, None].to(y.dtype))
        if self.training:
            self.load += work
            self.penalty = self.unevenness(work, affinity) if c.balance == "loss" else 0.0
        y = y.view_as(x)
        return y if self.shared_experts is None else y + self.shared_experts(x)

    def unevenness(self, work, affinity):
        """E sum_e (share of the work) (share of the affinity), 1 when even: DeepSeekMoE, eq. 12 to 14"""
        p = (affinity / affinity.sum(-1, keepdim=True)).mean(0)                   # (E,)
        return self.config.n_expert * (work / work.sum() * p).sum()

    @torch.no_grad()
    def balance(self, rate=1e-3):
        """After an optimizer step: move each bias by `rate` towards even work. Returns the shares of the work, (E,)"""
        share = self.load / self.load.sum().clamp(min=1)
        if self.config.balance == "bias":
            self.gate.e_score_correction_bias += rate * torch.sign(self.load.mean() - self.load)
        self.load.zero_()
        return share
