"""Programs of an author who has not seen how the library decides: all kinds of networks."""

from __future__ import annotations

import copy
import math
from functools import cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_wine
from torch import nn

from . import data
from .program import Case, adam, fault, healthy, mended, r2, sgd


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# A student's network on the wines


def wine(*, standardized: bool) -> Case:
    loaded = load_wine()
    order = torch.randperm(len(loaded.target), generator=seeded(11))
    x = torch.tensor(loaded.data, dtype=torch.float32)[order]
    y = torch.tensor(loaded.target)[order]
    if standardized:
        x = (x - x.mean(0)) / x.std(0)
    model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    return Case(model, x, y, nn.CrossEntropyLoss(), trains=0.95, optimizer=adam(1e-3), steps=250)


@healthy
def wine_student() -> Case:
    return wine(standardized=True)


@fault("unnormalized-inputs", twin=wine_student)
def wine_in_its_units() -> Case:
    return wine(standardized=False)


def standardize(case: Case, code: str) -> bool:
    if code != "unnormalized-inputs":
        return False
    case.inputs = (case.inputs - case.inputs.mean(0)) / case.inputs.std(0)
    return True


wine_in_its_units = mended(wine_in_its_units, standardize)


# Cloning an expert's choices out of twelve


class Actor(nn.Module):
    def __init__(self, *, probabilities: bool) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(9, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.policy = nn.Linear(48, 12)
        nn.init.orthogonal_(self.policy.weight, 0.01)
        nn.init.zeros_(self.policy.bias)
        self.probabilities = probabilities

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        logits = self.policy(self.trunk(state))
        return F.softmax(logits, dim=-1) if self.probabilities else logits


def cloning(*, probabilities: bool) -> Case:
    g = seeded(12)
    x = torch.randn(1500, 9, generator=g)
    expert = torch.randn(9, 12, generator=g)
    return Case(
        Actor(probabilities=probabilities), x, (x @ expert).argmax(1), F.cross_entropy,
        trains=0.93, optimizer=adam(3e-3), steps=400,
    )  # fmt: skip


@healthy
def behaviour_cloning() -> Case:
    return cloning(probabilities=False)


@fault("double-softmax", twin=behaviour_cloning)
def actor_gives_probabilities_to_cross_entropy() -> Case:
    return cloning(probabilities=True)


def logits_out(case: Case, code: str) -> bool:
    if code != "double-softmax":
        return False
    case.model.probabilities = False
    return True


actor_gives_probabilities_to_cross_entropy = mended(actor_gives_probabilities_to_cross_entropy, logits_out)


# Graphs of twenty nodes, the adjacency beside the features


class GraphNet(nn.Module):
    def __init__(self, *, normalized: bool, width: int = 24, depth: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5 if i == 0 else width, width) for i in range(depth)])
        for layer in self.layers:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.readout = nn.Linear(width, 2)
        self.normalized = normalized

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        adjacency, h = packed[:, :, :20], packed[:, :, 20:]
        adjacency = adjacency + torch.eye(20)
        if self.normalized:
            root = adjacency.sum(-1).rsqrt()
            adjacency = root[:, :, None] * adjacency * root[:, None, :]
        for layer in self.layers:
            h = F.relu(layer(adjacency @ h))
        return self.readout(h.mean(1))


@cache
def graphs() -> data.Pair:
    g = seeded(13)
    n = 800
    upper = (torch.rand(n, 20, 20, generator=g) < 0.6).float().triu(1)
    adjacency = upper + upper.transpose(1, 2)
    features = torch.randn(n, 20, 5, generator=g) + torch.randn(n, 1, 5, generator=g)
    seen = torch.relu((adjacency @ features / adjacency.sum(-1, keepdim=True).clamp(min=1))[:, :, 0]).mean(1)
    seen = seen + 0.5 * features.mean(1)[:, 1]
    return torch.cat([adjacency, features], -1), (seen > seen.median()).long()


def graph_case(*, normalized: bool) -> Case:
    x, y = graphs()
    return Case(GraphNet(normalized=normalized), x, y, F.cross_entropy, trains=0.9, optimizer=sgd(0.05), steps=250)


@healthy
def graph_convolutions() -> Case:
    return graph_case(normalized=True)


@fault("exploding-forward exploding-gradient large-head", "layers.* readout readout.*", twin=graph_convolutions)
def graph_convolutions_without_degrees() -> Case:
    return graph_case(normalized=False)


def by_degree(case: Case, code: str) -> bool:
    case.model.normalized = True
    return True


graph_convolutions_without_degrees = mended(graph_convolutions_without_degrees, by_degree)


# A dueling network with its target copy, which follows by an average of weights


class Dueling(nn.Module):
    def __init__(self, *, valued: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.value = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
        self.advantage = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))
        self.valued = valued

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        h = self.body(state)
        advantage = self.advantage(h)
        q = advantage - advantage.mean(1, keepdim=True)
        return q + self.value(h) if self.valued else q


class WithTarget(nn.Module):
    """Gives the values of all actions beside the values to reach."""

    def __init__(self, online: nn.Module) -> None:
        super().__init__()
        self.online, self.target = online, copy.deepcopy(online).requires_grad_(False)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        state, after, reward = packed[:, :6], packed[:, 6:12], packed[:, 12:]
        with torch.no_grad():
            if self.training:
                for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
                    slow.lerp_(fast, 0.02)
            best = self.online(after).argmax(1, keepdim=True)
            wanted = reward + 0.5 * self.target(after).gather(1, best)
        return torch.cat([self.online(state), wanted], 1)


@cache
def transitions() -> torch.Tensor:
    g = seeded(14)
    state = torch.randn(1500, 6, generator=g)
    after = 0.8 * state + 0.3 * torch.randn(1500, 6, generator=g)
    reward = torch.tanh(state @ torch.randn(6, 4, generator=g) * 0.5) + torch.tanh(state[:, :1] + state[:, 1:2])
    return torch.cat([state, after, reward], 1)


def dueling(*, valued: bool) -> Case:
    packed = transitions()
    return Case(
        WithTarget(Dueling(valued=valued)), packed, torch.zeros(len(packed)),
        lambda out, _: F.smooth_l1_loss(out[:, :4], out[:, 4:]), lambda out, _: r2(out[:, :4], out[:, 4:]),
        trains=0.75, optimizer=adam(1e-3), steps=600,
    )  # fmt: skip


@healthy
def dueling_double_dqn() -> Case:
    return dueling(valued=True)


@fault("unused-parameter no-gradient", "online.value online.value.*", twin=dueling_double_dqn)
def dueling_without_its_value() -> Case:
    return dueling(valued=False)


def add_value(case: Case, code: str) -> bool:
    case.model.online.valued = case.model.target.valued = True
    return True


dueling_without_its_value = mended(dueling_without_its_value, add_value)


# A quantized autoencoder


class Quantized(nn.Module):
    def __init__(self, *, blind: bool) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
        self.codebook = nn.Embedding(32, 4)
        nn.init.normal_(self.codebook.weight, 0.0, 0.3)
        self.decoder = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64))
        self.blind = blind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.blind):
            z = self.encoder(x).view(-1, 8, 4)
            nearest = (z.detach()[:, :, None] - self.codebook.weight.detach()).square().sum(-1).argmin(-1)
        q = self.codebook(nearest)
        passed = z + (q - z).detach()
        return torch.cat([self.decoder(passed.flatten(1)), z.flatten(1), q.flatten(1)], 1)


def quantized_loss(out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    rebuilt, z, q = out.split([64, 32, 32], 1)
    return F.mse_loss(rebuilt, x) + F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())


def quantized(*, blind: bool) -> Case:
    x, _ = data.digits()
    return Case(
        Quantized(blind=blind), x, x, quantized_loss, lambda out, x: r2(out[:, :64], x),
        trains=0.65, optimizer=adam(2e-3), steps=500,
    )  # fmt: skip


@healthy
def vq_vae_straight_through() -> Case:
    return quantized(blind=False)


@fault("no-gradient", "encoder encoder.*", twin=vq_vae_straight_through)
def vq_vae_encodes_without_gradient() -> Case:
    return quantized(blind=True)


def see(case: Case, code: str) -> bool:
    case.model.blind = False
    return True


vq_vae_encodes_without_gradient = mended(vq_vae_encodes_without_gradient, see)


# Ratings by factors


class Factors(nn.Module):
    def __init__(self, std: float, mean: float) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(80, 8), nn.Embedding(60, 8)
        self.user_bias, self.item_bias = nn.Embedding(80, 1), nn.Embedding(60, 1)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, 0.0, std)
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)
        self.mean = nn.Parameter(torch.tensor(mean))

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        u, i = pair[:, 0], pair[:, 1]
        product = (self.users(u) * self.items(i)).sum(1)
        return product + self.user_bias(u)[:, 0] + self.item_bias(i)[:, 0] + self.mean


def ratings(std: float) -> Case:
    g = seeded(15)
    pairs = torch.stack([torch.randint(80, (4000,), generator=g), torch.randint(60, (4000,), generator=g)], 1)
    u, i = torch.randn(80, 3, generator=g), torch.randn(60, 3, generator=g)
    y = 3.5 + 0.6 * (u[pairs[:, 0]] * i[pairs[:, 1]]).sum(1) + 0.1 * torch.randn(4000, generator=g)
    return Case(
        Factors(std, float(y.mean())), pairs, y, F.mse_loss, r2, trains=0.7, optimizer=adam(1e-2), steps=600, batch=128
    )


@healthy
def matrix_factors() -> Case:
    return ratings(0.1)


@fault(
    "constant-init symmetric-units no-gradient vanishing-gradient vanishing-forward rank-collapse",
    "users users.* items items.*",
    twin=matrix_factors,
)
def factors_both_of_zeros() -> Case:
    return ratings(0.0)


# A mixture of experts


class Mixture(nn.Module):
    def __init__(self, *, copied: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.LayerNorm(32))
        self.gate = nn.Linear(32, 4, bias=False)
        first = self.expert()
        self.experts = nn.ModuleList([copy.deepcopy(first) if copied else self.expert() for _ in range(4)])
        self.head = nn.Linear(32, 10)

    @staticmethod
    def expert() -> nn.Module:
        return nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        weights = self.gate(h).softmax(-1)
        return self.head(h + sum(weights[:, k, None] * expert(h) for k, expert in enumerate(self.experts)))


def mixture(*, copied: bool) -> Case:
    x, y = data.digits()
    return Case(Mixture(copied=copied), x, y, F.cross_entropy, trains=0.9, optimizer=adam(2e-3), steps=200)


@healthy
def soft_experts() -> Case:
    return mixture(copied=False)


@fault("duplicated-draws symmetric-units", "experts experts.*", twin=soft_experts)
def experts_by_deepcopy() -> Case:
    return mixture(copied=True)


# Pairs of pictures, alike or not


class Siamese(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8, bias=False))
        self.eps = eps

    def forward(self, pair: torch.Tensor) -> torch.Tensor:
        a, b = self.embed(pair[:, 0]), self.embed(pair[:, 1])
        return torch.sqrt((a - b).square().sum(1) + self.eps)


def contrastive(distance: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
    return (alike * distance.square() + (1 - alike) * F.relu(1.5 - distance).square()).mean()


def siamese(eps: float) -> Case:
    x, y = data.digits()
    g = seeded(16)
    first = torch.randint(len(x), (2000,), generator=g)
    second = torch.randint(len(x), (2000,), generator=g)
    for i in range(0, 2000, 2):
        same = (y == y[first[i]]).nonzero()[:, 0]
        second[i] = same[torch.randint(len(same), (1,), generator=g)]
    second[6::40] = first[6::40]
    alike = (y[first] == y[second]).float()
    return Case(
        Siamese(eps), torch.stack([x[first], x[second]], 1), alike, contrastive,
        lambda distance, alike: float(((distance < 0.75) == (alike > 0.5)).float().mean()),
        trains=0.85, optimizer=adam(2e-3), steps=300,
    )  # fmt: skip


@healthy
def siamese_contrastive() -> Case:
    return siamese(1e-6)


@fault("non-finite-gradients", twin=siamese_contrastive)
def siamese_root_of_zero() -> Case:
    return siamese(0.0)


def add_eps(case: Case, code: str) -> bool:
    if code != "non-finite-gradients":
        return False
    case.model.eps = 1e-6
    return True


siamese_root_of_zero = mended(siamese_root_of_zero, add_eps)


# Three recurrent cells by hand


class Cells(nn.Module):
    def __init__(self, *, listed: bool) -> None:
        super().__init__()
        cells = [nn.LSTMCell(4 if i == 0 else 24, 24) for i in range(3)]
        for cell in cells:
            nn.init.orthogonal_(cell.weight_hh)
            nn.init.zeros_(cell.bias_ih)
            nn.init.zeros_(cell.bias_hh)
            nn.init.ones_(cell.bias_hh[24:48])
        self.cells = cells if listed else nn.ModuleList(cells)
        self.head = nn.Linear(24, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = [(x.new_zeros(len(x), 24), x.new_zeros(len(x), 24)) for _ in self.cells]
        for t in range(x.shape[1]):
            h = x[:, t]
            for k, cell in enumerate(self.cells):
                states[k] = cell(h, states[k])
                h = states[k][0]
        return self.head(h)


def recurrent(*, listed: bool) -> Case:
    x, y = data.sums()
    return Case(Cells(listed=listed), x, y, F.cross_entropy, trains=0.9, optimizer=adam(5e-3), steps=200)


@healthy
def lstm_cells_by_hand() -> Case:
    return recurrent(listed=False)


@fault("unregistered-layer", twin=lstm_cells_by_hand)
def lstm_cells_in_a_plain_list() -> Case:
    return recurrent(listed=True)


def register(case: Case, code: str) -> bool:
    if code != "unregistered-layer":
        return False
    case.model.cells = nn.ModuleList(case.model.__dict__.pop("cells"))
    return True


lstm_cells_in_a_plain_list = mended(lstm_cells_in_a_plain_list, register)


# A convolutional autoencoder that takes noise out


class Denoiser(nn.Module):
    """Predicts the noise, at first none, and takes it off."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.noise = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(24, 8, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(8, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 1, 3, padding=1),
        )  # fmt: skip
        nn.init.zeros_(self.noise[-1].weight)
        nn.init.zeros_(self.noise[-1].bias)
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x - self.noise(x))


def denoiser(last: nn.Module) -> Case:
    x, _ = data.pictures()
    noisy = x + 0.8 * torch.randn(x.shape, generator=seeded(17))
    return Case(Denoiser(last), noisy, x, F.mse_loss, r2, trains=0.55, optimizer=adam(3e-3), steps=250)


@healthy
def denoising_autoencoder() -> Case:
    return denoiser(nn.Identity())


@fault("unreachable-targets", twin=denoising_autoencoder)
def denoiser_of_standardized_pixels_ends_in_sigmoid() -> Case:
    return denoiser(nn.Sigmoid())


def open_end(case: Case, code: str) -> bool:
    if code != "unreachable-targets":
        return False
    case.model.last = nn.Identity()
    return True


denoiser_of_standardized_pixels_ends_in_sigmoid = mended(denoiser_of_standardized_pixels_ends_in_sigmoid, open_end)


# Three quantiles of a price


def pinball(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    levels = torch.tensor([0.1, 0.5, 0.9])
    missed = y - out
    return torch.maximum(levels * missed, (levels - 1) * missed).mean()


def prices(*, dollars: bool) -> Case:
    g = seeded(18)
    x = torch.randn(1500, 7, generator=g)
    price = x[:, 0] + torch.sin(2 * x[:, 1]) + 0.5 * x[:, 2] * x[:, 3] + 0.2 * torch.randn(1500, generator=g)
    price = (price - price.mean()) / price.std()
    y = (310_000 + 95_000 * price if dollars else price)[:, None]
    model = nn.Sequential(nn.Linear(7, 64), nn.SELU(), nn.Linear(64, 64), nn.SELU(), nn.Linear(64, 3))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, 0.0, layer.in_features**-0.5)
        nn.init.zeros_(layer.bias)
    return Case(model, x, y, pinball, lambda out, y: r2(out[:, 1:2], y), trains=0.7, optimizer=adam(3e-3), steps=400)


@healthy
def quantile_regression() -> Case:
    return prices(dollars=False)


@fault("unscaled-targets wrong-prior", twin=quantile_regression)
def quantiles_in_dollars() -> Case:
    return prices(dollars=True)


def in_deviations(case: Case, code: str) -> bool:
    case.targets = (case.targets - case.targets.mean()) / case.targets.std()
    return True


quantiles_in_dollars = mended(quantiles_in_dollars, in_deviations)


# Gated, dilated convolutions over time


class Gated(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.filter = nn.Conv1d(width, width, 2, dilation=dilation)
        self.gate = nn.Conv1d(width, width, 2, dilation=dilation)
        self.tanh, self.sigmoid = nn.Tanh(), nn.Sigmoid()
        self.mix = nn.Conv1d(width, width, 1)
        self.dilation = dilation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        past = F.pad(x, (self.dilation, 0))
        return x + self.mix(self.tanh(self.filter(past)) * self.sigmoid(self.gate(past)))


class WaveNet(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Conv1d(2, width, 1)
        self.blocks = nn.Sequential(*[Gated(width, 2**i) for i in range(3)])
        self.head = nn.Conv1d(width, 1, 1)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embed(series)))


def wavenet(std: float | None) -> Case:
    model = WaveNet()
    for module in model.modules():
        if isinstance(module, Gated) and std is not None:
            nn.init.normal_(module.filter.weight, 0.0, std)
            nn.init.normal_(module.gate.weight, 0.0, std)
    x = torch.randn(800, 2, 20, generator=seeded(23))
    past = F.pad(x, (6, 0))
    y = (
        0.7 * past[:, :1, 5:25]
        + torch.sin(past[:, 1:, 3:23] + past[:, :1, 6:])
        + 0.4 * past[:, 1:, 6:] * past[:, :1, :20]
    )
    return Case(model, x, (y - y.mean()) / y.std(), F.mse_loss, r2, trains=0.985, optimizer=adam(3e-3), steps=200)


@healthy
def gated_convolutions() -> Case:
    return wavenet(None)


@fault(
    "saturation wrong-gain",
    "blocks.* blocks.*.filter blocks.*.filter.weight blocks.*.gate blocks.*.gate.weight blocks.*.tanh blocks.*.sigmoid",
    twin=gated_convolutions,
)
def gated_convolutions_of_unit_normals() -> Case:
    return wavenet(1.0)


# Masks of discs


class Segmenter(nn.Module):
    def __init__(self, *, softmax: bool) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.GroupNorm(3, 12), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.GroupNorm(4, 24), nn.ReLU())
        self.up = nn.ConvTranspose2d(24, 12, 2, stride=2)
        self.merge = nn.Sequential(nn.Conv2d(24, 12, 3, padding=1), nn.ReLU())
        self.mask = nn.Conv2d(12, 1, 1)
        self.softmax = softmax

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.down1(x)
        logits = self.mask(self.merge(torch.cat([a, self.up(self.down2(a))], 1)))
        return torch.softmax(logits, dim=1) if self.softmax else torch.sigmoid(logits)


@cache
def discs() -> data.Pair:
    g = seeded(19)
    center, radius = torch.rand(600, 2, 1, 1, generator=g) * 8 + 4, torch.rand(600, 1, 1, generator=g) * 2.5 + 3.0
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    mask = ((rows - center[:, 0]).square() + (columns - center[:, 1]).square() < radius.square()).float()[:, None]
    return 2 * mask - 0.6 + 0.9 * torch.randn(600, 1, 16, 16, generator=g), mask


def dice(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 1 - (2 * (p * y).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + y.sum((1, 2, 3)) + 1)


def segments(*, softmax: bool) -> Case:
    x, y = discs()
    return Case(
        Segmenter(softmax=softmax), x, y, lambda p, y: F.binary_cross_entropy(p, y) + dice(p, y).mean(),
        lambda p, y: float(1 - dice((p > 0.5).float(), y).mean()),
        trains=0.9, optimizer=adam(5e-3), steps=120, batch=32,
    )  # fmt: skip


@healthy
def masks_by_dice() -> Case:
    return segments(softmax=False)


@fault("softmax-over-one no-gradient", twin=masks_by_dice)
def masks_by_softmax_of_one_channel() -> Case:
    return segments(softmax=True)


def by_sigmoid(case: Case, code: str) -> bool:
    case.model.softmax = False
    return True


masks_by_softmax_of_one_channel = mended(masks_by_softmax_of_one_channel, by_sigmoid)


# A policy from logged choices


class Surrogate:
    """The clipped surrogate of PPO on choices drawn evenly from four: (choice, advantage, best choice)."""

    def __init__(self, sign: float) -> None:
        self.sign = sign

    def __call__(self, logits: torch.Tensor, logged: torch.Tensor) -> torch.Tensor:
        log_p = logits.log_softmax(-1).gather(1, logged[:, :1].long())[:, 0]
        ratio, advantage = (log_p + math.log(4)).exp(), logged[:, 1]
        gain = torch.minimum(ratio * advantage, ratio.clamp(0.0, 3.0) * advantage)
        return self.sign * gain.mean()


def logged_policy(sign: float) -> Case:
    g = seeded(20)
    x = torch.randn(2000, 8, generator=g)
    merit = torch.tanh(x @ torch.randn(8, 4, generator=g) * 0.5)
    choice = torch.randint(4, (2000, 1), generator=g)
    reward = merit.gather(1, choice)[:, 0] + 0.1 * torch.randn(2000, generator=g)
    advantage = (reward - reward.mean()) / reward.std()
    logged = torch.stack([choice[:, 0].float(), advantage, merit.argmax(1).float()], 1)
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))
    for layer, gain in zip(model[::2], (math.sqrt(2), math.sqrt(2), 0.01), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return Case(
        model, x, logged, Surrogate(sign), lambda out, logged: float((out.argmax(1) == logged[:, 2]).float().mean()),
        trains=0.75, optimizer=adam(1e-3), steps=400, batch=128,
    )  # fmt: skip


@healthy
def clipped_surrogate() -> Case:
    return logged_policy(-1.0)


@fault("flipped-loss", twin=clipped_surrogate)
def surrogate_is_minimized() -> Case:
    return logged_policy(1.0)


def turn(case: Case, code: str) -> bool:
    case.loss_fn = Surrogate(-1.0)
    return True


surrogate_is_minimized = mended(surrogate_is_minimized, turn)


# A set of points pooled by attention


class SetAttention(nn.Module):
    """Four learned queries take what they want of the set."""

    def __init__(self, scale: float, width: int = 128) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(4, width), nn.GELU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)
        self.seeds = nn.Parameter(torch.randn(4, width))
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        for layer in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.head = nn.Sequential(nn.Linear(4 * width, 64), nn.GELU(), nn.Linear(64, 2))
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.embed(x))
        logits = self.query(self.seeds) @ self.key(h).transpose(1, 2) * self.scale
        return self.head((logits.softmax(-1) @ self.value(h)).flatten(1))


def sets(scale: float) -> Case:
    g = seeded(21)
    x = torch.randn(1200, 16, 4, generator=g)
    spread = (x[:, :, 0] * x[:, :, 1]).mean(1) + 0.5 * x[:, :, 2].amax(1)
    y = (spread > spread.median()).long()
    return Case(SetAttention(scale), x, y, F.cross_entropy, trains=0.85, optimizer=adam(1e-3), steps=200)


@healthy
def set_attention() -> Case:
    return sets(128**-0.5)


@fault(
    "attention-collapse",
    "seeds query query.* key key.* value value.*",
    twin=set_attention,
)
def set_attention_without_its_root() -> Case:
    return sets(1.0)


def divide(case: Case, code: str) -> bool:
    case.model.scale = 128**-0.5
    return True


set_attention_without_its_root = mended(set_attention_without_its_root, divide)


# Twelve branches, each behind a scale that starts at zero


class ReZero(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.alpha * self.branch(x)


def of_layers(model: nn.Module) -> torch.optim.Optimizer:
    """Decay for the weights, none for the biases; and nothing for what is neither."""
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    return torch.optim.AdamW([{"params": weights, "weight_decay": 1e-2}, {"params": biases, "weight_decay": 0.0}], 2e-3)


def of_all(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=1e-2)


def rezero(optimizer) -> Case:  # type: ignore[no-untyped-def]
    g = seeded(22)
    x = torch.randn(1500, 10, generator=g)
    y = torch.sin(2 * x[:, :1]) * x[:, 1:2] + x[:, 2:3].abs() - x[:, 3:4] * x[:, 4:5]
    y = (y - y.mean()) / y.std()
    model = nn.Sequential(nn.Linear(10, 48), *[ReZero(48) for _ in range(12)], nn.Linear(48, 1))
    return Case(model, x, y, F.mse_loss, r2, trains=0.75, optimizer=optimizer, steps=400)


@healthy
def rezero_branches() -> Case:
    return rezero(of_all)


@fault("not-in-optimizer", "*.alpha", twin=rezero_branches)
def rezero_without_its_scales_in_the_optimizer() -> Case:
    return rezero(of_layers)


def all_of_them(case: Case, code: str) -> bool:
    case.optimizer = of_all
    return True


rezero_without_its_scales_in_the_optimizer = mended(rezero_without_its_scales_in_the_optimizer, all_of_them)


# Odd and right: frozen on purpose, zeros on purpose


@cache
def pretrained() -> nn.Sequential:
    """A network that has learned the digits below five."""
    x, y = data.digits()
    chosen = y < 5
    x, y = x[chosen], y[chosen]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 5))
        optimizer = torch.optim.Adam(model.parameters(), 2e-3)
        for _ in range(120):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model


class Lora(nn.Module):
    def __init__(self, base: nn.Linear, rank: int = 6) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / math.sqrt(base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2.0 * (x @ self.down.T) @ self.up.T


@healthy
def low_rank_adapters_on_trained_layers() -> Case:
    base = copy.deepcopy(pretrained())
    model = nn.Sequential(Lora(base[0]), nn.ReLU(), Lora(base[2]), nn.ReLU(), nn.Linear(96, 5))
    x, y = data.digits()
    chosen = y >= 5
    return Case(model, x[chosen], y[chosen] - 5, F.cross_entropy, trains=0.9, optimizer=adam(3e-3), steps=150)


class Novelty(nn.Module):
    """A predictor of what a fixed random network makes of a state."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed = nn.Sequential(nn.Linear(10, 64), nn.LeakyReLU(), nn.Linear(64, 16)).requires_grad_(False)
        self.predictor = nn.Sequential(
            nn.Linear(10, 64), nn.LeakyReLU(), nn.Linear(64, 64), nn.LeakyReLU(), nn.Linear(64, 16)
        )
        for layer in (*self.fixed, *self.predictor):
            if isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight, math.sqrt(2))
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = self.fixed(x)
        return torch.stack([self.predictor(x), wanted], 1)


@healthy
def random_network_distillation() -> Case:
    x = torch.randn(1500, 10, generator=seeded(24)).clamp(-5, 5)
    return Case(
        Novelty(), x, torch.zeros(1500), lambda out, _: (out[:, 0] - out[:, 1]).square().mean(),
        lambda out, _: r2(out[:, 0], out[:, 1]), trains=0.85, optimizer=adam(2e-3), steps=500,
    )  # fmt: skip


class EchoState(nn.Module):
    """A fixed reservoir of spectral radius 0.9, read out by a trained layer."""

    def __init__(self, width: int = 100) -> None:
        super().__init__()
        w = torch.randn(width, width) * (torch.rand(width, width) < 0.1)
        self.register_buffer("reservoir", w * 0.9 / torch.linalg.eigvals(w).abs().max())
        self.register_buffer("feed", torch.empty(1, width).uniform_(-0.5, 0.5))
        self.readout = nn.Linear(width, 1)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), self.reservoir.shape[0])
        for t in range(x.shape[1]):
            h = torch.tanh(h @ self.reservoir + x[:, t : t + 1] @ self.feed)
        return self.readout(h)


@healthy
def echo_state_network() -> Case:
    x = torch.randn(1000, 12, generator=seeded(25))
    y = x[:, -1:] + 0.8 * x[:, -2:-1] - 0.6 * x[:, -3:-2]
    return Case(EchoState(), x, (y - y.mean()) / y.std(), F.mse_loss, r2, trains=0.85, optimizer=adam(1e-2), steps=400)


class Coupling(nn.Module):
    def __init__(self, flipped: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.flipped = flipped

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = (x[:, 1:], x[:, :1]) if self.flipped else (x[:, :1], x[:, 1:])
        scale, shift = self.net(a).chunk(2, 1)
        scale = 2 * torch.tanh(scale / 2)
        b = b * scale.exp() + shift
        return torch.cat([b, a] if self.flipped else [a, b], 1), scale[:, 0]


class Flow(nn.Module):
    """Gives the log-density of each point."""

    def __init__(self) -> None:
        super().__init__()
        self.couplings = nn.ModuleList([Coupling(i % 2 == 1) for i in range(6)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.new_zeros(len(x))
        for coupling in self.couplings:
            x, log_det = coupling(x)
            total = total + log_det
        return total - 0.5 * x.square().sum(1) - math.log(2 * math.pi)


@healthy
def coupling_flow_starts_as_identity() -> Case:
    g = seeded(26)
    a = torch.randn(2000, generator=g)
    x = torch.stack([a, a.square() / 2 + 0.3 * torch.randn(2000, generator=g)], 1)
    x = (x - x.mean(0)) / x.std(0)
    return Case(
        Flow(), x, torch.zeros(2000), lambda out, _: -out.mean(), lambda out, _: float(out.mean()),
        trains=-2.1, optimizer=adam(2e-3), steps=300, batch=128,
    )  # fmt: skip
