"""Networks for pictures, volumes and points, written as people write them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from .handwritten import parameter


def vgg() -> nn.Module:
    """Pairs of convolutions between pools, then three linear layers."""
    layers: list[nn.Module] = []
    for a, b in ((3, 8), (8, 16)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(True), nn.Conv2d(b, b, 3, padding=1), nn.ReLU(True)]
        layers += [nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)]
    return nn.Sequential(*layers, *head)


class Unet(nn.Module):
    """Down, up, and a skip by concatenation; batch norms between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.deep, self.norm2 = nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.up, self.join, self.last = (
            nn.ConvTranspose2d(16, 8, 2, 2),
            nn.Conv2d(16, 8, 3, padding=1),
            nn.Conv2d(8, 2, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.relu(self.norm1(self.first(x)))
        b = F.relu(self.norm2(self.deep(F.max_pool2d(a, 2))))
        return self.last(F.relu(self.join(torch.cat([a, self.up(b)], 1))))


class Dense(nn.Module):
    """DenseNet: every layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + 4 * i) for i in range(4))
        self.layers = nn.ModuleList(nn.Conv2d(8 + 4 * i, 4, 3, padding=1, bias=False) for i in range(3))
        self.head = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=False):
            x = torch.cat([x, layer(F.relu(norm(x)))], 1)
        return self.head(F.relu(self.norms[3](x)).mean((2, 3)))


def discriminator() -> nn.Module:
    """DCGAN's: strided convolutions and leaky ReLUs."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 16, 4, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(16, 1, 4, bias=False),
        nn.Sigmoid(),
    )


class Inception(nn.Module):
    """Parallel convolutions of several sizes, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three, self.five = (
            nn.Conv2d(8, 4, 1),
            nn.Conv2d(8, 4, 3, padding=1),
            nn.Conv2d(4, 4, 5, padding=2),
        )
        self.reduce, self.pooled, self.after = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(16, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.pooled(F.max_pool2d(x, 3, 1, 1))
        parts = [self.one(x), self.three(x), self.five(F.relu(self.reduce(x))), pooled]
        return self.after(F.relu(torch.cat(parts, 1)))


class Shuffled(nn.Module):
    """ShuffleNet: grouped convolutions, channels shuffled between, a dilated one at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.third, self.wide = nn.Conv2d(8, 16, 1, groups=2), nn.Conv2d(16, 4, 3, padding=2, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        x = F.relu(self.first(x)).view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.wide(F.relu(self.third(self.second(x))))


def volumes() -> nn.Module:
    """Convolutions of three dimensions and back."""
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, stride=2, padding=1),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.ConvTranspose3d(8, 4, 4, 2, 1, groups=2),
    )


class Autoencoder(nn.Module):
    """A VAE: two heads, a draw, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.mean, self.spread = nn.Linear(20, 16), nn.Linear(16, 4), nn.Linear(16, 4)
        self.outer, self.back = nn.Linear(4, 16), nn.Linear(16, 20)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.tanh(self.inner(x))
        mean, spread = self.mean(h), self.spread(h)
        z = mean + torch.exp(0.5 * spread) * torch.randn_like(mean)
        return torch.sigmoid(self.back(torch.tanh(self.outer(z)))), mean


class TiedAutoencoder(nn.Module):
    """The decoder is the encoder, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.there, self.back = parameter(12, 20), parameter(12), parameter(20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(torch.relu(F.linear(x, self.weight, self.there)), self.weight.t(), self.back)


class PointNet(nn.Module):
    """A network for each point, a maximum over them, and a learned rotation of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.turn, self.turned = nn.Conv1d(3, 16, 1), nn.Linear(16, 9)
        self.first, self.second, self.head = nn.Conv1d(3, 16, 1), nn.Conv1d(16, 32, 1), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turn = self.turned(F.relu(self.turn(x)).amax(2)).view(-1, 3, 3) + torch.eye(3)
        x = (x.transpose(1, 2) @ turn).transpose(1, 2)
        return self.head(F.relu(self.second(F.relu(self.first(x)))).amax(2))


class Film(nn.Module):
    """A diffusion network's block: the time step's sines scale and shift its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.time, self.modulation = nn.Linear(8, 16), nn.Linear(16, 16)
        self.first, self.norm, self.second = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.GroupNorm(2, 8),
            nn.Conv2d(8, 8, 3, padding=1),
        )
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        angles = t[:, None] * torch.exp(-torch.arange(4.0))
        t = self.modulation(F.silu(self.time(torch.cat([angles.sin(), angles.cos()], 1))))
        scale, shift = t[:, :, None, None].chunk(2, 1)
        x = self.first(x)
        x = x + self.second(F.silu(self.norm(x) * (1 + scale) + shift))
        return self.last(F.silu(x))


class Modulated(nn.Module):
    """StyleGAN's convolution: each sample has the filters that its style scales."""

    def __init__(self) -> None:
        super().__init__()
        self.style, self.weight, self.out = nn.Linear(6, 8), parameter(8, 8, 3, 3), nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        weight = self.weight[None] * (1 + self.style(style))[:, None, :, None, None]
        weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        y = F.conv2d(x.reshape(1, b * c, h, w), weight.flatten(0, 1), padding=1, groups=b)
        return self.out(F.leaky_relu(y.view(b, c, h, w), 0.2))


def critic() -> nn.Module:
    """Spectrally normalized convolutions."""
    first, second = spectral_norm(nn.Conv2d(3, 8, 3)), spectral_norm(nn.Conv2d(8, 8, 3))
    return nn.Sequential(
        first, nn.LeakyReLU(0.1), second, nn.LeakyReLU(0.1), nn.Flatten(), spectral_norm(nn.Linear(128, 1))
    )
