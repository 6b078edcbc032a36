"""Blind programs, fourth author: scientific and unusual networks, written without a look at the library."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data
from .program import Case, accuracy, adam, fault, healthy, mended, r2, sgd


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _standard(y: torch.Tensor) -> torch.Tensor:
    return (y - y.mean(0)) / y.std(0)


def _minus(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """For models that give log-likelihoods."""
    return -outputs.mean()


# ---------------------------------------------------------------- physics-informed


class Poisson1d(nn.Module):
    """u'' = -f on [0, 1] with u(0) = u(1) = 0 built in; gives u and the equation's residual."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
        for layer in self.net[::2]:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            u = x * (1 - x) * self.net(2 * x - 1)
            first = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
            second = torch.autograd.grad(first.sum(), x, create_graph=True)[0]
        force = math.pi**2 * (torch.sin(math.pi * x) + 2 * torch.sin(2 * math.pi * x))
        return torch.cat([u, (second + force) / math.pi**2], 1)


@healthy
def pinn_poisson() -> Case:
    x = torch.rand(512, 1, generator=_generator(1))
    u = torch.sin(math.pi * x) + 0.5 * torch.sin(2 * math.pi * x)
    return Case(
        Poisson1d(), x, u, lambda out, y: out[:, 1].square().mean(), lambda out, y: r2(out[:, :1], y), 0.95,
        adam(5e-3), 400,
    )  # fmt: skip


# ---------------------------------------------------------------- neural ODE


def _rings(n: int = 1024) -> data.Pair:
    g = _generator(11)
    y = torch.randint(2, (n,), generator=g)
    radius = 0.6 + 1.0 * y + 0.12 * torch.randn(n, generator=g)
    angle = 2 * math.pi * torch.rand(n, generator=g)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), y


class NeuralOde(nn.Module):
    """Runge-Kutta over a learned field, one zero dimension added."""

    def __init__(self, *, detached: bool = False) -> None:
        super().__init__()
        self.field = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 3))
        self.readout = nn.Linear(3, 2)
        self.detached = detached

    def integrate(self, h: torch.Tensor, steps: int = 5) -> torch.Tensor:
        dt = 1.0 / steps

        def f(t: float, h: torch.Tensor) -> torch.Tensor:
            return self.field(torch.cat([h, torch.full_like(h[:, :1], t)], 1))

        for i in range(steps):
            t = i * dt
            k1 = f(t, h)
            k2 = f(t + dt / 2, h + dt / 2 * k1)
            k3 = f(t + dt / 2, h + dt / 2 * k2)
            k4 = f(t + dt, h + dt * k3)
            h = h + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return h

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.cat([x, torch.zeros_like(x[:, :1])], 1)
        if self.detached:
            with torch.no_grad():  # "the solver needs no graph"
                h = self.integrate(h)
        else:
            h = self.integrate(h)
        return self.readout(h)


@healthy
def neural_ode_rings() -> Case:
    return Case(NeuralOde(), *_rings(), F.cross_entropy, trains=0.9, optimizer=adam(1e-2), steps=250)


@fault("no-gradient", "field field.*", twin=neural_ode_rings)
def neural_ode_solver_under_no_grad() -> Case:
    return Case(NeuralOde(detached=True), *_rings(), F.cross_entropy, trains=0.9, optimizer=adam(1e-2), steps=250)


def _attach_solver(case: Case, code: str) -> bool:
    if code != "no-gradient":
        return False
    case.model.detached = False
    return True


neural_ode_solver_under_no_grad = mended(neural_ode_solver_under_no_grad, _attach_solver)


# ---------------------------------------------------------------- graphs


def _graphs(n: int = 768, nodes: int = 12) -> data.Pair:
    """Adjacency and features side by side: (n, nodes, nodes + 4). Which of two groups talks to the other's features."""
    g = _generator(12)
    a = (torch.rand(n, nodes, nodes, generator=g) < 0.6).float().triu(1)
    a = a + a.transpose(1, 2)
    x = torch.randn(n, nodes, 4, generator=g)
    y = ((a @ x)[:, :, 0].mean(1) + 2.0 * x[:, :, 1].mean(1) > 0).long()
    return torch.cat([a, x], 2), y


class Gcn(nn.Module):
    """Graph convolutions over a dense adjacency, mean readout."""

    def __init__(self, depth: int = 5, width: int = 32, *, normalize: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4 if i == 0 else width, width) for i in range(depth))
        self.readout = nn.Linear(width, 2)
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.normalize = normalize

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        nodes = packed.shape[1]
        a, h = packed[:, :, :nodes] + torch.eye(nodes), packed[:, :, nodes:]
        if self.normalize:
            root = a.sum(2).rsqrt()
            a = root[:, :, None] * a * root[:, None, :]
        for layer in self.layers:
            h = F.relu(layer(a @ h))
        return self.readout(h.mean(1))


@healthy
def gcn_dense() -> Case:
    return Case(Gcn(), *_graphs(), F.cross_entropy, trains=0.85, optimizer=sgd(0.05), steps=300)


@fault("exploding-forward exploding-gradient", twin=gcn_dense)
def gcn_raw_adjacency() -> Case:
    return Case(
        Gcn(normalize=False), *_graphs(), F.cross_entropy, trains=0.85, optimizer=sgd(0.05), steps=300
    )  # fmt: skip


def _normalize_adjacency(case: Case, code: str) -> bool:
    if code not in ("exploding-forward", "exploding-gradient"):
        return False
    case.model.normalize = True
    return True


gcn_raw_adjacency = mended(gcn_raw_adjacency, _normalize_adjacency)


# ---------------------------------------------------------------- sets and point clouds


def _sets(n: int = 1024, size: int = 10) -> data.Pair:
    x = torch.randn(n, size, 4, generator=_generator(13))
    y = (x[:, :, 0] * x[:, :, 1]).mean(1) + 0.5 * torch.sin(2 * x[:, :, 2]).mean(1)
    return x, _standard(y)[:, None]


class DeepSet(nn.Module):
    def __init__(self, phi: Any, width: int = 48) -> None:
        super().__init__()
        self.phi = phi
        self.rho = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.phi:
            x = F.silu(layer(x))
        return self.rho(x.mean(1) * math.sqrt(x.shape[1]))


@healthy
def deep_sets() -> Case:
    phi = nn.ModuleList([nn.Linear(4, 48), nn.Linear(48, 48)])
    return Case(DeepSet(phi), *_sets(), F.mse_loss, r2, 0.95, adam(5e-3), 400)


@fault("unregistered-layer not-in-optimizer", twin=deep_sets)
def deep_sets_phi_in_a_list() -> Case:
    phi = [nn.Linear(4, 48), nn.Linear(48, 48)]
    return Case(DeepSet(phi), *_sets(), F.mse_loss, r2, 0.95, adam(5e-3), 400)


def _register_phi(case: Case, code: str) -> bool:
    if code not in ("unregistered-layer", "not-in-optimizer"):
        return False
    phi = case.model.phi
    if isinstance(phi, list):
        del case.model.phi
        case.model.phi = nn.ModuleList(phi)
    return True


deep_sets_phi_in_a_list = mended(deep_sets_phi_in_a_list, _register_phi)


def _clouds(n: int = 768, points: int = 24) -> data.Pair:
    """Points on a ball's, a cube's and a cylinder's surface, noisy: (n, 3, points)."""
    g = _generator(14)
    y = torch.randint(3, (n,), generator=g)
    z = torch.randn(n, points, 3, generator=g)
    ball = z / z.norm(dim=2, keepdim=True)
    cube = ball / ball.abs().amax(2, keepdim=True)
    flat = ball[:, :, :2] / ball[:, :, :2].norm(dim=2, keepdim=True)
    cylinder = torch.cat([flat, 2 * torch.rand(n, points, 1, generator=g) - 1], 2)
    x = torch.stack([ball, cube, cylinder], 1)[torch.arange(n), y]
    x = x + 0.02 * torch.randn(x.shape, generator=g)
    return x.transpose(1, 2).contiguous(), y


class PointBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(width, width, 1, bias=False), nn.BatchNorm1d(width)
        self.conv2, self.bn2 = nn.Conv1d(width, width, 1, bias=False), nn.BatchNorm1d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class PointNet(nn.Module):
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.stem, self.stem_bn = nn.Conv1d(3, width, 1, bias=False), nn.BatchNorm1d(width)
        self.blocks = nn.Sequential(PointBlock(width), PointBlock(width))
        self.fc, self.fc_bn, self.out = nn.Linear(width, 32), nn.BatchNorm1d(32), nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu(self.stem_bn(self.stem(x)))).amax(2)
        return self.out(F.relu(self.fc_bn(self.fc(x))))


@healthy
def pointnet_zero_gamma() -> Case:
    model = PointNet()
    for block in model.blocks:
        nn.init.zeros_(block.bn2.weight)
    return Case(model, *_clouds(), F.cross_entropy, trains=0.85, optimizer=adam(3e-3), steps=200)


@fault(
    "zero-norm-scale vanishing-forward no-gradient rank-collapse dead-units",
    "stem_bn stem_bn.weight fc_bn fc_bn.weight blocks.*.bn1 blocks.*.bn1.weight",
    twin=pointnet_zero_gamma,
)
def pointnet_zero_gamma_in_every_norm() -> Case:
    model = PointNet()
    for module in model.modules():  # meant for the last norm of a block only
        if isinstance(module, nn.BatchNorm1d):
            nn.init.zeros_(module.weight)
    return Case(model, *_clouds(), F.cross_entropy, trains=0.85, optimizer=adam(3e-3), steps=200)


def _zero_gamma_right(case: Case, code: str) -> bool:
    if code not in ("zero-norm-scale", "vanishing-forward", "no-gradient", "rank-collapse", "dead-units"):
        return False
    for name, module in case.model.named_modules():
        if isinstance(module, nn.BatchNorm1d) and not name.endswith("bn2"):
            nn.init.ones_(module.weight)
    return True


pointnet_zero_gamma_in_every_norm = mended(pointnet_zero_gamma_in_every_norm, _zero_gamma_right)


# ---------------------------------------------------------------- coordinates


class FourierField(nn.Module):
    """Random Fourier features of coordinates, fixed; then a small ReLU network."""

    frequencies: torch.Tensor

    def __init__(self, sigma: float = 4.0) -> None:
        super().__init__()
        self.register_buffer("frequencies", sigma * torch.randn(1, 32))
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        phase = 2 * math.pi * x @ self.frequencies / 2
        return self.net(torch.cat([phase.sin(), phase.cos()], 1))


@healthy
def fourier_features_wave() -> Case:
    return Case(FourierField(), *data.waves(), F.mse_loss, r2, 0.9, adam(3e-3), 300)


class RadianceRay(nn.Module):
    """A ray of 12 points through a density and a colour, rendered by volume: density's softplus starts near nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(2 + 2 * 2 * 4, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.density, self.colour = nn.Linear(48, 1), nn.Linear(48, 3)

    def forward(self, rays: torch.Tensor) -> torch.Tensor:
        start, way = rays[:, None, :2], rays[:, None, 2:]
        t = torch.linspace(0, 2, 12)[None, :, None]
        p = start + t * way
        waves = torch.cat([f(2.0**k * p) for k in range(4) for f in (torch.sin, torch.cos)], 2)
        h = self.trunk(torch.cat([p, waves], 2))
        alpha = 1 - torch.exp(-F.softplus(self.density(h) - 1) * (2 / 11))
        through = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], 1), 1)[:, :-1]
        return (through * alpha * torch.sigmoid(self.colour(h))).sum(1)


@healthy
def nerf_in_the_plane() -> Case:
    g = _generator(15)
    angle = 2 * math.pi * torch.rand(768, generator=g)
    offset = 1.2 * torch.rand(768, generator=g) - 0.6
    way = torch.stack([angle.cos(), angle.sin()], 1)
    start = -way + offset[:, None] * torch.stack([-way[:, 1], way[:, 0]], 1)
    t = torch.linspace(0, 2, 64)[None, :, None]
    p = start[:, None] + t * way[:, None]
    sigma = 8 * torch.sigmoid(20 * (0.45 - p.norm(dim=2, keepdim=True)))
    colour = torch.sigmoid(torch.cat([4 * p[:, :, :1], 4 * p[:, :, 1:], -4 * p[:, :, :1]], 2))
    alpha = 1 - torch.exp(-sigma * (2 / 63))
    through = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha], 1), 1)[:, :-1]
    rgb = (through * alpha * colour).sum(1)
    return Case(RadianceRay(), torch.cat([start, way], 1), rgb, F.mse_loss, r2, 0.85, adam(5e-3), 300)


# ---------------------------------------------------------------- densities


class Coupling(nn.Module):
    def __init__(self, flip: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.flip = flip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = x.flip(1).chunk(2, 1) if self.flip else x.chunk(2, 1)
        s, t = self.net(a).chunk(2, 1)
        s = 2 * torch.tanh(s / 2)
        b = b * torch.exp(s) + t
        return torch.cat([b, a] if self.flip else [a, b], 1), s


class RealNvp(nn.Module):
    """Gives the log-density of each sample."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(i % 2 == 1) for i in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        volume = torch.zeros_like(x[:, :1])
        for coupling in self.couplings:
            x, s = coupling(x)
            volume = volume + s
        return volume - 0.5 * x.square().sum(1, keepdim=True) - math.log(2 * math.pi)


def _moons(n: int = 1024) -> data.Pair:
    g = _generator(16)
    angle = math.pi * torch.rand(n, generator=g)
    lower = torch.rand(n, generator=g) < 0.5
    x = torch.stack([angle.cos(), angle.sin()], 1)
    x = torch.where(lower[:, None], torch.tensor([1.0, 0.5]) - x, x) + 0.08 * torch.randn(n, 2, generator=g)
    return _standard(x), torch.zeros(n, 1)


def _mean(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float(outputs.mean())


@healthy
def realnvp_moons() -> Case:
    return Case(RealNvp(), *_moons(), _minus, _mean, -2.2, adam(5e-3), 300, 128)


def _inverse_sine(n: int = 1024) -> data.Pair:
    g = _generator(17)
    y = 2 * torch.rand(n, 1, generator=g) - 1
    x = y + 0.6 * torch.sin(2 * math.pi * y) + 0.06 * torch.randn(n, 1, generator=g)
    return _standard(x), _standard(y)


class MixtureDensity(nn.Module):
    def __init__(self, parts: int = 5) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        self.weights, self.means, self.scales = (nn.Linear(32, parts) for _ in range(3))
        with torch.no_grad():
            self.means.bias.copy_(torch.linspace(-1.5, 1.5, parts))  # the parts start over all of the range

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        return torch.cat([self.weights(h).log_softmax(1), self.means(h), self.scales(h).clamp(-4, 3)], 1)


def _mixture_log_likelihood(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    weights, means, scales = outputs.chunk(3, 1)
    part = -0.5 * ((targets - means) * torch.exp(-scales)).square() - scales - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(weights + part, 1).mean()


def _mixture_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -_mixture_log_likelihood(outputs, targets)


def _mixture_score(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float(_mixture_log_likelihood(outputs, targets))


@healthy
def mixture_density_inverse() -> Case:
    return Case(MixtureDensity(), *_inverse_sine(), _mixture_loss, _mixture_score, -0.7, adam(5e-3), 400)


@fault("flipped-loss", twin=mixture_density_inverse)
def mixture_density_likelihood_minimized() -> Case:
    return Case(MixtureDensity(), *_inverse_sine(), _mixture_log_likelihood, _mixture_score, -0.7, adam(5e-3), 400)


def _negate_likelihood(case: Case, code: str) -> bool:
    if code != "flipped-loss":
        return False
    case.loss_fn = _mixture_loss
    return True


mixture_density_likelihood_minimized = mended(mixture_density_likelihood_minimized, _negate_likelihood)


# ---------------------------------------------------------------- Bayesian, hypernetwork, equilibrium


class BayesLinear(nn.Module):
    """Mean-field Gaussian weights, by local reparametrization."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.randn(b, a) / math.sqrt(a))
        self.rho = nn.Parameter(torch.full((b, a), -5.0))
        self.bias = nn.Parameter(torch.zeros(b))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = F.linear(x, self.mu, self.bias)
        if not self.training:
            return mean
        std = (F.linear(x.square(), F.softplus(self.rho).square()) + 1e-8).sqrt()
        return mean + std * torch.randn_like(mean)

    def kl(self) -> torch.Tensor:
        sigma = F.softplus(self.rho)
        return (0.5 * (sigma.square() + self.mu.square() - 1) - sigma.log()).sum()


class BayesNet(nn.Module):
    """Gives the prediction and, in a second column, the divergence from the prior for each sample of the data."""

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([BayesLinear(4, 32), BayesLinear(32, 32), BayesLinear(32, 1)])
        self.samples = samples

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        x = self.layers[-1](x)
        kl = torch.stack([layer.kl() for layer in self.layers]).sum() / self.samples
        return torch.cat([x, kl.expand_as(x)], 1)


def _elbo(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 0.5 * (outputs[:, :1] - targets).square().mean() / 0.2 + outputs[:, 1].mean()


@healthy
def bayesian_net() -> Case:
    x, y = data.smooth()
    return Case(BayesNet(len(x)), x, y, _elbo, lambda out, y: r2(out[:, :1], y), 0.7, adam(5e-3), 400)


class HyperNet(nn.Module):
    """A context makes the weights of a small network; how labels are turned hangs on the context."""

    def __init__(self, fill: str) -> None:
        super().__init__()
        self.context = nn.Linear(4, 8)
        self.sizes = [(32, 16), (32,), (10, 32), (10,)]
        self.makers = nn.ModuleList(nn.Linear(8, math.prod(size)) for size in self.sizes)
        nn.init.normal_(self.context.weight, std=1.0)
        for maker, size in zip(self.makers, self.sizes, strict=True):
            nn.init.zeros_(maker.bias)
            if fill == "made" and len(size) == 2:  # by the fan of the weights that it makes
                gain = 2.0 if size[0] == 32 else 1.0
                nn.init.normal_(maker.weight, std=math.sqrt(gain / (8 * size[1])))
            elif fill == "made":
                nn.init.zeros_(maker.weight)
            else:
                nn.init.kaiming_normal_(maker.weight)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        e, x = self.context(packed[:, :4]), packed[:, 4:]
        w1, b1, w2, b2 = (maker(e).view(-1, *size) for maker, size in zip(self.makers, self.sizes, strict=True))
        h = F.relu(torch.einsum("noi,ni->no", w1, x) + b1)
        return torch.einsum("noi,ni->no", w2, h) + b2


def _turned_digits() -> data.Pair:
    x, y = data.pictures()
    small = F.avg_pool2d(x, 2).flatten(1)
    which = torch.randint(4, (len(y),), generator=_generator(18))
    return torch.cat([F.one_hot(which, 4).float(), small / small.std()], 1), (y + which) % 10


@healthy
def hypernetwork() -> Case:
    return Case(HyperNet("made"), *_turned_digits(), F.cross_entropy, trains=0.8, optimizer=sgd(0.05), steps=300)


@fault("wrong-fan exploding-forward large-head exploding-gradient", "makers.* context*", twin=hypernetwork)
def hypernetwork_by_its_own_fan() -> Case:
    return Case(HyperNet("own"), *_turned_digits(), F.cross_entropy, trains=0.8, optimizer=sgd(0.05), steps=300)


class Equilibrium(nn.Module):
    """z = tanh(Wz + Ux + b): the fixed point without a graph, then one step with one (Jacobian-free)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.inject, self.mix, self.out = (
            nn.Linear(64, width),
            nn.Linear(width, width, bias=False),
            nn.Linear(width, 10),
        )
        nn.init.orthogonal_(self.mix.weight, gain=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = self.inject(x)
        with torch.no_grad():
            z = torch.zeros_like(u)
            for _ in range(15):
                z = torch.tanh(self.mix(z) + u)
        return self.out(torch.tanh(self.mix(z) + u))


@healthy
def equilibrium_jacobian_free() -> Case:
    return Case(Equilibrium(), *data.digits(), F.cross_entropy, trains=0.9, optimizer=sgd(0.05), steps=300)


# ---------------------------------------------------------------- other bases and units


class KanLayer(nn.Module):
    """Each edge a function: Gaussian bumps on a grid, and with ``base`` a SiLU beside them."""

    grid: torch.Tensor

    def __init__(self, a: int, b: int, *, base: bool = True, noise: float = 0.1, bumps: int = 8) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, bumps))
        self.coef = nn.Parameter(noise * torch.randn(b, a, bumps) / math.sqrt(a))
        self.base = nn.Parameter(nn.init.xavier_uniform_(torch.empty(b, a))) if base else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bumps = torch.exp(-((x[:, :, None] - self.grid) * 1.75).square())
        y = torch.einsum("nag,bag->nb", bumps, self.coef)
        return y if self.base is None else y + F.linear(F.silu(x), self.base)


@healthy
def kan() -> Case:
    model = nn.Sequential(KanLayer(4, 16), KanLayer(16, 16), KanLayer(16, 1))
    return Case(model, *data.smooth(), F.mse_loss, r2, 0.85, adam(5e-3), 300)


@fault("vanishing-forward vanishing-gradient rank-collapse wrong-gain", "0 1 2 3 *.coef", twin=kan)
def kan_of_noise_without_base() -> Case:
    sizes = [(4, 16), (16, 16), (16, 16), (16, 1)]
    model = nn.Sequential(*(KanLayer(a, b, base=False, noise=1e-3) for a, b in sizes))
    return Case(model, *data.smooth(), F.mse_loss, r2, 0.85, sgd(0.05), 300)


class Bumps(nn.Module):
    """Gaussian bumps at given centres."""

    def __init__(self, centres: torch.Tensor, gamma: float) -> None:
        super().__init__()
        self.centres = nn.Parameter(centres.clone())
        self.log_gamma = nn.Parameter(torch.full((len(centres),), math.log(gamma)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        far = x.square().sum(1, keepdim=True) + self.centres.square().sum(1) - 2 * x @ self.centres.T
        return torch.exp(-self.log_gamma.exp() * far.clamp_min(0))


class RbfNet(nn.Module):
    def __init__(self, centres: torch.Tensor, gamma: float) -> None:
        super().__init__()
        self.rbf = Bumps(centres, gamma)
        self.head = nn.Linear(len(centres), 10)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rbf(x))


@healthy
def rbf_centres_from_data() -> Case:
    x, y = data.digits()
    spread = float(torch.pdist(x[300:380]).square().median())
    return Case(RbfNet(x[300:380], 1 / spread), x, y, F.cross_entropy, trains=0.85, optimizer=sgd(0.2), steps=300)


@fault(
    "dead-units vanishing-forward saturation rank-collapse vanishing-gradient", "rbf rbf.*", twin=rbf_centres_from_data
)
def rbf_gamma_of_two_dimensions() -> Case:
    x, y = data.digits()
    model = RbfNet(x[300:380], 1.0)  # gamma = 1 was right for points of the plane
    return Case(model, x, y, F.cross_entropy, trains=0.85, optimizer=sgd(0.2), steps=300)


def _widen(case: Case, code: str) -> bool:
    if code not in ("dead-units", "vanishing-forward", "saturation", "rank-collapse", "vanishing-gradient"):
        return False
    with torch.no_grad():
        case.model.rbf.log_gamma.fill_(-math.log(float(torch.pdist(case.inputs[300:380]).square().median())))
    return True


rbf_gamma_of_two_dimensions = mended(rbf_gamma_of_two_dimensions, _widen)


class Maxout(nn.Module):
    def __init__(self, a: int, b: int, pieces: int = 3) -> None:
        super().__init__()
        self.linear, self.pieces = nn.Linear(a, b * pieces), pieces

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).unflatten(1, (self.pieces, -1)).amax(1)


@healthy
def maxout_regression() -> Case:
    model = nn.Sequential(Maxout(4, 32), Maxout(32, 32), nn.Linear(32, 1))
    return Case(model, *data.smooth(), F.mse_loss, r2, 0.85, adam(5e-3), 300)


@fault("symmetric-units duplicated-draws", "0* 1*", twin=maxout_regression)
def maxout_of_one_piece_repeated() -> Case:
    model = nn.Sequential(Maxout(4, 32), Maxout(32, 32), nn.Linear(32, 1))
    for layer in model[:2]:  # a port of a checkpoint format that holds one piece
        with torch.no_grad():
            layer.linear.weight.copy_(layer.linear.weight[:32].repeat(3, 1))
            layer.linear.bias.copy_(layer.linear.bias[:32].repeat(3))
    return Case(model, *data.smooth(), F.mse_loss, r2, 0.85, adam(5e-3), 300)


class Highway(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.change, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = torch.sigmoid(self.gate(x))
        return t * F.relu(self.change(x)) + (1 - t) * x


def _highway() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), *(Highway(32) for _ in range(10)), nn.Linear(32, 10))


@healthy
def highway_ten() -> Case:
    return Case(_highway(), *data.digits(), F.cross_entropy, trains=0.9, optimizer=sgd(0.05), steps=250)


@healthy
def selu_alpha_dropout() -> Case:
    layers: list[nn.Module] = []
    for _ in range(8):
        linear = nn.Linear(64, 64)
        nn.init.normal_(linear.weight, std=1 / 8)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.SELU(), nn.AlphaDropout(0.05)]
    return Case(
        nn.Sequential(*layers, nn.Linear(64, 10)), *data.digits(), F.cross_entropy, trains=0.9, optimizer=sgd(0.01)
    )


# ---------------------------------------------------------------- metrics and tables


def _hinge(near: torch.Tensor, far: torch.Tensor) -> torch.Tensor:
    return F.relu(near[:, :, None] - far[:, None, :] + 0.3)


def _triplet(distance: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """All triplets of a batch; masks by product."""

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        d = distance(outputs)
        same = (targets[:, None] == targets[None, :]).float()
        positive = same - torch.eye(len(same))
        violation = _hinge(d, d) * positive[:, :, None] * (1 - same)[:, None, :]
        return violation.sum() / (violation > 0).sum().clamp_min(1)

    return loss


def _squared(e: torch.Tensor) -> torch.Tensor:
    return (e[:, None] - e[None]).square().sum(2)


_triplet_safe = _triplet(lambda e: _squared(e).clamp_min(1e-8).sqrt())
_triplet_raw = _triplet(lambda e: _squared(e).sqrt())


def _by_centroid(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    centroids = torch.stack([outputs[:500][targets[:500] == k].mean(0) for k in range(10)])
    return float((torch.cdist(outputs[500:], centroids).argmin(1) == targets[500:]).float().mean())


class Embedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.net(x), dim=1)


@healthy
def triplet_embedding() -> Case:
    return Case(Embedder(), *data.digits(), _triplet_safe, _by_centroid, 0.9, adam(3e-3), 250, 40)


@fault("non-finite-gradients non-finite-values", twin=triplet_embedding)
def triplet_root_of_zero() -> Case:
    return Case(Embedder(), *data.digits(), _triplet_raw, _by_centroid, 0.9, adam(3e-3), 250, 40)


def _clamp_root(case: Case, code: str) -> bool:
    if code not in ("non-finite-gradients", "non-finite-values"):
        return False
    case.loss_fn = _triplet_safe
    return True


triplet_root_of_zero = mended(triplet_root_of_zero, _clamp_root)


def _ratings(n: int = 2048, users: int = 60, items: int = 40) -> data.Pair:
    g = _generator(19)
    p, q = torch.randn(users, 3, generator=g), torch.randn(items, 3, generator=g)
    ids = torch.stack([torch.randint(users, (n,), generator=g), torch.randint(items, (n,), generator=g)], 1)
    stars = 3.5 + 0.6 * (p[ids[:, 0]] * q[ids[:, 1]]).sum(1) + 0.2 * torch.randn(n, generator=g)
    return ids, stars.clamp(1, 5)[:, None]


class Factorization(nn.Module):
    def __init__(self, mean: float, std: float | None, width: int = 64) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(60, width), nn.Embedding(40, width)
        self.user_bias, self.item_bias = nn.Embedding(60, 1), nn.Embedding(40, 1)
        self.mean = nn.Parameter(torch.tensor(mean))
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)
        if std is not None:
            for table in (self.user, self.item):
                nn.init.normal_(table.weight, std=std)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        u, i = ids.unbind(1)
        return (self.user(u) * self.item(i)).sum(1, keepdim=True) + self.user_bias(u) + self.item_bias(i) + self.mean


@healthy
def factorization_of_ratings() -> Case:
    x, y = _ratings()
    return Case(Factorization(float(y.mean()), 0.1), x, y, F.mse_loss, r2, 0.7, adam(1e-2), 300, 128)


@fault("large-head exploding-forward", "user user.weight item item.weight", twin=factorization_of_ratings)
def factorization_of_unit_tables() -> Case:
    x, y = _ratings()
    return Case(Factorization(float(y.mean()), None), x, y, F.mse_loss, r2, 0.7, adam(1e-2), 300, 128)


# ---------------------------------------------------------------- unusual losses


def _hazard(n: int = 1024) -> data.Pair:
    """Survival: time and whether the event was seen."""
    g = _generator(20)
    x = torch.randn(n, 6, generator=g)
    risk = 1.2 * x[:, 0] + x[:, 1] * x[:, 2] - 0.8 * x[:, 3].abs()
    time = -torch.log(torch.rand(n, generator=g).clamp_min(1e-6)) * torch.exp(-risk)
    censor = -torch.log(torch.rand(n, generator=g).clamp_min(1e-6)) * 3
    return x, torch.stack([torch.minimum(time, censor), (time <= censor).float()], 1)


def _cox(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    order = targets[:, 0].argsort(descending=True)
    risk, seen = outputs[order, 0], targets[order, 1]
    return -((risk - torch.logcumsumexp(risk, 0)) * seen).sum() / seen.sum().clamp_min(1)


def _concordance(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    time, seen = targets.unbind(1)
    pairs = (time[:, None] < time[None]) & (seen[:, None] > 0)
    return float((outputs[:, 0][:, None] > outputs[:, 0][None])[pairs].float().mean())


def _cox_net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 32), nn.ELU(), nn.Linear(32, 32), nn.ELU(), nn.Linear(32, 1, bias=False))


@healthy
def cox_survival() -> Case:
    return Case(_cox_net(), *_hazard(), _cox, _concordance, 0.76, sgd(0.05), 300)


LEVELS = torch.tensor([0.1, 0.5, 0.9])


def _pinball(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    off = targets - outputs
    return torch.maximum(LEVELS * off, (LEVELS - 1) * off).mean()


def _costs() -> data.Pair:
    """Returns of an agent that pays for each step: all below zero."""
    x, y = data.smooth()
    noise = torch.randn(y.shape, generator=_generator(21))
    return x, -F.softplus(1.5 + y + 0.15 * noise)


def _quantile_critic(*last: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 3), *last)


@healthy
def quantile_critic() -> Case:
    return Case(_quantile_critic(), *_costs(), _pinball, lambda out, y: r2(out[:, 1:2], y), 0.75, adam(5e-3), 300)


@fault("unreachable-targets", twin=quantile_critic)
def quantile_critic_softplus_of_costs() -> Case:
    return Case(
        _quantile_critic(nn.Softplus()), *_costs(), _pinball, lambda out, y: r2(out[:, 1:2], y), 0.75, adam(5e-3), 300
    )


def _drop_softplus(case: Case, code: str) -> bool:
    if code != "unreachable-targets":
        return False
    case.model = case.model[:-1]
    return True


quantile_critic_softplus_of_costs = mended(quantile_critic_softplus_of_costs, _drop_softplus)


@healthy
def poisson_counts() -> Case:
    x, y = data.smooth()
    counts = torch.poisson(torch.exp(1.0 + 0.6 * y), generator=_generator(22))
    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    nn.init.zeros_(model[-1].weight)
    nn.init.constant_(model[-1].bias, math.log(float(counts.mean())))
    return Case(
        model, x, counts, F.poisson_nll_loss, lambda out, y: r2(out.exp(), y), 0.55, adam(5e-3), 300
    )  # fmt: skip


# ---------------------------------------------------------------- units of measurement


def _pipe(n: int = 1024) -> data.Pair:
    """Flow through a pipe in SI units: radius, length, pressure, viscosity; the logarithm of the flow, standardized."""
    g = _generator(23)
    u = torch.rand(n, 4, generator=g)
    radius, length = 1e-3 * (1 + 4 * u[:, 0]), 1 + 9 * u[:, 1]
    pressure, viscosity = 1e5 * (1 + 9 * u[:, 2]), 1e-3 * (0.5 + 2 * u[:, 3])
    flow = pressure * radius**4 / (viscosity * length)
    return torch.stack([radius, length, pressure, viscosity], 1), _standard(flow.log())[:, None]


class PipeNet(nn.Module):
    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, centre: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)
        self.net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net((x - self.centre) / self.scale)


@healthy
def pipe_flow_in_si_units() -> Case:
    x, y = _pipe()
    return Case(PipeNet(x.mean(0), x.std(0)), x, y, F.mse_loss, r2, 0.9, adam(5e-3), 300)


@fault("unnormalized-inputs saturation", twin=pipe_flow_in_si_units)
def pipe_flow_statistics_never_loaded() -> Case:
    x, y = _pipe()
    return Case(PipeNet(torch.zeros(4), torch.ones(4)), x, y, F.mse_loss, r2, 0.9, adam(5e-3), 300)


def _load_statistics(case: Case, code: str) -> bool:
    if code not in ("unnormalized-inputs", "saturation"):
        return False
    case.model.centre.copy_(case.inputs.mean(0))
    case.model.scale.copy_(case.inputs.std(0))
    return True


pipe_flow_statistics_never_loaded = mended(pipe_flow_statistics_never_loaded, _load_statistics)


# ---------------------------------------------------------------- reinforcement learning on fixed batches


def _bandit(n: int = 1024) -> data.Pair:
    """States; the action taken, its advantage, the return, and the best action."""
    g = _generator(24)
    x = torch.randn(n, 6, generator=g)
    value = x @ torch.randn(6, 4, generator=g) / 2
    action = torch.randint(4, (n,), generator=g)
    taken = value.gather(1, action[:, None])[:, 0]
    advantage = _standard(taken - value.mean(1))
    return x, torch.stack([action.float(), advantage, _standard(taken), value.argmax(1).float()], 1)


class ActorCritic(nn.Module):
    """Two towers as PPO starts them: orthogonal √2, policy's last layer 0.01, value's 1."""

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = (
            nn.Sequential(nn.Linear(6, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, out))
            for out in (4, 1)
        )
        for tower, last in ((self.actor, 0.01), (self.critic, 1.0)):
            for layer in tower[::2]:
                nn.init.orthogonal_(layer.weight, gain=last if layer is tower[-1] else math.sqrt(2))
                nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.actor(x), self.critic(x)], 1)


def _ppo(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The clipped surrogate against the uniform policy that gathered the batch."""
    logp = outputs[:, :4].log_softmax(1)
    ratio = (logp.gather(1, targets[:, :1].long())[:, 0] - math.log(1 / 4)).exp()
    advantage = targets[:, 1]
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.2, 1.8) * advantage).mean()
    entropy = -(logp.exp() * logp).sum(1).mean()
    return -surrogate + 0.5 * (outputs[:, 4] - targets[:, 2]).square().mean() - 0.01 * entropy


@healthy
def ppo_actor_critic() -> Case:
    return Case(
        ActorCritic(), *_bandit(), _ppo, lambda out, y: accuracy(out[:, :4], y[:, 3].long()), 0.75, adam(3e-3), 200
    )


class Dueling(nn.Module):
    """Q values of a dueling net, and beside them those of a frozen copy for the next state."""

    def __init__(self) -> None:
        super().__init__()
        self.online = self.tower()
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.calls = 0

    @staticmethod
    def tower() -> nn.ModuleDict:
        return nn.ModuleDict({
            "body": nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU()),
            "value": nn.Linear(48, 1), "advantage": nn.Linear(48, 4),
        })  # fmt: skip

    @staticmethod
    def q(tower: nn.ModuleDict, x: torch.Tensor) -> torch.Tensor:
        h = tower["body"](x)
        a = tower["advantage"](h)
        return tower["value"](h) + a - a.mean(1, keepdim=True)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += 1
            if self.calls % 25 == 0:
                self.target.load_state_dict(self.online.state_dict())
        with torch.no_grad():
            following = self.q(self.target, packed[:, 6:])
        return torch.cat([self.q(self.online, packed[:, :6]), following], 1)


def _transitions(n: int = 1024) -> data.Pair:
    """State and next state; action, reward, and the true best action (the next state is independent of the action)."""
    g = _generator(25)
    x, after = torch.randn(n, 6, generator=g), torch.randn(n, 6, generator=g)
    worth = torch.tanh(x @ torch.randn(6, 4, generator=g) / 2)
    action = torch.randint(4, (n,), generator=g)
    reward = worth.gather(1, action[:, None])[:, 0]
    return torch.cat([x, after], 1), torch.stack([action.float(), reward, worth.argmax(1).float()], 1)


def _td(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    online, following = outputs[:, :4], outputs[:, 4:].detach()
    aim = targets[:, 1] + 0.6 * following.amax(1)
    return F.smooth_l1_loss(online.gather(1, targets[:, :1].long())[:, 0], aim)


@healthy
def dueling_with_target_network() -> Case:
    return Case(
        Dueling(), *_transitions(), _td, lambda out, y: accuracy(out[:, :4], y[:, 2].long()), 0.75, adam(3e-3), 300
    )


class TwinCritics(nn.Module):
    """Two critics of state and action, of which the smaller is believed."""

    def __init__(self) -> None:
        super().__init__()
        self.q1, self.q2 = (
            nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1)) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.q1(x), self.q2(x)], 1)


def _both(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().mean()


def _smaller(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return r2(outputs.amin(1, keepdim=True), targets)


@healthy
def twin_critics() -> Case:
    return Case(TwinCritics(), *data.smooth(), _both, _smaller, 0.85, adam(5e-3), 300)


@fault("duplicated-draws symmetric-units", "q1* q2*", twin=twin_critics)
def twin_critics_copied() -> Case:
    model = TwinCritics()
    model.q2 = copy.deepcopy(model.q1)  # meant for the target network
    return Case(model, *data.smooth(), _both, _smaller, 0.85, adam(5e-3), 300)


class Distillation(nn.Module):
    """Random network distillation: a fixed random target and a predictor of it; the error is the bonus of novelty."""

    def __init__(self) -> None:
        super().__init__()
        self.target = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))
        self.predictor = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 8))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, gain=math.sqrt(2))
                nn.init.zeros_(module.bias)
        self.target.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.predictor(x) - self.target(x).detach()


@healthy
def random_network_distillation() -> Case:
    """Scored by 1 - (error) / (2, what two independent random nets differ by at this scale or more)."""
    x = torch.randn(1024, 8, generator=_generator(26))
    return Case(
        Distillation(), x, torch.zeros(1024, 8), lambda out, y: out.square().mean(),
        lambda out, y: 1 - float(out.square().mean()) / 2, 0.9, adam(3e-3), 250,
    )  # fmt: skip


# ---------------------------------------------------------------- teachers, codebooks, several tasks


class MeanTeacher(nn.Module):
    """A student and the moving average of it; both see their own noise."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = 0.3 if self.training else 0.0
        if self.training:
            with torch.no_grad():
                for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                    slow.lerp_(fast, 0.05)
        with torch.no_grad():
            aim = self.teacher(x + noise * torch.randn_like(x))
        return torch.cat([self.student(x + noise * torch.randn_like(x)), aim], 1)


def _consistency(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """A fifth of the batch is labelled."""
    student, teacher = outputs.chunk(2, 1)
    labelled = torch.arange(len(targets)) < len(targets) // 5
    return (
        F.cross_entropy(student[labelled], targets[labelled])
        + (student.softmax(1) - teacher.softmax(1)).square().mean()
    )


@healthy
def mean_teacher() -> Case:
    return Case(
        MeanTeacher(), *data.digits(), _consistency, lambda out, y: accuracy(out[:, 10:], y), 0.85, sgd(0.05), 300
    )


class Quantizer(nn.Module):
    """An autoencoder through a codebook: straight-through, with stopped gradients in the outputs' last columns."""

    def __init__(self, codes: int = 32, width: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 4 * width))
        self.decoder = nn.Sequential(nn.Linear(4 * width, 48), nn.ReLU(), nn.Linear(48, 64))
        self.codebook = nn.Embedding(codes, width)
        nn.init.normal_(self.codebook.weight, std=0.3)
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encoder(x).view(-1, self.width)
        near = torch.cdist(z.detach(), self.codebook.weight.detach()).argmin(1)
        e = self.codebook(near)
        through = z + (e - z).detach()
        cost = (e - z.detach()).square().mean(1) + 0.25 * (z - e.detach()).square().mean(1)
        return torch.cat([self.decoder(through.view(len(x), -1)), cost.view(len(x), 4)], 1)


@healthy
def vector_quantized_autoencoder() -> Case:
    x, _ = data.digits()
    return Case(
        Quantizer(), x, x.clone(), lambda out, y: F.mse_loss(out[:, :64], y) + out[:, 64:].mean(),
        lambda out, y: r2(out[:, :64], y), 0.5, adam(3e-3), 350,
    )  # fmt: skip


class Tasks(nn.Module):
    """A class, a count and a magnitude from one trunk; losses weighed by variances, given in the last columns."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(64, 48)), nn.ReLU(),
            nn.utils.parametrizations.weight_norm(nn.Linear(48, 48)), nn.ReLU(),
        )  # fmt: skip
        self.kind, self.parity, self.ink = nn.Linear(48, 10), nn.Linear(48, 1), nn.Linear(48, 1)
        self.log_variance = nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.trunk(x)
        return torch.cat([self.kind(h), self.parity(h), self.ink(h), self.log_variance.expand(len(x), 3)], 1)


def _task_data() -> data.Pair:
    x, y = data.digits()
    return x, torch.stack([y.float(), (y % 2).float(), _standard(x.mean(1))], 1)


def _task_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    losses = torch.stack([
        F.cross_entropy(outputs[:, :10], targets[:, 0].long()),
        F.binary_cross_entropy_with_logits(outputs[:, 10], targets[:, 1]),
        0.5 * F.mse_loss(outputs[:, 11], targets[:, 2]),
    ])  # fmt: skip
    s = outputs[:, 12:].mean(0)
    return (torch.exp(-s) * losses + 0.5 * s).sum()


def _task_score(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    kind = accuracy(outputs[:, :10], targets[:, 0].long())
    parity = float(((outputs[:, 10] > 0) == (targets[:, 1] > 0.5)).float().mean())
    return min(kind, parity, r2(outputs[:, 11:12], targets[:, 2:]))


@healthy
def tasks_weighed_by_uncertainty() -> Case:
    return Case(Tasks(), *_task_data(), _task_loss, _task_score, 0.8, adam(3e-3), 300)


@healthy
def spectral_normed_critic() -> Case:
    sn = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(
        sn(nn.Linear(64, 64)), nn.LeakyReLU(0.2), sn(nn.Linear(64, 64)), nn.LeakyReLU(0.2), sn(nn.Linear(64, 1))
    )
    x, _ = data.digits()
    shuffled = x[:, torch.randperm(64, generator=_generator(27))]
    real = torch.rand(len(x), generator=_generator(28)) < 0.5
    inputs = torch.where(real[:, None], x, shuffled)
    sign = 2.0 * real.float()[:, None] - 1

    def hinge(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.relu(1 - y * out).mean()

    return Case(
        model, inputs, sign, hinge, lambda out, y: float((out * y > 0).float().mean()), 0.9, adam(2e-3), 250
    )  # fmt: skip


# ---------------------------------------------------------------- faults of training


def _right(optimizer: Callable[[nn.Module], torch.optim.Optimizer], *codes: str) -> Callable[[Case, str], bool]:
    def mend(case: Case, code: str) -> bool:
        if code not in codes:
            return False
        case.optimizer = optimizer
        return True

    return mend


class WarmSgd(torch.optim.SGD):
    """Warms up over so many steps."""

    def __init__(self, params: Any, lr: float, warmup: int) -> None:
        super().__init__(params, lr, 0.9)
        self.peak, self.warmup, self.count = lr, warmup, 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        for group in self.param_groups:
            group["lr"] = self.peak * min(1.0, self.count / self.warmup)
        return super().step(closure)


LOW = ("update-too-small", "learning-rate-too-low", "loss-stuck")
HIGH = (
    "learning-rate-too-high", "update-too-large", "loss-diverged", "loss-rising", "loss-oscillating", "gradient-spike",
    "exploded-gradients", "non-finite-values", "non-finite-gradients", "loss-stuck", "dying-units",
)  # fmt: skip


@fault(" ".join(LOW) + " trivial-plateau", when="training", twin=highway_ten)
def highway_warmup_in_samples() -> Case:
    """The warmup of 20 epochs was counted in samples, not steps: 2 000 000 of them."""
    return Case(
        _highway(), *data.digits(), F.cross_entropy, trains=0.9, steps=250,
        optimizer=lambda model: WarmSgd(model.parameters(), 0.05, 2_000_000),
    )  # fmt: skip


highway_warmup_in_samples = mended(
    highway_warmup_in_samples, _right(lambda model: WarmSgd(model.parameters(), 0.05, 20), *LOW, "trivial-plateau")
)


class ClippedSgd(torch.optim.SGD):
    """Clips the gradient's norm before it steps."""

    def __init__(self, params: Any, lr: float, most: float) -> None:
        super().__init__(params, lr, 0.9)
        self.most = most

    def step(self, closure: Any = None) -> Any:
        torch.nn.utils.clip_grad_norm_([p for g in self.param_groups for p in g["params"]], self.most)
        return super().step(closure)


@fault(" ".join(LOW), when="training", twin=cox_survival)
def cox_clipped_to_nothing() -> Case:
    return Case(
        _cox_net(), *_hazard(), _cox, _concordance, 0.76, steps=300,
        optimizer=lambda model: ClippedSgd(model.parameters(), 0.05, 1e-5),
    )  # fmt: skip


cox_clipped_to_nothing = mended(
    cox_clipped_to_nothing, _right(lambda model: ClippedSgd(model.parameters(), 0.05, 5.0), *LOW)
)


@fault(" ".join(HIGH), when="training", twin=realnvp_moons)
def realnvp_rate_of_a_half() -> Case:
    return Case(RealNvp(), *_moons(), _minus, _mean, -2.2, adam(0.5), 300, 128)


realnvp_rate_of_a_half = mended(realnvp_rate_of_a_half, _right(adam(5e-3), *HIGH))


class NeverZeroed(torch.optim.SGD):
    """The training loop that it stands for forgets ``zero_grad``."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        return


@fault(" ".join(HIGH), when="training", twin=mean_teacher)
def mean_teacher_gradients_never_zeroed() -> Case:
    return Case(
        MeanTeacher(), *data.digits(), _consistency, lambda out, y: accuracy(out[:, 10:], y), 0.85, steps=300,
        optimizer=lambda model: NeverZeroed(model.student.parameters(), 0.05, 0.9),
    )  # fmt: skip


mean_teacher_gradients_never_zeroed = mended(mean_teacher_gradients_never_zeroed, _right(sgd(0.05), *HIGH))


@fault("trivial-plateau loss-stuck vanished-gradients loss-rising", when="training", twin=equilibrium_jacobian_free)
def equilibrium_decayed_away() -> Case:
    """A decay of 1 in SGD, where 1e-4 was meant: at a rate of 0.05 and with momentum weights are gone in some steps."""
    return Case(
        Equilibrium(), *data.digits(), F.cross_entropy, trains=0.9, steps=300,
        optimizer=lambda model: torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=1.0),
    )  # fmt: skip


equilibrium_decayed_away = mended(
    equilibrium_decayed_away, _right(sgd(0.05), "trivial-plateau", "loss-stuck", "vanished-gradients", "loss-rising")
)
