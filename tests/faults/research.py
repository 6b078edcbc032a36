"""Programs of an author who has not seen how the library decides: what recent papers build."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from . import data
from .program import Case, Mend, Program, accuracy, adam, fault, healthy, mended, r2, sgd, token_accuracy, token_loss

# --- data ---------------------------------------------------------------------------------------------------------


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _standard(y: torch.Tensor) -> torch.Tensor:
    return (y - y.mean()) / y.std()


def image() -> data.Pair:
    """Places of a picture of 32 x 32 in [-1, 1]², and its standardized grey."""
    t = torch.linspace(-1, 1, 32)
    u, v = torch.meshgrid(t, t, indexing="ij")
    grey = torch.sin(9 * u + 3 * v) + torch.cos(12 * v * u) + 1.5 * ((u - 0.2) ** 2 + v**2 < 0.3)
    order = torch.randperm(1024, generator=_seeded(11))
    return torch.stack([u, v], -1).view(-1, 2)[order], _standard(grey).view(-1, 1)[order]


def graphs(n: int = 1024, nodes: int = 8, relations: int = 1) -> data.Pair:
    """Node features (3) beside the rows of the adjacency matrix, whose entries are 0 or a kind of edge; a graph's
    class comes from what its nodes hear from their neighbours."""
    g = _seeded(12)
    x = torch.randn(n, nodes, 3, generator=g)
    kind = torch.randint(1, relations + 1, (n, nodes, nodes), generator=g).float()
    edges = (torch.rand(n, nodes, nodes, generator=g) < 0.3).float().triu(1) * kind
    edges = edges + edges.transpose(1, 2)
    heard = ((edges == 1).float() @ x[..., :1]).tanh().sum((1, 2)) + x[..., 1].sum(1)
    return torch.cat([x, edges], -1), (heard > 0).long()


def charges(n: int = 1024, bodies: int = 5) -> data.Pair:
    """Places and charges of bodies; the force upon each."""
    g = _seeded(13)
    place = torch.randn(n, bodies, 3, generator=g)
    charge = torch.randn(n, bodies, 1, generator=g)
    apart = place[:, :, None] - place[:, None]
    pull = charge[:, :, None] * charge[:, None] * apart / (1 + apart.square().sum(-1, keepdim=True))
    force = pull.sum(2)
    return torch.cat([place, charge], -1), force / force.std()


def episodes(n: int = 512, way: int = 4, shot: int = 2, queries: int = 4) -> data.Pair:
    """Each a task of its own: ``way`` kinds of digit, ``shot`` of each in their order, then queries."""
    x, y = data.digits()
    g = _seeded(14)
    packed, answers = [], []
    of = [x[y == c] for c in range(10)]
    for _ in range(n):
        kinds = torch.randperm(10, generator=g)[:way].tolist()
        support = [of[k][int(i)] for k in kinds for i in torch.randint(len(of[k]), (shot,), generator=g)]
        asked = torch.randint(way, (queries,), generator=g)
        ask = [of[kinds[int(a)]][int(torch.randint(len(of[kinds[int(a)]]), (1,), generator=g))] for a in asked]
        packed.append(torch.stack(support + ask))
        answers.append(asked)
    return torch.stack(packed), torch.stack(answers)


def sinusoids(n: int = 1024, shots: int = 8, queries: int = 8) -> data.Pair:
    """Tasks of MAML's kind: points of a sine of unknown amplitude and phase, then places to answer at."""
    g = _seeded(15)
    a, b = torch.rand(n, 1, generator=g) * 1.5 + 0.5, torch.rand(n, 1, generator=g) * 3.14
    x = torch.rand(n, shots + queries, generator=g) * 6 - 3
    y = a * torch.sin(x + b)
    return torch.cat([x, y[:, :shots]], 1), y[:, shots:]


def waves_by_context(n: int = 2048) -> data.Pair:
    """(amplitude, frequency, place) and the wave there."""
    z = torch.rand(n, 3, generator=_seeded(16)) * 2 - 1
    y = (1 + 0.5 * z[:, :1]) * torch.sin((3 + z[:, 1:2]) * z[:, 2:])
    return z, _standard(y)


def noised(n: int = 2048) -> data.Pair:
    """A ring with noise of many sizes, its log-size beside it; the noise is to be told."""
    g = _seeded(17)
    angle = torch.rand(n, 1, generator=g) * 6.2832
    ring = 2 * torch.cat([angle.cos(), angle.sin()], 1)
    sigma = torch.exp(torch.rand(n, 1, generator=g) * 3 - 2)
    noise = torch.randn(n, 2, generator=g)
    return torch.cat([ring + sigma * noise, sigma.log()], 1), noise


def by(program: Program, change: Callable[[Case], None]) -> Mend:
    """The change as a repair of what the program is faulty of."""

    def mend(case: Case, code: str) -> bool:
        if code not in program.faults:
            return False
        change(case)
        return True

    return mend


# --- normalization-free -------------------------------------------------------------------------------------------


class ScaledWSConv(nn.Conv2d):
    """Brock et al. 2021: weights standardized over their fan-in, with a gain of each filter."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, padding=1)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weight
        var, mean = torch.var_mean(w, (1, 2, 3), keepdim=True)
        w = (w - mean) * torch.rsqrt(var * w[0].numel() + 1e-4) * self.gain
        return F.conv2d(x, w, self.bias, self.stride, padding=1)


GAMMA = 1.7139588594436646  # what keeps a ReLU's variance at one


class NFBlock(nn.Module):
    def __init__(self, width: int, alpha: float, beta: float, skipinit: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = ScaledWSConv(width, width), ScaledWSConv(width, width)
        self.skip_gain = nn.Parameter(torch.zeros(())) if skipinit else None
        self.alpha, self.beta = alpha, beta

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(x) * (GAMMA / self.beta)
        h = self.conv2(F.relu(self.conv1(h)) * GAMMA)
        return x + h * self.alpha * (1.0 if self.skip_gain is None else self.skip_gain)


class NFNet(nn.Module):
    def __init__(self, depth: int, width: int = 12, *, alpha: float = 0.2, tracked: bool = True, skipinit: bool = True):
        super().__init__()
        self.stem = ScaledWSConv(1, width, 2)
        betas = [math.sqrt(1 + i * alpha**2) if tracked else 1.0 for i in range(depth)]
        self.blocks = nn.Sequential(*[NFBlock(width, alpha, b, skipinit) for b in betas])
        self.head = nn.Linear(width, 10)
        nn.init.normal_(self.head.weight, 0, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.blocks(self.stem(x))).mean((2, 3)) * GAMMA)


def _nf(**how: object) -> Case:
    x, y = data.pictures()
    return Case(NFNet(12, 8, **how), x, y, F.cross_entropy, trains=0.75, optimizer=sgd(0.08), steps=130)


@healthy
def nf_resnet_skipinit() -> Case:
    return _nf()


@fault("residual-growth exploding-forward exploding-gradient", "blocks blocks.*", twin=nf_resnet_skipinit)
def nf_resnet_undamped() -> Case:
    """The branch is neither divided by the expected deviation nor scaled by alpha: what passes doubles per block."""
    return _nf(alpha=1.0, tracked=False, skipinit=False)


def _damp(case: Case) -> None:
    for i, block in enumerate(case.model.blocks):
        block.alpha, block.beta = 0.2, math.sqrt(1 + i * 0.04)


nf_resnet_undamped = mended(nf_resnet_undamped, by(nf_resnet_undamped, _damp))


class FixupBlock(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.bias1, self.bias2, self.bias3, self.bias4 = (nn.Parameter(torch.zeros(1)) for _ in range(4))
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.ones(1))
        nn.init.normal_(self.conv1.weight, 0, math.sqrt(2 / (width * 9)) * depth**-0.5)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv2(F.relu(self.conv1(x + self.bias1) + self.bias2) + self.bias3)
        return F.relu(x + self.scale * h + self.bias4)


@healthy
def fixup_resnet() -> Case:
    """Fixup: each branch's last convolution and the classifier start at zero."""
    x, y = data.pictures()
    head = nn.Linear(12, 10)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    stem = nn.Conv2d(1, 12, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, nonlinearity="relu")
    body = [FixupBlock(12, 4) for _ in range(4)]
    model = nn.Sequential(stem, nn.ReLU(), *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return Case(model, x, y, F.cross_entropy, trains=0.7, optimizer=adam(5e-3), steps=150)


# --- state-space models -------------------------------------------------------------------------------------------


class LRU(nn.Module):
    """Orvieto et al. 2023: a complex diagonal recurrence within the unit circle, inputs normalized by gamma."""

    def __init__(self, width: int, state: int, low: float = 0.8, high: float = 0.99) -> None:
        super().__init__()
        u = torch.rand(state)
        radius = torch.sqrt(low**2 + u * (high**2 - low**2))
        self.nu_log = nn.Parameter(torch.log(-torch.log(radius)))
        self.theta_log = nn.Parameter(torch.log(torch.rand(state) * 0.6 + 1e-3))
        self.gamma_log = nn.Parameter(torch.log(torch.sqrt(1 - radius**2)))
        self.b = nn.Parameter(torch.randn(2, state, width) / math.sqrt(2 * width))
        self.c = nn.Parameter(torch.randn(2, width, state) / math.sqrt(state))
        self.d = nn.Parameter(torch.randn(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lam = torch.exp(torch.complex(-self.nu_log.exp(), self.theta_log.exp()))
        driven = torch.complex(x @ self.b[0].T, x @ self.b[1].T) * self.gamma_log.exp()
        h, out = torch.zeros_like(driven[:, 0]), []
        for t in range(x.shape[1]):
            h = lam * h + driven[:, t]
            out.append(h)
        states = torch.stack(out, 1)
        return states.real @ self.c[0].T - states.imag @ self.c[1].T + self.d * x


class SSMBlock(nn.Module):
    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.norm, self.ssm, self.glu = nn.LayerNorm(width), LRU(width, state), nn.Linear(width, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + F.glu(self.glu(F.gelu(self.ssm(self.norm(x)))), -1)


class LRUNet(nn.Module):
    def __init__(self, inputs: int, width: int = 24, depth: int = 2, classes: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Linear(inputs, width)
        self.layers = nn.Sequential(*[SSMBlock(width, 16) for _ in range(depth)])
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.encoder(x)).mean(1))


def _grouped(model: nn.Module, lr: float = 3e-3) -> torch.optim.Optimizer:
    """S4's habit: the recurrence's own parameters learn slower and undecayed."""
    special = [p for n, p in model.named_parameters() if n.endswith(("_log", ".d"))]
    others = [p for n, p in model.named_parameters() if not n.endswith(("_log", ".d"))]
    return torch.optim.AdamW([{"params": others}, {"params": special, "lr": lr / 3, "weight_decay": 0}], lr)


@healthy
def lru_grouped_rates() -> Case:
    x, y = data.rows()
    return Case(LRUNet(8, classes=10), x, y, F.cross_entropy, trains=0.85, optimizer=_grouped, steps=250)


@fault(
    "not-in-optimizer",
    "layers.*.ssm layers.*.ssm.b layers.*.ssm.c layers.*.glu* layers layers.?",
    twin=lru_grouped_rates,
)
def lru_groups_with_a_gap() -> Case:
    """The groups were made by module: the recurrences' diagonals in one, encoder, norms and head in the other; the
    matrices and the gates between are in none."""

    def optimizer(model: nn.Module, lr: float = 3e-3) -> torch.optim.Optimizer:
        special = [p for n, p in model.named_parameters() if n.endswith(("_log", ".d"))]
        others = [
            p for m in model.modules() for n, p in m.named_parameters(recurse=False) if isinstance(m, nn.LayerNorm)
        ]
        others += [*model.encoder.parameters(), *model.head.parameters()]
        return torch.optim.AdamW([{"params": others}, {"params": special, "lr": lr / 3, "weight_decay": 0}], lr)

    x, y = data.rows()
    return Case(LRUNet(8, classes=10), x, y, F.cross_entropy, trains=0.85, optimizer=optimizer, steps=250)


def _all_groups(case: Case) -> None:
    case.optimizer = _grouped


lru_groups_with_a_gap = mended(lru_groups_with_a_gap, by(lru_groups_with_a_gap, _all_groups))


class Selective(nn.Module):
    """A small Mamba mixer: steps, inputs and outputs of the recurrence depend on what comes."""

    def __init__(self, width: int, state: int = 8) -> None:
        super().__init__()
        inner = 2 * width
        self.into, self.conv = (
            nn.Linear(width, 2 * inner, bias=False),
            nn.Conv1d(inner, inner, 3, padding=2, groups=inner),
        )
        self.x_proj, self.dt_proj = nn.Linear(inner, 2 + 2 * state, bias=False), nn.Linear(2, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out = nn.Linear(inner, width, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(2**-0.5), 2**-0.5)
        dt = torch.exp(torch.rand(inner) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = x.shape[1]
        h, gate = self.into(x).chunk(2, -1)
        h = F.silu(self.conv(h.transpose(1, 2))[..., :t].transpose(1, 2))
        dt, b, c = self.x_proj(h).split([2, self.A_log.shape[1], self.A_log.shape[1]], -1)
        dt = F.softplus(self.dt_proj(dt))
        decay = torch.exp(-dt[..., None] * self.A_log.exp())
        driven = (dt * h)[..., None] * b[:, :, None]
        s, out = torch.zeros_like(driven[:, 0]), []
        for i in range(t):
            s = decay[:, i] * s + driven[:, i]
            out.append((s * c[:, i, None]).sum(-1))
        return self.out((torch.stack(out, 1) + self.D * h) * F.silu(gate))


class Mamba(nn.Module):
    def __init__(self, words: int, width: int = 24, depth: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        self.norms = nn.ModuleList([nn.RMSNorm(width) for _ in range(depth)])
        self.mixers = nn.ModuleList([Selective(width) for _ in range(depth)])
        self.norm_f, self.head = nn.RMSNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.tokens.weight
        for mixer in self.mixers:
            with torch.no_grad():
                mixer.out.weight.div_(math.sqrt(depth))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids)
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            x = x + mixer(norm(x))
        return self.head(self.norm_f(x))


@healthy
def mamba_tied() -> Case:
    x, y = data.chain()
    return Case(Mamba(24), x, y, token_loss, token_accuracy, 0.7, adam(5e-3), steps=150, batch=32)


# --- hypernetworks ------------------------------------------------------------------------------------------------


class Hyper(nn.Module):
    """A context's network writes the hidden layer of another, by hyperfan-in; ``copies`` is how a port wrote it."""

    def __init__(self, width: int = 24, *, copies: bool = False) -> None:
        super().__init__()
        self.width, self.copies = width, copies
        self.hyper = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, width * width + width))
        nn.init.normal_(self.hyper[2].weight, 0, math.sqrt(2 / (32 * width)))
        nn.init.zeros_(self.hyper[2].bias)
        self.first, self.last = nn.Linear(1, width), nn.Linear(width, 1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        made = self.hyper(z[:, :2])
        if self.copies:  # "load the generated weights into the target network"
            made = made.data
        w, b = made.split([self.width**2, self.width], -1)
        h = torch.tanh(2 * self.first(z[:, 2:]))
        h = torch.baddbmm(b[..., None], w.view(-1, self.width, self.width), h[..., None])[..., 0]
        return self.last(torch.tanh(h))


def _hyper(**how: bool) -> Case:
    x, y = waves_by_context()
    return Case(Hyper(**how), x, y, F.mse_loss, r2, 0.97, adam(5e-3), steps=400)


@healthy
def hypernetwork_fan_in() -> Case:
    return _hyper()


@fault("no-gradient", "hyper hyper.*", twin=hypernetwork_fan_in)
def hypernetwork_copied_by_data() -> Case:
    return _hyper(copies=True)


def _attached(case: Case) -> None:
    case.model.copies = False


hypernetwork_copied_by_data = mended(hypernetwork_copied_by_data, by(hypernetwork_copied_by_data, _attached))


# --- neural fields ------------------------------------------------------------------------------------------------


class Sin(nn.Module):
    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.omega * x)


def _siren(hidden_omega: float, lr: float = 2e-4) -> Case:
    """A sine network over a picture, weights after Sitzmann et al. for omega = 30."""
    x, y = image()
    layers: list[nn.Module] = [nn.Linear(2, 64), Sin(30)]
    nn.init.uniform_(layers[0].weight, -0.5 / 2, 0.5 / 2)
    for _ in range(3):
        layers += [nn.Linear(64, 64), Sin(hidden_omega)]
    layers.append(nn.Linear(64, 1))
    for layer in layers[2::2]:
        bound = math.sqrt(6 / 64) / 30
        nn.init.uniform_(layer.weight, -bound, bound)
    return Case(nn.Sequential(*layers), x, y, F.mse_loss, r2, 0.95, adam(lr), steps=500, batch=128)


@healthy
def siren_picture() -> Case:
    return _siren(30)


@fault("vanishing-forward vanishing-gradient wrong-gain rank-collapse", "2* 3* 4* 5* 6* 7* 8*", twin=siren_picture)
def siren_omega_only_in_first() -> Case:
    """omega = 30 was kept in the first activation and in the weights of all layers, not in the hidden activations."""
    return _siren(1)


class FourierField(nn.Module):
    def __init__(self, scale: float = 1.0, last: nn.Module | None = None) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, 32) * scale)
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
        self.last = last if last is not None else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = 2 * math.pi * x @ self.frequencies
        return self.last(self.net(torch.cat([angles.sin(), angles.cos()], -1)))


def _fourier(last: nn.Module | None = None) -> Case:
    x, y = image()
    return Case(FourierField(last=last), x, y, F.mse_loss, r2, 0.9, adam(3e-3), steps=400)


@healthy
def fourier_features() -> Case:
    return _fourier()


@fault("unreachable-targets", twin=fourier_features)
def fourier_field_nerf_sigmoid() -> Case:
    """The colour's sigmoid, kept from NeRF, for a picture that is standardized."""
    return _fourier(nn.Sigmoid())


def _open(case: Case) -> None:
    case.model.last = nn.Identity()


fourier_field_nerf_sigmoid = mended(fourier_field_nerf_sigmoid, by(fourier_field_nerf_sigmoid, _open))


class HashGrid(nn.Module):
    """Instant-NGP: tables of features U(±1e-4) at many resolutions, bilinear, and a small network behind."""

    def __init__(self, levels: int = 5, size: int = 256, features: int = 2) -> None:
        super().__init__()
        self.tables = nn.Parameter(torch.empty(levels, size, features).uniform_(-1e-4, 1e-4))
        self.net = nn.Sequential(nn.Linear(levels * features, 32, bias=False), nn.ReLU(), nn.Linear(32, 1, bias=False))
        self.resolutions = [int(3 * 1.6**i) for i in range(levels)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = []
        for table, resolution in zip(self.tables, self.resolutions, strict=True):
            place = (x + 1) / 2 * resolution
            corner, part = place.floor().long(), place - place.floor()
            level = 0.0
            for i in (0, 1):
                for j in (0, 1):
                    slot = ((corner[:, 0] + i) ^ ((corner[:, 1] + j) * 2654435761)) % table.shape[0]
                    wx = part[:, 0] if i else 1 - part[:, 0]
                    wy = part[:, 1] if j else 1 - part[:, 1]
                    level = level + (wx * wy)[:, None] * table[slot]
            found.append(level)
        return self.net(torch.cat(found, -1))


@healthy
def hash_grid() -> Case:
    x, y = image()
    return Case(HashGrid(), x, y, F.mse_loss, r2, 0.85, adam(1e-2), steps=400, batch=128)


# --- graphs -------------------------------------------------------------------------------------------------------


class EGNNLayer(nn.Module):
    """Satorras et al. 2021. ``eps`` is what keeps the length of nothing differentiable."""

    def __init__(self, width: int, eps: float, last: bool) -> None:
        super().__init__()
        self.edge = nn.Sequential(nn.Linear(2 * width + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.coord = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1, bias=False))
        nn.init.xavier_uniform_(self.coord[2].weight, gain=0.001)
        self.node = None if last else nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.eps = eps

    def forward(self, h: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        m = h.shape[1]
        apart = x[:, :, None] - x[:, None]
        length = torch.sqrt(apart.square().sum(-1, keepdim=True) + self.eps)
        pairs = torch.cat([h[:, :, None].expand(-1, -1, m, -1), h[:, None].expand(-1, m, -1, -1), length], -1)
        message = self.edge(pairs)
        x = x + (apart / (length + 1) * self.coord(message)).sum(2)
        if self.node is not None:
            h = h + self.node(torch.cat([h, message.sum(2) / m], -1))
        return h, x


class EGNN(nn.Module):
    def __init__(self, width: int = 24, depth: int = 2, eps: float = 1e-8) -> None:
        super().__init__()
        self.embed = nn.Linear(1, width)
        self.layers = nn.ModuleList([EGNNLayer(width, eps, i == depth - 1) for i in range(depth)])

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        start = x = packed[..., :3]
        h = self.embed(packed[..., 3:])
        for layer in self.layers:
            h, x = layer(h, x)
        return x - start


def _egnn(**how: float) -> Case:
    x, y = charges()
    return Case(EGNN(**how), x, y, F.mse_loss, r2, 0.8, adam(5e-3), steps=300)


@healthy
def egnn_small_steps() -> Case:
    """The coordinates' last weights are drawn with a gain of 0.001, so that places hardly move at first."""
    return _egnn()


@fault("non-finite-gradients", twin=egnn_small_steps)
def egnn_root_of_nothing() -> Case:
    """A body's distance to itself goes through sqrt(0)."""
    return _egnn(eps=0.0)


def _kept_off_zero(case: Case) -> None:
    for layer in case.model.layers:
        layer.eps = 1e-8


egnn_root_of_nothing = mended(egnn_root_of_nothing, by(egnn_root_of_nothing, _kept_off_zero))


class GATLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, heads: int, loops: bool) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, outputs, bias=False)
        self.source = nn.Parameter(torch.empty(heads, outputs // heads))
        self.target = nn.Parameter(torch.empty(heads, outputs // heads))
        self.bias = nn.Parameter(torch.zeros(outputs))
        for p in (self.project.weight, self.source, self.target):
            nn.init.xavier_uniform_(p)
        self.heads, self.loops = heads, loops

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        n, m, _ = x.shape
        h = self.project(x).view(n, m, self.heads, -1)
        logits = (h * self.target).sum(-1)[:, :, None] + (h * self.source).sum(-1)[:, None]
        seen = edges > 0
        if self.loops:
            seen = seen | torch.eye(m, dtype=torch.bool)
        logits = F.leaky_relu(logits, 0.2).masked_fill(~seen[..., None], float("-inf"))
        return torch.einsum("nijh,njhd->nihd", logits.softmax(2), h).reshape(n, m, -1) + self.bias


class GAT(nn.Module):
    def __init__(self, width: int = 32, *, loops: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList([GATLayer(3, width, 4, loops), GATLayer(width, width, 4, loops)])
        self.head = nn.Sequential(nn.Linear(width + 3, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        x, edges = h, _ = packed[..., :3], packed[..., 3:]
        for layer in self.layers:
            h = F.elu(layer(h, edges))
        return self.head(torch.cat([h, x], -1).sum(1) / math.sqrt(x.shape[1]))


def _gat(**how: bool) -> Case:
    x, y = graphs()
    return Case(GAT(**how), x, y, F.cross_entropy, trains=0.8, optimizer=adam(5e-3), steps=250)


@healthy
def graph_attention() -> Case:
    return _gat()


@fault("non-finite-values", "layers layers.*", twin=graph_attention)
def graph_attention_without_loops() -> Case:
    """A node without neighbours takes the softmax of nothing but -inf."""
    return _gat(loops=False)


def _loops(case: Case) -> None:
    for layer in case.model.layers:
        layer.loops = True


graph_attention_without_loops = mended(graph_attention_without_loops, by(graph_attention_without_loops, _loops))


class RGCNLayer(nn.Module):
    """Relational convolution, with a matrix (in, out) for each kind of edge and one for the node itself."""

    def __init__(self, inputs: int, outputs: int, relations: int, stacked: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(relations + 1, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        if stacked:
            nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        else:
            nn.init.normal_(self.weight, 0, math.sqrt(2 / inputs))

    def forward(self, h: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        out = h @ self.weight[0]
        for r in range(1, len(self.weight)):
            edges = (kinds == r).float()
            out = out + edges @ (h @ self.weight[r]) / edges.sum(-1, keepdim=True).clamp(min=1)
        return out / math.sqrt(2) + self.bias


class RGCN(nn.Module):
    def __init__(self, width: int = 32, depth: int = 4, relations: int = 2, *, stacked: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(3, width)
        self.layers = nn.ModuleList([RGCNLayer(width, width, relations, stacked) for _ in range(depth)])
        self.head = nn.Linear(width, 2)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        h, kinds = self.embed(packed[..., :3]), packed[..., 3:]
        for layer in self.layers:
            h = F.relu(layer(h, kinds))
        return self.head(h.mean(1))


def _rgcn(**how: bool) -> Case:
    x, y = graphs(relations=2)
    return Case(RGCN(**how), x, y, F.cross_entropy, trains=0.8, optimizer=sgd(0.03), steps=250)


@healthy
def relational_convolution() -> Case:
    return _rgcn()


@fault("wrong-fan vanishing-forward vanishing-gradient", "layers layers.*", twin=relational_convolution)
def relational_convolution_stacked_fan() -> Case:
    """kaiming_normal_ over (relations, in, out) takes in x out for the fan."""
    return _rgcn(stacked=True)


class BatchGraph(nn.Module):
    """The samples of a batch are a graph by their likeness. With ``teleport`` each layer hears the first state again
    and is near the identity (GCNII); without it is a plain, deep graph convolution."""

    def __init__(self, width: int = 48, depth: int = 16, *, teleport: float = 0.2) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.layers = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(depth)])
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.teleport = teleport

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        likeness = (-torch.cdist(x, x).square() / 20).softmax(-1)
        h = start = F.relu(self.embed(x))
        for i, layer in enumerate(self.layers, start=1):
            h = likeness @ h
            if self.teleport:
                h = (1 - self.teleport) * h + self.teleport * start
                beta = math.log(1 + 0.5 / i)
                h = F.relu((1 - beta) * h + beta * layer(h))
            else:
                h = F.relu(layer(h))
        return self.head(h)


def _batch_graph(teleport: float) -> Case:
    x, y = data.digits()
    return Case(BatchGraph(teleport=teleport), x, y, F.cross_entropy, trains=0.8, optimizer=adam(3e-3), steps=150)


@healthy
def gcnii_deep() -> Case:
    return _batch_graph(0.2)


@fault("rank-collapse", "layers layers.*", twin=gcnii_deep)
def gcn_oversmoothed() -> Case:
    return _batch_graph(0.0)


def _teleports(case: Case) -> None:
    case.model.teleport = 0.2


gcn_oversmoothed = mended(gcn_oversmoothed, by(gcn_oversmoothed, _teleports))


# --- energies and scores ------------------------------------------------------------------------------------------


class DiscriminativeRBM(nn.Module):
    """Larochelle and Bengio 2008: a class's logit is minus the free energy with it, hidden units summed out."""

    def __init__(self, hidden: int = 48, classes: int = 10) -> None:
        super().__init__()
        self.W, self.U = nn.Parameter(torch.empty(hidden, 64)), nn.Parameter(torch.empty(hidden, classes))
        self.c, self.d = nn.Parameter(torch.zeros(hidden)), nn.Parameter(torch.zeros(classes))
        for p in (self.W, self.U):
            bound = max(p.shape) ** -0.5
            nn.init.uniform_(p, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.d + F.softplus((F.linear(x, self.W, self.c))[..., None] + self.U).sum(1)


def _rbm(model: nn.Module) -> Case:
    x, y = data.digits()
    return Case(model, x, y, F.cross_entropy, trains=0.85, optimizer=sgd(0.02), steps=300)


@healthy
def discriminative_rbm() -> Case:
    return _rbm(DiscriminativeRBM())


@fault("constant-init symmetric-units", "W U c", twin=discriminative_rbm)
def discriminative_rbm_constant() -> Case:
    """A port that fills every matrix with the deviation instead of drawing by it."""
    model = DiscriminativeRBM()
    for p in (model.W, model.U):
        nn.init.constant_(p, 0.01)
    return _rbm(model)


class ScoreNet(nn.Module):
    """A denoiser as of score_sde: frozen random frequencies for the noise's size, a last layer of zeros."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(16) * 2, requires_grad=False)
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.into, self.middle = nn.Linear(2, width), nn.Linear(width, width)
        self.out = nn.Linear(width, 2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        x, log_sigma = packed[:, :2], packed[:, 2:]
        angles = log_sigma * self.W
        t = self.time(torch.cat([angles.sin(), angles.cos()], -1))
        x = x / torch.sqrt(2 + (2 * log_sigma).exp())
        h = F.silu(self.into(x) + t)
        return self.out(F.silu(self.middle(h) + t))


@healthy
def score_model_zero_out() -> Case:
    """The noise can only be told in part: R² of about one half is what there is."""
    x, y = noised()
    return Case(ScoreNet(), x, y, F.mse_loss, r2, 0.4, adam(4e-3), steps=600, batch=128)


# --- memories -----------------------------------------------------------------------------------------------------


class KeyValue(nn.Module):
    def __init__(self, width: int, slots: int, scaled: bool) -> None:
        super().__init__()
        self.query, self.norm = nn.Linear(64, width), nn.LayerNorm(width)
        self.keys = nn.Parameter(torch.randn(slots, width))
        self.values = nn.Parameter(torch.randn(slots, width))
        self.scaled = scaled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.norm(self.query(x)) @ self.keys.T
        if self.scaled:
            logits = logits / math.sqrt(self.keys.shape[1])
        return logits.softmax(-1) @ self.values


class MemoryNet(nn.Module):
    def __init__(self, width: int = 256, slots: int = 48, *, scaled: bool = True) -> None:
        super().__init__()
        self.memory, self.head = KeyValue(width, slots, scaled), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(x))


def _memory(**how: bool) -> Case:
    x, y = data.digits()
    return Case(MemoryNet(**how), x, y, F.cross_entropy, trains=0.85, optimizer=sgd(0.1), steps=250)


@healthy
def key_value_memory() -> Case:
    return _memory()


@fault("attention-collapse saturation", "memory memory.*", twin=key_value_memory)
def key_value_memory_unscaled() -> Case:
    return _memory(scaled=False)


def _scaled(case: Case) -> None:
    case.model.memory.scaled = True


key_value_memory_unscaled = mended(key_value_memory_unscaled, by(key_value_memory_unscaled, _scaled))


class Reservoir(nn.Module):
    """An echo-state network: the recurrence is drawn with a spectral radius of 0.9 and never trained."""

    def __init__(self, inputs: int = 8, width: int = 96) -> None:
        super().__init__()
        self.into, self.recur = nn.Linear(inputs, width), nn.Linear(width, width, bias=False)
        with torch.no_grad():
            nn.init.normal_(self.recur.weight)
            self.recur.weight.mul_(0.9 / torch.linalg.eigvals(self.recur.weight).abs().max())
        for p in [*self.into.parameters(), *self.recur.parameters()]:
            p.requires_grad_(False)
        self.readout = nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, seen = x.new_zeros(len(x), self.recur.in_features), []
        for t in range(x.shape[1]):
            h = torch.tanh(self.into(x[:, t]) + self.recur(h))
            seen.append(h)
        return self.readout(torch.cat([h, torch.stack(seen).mean(0)], -1))


@healthy
def echo_state_readout() -> Case:
    x, y = data.rows()
    return Case(Reservoir(), x, y, F.cross_entropy, trains=0.85, optimizer=adam(5e-3), steps=250)


# --- meta-learning ------------------------------------------------------------------------------------------------


class Prototypes(nn.Module):
    """Snell et al. 2017: log-probabilities by the distance to each class's mean; there is no classifier."""

    def __init__(self, way: int = 4, shot: int = 2, width: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, width))
        self.way, self.shot = way, shot

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        z = self.encoder(packed)
        support, query = z[:, : self.way * self.shot], z[:, self.way * self.shot :]
        prototypes = support.view(len(z), self.way, self.shot, -1).mean(2)
        return F.log_softmax(-(query[:, :, None] - prototypes[:, None]).square().sum(-1), -1)


def _episode_loss(log_p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return -log_p.gather(2, y[..., None]).mean()


@healthy
def prototypical_network() -> Case:
    x, y = episodes()
    return Case(Prototypes(), x, y, _episode_loss, token_accuracy, 0.95, adam(2e-3), steps=200, batch=32)


@fault("flipped-loss", twin=prototypical_network)
def prototypical_network_minus_lost() -> Case:
    x, y = episodes()

    def loss(log_p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return log_p.gather(2, y[..., None]).squeeze(2).mean()

    return Case(Prototypes(), x, y, loss, token_accuracy, 0.95, adam(2e-3), steps=200, batch=32)


def _minus(case: Case) -> None:
    case.loss_fn = _episode_loss


prototypical_network_minus_lost = mended(prototypical_network_minus_lost, by(prototypical_network_minus_lost, _minus))


class RidgeLearner(nn.Module):
    """R2-D2: the head is the ridge regression of the support, solved within the forward pass."""

    def __init__(self, shots: int = 8, queries: int = 8, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, width))
        self.log_ridge = nn.Parameter(torch.tensor(0.0))
        self.shots, self.queries = shots, queries

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        x, y = packed[:, : self.shots + self.queries, None], packed[:, self.shots + self.queries :, None]
        z = self.embed(x)
        z = torch.cat([z, torch.ones_like(z[..., :1])], -1)
        support, query = z[:, : self.shots], z[:, self.shots :]
        gram = support @ support.transpose(1, 2) + self.log_ridge.exp() * torch.eye(self.shots)
        return (query @ support.transpose(1, 2) @ torch.linalg.solve(gram, y))[..., 0]


@healthy
def ridge_meta_learner() -> Case:
    x, y = sinusoids()
    return Case(RidgeLearner(), x, y, F.mse_loss, r2, 0.85, adam(3e-3), steps=400)


# --- mixtures -----------------------------------------------------------------------------------------------------


class NoisyTopK(nn.Module):
    """Shazeer et al. 2017: gates and their noise start at zero; two experts of four are heard."""

    def __init__(self, *, copied: bool = False, width: int = 48) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.gate, self.noise = nn.Linear(width, 4, bias=False), nn.Linear(width, 4, bias=False)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.noise.weight)

        def expert() -> nn.Module:
            return nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, width))

        if copied:
            one = expert()
            self.experts = nn.ModuleList([copy.deepcopy(one) for _ in range(4)])
        else:
            self.experts = nn.ModuleList([expert() for _ in range(4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.embed(x))
        logits = self.gate(h)
        if self.training:
            logits = logits + torch.randn_like(logits) * F.softplus(self.noise(h))
        best = logits.topk(2, -1)
        gates = torch.zeros_like(logits).scatter(1, best.indices, best.values.softmax(-1))
        answers = torch.stack([expert(h) for expert in self.experts], 1)
        return self.head(h + (gates[..., None] * answers).sum(1))


def _moe(**how: bool) -> Case:
    x, y = data.digits()
    return Case(NoisyTopK(**how), x, y, F.cross_entropy, trains=0.85, optimizer=sgd(0.05), steps=200)


@healthy
def noisy_top_two() -> Case:
    return _moe()


@fault("duplicated-draws", "experts experts.*", twin=noisy_top_two)
def noisy_top_two_deepcopied() -> Case:
    return _moe(copied=True)


# --- KAN-like -----------------------------------------------------------------------------------------------------


class KANLayer(nn.Module):
    """Each edge a function: SiLU's share and bumps over a grid of [-2, 2]."""

    def __init__(self, inputs: int, outputs: int, grid: int = 8) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-2, 2, grid))
        self.base = nn.Parameter(torch.empty(outputs, inputs))
        self.spline = nn.Parameter(torch.randn(outputs, inputs * grid) * 0.1 / math.sqrt(inputs))
        nn.init.xavier_uniform_(self.base)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bumps = torch.exp(-((x[..., None] - self.grid) / (self.grid[1] - self.grid[0])).square())
        return F.linear(F.silu(x), self.base) + F.linear(bumps.flatten(1), self.spline)


def kan(*widths: int) -> nn.Sequential:
    return nn.Sequential(*[KANLayer(a, b) for a, b in pairwise(widths)])


def _kan_table(x: torch.Tensor, y: torch.Tensor) -> Case:
    return Case(kan(11, 12, 1), x, y, F.binary_cross_entropy_with_logits, accuracy, 0.9, adam(1e-2), steps=250)


@healthy
def kan_table() -> Case:
    x, y = data.raw_features()
    return _kan_table((x - x.mean(0)) / x.std(0), y)


@fault("unnormalized-inputs", twin=kan_table)
def kan_table_in_raw_units() -> Case:
    return _kan_table(*data.raw_features())


def _normalized(case: Case) -> None:
    case.inputs = (case.inputs - case.inputs.mean(0)) / case.inputs.std(0)


kan_table_in_raw_units = mended(kan_table_in_raw_units, by(kan_table_in_raw_units, _normalized))


# --- faults of training -------------------------------------------------------------------------------------------

HIGH = "learning-rate-too-high update-too-large loss-oscillating loss-rising loss-diverged loss-stuck trivial-plateau"


@fault(HIGH + " gradient-spike exploded-gradients", when="training", twin=siren_picture)
def siren_rate_of_a_perceptron() -> Case:
    """5e-2 where sine networks want 1e-4 to 1e-3."""
    return _siren(30, lr=5e-2)


def _siren_rate(case: Case) -> None:
    case.optimizer = adam(2e-4)


siren_rate_of_a_perceptron = mended(siren_rate_of_a_perceptron, by(siren_rate_of_a_perceptron, _siren_rate))


@fault(
    "learning-rate-too-low update-too-small loss-stuck trivial-plateau", when="training", twin=lru_grouped_rates
)  # fmt: skip
def lru_decays_by_batch() -> Case:
    """A factor of 0.6, meant for epochs, at every batch."""
    x, y = data.rows()
    return Case(
        LRUNet(8, classes=10), x, y, F.cross_entropy, trains=0.85, optimizer=_grouped, steps=250,
        schedule=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.6),
    )  # fmt: skip


def _undecayed(case: Case) -> None:
    case.schedule = None


lru_decays_by_batch = mended(lru_decays_by_batch, by(lru_decays_by_batch, _undecayed))


@fault(
    HIGH + " exploded-gradients gradient-spike non-finite-values non-finite-gradients dying-units vanished-gradients",
    when="training", twin=noisy_top_two,
)  # fmt: skip
def noisy_top_two_gradients_add_up() -> Case:
    case = _moe()
    case.zeroed = False
    return case


def _zeroes(case: Case) -> None:
    case.zeroed = True


noisy_top_two_gradients_add_up = mended(noisy_top_two_gradients_add_up, by(noisy_top_two_gradients_add_up, _zeroes))


@fault(
    "trivial-plateau loss-stuck vanished-gradients dying-units loss-rising",
    when="training",
    twin=relational_convolution,
)
def relational_convolution_decayed_away() -> Case:
    """Weight decay of 0.5 was meant for AdamW's 0.05, by SGD."""
    case = _rgcn()
    case.optimizer = lambda model: torch.optim.SGD(model.parameters(), 0.03, 0.9, weight_decay=0.5)
    return case


def _undecayed_weights(case: Case) -> None:
    case.optimizer = sgd(0.03)


relational_convolution_decayed_away = mended(
    relational_convolution_decayed_away, by(relational_convolution_decayed_away, _undecayed_weights)
)


@healthy
def kan_smooth() -> Case:
    x, y = data.smooth()
    return Case(
        kan(4, 16, 1), x[:768], y[:768], F.mse_loss, r2, 0.85, adam(1e-2), steps=300, held_out=(x[768:], y[768:])
    )  # fmt: skip


@fault("over-fitting", when="training", twin=kan_smooth)
def kan_of_forty_points() -> Case:
    """Forty noisy points for several thousand coefficients."""
    x, y = data.smooth()
    y = y + 0.5 * torch.randn(y.shape, generator=_seeded(18))
    return Case(
        kan(4, 64, 1), x[:40], y[:40], F.mse_loss, r2, 0.85, adam(1e-2), steps=400, batch=32, held_out=(x[40:], y[40:])
    )  # fmt: skip


def _more_points(case: Case) -> None:
    x, y = data.smooth()
    case.model, case.inputs, case.targets = kan(4, 16, 1), x[:768], y[:768]
    case.held_out = (x[768:], y[768:])


kan_of_forty_points = mended(kan_of_forty_points, by(kan_of_forty_points, _more_points))
