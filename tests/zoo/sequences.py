"""Networks for sequences and sets, written as people write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from .handwritten import parameter


class GruLanguage(nn.Module):
    """An embedding, two layers of GRU, and a tied head."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.gru, self.head = nn.Embedding(30, 16), nn.GRU(16, 16, 2, batch_first=True), nn.Linear(16, 30)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.table(ids))[0])


class Tagger(nn.Module):
    """A bidirectional LSTM of two layers with projections."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 12)
        self.lstm = nn.LSTM(12, 16, 2, batch_first=True, bidirectional=True, proj_size=8)
        self.head = nn.Linear(16, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.table(ids))[0])


class Translator(nn.Module):
    """Bahdanau's: a GRU reads, a cell writes, and looks back by an additive attention."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.write = nn.GRU(6, 8, batch_first=True), nn.GRUCell(14, 8)
        self.query, self.key, self.score = nn.Linear(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 1, bias=False)
        self.head = nn.Linear(8, 6)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        memory, state = self.read(x)
        h, out = state[0], []
        for t in range(y.shape[1]):
            weights = self.score(torch.tanh(self.query(h)[:, None] + self.key(memory))).softmax(1)
            h = self.write(torch.cat([y[:, t], (weights * memory).sum(1)], 1), h)
            out.append(self.head(h))
        return torch.stack(out, 1)


class ConvLstm(nn.Module):
    """An LSTM whose gates are one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.head = nn.Conv2d(3 + 8, 32, 3, padding=1), nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(x.shape[0], 8, *x.shape[3:])
        for t in range(x.shape[1]):
            i, f, o, g = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.head(h)


class RawHeads(nn.Module):
    """Multi-head attention from raw parameters, by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = parameter(2, 8, 4), parameter(2, 8, 4), parameter(2, 8, 4)
        self.o, self.norm = parameter(2, 4, 8), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        q, k, v = (torch.einsum("btd,hde->bhte", y, w) for w in (self.q, self.k, self.v))
        p = (torch.einsum("bhqe,bhke->bhqk", q, k) / 2).softmax(-1)
        return x + torch.einsum("bhte,hed->btd", torch.einsum("bhqk,bhke->bhqe", p, v), self.o)


class LinearAttention(nn.Module):
    """Attention without a softmax: elu + 1 of queries and keys."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = F.elu(self.q(x)) + 1, F.elu(self.k(x)) + 1, self.v(x)
        y = q @ (k.transpose(1, 2) @ v) / (q * k.sum(1, keepdim=True)).sum(-1, keepdim=True)
        return self.out(y)


class SharedLayers(nn.Module):
    """ALBERT's: one block applied three times."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.positions = nn.Embedding(30, 8), nn.Embedding(12, 8)
        self.attention, self.norm1 = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
        self.up, self.down, self.norm2 = nn.Linear(8, 16), nn.Linear(16, 8), nn.LayerNorm(8)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids) + self.positions(torch.arange(ids.shape[1]))
        for _ in range(3):
            x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
            x = self.norm2(x + self.down(F.gelu(self.up(x))))
        return x


class CrossAttention(nn.Module):
    """torch's attention with keys and values of other widths."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=10, batch_first=True, add_bias_kv=True)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return self.attention(q, k, v)[0]


def temporal() -> nn.Module:
    """Dilated convolutions of one dimension under weight norm, and a transposed one."""
    layers = (m for d in (1, 2) for m in (weight_norm(nn.Conv1d(8, 8, 3, padding=d, dilation=d)), nn.ReLU()))
    return nn.Sequential(nn.Conv1d(2, 8, 1), *layers, nn.ConvTranspose1d(8, 4, 4, stride=4))


class Routed(nn.Module):
    """Experts by top-1 routing: each reads its own tokens, and index_add puts them back."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(8, 3, bias=False)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(0, 1)
        weight, chosen = self.router(flat).softmax(-1).max(-1)
        out = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            index = torch.where(chosen == i)[0]
            out.index_add_(0, index, expert(flat[index]) * weight[index, None])
        return out.view_as(x)


class DotInteraction(nn.Module):
    """A recommender: bags of features, their products pair by pair, and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(20, 8, mode="mean") for _ in range(2))
        self.dense, self.top = nn.Linear(5, 8), nn.Linear(8 + 3, 1)

    def forward(self, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        d = F.relu(self.dense(x))
        z = torch.stack([d, self.bags[0](a), self.bags[1](b)], 1)
        products = torch.bmm(z, z.transpose(1, 2))
        i, j = torch.tril_indices(3, 3, -1)
        return self.top(torch.cat([d, products[:, i, j]], 1))
