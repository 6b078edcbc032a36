"""Programs of an author who has not seen how the library decides: science, graphs, control, statistics."""

from __future__ import annotations

import copy
import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .program import Case, adam, fault, healthy, mended, r2, sgd


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- physics-informed networks


class Oscillator(nn.Module):
    """u(t) with u(0) = 1 built in; gives u and the residual of u' + k u = cos 3t."""

    def __init__(self, inverse: bool = False) -> None:
        super().__init__()
        self.net = nets.glorot(nets.mlp([1, 32, 32, 1], nn.Tanh))
        self.inverse = inverse
        if inverse:
            self.rate = nn.Parameter(torch.tensor(0.5))

    def forward(self, t):
        with torch.enable_grad():
            t = t.detach().requires_grad_(True)
            u = 1 + t * self.net(t)
            (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
            rate = self.rate if self.inverse else 2.0
            return torch.cat([u, slope + rate * u - torch.cos(3 * t)], 1)


def oscillation(n=512):
    t = torch.rand(n, 1, generator=rng(11)) * 2
    particular = (2 * torch.cos(3 * t) + 3 * torch.sin(3 * t)) / 13
    return t, particular + (1 - 2 / 13) * torch.exp(-2 * t)


@healthy
def pinn_inverse_rate():
    t, u = oscillation()
    return Case(
        Oscillator(True), t, u, lambda out, y: out[:, 1].square().mean() + (out[:, :1] - y).square().mean(),
        lambda out, y: -float(out[:, 1].square().mean()), -0.02, adam(5e-3), 700,
    )  # fmt: skip


@fault("not-in-optimizer", "rate", twin=pinn_inverse_rate)
def pinn_rate_left_out():
    case = pinn_inverse_rate.build()
    case.optimizer = lambda model: torch.optim.Adam(model.net.parameters(), 5e-3)
    return case


def _all_parameters(case, code):
    case.optimizer = adam(5e-3)
    return True


pinn_rate_left_out = mended(pinn_rate_left_out, _all_parameters)


# ---------------------------------------------------------------- operators


class Spectral(nn.Module):
    def __init__(self, width: int, modes: int, raw: bool) -> None:
        super().__init__()
        self.modes, self.raw = modes, raw
        scale = 1 / width
        self.weight = nn.Parameter(scale * torch.randn(width, width, modes, 2) / math.sqrt(2))
        self.point = nn.Conv1d(width, width, 1)

    def forward(self, x):
        spectrum = torch.fft.rfft(x)[..., : self.modes]
        weight = self.weight.data if self.raw else self.weight
        mixed = torch.einsum("bim,iom->bom", spectrum, torch.view_as_complex(weight))
        return self.point(x) + torch.fft.irfft(mixed, n=x.shape[-1])


class FNO(nn.Module):
    def __init__(self, raw: bool = False, width: int = 16) -> None:
        super().__init__()
        self.lift = nn.Conv1d(2, width, 1)
        self.blocks = nn.ModuleList(Spectral(width, 6, raw) for _ in range(3))
        self.project = nn.Sequential(nn.Conv1d(width, 32, 1), nn.GELU(), nn.Conv1d(32, 1, 1))

    def forward(self, u):
        grid = torch.linspace(0, 1, u.shape[-1]).expand(len(u), 1, -1)
        h = self.lift(torch.cat([u[:, None], grid], 1))
        for i, block in enumerate(self.blocks):
            h = block(h)
            if i < len(self.blocks) - 1:
                h = F.gelu(h)
        return self.project(h)[:, 0]


def heat():
    u = torch.randn(512, 32, generator=rng(13)).cumsum(1)
    u = (u - u.mean(1, keepdim=True)) / 3
    decay = torch.exp(-0.1 * torch.arange(17.0).square())
    y = torch.fft.irfft(torch.fft.rfft(u) * decay, n=32)
    return u, y / y.std()


@healthy
def fourier_operator_heat():
    u, y = heat()
    return Case(FNO(), u, y, F.mse_loss, r2, 0.9, adam(3e-3), 250)


@fault("no-gradient", "blocks.? blocks.?.weight", twin=fourier_operator_heat)
def fourier_operator_through_data():
    """The complex view is taken of ``weight.data``: the spectral filters stay as drawn."""
    u, y = heat()
    return Case(FNO(raw=True), u, y, F.mse_loss, r2, 0.9, adam(3e-3), 250)


def _not_raw(case, code):
    for block in case.model.blocks:
        block.raw = False
    return True


fourier_operator_through_data = mended(fourier_operator_through_data, _not_raw)


# ---------------------------------------------------------------- graphs


def community(n=240):
    g = rng(15)
    label = torch.arange(n) % 3
    same = (label[:, None] == label).float()
    edge = (torch.rand(n, n, generator=g) < 0.10 * same + 0.01).float().triu(1)
    x = F.one_hot(label, 3).float() @ torch.randn(3, 12, generator=g) + 1.5 * torch.randn(n, 12, generator=g)
    return x, edge + edge.T, label


class GCN(nn.Module):
    """Transductive: the graph is held; the inputs are node numbers."""

    def __init__(self, depth: int = 2, width: int = 24) -> None:
        super().__init__()
        x, adjacency, _ = community()
        looped = adjacency + torch.eye(len(x))
        root = looped.sum(1).rsqrt()
        self.register_buffer("features", x)
        self.register_buffer("propagation", root[:, None] * looped * root)
        sizes = [12] + [width] * (depth - 1) + [3]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        nets.glorot(self)

    def forward(self, nodes):
        h = self.features
        for i, layer in enumerate(self.layers):
            h = self.propagation @ layer(h)
            if i < len(self.layers) - 1:
                h = F.relu(h)
        return h[nodes]


@healthy
def gcn_communities():
    label = community()[2]
    nodes = torch.randperm(240, generator=rng(16))
    return Case(GCN(), nodes, label[nodes], F.cross_entropy, trains=0.85, optimizer=adam(1e-2), steps=150)


@fault(
    "rank-collapse vanishing-forward vanishing-gradient wrong-gain", "layers* features propagation",
    twin=gcn_communities,
)  # fmt: skip
def gcn_of_twenty_four_layers():
    case = gcn_communities.build()
    case.model = GCN(depth=24)
    return case


def _shallow(case, code):
    if code != "rank-collapse":
        return False
    case.model = GCN()
    return True


gcn_of_twenty_four_layers = mended(gcn_of_twenty_four_layers, _shallow)


class GIN(nn.Module):
    """Graphs packed as (nodes, features + adjacency)."""

    def __init__(self, mean: bool, nodes: int = 16, rounds: int = 5, width: int = 32) -> None:
        super().__init__()
        self.nodes, self.mean = nodes, mean
        self.embed = nn.Linear(4, width)
        self.rounds = nn.ModuleList(nets.he(nets.mlp([width, width, width])) for _ in range(rounds))
        self.readout = nn.Linear(width, 1)

    def forward(self, packed):
        x, adjacency = packed.split([4, self.nodes], 2)
        if self.mean:
            adjacency = adjacency / adjacency.sum(2, keepdim=True).clamp(min=1)
        h = self.embed(x)
        for update in self.rounds:
            h = F.relu(update(h + adjacency @ h))
        return self.readout(h.mean(1))


def dense_graphs(n=512, nodes=16):
    g = rng(17)
    x = torch.randn(n, nodes, 4, generator=g)
    edge = (torch.rand(n, nodes, nodes, generator=g) < 0.8).float().triu(1)
    edge = edge + edge.mT
    y = x[:, :, 0].abs().mean(1, keepdim=True) + 0.5 * x[:, :, 1].mean(1, keepdim=True)
    return torch.cat([x, edge], 2), (y - y.mean()) / y.std()


@healthy
def gin_mean_neighbours():
    x, y = dense_graphs()
    return Case(GIN(True), x, y, F.mse_loss, r2, 0.6, adam(1e-3), 400)


@fault(
    "exploding-forward exploding-gradient large-head", "rounds* readout* embed*",
    twin=gin_mean_neighbours,
)  # fmt: skip
def gin_sums_on_dense_graphs():
    x, y = dense_graphs()
    return Case(GIN(False), x, y, F.mse_loss, r2, 0.6, adam(1e-3), 400)


def _averaged(case, code):
    case.model.mean = True
    return True


gin_sums_on_dense_graphs = mended(gin_sums_on_dense_graphs, _averaged)


# ---------------------------------------------------------------- molecules


class ShiftedSoftplus(nn.Module):
    def forward(self, x):
        return F.softplus(x) - math.log(2.0)


class SchNet(nn.Module):
    """Continuous-filter convolutions over distances; the energy is a sum over atoms."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(0.5, 4, 16))
        self.atom = nn.Parameter(torch.randn(1, 1, width))
        self.filters = nn.ModuleList(
            nn.Sequential(nn.Linear(16, width), ShiftedSoftplus(), nn.Linear(width, width)) for _ in range(2)
        )
        self.inner = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.outer = nn.ModuleList(nets.mlp([width, width, width], ShiftedSoftplus) for _ in range(2))
        self.energy = nets.mlp([width, 16, 1], ShiftedSoftplus)

    def forward(self, position):
        distance = torch.cdist(position, position)
        basis = torch.exp(-4 * (distance[..., None] - self.centers).square())
        others = 1 - torch.eye(position.shape[1])[..., None]
        h = self.atom.expand(*position.shape[:2], -1)
        for make, inner, outer in zip(self.filters, self.inner, self.outer, strict=True):
            message = (make(basis) * others * inner(h)[:, None]).sum(2)
            h = h + outer(message)
        return self.energy(h).sum(1)


def clusters(n=512):
    grid = torch.cartesian_prod(*[torch.arange(2.0)] * 3)[:6] * 1.3
    position = grid + 0.2 * torch.randn(n, 6, 3, generator=rng(18))
    d = torch.cdist(position, position) + 10 * torch.eye(6)
    energy = ((1 - torch.exp(-1.5 * (d - 1.3))).square() - 1).clamp(max=4).sum((1, 2)) / 2
    return position, ((energy - energy.mean()) / energy.std())[:, None]


@healthy
def schnet_morse_cluster():
    x, y = clusters()
    return Case(SchNet(), x, y, F.mse_loss, r2, 0.9, adam(3e-3), 350)


@fault("unscaled-targets wrong-prior", twin=schnet_morse_cluster)
def schnet_total_energies():
    """Total energies, in wave numbers, with the atoms' own energies still in them."""
    x, y = clusters()
    return Case(SchNet(), x, 900 * y - 48000, F.mse_loss, r2, 0.9, adam(3e-3), 350)


def _standardized(case, code):
    case.targets = (case.targets - case.targets.mean()) / case.targets.std()
    return True


schnet_total_energies = mended(schnet_total_energies, _standardized)


class EGNN(nn.Module):
    def __init__(self, guarded: bool, width: int = 24) -> None:
        super().__init__()
        self.guarded = guarded
        self.edges = nn.ModuleList(nets.mlp([1, width, width], nn.SiLU) for _ in range(3))
        self.shifts = nn.ModuleList(nn.Linear(width, 1, bias=False) for _ in range(2))
        self.energy = nets.mlp([width, width, 1], nn.SiLU)
        for shift in self.shifts:
            nn.init.xavier_uniform_(shift.weight, gain=0.01)

    def forward(self, x):
        for i, edge in enumerate(self.edges):
            gap = x[:, :, None] - x[:, None]
            square = gap.square().sum(-1, keepdim=True)
            distance = (square + 1e-8).sqrt() if self.guarded else square.sqrt()
            message = F.silu(edge(distance))
            if i < 2:
                x = x + (gap * self.shifts[i](message)).mean(2)
        return self.energy(message.mean(2)).mean(1)


@healthy
def egnn_tiny_coordinate_heads():
    x, y = clusters()
    return Case(EGNN(True), x, y, F.mse_loss, r2, 0.5, adam(5e-3), 350)


@fault("non-finite-gradients", twin=egnn_tiny_coordinate_heads)
def egnn_root_of_zero():
    """The distance of an atom to itself: a root at zero, of infinite slope."""
    x, y = clusters()
    return Case(EGNN(False), x, y, F.mse_loss, r2, 0.5, adam(5e-3), 350)


def _guarded(case, code):
    case.model.guarded = True
    return True


egnn_root_of_zero = mended(egnn_root_of_zero, _guarded)


# ---------------------------------------------------------------- flows and score models


class Coupling(nn.Module):
    def __init__(self, flip: bool, zeros: str) -> None:
        super().__init__()
        self.flip = flip
        self.net = nets.mlp([1, 32, 32, 2])
        for layer in [m for m in self.net if isinstance(m, nn.Linear)][-1 if zeros == "last" else 0 :]:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        a, b = x.flip(1).chunk(2, 1) if self.flip else x.chunk(2, 1)
        log_scale, shift = self.net(a).chunk(2, 1)
        log_scale = 2 * torch.tanh(log_scale / 2)
        b = b * log_scale.exp() + shift
        return torch.cat([b, a] if self.flip else [a, b], 1), log_scale


class RealNVP(nn.Module):
    def __init__(self, zeros: str = "last") -> None:
        super().__init__()
        self.couplings = nn.ModuleList(Coupling(i % 2 == 1, zeros) for i in range(6))

    def forward(self, x):
        volume = 0
        for coupling in self.couplings:
            x, log_scale = coupling(x)
            volume = volume + log_scale
        return torch.cat([x, volume], 1)


def flow_nll(out, y):
    z, volume = out[:, :2], out[:, 2]
    return (0.5 * z.square().sum(1) + math.log(2 * math.pi) - volume).mean()


def moons(n=1024):
    g = rng(19)
    angle = math.pi * torch.rand(n, generator=g)
    upper = torch.rand(n, generator=g) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    points = torch.stack([x, y], 1) + 0.08 * torch.randn(n, 2, generator=g)
    return (points - points.mean(0)) / points.std(0)


def minus_nll(out, y):
    return -float(flow_nll(out, y))


@healthy
def realnvp_identity_start():
    x = moons()
    return Case(RealNVP(), x, torch.zeros(len(x)), flow_nll, minus_nll, -2.2, adam(3e-3), 400)


@fault("constant-init symmetric-units no-gradient dead-units", "couplings*", twin=realnvp_identity_start)
def realnvp_zeros_everywhere():
    """The zero start meant for the last layer of each coupling was given to all its layers."""
    x = moons()
    return Case(RealNVP("all"), x, torch.zeros(len(x)), flow_nll, minus_nll, -2.2, adam(3e-3), 400)


class Denoiser(nn.Module):
    """Predicts the noise of (x_t, t); its last layer starts at zero."""

    def __init__(self, last=()) -> None:
        super().__init__()
        self.time = nn.Linear(16, 48)
        self.enter = nn.Linear(2, 48)
        self.body = nn.Sequential(nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU())
        self.leave = nn.Linear(48, 2)
        self.last = nn.Sequential(*last)
        if not last:
            nn.init.zeros_(self.leave.weight)
            nn.init.zeros_(self.leave.bias)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 3, 8)))

    def forward(self, x):
        angle = x[:, 2:] * self.frequencies
        h = self.enter(x[:, :2]) + self.time(torch.cat([angle.sin(), angle.cos()], 1))
        return self.last(self.leave(self.body(h)))


def noised(n=2048):
    g = rng(20)
    t = torch.rand(n, 1, generator=g) * 0.7 + 0.3
    noise = torch.randn(n, 2, generator=g)
    angle = torch.cos(t * math.pi / 2)
    return torch.cat([angle * moons(n) + (1 - angle.square()).sqrt() * noise, t], 1), noise


@healthy
def denoiser_zero_output():
    x, y = noised()
    return Case(Denoiser(), x, y, F.mse_loss, r2, 0.6, adam(3e-3), 400, batch=128)


@fault("unreachable-targets", twin=denoiser_zero_output)
def denoiser_ends_in_relu():
    """Noise has both signs; what the network ends in has one."""
    x, y = noised()
    return Case(Denoiser([nn.ReLU()]), x, y, F.mse_loss, r2, 0.6, adam(3e-3), 400, batch=128)


def _linear_end(case, code):
    case.model.last = nn.Sequential()
    return True


denoiser_ends_in_relu = mended(denoiser_ends_in_relu, _linear_end)


# ---------------------------------------------------------------- uncertainty


class Evidential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*nets.mlp([4, 64, 64]), nn.ReLU())
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        gamma, v, alpha, beta = self.head(self.body(x)).chunk(4, 1)
        return torch.cat([gamma, F.softplus(v) + 1e-4, F.softplus(alpha) + 1.0001, F.softplus(beta) + 1e-4], 1)


def nig_loss(out, y):
    gamma, v, alpha, beta = out.chunk(4, 1)
    omega = 2 * beta * (1 + v)
    nll = 0.5 * torch.log(math.pi / v) - alpha * omega.log()
    nll = nll + (alpha + 0.5) * torch.log(v * (y - gamma).square() + omega) + alpha.lgamma() - (alpha + 0.5).lgamma()
    return (nll + 0.01 * (y - gamma).abs() * (2 * v + alpha)).mean()


@healthy
def evidential_regression():
    x, y = data.smooth()
    return Case(Evidential(), x, y, nig_loss, lambda out, y: r2(out[:, :1], y), 0.8, adam(3e-3), 500)


class BayesLinear(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.randn(b, a) * math.sqrt(1.5 / a))
        self.rho = nn.Parameter(torch.full((b, a), -4.0))
        self.bias = nn.Parameter(torch.zeros(b))

    def forward(self, x):
        if not self.training:
            return F.linear(x, self.mu, self.bias)
        mean = F.linear(x, self.mu, self.bias)
        spread = F.linear(x.square(), F.softplus(self.rho).square()) + 1e-8
        return mean + spread.sqrt() * torch.randn_like(mean)

    def kl(self):
        s = F.softplus(self.rho)
        return (0.5 * (s.square() + self.mu.square() - 1) - s.log()).sum()


@healthy
def bayes_by_local_reparameterization():
    x, y = data.smooth()
    model = nn.Sequential(BayesLinear(4, 48), nn.ReLU(), BayesLinear(48, 48), nn.ReLU(), BayesLinear(48, 1))
    layers = [m for m in model if isinstance(m, BayesLinear)]

    def elbo(out, y):
        return F.mse_loss(out, y) + 0.02 / len(x) * sum(layer.kl() for layer in layers)

    return Case(model, x, y, elbo, r2, 0.8, adam(3e-3), 500)


class MDN(nn.Module):
    def __init__(self, k: int = 4) -> None:
        super().__init__()
        self.k = k
        self.body = nn.Sequential(nn.Linear(1, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh())
        self.head = nn.Linear(48, 3 * k)
        with torch.no_grad():
            self.head.bias[k : 2 * k] = torch.linspace(-1.5, 1.5, k)

    def forward(self, x):
        return self.head(self.body(x))


def mdn_logp(out, y):
    weight, mean, log_scale = out.chunk(3, 1)
    log_scale = log_scale.clamp(-5, 3)
    each = -0.5 * ((y - mean) / log_scale.exp()).square() - log_scale - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(weight.log_softmax(1) + each, 1)


def branches(n=1024):
    g = rng(21)
    x = 2 * torch.rand(n, 1, generator=g) - 1
    side = torch.randint(2, (n, 1), generator=g) * 2.0 - 1
    return x, side * (0.3 + 0.9 * (x + 1) / 2) + 0.08 * torch.randn(n, 1, generator=g)


def mdn_score(out, y):
    return float(mdn_logp(out, y).mean())


@healthy
def mixture_density_branches():
    x, y = branches()
    return Case(MDN(), x, y, lambda out, y: -mdn_logp(out, y).mean(), mdn_score, -0.4, adam(3e-3), 400)


@fault("flipped-loss", twin=mixture_density_branches)
def mixture_density_without_minus():
    x, y = branches()
    return Case(MDN(), x, y, lambda out, y: mdn_logp(out, y).mean(), mdn_score, -0.4, adam(3e-3), 400)


def _minus(case, code):
    case.loss_fn = lambda out, y: -mdn_logp(out, y).mean()
    return True


mixture_density_without_minus = mended(mixture_density_without_minus, _minus)


# ---------------------------------------------------------------- ensembles


class Packed(nn.Module):
    """All members of an ensemble in one tensor a layer, (members, in, out)."""

    def __init__(self, members: int, a: int, b: int, per_member: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, a, b))
        self.bias = nn.Parameter(torch.zeros(members, 1, b))
        if per_member:
            nn.init.normal_(self.weight, std=math.sqrt(2 / a))
        else:
            nn.init.kaiming_normal_(self.weight)

    def forward(self, x):
        return torch.baddbmm(self.bias, x, self.weight)


class PackedEnsemble(nn.Module):
    def __init__(self, per_member: bool = True, members: int = 4, width: int = 64, depth: int = 5) -> None:
        super().__init__()
        self.members = members
        sizes = [64] + [width] * depth
        self.layers = nn.ModuleList(Packed(members, a, b, per_member) for a, b in itertools.pairwise(sizes))
        self.head = Packed(members, width, 10)

    def forward(self, x):
        h = x.expand(self.members, *x.shape)
        for layer in self.layers:
            h = F.relu(layer(h))
        return self.head(h).transpose(0, 1).reshape(len(x), self.members, 10)


def members_loss(out, y):
    return F.cross_entropy(out.flatten(0, 1), y.repeat_interleave(out.shape[1]))


def voted(out, y):
    return float((out.softmax(-1).mean(1).argmax(1) == y).float().mean())


@healthy
def packed_ensemble():
    x, y = data.digits()
    return Case(PackedEnsemble(), x, y, members_loss, voted, 0.85, sgd(0.05), 150)


@fault("wrong-fan vanishing-forward vanishing-gradient wrong-gain", "layers*", twin=packed_ensemble)
def packed_ensemble_fan_of_a_convolution():
    """kaiming_normal_ reads (members, in, out) as a convolution's weight: its fan is in x out."""
    x, y = data.digits()
    return Case(PackedEnsemble(False), x, y, members_loss, voted, 0.85, sgd(0.05), 150)


class Members(nn.Module):
    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x):
        return torch.stack([member(x) for member in self.members], 1)


def spread_loss(out, y):
    return (out - y[:, None]).square().mean()


def ensemble_r2(out, y):
    return r2(out.mean(1), y)


@healthy
def deep_ensemble_of_regressors():
    x, y = data.smooth()
    return Case(
        Members([nets.mlp([4, 48, 48, 1], nn.SiLU) for _ in range(5)]), x, y, spread_loss, ensemble_r2, 0.7,
        adam(3e-3), 350,
    )  # fmt: skip


@fault("duplicated-draws symmetric-units", "members*", twin=deep_ensemble_of_regressors)
def deep_ensemble_of_copies():
    x, y = data.smooth()
    first = nets.mlp([4, 48, 48, 1], nn.SiLU)
    model = Members([copy.deepcopy(first) for _ in range(5)])
    return Case(model, x, y, spread_loss, ensemble_r2, 0.7, adam(3e-3), 350)


# ---------------------------------------------------------------- survival and counts


def lifetimes(n=1024):
    g = rng(22)
    x = torch.randn(n, 6, generator=g)
    risk = 1.2 * x[:, 0] - 0.8 * x[:, 1] + x[:, 2] * x[:, 3]
    time = -torch.rand(n, generator=g).log() / risk.exp()
    censor = -torch.rand(n, generator=g).log() * 4
    return x, torch.stack([torch.minimum(time, censor), (time < censor).float()], 1)


def cox_loss(out, y):
    order = y[:, 0].argsort(descending=True)
    risk, event = out[order, 0], y[order, 1]
    return -((risk - risk.logcumsumexp(0)) * event).sum() / event.sum()


def concordance(out, y):
    earlier = (y[:, None, 0] < y[None, :, 0]) & (y[:, 1] > 0)[:, None]
    return float((out[:, None, 0] > out[None, :, 0])[earlier].float().mean())


@healthy
def cox_without_bias():
    x, y = lifetimes()
    model = nn.Sequential(nn.Linear(6, 32), nn.ELU(), nn.Linear(32, 32), nn.ELU(), nn.Linear(32, 1, bias=False))
    return Case(model, x, y, cox_loss, concordance, 0.78, adam(3e-3), 300)


def hazards(n=1024, bins=12):
    """Rare failures, by month: 1 where it failed then."""
    g = rng(23)
    x = torch.randn(n, 6, generator=g)
    logit = -4 + x[:, :1] - 0.7 * x[:, 1:2] + 0.6 * torch.linspace(-1, 1, bins)
    return x, (torch.rand(n, bins, generator=g) < logit.sigmoid()).float()


def hazard_net(sign):
    x, y = hazards()
    model = nets.mlp([6, 32, 32, 12])
    p = y.mean(0).clamp(min=1e-3)
    with torch.no_grad():
        model[-1].weight.mul_(0.1)
        model[-1].bias.copy_(sign * torch.log(p / (1 - p)))
    return Case(
        model, x, y, F.binary_cross_entropy_with_logits,
        lambda out, y: -float(F.binary_cross_entropy_with_logits(out, y)), -0.16, sgd(0.01), 60, batch=128,
    )  # fmt: skip


@healthy
def discrete_hazard_prior_bias():
    return hazard_net(1.0)


@fault("wrong-prior", "4 4.bias 4.weight", twin=discrete_hazard_prior_bias)
def discrete_hazard_prior_upside_down():
    """log((1 - p) / p), a sign away from the prior."""
    return hazard_net(-1.0)


def _prior(case, code):
    p = case.targets.mean(0).clamp(min=1e-3)
    with torch.no_grad():
        case.model[-1].bias.copy_(torch.log(p / (1 - p)))
    return True


discrete_hazard_prior_upside_down = mended(discrete_hazard_prior_upside_down, _prior)


def counts(n=1024):
    g = rng(24)
    x = torch.randn(n, 5, generator=g)
    rate = torch.exp(-2.5 + 0.9 * x[:, :1] + 0.6 * x[:, 1:2] * x[:, 2:3])
    return x, torch.poisson(rate, generator=g)


YEAR = math.log(365.0)


def count_loss(out, y):
    """The network gives the log of a day's rate; what was counted is a year's."""
    return F.poisson_nll_loss(out + YEAR, y)


def poisson_score(out, y):
    """The share of the deviance explained."""
    null = F.poisson_nll_loss(y.mean().log().expand_as(y), y)
    best = F.poisson_nll_loss((y + 1e-9).log(), y)
    return float((null - count_loss(out, y)) / (null - best))


def count_net(everywhere):
    x, y = counts()
    model = nets.he(nets.mlp([5, 48, 48, 1]))
    prior = float(y.mean().log()) - YEAR
    with torch.no_grad():
        model[-1].weight.mul_(0.1)
        for module in model if everywhere else model[-1:]:
            if isinstance(module, nn.Linear):
                module.bias.fill_(prior)
    return Case(model, x, y, count_loss, poisson_score, 0.15, adam(2e-3), 300)


@healthy
def rare_counts_log_link():
    return count_net(False)


@fault("dead-units", "0 0.* 1 2 2.* 3", twin=rare_counts_log_link)
def rare_counts_bias_in_every_layer():
    """The bias of rare events, which belongs to the last layer, set by a loop over all of them."""
    return count_net(True)


# ---------------------------------------------------------------- control


def orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def bandit(n=2048):
    g = rng(25)
    s = torch.randn(n, 6, generator=g)
    value = s @ torch.randn(6, 4, generator=g)
    action = torch.randint(4, (n,), generator=g)
    reward = value.gather(1, action[:, None])[:, 0]
    advantage = (reward - reward.mean()) / reward.std()
    old = torch.full((n,), -math.log(4.0))
    return s, torch.stack([action.float(), old, advantage, value.argmax(1).float()], 1)


def ppo_loss(out, y):
    logp = out.log_softmax(1).gather(1, y[:, :1].long())[:, 0]
    ratio = (logp - y[:, 1]).exp()
    surrogate = torch.minimum(ratio * y[:, 2], ratio.clamp(0.8, 1.2) * y[:, 2]).mean()
    entropy = torch.distributions.Categorical(logits=out).entropy().mean()
    return -surrogate - 0.01 * entropy


@healthy
def ppo_hundredth_head():
    s, y = bandit()
    root = math.sqrt(2)
    model = nn.Sequential(
        orthogonal(nn.Linear(6, 64), root), nn.Tanh(), orthogonal(nn.Linear(64, 64), root), nn.Tanh(),
        orthogonal(nn.Linear(64, 4), 0.01),
    )  # fmt: skip
    score = lambda out, y: float((out.argmax(1) == y[:, 3]).float().mean())  # noqa: E731
    return Case(model, s, y, ppo_loss, score, 0.7, adam(1e-3), 200)


class Critic(nn.Module):
    """Q with a slow copy as its target; inputs are (state, next state, reward)."""

    def __init__(self) -> None:
        super().__init__()
        self.online = nets.mlp([3, 64, 64, 1])
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            with torch.no_grad():
                for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
                    slow.lerp_(fast, 0.05)
        with torch.no_grad():
            goal = x[:, 6:] + 0.7 * self.target(x[:, 3:6])
        return torch.cat([self.online(x[:, :3]), goal], 1)


@healthy
def temporal_difference_slow_target():
    s = torch.randn(1024, 3, generator=rng(26))
    step = torch.tensor([[0.8, 0.2, 0.0], [-0.2, 0.8, 0.0], [0.0, 0.0, 0.5]])
    reward = lambda s: torch.tanh(s[:, :1] + s[:, 2:])  # noqa: E731
    value, at = torch.zeros(1024, 1), s
    for k in range(40):
        value, at = value + 0.7**k * reward(at), at @ step
    x = torch.cat([s, s @ step, reward(s)], 1)
    td = lambda out, y: F.smooth_l1_loss(out[:, :1], out[:, 1:])  # noqa: E731
    return Case(Critic(), x, value, td, lambda out, y: r2(out[:, :1], y), 0.8, adam(1e-3), 500)


class Novelty(nn.Module):
    """Random network distillation: a fixed random target, and what predicts it."""

    def __init__(self) -> None:
        super().__init__()
        self.target = nets.he(nets.mlp([5, 32, 16])).requires_grad_(False)
        self.predictor = nets.mlp([5, 64, 64, 16])

    def forward(self, x):
        return self.predictor(x) - self.target(x).detach()


@healthy
def random_network_distillation():
    x = torch.randn(1024, 5, generator=rng(27))
    return Case(
        Novelty(), x, torch.zeros(1024, 16), lambda out, y: out.square().mean(),
        lambda out, y: -float(out.square().mean()), -0.15, adam(2e-3), 400,
    )  # fmt: skip


# ---------------------------------------------------------------- very deep, hyper, multi-task


@healthy
def isometric_tanh_of_thirty():
    """Orthogonal at the edge of chaos: thirty plain tanh layers."""
    x, y = data.digits()
    model = nets.mlp([64] * 31 + [10], nn.Tanh)
    for layer in model:
        if isinstance(layer, nn.Linear):
            orthogonal(layer, 1.0)
    return Case(model, x, y, F.cross_entropy, trains=0.8, optimizer=sgd(0.01), steps=300)


@fault("vanishing-forward vanishing-gradient wrong-gain rank-collapse", twin=isometric_tanh_of_thirty)
def plain_tanh_of_thirty_at_default():
    """PyTorch's default, a gain of 1/sqrt(3), below thirty plain layers; the loop meant to redraw went over one."""
    x, y = data.digits()
    model = nets.mlp([64] * 31 + [10], nn.Tanh)
    for layer in model.children():
        if isinstance(layer, nn.Linear):
            orthogonal(layer, 1.0)
            break
    return Case(model, x, y, F.cross_entropy, trains=0.8, optimizer=sgd(0.01), steps=300)


# ---------------------------------------------------------------- in training

TOO_FAST = (
    "learning-rate-too-high update-too-large loss-oscillating loss-diverged loss-rising loss-stuck trivial-plateau "
    "exploded-gradients gradient-spike dying-units vanished-gradients non-finite-values non-finite-gradients"
)
TOO_SLOW = "learning-rate-too-low update-too-small loss-stuck"


def _by_adam(case, code):
    case.optimizer, case.schedule, case.zeroed = adam(3e-3), None, True
    return True


@fault(TOO_FAST, when="training", twin=evidential_regression)
def evidential_rate_of_one_half():
    case = evidential_regression.build()
    case.optimizer = adam(0.5)
    return case


evidential_rate_of_one_half = mended(evidential_rate_of_one_half, _by_adam)


@fault(TOO_SLOW, when="training", twin=denoiser_zero_output)
def denoiser_warmup_in_samples():
    """The warm-up counts samples of an epoch where the schedule counts steps: it never ends."""
    case = denoiser_zero_output.build()
    case.schedule = lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: min(1.0, (i + 1) / 5_000_000))
    return case


denoiser_warmup_in_samples = mended(denoiser_warmup_in_samples, _by_adam)


@fault(TOO_FAST, when="training", twin=packed_ensemble)
def packed_ensemble_gradients_kept():
    case = packed_ensemble.build()
    case.zeroed = False
    return case


def _zeroing(case, code):
    case.zeroed = True
    return True


packed_ensemble_gradients_kept = mended(packed_ensemble_gradients_kept, _zeroing)


@fault("over-fitting", when="training", twin=cox_without_bias)
def cox_of_forty_eight_patients():
    case = cox_without_bias.build()
    x, y = case.inputs, case.targets
    model = nets.mlp([6, 128, 128, 1], nn.ELU)
    model[-1] = nn.Linear(128, 1, bias=False)
    case.model = model
    case.inputs, case.targets, case.held_out = x[:48], y[:48], (x[500:], y[500:])
    return case


@fault(
    "loss-stuck trivial-plateau vanished-gradients", when="training", twin=gcn_communities,
)  # fmt: skip
def gcn_decay_of_one():
    """A decay of 5e-4 was meant; SGD was given 1."""
    case = gcn_communities.build()
    case.optimizer = lambda model: torch.optim.SGD(model.parameters(), 0.05, 0.9, weight_decay=1.0)
    return case


gcn_decay_of_one = mended(gcn_decay_of_one, lambda case, code: setattr(case, "optimizer", adam(1e-2)) or True)
