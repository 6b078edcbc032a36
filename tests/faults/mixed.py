"""Programs of all kinds of networks, written without knowledge of how the library judges (author e)."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data
from .program import Case, adam, fault, healthy, mended, r2, sgd, token_accuracy, token_loss

# ---------------------------------------------------------------------------------------------- data


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moons(n: int = 1024) -> torch.Tensor:
    g = generator(11)
    a = torch.rand(n, generator=g) * math.pi
    up = (torch.rand(n, generator=g) < 0.5).float()
    x = torch.stack([a.cos() + up - 0.5, torch.where(up > 0, -a.sin() + 0.25, a.sin() - 0.25)], 1)
    x = x + 0.08 * torch.randn(n, 2, generator=g)
    return (x - x.mean(0)) / x.std(0)


def graphs(n: int = 512, nodes: int = 10) -> data.Pair:
    """Adjacency (normalized, with loops) beside three features of each node; the target is a mean over edges."""
    g = generator(12)
    a = (torch.rand(n, nodes, nodes, generator=g) < 0.3).float().triu(1)
    a = a + a.transpose(1, 2) + torch.eye(nodes)
    d = a.sum(2).rsqrt()
    a = d[:, :, None] * a * d[:, None, :]
    x = torch.randn(n, nodes, 3, generator=g)
    y = (a @ x)[:, :, 0].relu().mean(1) + 0.5 * x[:, :, 1].mean(1)
    return torch.cat([a, x], 2), ((y - y.mean()) / y.std())[:, None]


def transitions(n: int = 1024) -> data.Pair:
    """States; (action taken, its return) for four actions."""
    g = generator(13)
    s = torch.randn(n, 6, generator=g)
    q = torch.stack([s[:, 0], -s[:, 0], s[:, 1] * 0.8, torch.sin(2 * s[:, 2])], 1) + 0.5 * s[:, 3:4]
    a = torch.randint(4, (n, 1), generator=g)
    return s, torch.cat([a.float(), q.gather(1, a)], 1)


def views(n: int = 1024) -> data.Pair:
    x, _ = data.digits()
    x = x[:n]
    g = generator(14)
    return torch.stack([x + 0.4 * torch.randn(x.shape, generator=g) for _ in range(2)], 1), torch.arange(len(x))


def noised(n: int = 1024) -> data.Pair:
    """Moons with noise at a random time: what a denoiser sees, and the noise."""
    g = generator(15)
    x, t, e = moons(n), torch.rand(n, 1, generator=g), torch.randn(n, 2, generator=g)
    return torch.cat([(t * math.pi / 2).cos() * x + (t * math.pi / 2).sin() * e, t], 1), e


def counts(n: int = 1024) -> data.Pair:
    g = generator(16)
    x = torch.randn(n, 5, generator=g)
    return x, torch.poisson(torch.exp(0.8 * x[:, :1] - 0.5 * x[:, 1:2].abs() + 1.0), generator=g)


def houses(n: int = 1024) -> data.Pair:
    """Standardized features, prices in euros."""
    x, y = data.smooth(n)
    return x, 320_000 + 90_000 * y


def sets(n: int = 768, members: int = 12) -> data.Pair:
    x = torch.randn(n, members, 3, generator=generator(17))
    y = (x[:, :, 0] * x[:, :, 1]).mean(1) + 0.3 * x.amax(1)[:, 2]
    return x, ((y - y.mean()) / y.std())[:, None]


# ---------------------------------------------------------------------------------------------- nets


class Inception(nn.Module):
    def __init__(self, last: int, width: int = 8) -> None:
        super().__init__()
        self.one = nn.Conv2d(last, width, 1)
        self.three = nn.Sequential(nn.Conv2d(last, width, 1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        self.five = nn.Sequential(nn.Conv2d(last, width, 1), nn.ReLU(), nn.Conv2d(width, width, 5, padding=2))
        self.norm = nn.BatchNorm2d(3 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(torch.cat([self.one(x), self.three(x), self.five(x)], 1)))


def inception_net() -> nn.Sequential:
    return nn.Sequential(
        Inception(1), nn.MaxPool2d(2), Inception(24), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)
    )


class BiGru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 24, batch_first=True, bidirectional=True)
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(self.gru(x)[0].mean(1)))


class TiedLstm(nn.Module):
    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(24, 32), nn.LSTM(32, 32, batch_first=True)
        self.decoder = nn.Linear(32, 24)
        nn.init.uniform_(self.embed.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        if tied:
            self.decoder.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.lstm(self.embed(ids))[0])


class Oscillator(nn.Module):
    """u = 1 + t² N(t): u(0) = 1 and u'(0) = 0 hold; the outputs are the residual u'' + u, and u."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
        for m in self.net:
            if isinstance(m, nn.Linear):
                nn.init.xavier_normal_(m.weight)
                nn.init.zeros_(m.bias)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            t = t.detach().requires_grad_()
            u = 1 + t.square() * self.net(t / 2)
            (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
            (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
        return torch.cat([ddu + u, u], 1)


class Coupling(nn.Module):
    def __init__(self, flip: bool, zero: bool = True) -> None:
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
        if zero:
            nn.init.zeros_(self.net[-1].weight)
            nn.init.zeros_(self.net[-1].bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = x.flip(1).chunk(2, 1) if self.flip else x.chunk(2, 1)
        s, t = self.net(a).chunk(2, 1)
        s = torch.tanh(s)
        y = torch.cat([a, b * s.exp() + t], 1)
        return (y.flip(1) if self.flip else y), s[:, 0]


class RealNvp(nn.Module):
    """The log-likelihood of each sample."""

    def __init__(self, depth: int = 6, zero: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Coupling(i % 2 == 1, zero) for i in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return total - 0.5 * x.square().sum(1) - math.log(2 * math.pi)


class Gcn(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3 if i == 0 else width, width) for i in range(depth))
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.readout = nn.Linear(width, 1)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        a, x = packed[:, :, :-3], packed[:, :, -3:]
        for layer in self.layers:
            x = F.relu(layer(a @ x))
        return self.readout(x.mean(1))


class SirenLayer(nn.Module):
    def __init__(self, a: int, b: int, first: bool = False, omega: float = 30.0) -> None:
        super().__init__()
        self.linear, self.omega = nn.Linear(a, b), omega
        bound = 1 / a if first else math.sqrt(6 / a) / omega
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.omega * self.linear(x))


def siren_net() -> nn.Sequential:
    head = nn.Linear(48, 1)
    nn.init.uniform_(head.weight, -math.sqrt(6 / 48) / 30, math.sqrt(6 / 48) / 30)
    return nn.Sequential(SirenLayer(1, 48, first=True), SirenLayer(48, 48), SirenLayer(48, 48), head)


class Dueling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.value, self.advantage = nn.Linear(64, 1), nn.Linear(64, 4)

    def forward(self, s: torch.Tensor) -> torch.Tensor:
        h = self.trunk(s)
        a = self.advantage(h)
        return self.value(h) + a - a.mean(1, keepdim=True)


def q_loss(q: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.smooth_l1_loss(q.gather(1, y[:, :1].long()), y[:, 1:])


def q_score(q: torch.Tensor, y: torch.Tensor) -> float:
    return r2(q.gather(1, y[:, :1].long()), y[:, 1:])


class DeepSets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(3, 48), nn.ELU(), nn.Linear(48, 48), nn.ELU())
        self.rho = nn.Sequential(nn.Linear(96, 48), nn.ELU(), nn.Linear(48, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.phi(x)
        return self.rho(torch.cat([h.mean(1), h.amax(1)], 1))


class CausalBlock(nn.Module):
    def __init__(self, a: int, b: int, dilation: int) -> None:
        super().__init__()
        self.pad = 2 * dilation
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(a, b, 3, dilation=dilation))
        self.skip = nn.Conv1d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(F.relu(self.conv(F.pad(x, (self.pad, 0)))) + self.skip(x))


class Tcn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(CausalBlock(4, 24, 1), CausalBlock(24, 24, 2), CausalBlock(24, 24, 4))
        self.head = nn.Linear(24, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x.transpose(1, 2))[:, :, -1])


class RmsNorm(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight


class LlamaBlock(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = RmsNorm(d), RmsNorm(d), heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.gate, self.up, self.down = (
            nn.Linear(d, 2 * d, bias=False), nn.Linear(d, 2 * d, bias=False), nn.Linear(2 * d, d, bias=False)
        )  # fmt: skip

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[-2])[:, None] * 10000 ** (-torch.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        h = self.norm1(x)
        q, k, v = (f(h).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        x = x + self.o(h.transpose(1, 2).reshape(n, t, d))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, d: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(24, d)
        self.blocks = nn.ModuleList(LlamaBlock(d, heads) for _ in range(depth))
        self.norm, self.lm_head = RmsNorm(d), nn.Linear(d, 24, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                last = name.endswith(("o.weight", "down.weight"))
                nn.init.normal_(p, std=0.08 / math.sqrt(2 * depth) if last else 0.08)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.lm_head(self.norm(x))


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, d: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.tokens = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens))
        self.channels = nn.Sequential(nn.Linear(d, 64), nn.GELU(), nn.Linear(64, d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 32, 2, stride=2)
        self.blocks = nn.Sequential(MixerBlock(16, 32), MixerBlock(16, 32))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.patch(x).flatten(2).transpose(1, 2))).mean(1))


class SimClr(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.projector = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = F.normalize(self.projector(self.encoder(x)), dim=-1)
        return z[:, 0] @ z[:, 1].T / 0.1


def info_nce(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    right = torch.arange(len(logits))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def retrieved(logits: torch.Tensor, _: torch.Tensor) -> float:
    return float((logits.argmax(1) == torch.arange(len(logits))).float().mean())


class Fourier(nn.Module):
    """Random features of Gaussian frequencies, which are not trained, and a small network on them."""

    def __init__(self) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(5 * torch.randn(1, 32), requires_grad=False)
        self.net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = x @ self.frequencies
        return self.net(torch.cat([p.sin(), p.cos()], 1))


class Film(nn.Module):
    """Pictures modulated by a condition (the last column): scale and shift begin at nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.film = nn.Linear(2, 2 * 48)
        self.first, self.second, self.last = nn.Linear(2, 48), nn.Linear(48, 48), nn.Linear(48, 1)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.silu(self.first(x[:, :2]))
        gamma, beta = self.film(x[:, 2:]).chunk(2, 1)
        return self.last(F.silu(self.second(h) * (1 + gamma) + beta))


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, 64))
        self.inlet = nn.Linear(2, 64)
        self.hidden = nn.ModuleList(nn.Linear(64, 64) for _ in range(2))
        self.outlet = nn.Linear(64, 2)
        nn.init.zeros_(self.outlet.weight)
        nn.init.zeros_(self.outlet.bias)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        x, t = packed[:, :2], packed[:, 2:]
        p = t * math.pi * 2.0 ** torch.arange(-1.0, 7.0)
        e = self.time(torch.cat([p.sin(), p.cos()], 1))
        h = self.inlet(x)
        for layer in self.hidden:
            h = h + layer(F.silu(h + e))
        return self.outlet(F.silu(h))


class VqAe(nn.Module):
    """The reconstruction beside the codebook's and commitment's losses, one column."""

    def __init__(self, codes: int = 32, d: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4 * d))
        self.codebook = nn.Embedding(codes, d)
        self.decoder = nn.Sequential(nn.Linear(4 * d, 64), nn.ReLU(), nn.Linear(64, 64))
        nn.init.normal_(self.codebook.weight, std=0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encoder(x).view(len(x), 4, -1)
        q = self.codebook(torch.cdist(z, self.codebook.weight[None].expand(len(x), -1, -1)).argmin(-1))
        extra = (q - z.detach()).square().mean((1, 2)) + 0.25 * (z - q.detach()).square().mean((1, 2))
        z = z + (q - z).detach()
        return torch.cat([self.decoder(z.flatten(1)), extra[:, None]], 1)


def vq_loss(out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(out[:, :-1], x) + out[:, -1].mean()


class Ode(nn.Module):
    """Eight Euler steps of one and the same field."""

    def __init__(self) -> None:
        super().__init__()
        self.inlet, self.outlet = nn.Linear(64, 32), nn.Linear(32, 10)
        self.field = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.inlet(x)
        for _ in range(8):
            h = h + self.field(h) / 8
        return self.outlet(h)


class MixtureDensity(nn.Module):
    """Three components: logits, means, log-scales."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.pi, self.mu, self.sigma = nn.Linear(48, 3), nn.Linear(48, 3), nn.Linear(48, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        return torch.cat([self.pi(h), self.mu(h), self.sigma(h)], 1)


def mixture_loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    pi, mu, s = out.chunk(3, 1)
    each = pi.log_softmax(1) - 0.5 * ((y - mu) / s.exp()).square() - s
    return -each.logsumexp(1).mean()


def mixture_score(out: torch.Tensor, y: torch.Tensor) -> float:
    pi, mu, _ = out.chunk(3, 1)
    return r2((pi.softmax(1) * mu).sum(1, keepdim=True), y)


def pinball(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    q = torch.tensor([0.1, 0.5, 0.9])
    return torch.maximum(q * (y - out), (q - 1) * (y - out)).mean()


# ---------------------------------------------------------------------------------------------- healthy


@healthy
def inception_batchnorm() -> Case:
    return Case(inception_net(), *data.pictures(), nn.CrossEntropyLoss(), trains=0.9, optimizer=adam(3e-3), steps=200)


@healthy
def bidirectional_gru_mean_pooled() -> Case:
    return Case(BiGru(), *data.rows(), nn.CrossEntropyLoss(), optimizer=adam(5e-3), steps=200)


@healthy
def lstm_language_model_tied() -> Case:
    x, y = data.chain()
    return Case(TiedLstm(), x, y, token_loss, token_accuracy, 0.7, adam(5e-3), 300)


@healthy
def pinn_oscillator_hard_constraint() -> Case:
    t = 4 * torch.rand(512, 1, generator=generator(20))
    return Case(
        Oscillator(), t, torch.cos(t), lambda o, y: o[:, 0].square().mean(), lambda o, y: r2(o[:, 1:], y), 0.9,
        adam(3e-3), 500,
    )  # fmt: skip


@healthy
def realnvp_moons() -> Case:
    x = moons()
    return Case(RealNvp(), x, x, lambda o, y: -o.mean(), lambda o, y: float(o.mean()), -2.2, adam(5e-3), 400)


@healthy
def gcn_graph_regression() -> Case:
    return Case(Gcn(), *graphs(), F.mse_loss, r2, 0.95, adam(1e-2), 300)


@healthy
def siren_wave() -> Case:
    return Case(siren_net(), *data.waves(), F.mse_loss, r2, 0.95, adam(1e-3), 300)


@healthy
def dueling_q_network() -> Case:
    return Case(Dueling(), *transitions(), q_loss, q_score, 0.8, adam(3e-3), 400)


@healthy
def deep_sets_two_pools() -> Case:
    return Case(DeepSets(), *sets(), F.mse_loss, r2, 0.8, adam(5e-3), 400)


@healthy
def tcn_weight_norm() -> Case:
    return Case(Tcn(), *data.sums(), nn.CrossEntropyLoss(), trains=0.9, optimizer=adam(5e-3))


@healthy
def llama_small() -> Case:
    return Case(Llama(), *data.chain(), token_loss, token_accuracy, 0.7, adam(3e-3), 250)


@healthy
def mixer_zero_head() -> Case:
    return Case(Mixer(), *data.pictures(), nn.CrossEntropyLoss(), optimizer=adam(3e-3), steps=200)


@healthy
def simclr_two_views() -> Case:
    return Case(SimClr(), *views(), info_nce, retrieved, 0.4, adam(3e-3), 300)


@healthy
def fourier_features_frozen() -> Case:
    return Case(Fourier(), *data.waves(), F.mse_loss, r2, 0.95, adam(3e-3), 300)


@healthy
def film_zero_modulation() -> Case:
    x, y = data.smooth()
    return Case(Film(), x, y, F.mse_loss, r2, 0.8, adam(5e-3), 500)


@healthy
def diffusion_denoiser() -> Case:
    return Case(Denoiser(), *noised(), F.mse_loss, r2, 0.5, adam(3e-3), 500)


@healthy
def vq_autoencoder() -> Case:
    x, _ = data.digits()
    return Case(VqAe(), x, x, vq_loss, lambda o, y: r2(o[:, :-1], y), 0.6, adam(3e-3), 400)


@healthy
def neural_ode_shared_field() -> Case:
    return Case(Ode(), *data.digits(), nn.CrossEntropyLoss(), trains=0.9, optimizer=adam(5e-3), steps=200)


@healthy
def mixture_density() -> Case:
    return Case(MixtureDensity(), *data.smooth(), mixture_loss, mixture_score, 0.8, adam(5e-3), 500)


@healthy
def quantile_regression() -> Case:
    net = nn.Sequential(nn.Linear(4, 64), nn.Mish(), nn.Linear(64, 64), nn.Mish(), nn.Linear(64, 3))
    return Case(net, *data.smooth(), pinball, lambda o, y: r2(o[:, 1:2], y), 0.8, adam(5e-3), 400)


@healthy
def poisson_log_rate() -> Case:
    net = nn.Sequential(nn.Linear(5, 32), nn.Softplus(), nn.Linear(32, 1))
    nn.init.constant_(net[-1].bias, math.log(2.5))
    return Case(net, *counts(), nn.PoissonNLLLoss(log_input=True), lambda o, y: r2(o.exp(), y), 0.4, adam(1e-2), 300)


@healthy
def double_critic() -> Case:
    return Case(TwoCritics(), *transitions(), two_loss, two_score, 0.7, adam(3e-3), 500)


@healthy
def energy_of_points() -> Case:
    return Case(Points(), *sets(384), F.mse_loss, r2, 0.7, adam(5e-3), 250)


@healthy
def house_prices_standardized() -> Case:
    return Case(tabular(4), *data.smooth(), F.mse_loss, r2, 0.8, adam(5e-3), 400)


@healthy
def deep_autoencoder_tanh() -> Case:
    x, _ = data.digits()
    return Case(deep_autoencoder(), x, x, F.mse_loss, r2, 0.4, adam(2e-3), 500)


@healthy
def cnn_one_logit() -> Case:
    x, y = data.tall()
    return Case(tall_net(), x.view(-1, 1, 8, 8), y, F.binary_cross_entropy_with_logits, optimizer=adam(3e-3))


@healthy
def residual_convolutions_scaled() -> Case:
    return Case(convolutions(16, 1 / 16), *data.pictures(), nn.CrossEntropyLoss(), optimizer=sgd(0.05), steps=150)


@healthy
def raw_features_standardized() -> Case:
    x, y = data.raw_features()
    x = (x - x.mean(0)) / x.std(0)
    return Case(tabular(11), x, y, F.binary_cross_entropy_with_logits, optimizer=adam(3e-3), trains=0.9)


# ---------------------------------------------------------------------------------------------- more nets


class TwoCritics(nn.Module):
    """Two values of (state, action), drawn apart, as of TD3 and SAC."""

    def __init__(self) -> None:
        super().__init__()
        self.q1 = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
        self.q2 = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

    def forward(self, s: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.q1(s), self.q2(s)], 1)


def two_loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return q_loss(out[:, 0], y) + q_loss(out[:, 1], y)


def two_score(out: torch.Tensor, y: torch.Tensor) -> float:
    return q_score(out.amin(1), y)


class Points(nn.Module):
    """Messages from the distances of all pairs of embedded points; ``eps`` keeps the root off zero."""

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.embed = nn.Linear(3, 8)
        self.message = nn.Sequential(nn.Linear(9, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU())
        self.readout = nn.Linear(48, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.embed(x)
        d = ((z[:, :, None] - z[:, None]).square().sum(-1, keepdim=True) + self.eps).sqrt()
        h = self.message(torch.cat([d, z[:, :, None].expand(-1, -1, z.shape[1], -1)], -1))
        return self.readout(h.mean((1, 2)))


def tabular(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1))


def deep_autoencoder(std: float | None = None) -> nn.Sequential:
    layers: list[nn.Module] = []
    widths = [64, 64, 48, 48, 24, 48, 48, 64]
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.Tanh()]
    net = nn.Sequential(*layers, nn.Linear(64, 64))
    for m in net:
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight) if std is None else nn.init.normal_(m.weight, std=std)
            nn.init.zeros_(m.bias)
    return net


def tall_net(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(12, 24, 3, stride=2, padding=1),
        nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(24 * 16, 1), *last,
    )  # fmt: skip


class ConvResidual(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.a, self.b = nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)
        for m in (self.a, self.b):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            nn.init.zeros_(m.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.scale * self.b(F.relu(self.a(x)))


def convolutions(depth: int, scale: float) -> nn.Sequential:
    blocks = [ConvResidual(scale) for _ in range(depth)]
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2, padding=1), *blocks, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(48, 10),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- faulty at step 0


class ListGcn(Gcn):
    """Its layers in a plain list: no part of the model."""

    def __init__(self) -> None:
        super().__init__()
        layers = list(self.layers)
        del self.layers
        self.layers = layers


@fault("unregistered-layer", twin=gcn_graph_regression)
def gcn_layers_in_a_list() -> Case:
    return Case(ListGcn(), *graphs(), F.mse_loss, r2, 0.95, adam(1e-2), 300)


def register(case: Case, code: str) -> bool:
    if code != "unregistered-layer":
        return False
    layers = case.model.layers
    del case.model.layers
    case.model.layers = nn.ModuleList(layers)
    return True


gcn_layers_in_a_list = mended(gcn_layers_in_a_list, register)


@fault("untied-weights duplicated-draws", "decoder.weight embed.weight decoder embed", twin=lstm_language_model_tied)
def lstm_language_model_copies_its_table() -> Case:
    x, y = data.chain()
    model = TiedLstm(tied=False)
    model.decoder.weight.data = model.embed.weight.data.clone()
    return Case(model, x, y, token_loss, token_accuracy, 0.7, adam(5e-3), 300)


def tie(case: Case, code: str) -> bool:
    case.model.decoder.weight = case.model.embed.weight
    return True


lstm_language_model_copies_its_table = mended(lstm_language_model_copies_its_table, tie)


class NoStraightThrough(VqAe):
    """Quantized by an index, without passing the gradient by: the encoder gets none."""

    passes = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.passes:
            return super().forward(x)
        z = self.encoder(x).view(len(x), 4, -1)
        q = self.codebook(torch.cdist(z, self.codebook.weight[None].expand(len(x), -1, -1)).argmin(-1))
        extra = (q - z.detach()).square().mean((1, 2))
        return torch.cat([self.decoder(q.flatten(1)), extra[:, None]], 1)


@fault("no-gradient", "encoder encoder.*", twin=vq_autoencoder)
def vq_without_straight_through() -> Case:
    x, _ = data.digits()
    return Case(NoStraightThrough(), x, x, vq_loss, lambda o, y: r2(o[:, :-1], y), 0.6, adam(3e-3), 400)


def pass_straight(case: Case, code: str) -> bool:
    case.model.passes = True
    return True


vq_without_straight_through = mended(vq_without_straight_through, pass_straight)


@fault("flipped-loss", twin=mixture_density)
def mixture_density_minimizes_its_likelihood() -> Case:
    return Case(MixtureDensity(), *data.smooth(), lambda o, y: -mixture_loss(o, y), mixture_score, 0.8, adam(5e-3), 500)


def right_sign(case: Case, code: str) -> bool:
    case.loss_fn = mixture_loss
    return True


mixture_density_minimizes_its_likelihood = mended(mixture_density_minimizes_its_likelihood, right_sign)


@fault("wrong-gain exploding-gradient exploding-forward saturation", "1 1.* 2 2.*", twin=siren_wave)
def siren_hidden_draw_forgets_omega() -> Case:
    model = siren_net()
    for layer in model[1:3]:
        nn.init.uniform_(layer.linear.weight, -math.sqrt(6 / 48), math.sqrt(6 / 48))
    return Case(model, *data.waves(), F.mse_loss, r2, 0.95, adam(1e-3), 300)


@fault("unscaled-targets wrong-prior", twin=house_prices_standardized)
def house_prices_in_euros() -> Case:
    return Case(tabular(4), *houses(), F.mse_loss, r2, 0.8, adam(5e-3), 400)


def scale_targets(case: Case, code: str) -> bool:
    if code != "unscaled-targets":
        return False
    case.targets = (case.targets - case.targets.mean()) / case.targets.std()
    return True


house_prices_in_euros = mended(house_prices_in_euros, scale_targets)


@fault("unnormalized-inputs", twin=raw_features_standardized)
def raw_features_as_they_came() -> Case:
    x, y = data.raw_features()
    return Case(tabular(11), x, y, F.binary_cross_entropy_with_logits, optimizer=adam(3e-3), trains=0.9)


def normalize(case: Case, code: str) -> bool:
    case.inputs = (case.inputs - case.inputs.mean(0)) / case.inputs.std(0)
    return True


raw_features_as_they_came = mended(raw_features_as_they_came, normalize)


@fault("residual-growth exploding-forward exploding-gradient", twin=residual_convolutions_scaled)
def residual_convolutions_add_up() -> Case:
    return Case(convolutions(16, 1.0), *data.pictures(), nn.CrossEntropyLoss(), optimizer=sgd(0.05), steps=150)


def scale_branches(case: Case, code: str) -> bool:
    for m in case.model.modules():
        if isinstance(m, ConvResidual):
            m.scale = 1 / 16
    return True


residual_convolutions_add_up = mended(residual_convolutions_add_up, scale_branches)


@fault("constant-init symmetric-units", "phi phi.*", twin=deep_sets_two_pools)
def deep_sets_constant_draw() -> Case:
    model = DeepSets()
    for m in model.phi:
        if isinstance(m, nn.Linear):
            nn.init.constant_(m.weight, 0.1)
            nn.init.constant_(m.bias, 0.0)
    return Case(model, *sets(), F.mse_loss, r2, 0.8, adam(5e-3), 400)


@fault("duplicated-draws", "q1 q1.* q2 q2.*", twin=double_critic)
def double_critic_deep_copied() -> Case:
    model = TwoCritics()
    model.q2 = copy.deepcopy(model.q1)
    return Case(model, *transitions(), two_loss, two_score, 0.7, adam(3e-3), 500)


@fault("softmax-over-one", twin=cnn_one_logit)
def cnn_softmax_over_its_one_unit() -> Case:
    x, y = data.tall()
    model = tall_net(nn.Softmax(dim=1))
    return Case(model, x.view(-1, 1, 8, 8), y, nn.BCELoss(), optimizer=adam(3e-3))


def sigmoid_instead(case: Case, code: str) -> bool:
    case.model[-1] = nn.Sigmoid()
    return True


cnn_softmax_over_its_one_unit = mended(cnn_softmax_over_its_one_unit, sigmoid_instead)


class SoftGru(BiGru):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.Softmax(dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(x))


@fault("double-softmax", twin=bidirectional_gru_mean_pooled)
def bidirectional_gru_probabilities_to_cross_entropy() -> Case:
    return Case(SoftGru(), *data.rows(), nn.CrossEntropyLoss(), optimizer=adam(5e-3), steps=200)


def no_softmax(case: Case, code: str) -> bool:
    case.model.act = nn.Identity()
    return True


bidirectional_gru_probabilities_to_cross_entropy = mended(bidirectional_gru_probabilities_to_cross_entropy, no_softmax)


@fault("vanishing-forward vanishing-gradient wrong-gain rank-collapse", twin=deep_autoencoder_tanh)
def deep_autoencoder_of_two_hundredths() -> Case:
    x, _ = data.digits()
    return Case(deep_autoencoder(0.02), x, x, F.mse_loss, r2, 0.4, adam(2e-3), 500)


@fault("unreachable-targets", twin=vq_autoencoder)
def vq_sigmoid_decoder_of_standardized_pictures() -> Case:
    x, _ = data.digits()
    model = VqAe()
    model.decoder.append(nn.Sigmoid())
    return Case(model, x, x, vq_loss, lambda o, y: r2(o[:, :-1], y), 0.6, adam(3e-3), 400)


def linear_output(case: Case, code: str) -> bool:
    case.model.decoder[-1] = nn.Identity()
    return True


vq_sigmoid_decoder_of_standardized_pictures = mended(vq_sigmoid_decoder_of_standardized_pictures, linear_output)


class Forgetful(Inception):
    """A slip of the cat: the second branch twice, the third never."""

    right = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.right:
            return super().forward(x)
        return F.relu(self.norm(torch.cat([self.one(x), self.three(x), self.three(x)], 1)))


@fault("unused-parameter", "*five*", twin=inception_batchnorm)
def inception_third_branch_forgotten() -> Case:
    model = inception_net()
    model[0], model[2] = Forgetful(1), Forgetful(24)
    return Case(model, *data.pictures(), nn.CrossEntropyLoss(), trains=0.9, optimizer=adam(3e-3), steps=200)


def use_branch(case: Case, code: str) -> bool:
    for m in case.model.modules():
        if isinstance(m, Forgetful):
            m.right = True
    return True


inception_third_branch_forgotten = mended(inception_third_branch_forgotten, use_branch)


@fault("non-finite-gradients", twin=energy_of_points)
def distances_to_oneself() -> Case:
    return Case(Points(eps=0.0), *sets(384), F.mse_loss, r2, 0.7, adam(5e-3), 250)


def off_zero(case: Case, code: str) -> bool:
    case.model.eps = 1e-6
    return True


distances_to_oneself = mended(distances_to_oneself, off_zero)


@fault("not-in-optimizer", "film film.*", twin=film_zero_modulation)
def film_modulation_left_out_of_the_optimizer() -> Case:
    def optimizer(model: Any) -> torch.optim.Optimizer:
        parts = [model.first, model.second, model.last]
        return torch.optim.Adam([p for part in parts for p in part.parameters()], 5e-3)

    return Case(Film(), *data.smooth(), F.mse_loss, r2, 0.8, optimizer, 500)


def all_of_it(case: Case, code: str) -> bool:
    case.optimizer = adam(5e-3)
    return True


film_modulation_left_out_of_the_optimizer = mended(film_modulation_left_out_of_the_optimizer, all_of_it)


@fault(
    "zero-norm-scale no-gradient rank-collapse vanishing-forward dead-units", "*norm *norm.* 0 2",
    twin=inception_batchnorm,
)  # fmt: skip
def inception_all_batchnorms_at_zero() -> Case:
    model = inception_net()
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):  # meant for a residual network's last norms
            nn.init.zeros_(m.weight)
    return Case(model, *data.pictures(), nn.CrossEntropyLoss(), trains=0.9, optimizer=adam(3e-3), steps=200)


# ---------------------------------------------------------------------------------------------- faulty in training


class ClippedToNothing(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], 1e-6)
        super().step()


@fault(
    "update-too-small loss-stuck learning-rate-too-low trivial-plateau vanished-gradients", when="training",
    twin=llama_small,
)  # fmt: skip
def llama_clipped_to_nothing() -> Case:
    return Case(
        Llama(), *data.chain(), token_loss, token_accuracy, 0.7,
        lambda m: ClippedToNothing(m.parameters(), 0.3, momentum=0.9), 250,
    )  # fmt: skip


def adam_again(case: Case, code: str) -> bool:
    case.optimizer = adam(3e-3)
    return True


llama_clipped_to_nothing = mended(llama_clipped_to_nothing, adam_again)


@fault(
    "learning-rate-too-high update-too-large loss-oscillating loss-diverged loss-rising dying-units gradient-spike "
    "exploded-gradients trivial-plateau loss-stuck vanished-gradients", when="training", twin=gcn_graph_regression,
)  # fmt: skip
def gcn_rate_a_hundred_times_too_high() -> Case:
    return Case(Gcn(), *graphs(), F.mse_loss, r2, 0.95, adam(1.0), 300)


def lower(case: Case, code: str) -> bool:
    case.optimizer = adam(1e-2)
    return True


gcn_rate_a_hundred_times_too_high = mended(gcn_rate_a_hundred_times_too_high, lower)


class Keeps(torch.optim.SGD):
    """As if zero_grad had been forgotten."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


@fault(
    "loss-oscillating loss-rising loss-diverged exploded-gradients gradient-spike update-too-large "
    "learning-rate-too-high dying-units trivial-plateau loss-stuck non-finite-values non-finite-gradients",
    when="training", twin=tcn_weight_norm,
)  # fmt: skip
def tcn_gradients_add_up() -> Case:
    return Case(
        Tcn(), *data.sums(), nn.CrossEntropyLoss(), trains=0.9,
        optimizer=lambda m: Keeps(m.parameters(), 0.05, momentum=0.9),
    )  # fmt: skip


def zero_again(case: Case, code: str) -> bool:
    case.optimizer = sgd(0.05)
    return True


tcn_gradients_add_up = mended(tcn_gradients_add_up, zero_again)


@fault("trivial-plateau loss-stuck vanished-gradients dying-units", when="training", twin=mixer_zero_head)
def mixer_decay_too_large() -> Case:
    return Case(
        Mixer(), *data.pictures(), nn.CrossEntropyLoss(),
        optimizer=lambda m: torch.optim.AdamW(m.parameters(), 3e-3, weight_decay=100.0), steps=200,
    )  # fmt: skip


def usual_decay(case: Case, code: str) -> bool:
    case.optimizer = lambda m: torch.optim.AdamW(m.parameters(), 3e-3, weight_decay=0.01)
    return True


mixer_decay_too_large = mended(mixer_decay_too_large, usual_decay)
