"""Small models with every module that torch's tables know, for the tests of graphs, schemes and writers."""

from __future__ import annotations

import torch
from torch import nn


class Everything(nn.Module):
    """One of each module whose parameters a table declares."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 8)
        self.conv1 = nn.Conv1d(4, 8, 3, groups=2)
        self.conv2 = nn.Conv2d(3, 8, 3, stride=2)
        self.conv3 = nn.Conv3d(2, 4, 2)
        self.up = nn.ConvTranspose2d(8, 6, 4, stride=2, groups=2)
        self.bilinear = nn.Bilinear(3, 4, 5)
        self.embedding = nn.Embedding(11, 6, padding_idx=3)
        self.bag = nn.EmbeddingBag(7, 4)
        self.attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
        self.cross = nn.MultiheadAttention(8, 2, kdim=6, vdim=10)
        self.lstm = nn.LSTM(5, 6, num_layers=2, bidirectional=True, proj_size=3)
        self.gru = nn.GRU(5, 6)
        self.rnn = nn.RNN(5, 6, nonlinearity="relu")
        self.cell = nn.LSTMCell(5, 6)
        self.batch = nn.BatchNorm2d(8)
        self.layer = nn.LayerNorm((4, 6))
        self.group = nn.GroupNorm(2, 8)
        self.rms = nn.RMSNorm(8)
        self.instance = nn.InstanceNorm1d(4, affine=True, track_running_stats=True)
        self.prelu = nn.PReLU(3)


class Tied(nn.Module):
    """A language model's usual tie: the head reads the embedding's table."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.body = nn.Linear(16, 16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight


class Scale(nn.Module):
    """A module of the user's own, with a parameter that no table knows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 7.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


class Transposed(nn.Module):
    """A linear map stored the other way round, as GPT-2's Conv1D stores it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.full((inputs, outputs), 7.0))


def mlp(depth: int = 3, width: int = 16) -> nn.Sequential:
    """A plain ReLU network, every weight and bias set to 7 so that a write shows."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    model = nn.Sequential(*layers)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(7.0)
    return model
