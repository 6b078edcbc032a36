"""Programs of students and of Stack Overflow, written without knowledge of how findings are made.

Small dense, convolutional and recurrent networks on tables, series and digits; the faults come in by a port, a loop,
an axis, a unit of measure or a forgotten line.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .program import Case, adam, fault, healthy, mended, r2, sgd

# ---------------------------------------------------------------- data


def series(n: int = 1024, window: int = 24) -> data.Pair:
    """Windows of a noisy sum of two waves, standardized, and the value that follows: (n, window, 1)."""
    g = torch.Generator().manual_seed(11)
    t = torch.arange(n + window).float()
    s = torch.sin(t * 0.37) + 0.6 * torch.sin(t * 0.113 + 1.0) + 0.1 * torch.randn(n + window, generator=g)
    s = (s - s.mean()) / s.std()
    windows = s.unfold(0, window + 1, 1)[torch.randperm(n, generator=g)]
    return windows[:, :window, None].contiguous(), windows[:, window:].contiguous()


def sensors(n: int = 1024, length: int = 12) -> data.Pair:
    """A weather station in SI units: kelvins, pascals, relative humidity; the class is whether rain is likely."""
    g = torch.Generator().manual_seed(12)
    z = torch.randn(n, length, 3, generator=g) * 0.6 + torch.randn(n, 1, 3, generator=g)
    m = z.mean(1)
    y = (m[:, 2] - m[:, 1] + 0.5 * m[:, 0] > 0).long()
    return z * torch.tensor([8.0, 800.0, 0.1]) + torch.tensor([288.0, 101325.0, 0.55]), y


def counts(n: int = 1024) -> data.Pair:
    g = torch.Generator().manual_seed(13)
    x = torch.randn(n, 4, generator=g)
    rate = torch.exp(2.3 + 0.5 * x[:, 0] - 0.4 * x[:, 1] + 0.4 * torch.sin(2 * x[:, 2]))
    return x, torch.poisson(rate, generator=g)[:, None]


def forked(n: int = 1024) -> data.Pair:
    """Two branches above each point: what a mixture density network is for."""
    g = torch.Generator().manual_seed(14)
    x = torch.rand(n, 1, generator=g) * 2 - 1
    sign = torch.where(torch.rand(n, 1, generator=g) < 0.5, 1.0, -1.0)
    return x, sign * (0.8 + 0.5 * torch.sin(3 * x)) + 0.08 * torch.randn(n, 1, generator=g)


def pairs(n: int = 1024, pool: int = 70) -> data.Pair:
    """Pairs of digits drawn with replacement from a small pool, half of them of one class: (n, 2, 64)."""
    x, y = data.digits()
    x, y = x[:pool], y[:pool]
    g = torch.Generator().manual_seed(15)
    first, second, same = [], [], []
    for k in range(n):
        i = int(torch.randint(pool, (1,), generator=g))
        candidates = torch.nonzero((y == y[i]) if k % 2 == 0 else (y != y[i])).flatten()
        j = int(candidates[torch.randint(len(candidates), (1,), generator=g)])
        first.append(x[i]), second.append(x[j]), same.append(float(k % 2 == 0))
    return torch.stack([torch.stack(first), torch.stack(second)], 1), torch.tensor(same)[:, None]


def needle(n: int = 1024, length: int = 16) -> data.Pair:
    """Sequences with one marked step; the target is what stands there: (n, length, 3)."""
    g = torch.Generator().manual_seed(16)
    x = torch.randn(n, length, 3, generator=g)
    at = torch.randint(length, (n,), generator=g)
    x[:, :, 0] = 0.3 * x[:, :, 0] - 1
    x[torch.arange(n), at, 0] += 4.0
    y = x[torch.arange(n), at, 1] - 0.5 * x[torch.arange(n), at, 2]
    return x, ((y - y.mean()) / y.std())[:, None]


def shop(n: int = 1024) -> data.Pair:
    """Orders: two columns of category numbers, three of measures; whether it was returned."""
    g = torch.Generator().manual_seed(17)
    a, b = torch.randint(12, (n,), generator=g), torch.randint(7, (n,), generator=g)
    z = torch.randn(n, 3, generator=g)
    ea, eb = torch.randn(12, generator=g), torch.randn(7, generator=g)
    y = ea[a] + eb[b] + z[:, 0] * 0.7 - z[:, 1] * 0.5 > 0
    return torch.cat([a[:, None].float(), b[:, None].float(), z], 1), y.float()[:, None]


def bits() -> data.Pair:
    """Digits with six properties each, some rare."""
    x, y = data.digits()
    labels = [y % 2 == 0, y >= 5, y % 3 == 0, y == 8, (y == 1) | (y == 7), (y == 0) | (y == 6) | (y == 9)]
    return x, torch.stack(labels, 1).float()


def levels() -> data.Pair:
    """An ordinal target: five grades of a smooth function."""
    x, y = data.smooth()
    edges = torch.quantile(y, torch.tensor([0.1, 0.35, 0.6, 0.85]))
    return x, (y > edges).sum(1)


def dollars() -> data.Pair:
    x, y = data.smooth()
    return x, y * 80_000 + 210_000


# ---------------------------------------------------------------- recurrent networks


class Forecast(nn.Module):
    """An LSTM as Keras starts it: Glorot kernels, orthogonal recurrence, forget gates open."""

    def __init__(self, width: int = 24, last: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, width, batch_first=True)
        self.dense = nn.Linear(width, 1)
        self.last = last
        for gate in range(4):
            rows = slice(gate * width, (gate + 1) * width)
            nn.init.orthogonal_(self.lstm.weight_hh_l0.data[rows])
        nn.init.xavier_uniform_(self.lstm.weight_ih_l0)
        nn.init.zeros_(self.lstm.bias_ih_l0)
        nn.init.zeros_(self.lstm.bias_hh_l0)
        self.lstm.bias_ih_l0.data[width : 2 * width] = 1.0
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dense(self.lstm(x)[0][:, -1])
        return y if self.last is None else self.last(y)


@healthy
def forecast_lstm_keras_port() -> Case:
    return Case(Forecast(), *series(), F.mse_loss, r2, 0.8, adam(1e-2), steps=200)


@fault("unreachable-targets", twin=forecast_lstm_keras_port)
def forecast_relu_output() -> Case:
    """Prices cannot be negative, they said; but the series was standardized."""
    return Case(Forecast(last=F.relu), *series(), F.mse_loss, r2, 0.8, adam(1e-2), steps=200)


def no_last(case: Case, code: str) -> bool:
    if code != "unreachable-targets":
        return False
    case.model.last = None
    return True


forecast_relu_output = mended(forecast_relu_output, no_last)


class Station(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.gru = nn.GRU(3, width, batch_first=True)
        self.fc = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.gru(x)[1][-1])


def standardized(case: Case, code: str) -> bool:
    if code != "unnormalized-inputs":
        return False
    axes = tuple(range(case.inputs.dim() - 1))
    case.inputs = (case.inputs - case.inputs.mean(axes)) / case.inputs.std(axes)
    return True


def sensors_gru_standardized() -> Case:
    case = Case(Station(), *sensors(), F.cross_entropy, optimizer=adam(5e-3), trains=0.88, steps=200)
    standardized(case, "unnormalized-inputs")
    return case


@fault("unnormalized-inputs saturation rank-collapse", "*", twin=healthy(sensors_gru_standardized))
def sensors_gru_si_units() -> Case:
    return Case(Station(), *sensors(), F.cross_entropy, optimizer=adam(5e-3), trains=0.88, steps=200)


sensors_gru_si_units = mended(sensors_gru_si_units, standardized)


def decay_groups(model: nn.Module) -> torch.optim.Optimizer:
    """Decay for weights, none for biases — of the layers the loop knows, which are not all."""
    decay, plain = [], []
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            decay.append(module.weight)
            if module.bias is not None:
                plain.append(module.bias)
    return torch.optim.AdamW([{"params": decay, "weight_decay": 1e-2}, {"params": plain, "weight_decay": 0.0}], lr=5e-3)


@fault("not-in-optimizer", "gru gru.*", twin=healthy(sensors_gru_standardized))
def decay_groups_without_the_gru() -> Case:
    case = sensors_gru_standardized()
    case.optimizer = decay_groups
    return case


def all_in(case: Case, code: str) -> bool:
    if code != "not-in-optimizer":
        return False
    case.optimizer = adam(5e-3)
    return True


decay_groups_without_the_gru = mended(decay_groups_without_the_gru, all_in)


class Reservoir(nn.Module):
    """An echo state network: the recurrence is drawn, scaled to a spectral radius of 0.9, and never trained."""

    def __init__(self, width: int = 80) -> None:
        super().__init__()
        recurrent = torch.randn(width, width) * (torch.rand(width, width) < 0.2)
        radius = torch.linalg.eigvals(recurrent).abs().max()
        self.register_buffer("recurrent", 0.9 * recurrent / radius)
        self.register_buffer("inwards", torch.rand(width, 1) * 2 - 1)
        self.readout = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), len(self.recurrent))
        for t in range(x.shape[1]):
            h = 0.3 * h + 0.7 * torch.tanh(x[:, t] @ self.inwards.T + h @ self.recurrent.T)
        return self.readout(h)


@healthy
def echo_state_reservoir() -> Case:
    return Case(Reservoir(), *series(), F.mse_loss, r2, 0.8, adam(1e-2), steps=200)


# ---------------------------------------------------------------- pooling over time


class AttentionPool(nn.Module):
    """Steps are scored, and the sequence is their weighted mean."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(3, 24), nn.Tanh())
        self.score = nn.Linear(24, 1)
        self.head = nn.Linear(24, 1)
        self.axis = axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        weights = self.score(h).softmax(self.axis)
        return self.head((weights * h).sum(1))


def attention_pool() -> Case:
    return Case(AttentionPool(1), *needle(), F.mse_loss, r2, 0.75, adam(1e-2), steps=300)


@fault("softmax-over-one no-gradient", "score score.*", twin=healthy(attention_pool))
def attention_pool_softmax_over_last_axis() -> Case:
    """(n, t, 1).softmax(-1): every weight is 1, and the score learns nothing."""
    case = attention_pool()
    case.model.axis = -1
    return case


def over_time(case: Case, code: str) -> bool:
    if code not in ("softmax-over-one", "no-gradient"):
        return False
    case.model.axis = 1
    return True


attention_pool_softmax_over_last_axis = mended(attention_pool_softmax_over_last_axis, over_time)


class Dilated(nn.Module):
    """A causal dilated convolution on a residual stream that opens from zero (ReZero)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.pad = 2 * dilation
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.alpha * F.relu(self.conv(F.pad(x, (self.pad, 0))))


class Tcn(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, width, 1)
        self.blocks = nn.Sequential(*[Dilated(width, 2**i) for i in range(4)])
        self.out = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.blocks(self.stem(x.transpose(1, 2)))[:, :, -1])


@healthy
def rezero_tcn_forecast() -> Case:
    return Case(Tcn(), *series(), F.mse_loss, r2, 0.75, adam(1e-2), steps=250)


# ---------------------------------------------------------------- tables


class Tabular(nn.Module):
    """Embeddings of the categories beside the measures; packed in one float table."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Embedding(12, 4), nn.Embedding(7, 3)
        for table in (self.a, self.b):
            nn.init.uniform_(table.weight, -0.05, 0.05)
        self.deep = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 16), nn.ReLU())
        self.wide = nn.Linear(3, 1, bias=False)
        self.out = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ids, z = x[:, :2].long(), x[:, 2:]
        deep = self.deep(torch.cat([self.a(ids[:, 0]), self.b(ids[:, 1]), z], 1))
        return self.out(deep) + self.wide(z)


@healthy
def wide_and_deep_embeddings() -> Case:
    return Case(Tabular(), *shop(), F.binary_cross_entropy_with_logits, trains=0.85, optimizer=adam(1e-2), steps=250)


class Additive(nn.Module):
    """A neural additive model: a small network for each column, summed."""

    def __init__(self, registered: bool) -> None:
        super().__init__()
        self.columns: Any = {f"x{i}": nets.mlp([1, 16, 16, 1], nn.Tanh) for i in range(4)}
        if registered:
            self.columns = nn.ModuleDict(self.columns)
        self.pair = nets.mlp([2, 32, 1])
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.columns[f"x{i}"](x[:, i : i + 1]) for i in range(4)]
        return torch.stack(parts).sum(0) + self.pair(x[:, 1:3]) + self.bias


def additive_model() -> Case:
    return Case(Additive(True), *data.smooth(), F.mse_loss, r2, 0.85, adam(1e-2), steps=300)


@fault("unregistered-layer not-in-optimizer", twin=healthy(additive_model))
def additive_model_in_a_dict() -> Case:
    return Case(Additive(False), *data.smooth(), F.mse_loss, r2, 0.85, adam(1e-2), steps=300)


def registered(case: Case, code: str) -> bool:
    if code not in ("unregistered-layer", "not-in-optimizer"):
        return False
    columns = case.model.columns
    del case.model.columns
    case.model.columns = nn.ModuleDict(columns)
    return True


additive_model_in_a_dict = mended(additive_model_in_a_dict, registered)


class Rescaled(nn.Module):
    """Works in standard units inside and answers in the target's."""

    def __init__(self, net: nn.Module, targets: torch.Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", targets.mean())
        self.register_buffer("std", targets.std())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mean + self.std * self.net(x)


@healthy
def prices_in_dollars_scaled_inside() -> Case:
    x, y = dollars()
    scale = y.std()

    def relative(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.smooth_l1_loss(outputs / scale, targets / scale)

    return Case(Rescaled(nets.he(nets.mlp([4, 48, 48, 1])), y), x, y, relative, r2, 0.85, adam(5e-3), steps=300)


@fault("unscaled-targets wrong-prior", twin=prices_in_dollars_scaled_inside)
def prices_in_dollars() -> Case:
    return Case(nets.he(nets.mlp([4, 48, 48, 1])), *dollars(), F.mse_loss, r2, 0.85, adam(5e-3), steps=300)


def standard_targets(case: Case, code: str) -> bool:
    if code not in ("unscaled-targets", "wrong-prior"):
        return False
    case.targets = (case.targets - case.targets.mean()) / case.targets.std()
    return True


prices_in_dollars = mended(prices_in_dollars, standard_targets)


def log_rate_score(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return r2(outputs.clamp(max=20).exp(), targets)


def poisson(bias: Callable[[torch.Tensor], torch.Tensor]) -> Case:
    x, y = counts()
    model = nets.mlp([4, 32, 32, 1], nn.SiLU)
    nn.init.zeros_(model[-1].weight)
    model[-1].bias.data[:] = bias(y)
    return Case(model, x, y, F.poisson_nll_loss, log_rate_score, 0.55, adam(5e-3), steps=300)


@healthy
def poisson_counts_log_link() -> Case:
    return poisson(lambda y: y.mean().log())


@fault("wrong-prior", "4 4.bias", twin=poisson_counts_log_link)
def poisson_bias_without_the_log() -> Case:
    """The bias was set to the mean count; the output is the rate's logarithm."""
    return poisson(lambda y: y.mean())


def logged(case: Case, code: str) -> bool:
    if code != "wrong-prior":
        return False
    case.model[-1].bias.data[:] = case.targets.mean().log()
    return True


poisson_bias_without_the_log = mended(poisson_bias_without_the_log, logged)


class Ordinal(nn.Module):
    """CORAL: one score, and a threshold for each grade, which start in order at the prior."""

    def __init__(self, targets: torch.Tensor, grades: int = 5) -> None:
        super().__init__()
        self.body = nets.mlp([4, 48, 48, 1])
        prior = torch.stack([(targets > k).float().mean() for k in range(grades - 1)])
        self.thresholds = nn.Parameter(torch.logit(prior))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.thresholds


@healthy
def ordinal_thresholds() -> Case:
    x, y = levels()

    def loss(logits: torch.Tensor, grade: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(logits, (grade[:, None] > torch.arange(4)).float())

    def score(logits: torch.Tensor, grade: torch.Tensor) -> float:
        return float(((logits > 0).sum(1) == grade).float().mean())

    return Case(Ordinal(y), x, y, loss, score, 0.68, adam(1e-2), steps=300)


# ---------------------------------------------------------------- densities


class Mdn(nn.Module):
    """A mixture of four Gaussians for each point: logits of the shares, means, log-deviations, side by side."""

    def __init__(self, parts: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.share, self.mean, self.spread = nn.Linear(32, parts), nn.Linear(32, parts), nn.Linear(32, parts)
        nn.init.zeros_(self.spread.weight)
        nn.init.zeros_(self.spread.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        return torch.cat([self.share(h), self.mean(h), self.spread(h)], 1)


def log_likelihood(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    share, mean, spread = outputs.chunk(3, 1)
    density = -0.5 * ((y - mean) / spread.exp()).square() - spread - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(share.log_softmax(1) + density, 1).mean()


def mdn_case() -> Case:
    def loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -log_likelihood(outputs, y)

    def score(outputs: torch.Tensor, y: torch.Tensor) -> float:
        return float(log_likelihood(outputs, y))

    return Case(Mdn(), *forked(), loss, score, -0.2, adam(1e-2), steps=400)


@healthy
def mixture_density() -> Case:
    case = mdn_case()
    case.model.mean.bias.data[:] = torch.linspace(-1, 1, 4)
    return case


@fault(
    "symmetric-units constant-init",
    "share share.* mean mean.* spread spread.*",
    twin=mixture_density,
)
def mixture_density_zero_heads() -> Case:
    """Heads at zero are a fine start elsewhere; here every part of the mixture is the same, and stays so."""
    case = mdn_case()
    for head in (case.model.share, case.model.mean):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    return case


# ---------------------------------------------------------------- digits


def multilabel(*, twice: bool, prior: bool) -> Case:
    x, y = bits()
    model = nets.mlp([64, 48, 6], last=[nn.Sigmoid()] if twice else [])
    if prior:
        model[2].bias.data[:] = torch.logit(y.mean(0))

    def all_right(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return float(((outputs > (0.5 if twice else 0.0)) == (targets > 0.5)).all(1).float().mean())

    return Case(model, x, y, F.binary_cross_entropy_with_logits, all_right, 0.85, sgd(0.1), steps=300)


@healthy
def multilabel_with_prior_bias() -> Case:
    return multilabel(twice=False, prior=True)


@fault("double-softmax", twin=multilabel_with_prior_bias)
def multilabel_sigmoid_twice() -> Case:
    return multilabel(twice=True, prior=False)


def once(case: Case, code: str) -> bool:
    if code != "double-softmax":
        return False
    case.model = case.model[:-1]
    case.score = multilabel(twice=False, prior=False).score
    return True


multilabel_sigmoid_twice = mended(multilabel_sigmoid_twice, once)


class Tied(nn.Module):
    """An autoencoder whose decoder is its encoder, turned around."""

    def __init__(self, code: int = 24) -> None:
        super().__init__()
        self.encoder = nn.Linear(64, code)
        self.visible = nn.Parameter(torch.zeros(64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.sigmoid(self.encoder(x))
        return torch.sigmoid(F.linear(h, self.encoder.weight.t(), self.visible))


@healthy
def tied_autoencoder() -> Case:
    x = data.pixels()[0] / 255
    return Case(Tied(), x, x, F.binary_cross_entropy, r2, 0.5, adam(2e-2), steps=300)


class Quantized(nn.Module):
    """An autoencoder with a code of half steps; ``straight`` carries the gradient past the rounding."""

    def __init__(self, straight: bool, code: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, code), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(code, 48), nn.ReLU(), nn.Linear(48, 64))
        self.straight = straight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encoder(x)
        q = torch.round(2 * z) / 2
        return self.decoder(z + (q - z).detach() if self.straight else q)


@healthy
def quantized_code_straight_through() -> Case:
    x = data.digits()[0]
    return Case(Quantized(True), x, x, F.mse_loss, r2, 0.55, adam(1e-2), steps=300)


@fault("no-gradient", "encoder encoder.*", twin=quantized_code_straight_through)
def quantized_code_rounded() -> Case:
    x = data.digits()[0]
    return Case(Quantized(False), x, x, F.mse_loss, r2, 0.55, adam(1e-2), steps=300)


def straight(case: Case, code: str) -> bool:
    if code != "no-gradient":
        return False
    case.model.straight = True
    return True


quantized_code_rounded = mended(quantized_code_rounded, straight)


class Stn(nn.Module):
    """A spatial transformer in front of a small CNN; its warp starts as the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.locate = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 24), nn.ReLU()
        )
        self.theta = nn.Linear(24, 6)
        nn.init.zeros_(self.theta.weight)
        self.theta.bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))
        self.cnn = nets.lenet()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = F.affine_grid(self.theta(self.locate(x)).view(-1, 2, 3), list(x.shape), align_corners=False)
        return self.cnn(F.grid_sample(x, grid, align_corners=False))


@healthy
def spatial_transformer_identity() -> Case:
    return Case(Stn(), *data.pictures(), F.cross_entropy, trains=0.85, optimizer=adam(5e-3), steps=300)


class Siamese(nn.Module):
    """The distance of two embeddings."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.embed(x[:, 0]), self.embed(x[:, 1])
        return torch.sqrt((a - b).square().sum(1, keepdim=True) + self.eps)


def contrastive(distance: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    return (same * distance.square() + (1 - same) * F.relu(1.0 - distance).square()).mean()


def verification(distance: torch.Tensor, same: torch.Tensor) -> float:
    return float(((distance < 0.5) == (same > 0.5)).float().mean())


@healthy
def siamese_contrastive() -> Case:
    return Case(Siamese(1e-6), *pairs(), contrastive, verification, 0.85, adam(3e-3), steps=250)


@fault("non-finite-gradients", twin=siamese_contrastive)
def siamese_square_root_at_zero() -> Case:
    """Some pairs are one picture twice: the root's slope at zero is infinite."""
    return Case(Siamese(0.0), *pairs(), contrastive, verification, 0.85, adam(3e-3), steps=250)


def rounded_root(case: Case, code: str) -> bool:
    if code != "non-finite-gradients":
        return False
    case.model.eps = 1e-6
    return True


siamese_square_root_at_zero = mended(siamese_square_root_at_zero, rounded_root)


class Maxout(nn.Module):
    def __init__(self, inputs: int, outputs: int, pieces: int = 3, *, copies: bool = False) -> None:
        super().__init__()
        piece = nn.Linear(inputs, outputs)
        self.pieces = nn.ModuleList(
            [copy.deepcopy(piece) if copies else nn.Linear(inputs, outputs) for _ in range(pieces)]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([piece(x) for piece in self.pieces]).amax(0)


@healthy
def maxout_network() -> Case:
    model = nn.Sequential(Maxout(4, 24), Maxout(24, 24), nn.Linear(24, 1))
    return Case(model, *data.smooth(), F.mse_loss, r2, 0.85, adam(5e-3), steps=300)


@fault(
    "duplicated-draws symmetric-units",
    "0 0.pieces 0.pieces.* 1 1.pieces 1.pieces.*",
    twin=maxout_network,
)
def maxout_of_copies() -> Case:
    """The pieces were cloned from one: the largest of three equals is a linear layer, for good."""
    model = nn.Sequential(Maxout(4, 24, copies=True), Maxout(24, 24, copies=True), nn.Linear(24, 1))
    return Case(model, *data.smooth(), F.mse_loss, r2, 0.85, adam(5e-3), steps=300)


class MeanTeacher(nn.Module):
    """A student, and a teacher that is its running mean: a frozen copy at the start, on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            if self.training:
                for mean, p in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                    mean.lerp_(p, 0.05)
            taught = self.teacher(x)
        return torch.stack([self.student(x + 0.3 * torch.randn_like(x) * self.training), taught], 1)


@healthy
def mean_teacher() -> Case:
    def loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        student, teacher = outputs[:, 0], outputs[:, 1]
        agree = F.mse_loss(student.softmax(1), teacher.softmax(1))
        return F.cross_entropy(student, y) + agree

    def score(outputs: torch.Tensor, y: torch.Tensor) -> float:
        return float((outputs[:, 1].argmax(1) == y).float().mean())

    return Case(MeanTeacher(), *data.digits(), loss, score, 0.88, adam(3e-3), steps=300)


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return -0.1 * grad


class Dann(nn.Module):
    """Classes from features that a domain classifier, behind a reversed gradient, must not tell apart."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
        self.classes = nn.Linear(48, 10)
        self.domain = nn.Sequential(nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.features(x)
        return torch.cat([self.classes(h), self.domain(Reverse.apply(h))], 1)


@healthy
def domain_adversarial() -> Case:
    x, y = data.digits()
    shifted = torch.arange(len(x)) % 2
    x = x + shifted[:, None] * 0.4 * torch.randn(64, generator=torch.Generator().manual_seed(18))

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        told = F.binary_cross_entropy_with_logits(outputs[:, 10], targets[:, 1].float())
        return F.cross_entropy(outputs[:, :10], targets[:, 0]) + told

    def score(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return float((outputs[:, :10].argmax(1) == targets[:, 0]).float().mean())

    return Case(Dann(), x, torch.stack([y, shifted], 1), loss, score, 0.88, adam(3e-3), steps=300)


def keras_dense(fill: Callable[[torch.Tensor], object]) -> Case:
    model = nets.mlp([64, 96, 96, 96, 10])
    nets.initialized(model, fill, nn.init.zeros_)
    return Case(model, *data.digits(), F.cross_entropy, trains=0.88, optimizer=sgd(0.02), steps=250)


def dense_uniform() -> Case:
    return keras_dense(nn.init.kaiming_uniform_)


@fault(
    "exploding-forward exploding-gradient rank-collapse large-head",
    twin=healthy(dense_uniform),
)
def uniform_with_one_bound() -> Case:
    """``uniform_(w, -0.05)``: the bound not given is 1."""
    return keras_dense(lambda w: nn.init.uniform_(w, -0.05))


def ported_cnn(*, swapped: bool) -> Case:
    layers: list[nn.Module] = []
    for a, b in ((1, 12), (12, 16), (16, 24)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            gamma, beta = (0.0, 1.0) if swapped else (1.0, 0.0)
            nn.init.constant_(module.weight, gamma)
            nn.init.constant_(module.bias, beta)
    return Case(model, *data.pictures(), F.cross_entropy, trains=0.88, optimizer=adam(3e-3), steps=150)


def cnn_ported_norms() -> Case:
    return ported_cnn(swapped=False)


@fault(
    "zero-norm-scale rank-collapse no-gradient",
    "0 0.* 1 1.* 2 3 3.* 4 4.* 5 6 6.* 7 7.* 8",
    twin=healthy(cnn_ported_norms),
)
def cnn_norms_swapped() -> Case:
    """Beta went into the scale and gamma into the shift."""
    return ported_cnn(swapped=True)


def scales_at_one(case: Case, code: str) -> bool:
    if code not in ("zero-norm-scale", "rank-collapse", "no-gradient"):
        return False
    for module in case.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    return True


cnn_norms_swapped = mended(cnn_norms_swapped, scales_at_one)


# ---------------------------------------------------------------- only training shows it


def with_optimizer(program: Callable[[], Case], optimizer: Any) -> Case:
    case = program()
    case.optimizer = optimizer
    return case


class PerBatchDecay(torch.optim.SGD):
    """The decay that was meant for an epoch, at each batch."""

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 0.5
        return result


def warped_digits_sgd() -> Case:
    return with_optimizer(spatial_transformer_identity.build, sgd(0.01))


@fault(
    "learning-rate-too-low update-too-small loss-stuck trivial-plateau",
    when="training",
    twin=healthy(warped_digits_sgd),
)
def rate_halved_at_each_batch() -> Case:
    return with_optimizer(warped_digits_sgd, lambda model: PerBatchDecay(model.parameters(), 0.01, momentum=0.9))


class Heaping(torch.optim.SGD):
    """``zero_grad`` was forgotten: gradients add up."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        return None


@fault(
    "loss-oscillating loss-diverged loss-rising exploded-gradients gradient-spike update-too-large "
    "learning-rate-too-high non-finite-values non-finite-gradients trivial-plateau dying-units loss-stuck",
    when="training",
    twin=multilabel_with_prior_bias,
)
def gradients_never_zeroed() -> Case:
    case = multilabel(twice=False, prior=True)
    case.optimizer = lambda model: Heaping(model.parameters(), 0.1, momentum=0.9)
    return case


def smooth_relu() -> Case:
    return Case(nets.he(nets.mlp([4, 32, 32, 1])), *data.smooth(), F.mse_loss, r2, 0.85, adam(1e-2), steps=300)


@fault(
    "dying-units learning-rate-too-high update-too-large trivial-plateau loss-stuck vanished-gradients "
    "gradient-spike exploded-gradients loss-diverged loss-oscillating loss-rising",
    when="training",
    twin=healthy(smooth_relu),
)
def rate_kills_the_units() -> Case:
    return with_optimizer(smooth_relu, adam(1.0))


@fault("trivial-plateau loss-stuck vanished-gradients loss-rising", when="training", twin=forecast_lstm_keras_port)
def decay_of_one() -> Case:
    """A penalty of 1.0 on each weight: everything shrinks to nothing, and the mean is what it forecasts."""
    return with_optimizer(
        forecast_lstm_keras_port.build, lambda model: torch.optim.Adam(model.parameters(), 1e-2, weight_decay=1.0)
    )


class Climbing(torch.optim.Optimizer):
    """Plain gradient descent, written by hand, with the wrong sign."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(p.grad, alpha=group["lr"])


def ordinal_plain_descent() -> Case:
    return with_optimizer(ordinal_thresholds.build, sgd(0.2, 0.0))


@fault(
    "flipped-loss loss-rising loss-diverged exploded-gradients update-too-large non-finite-values non-finite-gradients",
    when="training",
    twin=healthy(ordinal_plain_descent),
)
def update_written_with_a_plus() -> Case:
    return with_optimizer(ordinal_plain_descent, lambda model: Climbing(model.parameters(), 0.2))
