"""Small networks written as people write them, with raw parameters and unusual calls."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.1)


class RawMlp(nn.Module):
    """Matrices as they come: x @ w, w @ x, addmm, einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.right, self.left, self.added, self.offset = (
            parameter(8, 12),
            parameter(10, 12),
            parameter(10, 6),
            parameter(6),
        )
        self.summed = parameter(5, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(x @ self.right)
        x = F.relu(self.left @ x.T).T
        return torch.einsum("ni,oi->no", torch.addmm(self.offset, x, self.added).sigmoid(), self.summed)


class Experts(nn.Module):
    """A mixture of experts: stacked matrices, a router."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.up, self.down = nn.Linear(8, 4), parameter(4, 8, 16), parameter(4, 16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gates = self.router(x).softmax(-1)
        hidden = F.gelu(torch.einsum("nd,edh->enh", x, self.up))
        return torch.einsum("ne,end->nd", gates, torch.bmm(hidden, self.down))


class HandGru(nn.Module):
    """A GRU cell over a loop, its gates in one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.x2h, self.h2h, self.head = nn.Linear(6, 24), nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            a, b = self.x2h(x[:, t]).chunk(3, -1), self.h2h(h).chunk(3, -1)
            r, z = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
            h = (1 - z) * torch.tanh(a[2] + r * b[2]) + z * h
        return self.head(h)


class Highway(nn.Module):
    """A gate that mixes a layer's output with its input."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.gate = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = torch.sigmoid(self.gate(x))
        return t * F.relu(self.plain(x)) + (1 - t) * x


class Lora(nn.Module):
    """A frozen matrix with a low-rank addition."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.down, self.up = nn.Linear(8, 8), nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)
        self.base.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2.0 * self.up(self.down(x))


class Gated(nn.Module):
    """Dilated gated convolutions, as WaveNet has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gates = nn.Conv1d(1, 8, 1), nn.Conv1d(8, 16, 2, dilation=2)
        self.out, self.head = nn.Conv1d(8, 8, 1), nn.Conv1d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        a, b = self.gates(F.pad(x, (2, 0))).chunk(2, 1)
        return self.head(x + self.out(torch.tanh(a) * torch.sigmoid(b)))


class Generator(nn.Module):
    """Transposed convolutions, as DCGAN has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.ConvTranspose2d(6, 16, 4, bias=False), nn.BatchNorm2d(16)
        self.second = nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1, groups=1, bias=False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.second(F.relu(self.norm(self.first(z[:, :, None, None])))))


class Standardized(nn.Conv2d):
    """A convolution whose filters have their mean and spread taken off."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class Squeezed(nn.Module):
    """A depthwise separable block with squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depth = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze, self.excite, self.point = nn.Linear(8, 2), nn.Linear(2, 8), nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.silu(self.stem(x))
        y = F.silu(self.depth(x))
        y = y * torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3))))))[:, :, None, None]
        return self.head((x + self.point(y)).mean((2, 3)))


class Perceiver(nn.Module):
    """Learned queries that attend to the input, by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.latents, self.q, self.kv = parameter(4, 8), nn.Linear(8, 8, bias=False), nn.Linear(6, 16, bias=False)
        self.out, self.norm, self.shift = nn.Linear(8, 8), parameter(8), parameter(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        k, v = self.kv(x).chunk(2, -1)
        q = self.q(self.latents).expand(x.shape[0], -1, -1)
        p = torch.einsum("bqd,bkd->bqk", q, k).mul(1 / math.sqrt(8)).softmax(-1)
        y = torch.einsum("bqk,bkd->bqd", p, v)
        y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True) + 1e-5).sqrt() * self.norm + self.shift
        return self.out(y)


class Classified(nn.Module):
    """A ViT in small: a class token, learned positions, RMS norms in Python, a scaled branch."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.token, self.positions = nn.Linear(12, 8), parameter(1, 1, 8), parameter(1, 5, 8)
        self.scale, self.qkv, self.out = parameter(8), nn.Linear(8, 24, bias=False), nn.Linear(8, 8)
        self.gamma, self.temperature, self.head = parameter(8), parameter(1), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.scale
        q, k, v = self.qkv(y).view(*y.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q * self.temperature.exp(), k, v)
        return self.head((x + self.gamma * self.out(y.transpose(1, 2).flatten(2)))[:, 0])


class Mixer(nn.Module):
    """Linear layers over tokens and over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.channels, self.norm = nn.Linear(5, 5), nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(F.gelu(self.norm(x)))


class Shared(nn.Module):
    """One layer applied twice, one never, and a branch that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.twice(F.relu(self.twice(x))))
        return self.head(x if bool(x.mean() > -1) else self.never(x))


class Recurrent(nn.Module):
    """An embedding, torch's LSTM, and an LSTM cell in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm, self.cell = nn.Embedding(20, 6), nn.LSTM(6, 8, batch_first=True), nn.LSTMCell(8, 4)
        self.head = nn.Linear(4, 20)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x, _ = self.lstm(self.table(ids))
        h = (x.new_zeros(len(x), 4), x.new_zeros(len(x), 4))
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h[0])


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))
