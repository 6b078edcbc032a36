"""Small networks of the usual kinds, written plainly, as programs build them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

Fill = Callable[[torch.Tensor], object]
WITH_WEIGHT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def initialized(model: nn.Module, weight: Fill | None = None, bias: Fill | None = None) -> nn.Module:
    """The model with every linear and convolution filled by these, where given."""
    for module in model.modules():
        if isinstance(module, WITH_WEIGHT):
            if weight is not None:
                weight(module.weight)
            if bias is not None and module.bias is not None:
                bias(module.bias)
    return model


def he(model: nn.Module) -> nn.Module:
    return initialized(model, lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), nn.init.zeros_)


def glorot(model: nn.Module) -> nn.Module:
    return initialized(model, nn.init.xavier_uniform_, nn.init.zeros_)


def mlp(
    widths: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU, last: Sequence[nn.Module] = ()
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths[:-1]):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]), *last)


def cnn(channels: int = 16, depth: int = 3, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(1 if i == 0 else channels, channels, 3, padding=1), activation()]
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(channels * 16, 10))


def lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


class Residual(nn.Module):
    """x + branch(x), perhaps scaled, perhaps with a norm behind."""

    def __init__(self, branch: nn.Module, after: nn.Module | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.branch, self.after, self.scale = branch, after, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.scale * self.branch(x)
        return x if self.after is None else self.after(x)


def resnet(blocks: int = 4, channels: int = 16, *, norm: bool = True, zero: bool = False) -> nn.Sequential:
    def conv() -> list[nn.Module]:
        return [nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)] + [nn.BatchNorm2d(channels)] * norm

    body: list[nn.Module] = []
    for _ in range(blocks):
        branch = nn.Sequential(*conv(), nn.ReLU(), *conv())
        if zero:
            nn.init.zeros_(branch[-1].weight)
        body.append(Residual(branch, nn.ReLU()))
    stem = [nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def residual_mlp(blocks: int, width: int = 64, *, norm: bool = False, scale: float = 1.0) -> nn.Sequential:
    def branch() -> nn.Module:
        head: list[nn.Module] = [nn.LayerNorm(width)] if norm else []
        return nn.Sequential(*head, nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    tail: list[nn.Module] = [nn.LayerNorm(width)] if norm else []
    body = [Residual(branch(), scale=scale) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(64, width), *body, *tail, nn.Linear(width, 10))


def vgg() -> nn.Sequential:
    layers: list[nn.Module] = []
    last = 1
    for width, pool in ((16, False), (16, True), (32, False), (32, True)):
        layers += [nn.Conv2d(last, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
        last = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))


def bn_stack(depth: int, width: int = 64) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(64 if i == 0 else width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Recurrent(nn.Module):
    """A recurrent network read out at its last step."""

    def __init__(self, kind: type[nn.RNNBase], inputs: int = 8, width: int = 32, classes: int = 10, **more: object):
        super().__init__()
        self.rnn = kind(inputs, width, batch_first=True, **more)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Attention(nn.Module):
    """Multi-head self-attention, written out; ``scaled`` is whether logits are divided by √d."""

    def __init__(self, width: int, heads: int, *, causal: bool = False, scaled: bool = True) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.causal, self.scaled = heads, causal, scaled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(-2, -1)
        if self.scaled:
            logits = logits / math.sqrt(d // self.heads)
        if self.causal:
            logits = logits.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
        return self.out((logits.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    """A pre-norm transformer block; without ``skips`` it is a chain."""

    def __init__(self, width: int, heads: int, *, causal: bool, skips: bool = True, scaled: bool = True) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal, scaled=scaled)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.skips = skips

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.skips:
            return self.mlp(self.norm2(self.attention(self.norm1(x))))
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Gpt(nn.Module):
    """A small language model; ``tied`` is whether the head is the table."""

    def __init__(self, words: int = 24, width: int = 32, depth: int = 2, *, tied: bool = True, std: float = 0.02):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(words, width), nn.Embedding(64, width)
        self.blocks = nn.Sequential(*[Block(width, 4, causal=True) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, 0.0, std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))


class Vit(nn.Module):
    """Patches of two by two, a class token, learned positions."""

    def __init__(self, width: int = 32, depth: int = 2, *, skips: bool = True, scaled: bool = True) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, stride=2)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width, 4, causal=False, skips=skips, scaled=scaled) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class Sine(nn.Module):
    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.omega * x)


def siren(depth: int = 3, width: int = 64, omega: float = 30.0) -> nn.Sequential:
    """A sine network; torch's default weights until ``siren_init`` is applied."""
    layers: list[nn.Module] = [nn.Linear(1, width), Sine(omega)]
    for _ in range(depth):
        layers += [nn.Linear(width, width), Sine(omega)]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def siren_init(model: nn.Sequential, omega: float = 30.0) -> nn.Sequential:
    """U(±1/n) first, U(±√(6/n)/ω) behind: Sitzmann et al. 2020."""
    for i, layer in enumerate(m for m in model if isinstance(m, nn.Linear)):
        n = layer.in_features
        bound = 1 / n if i == 0 else math.sqrt(6 / n) / omega
        nn.init.uniform_(layer.weight, -bound, bound)
    return model


class Autoencoder(nn.Module):
    def __init__(self, code: int = 12) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, code))
        self.decoder = nn.Sequential(nn.Linear(code, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(x))


class Vae(nn.Module):
    """Gives the reconstruction with mean and log-variance of the code beside it."""

    def __init__(self, code: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.mean, self.logvar = nn.Linear(48, code), nn.Linear(48, code)
        self.decoder = nn.Sequential(nn.Linear(code, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        mean, logvar = self.mean(h), self.logvar(h)
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
        return torch.cat([self.decoder(z), mean, logvar], 1)


def vae_loss(outputs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    rebuilt, mean, logvar = outputs[:, :64], outputs[:, 64:72], outputs[:, 72:]
    divergence = -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum(1).mean()
    return F.mse_loss(rebuilt, x) + 0.001 * divergence


class UNet(nn.Module):
    """One level down and up, with the skip that gives it its name."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.into = nn.Conv2d(1, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.out1, self.out2 = nn.Conv2d(2 * width, width, 3, padding=1), nn.Conv2d(width, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = F.relu(self.into(x))
        b = F.relu(self.middle(F.relu(self.down(a))))
        return self.out2(F.relu(self.out1(torch.cat([a, F.relu(self.up(b))], 1))))


def generator(code: int = 16, width: int = 32, *, norm: bool = True, last: nn.Module | None = None) -> nn.Sequential:
    """A DCGAN's generator for pictures of 8 × 8, weights N(0, 0.02) as theirs."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(code, 2 * width, 2, bias=not norm)]
    layers += [nn.BatchNorm2d(2 * width)] * norm + [nn.ReLU()]
    layers += [nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=not norm)] + [nn.BatchNorm2d(width)] * norm
    layers += [nn.ReLU(), nn.ConvTranspose2d(width, 1, 4, 2, 1)]
    model = nn.Sequential(*layers, *([last] if last is not None else []))
    return dcgan_init(model)  # type: ignore[return-value]


def discriminator(width: int = 16) -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2), nn.Conv2d(2 * width, 1, 2), nn.Flatten(),
    )  # fmt: skip
    return dcgan_init(model)  # type: ignore[return-value]


def dcgan_init(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return model


class Experts(nn.Module):
    """A mixture of experts behind a router, as stacked matrices."""

    def __init__(self, experts: int = 4, width: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.inputs, self.router = nn.Linear(64, width), nn.Linear(width, experts)
        self.up = nn.Parameter(torch.randn(experts, width, hidden) / math.sqrt(width))
        self.down = nn.Parameter(torch.randn(experts, hidden, width) / math.sqrt(hidden))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.inputs(x))
        gates = self.router(h).softmax(-1)
        hidden = F.gelu(torch.einsum("nd,edh->enh", h, self.up))
        return self.head(h + torch.einsum("ne,end->nd", gates, torch.bmm(hidden, self.down)))


class Heads(nn.Module):
    """An ensemble of heads whose logits are averaged."""

    def __init__(self, count: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(64, 10) for _ in range(count)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        return torch.stack([head(h) for head in self.heads]).mean(0)
