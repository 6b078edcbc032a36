"""Programs of an author who has not seen how the library decides: medicine and industry, risks, counts, sensors."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .data import Pair
from .program import Case, adam, fault, healthy, mended, r2, sgd

# --- data -------------------------------------------------------------------------------------------------------------


def split(x: torch.Tensor, y: torch.Tensor, train: int) -> dict[str, Any]:
    """The first rows to train with, the others held out, as arguments of a Case."""
    return {"inputs": x[:train], "targets": y[:train], "held_out": (x[train:], y[train:])}


@cache
def lesions(n: int = 640, size: int = 16) -> Pair:
    """Grainy slices with one bright ellipse each, standardized, and its mask: (n, 1, 16, 16) both."""
    g = torch.Generator().manual_seed(11)
    grid = torch.arange(size).float()
    centre = torch.rand(n, 2, 1, 1, generator=g) * (size - 6) + 3
    radius = torch.rand(n, 2, 1, 1, generator=g) * 2 + 1.5
    away = ((grid[:, None] - centre[:, 0]) / radius[:, 0]) ** 2 + ((grid[None, :] - centre[:, 1]) / radius[:, 1]) ** 2
    mask = (away < 1).float()[:, None]
    image = torch.randn(n, 1, size, size, generator=g) * 0.5 + 2.0 * mask + torch.randn(n, 1, 1, 1, generator=g) * 0.2
    return (image - image.mean()) / image.std(), mask


@cache
def parts(n: int = 640, size: int = 16) -> Pair:
    """Boards with one part each. Targets by cells of 2 × 2: is its centre here, its width, its height."""
    g = torch.Generator().manual_seed(12)
    image = torch.randn(n, 1, size, size, generator=g) * 0.3
    target = torch.zeros(n, 3, size // 2, size // 2)
    for i in range(n):
        w, h = (int(v) for v in torch.randint(2, 6, (2,), generator=g))
        left, top = (int(torch.randint(size - v + 1, (1,), generator=g)) for v in (w, h))
        image[i, 0, top : top + h, left : left + w] += 1.5
        target[i, :, (top + h // 2) // 2, (left + w // 2) // 2] = torch.tensor([1.0, (w - 3.5) / 2, (h - 3.5) / 2])
    return (image - image.mean()) / image.std(), target


@cache
def survival(n: int = 1500) -> Pair:
    """Ten standardized covariates; targets are the time under observation and whether the event was seen."""
    g = torch.Generator().manual_seed(13)
    x = torch.randn(n, 10, generator=g)
    risk = 1.2 * x[:, 0] - 0.9 * x[:, 1] + 0.8 * x[:, 2] * x[:, 3] + 0.5 * x[:, 4].square()
    event = -torch.rand(n, generator=g).clamp_min(1e-6).log() * torch.exp(-risk + 0.5)
    censor = -torch.rand(n, generator=g).clamp_min(1e-6).log() * 4.0
    return x, torch.stack([torch.minimum(event, censor), (event <= censor).float()], 1)


def cox_loss(risk: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Minus the partial log-likelihood of the batch, a mean over events (Breslow)."""
    order = y[:, 0].argsort(descending=True)
    risk, seen = risk[order, 0], y[order, 1]
    return -((risk - risk.logcumsumexp(0)) * seen).sum() / seen.sum().clamp_min(1.0)


def concordance(risk: torch.Tensor, y: torch.Tensor) -> float:
    """The share of comparable pairs in their right order, by the first column."""
    risk, time, seen = risk[:, 0], y[:, 0], y[:, 1]
    pairs = (time[:, None] < time[None, :]) & (seen[:, None] > 0)
    return float((risk[:, None] > risk[None, :])[pairs].double().mean())


@cache
def claims(n: int = 1500, base: float = 0.5, dispersion: float = 0.0) -> Pair:
    """Six rating factors and the exposure in years as the last column; counts of claims."""
    g = torch.Generator().manual_seed(14)
    x, exposure = torch.randn(n, 6, generator=g), 0.2 + 0.8 * torch.rand(n, 1, generator=g)
    rate = torch.exp(math.log(base) + 0.5 * x[:, :1] - 0.4 * x[:, 1:2] + 0.4 * x[:, 2:3] * x[:, 3:4]) * exposure
    if dispersion:
        noise = torch.distributions.Gamma(1 / dispersion, 1 / dispersion)
        with torch.random.fork_rng():
            torch.manual_seed(15)
            rate = rate * noise.sample(rate.shape)
    return torch.cat([x, exposure], 1), torch.poisson(rate, generator=g)


def poisson_skill(mean: torch.Tensor, y: torch.Tensor) -> float:
    """The share of the Poisson deviance explained."""

    def deviance(m: torch.Tensor) -> torch.Tensor:
        return (torch.xlogy(y, y / m) - (y - m)).sum()

    return float(1 - deviance(mean.clamp_min(1e-6)) / deviance(y.mean().expand_as(y)))


def log_poisson_skill(log_mean: torch.Tensor, y: torch.Tensor) -> float:
    return poisson_skill(log_mean.exp(), y)


@cache
def vibrations(n: int = 1000, length: int = 64, channels: int = 3) -> Pair:
    """Windows of accelerometers, and which of four states the machine is in: its tone, and knocks at two rates."""
    g = torch.Generator().manual_seed(16)
    t = torch.arange(length).float()
    state = torch.randint(4, (n,), generator=g)
    phase = torch.rand(n, 1, 1, generator=g) * 16
    x = torch.sin(0.4 * t + phase + torch.arange(channels).float()[:, None])
    for which, period in ((1, 8), (2, 16)):
        x = x + 2.0 * ((t + phase.floor()) % period == 0) * (state == which)[:, None, None]
    x = x + 1.2 * torch.sin(1.9 * t + phase) * (state == 3)[:, None, None]
    x = x + 0.4 * torch.randn(n, channels, length, generator=g)
    return (x - x.mean()) / x.std(), state


@cache
def wear(n: int = 1000, length: int = 32) -> Pair:
    """Five sensors drifting as an engine wears, (n, 5, 32); the cycles that it has left, 0 to 125."""
    g = torch.Generator().manual_seed(17)
    left = torch.rand(n, 1, generator=g) * 125
    age = (125 - left)[:, :, None] - torch.arange(length - 1, -1, -1).float()
    drift = torch.tensor([1.0, -1.0, 0.5, 0.0, 0.8])[None, :, None] * (age / 60).exp()
    x = drift + 0.6 * torch.randn(n, 5, length, generator=g)
    return (x - x.mean((0, 2), keepdim=True)) / x.std((0, 2), keepdim=True), left


@cache
def slides(n: int = 900, patches: int = 12, features: int = 16) -> Pair:
    """Bags of patches; a bag is positive where one of its patches or more is of the odd kind."""
    g = torch.Generator().manual_seed(18)
    x = torch.randn(n, patches, features, generator=g)
    y = (torch.rand(n, 1, generator=g) < 0.5).float()
    odd = (torch.rand(n, patches, generator=g) < 0.1) | (torch.arange(patches) == 0)
    odd = odd & (y > 0)
    x = x + odd[:, :, None] * 1.6 * torch.tensor([1.0, -1.0] * (features // 2))
    return x[:, torch.randperm(patches, generator=g)], y


@cache
def bends(n: int = 1200) -> Pair:
    """Bishop's inverse problem: several y to an x. Both in about [-1, 1]."""
    g = torch.Generator().manual_seed(19)
    y = torch.rand(n, 1, generator=g)
    x = y + 0.3 * torch.sin(2 * math.pi * y) + 0.05 * torch.randn(n, 1, generator=g)
    return 2 * x - 1, 2 * y - 1


def patients(n: int = 1400) -> Pair:
    """Twelve standardized measurements and whether it happened: one in five."""
    g = torch.Generator().manual_seed(20)
    x = torch.randn(n, 12, generator=g)
    score = 1.5 * x[:, 0] + x[:, 1] * x[:, 2] - 1.2 * x[:, 3] + 0.3 * torch.randn(n, generator=g)
    return x, (score > score.quantile(0.8)).float()[:, None]


def auroc(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    s, y = outputs[:, 0], targets[:, 0] > 0.5
    gap = s[y][:, None] - s[~y][None, :]
    return float(((gap > 0).double() + 0.5 * (gap == 0).double()).mean())


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# --- segmentation and detection ---------------------------------------------------------------------------------------


class Segmenter(nn.Module):
    """A U-Net of two levels with group norms."""

    def __init__(self, width: int = 8, prior: float | None = 0.08, last: nn.Module | None = None) -> None:
        super().__init__()

        def stage(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.GroupNorm(4, b), nn.ReLU())

        self.into, self.down = stage(1, width), stage(width, 2 * width)
        self.middle, self.up = stage(2 * width, 2 * width), stage(3 * width, width)
        self.out = nn.Conv2d(width, 1, 1)
        self.last = last
        if prior is not None:
            nn.init.constant_(self.out.bias, logit(prior))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.into(x)
        b = self.middle(self.down(F.max_pool2d(a, 2)))
        y = self.out(self.up(torch.cat([a, F.interpolate(b, scale_factor=2.0)], 1)))
        return y if self.last is None else self.last(y)


def dice(outputs: torch.Tensor, mask: torch.Tensor) -> float:
    found = (outputs > 0).float()
    return float(2 * (found * mask).sum() / (found.sum() + mask.sum()).clamp_min(1))


def soft_dice(outputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    p = outputs.sigmoid()
    overlap = 2 * (p * mask).sum((1, 2, 3)) + 1
    return (1 - overlap / (p.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)).mean()


def dice_and_bce(outputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return soft_dice(outputs, mask) + F.binary_cross_entropy_with_logits(outputs, mask)


@healthy
def unet_with_dice_and_prior() -> Case:
    return Case(
        Segmenter(), **split(*lesions(), 512), loss_fn=dice_and_bce, score=dice, trains=0.7,
        optimizer=adam(5e-3), steps=120, batch=32,
    )  # fmt: skip


@healthy
def unet_by_plain_bce() -> Case:
    return Case(
        Segmenter(prior=None), **split(*lesions(), 512), loss_fn=F.binary_cross_entropy_with_logits, score=dice,
        trains=0.7, optimizer=sgd(0.2), steps=150, batch=32,
    )  # fmt: skip


class Fcn(nn.Module):
    """Convolutions at full size, no norms: what is first written down for a small segmentation."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=2, dilation=2), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1),
        )  # fmt: skip
        nets.he(self)
        nn.init.normal_(self.body[-1].weight, std=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@healthy
def dilated_fcn() -> Case:
    return Case(
        Fcn(), **split(*lesions(), 512), loss_fn=dice_and_bce, score=dice, trains=0.7, optimizer=sgd(0.05), steps=150,
        batch=32,
    )  # fmt: skip


def normalized(case: Case, code: str) -> bool:
    mean, std = case.inputs.mean(), case.inputs.std()
    case.inputs = (case.inputs - mean) / std
    if case.held_out is not None:
        case.held_out = ((case.held_out[0] - mean) / std, case.held_out[1])
    return True


@fault("unnormalized-inputs", twin=dilated_fcn)
def fcn_given_hounsfield_units() -> Case:
    # The windowing to [-1, 1] was left behind in the old data loader.
    case = dilated_fcn()
    assert case.held_out is not None
    case.inputs = case.inputs * 310 - 640
    case.held_out = (case.held_out[0] * 310 - 640, case.held_out[1])
    return case


fcn_given_hounsfield_units = mended(fcn_given_hounsfield_units, normalized)


class Centres(nn.Module):
    """Objects as points: a map of centres, and a size at each. The map's bias is the prior of focal losses."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.heat, self.size = nn.Conv2d(width, 1, 3, padding=1), nn.Conv2d(width, 2, 1)
        nets.he(self.body)
        for head in (self.heat, self.size):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)
        nn.init.constant_(self.heat.bias, -4.6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        return torch.cat([self.heat(h), self.size(h)], 1)


def focal_and_sizes(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Lin et al.'s focal loss, by the number of objects, and L1 of the sizes where an object is."""
    there, count = y[:, 0], y[:, 0].sum()
    bce = F.binary_cross_entropy_with_logits(outputs[:, 0], there, reduction="none")
    p = outputs[:, 0].sigmoid()
    wrong = there * (1 - p) + (1 - there) * p
    sizes = ((outputs[:, 1:] - y[:, 1:]).abs().sum(1) * there).sum()
    return ((there * 0.75 + (1 - there) * 0.25) * wrong.square() * bce).sum() / count + 0.3 * sizes / count


def found(outputs: torch.Tensor, y: torch.Tensor) -> float:
    return float((outputs[:, 0].flatten(1).argmax(1) == y[:, 0].flatten(1).argmax(1)).float().mean())


@healthy
def centre_points_with_focal_prior() -> Case:
    return Case(
        Centres(), **split(*parts(), 512), loss_fn=focal_and_sizes, score=found, trains=0.6, optimizer=adam(5e-3),
        steps=250, batch=32,
    )  # fmt: skip


@fault(
    "dead-units no-gradient vanishing-forward rank-collapse vanishing-gradient",
    "body body.*",
    twin=centre_points_with_focal_prior,
)
def focal_prior_set_on_every_convolution() -> Case:
    case = centre_points_with_focal_prior()
    for module in case.model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.bias, -4.6)
    return case


def _body_biases_zero(case: Case, code: str) -> bool:
    for module in case.model.body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.bias)
    return True


focal_prior_set_on_every_convolution = mended(focal_prior_set_on_every_convolution, _body_biases_zero)


# --- survival ---------------------------------------------------------------------------------------------------------


def risk_net(zero: bool = False) -> nn.Sequential:
    """A log-hazard: without a bias, for the partial likelihood does not see one."""
    model = nn.Sequential(
        nn.Linear(10, 32), nn.SELU(), nn.Linear(32, 32), nn.SELU(), nn.Linear(32, 1, bias=False)
    )  # fmt: skip
    nets.initialized(model, lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"), nn.init.zeros_)
    if zero:
        nn.init.zeros_(model[-1].weight)
    return model


@healthy
def cox_network_from_equal_risks() -> Case:
    return Case(
        risk_net(zero=True), **split(*survival(), 1000), loss_fn=cox_loss, score=concordance, trains=0.74,
        optimizer=adam(3e-3), steps=250,
    )  # fmt: skip


@healthy
def cox_network() -> Case:
    return Case(
        risk_net(), **split(*survival(), 1000), loss_fn=cox_loss, score=concordance, trains=0.72, optimizer=adam(3e-3),
        steps=250,
    )  # fmt: skip


EDGES = torch.tensor([0.05, 0.12, 0.22, 0.35, 0.55, 0.8, 1.2, 1.8, 3.0])


def hazard_loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Gensheimer & Narasimhan: a Bernoulli for each interval that a patient entered, summed, averaged over patients."""
    last = torch.bucketize(y[:, 0].contiguous(), EDGES)[:, None]
    interval = torch.arange(logits.shape[1])
    died = (interval == last) & (y[:, 1:] > 0)
    entered = (interval < last) | died
    bce = F.binary_cross_entropy_with_logits(logits, died.float(), reduction="none")
    return (bce * entered).sum(1).mean()


def hazard_score(logits: torch.Tensor, y: torch.Tensor) -> float:
    return concordance(F.softplus(logits).sum(1, keepdim=True), y)


@healthy
def discrete_hazards() -> Case:
    model = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 10))
    nn.init.constant_(model[-1].bias, logit(0.12))
    return Case(
        model, **split(*survival(), 1000), loss_fn=hazard_loss, score=hazard_score, trains=0.7,
        optimizer=adam(5e-3), steps=300,
    )  # fmt: skip


class Weibull(nn.Module):
    """Scale by the network, from zero; one shape for all, learned in its logarithm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.scale, self.log_shape = nn.Linear(32, 1), nn.Parameter(torch.zeros(1))
        nn.init.zeros_(self.scale.weight)
        nn.init.zeros_(self.scale.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.scale(self.body(x))
        return torch.cat([-scale, self.log_shape.expand_as(scale)], 1)


def weibull_loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    log_time = y[:, 0].clamp_min(1e-3).log()
    z = (log_time + outputs[:, 0]) * outputs[:, 1].exp()
    return (z.exp() - y[:, 1] * (z + outputs[:, 1] - log_time)).mean()


@healthy
def weibull_accelerated_failure() -> Case:
    return Case(
        Weibull(), **split(*survival(), 1000), loss_fn=weibull_loss, score=concordance, trains=0.72,
        optimizer=adam(5e-3), steps=300,
    )  # fmt: skip


# --- counts, quantiles, mixtures --------------------------------------------------------------------------------------


class Frequency(nn.Module):
    """Log of the expected count: a network of the factors, and the log of the exposure as an offset."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.head = nn.Linear(32, 1)
        nets.he(self.body)
        nn.init.normal_(self.head.weight, std=0.05)
        nn.init.constant_(self.head.bias, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x[:, :-1])) + x[:, -1:].log()


def poisson_nll(log_mean: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.poisson_nll_loss(log_mean, y, log_input=True)


def frequency(bias: float) -> Case:
    return Case(
        Frequency(bias), **split(*claims(base=15.0), 1000), loss_fn=poisson_nll, score=log_poisson_skill, trains=0.6,
        optimizer=adam(3e-3), steps=300,
    )  # fmt: skip


@healthy
def poisson_with_exposure_offset() -> Case:
    x, y = claims(base=15.0)
    return frequency(math.log(float(y.sum() / x[:, -1].sum())))


@fault("wrong-prior large-head", "head head.bias", twin=poisson_with_exposure_offset)
def poisson_bias_at_the_mean_count() -> Case:
    # "The output bias starts at the mean": but the output is a logarithm.
    x, y = claims(base=15.0)
    return frequency(float(y.sum() / x[:, -1].sum()))


def _bias_at_log_mean(case: Case, code: str) -> bool:
    if code not in ("wrong-prior", "large-head"):
        return False
    nn.init.constant_(case.model.head.bias, math.log(float(case.targets.sum() / case.inputs[:, -1].sum())))
    return True


poisson_bias_at_the_mean_count = mended(poisson_bias_at_the_mean_count, _bias_at_log_mean)


class Overdispersed(nn.Module):
    """Mean and dispersion of a negative binomial, both by softplus."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.mean, self.dispersion = nn.Linear(32, 1), nn.Linear(32, 1)
        nn.init.constant_(self.mean.bias, math.log(math.expm1(mean)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        return F.softplus(torch.cat([self.mean(h), self.dispersion(h)], 1)) + 1e-4


def negative_binomial_nll(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    mean, r = outputs[:, :1], 1 / outputs[:, 1:]
    log_p = torch.lgamma(y + r) - torch.lgamma(r) - torch.lgamma(y + 1)
    return -(log_p + r * (r / (r + mean)).log() + torch.xlogy(y, mean / (r + mean))).mean()


def negative_binomial_skill(outputs: torch.Tensor, y: torch.Tensor) -> float:
    """Nats a row gained over one Poisson for all."""
    mean = y.mean()
    poisson = -(torch.xlogy(y, mean) - mean - torch.lgamma(y + 1)).mean()
    return float(poisson - negative_binomial_nll(outputs, y))


@healthy
def negative_binomial_by_softplus() -> Case:
    x, y = claims(base=4.0, dispersion=3.0)
    return Case(
        Overdispersed(float(y.mean())), **split(x, y, 1000), loss_fn=negative_binomial_nll,
        score=negative_binomial_skill, trains=1.5, optimizer=adam(3e-3), steps=250,
    )  # fmt: skip


@fault("not-in-optimizer", "dispersion dispersion.*", twin=negative_binomial_by_softplus)
def negative_binomial_dispersion_left_out() -> Case:
    # The dispersion head came later than the list of parameter groups.
    case = negative_binomial_by_softplus()
    case.optimizer = lambda model: torch.optim.Adam(
        [{"params": model.body.parameters()}, {"params": model.mean.parameters()}], 3e-3
    )
    return case


def _all_parameters(case: Case, code: str) -> bool:
    case.optimizer = adam(3e-3)
    return True


negative_binomial_dispersion_left_out = mended(negative_binomial_dispersion_left_out, _all_parameters)

LEVELS = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])


class Quantiles(nn.Module):
    """Quantiles that cannot cross: the lowest, and steps up by softplus."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU())
        self.head = nn.Linear(48, 5)
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor([-1.3, -0.2, -0.2, -0.2, -0.2]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.head(self.body(x))
        return torch.cat([h[:, :1], F.softplus(h[:, 1:])], 1).cumsum(1)


def pinball(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    gap = y - outputs
    return torch.maximum(LEVELS * gap, (LEVELS - 1) * gap).mean()


def pinball_skill(outputs: torch.Tensor, y: torch.Tensor) -> float:
    return float(1 - pinball(outputs, y) / pinball(torch.quantile(y, LEVELS)[None], y))


@healthy
def quantiles_that_cannot_cross() -> Case:
    return Case(
        Quantiles(), **split(*data.smooth(1400), 1000), loss_fn=pinball, score=pinball_skill, trains=0.5,
        optimizer=adam(5e-3), steps=300,
    )  # fmt: skip


class Mixture(nn.Module):
    """A mixture density network: logits, means and log-widths; the means' biases are spread over the targets."""

    def __init__(self, count: int = 6) -> None:
        super().__init__()
        self.count = count
        self.body = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.head = nn.Linear(32, 3 * count)
        with torch.no_grad():
            self.head.bias.zero_()
            self.head.bias[count : 2 * count] = torch.linspace(-0.9, 0.9, count)
            self.head.bias[2 * count :] = -1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def mixture_nll(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    logits, mean, log_width = outputs.chunk(3, 1)
    log_width = log_width.clamp(-5, 3)
    log_p = -0.5 * ((y - mean) / log_width.exp()).square() - log_width - 0.5 * math.log(2 * math.pi)
    return -(logits.log_softmax(1) + log_p).logsumexp(1).mean()


def mixture_score(outputs: torch.Tensor, y: torch.Tensor) -> float:
    return -float(mixture_nll(outputs, y))


@healthy
def mixture_density_with_spread_means() -> Case:
    return Case(
        Mixture(), **split(*bends(), 900), loss_fn=mixture_nll, score=mixture_score, trains=0.15,
        optimizer=adam(5e-3), steps=400,
    )  # fmt: skip


@fault(
    "symmetric-units constant-init duplicated-draws", "head head.weight head.bias",
    twin=mixture_density_with_spread_means,
)  # fmt: skip
def mixture_density_with_zero_head() -> Case:
    # "Start the last layer at zero": so that all components are one, and stay so.
    case = mixture_density_with_spread_means()
    nn.init.zeros_(case.model.head.weight)
    nn.init.zeros_(case.model.head.bias)
    return case


def beta_nll(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Seitzer et al. 2022: each term weighted by its own variance's root, that no gradient goes through."""
    mean, variance = outputs[:, :1], F.softplus(outputs[:, 1:]) + 1e-4
    nll = 0.5 * ((y - mean).square() / variance + variance.log())
    return (nll * variance.detach().sqrt()).mean()


def mean_r2(outputs: torch.Tensor, y: torch.Tensor) -> float:
    return r2(outputs[:, :1], y)


@healthy
def noise_and_mean_by_beta_nll() -> Case:
    return Case(
        nets.mlp((4, 64, 64, 2), nn.ELU), **split(*data.smooth(1400), 1000), loss_fn=beta_nll, score=mean_r2,
        trains=0.7, optimizer=adam(5e-3), steps=300,
    )  # fmt: skip


# --- risk tables ------------------------------------------------------------------------------------------------------


class Additive(nn.Module):
    """A neural additive model: a small network for each column, as grouped convolutions; a logit of their sum."""

    def __init__(self, features: int = 12, width: int = 16) -> None:
        super().__init__()
        self.shapes = nn.Sequential(
            nn.Conv1d(features, features * width, 1, groups=features), nn.ReLU(),
            nn.Conv1d(features * width, features * width, 1, groups=features), nn.ReLU(),
            nn.Conv1d(features * width, features, 1, groups=features, bias=False),
        )  # fmt: skip
        self.bias = nn.Parameter(torch.tensor([logit(0.2)]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shapes(x[:, :, None])[:, :, 0].sum(1, keepdim=True) + self.bias


@healthy
def neural_additive_model() -> Case:
    return Case(
        Additive(), **split(*patients(), 1000), loss_fn=F.binary_cross_entropy_with_logits, score=auroc, trains=0.8,
        optimizer=adam(3e-3), steps=250,
    )  # fmt: skip


class WideAndDeep(nn.Module):
    """A logistic regression that starts at zero beside a network; codes by embeddings, an absent one's row is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(12, 1)
        self.wards = nn.Embedding(9, 4, padding_idx=0)
        self.deep = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
        nn.init.zeros_(self.wide.weight)
        nn.init.zeros_(self.wide.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ward = self.wards(((x[:, 0] + x[:, 3]).abs() * 3).long().clamp(0, 8))
        return self.wide(x) + self.deep(torch.cat([x, ward], 1))


@healthy
def wide_zero_and_deep() -> Case:
    return Case(
        WideAndDeep(), **split(*patients(), 1000), loss_fn=F.binary_cross_entropy_with_logits, score=auroc, trains=0.87,
        optimizer=adam(1e-2), steps=250,
    )  # fmt: skip


class Ordinal(nn.Module):
    """CORAL: one direction, five thresholds in falling order; a stage is how many of them are passed."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 48), nn.ReLU(), nn.Linear(48, 1, bias=False))
        self.thresholds = nn.Parameter(torch.linspace(1.5, -1.5, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.thresholds


def stages() -> Pair:
    x, y = data.smooth(1400)
    return x, (y > torch.tensor([-1.1, -0.5, 0.0, 0.5, 1.1])).float()


def stage_score(outputs: torch.Tensor, y: torch.Tensor) -> float:
    """The share of patients put at most a stage from theirs."""
    return float((((outputs > 0).float().sum(1) - y.sum(1)).abs() <= 1).float().mean())


@healthy
def ordinal_stages_with_one_direction() -> Case:
    return Case(
        Ordinal(), **split(*stages(), 1000), loss_fn=F.binary_cross_entropy_with_logits, score=stage_score, trains=0.85,
        optimizer=adam(1e-2), steps=300,
    )  # fmt: skip


class Ensemble(nn.Module):
    """A deep ensemble in one module: the members' logits side by side."""

    def __init__(self, count: int = 4, seed: int | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList()
        for _ in range(count):
            if seed is not None:
                torch.manual_seed(seed)
            self.members.append(nets.mlp((12, 32, 32, 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([member(x) for member in self.members], 1)


def members_loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(outputs, y.expand_as(outputs)) * outputs.shape[1]


def members_score(outputs: torch.Tensor, y: torch.Tensor) -> float:
    return auroc(outputs.mean(1, keepdim=True), y)


@healthy
def ensemble_of_risk_networks() -> Case:
    return Case(
        Ensemble(), **split(*patients(), 1000), loss_fn=members_loss, score=members_score, trains=0.87,
        optimizer=adam(3e-3), steps=250,
    )  # fmt: skip


@fault("duplicated-draws symmetric-units", "members members.*", twin=ensemble_of_risk_networks)
def ensemble_seeded_at_each_member() -> Case:
    # "Reproducible": each member seeds the generator anew, and all are one network.
    case = ensemble_of_risk_networks()
    case.model = Ensemble(seed=1234)
    return case


@healthy
def deep_tanh_risk_network() -> Case:
    model = nets.glorot(nets.mlp((12, *[32] * 8, 1), nn.Tanh))
    return Case(
        model, **split(*patients(), 1000), loss_fn=F.binary_cross_entropy_with_logits, score=auroc, trains=0.82,
        optimizer=sgd(0.02), steps=280,
    )  # fmt: skip


@fault("vanishing-gradient rank-collapse vanishing-forward wrong-gain", twin=deep_tanh_risk_network)
def deep_logistic_risk_network() -> Case:
    # The chart of the 1998 paper: a logistic function everywhere.
    case = deep_tanh_risk_network()
    case.model = nets.glorot(nets.mlp((12, *[32] * 8, 1), nn.Sigmoid))
    return case


class Log(nn.Module):
    """Laboratory values in logarithms; ``shift`` of 1 is log1p."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.shift).log()


def laboratory(n: int = 1400) -> Pair:
    """Concentrations, log-normal; those below the limit of detection are written as 0."""
    x, y = patients(n)
    x = (1.5 + 0.7 * x).exp()
    return torch.where(x < 1.2, 0.0, x), y


def laboratory_case(shift: float) -> Case:
    model = nn.Sequential(Log(shift), nn.BatchNorm1d(12), nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 1))
    return Case(
        model, **split(*laboratory(), 1000), loss_fn=F.binary_cross_entropy_with_logits, score=auroc, trains=0.82,
        optimizer=adam(5e-3), steps=250,
    )  # fmt: skip


@healthy
def laboratory_values_by_log1p() -> Case:
    return laboratory_case(1.0)


@fault("non-finite-values", "0 1", twin=laboratory_values_by_log1p)
def logarithm_of_values_below_detection() -> Case:
    return laboratory_case(0.0)


def _log1p(case: Case, code: str) -> bool:
    case.model[0].shift = 1.0
    return True


logarithm_of_values_below_detection = mended(logarithm_of_values_below_detection, _log1p)


# --- pathology --------------------------------------------------------------------------------------------------------


class Bags(nn.Module):
    """Gated attention over the patches of a slide (Ilse et al. 2018)."""

    def __init__(self, dim: int = 1) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(16, 32), nn.ReLU())
        self.attend, self.gate, self.weigh = nn.Linear(32, 16), nn.Linear(32, 16), nn.Linear(16, 1)
        self.softmax = nn.Softmax(dim=dim)
        self.head = nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.encoder(x)
        weights = self.softmax(self.weigh(self.attend(h).tanh() * self.gate(h).sigmoid()))
        return self.head((weights * h).sum(1))


@healthy
def slides_by_gated_attention() -> Case:
    return Case(
        Bags(), **split(*slides(), 600), loss_fn=F.binary_cross_entropy_with_logits, score=auroc, trains=0.85,
        optimizer=adam(3e-3), steps=90,
    )  # fmt: skip


@fault(
    "softmax-over-one no-gradient", "softmax weigh weigh.* attend attend.* gate gate.*", twin=slides_by_gated_attention
)
def slides_with_softmax_over_the_score_axis() -> Case:
    case = slides_by_gated_attention()
    case.model.softmax.dim = -1
    return case


def _softmax_over_patches(case: Case, code: str) -> bool:
    case.model.softmax.dim = 1
    return True


slides_with_softmax_over_the_score_axis = mended(slides_with_softmax_over_the_score_axis, _softmax_over_patches)


# --- anomalies --------------------------------------------------------------------------------------------------------


def zeros_and_others() -> dict[str, Any]:
    """Trained on one digit; held out are more of it, and others: the target says which."""
    x, y = data.digits()
    normal = x[y == 0]
    seen, rest = normal[:130], torch.cat([normal[130:], x[y != 0][:200]])
    odd = torch.cat([torch.zeros(len(normal) - 130, 1), torch.ones(200, 1)])
    return {"inputs": seen, "targets": torch.zeros(130, 1), "held_out": (rest, odd)}


class Sphere(nn.Module):
    """Deep SVDD (Ruff et al. 2018): no biases anywhere, and the distance to a fixed centre is the anomaly."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(64, 32, bias=False), nn.LeakyReLU(0.1), nn.Linear(32, 16, bias=False), nn.LeakyReLU(0.1),
            nn.Linear(16, 8, bias=False),
        )  # fmt: skip
        with torch.no_grad():
            centre = self.body(x).mean(0)
        self.register_buffer("centre", torch.where(centre.abs() < 0.1, centre.sign() * 0.1, centre))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.body(x) - self.centre).square().sum(1, keepdim=True)


def mean_distance(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return outputs.mean()


@healthy
def hypersphere_without_biases() -> Case:
    cases = zeros_and_others()
    return Case(
        Sphere(cases["inputs"]), **cases, loss_fn=mean_distance, score=auroc, trains=0.93, optimizer=adam(1e-3),
        steps=150,
    )  # fmt: skip


class Novelty(nn.Module):
    """Random network distillation: the target network is random, fixed, and meant so."""

    def __init__(self) -> None:
        super().__init__()
        self.target = nets.he(nets.mlp((64, 64, 16))).requires_grad_(False)
        self.predictor = nets.he(nets.mlp((64, 64, 64, 16)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = self.target(x)
        return (self.predictor(x) - wanted).square().mean(1, keepdim=True)


@healthy
def novelty_by_a_fixed_random_target() -> Case:
    return Case(
        Novelty(), **zeros_and_others(), loss_fn=mean_distance, score=auroc, trains=0.93, optimizer=adam(1e-3),
        steps=200,
    )  # fmt: skip


class Residues(nn.Module):
    """An autoencoder behind a whitening that was fitted, and is frozen: it gives what it rebuilt of the whitened."""

    def __init__(self, x: torch.Tensor, kept: int = 20) -> None:
        super().__init__()
        _, s, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
        self.whiten = nn.Linear(64, kept)
        with torch.no_grad():
            self.whiten.weight.copy_(v[:kept] * math.sqrt(len(x)) / s[:kept, None])
            self.whiten.bias.copy_(-self.whiten.weight @ x.mean(0))
        self.whiten.requires_grad_(False)
        self.encoder = nn.Sequential(nn.Linear(kept, 64), nn.Tanh(), nn.Linear(64, 12))
        self.decoder = nn.Sequential(nn.Linear(12, 64), nn.Tanh(), nn.Linear(64, kept))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(self.whiten(x)))


@healthy
def autoencoder_behind_frozen_whitening() -> Case:
    x, _ = data.digits()
    model = Residues(x)
    with torch.no_grad():
        white = model.whiten(x)
    return Case(
        model, **split(x, white, 1400), loss_fn=F.mse_loss, score=r2, trains=0.45, optimizer=adam(5e-3), steps=300
    )


# --- sensors ----------------------------------------------------------------------------------------------------------


class Causal(nn.Module):
    """A causal convolution under weight norm with a skip: a block of a TCN."""

    def __init__(self, a: int, b: int, dilation: int) -> None:
        super().__init__()
        self.pad = 2 * dilation
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(a, b, 3, dilation=dilation))
        self.skip = nn.Conv1d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.skip(x) + F.relu(self.conv(F.pad(x, (self.pad, 0)))))


class Tcn(nn.Module):
    def __init__(self, last: nn.Module, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(Causal(5, width, 1), Causal(width, width, 2), Causal(width, width, 4))
        self.head, self.last = nn.Linear(width, 1), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.head(self.body(x)[:, :, -1]))


@healthy
def remaining_life_as_a_share_by_sigmoid() -> Case:
    x, left = wear()
    return Case(
        Tcn(nn.Sigmoid()), **split(x, left / 125, 750), loss_fn=F.mse_loss, score=r2, trains=0.6, optimizer=adam(5e-3),
        steps=200,
    )  # fmt: skip


@healthy
def remaining_life_standardized() -> Case:
    x, left = wear()
    left = (left - left.mean()) / left.std()
    return Case(
        Tcn(nn.Identity()), **split(x, left, 750), loss_fn=F.mse_loss, score=r2, trains=0.6, optimizer=adam(5e-3),
        steps=200,
    )  # fmt: skip


@fault("unscaled-targets wrong-prior", twin=remaining_life_standardized)
def remaining_life_in_seconds() -> Case:
    # A cycle is 40 minutes, and the new export has seconds.
    case = remaining_life_standardized()
    x, left = wear()
    for name, value in split(x, left * 2400, 750).items():
        setattr(case, name, value)
    return case


def _standardized_targets(case: Case, code: str) -> bool:
    mean, std = case.targets.mean(), case.targets.std()
    case.targets = (case.targets - mean) / std
    if case.held_out is not None:
        case.held_out = (case.held_out[0], (case.held_out[1] - mean) / std)
    return True


remaining_life_in_seconds = mended(remaining_life_in_seconds, _standardized_targets)


class DepthwiseBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 5, padding=2, groups=width)
        self.pointwise = nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.pointwise(F.relu(self.depthwise(x))))


class Separable(nn.Module):
    """Depthwise and pointwise convolutions, no norms, small enough for a microcontroller."""

    def __init__(self, width: int = 24, depth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv1d(3, width, 5, padding=2)
        self.blocks = nn.Sequential(*[DepthwiseBlock(width) for _ in range(depth)])
        self.head = nn.Linear(width, 4)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / module.weight[0].numel()))
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(F.relu(self.stem(x))).mean(-1))


@healthy
def separable_convolutions_on_vibrations() -> Case:
    return Case(
        Separable(), **split(*vibrations(), 700), loss_fn=F.cross_entropy, trains=0.8, optimizer=sgd(0.01), steps=350,
        batch=32, clip=1.0,
    )  # fmt: skip


@fault(
    "wrong-fan wrong-gain vanishing-forward vanishing-gradient", "blocks blocks.*",
    twin=separable_convolutions_on_vibrations,
)  # fmt: skip
def depthwise_scaled_by_all_channels() -> Case:
    # The port's variance scaling counts in_channels × kernel for a depthwise kernel too.
    case = separable_convolutions_on_vibrations()
    for block in case.model.blocks:
        conv = block.depthwise
        nn.init.normal_(conv.weight, std=math.sqrt(2 / (conv.in_channels * conv.kernel_size[0])))
    return case


class Squeeze(nn.Module):
    """A residual branch of a 1-d ResNet with squeeze and excitation; its last norm starts at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(width, width, 5, padding=2, bias=False), nn.BatchNorm1d(width)
        self.conv2, self.norm2 = nn.Conv1d(width, width, 5, padding=2, bias=False), nn.BatchNorm1d(width)
        self.excite = nn.Sequential(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, width), nn.Sigmoid())
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(x + h * self.excite(h.mean(-1))[:, :, None])


class Ecg(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv1d(3, width, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(width)
        self.blocks = nn.Sequential(*[Squeeze(width) for _ in range(3)])
        self.head = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(F.relu(self.norm(self.stem(x)))).mean(-1))


@healthy
def squeezed_resnet_with_zero_branches() -> Case:
    return Case(
        Ecg(), **split(*vibrations(), 700), loss_fn=F.cross_entropy, trains=0.85, optimizer=sgd(0.05), steps=120,
        batch=32,
    )  # fmt: skip


@fault(
    "zero-norm-scale dead-units rank-collapse no-gradient vanishing-forward vanishing-gradient",
    "norm norm.weight blocks.*.norm1 blocks.*.norm1.weight",
    twin=squeezed_resnet_with_zero_branches,
)
def zero_start_for_every_norm() -> Case:
    # Zero-init of residual branches by a loop which takes every norm for a branch's last.
    case = squeezed_resnet_with_zero_branches()
    for module in case.model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.zeros_(module.weight)
    return case


def _norms_at_one(case: Case, code: str) -> bool:
    for name, module in case.model.named_modules():
        if isinstance(module, nn.BatchNorm1d) and not name.endswith("norm2"):
            nn.init.ones_(module.weight)
    return True


zero_start_for_every_norm = mended(zero_start_for_every_norm, _norms_at_one)


class Statistics(nn.Module):
    """Filters for each sensor by itself, then mean and deviation over time, then a classifier."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.filters = nn.Conv1d(3, 24, 7, groups=3)
        self.classify = nn.Sequential(nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.filters(x))
        deviation = (h.var(-1, unbiased=False) + self.eps).sqrt()
        return self.classify(torch.cat([h.mean(-1), deviation], 1))


def vibrations_with_gaps() -> Pair:
    """A sensor in ten was off for a window: all zeros."""
    x, y = vibrations()
    off = torch.rand(len(x), 3, 1, generator=torch.Generator().manual_seed(21)) < 0.1
    return x * ~off, y


def statistics(eps: float) -> Case:
    return Case(
        Statistics(eps), **split(*vibrations_with_gaps(), 700), loss_fn=F.cross_entropy, trains=0.8,
        optimizer=adam(1e-2), steps=250,
    )  # fmt: skip


@healthy
def statistics_pooling_of_sensors() -> Case:
    return statistics(1e-5)


@fault("non-finite-gradients", twin=statistics_pooling_of_sensors)
def deviation_of_a_flat_sensor() -> Case:
    return statistics(0.0)


def _with_eps(case: Case, code: str) -> bool:
    case.model.eps = 1e-5
    return True


deviation_of_a_flat_sensor = mended(deviation_of_a_flat_sensor, _with_eps)


class Gated(nn.Module):
    """An LSTM whose forget gates start open, orthogonal recurrence, its state read out at the end."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.rnn = nn.LSTM(12, width, batch_first=True)
        self.head = nn.Linear(width, 4)
        for gate in range(4):
            nn.init.orthogonal_(self.rnn.weight_hh_l0.data[gate * width : (gate + 1) * width])
        nn.init.xavier_uniform_(self.rnn.weight_ih_l0)
        for bias in (self.rnn.bias_ih_l0, self.rnn.bias_hh_l0):
            nn.init.zeros_(bias)
        self.rnn.bias_ih_l0.data[width : 2 * width] = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = x.unfold(2, 4, 4).permute(0, 2, 1, 3).flatten(2)
        return self.head(self.rnn(frames)[0][:, -1])


@healthy
def lstm_with_open_forget_gates() -> Case:
    return Case(
        Gated(), **split(*vibrations(), 700), loss_fn=F.cross_entropy, trains=0.75, optimizer=adam(1e-2), steps=200,
        batch=32,
    )  # fmt: skip


class Forecast(nn.Module):
    """DLinear: the smooth part and the rest, each by a linear map that starts as the mean of the window."""

    def __init__(self, length: int = 24, ahead: int = 8) -> None:
        super().__init__()
        self.smooth = nn.AvgPool1d(5, 1, 2, count_include_pad=False)
        self.trend, self.rest = nn.Linear(length, ahead), nn.Linear(length, ahead)
        for layer in (self.trend, self.rest):
            nn.init.constant_(layer.weight, 1 / length)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        trend = self.smooth(x)
        return self.trend(trend) + self.rest(x - trend)


def tones() -> Pair:
    """The first channel of the vibrations of sound machines: 24 points, and the 8 that follow."""
    x, state = vibrations()
    x = x[(state == 0) | (state == 3), :, :32]
    return x[:, :, :24].contiguous(), x[:, :, 24:].contiguous()


@healthy
def linear_forecast_from_the_mean() -> Case:
    return Case(
        Forecast(), **split(*tones(), 350), loss_fn=F.mse_loss, score=r2, trains=0.6, optimizer=adam(1e-2), steps=300
    )


class Reversible(nn.Module):
    """RevIN: each window is normalized by itself before the network, and its forecast is put back into its units."""

    def __init__(self, length: int = 24, ahead: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(length, 64), nn.GELU(), nn.Linear(64, ahead))
        self.scale, self.shift = nn.Parameter(torch.ones(3, 1)), nn.Parameter(torch.zeros(3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = x.mean(-1, keepdim=True), (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        y = self.body((x - mean) / std * self.scale + self.shift)
        return (y - self.shift) / self.scale * std + mean


@healthy
def temperatures_by_reversible_norm() -> Case:
    x, y = tones()
    units, zero = torch.tensor([4.0, 9.0, 2.0])[:, None], torch.tensor([60.0, 85.0, 21.0])[:, None]
    return Case(
        Reversible(), **split(x * units + zero, y * units + zero, 350), loss_fn=F.l1_loss, score=r2, trains=0.6,
        optimizer=adam(5e-3), steps=300,
    )  # fmt: skip


@healthy
def raw_table_behind_an_input_norm() -> Case:
    x, y = data.raw_features()
    model = nn.Sequential(nn.BatchNorm1d(11, affine=False), nn.Linear(11, 32), nn.ReLU(), nn.Linear(32, 1))
    return Case(
        model, **split(x, y, 700), loss_fn=F.binary_cross_entropy_with_logits, score=auroc, trains=0.93,
        optimizer=adam(5e-3), steps=200,
    )  # fmt: skip


class Unrolled(nn.Module):
    """LISTA: eight steps of iterative shrinkage with one set of weights, which start at the known dictionary's."""

    def __init__(self, dictionary: torch.Tensor, steps: int = 8) -> None:
        super().__init__()
        m, n = dictionary.shape
        lipschitz = float(torch.linalg.matrix_norm(dictionary, 2) ** 2)
        self.steps = steps
        self.into, self.inner = nn.Linear(m, n, bias=False), nn.Linear(n, n, bias=False)
        with torch.no_grad():
            self.into.weight.copy_(dictionary.T / lipschitz)
            self.inner.weight.copy_(torch.eye(n) - dictionary.T @ dictionary / lipschitz)
        self.threshold = nn.Parameter(torch.full((n,), 0.1 / lipschitz))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        b = self.into(y)
        z = self.shrink(b)
        for _ in range(self.steps):
            z = self.shrink(b + self.inner(z))
        return z

    def shrink(self, z: torch.Tensor) -> torch.Tensor:
        return z.sign() * F.relu(z.abs() - self.threshold)


@healthy
def unrolled_shrinkage_for_sparse_signals() -> Case:
    g = torch.Generator().manual_seed(25)
    dictionary = F.normalize(torch.randn(20, 40, generator=g), dim=0)
    z = torch.randn(1400, 40, generator=g) * (torch.rand(1400, 40, generator=g) < 0.08)
    return Case(
        Unrolled(dictionary), **split(z @ dictionary.T, z, 1000), loss_fn=F.mse_loss, score=r2, trains=0.75,
        optimizer=adam(3e-3), steps=300,
    )  # fmt: skip


# --- several tasks ----------------------------------------------------------------------------------------------------


class Tasks(nn.Module):
    """Machine state and load from one encoder; the tasks' log-variances are learned and start at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv1d(16, 32, 5, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        )  # fmt: skip
        nets.he(self.encoder)
        self.state, self.load = nn.Linear(32, 4), nn.Linear(32, 1)
        self.log_variances = nn.Parameter(torch.zeros(2))
        self.extracting = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.extracting):
            h = self.encoder(x)
        return torch.cat([self.state(h), self.load(h), self.log_variances.expand(len(x), 2)], 1)


def states_and_loads() -> Pair:
    x, state = vibrations()
    load = torch.rand(len(x), 1, generator=torch.Generator().manual_seed(22)) * 3.4 - 1.7
    return x + 0.5 * load[:, :, None], torch.cat([state.float()[:, None], load], 1)


def weighed_tasks(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Kendall et al. 2018."""
    s = outputs[0, 5:]
    state, load = F.cross_entropy(outputs[:, :4], y[:, 0].long()), F.mse_loss(outputs[:, 4], y[:, 1])
    return (-s[0]).exp() * state + 0.5 * s[0] + 0.5 * (-s[1]).exp() * load + 0.5 * s[1]


def both_tasks(outputs: torch.Tensor, y: torch.Tensor) -> float:
    return min(float((outputs[:, :4].argmax(1) == y[:, 0]).float().mean()), r2(outputs[:, 4:5], y[:, 1:]))


@healthy
def two_tasks_weighed_by_uncertainty() -> Case:
    return Case(
        Tasks(), **split(*states_and_loads(), 700), loss_fn=weighed_tasks, score=both_tasks, trains=0.85,
        optimizer=adam(5e-3), steps=250, batch=32,
    )  # fmt: skip


@fault("no-gradient", "encoder encoder.*", twin=two_tasks_weighed_by_uncertainty)
def encoder_left_under_no_grad() -> Case:
    # From the time when a trained encoder's features were extracted; now it is to be trained, from scratch.
    case = two_tasks_weighed_by_uncertainty()
    case.model.extracting = True
    return case


def _not_extracting(case: Case, code: str) -> bool:
    case.model.extracting = False
    return True


encoder_left_under_no_grad = mended(encoder_left_under_no_grad, _not_extracting)


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return -0.3 * grad


class SiteBlind(nn.Module):
    """The risk, from features that a second head, behind reversed gradients, shall not know the hospital by."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU())
        self.risk = nn.Linear(32, 1)
        self.site = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        return torch.cat([self.risk(h), self.site(Reverse.apply(h))], 1)


def patients_of_sites() -> Pair:
    x, y = patients()
    site = (torch.rand(len(x), 1, generator=torch.Generator().manual_seed(23)) < 0.5).float()
    x = x.clone()
    x[:, 5:7] += 1.5 * site
    return x, torch.cat([y, site], 1)


@healthy
def risk_with_reversed_gradients_for_the_site() -> Case:
    return Case(
        SiteBlind(), **split(*patients_of_sites(), 1000), loss_fn=F.binary_cross_entropy_with_logits, score=auroc,
        trains=0.85, optimizer=adam(3e-3), steps=300,
    )  # fmt: skip


class Tied(nn.Module):
    """A denoising autoencoder whose decoder is its encoder turned over."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(64, 24)
        self.bias = nn.Parameter(torch.zeros(64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            x = x + 0.3 * torch.randn_like(x)
        return F.linear(self.encoder(x).tanh(), 2 * self.encoder.weight.T, self.bias)


@healthy
def denoising_by_one_matrix_both_ways() -> Case:
    x, _ = data.digits()
    return Case(Tied(), **split(x, x, 1400), loss_fn=F.mse_loss, score=r2, trains=0.6, optimizer=adam(5e-3), steps=300)


# --- faults of training -----------------------------------------------------------------------------------------------


@fault("learning-rate-too-low update-too-small loss-stuck trivial-plateau", when="training", twin=unet_by_plain_bce)
def warmup_counted_in_samples_of_a_larger_set() -> Case:
    # The warmup was meant as 300,000 samples, and is stepped once a batch.
    case = unet_by_plain_bce()
    case.schedule = lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / 3e5))
    return case


def _no_warmup(case: Case, code: str) -> bool:
    case.schedule = None
    return True


warmup_counted_in_samples_of_a_larger_set = mended(warmup_counted_in_samples_of_a_larger_set, _no_warmup)


@fault("flipped-loss loss-diverged exploded-gradients", when="training", twin=cox_network)
def partial_likelihood_minimized() -> Case:
    # The log-likelihood itself went to the optimizer.
    case = cox_network()
    case.loss_fn = lambda risk, y: -cox_loss(risk, y)
    return case


def _sign_back(case: Case, code: str) -> bool:
    case.loss_fn = cox_loss
    return True


partial_likelihood_minimized = mended(partial_likelihood_minimized, _sign_back)


@healthy
def vibrations_by_a_plain_cnn() -> Case:
    model = nn.Sequential(
        nn.Conv1d(3, 16, 7, padding=3), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(16, 32, 5, padding=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(128, 4),
    )  # fmt: skip
    nets.he(model)
    nn.init.normal_(model[-1].weight, std=0.03)
    return Case(
        model, **split(*vibrations(), 700), loss_fn=F.cross_entropy, trains=0.85, optimizer=sgd(0.02),
        steps=200, batch=32,
    )  # fmt: skip


@fault(
    "learning-rate-too-high update-too-large loss-oscillating loss-rising loss-diverged exploded-gradients"
    " gradient-spike dying-units loss-stuck trivial-plateau non-finite-values non-finite-gradients",
    when="training",
    twin=vibrations_by_a_plain_cnn,
)
def gradients_never_zeroed_on_vibrations() -> Case:
    case = vibrations_by_a_plain_cnn()
    case.zeroed = False
    return case


def _zeroed(case: Case, code: str) -> bool:
    case.zeroed = True
    return True


gradients_never_zeroed_on_vibrations = mended(gradients_never_zeroed_on_vibrations, _zeroed)


@fault(
    "learning-rate-too-high update-too-large dying-units loss-stuck trivial-plateau vanished-gradients"
    " loss-oscillating loss-rising loss-diverged gradient-spike exploded-gradients",
    when="training",
    twin=remaining_life_as_a_share_by_sigmoid,
)
def rate_of_sgd_given_to_adam() -> Case:
    case = remaining_life_as_a_share_by_sigmoid()
    case.optimizer = adam(0.5)
    return case


def _lower_rate(case: Case, code: str) -> bool:
    case.optimizer = adam(5e-3)
    return True


rate_of_sgd_given_to_adam = mended(rate_of_sgd_given_to_adam, _lower_rate)


@healthy
def biomarkers_of_a_large_cohort() -> Case:
    return biomarkers(1500)


def biomarkers(seen: int) -> Case:
    """Sixty markers, three of them of use."""
    g = torch.Generator().manual_seed(24)
    x = torch.randn(2000, 60, generator=g)
    y = (x[:, 0] + x[:, 1] - x[:, 2] + 0.7 * torch.randn(2000, generator=g) > 0).float()[:, None]
    cases = {"inputs": x[:seen], "targets": y[:seen], "held_out": (x[1500:], y[1500:])}
    model = nets.he(nets.mlp((60, 64, 64, 1)))
    nn.init.normal_(model[-1].weight, std=0.05)
    return Case(
        model, **cases, loss_fn=F.binary_cross_entropy_with_logits, score=auroc, trains=0.87, optimizer=adam(1e-3),
        steps=200, batch=32,
    )  # fmt: skip


@fault("over-fitting", when="training", twin=biomarkers_of_a_large_cohort)
def biomarkers_of_forty_patients() -> Case:
    return biomarkers(40)


@healthy
def quantiles_by_sgd() -> Case:
    case = quantiles_that_cannot_cross()
    case.optimizer, case.steps, case.clip = sgd(0.1), 400, 1.0
    return case


@fault(
    "update-too-small learning-rate-too-low loss-stuck trivial-plateau", when="training", twin=quantiles_by_sgd
)  # fmt: skip
def quantiles_clipped_to_nothing() -> Case:
    # The limit of one element's clipping went into the clipping by norm, of a loss in other units.
    case = quantiles_by_sgd()
    case.clip = 1e-4
    return case


def _usual_clip(case: Case, code: str) -> bool:
    case.clip = 1.0
    return True


quantiles_clipped_to_nothing = mended(quantiles_clipped_to_nothing, _usual_clip)


@fault("trivial-plateau loss-stuck vanished-gradients", when="training", twin=deep_tanh_risk_network)
def decay_of_adamw_given_to_sgd() -> Case:
    # 0.1 is usual for AdamW, which multiplies it by a rate of 3e-4.
    case = deep_tanh_risk_network()
    case.optimizer = lambda model: torch.optim.SGD(model.parameters(), 0.02, momentum=0.9, weight_decay=0.1)
    return case


def _usual_decay(case: Case, code: str) -> bool:
    case.optimizer = lambda model: torch.optim.SGD(model.parameters(), 0.02, momentum=0.9, weight_decay=1e-4)
    return True


decay_of_adamw_given_to_sgd = mended(decay_of_adamw_given_to_sgd, _usual_decay)
