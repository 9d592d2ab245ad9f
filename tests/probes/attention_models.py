"""Modules that attend and that choose experts, as people write them, and that keep the numbers to be found."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HEADS = 12, 3


class Attention(nn.Module):
    """Attention in each of the ways that people write it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.qkv, self.out = way, nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.logits = None

    def forward(self, x):
        q, k, v = (y.unflatten(-1, (HEADS, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        logits = q @ k.mT / math.sqrt(q.shape[-1])
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        logits = logits.masked_fill(~causal, -torch.inf)
        self.logits = logits.detach()
        if self.way == "causal":
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        elif self.way == "boolean mask":
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=causal)
        elif self.way == "added mask":
            added = torch.zeros(causal.shape).masked_fill(~causal, torch.finfo(torch.float32).min)
            y = F.scaled_dot_product_attention(q, k, v, added[None, None])
        elif self.way == "eager":
            y = F.softmax(logits, dim=-1) @ v
        else:
            y = logits.softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


class Mixture(nn.Module):
    """A mixture of experts whose router chooses by a softmax, by sigmoids, or by the logits themselves."""

    def __init__(self, scores, experts=4) -> None:
        super().__init__()
        self.gate, self.scores = nn.Linear(WIDTH, experts), scores
        self.experts = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(experts))
        self.chosen = self.logits = None

    def forward(self, x):
        self.logits = self.gate(x)
        weights, self.chosen = torch.topk(self.scores(self.logits), 2, dim=-1)
        hot = F.one_hot(self.chosen, len(self.experts)).to(x.dtype) * weights[..., None]
        outputs = torch.stack([expert(x) for expert in self.experts], -1)
        return x + (outputs * hot.sum(-2)[..., None, :]).sum(-1)
