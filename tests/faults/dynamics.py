"""Programs of an author who has not seen how the library decides: science, control and theory."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons
from torch import nn

from . import data, nets
from .program import Case, adam, fault, healthy, mended, r2, sgd

Tensor = torch.Tensor


def _g(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _standard(y: Tensor) -> Tensor:
    return (y - y.mean(0)) / y.std(0)


def _minus(loss: Callable[[Any, Tensor], Tensor]) -> Callable[[Any, Tensor], float]:
    return lambda outputs, targets: -float(loss(outputs, targets))


# --- flows -----------------------------------------------------------------------------------------------------------


def _moons() -> Tensor:
    x, _ = make_moons(1024, noise=0.08, random_state=0)
    return _standard(torch.tensor(x, dtype=torch.float32))


class Coupling(nn.Module):
    """An affine coupling that starts as the identity: its net ends in zeros."""

    def __init__(self, side: int, width: int = 48) -> None:
        super().__init__()
        self.side = side
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x[:, self.side, None], x[:, 1 - self.side, None]
        s, t = self.net(kept).chunk(2, 1)
        s = 2 * torch.tanh(s / 2)
        moved = moved * s.exp() + t
        return torch.cat([kept, moved] if self.side == 0 else [moved, kept], 1), s[:, 0]


class RealNvp(nn.Module):
    """Gives the log-density of its inputs."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.couplings = nn.ModuleList([Coupling(i % 2) for i in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros(len(x))
        for coupling in self.couplings:
            x, logdet = coupling(x)
            total = total + logdet
        return total - 0.5 * x.square().sum(1) - math.log(2 * math.pi)


def _nll(log_density: Tensor, targets: Tensor) -> Tensor:
    return -log_density.mean()


def _flow(loss: Callable[[Tensor, Tensor], Tensor]) -> Case:
    x = _moons()
    return Case(RealNvp(), x, x, loss, _minus(_nll), -2.2, adam(3e-3), 300, 128)


@healthy
def realnvp_of_moons_from_identity() -> Case:
    return _flow(_nll)


# --- physics-informed ------------------------------------------------------------------------------------------------


def _slope(u: Tensor, t: Tensor) -> Tensor:
    return torch.autograd.grad(u.sum(), t, create_graph=True)[0]


class Oscillator(nn.Module):
    """u'' + 4u = 0 with u(0) = 1, u'(0) = 0 built in; gives u and the residual."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.glorot(nets.mlp((1, 32, 32, 1), nn.Tanh))

    def forward(self, t: Tensor) -> Tensor:
        with torch.enable_grad():
            t = t.detach().requires_grad_()
            u = 1 + t.square() * self.net(t)
            residual = _slope(_slope(u, t), t) + 4 * u
        return torch.cat([u, residual], 1)


@healthy
def pinn_oscillator_without_data() -> Case:
    """The targets are the solution, which only the score looks at."""
    t = torch.linspace(0, 2, 512)[:, None]
    return Case(
        Oscillator(), t, torch.cos(2 * t), lambda o, y: o[:, 1].square().mean(), lambda o, y: r2(o[:, :1], y), 0.95,
        adam(5e-3), 500, 128,
    )  # fmt: skip


class Decay(nn.Module):
    """An inverse problem: y' = -k y with measured y and unknown k."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.glorot(nets.mlp((1, 24, 24, 1), nn.Tanh))
        self.log_k = nn.Parameter(torch.zeros(()))

    def forward(self, t: Tensor) -> Tensor:
        with torch.enable_grad():
            t = t.detach().requires_grad_()
            y = self.net(t)
            residual = _slope(y, t) + self.log_k.exp() * y
        return torch.cat([y, residual, self.log_k.exp().expand_as(y)], 1)


def _decay(optimizer: Callable[[nn.Module], torch.optim.Optimizer]) -> Case:
    t = 2 * torch.rand(512, 1, generator=_g(10))
    y = torch.exp(-2.5 * t) + 0.01 * torch.randn(512, 1, generator=_g(11))

    def loss(o: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(o[:, :1], y) + 0.1 * o[:, 1].square().mean()

    return Case(Decay(), t, y, loss, lambda o, y: 1 - abs(float(o[0, 2]) - 2.5), 0.8, optimizer, 800, 128)


@healthy
def inverse_pinn_decay_rate() -> Case:
    return _decay(adam(1e-2))


# --- operators -------------------------------------------------------------------------------------------------------


class Spectral(nn.Module):
    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        scale = 1 / width**2
        self.weight = nn.Parameter(scale * torch.rand(width, width, modes, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        f = torch.fft.rfft(x)
        low = torch.einsum("nim,iom->nom", f[..., : self.modes], self.weight)
        return torch.fft.irfft(F.pad(low, (0, f.shape[-1] - self.modes)), n=x.shape[-1])


class Fno(nn.Module):
    """Li et al. 2020 in one dimension, with their start: complex, positive, 1 / width²."""

    def __init__(self, width: int = 16, modes: int = 6, depth: int = 3) -> None:
        super().__init__()
        self.lift = nn.Linear(2, width)
        self.spectral = nn.ModuleList([Spectral(width, modes) for _ in range(depth)])
        self.local = nn.ModuleList([nn.Conv1d(width, width, 1) for _ in range(depth)])
        self.project = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, 1))

    def forward(self, a: Tensor) -> Tensor:
        grid = torch.linspace(0, 1, a.shape[1]).expand_as(a)
        x = self.lift(torch.stack([a, grid], -1)).transpose(1, 2)
        for i, (spectral, local) in enumerate(zip(self.spectral, self.local, strict=True)):
            x = spectral(x) + local(x)
            x = F.gelu(x) if i + 1 < len(self.local) else x
        return self.project(x.transpose(1, 2))[..., 0]


def _fields(n: int = 512, points: int = 32) -> data.Pair:
    """Random periodic functions and a smoothed square of them."""
    g = _g(12)
    x = torch.arange(points) / points * 2 * math.pi
    k = torch.arange(1, 5)[:, None]
    a, b = torch.randn(2, n, 4, generator=g)
    f = a @ torch.sin(k * x) + b @ torch.cos(k * x)
    f = f / 2
    spectrum = torch.fft.rfft(f + 0.5 * f.square()) * torch.exp(-0.1 * torch.arange(points // 2 + 1).float().square())
    u = torch.fft.irfft(spectrum, n=points)
    return f, (u - u.mean()) / u.std()


def _operator(schedule: Any = None) -> Case:
    a, u = _fields()
    return Case(Fno(), a, u, F.mse_loss, r2, 0.85, adam(4e-3), 250, 32, schedule=schedule)


@healthy
def fourier_neural_operator() -> Case:
    return _operator()


class DeepONet(nn.Module):
    """Branch of the function's values, trunk of the place: their inner product."""

    def __init__(self, points: int = 32, width: int = 48) -> None:
        super().__init__()
        self.points = points
        self.branch = nets.glorot(nets.mlp((points, 64, width), nn.Tanh))
        self.trunk = nets.glorot(nets.mlp((2, 64, width), nn.Tanh, (nn.Tanh(),)))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        place = x[:, self.points :] * 2 * math.pi
        t = self.trunk(torch.cat([place.sin(), place.cos()], 1))
        return (self.branch(x[:, : self.points]) * t).sum(1, keepdim=True) / math.sqrt(t.shape[1]) + self.bias


@healthy
def deeponet_inner_product() -> Case:
    a, u = _fields(256)
    at = torch.randint(32, (256, 16), generator=_g(13))
    x = torch.cat([a[:, None].expand(-1, 16, -1), at[..., None] / 32], 2).flatten(0, 1)
    order = torch.randperm(len(x), generator=_g(14))
    return Case(
        DeepONet(), x[order], u.gather(1, at).flatten()[order, None], F.mse_loss, r2, 0.75, adam(3e-3), 600, 128
    )


# --- deep plain nets -------------------------------------------------------------------------------------------------


def _plain(depth: int, width: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    return nets.mlp((64, *[width] * depth, 10), activation)


def _isometry(activation: Callable[[], nn.Module], rate: float = 3e-4) -> Case:
    x, y = data.digits()
    model = nets.initialized(_plain(30, 48, activation), lambda w: nn.init.orthogonal_(w, 1.05), nn.init.zeros_)
    return Case(model, x, y, F.cross_entropy, trains=0.8, optimizer=adam(rate), steps=300)


@healthy
def thirty_tanh_layers_orthogonal() -> Case:
    """Dynamical isometry: Pennington et al. 2017."""
    return _isometry(nn.Tanh)


@healthy
def thirty_residual_branches_that_start_at_zero() -> Case:
    """ReZero: no norm anywhere."""

    class ReZero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.alpha = nn.Linear(64, 64), nn.Parameter(torch.zeros(()))
            nn.init.kaiming_normal_(self.layer.weight)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.alpha * F.relu(self.layer(x))

    x, y = data.digits()
    model = nn.Sequential(*[ReZero() for _ in range(30)], nn.Linear(64, 10))
    return Case(model, x, y, F.cross_entropy, trains=0.8, optimizer=adam(2e-3), steps=200)


# --- graphs and molecules --------------------------------------------------------------------------------------------


def _graphs(n: int = 768, nodes: int = 10) -> data.Pair:
    """Atoms of four kinds beside their adjacency; the energy is that of atoms and bonds, standardized."""
    g = _g(15)
    kind = torch.randint(4, (n, nodes), generator=g)
    bonds = (torch.rand(n, nodes, nodes, generator=g) < 0.4).float().triu(1)
    bonds = bonds + bonds.transpose(1, 2)
    one_hot = F.one_hot(kind, 4).float()
    pair = torch.tensor([[1.0, -0.5, 0.2, 0.4], [-0.5, 0.3, -1.0, 0.1], [0.2, -1.0, 0.5, 0.8], [0.4, 0.1, 0.8, -0.6]])
    energy = (one_hot @ torch.tensor([1.0, -1.0, 0.5, 2.0])).sum(1)
    energy = energy + 0.5 * (one_hot @ pair @ one_hot.transpose(1, 2) * bonds).sum((1, 2))
    return torch.cat([one_hot, bonds], 2), _standard(energy)[:, None]


class Messages(nn.Module):
    """Message passing without norms; ``mean`` is whether neighbours are averaged, else summed."""

    def __init__(self, depth: int, width: int = 32, *, mean: bool = True) -> None:
        super().__init__()
        self.mean = mean
        self.embed = nn.Linear(4, width)
        self.own = nn.ModuleList([nn.Linear(width, width) for _ in range(depth)])
        self.near = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(depth)])
        self.readout = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        nets.initialized(self, nn.init.xavier_uniform_, nn.init.zeros_)

    def forward(self, x: Tensor) -> Tensor:
        atoms, bonds = x[..., :4], x[..., 4:]
        if self.mean:
            bonds = bonds / bonds.sum(2, keepdim=True).clamp(min=1)
        h = self.embed(atoms)
        for own, near in zip(self.own, self.near, strict=True):
            h = F.relu(own(h) + near(bonds @ h))
        return self.readout(h.mean(1))


def _rounds(*, mean: bool) -> Case:
    x, y = _graphs()
    return Case(Messages(10, mean=mean), x, y, F.mse_loss, r2, 0.5, adam(1e-3), 500)


@healthy
def message_passing_ten_rounds_of_mean() -> Case:
    return _rounds(mean=True)


def _molecules(n: int = 512, atoms: int = 6) -> data.Pair:
    g = _g(16)
    place = 1.5 * torch.randn(n, atoms, 3, generator=g)
    charge = torch.randint(2, (n, atoms, 1), generator=g).float() * 2 - 1
    r = torch.cdist(place, place)
    energy = (charge @ charge.transpose(1, 2) * torch.exp(-r / 1.5)).sum((1, 2)) / 2
    return torch.cat([place, charge], 2), _standard(energy)[:, None]


class Molecule(nn.Module):
    """Filters of learned distances between atoms, summed over atoms: the energy is extensive."""

    def __init__(self, eps: float = 1e-6, width: int = 32) -> None:
        super().__init__()
        self.eps = eps
        self.metric = nn.Linear(3, 3, bias=False)
        nn.init.orthogonal_(self.metric.weight)
        self.filter = nn.Sequential(nn.Linear(12, width), nn.SiLU(), nn.Linear(width, width))
        self.embed, self.mix = nn.Linear(1, width), nn.Linear(width, width)
        self.atomwise = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.register_buffer("centres", torch.linspace(0, 5, 12))

    def forward(self, x: Tensor) -> Tensor:
        place, h = self.metric(x[..., :3]), self.embed(x[..., 3:])
        offset = place[:, :, None] - place[:, None]
        r = (offset.square().sum(-1) + self.eps).sqrt()
        weight = self.filter(torch.exp(-4 * (r[..., None] - self.centres).square()))
        others = 1 - torch.eye(x.shape[1])[..., None]
        message = (weight * others * self.mix(h)[:, None]).sum(2)
        return self.atomwise(h * message + h).sum(1)


def _energies(eps: float = 1e-6, unit: float = 1.0, zero: float = 0.0) -> Case:
    x, y = _molecules()
    return Case(Molecule(eps), x, zero + unit * y, F.mse_loss, r2, 0.6, adam(3e-3), 400)


@healthy
def molecule_of_learned_distances() -> Case:
    return _energies()


class DeepSet(nn.Module):
    def __init__(self, over: int = 1) -> None:
        super().__init__()
        self.over = over
        self.each = nn.Sequential(nn.Linear(4, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.whole = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.each(x)
        return self.whole(h.mean(self.over, keepdim=True).expand_as(h)[:, 0])


def _sets(over: int = 1, clip: float | None = 1.0) -> Case:
    x, y = data.sums()
    return Case(DeepSet(over), x, y, F.cross_entropy, trains=0.85, optimizer=sgd(0.05), steps=300, clip=clip)


@healthy
def deep_set_of_points() -> Case:
    return _sets()


# --- regressions -----------------------------------------------------------------------------------------------------


def _angles() -> data.Pair:
    x, y = data.smooth()
    return x, math.pi * torch.tanh(0.6 * y)


class Unit(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1)


class Pi(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return math.pi * x


def _turn(o: Tensor, y: Tensor) -> Tensor:
    return (1 - (o * torch.cat([y.cos(), y.sin()], 1)).sum(1)).mean()


def _directions() -> Case:
    x, y = _angles()
    return Case(nets.mlp((4, 64, 64, 2), nn.ReLU, (Unit(),)), x, y, _turn, _minus(_turn), -0.05, adam(3e-3), 400)


@healthy
def angle_as_unit_vector() -> Case:
    """Normalized (cos, sin); the loss is 1 - cos of the difference, blind to turns."""
    return _directions()


def _bounded(*last: nn.Module) -> Case:
    x, y = _angles()
    return Case(nets.mlp((4, 64, 64, 1), nn.ReLU, last), x, y, F.mse_loss, r2, 0.85, adam(3e-3), 400)


@healthy
def angle_by_scaled_tanh() -> Case:
    """π tanh: as wide as its targets."""
    return _bounded(nn.Tanh(), Pi())


@healthy
def counts_with_log_link_started_at_their_mean() -> Case:
    x, y = data.smooth()
    counts = torch.poisson(torch.exp(1.5 + 0.6 * y), generator=_g(17))
    model = nets.mlp((4, 64, 64, 1), nn.SiLU)
    nn.init.zeros_(model[-1].weight)
    nn.init.constant_(model[-1].bias, math.log(float(counts.mean())))

    def loss(o: Tensor, y: Tensor) -> Tensor:
        return F.poisson_nll_loss(o, y, full=True)

    return Case(model, x, counts, loss, lambda o, y: r2(o.exp(), y), 0.5, adam(1e-3), 400)


class Coral(nn.Module):
    """One score, and thresholds that are in order from the start."""

    def __init__(self, last: nn.Module, classes: int = 5) -> None:
        super().__init__()
        self.last = last
        self.body = nets.mlp((4, 48, 48, 1))
        self.body[-1] = nn.Linear(48, 1, bias=False)
        self.thresholds = nn.Parameter(torch.linspace(2, -2, classes - 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x) + self.thresholds)


def _rank_likelihood(o: Tensor, y: Tensor) -> float:
    """Of outputs read as what they are: probabilities where a sigmoid was last, else logits."""
    return -float(
        (F.binary_cross_entropy if o.min() >= 0 and o.max() <= 1 else F.binary_cross_entropy_with_logits)(o, y)
    )


def _ordinal(last: nn.Module) -> Case:
    x, y = data.smooth()
    y = y + 0.5 * torch.randn(y.shape, generator=_g(24))
    rank = torch.bucketize(y[:, 0].contiguous(), torch.quantile(y[:, 0], torch.tensor([0.2, 0.4, 0.6, 0.8])))
    levels = (rank[:, None] > torch.arange(4)).float()
    return Case(Coral(last), x, levels, F.binary_cross_entropy_with_logits, _rank_likelihood, -0.3, adam(5e-3), 400)


@healthy
def ordinal_with_one_shared_score() -> Case:
    return _ordinal(nn.Identity())


def _survival() -> tuple[Tensor, Tensor]:
    """Features, and (time, whether it is an event)."""
    g = _g(18)
    x = torch.randn(1024, 8, generator=g)
    risk = 1.2 * x[:, 0] + x[:, 1] * x[:, 2]
    time = -torch.rand(1024, generator=g).log() * torch.exp(-risk)
    censored = -3 * torch.rand(1024, generator=g).log()
    return x, torch.stack([torch.minimum(time, censored), (time <= censored).float()], 1)


def _concordance(risk: Tensor, y: Tensor) -> float:
    before = (y[:, None, 0] < y[None, :, 0]) & (y[:, 1, None] > 0)
    return float((risk > risk.T)[before].float().mean())


def _cox_loss(o: Tensor, y: Tensor) -> Tensor:
    order = y[:, 0].argsort(descending=True)
    risk, event = o[order, 0], y[order, 1]
    return -((risk - risk.logcumsumexp(0)) * event).sum() / event.sum().clamp(min=1)


def _cox() -> Case:
    x, y = _survival()
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1, bias=False))
    return Case(model, x, y, _cox_loss, _concordance, 0.72, adam(5e-3), 400, 128)


@healthy
def cox_partial_likelihood_without_bias() -> Case:
    """Only differences of risk count, so the head has no bias; the batch is the risk set."""
    return _cox()


@healthy
def heavy_tails_by_student_t() -> Case:
    """Location and log-scale under Student's t of two degrees of freedom: outliers are part of the data."""
    x, y = data.smooth()
    noisy = y + 0.1 * torch.distributions.StudentT(1.5).sample((1024, 1))

    def loss(o: Tensor, y: Tensor) -> Tensor:
        return -torch.distributions.StudentT(2.0, o[:, :1], o[:, 1:].exp()).log_prob(y).mean()

    model = nets.mlp((4, 64, 64, 2), nn.GELU)
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return Case(model, x, noisy, loss, _minus(loss), -0.7, adam(3e-3), 400)


def _rare() -> data.Pair:
    x = torch.randn(4096, 8, generator=_g(19))
    return x, ((x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * x[:, 3]) > 3.2).float()[:, None]


def _average_precision(o: Tensor, y: Tensor) -> float:
    hit = y[o[:, 0].argsort(descending=True), 0]
    precision = hit.cumsum(0) / torch.arange(1, len(hit) + 1)
    return float((precision * hit).sum() / hit.sum())


def _prior(model: nn.Sequential, x: Tensor, y: Tensor, layers: list[nn.Linear]) -> Case:
    p = float(y.mean())
    for layer in layers:
        nn.init.constant_(layer.bias, math.log(p / (1 - p)))
    return Case(
        model, x, y, F.binary_cross_entropy_with_logits, _average_precision, 0.7, adam(3e-3), 400, 128,
    )  # fmt: skip


@healthy
def rare_event_started_at_its_rate() -> Case:
    model = nets.he(nets.mlp((8, 32, 32, 1)))
    nn.init.normal_(model[-1].weight, 0, 0.01)
    return _prior(model, *_rare(), [model[-1]])


# --- control, energy, ensembles --------------------------------------------------------------------------------------


@healthy
def random_network_distillation() -> Case:
    """The target network is random and frozen, which is the idea: Burda et al. 2018."""

    class Rnd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.target = nets.mlp((8, 32, 16), nn.ReLU)
            self.predictor = nets.mlp((8, 64, 64, 16), nn.ReLU)
            for layer in (*self.target, *self.predictor):
                if isinstance(layer, nn.Linear):
                    nn.init.orthogonal_(layer.weight, math.sqrt(2))
            self.target.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.predictor(x) - self.target(x).detach()

    def loss(o: Tensor, y: Tensor) -> Tensor:
        return o.square().mean()

    x = torch.randn(1024, 8, generator=_g(20))
    return Case(Rnd(), x, torch.zeros(1024, 16), loss, _minus(loss), -0.15, adam(2e-3), 400)


class DeepEnsemble(nn.Module):
    """Members of their own that share data; each gives mean and log-variance: (n, members, 2)."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members], 1)


def _member() -> nn.Module:
    return nets.mlp((4, 48, 48, 2), nn.ReLU)


def _gauss(o: Tensor, y: Tensor) -> Tensor:
    return 0.5 * (o[..., 1] + (o[..., 0] - y).square() * torch.exp(-o[..., 1])).mean()


def _mean_r2(o: Tensor, y: Tensor) -> float:
    return r2(o[..., 0].mean(1, keepdim=True), y)


def _ensemble(members: list[nn.Module]) -> Case:
    x, y = data.smooth()
    return Case(DeepEnsemble(members), x, y, _gauss, _mean_r2, 0.8, adam(3e-3), 400)


@healthy
def deep_ensemble_of_gaussians() -> Case:
    return _ensemble([_member() for _ in range(5)])


@healthy
def dsm_energy_model() -> Case:
    """Denoising score matching of an energy net: outputs are its gradient, so its head has no bias."""

    class Energy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1, bias=False)
            )

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return -_slope(self.net(x), x)

    x = _moons()
    noise = torch.randn(1024, 2, generator=_g(21))
    loss = lambda o, y: (0.5 * o + y).square().mean()  # noqa: E731
    return Case(Energy(), x + 0.5 * noise, noise, loss, _minus(loss), -0.8, adam(5e-3), 400, 128)


# --- faulty at step 0 ------------------------------------------------------------------------------------------------


@fault("non-finite-gradients", "metric metric.weight", twin=molecule_of_learned_distances)
def distance_to_itself_under_a_root() -> Case:
    """The diagonal's distance is √0: forward finite, and masked afterwards, but its slope is ∞ · 0."""
    return _energies(eps=0.0)


def _mend_root(case: Case, code: str) -> bool:
    case.model.eps = 1e-6
    return code == "non-finite-gradients"


distance_to_itself_under_a_root = mended(distance_to_itself_under_a_root, _mend_root)


@fault("unregistered-layer not-in-optimizer", twin=fourier_neural_operator)
def spectral_layers_in_a_plain_list() -> Case:
    case = _operator()
    layers = list(case.model.spectral)
    del case.model.spectral
    case.model.spectral = layers
    return case


def _mend_list(case: Case, code: str) -> bool:
    case.model.spectral = nn.ModuleList(case.model.spectral)
    return code in ("unregistered-layer", "not-in-optimizer")


spectral_layers_in_a_plain_list = mended(spectral_layers_in_a_plain_list, _mend_list)


@fault("not-in-optimizer", "log_k", twin=inverse_pinn_decay_rate)
def unknown_coefficient_left_out_of_the_optimizer() -> Case:
    """Only the net's parameters are given; the constant that the inverse problem is about is not."""
    return _decay(lambda model: torch.optim.Adam(model.net.parameters(), 1e-2))


def _mend_coefficient(case: Case, code: str) -> bool:
    case.optimizer = adam(1e-2)
    return code == "not-in-optimizer"


unknown_coefficient_left_out_of_the_optimizer = mended(unknown_coefficient_left_out_of_the_optimizer, _mend_coefficient)


@fault("constant-init symmetric-units", "0* 2* 4*", twin=angle_as_unit_vector)
def constant_meant_for_biases_on_weights() -> Case:
    case = _directions()
    for module in case.model:
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 0.05)
    return case


@fault("duplicated-draws symmetric-units", "members*", twin=deep_ensemble_of_gaussians)
def ensemble_of_deep_copies() -> Case:
    """Members copied from one: they see the same batches and stay one model."""
    first = _member()
    return _ensemble([copy.deepcopy(first) for _ in range(5)])


def _mend_copies(case: Case, code: str) -> bool:
    for module in case.model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    return code in ("duplicated-draws", "symmetric-units")


ensemble_of_deep_copies = mended(ensemble_of_deep_copies, _mend_copies)


@fault("exploding-forward exploding-gradient", twin=message_passing_ten_rounds_of_mean)
def ten_rounds_that_sum_neighbours() -> Case:
    """Without division by the degree each round multiplies by about four."""
    return _rounds(mean=False)


def _mend_rounds(case: Case, code: str) -> bool:
    case.model.mean = True
    return code in ("exploding-forward", "exploding-gradient")


ten_rounds_that_sum_neighbours = mended(ten_rounds_that_sum_neighbours, _mend_rounds)


@fault("wrong-gain vanishing-forward vanishing-gradient", twin=thirty_tanh_layers_orthogonal)
def recipe_of_tanh_kept_for_relu() -> Case:
    return _isometry(nn.ReLU)


@fault("rank-collapse", "whole*", twin=deep_set_of_points)
def set_pooled_over_the_batch() -> Case:
    """The mean is over dimension 0: every set of the batch gets the same pooled vector."""
    return _sets(over=0)


def _mend_pool(case: Case, code: str) -> bool:
    case.model.over = 1
    return code == "rank-collapse"


set_pooled_over_the_batch = mended(set_pooled_over_the_batch, _mend_pool)


@fault("dead-units", "0* 1 2* 3", twin=rare_event_started_at_its_rate)
def log_odds_in_every_layers_bias() -> Case:
    """The loop that sets the prior does not stop at the head."""
    model = nets.he(nets.mlp((8, 32, 32, 1)))
    nn.init.normal_(model[-1].weight, 0, 0.01)
    return _prior(model, *_rare(), [m for m in model if isinstance(m, nn.Linear)])


def _mend_biases(case: Case, code: str) -> bool:
    for i in (0, 2):
        nn.init.zeros_(case.model[i].bias)
    return code == "dead-units"


log_odds_in_every_layers_bias = mended(log_odds_in_every_layers_bias, _mend_biases)


@fault("unreachable-targets unscaled-targets", "4* 5", twin=angle_by_scaled_tanh)
def radians_behind_a_plain_tanh() -> Case:
    return _bounded(nn.Tanh())


def _mend_radians(case: Case, code: str) -> bool:
    case.model.append(Pi())
    return code in ("unreachable-targets", "unscaled-targets")


radians_behind_a_plain_tanh = mended(radians_behind_a_plain_tanh, _mend_radians)


@fault("flipped-loss", twin=realnvp_of_moons_from_identity)
def log_likelihood_that_is_minimized() -> Case:
    return _flow(lambda log_density, _: log_density.mean())


def _mend_sign(case: Case, code: str) -> bool:
    case.loss_fn = _nll
    return code == "flipped-loss"


log_likelihood_that_is_minimized = mended(log_likelihood_that_is_minimized, _mend_sign)


@fault("double-softmax", twin=ordinal_with_one_shared_score)
def ordinal_sigmoids_into_a_loss_of_logits() -> Case:
    return _ordinal(nn.Sigmoid())


def _mend_sigmoid(case: Case, code: str) -> bool:
    case.model.last = nn.Identity()
    return code == "double-softmax"


ordinal_sigmoids_into_a_loss_of_logits = mended(ordinal_sigmoids_into_a_loss_of_logits, _mend_sigmoid)


@fault("unscaled-targets wrong-prior", twin=molecule_of_learned_distances)
def energies_in_their_own_unit() -> Case:
    """Total energies around -24000 with a spread of 300, as they come from the table."""
    return _energies(unit=300.0, zero=-24000.0)


def _mend_energies(case: Case, code: str) -> bool:
    case.targets = _standard(case.targets)
    return code == "unscaled-targets"


energies_in_their_own_unit = mended(energies_in_their_own_unit, _mend_energies)


@fault("unnormalized-inputs saturation", twin=cox_partial_likelihood_without_bias)
def clinical_columns_as_they_come() -> Case:
    """Age, blood pressure, platelets ...: raw, into tanh."""
    case = _cox()
    spread = torch.tensor([12.0, 18.0, 70000.0, 0.4, 4.0, 25.0, 1.5, 300.0])
    centre = torch.tensor([62.0, 130.0, 250000.0, 1.1, 27.0, 70.0, 13.0, 900.0])
    case.inputs = centre + spread * case.inputs
    return case


def _mend_columns(case: Case, code: str) -> bool:
    case.inputs = _standard(case.inputs)
    return code in ("unnormalized-inputs", "saturation")


clinical_columns_as_they_come = mended(clinical_columns_as_they_come, _mend_columns)


# --- faulty in training ----------------------------------------------------------------------------------------------


@fault("update-too-small learning-rate-too-low loss-stuck", when="training", twin=fourier_neural_operator)
def warmup_of_a_million_steps() -> Case:
    return _operator(lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: min(1.0, (i + 1) / 1_000_000)))


def _mend_warmup(case: Case, code: str) -> bool:
    case.schedule = None
    return True


warmup_of_a_million_steps = mended(warmup_of_a_million_steps, _mend_warmup)


@fault("update-too-small learning-rate-too-low loss-stuck vanished-gradients", when="training", twin=deep_set_of_points)
def clipped_to_a_ten_thousandth() -> Case:
    return _sets(clip=1e-4)


def _mend_clip(case: Case, code: str) -> bool:
    case.clip = 1.0
    return True


clipped_to_a_ten_thousandth = mended(clipped_to_a_ten_thousandth, _mend_clip)


@fault(
    "learning-rate-too-high update-too-large loss-oscillating loss-rising loss-stuck trivial-plateau gradient-spike "
    "exploded-gradients vanished-gradients loss-diverged",
    when="training",
    twin=thirty_tanh_layers_orthogonal,
)
def deep_tanh_at_a_hundred_times_its_rate() -> Case:
    return _isometry(nn.Tanh, 3e-2)


def _mend_rate(case: Case, code: str) -> bool:
    case.optimizer = adam(3e-4)
    return True


deep_tanh_at_a_hundred_times_its_rate = mended(deep_tanh_at_a_hundred_times_its_rate, _mend_rate)


@fault("over-fitting", when="training", twin=deep_ensemble_of_gaussians)
def gaussians_of_forty_noisy_samples() -> Case:
    """Each member also learns its variance, so that being sure of forty samples costs dearly elsewhere."""
    case = _ensemble([_member() for _ in range(5)])
    x, y = case.inputs, case.targets + 0.5 * torch.randn(case.targets.shape, generator=_g(22))
    case.inputs, case.targets, case.held_out = x[:40], y[:40], (x[512:], y[512:])
    case.batch, case.score, case.trains = 40, _minus(_gauss), 0.0
    return case


def _mend_samples(case: Case, code: str) -> bool:
    x, y = data.smooth(8192)
    case.inputs, case.targets = x[1024:], y[1024:] + 0.5 * torch.randn(7168, 1, generator=_g(23))
    return code == "over-fitting"


gaussians_of_forty_noisy_samples = mended(gaussians_of_forty_noisy_samples, _mend_samples)


@fault(
    "trivial-plateau vanished-gradients loss-stuck update-too-large learning-rate-too-high",
    when="training",
    twin=message_passing_ten_rounds_of_mean,
)
def graph_net_decayed_to_nothing() -> Case:
    """A weight decay of 50 where 0.05 was meant: a twentieth of every weight is gone at each step."""
    case = _rounds(mean=True)
    case.optimizer = lambda model: torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=50.0)
    return case


def _mend_decay(case: Case, code: str) -> bool:
    case.optimizer = adam(1e-3)
    return True


graph_net_decayed_to_nothing = mended(graph_net_decayed_to_nothing, _mend_decay)
