"""Programs of an author who has not seen how the library decides: operators, molecules, flows, control."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons
from torch import nn

from . import data
from .program import Case, accuracy, adam, fault, healthy, mended, r2


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def standardized(y: torch.Tensor) -> torch.Tensor:
    return (y - y.mean()) / y.std()


def dense(sizes: list[int], activation: Any = nn.SiLU, last: nn.Module | None = None) -> nn.Sequential:
    """Linear layers of these sizes with activations between."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(a, b))
        if i < len(sizes) - 2:
            layers.append(activation())
    if last is not None:
        layers.append(last)
    return nn.Sequential(*layers)


def xavier(model: nn.Module, gain: float = 1.0) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


# ---------------------------------------------------------------- physics-informed networks


def derivatives(net: nn.Module, x: torch.Tensor, hard: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The network's function and its second derivative; ``hard`` fixes it to zero at the boundary."""
    with torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        u = net(x)
        if hard:
            u = (1 - x.square()) * u
        (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    return u, second


class Poisson1d(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.net = xavier(dense([1, width, width, width, 1], nn.Tanh))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, second = derivatives(self.net, x, hard=True)
        return torch.cat([u, second / math.pi**2], 1)


def residual_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Only the equation's residual is trained: the solution in the first column is not known to it."""
    return F.mse_loss(outputs[:, 1], targets[:, 1])


def poisson_case(width: int = 32) -> Case:
    x = torch.rand(1024, 1, generator=seeded(11)) * 2 - 1
    solution = torch.sin(math.pi * x)
    targets = torch.cat([solution, -solution], 1)
    return Case(
        Poisson1d(width), x, targets, residual_loss,
        lambda o, t: r2(o[:, :1], t[:, :1]), 0.95, adam(3e-3), steps=400,
    )  # fmt: skip


@healthy
def pinn_poisson_hard_boundary() -> Case:
    return poisson_case(64)


class Oscillator(nn.Module):
    """An inverse problem: the stiffness in u'' = -k u is fitted with the solution."""

    def __init__(self) -> None:
        super().__init__()
        self.net = xavier(dense([1, 32, 32, 1], nn.Tanh))
        self.stiffness = nn.Parameter(torch.tensor(1.0))

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        u, second = derivatives(self.net, t, hard=False)
        residual = second + self.stiffness * u
        return torch.cat([u, residual, self.stiffness.expand_as(u)], 1)


def oscillator_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(outputs[:, :1], targets) + 0.1 * outputs[:, 1].square().mean()


def oscillator_case() -> Case:
    t = (torch.rand(512, 1, generator=seeded(12)) * 2 - 1) * 2
    u = torch.sin(2 * t) + 0.02 * torch.randn(512, 1, generator=seeded(13))
    return Case(
        Oscillator(), t, u, oscillator_loss,
        lambda o, _: 1 - abs(float(o[0, 2]) - 4) / 4, 0.85, adam(1e-2), steps=500,
    )  # fmt: skip


@healthy
def inverse_problem_unknown_stiffness() -> Case:
    return oscillator_case()


@fault("not-in-optimizer", "stiffness", twin=inverse_problem_unknown_stiffness)
def inverse_problem_coefficient_not_optimized() -> Case:
    case = oscillator_case()
    case.optimizer = lambda model: torch.optim.Adam(model.net.parameters(), 1e-2)
    return case


def mend_coefficient(case: Case, code: str) -> bool:
    if code == "not-in-optimizer":
        case.optimizer = adam(1e-2)
        return True
    return False


inverse_problem_coefficient_not_optimized = mended(inverse_problem_coefficient_not_optimized, mend_coefficient)


@fault(
    "saturation wrong-gain exploding-gradient exploding-forward",
    "net net.0* net.2* net.3 net.4* net.5",
    twin=pinn_poisson_hard_boundary,
)
def pinn_weights_of_unit_deviation() -> Case:
    """The port of tf.random_normal, whose deviation is one."""
    case = poisson_case(64)
    for module in case.model.modules():
        if isinstance(module, nn.Linear) and module.out_features > 1:
            nn.init.normal_(module.weight)
    return case


# ---------------------------------------------------------------- operators


class DeepONet(nn.Module):
    def __init__(self, sensors: int = 16, width: int = 32, norm: bool = False) -> None:
        super().__init__()
        self.sensors = sensors
        self.branch = xavier(dense([sensors, 64, width], nn.Tanh))
        first = nn.LayerNorm(1) if norm else nn.Identity()
        self.trunk = nn.Sequential(first, *xavier(dense([1, 32, 32, width], nn.Tanh, nn.Tanh())))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b = self.branch(x[:, : self.sensors])
        t = self.trunk(x[:, self.sensors :])
        return (b * t).sum(1, keepdim=True) / math.sqrt(b.shape[1]) + self.bias


def antiderivatives(n: int = 2048) -> data.Pair:
    """A function at sixteen sensors and a place y; its integral from -1 to y."""
    a = torch.randn(n, 4, generator=seeded(14))
    y = torch.rand(n, 1, generator=seeded(15)) * 2 - 1
    k = torch.arange(1, 5) * 0.9
    grid = torch.linspace(-1, 1, 16)
    u = (a[:, :, None] * torch.cos(k[None, :, None] * grid)).sum(1)
    integral = (a * (torch.sin(k * y) + torch.sin(k)) / k).sum(1, keepdim=True)
    return torch.cat([u / u.std(), y], 1), standardized(integral)


def deeponet_case(norm: bool = False) -> Case:
    x, y = antiderivatives()
    return Case(DeepONet(norm=norm), x, y, F.mse_loss, r2, 0.9, adam(3e-3), steps=500)


@healthy
def deeponet_antiderivative() -> Case:
    return deeponet_case()


@fault("rank-collapse vanishing-forward no-gradient", "trunk trunk.0* trunk.1*", twin=deeponet_antiderivative)
def deeponet_layernorm_over_the_one_coordinate() -> Case:
    """A LayerNorm of a single feature is always zero: the trunk does not see where it is asked."""
    return deeponet_case(norm=True)


def mend_trunk(case: Case, code: str) -> bool:
    if code in ("rank-collapse", "vanishing-forward", "no-gradient"):
        case.model.trunk[0] = nn.Identity()
        return True
    return False


deeponet_layernorm_over_the_one_coordinate = mended(deeponet_layernorm_over_the_one_coordinate, mend_trunk)


class SpectralConv(nn.Module):
    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.rand(channels, channels, modes, dtype=torch.cfloat) / channels**2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(x)
        kept = torch.einsum("bim,iom->bom", spectrum[:, :, : self.modes], self.weight)
        return torch.fft.irfft(F.pad(kept, (0, spectrum.shape[2] - self.modes)), n=x.shape[2])


class Fno(nn.Module):
    def __init__(self, channels: int = 16, modes: int = 8, depth: int = 3) -> None:
        super().__init__()
        self.lift = nn.Conv1d(2, channels, 1)
        self.spectral = nn.ModuleList(SpectralConv(channels, modes) for _ in range(depth))
        self.local = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(depth))
        self.project = nn.Sequential(nn.Conv1d(channels, 32, 1), nn.GELU(), nn.Conv1d(32, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = torch.linspace(-1, 1, x.shape[1], device=x.device).expand_as(x)
        h = self.lift(torch.stack([x, grid], 1))
        for i, (spectral, local) in enumerate(zip(self.spectral, self.local, strict=True)):
            h = spectral(h) + local(h)
            if i < len(self.spectral) - 1:
                h = F.gelu(h)
        return self.project(h)[:, 0]


@healthy
def fno_spectral_weights_small_and_positive() -> Case:
    """The weights are drawn as in the paper's code: uniform in [0, 1] over the product of the channels."""
    a = torch.randn(768, 9, generator=seeded(16), dtype=torch.cfloat) / (1 + torch.arange(9)).sqrt()
    u = standardized(torch.fft.irfft(F.pad(a, (0, 8)), n=32))
    spectrum = torch.fft.rfft(u)
    k = torch.arange(17)
    moved = torch.fft.irfft(spectrum * torch.exp(-0.05 * k**1.5 - 0.3j * k), n=32)
    y = standardized(moved + 0.3 * moved.square())
    return Case(Fno(), u, y, F.mse_loss, r2, 0.85, adam(5e-3), steps=300, batch=32)


# ---------------------------------------------------------------- graphs and molecules


class Gcn(nn.Module):
    """Graphs packed as (batch, nodes, nodes + features): the adjacency beside the features."""

    def __init__(self, features: int = 6, width: int = 32, depth: int = 4, normalized: bool = True) -> None:
        super().__init__()
        sizes = [features] + [width] * depth
        self.normalized = normalized
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.head = nn.Linear(width, 1)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        nodes = packed.shape[1]
        a = packed[:, :, :nodes] + torch.eye(nodes, device=packed.device)
        if self.normalized:
            d = a.sum(2).rsqrt()
            a = d[:, :, None] * a * d[:, None, :]
        h = packed[:, :, nodes:]
        for layer in self.layers:
            h = F.relu(a @ layer(h))
        return self.head(h.mean(1))


def graphs(nodes: int = 12, density: float = 0.5, n: int = 1024) -> data.Pair:
    upper = torch.triu((torch.rand(n, nodes, nodes, generator=seeded(17)) < density).float(), 1)
    a = upper + upper.transpose(1, 2)
    mood = torch.randn(n, 1, 6, generator=seeded(18))
    x = (torch.randn(n, nodes, 6, generator=seeded(19)) + mood) / math.sqrt(2)
    y = torch.relu(x[:, :, 0] + x[:, :, 1]).mean(1) - 0.5 * x[:, :, 2].mean(1) + 0.1 * (a.sum((1, 2)) / nodes - 5.5)
    return torch.cat([a, x], 2), standardized(y)[:, None]


def gcn_case(normalized: bool = True, depth: int = 4) -> Case:
    x, y = graphs()
    return Case(Gcn(normalized=normalized, depth=depth), x, y, F.mse_loss, r2, 0.7, adam(3e-3), steps=300, batch=64)


@healthy
def gcn_four_layers_mean_pooled() -> Case:
    return gcn_case()


@fault(
    "exploding-forward exploding-gradient",
    "layers layers.* layers.*.weight head head.weight",
    twin=gcn_four_layers_mean_pooled,
)
def gcn_sums_over_the_neighbours() -> Case:
    """The adjacency is not normalized by the degrees: each layer multiplies by about seven."""
    return gcn_case(normalized=False)


def mend_gcn(case: Case, code: str) -> bool:
    if code in ("exploding-forward", "exploding-gradient"):
        case.model.normalized = True
        return True
    return False


gcn_sums_over_the_neighbours = mended(gcn_sums_over_the_neighbours, mend_gcn)


class ShiftedSoftplus(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(x) - math.log(2)


class SchNet(nn.Module):
    """Molecules as (batch, atoms, 4): the kind and the place of each atom."""

    def __init__(self, width: int = 24, depth: int = 2, cached: bool = False) -> None:
        super().__init__()
        self.cached = cached
        self.kinds = nn.Embedding(3, width)
        self.register_buffer("centres", torch.linspace(0, 5, 16))
        self.filters = nn.ModuleList(dense([16, width, width], ShiftedSoftplus) for _ in range(depth))
        self.into = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.out = nn.ModuleList(dense([width, width, width], ShiftedSoftplus) for _ in range(depth))
        self.readout = dense([width, 16, 1], ShiftedSoftplus)
        for part in (self.filters, self.into, self.out, self.readout):
            xavier(part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.kinds(x[:, :, 0].long())
        apart = x[:, :, None, 1:] - x[:, None, :, 1:]
        distance = (apart.square().sum(3) + 1e-8).sqrt()
        rbf = torch.exp(-4.5 * (distance[..., None] - self.centres).square())
        others = 1 - torch.eye(x.shape[1], device=x.device)[None, :, :, None]
        for filters, into, out in zip(self.filters, self.into, self.out, strict=True):
            if self.cached:  # the geometry does not change while the weights are trained
                with torch.no_grad():
                    w = filters(rbf) * others
            else:
                w = filters(rbf) * others
            h = h + out((w * into(h)[:, None]).sum(2)) / 2
        return self.readout(h).mean(1)


def molecules(n: int = 1024, atoms: int = 6) -> data.Pair:
    kinds = torch.randint(3, (n, atoms), generator=seeded(20))
    places = torch.randn(n, atoms, 3, generator=seeded(21)) * 1.2
    charge = torch.tensor([-0.5, 0.5, 1.0])[kinds]
    d = torch.cdist(places, places)
    pairs = charge[:, :, None] * charge[:, None] * torch.exp(-d) * (1 - torch.eye(atoms))
    energy = pairs.sum((1, 2)) + 0.4 * torch.tensor([1.0, -1.0, 0.3])[kinds].sum(1)
    return torch.cat([kinds[..., None].float(), places], 2), standardized(energy)[:, None]


def schnet_case(cached: bool = False) -> Case:
    x, y = molecules()
    return Case(SchNet(cached=cached), x, y, F.mse_loss, r2, 0.8, adam(3e-3), steps=300, batch=64)


@healthy
def schnet_shifted_softplus() -> Case:
    return schnet_case()


@fault("no-gradient", "filters filters.*", twin=schnet_shifted_softplus)
def schnet_filters_under_no_grad() -> Case:
    return schnet_case(cached=True)


def mend_filters(case: Case, code: str) -> bool:
    if code == "no-gradient":
        case.model.cached = False
        return True
    return False


schnet_filters_under_no_grad = mended(schnet_filters_under_no_grad, mend_filters)


@fault("unscaled-targets wrong-prior", "* readout.2.bias readout.2", twin=schnet_shifted_softplus)
def schnet_total_energies() -> Case:
    """Total energies in electron volts, as the quantum chemistry code prints them."""
    case = schnet_case()
    case.targets = -2079.4 + 10.2 * case.targets
    return case


def mend_energies(case: Case, code: str) -> bool:
    if code in ("unscaled-targets", "wrong-prior"):
        case.targets = standardized(case.targets)
        return True
    return False


schnet_total_energies = mended(schnet_total_energies, mend_energies)


class EquivariantLayer(nn.Module):
    def __init__(self, width: int, rooted: bool, last: bool = False) -> None:
        super().__init__()
        self.rooted = rooted
        self.edge = dense([2 * width + 1, width, width], last=nn.SiLU())
        self.node = None if last else dense([2 * width, width, width])
        self.coordinate = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1, bias=False))
        nn.init.xavier_uniform_(self.coordinate[2].weight, gain=0.001)

    def forward(self, h: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        n = x.shape[1]
        apart = x[:, :, None] - x[:, None]
        d = apart.square().sum(3, keepdim=True)
        if self.rooted:
            d = torch.sqrt(d)
        pairs = [h[:, :, None].expand(-1, -1, n, -1), h[:, None].expand(-1, n, -1, -1), d]
        m = self.edge(torch.cat(pairs, 3))
        x = x + (apart * self.coordinate(m)).mean(2)
        return h if self.node is None else h + self.node(torch.cat([h, m.mean(2)], 2)), x


class Egnn(nn.Module):
    """Displacements of charged points; only places are asked for, so that the last layer updates no features."""

    def __init__(self, width: int = 24, rooted: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(1, width)
        self.layers = nn.ModuleList([EquivariantLayer(width, rooted), EquivariantLayer(width, rooted, last=True)])

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        h, start = self.embed(packed[:, :, :1]), packed[:, :, 1:]
        x = start
        for layer in self.layers:
            h, x = layer(h, x)
        return (x - start).flatten(1)


def charges(n: int = 512, atoms: int = 5) -> data.Pair:
    q = torch.randint(2, (n, atoms, 1), generator=seeded(22)).float() * 2 - 1
    x = torch.randn(n, atoms, 3, generator=seeded(23))
    apart = x[:, :, None] - x[:, None]
    pull = q[:, :, None] * q[:, None] * torch.exp(-0.5 * apart.square().sum(3, keepdim=True))
    force = (pull * apart).sum(2)
    return torch.cat([q, x], 2), (force / force.std()).flatten(1)


def egnn_case(rooted: bool = False) -> Case:
    x, y = charges()
    return Case(Egnn(rooted=rooted), x, y, F.mse_loss, r2, 0.7, adam(5e-3), steps=250, batch=32)


@healthy
def egnn_coordinate_head_of_gain_a_thousandth() -> Case:
    return egnn_case()


@fault(
    "non-finite-gradients",
    "embed* layers layers.0* layers.1",
    twin=egnn_coordinate_head_of_gain_a_thousandth,
)
def egnn_root_of_the_own_distance() -> Case:
    """The distance to oneself is the root of zero, whose derivative is infinite."""
    return egnn_case(rooted=True)


def mend_root(case: Case, code: str) -> bool:
    if code == "non-finite-gradients":
        for layer in case.model.layers:
            layer.rooted = False
        return True
    return False


egnn_root_of_the_own_distance = mended(egnn_root_of_the_own_distance, mend_root)


# ---------------------------------------------------------------- uncertainty


class BayesLinear(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(b, a) / math.sqrt(a))
        self.bias = nn.Parameter(torch.zeros(b))
        self.rho = nn.Parameter(torch.full((b, a), -4.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return F.linear(x, self.mean, self.bias)
        deviation = F.softplus(self.rho)
        return F.linear(x, self.mean + deviation * torch.randn_like(deviation), self.bias)

    def kl(self) -> torch.Tensor:
        deviation = F.softplus(self.rho)
        return (0.5 * (deviation.square() + self.mean.square() - 1) - deviation.log()).sum()


class BayesNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = BayesLinear(4, 48), BayesLinear(48, 48), BayesLinear(48, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.tanh(self.second(torch.tanh(self.first(x))))
        return self.last(h), self.first.kl() + self.second.kl() + self.last.kl()


@healthy
def bayes_by_backprop_deviations_all_alike() -> Case:
    """The evidence bound with noise 0.3: every deviation starts at the same small value, as in the paper."""
    x, y = data.smooth()

    def bound(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(outputs[0], targets) / (2 * 0.3**2) + outputs[1] / len(x)

    return Case(BayesNet(), x, y, bound, lambda o, t: r2(o[0], t), 0.6, adam(1e-2), steps=500)


class BatchedLinear(nn.Module):
    """One linear layer for each member, in one tensor of (members, in, out)."""

    def __init__(self, members: int, a: int, b: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(a)
        self.weight = nn.Parameter(torch.empty(members, a, b).normal_(0, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, b))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class BatchedEnsemble(nn.Module):
    def __init__(self, members: int = 5, width: int = 48) -> None:
        super().__init__()
        self.members = members
        self.layers = nn.ModuleList(
            [BatchedLinear(members, 4, width)]
            + [BatchedLinear(members, width, width) for _ in range(4)]
            + [BatchedLinear(members, width, 2)]
        )
        with torch.no_grad():
            self.layers[-1].weight.mul_(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.expand(self.members, *x.shape)
        for layer in self.layers[:-1]:
            h = F.silu(layer(h)) * 1.6
        h = self.layers[-1](h)
        return torch.stack([h[..., 0], 3 * torch.tanh(h[..., 1] / 3)], 2)


def ensemble_nll(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    mean, log_variance = outputs.unbind(2)
    return 0.5 * ((targets.T - mean).square() * torch.exp(-log_variance) + log_variance).mean()


def ensemble_r2(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return r2(outputs[..., 0].mean(0)[:, None], targets)


def batched_ensemble_case() -> Case:
    x, y = data.smooth()
    return Case(BatchedEnsemble(), x, y, ensemble_nll, ensemble_r2, 0.9, adam(2e-3), steps=300)


@healthy
def ensemble_members_in_one_tensor() -> Case:
    return batched_ensemble_case()


@fault(
    "wrong-fan vanishing-forward wrong-gain vanishing-gradient",
    "layers layers.* layers.*.weight",
    twin=ensemble_members_in_one_tensor,
)
def ensemble_fan_of_a_three_dimensional_tensor() -> Case:
    """kaiming_normal_ takes (members, in, out) for a convolution's: in times out is its fan."""
    case = batched_ensemble_case()
    for layer in case.model.layers[:-1]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return case


class SharedStemEnsemble(nn.Module):
    def __init__(self, members: int = 4, registered: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(4, 32), nn.SiLU())
        heads = [dense([32, 32, 32, 2]) for _ in range(members)]
        self.members = nn.ModuleList(heads) if registered else heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        out = torch.stack([member(h) for member in self.members])
        return torch.stack([out[..., 0], 3 * torch.tanh(out[..., 1] / 3)], 2)


def stem_case(registered: bool = True) -> Case:
    x, y = data.smooth()
    return Case(SharedStemEnsemble(registered=registered), x, y, ensemble_nll, ensemble_r2, 0.75, adam(3e-3), steps=400)


@healthy
def ensemble_on_a_shared_stem() -> Case:
    return stem_case()


@fault("unregistered-layer not-in-optimizer", "members*", twin=ensemble_on_a_shared_stem)
def ensemble_members_in_a_list() -> Case:
    return stem_case(registered=False)


def mend_members(case: Case, code: str) -> bool:
    if code in ("unregistered-layer", "not-in-optimizer"):
        heads = case.model.members
        case.model.members = nn.ModuleList(heads)
        return True
    return False


ensemble_members_in_a_list = mended(ensemble_members_in_a_list, mend_members)


# ---------------------------------------------------------------- flows and diffusion


class Coupling(nn.Module):
    def __init__(self, flipped: bool) -> None:
        super().__init__()
        self.flipped = flipped
        self.net = dense([1, 48, 48, 2], nn.ReLU)
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = x.flip(1).chunk(2, 1) if self.flipped else x.chunk(2, 1)
        s, t = self.net(a).chunk(2, 1)
        s = 2 * torch.tanh(s / 2)
        b = b * s.exp() + t
        return torch.cat([b, a] if self.flipped else [a, b], 1), s


class RealNvp(nn.Module):
    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(i % 2 == 1) for i in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.new_zeros(len(x), 1)
        for coupling in self.couplings:
            x, s = coupling(x)
            total = total + s
        return torch.cat([x, total], 1)


def log_likelihood(outputs: torch.Tensor) -> torch.Tensor:
    z, log_det = outputs[:, :-1], outputs[:, -1]
    return (-0.5 * z.square().sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi) + log_det).mean()


def moons(n: int = 2048) -> torch.Tensor:
    x = torch.tensor(make_moons(n, noise=0.06, random_state=0)[0], dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0)


def flow_case() -> Case:
    x = moons()
    return Case(
        RealNvp(), x, x, lambda o, _: -log_likelihood(o),
        lambda o, _: float(log_likelihood(o)), -2.1, adam(3e-3), steps=400, batch=128,
    )  # fmt: skip


@healthy
def realnvp_starts_as_the_identity() -> Case:
    return flow_case()


@fault("flipped-loss", twin=realnvp_starts_as_the_identity)
def realnvp_minimizes_the_likelihood() -> Case:
    case = flow_case()
    case.loss_fn = lambda o, _: log_likelihood(o)
    return case


def mend_flow(case: Case, code: str) -> bool:
    if code == "flipped-loss":
        case.loss_fn = lambda o, _: -log_likelihood(o)
        return True
    return False


realnvp_minimizes_the_likelihood = mended(realnvp_minimizes_the_likelihood, mend_flow)


class Denoiser(nn.Module):
    """Noised points and their time, as (batch, 3); the last layer starts at zero."""

    def __init__(self, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 4, 8)))
        self.enter = nn.Linear(2 + 16, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(depth)
        )
        self.leave = nn.Linear(width, 2)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angle = x[:, 2:] * self.frequencies
        h = self.enter(torch.cat([x[:, :2], angle.sin(), angle.cos()], 1))
        for block in self.blocks:
            h = h + block(h)
        return self.leave(F.silu(h))


def diffusion_case() -> Case:
    x = moons(4096)
    t = torch.rand(4096, 1, generator=seeded(24))
    noise = torch.randn(4096, 2, generator=seeded(25))
    kept = torch.cos(0.5 * math.pi * t)
    packed = torch.cat([kept * x + (1 - kept.square()).sqrt() * noise, t], 1)
    return Case(Denoiser(), packed, noise, F.mse_loss, r2, 0.45, adam(2e-3), steps=400, batch=128)


@healthy
def denoiser_last_layer_of_zeros() -> Case:
    return diffusion_case()


# ---------------------------------------------------------------- reinforcement learning


class TwinCritics(nn.Module):
    """Transitions packed as (s, a, s', a', r); the targets' networks are frozen copies that follow slowly."""

    def __init__(self, copied: bool = False) -> None:
        super().__init__()
        self.q1 = dense([5, 48, 48, 1], nn.ReLU)
        self.q2 = copy.deepcopy(self.q1) if copied else dense([5, 48, 48, 1], nn.ReLU)
        self.q1_target = copy.deepcopy(self.q1).requires_grad_(False)
        self.q2_target = copy.deepcopy(self.q2).requires_grad_(False)

    @torch.no_grad()
    def follow(self) -> None:
        for slow, fast in ((self.q1_target, self.q1), (self.q2_target, self.q2)):
            for p, q in zip(slow.parameters(), fast.parameters(), strict=True):
                p.lerp_(q, 0.05)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled():
            self.follow()
        now, then, reward = x[:, :5], x[:, 5:10], x[:, 10:]
        with torch.no_grad():
            target = reward + 0.7 * torch.minimum(self.q1_target(then), self.q2_target(then))
        return torch.cat([self.q1(now), self.q2(now), target], 1)


def td_loss(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(outputs[:, 0], outputs[:, 2]) + F.mse_loss(outputs[:, 1], outputs[:, 2])


def transitions(n: int = 2048) -> data.Pair:
    """The policy that is judged does nothing; the state shrinks by itself. The true values are known."""
    s = torch.randn(n, 3, generator=seeded(26))
    a = torch.rand(n, 2, generator=seeded(27)) * 2 - 1
    reward = torch.sin(1.5 * s[:, :1]) + s[:, 1:2] * a[:, :1]
    later = sum(0.7**k * torch.sin(1.5 * 0.8**k * s[:, :1]) for k in range(1, 30))
    x = torch.cat([s, a, 0.8 * s, torch.zeros(n, 2), reward], 1)
    return x, reward + later


def critics_case(copied: bool = False) -> Case:
    x, q = transitions()
    return Case(
        TwinCritics(copied), x, q, td_loss, lambda o, t: r2(o[:, :1], t), 0.75, adam(3e-3), steps=400, batch=128
    )


@healthy
def twin_critics_with_frozen_targets() -> Case:
    return critics_case()


@fault("duplicated-draws", "q1* q2*", twin=twin_critics_with_frozen_targets)
def twin_critics_by_deepcopy() -> Case:
    """Both critics start, and so stay, the same: their minimum is no minimum."""
    return critics_case(copied=True)


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor = dense([8, 48, 48, 4], nn.Tanh)
        self.critic = dense([8, 48, 48, 1], nn.Tanh)
        for net, gain in ((self.actor, 0.01), (self.critic, 1.0)):
            for i in (0, 2, 4):
                nn.init.orthogonal_(net[i].weight, math.sqrt(2) if i < 4 else gain)
                nn.init.zeros_(net[i].bias)

    def forward(self, s: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.actor(s), self.critic(s)], 1)


def ppo_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    action, advantage, gain = targets[:, 0].long(), targets[:, 1], targets[:, 2]
    log_policy = F.log_softmax(outputs[:, :4], 1)
    ratio = torch.exp(log_policy.gather(1, action[:, None])[:, 0] + math.log(4))
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    entropy = -(log_policy.exp() * log_policy).sum(1).mean()
    return -surrogate + 0.5 * F.mse_loss(outputs[:, 4], gain) - 0.01 * entropy


@healthy
def ppo_policy_head_of_a_hundredth() -> Case:
    """The data are of a uniform policy; targets are packed as action, advantage, return and the best action."""
    s = torch.randn(4096, 8, generator=seeded(28))
    best = (s @ torch.randn(8, 4, generator=seeded(29))).argmax(1)
    action = torch.randint(4, (4096,), generator=seeded(30))
    gain = (action == best).float() + 0.1 * torch.randn(4096, generator=seeded(31))
    targets = torch.stack([action.float(), standardized(gain), standardized(gain), best.float()], 1)
    return Case(
        ActorCritic(), s, targets, ppo_loss, lambda o, t: accuracy(o[:, :4], t[:, 3].long()), 0.75, adam(1e-3),
        steps=400, batch=128,
    )  # fmt: skip


class RandomDistillation(nn.Module):
    """Curiosity: a network learns what a random one says, which is never trained."""

    def __init__(self) -> None:
        super().__init__()
        self.target = dense([6, 64, 16], nn.ReLU)
        self.predictor = dense([6, 64, 64, 16], nn.ReLU)
        for net in (self.target, self.predictor):
            for module in net:
                if isinstance(module, nn.Linear):
                    nn.init.orthogonal_(module.weight, math.sqrt(2))
                    nn.init.zeros_(module.bias)
        self.target.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.predictor(x), self.target(x).detach()], 1)


@healthy
def random_network_distillation() -> Case:
    x = torch.randn(2048, 6, generator=seeded(32))
    return Case(
        RandomDistillation(), x, x, lambda o, _: F.mse_loss(o[:, 0], o[:, 1]),
        lambda o, _: r2(o[:, 0], o[:, 1]), 0.85, adam(2e-3), steps=300,
    )  # fmt: skip


LEVELS = (torch.arange(15) + 0.5) / 15


def pinball(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    error = targets - outputs
    return torch.maximum(LEVELS * error, (LEVELS - 1) * error).mean()


@healthy
def quantile_critic_pinball() -> Case:
    """Distributional: fifteen quantiles of one target; the score is of the median, of noisy returns."""
    x, y = data.smooth()
    noise = torch.randn(len(x), 1, generator=seeded(33)) * 0.3 * (1 + x[:, :1].abs())
    y = standardized(y + noise)
    return Case(
        dense([4, 64, 64, 15], nn.ReLU), x, y, pinball, lambda o, t: r2(o[:, 7:8], t), 0.6, adam(3e-3), steps=400
    )


# ---------------------------------------------------------------- survival and counts

BINS = 8


def lifetimes(n: int = 2048) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features; for each interval whether the event fell in it; and whether one was still watched then."""
    x = torch.randn(n, 5, generator=seeded(34))
    log_odds = -2.2 + 1.5 * x[:, :1] - 1.0 * torch.tanh(2 * x[:, 1:2]) + 0.8 * x[:, 2:3] * x[:, 3:4]
    falls = torch.rand(n, BINS, generator=seeded(35)) < torch.sigmoid(log_odds)
    gone = (falls.cumsum(1) - falls.long()) > 0
    left = torch.rand(n, BINS, generator=seeded(36)).lt(0.05).cumsum(1) > 0
    watched = ~gone & ~left
    return x, (falls & watched).float(), watched.float()


def hazard_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    event, watched = targets[:, :BINS], targets[:, BINS:]
    each = F.binary_cross_entropy_with_logits(outputs, event, reduction="none")
    return (each * watched).sum() / watched.sum()


def hazard_skill(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """How much better than one constant hazard."""
    event, watched = targets[:, :BINS], targets[:, BINS:]
    p = event.sum() / watched.sum()
    base = -(p * p.log() + (1 - p) * (1 - p).log())
    return float(1 - hazard_loss(outputs, targets) / base)


def hazard_case(squashed: bool = False) -> Case:
    x, event, watched = lifetimes()
    last = nn.Sigmoid() if squashed else None
    model = dense([5, 48, 48, BINS], nn.ReLU, last)
    p = event.sum(0) / watched.sum(0)
    model[4].bias.data.copy_(torch.log(p / (1 - p)))
    return Case(
        model, x, torch.cat([event, watched], 1), hazard_loss, hazard_skill, 0.12, adam(2e-3), steps=300, batch=128
    )


@healthy
def discrete_hazards_prior_in_the_bias() -> Case:
    return hazard_case()


@fault("double-softmax", "5 4*", twin=discrete_hazards_prior_in_the_bias)
def discrete_hazards_sigmoid_before_logits() -> Case:
    return hazard_case(squashed=True)


def mend_hazards(case: Case, code: str) -> bool:
    if code == "double-softmax":
        case.model[5] = nn.Identity()
        return True
    return False


discrete_hazards_sigmoid_before_logits = mended(discrete_hazards_sigmoid_before_logits, mend_hazards)


def cox_loss(risk: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Minus the partial likelihood among the batch."""
    time, event = targets.unbind(1)
    order = time.argsort(descending=True)
    r = risk[order, 0]
    return -((r - torch.logcumsumexp(r, 0)) * event[order]).sum() / event.sum()


def concordance(risk: torch.Tensor, targets: torch.Tensor) -> float:
    time, event = targets.unbind(1)
    r = risk[:, 0]
    earlier = (time[:, None] < time[None]) & (event[:, None] > 0)
    return float((r[:, None] > r[None])[earlier].float().mean())


@healthy
def cox_risk_without_a_bias() -> Case:
    x = torch.randn(2048, 5, generator=seeded(37))
    log_hazard = 1.2 * x[:, 0] - torch.relu(1.5 * x[:, 1]) + 0.5 * x[:, 2]
    time = -torch.log(torch.rand(2048, generator=seeded(38))) * torch.exp(-log_hazard)
    censored = torch.rand(2048, generator=seeded(39)) * 5
    targets = torch.stack([torch.minimum(time, censored), (time < censored).float()], 1)
    model = dense([5, 32, 32], nn.SELU, nn.SELU())
    model.append(nn.Linear(32, 1, bias=False))
    return Case(model, x, targets, cox_loss, concordance, 0.72, adam(2e-3), steps=250, batch=128)


class CountNet(nn.Module):
    """The last column is the logarithm of the exposure, which is added to the output as it is."""

    def __init__(self, log_rate: float) -> None:
        super().__init__()
        self.body = dense([5, 48, 48, 1], nn.ReLU)
        nn.init.zeros_(self.body[4].weight)
        nn.init.constant_(self.body[4].bias, log_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x[:, :5]) + x[:, 5:]


def poisson_skill(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The share of the deviance that is explained."""

    def deviance(rate: torch.Tensor) -> torch.Tensor:
        return (torch.xlogy(targets, targets / rate) - targets + rate).mean()

    return float(1 - deviance(outputs.exp()) / deviance(targets.mean().expand_as(targets)))


@healthy
def poisson_counts_with_an_exposure() -> Case:
    x = torch.randn(2048, 5, generator=seeded(40))
    exposure = torch.rand(2048, 1, generator=seeded(41)) + 0.5
    rate = torch.exp(1.5 + 0.6 * x[:, :1] + 0.4 * torch.sin(2 * x[:, 1:2]) - 0.3 * x[:, 2:3].abs())
    y = torch.poisson(rate * exposure, generator=seeded(42))
    model = CountNet(float(torch.log(y.sum() / exposure.sum())))
    return Case(
        model, torch.cat([x, exposure.log()], 1), y, nn.PoissonNLLLoss(log_input=True), poisson_skill, 0.5, adam(2e-3),
        steps=300, batch=128,
    )  # fmt: skip


# ---------------------------------------------------------------- recommenders, tables, metrics, inverse problems


class Factors(nn.Module):
    """Ratings of (user, item); the mean rating is a buffer."""

    def __init__(self, mean: float, width: int = 8) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(60, width), nn.Embedding(50, width)
        self.user_bias, self.item_bias = nn.Embedding(60, 1), nn.Embedding(50, 1)
        for table in (self.user, self.item):
            nn.init.normal_(table.weight, 0, 0.1)
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)
        self.register_buffer("mean", torch.tensor(mean))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        u, i = ids[:, 0], ids[:, 1]
        match = (self.user(u) * self.item(i)).sum(1, keepdim=True)
        return self.mean + self.user_bias(u) + self.item_bias(i) + match


def ratings(n: int = 6000) -> data.Pair:
    g = seeded(43)
    user, item = torch.randn(60, 4, generator=g), torch.randn(50, 4, generator=g)
    u, i = torch.randint(60, (n,), generator=g), torch.randint(50, (n,), generator=g)
    y = 3.4 + 0.5 * (user[u] * item[i]).sum(1) + 0.2 * torch.randn(n, generator=g)
    return torch.stack([u, i], 1), y.clamp(1, 5)[:, None]


def factors_case() -> Case:
    x, y = ratings()
    return Case(Factors(float(y.mean())), x, y, F.mse_loss, r2, 0.75, adam(2e-2), steps=400, batch=256)


@healthy
def factors_small_with_zero_biases() -> Case:
    return factors_case()


@fault("constant-init symmetric-units", "user user.weight item item.weight", twin=factors_small_with_zero_biases)
def factors_all_of_a_tenth() -> Case:
    """constant_ where normal_ was meant: the eight factors are one for ever."""
    case = factors_case()
    nn.init.constant_(case.model.user.weight, 0.1)
    nn.init.constant_(case.model.item.weight, 0.1)
    return case


class Proxies(nn.Module):
    """Cosines of the embedding to one proxy a class."""

    def __init__(self) -> None:
        super().__init__()
        self.body = dense([64, 64, 16], nn.PReLU)
        self.proxies = nn.Parameter(torch.randn(10, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.body(x), dim=1) @ F.normalize(self.proxies, dim=1).T


def cosface(cosines: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(16 * (cosines - 0.2 * F.one_hot(targets, 10)), targets)


@healthy
def proxies_with_a_margin_scale_in_the_loss() -> Case:
    x, y = data.digits()
    return Case(Proxies(), x, y, cosface, accuracy, 0.9, adam(3e-3), steps=250)


class Lista(nn.Module):
    """Soft thresholding, unrolled five times with one set of weights."""

    def __init__(self, a: torch.Tensor, steps: int = 5) -> None:
        super().__init__()
        self.steps = steps
        bound = float(torch.linalg.eigvalsh(a.T @ a).max())
        self.encode = nn.Linear(a.shape[0], a.shape[1], bias=False)
        self.again = nn.Linear(a.shape[1], a.shape[1], bias=False)
        self.encode.weight.data.copy_(a.T / bound)
        self.again.weight.data.copy_(torch.eye(a.shape[1]) - a.T @ a / bound)
        self.threshold = nn.Parameter(torch.full((a.shape[1],), 0.05))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        entered = self.encode(y)
        s = torch.zeros_like(entered)
        for _ in range(self.steps):
            z = entered + self.again(s)
            s = torch.relu(z - self.threshold) - torch.relu(-z - self.threshold)
        return s


@healthy
def lista_starts_as_the_algorithm() -> Case:
    g = seeded(44)
    a = torch.randn(20, 32, generator=g) / math.sqrt(20)
    s = torch.randn(2048, 32, generator=g) * (torch.rand(2048, 32, generator=g) < 0.1)
    s = s / s.std()
    y = s @ a.T + 0.02 * torch.randn(2048, 20, generator=g)
    return Case(Lista(a), y, s, F.mse_loss, r2, 0.75, adam(3e-3), steps=300)


def drag_case(last: nn.Module | None = None) -> Case:
    x, y = data.smooth()
    return Case(dense([4, 64, 64, 1], nn.GELU, last), x, y, F.mse_loss, r2, 0.85, adam(3e-3), steps=400)


@healthy
def surrogate_gelu() -> Case:
    return drag_case()


@fault("unreachable-targets", "5 4*", twin=surrogate_gelu)
def surrogate_softplus_over_standardized_targets() -> Case:
    """A drag is positive, but it was standardized."""
    return drag_case(nn.Softplus())


def mend_drag(case: Case, code: str) -> bool:
    if code == "unreachable-targets":
        case.model[5] = nn.Identity()
        return True
    return False


surrogate_softplus_over_standardized_targets = mended(surrogate_softplus_over_standardized_targets, mend_drag)


# ---------------------------------------------------------------- faults of the training


@fault(
    "learning-rate-too-high update-too-large loss-rising loss-diverged loss-oscillating gradient-spike "
    "exploded-gradients trivial-plateau loss-stuck",
    when="training",
    twin=denoiser_last_layer_of_zeros,
)
def denoiser_rate_of_a_half() -> Case:
    case = diffusion_case()
    case.optimizer = adam(0.5)
    return case


def mend_denoiser(case: Case, code: str) -> bool:
    case.optimizer = adam(2e-3)
    return True


denoiser_rate_of_a_half = mended(denoiser_rate_of_a_half, mend_denoiser)


@fault(
    "learning-rate-too-low update-too-small loss-stuck trivial-plateau",
    when="training",
    twin=gcn_four_layers_mean_pooled,
)
def gcn_warmup_counted_in_samples() -> Case:
    """The warmup is 200 000 steps long: it was given in samples."""
    case = gcn_case()
    case.schedule = lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: min(1.0, (i + 1) / 200_000))
    return case


def mend_warmup(case: Case, code: str) -> bool:
    case.schedule = None
    return True


gcn_warmup_counted_in_samples = mended(gcn_warmup_counted_in_samples, mend_warmup)


def noisy_drags() -> data.Pair:
    x, y = data.smooth()
    return x, y + 0.3 * torch.randn(len(y), 1, generator=seeded(45))


@fault("over-fitting", when="training", twin=surrogate_gelu)
def surrogate_of_forty_simulations() -> Case:
    x, y = noisy_drags()
    model = dense([4, 128, 128, 1], nn.GELU)
    case = Case(model, x[:40], y[:40], F.mse_loss, r2, 0.75, adam(3e-3), steps=400, batch=32)
    case.held_out = (x[824:], y[824:])
    return case


def mend_few(case: Case, code: str) -> bool:
    """Simulates more, and stops earlier."""
    x, y = noisy_drags()
    case.inputs, case.targets, case.steps = x[:824], y[:824], 200
    return True


surrogate_of_forty_simulations = mended(surrogate_of_forty_simulations, mend_few)


@fault(
    "trivial-plateau loss-stuck vanished-gradients",
    when="training",
    twin=factors_small_with_zero_biases,
)
def factors_decayed_to_nothing() -> Case:
    """The regularization of the paper's loss, given to Adam a sum's worth too strong."""
    case = factors_case()
    case.optimizer = lambda model: torch.optim.Adam(model.parameters(), 2e-2, weight_decay=1.0)
    return case


def mend_decay(case: Case, code: str) -> bool:
    case.optimizer = adam(2e-2)
    return True


factors_decayed_to_nothing = mended(factors_decayed_to_nothing, mend_decay)


@fault(
    "loss-oscillating loss-rising loss-diverged update-too-large learning-rate-too-high exploded-gradients "
    "gradient-spike loss-stuck",
    when="training",
    twin=deeponet_antiderivative,
)
def deeponet_gradients_never_zeroed() -> Case:
    case = deeponet_case()
    case.zeroed = False
    return case


def mend_zeroed(case: Case, code: str) -> bool:
    case.zeroed = True
    return True


deeponet_gradients_never_zeroed = mended(deeponet_gradients_never_zeroed, mend_zeroed)
