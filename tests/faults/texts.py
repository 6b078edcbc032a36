"""Programs of an author who has not seen how the library decides: language, series, tables."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .program import Case, Mend, adam, fault, healthy, mended, r2, sgd, token_accuracy, token_loss

Pair = tuple[torch.Tensor, torch.Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Data


def series(n: int = 1024, past: int = 24, ahead: int = 4) -> Pair:
    """Windows of noisy waves of several frequencies, each of unit scale, and what comes next."""
    g = seeded(11)
    t = torch.arange(past + ahead).float()
    phase, rate = torch.rand(n, 1, generator=g) * 6.28, 0.3 + 0.4 * torch.rand(n, 1, generator=g)
    x = 1.4 * torch.sin(rate * t + phase) + 0.1 * torch.randn(n, past + ahead, generator=g)
    return x[:, :past].contiguous(), x[:, past:].contiguous()


def ratings(n: int = 3000) -> Pair:
    """(user, item) and a rating of about 1 to 5."""
    g = seeded(12)
    users, items = torch.randn(50, 3, generator=g), torch.randn(30, 3, generator=g)
    kind, good = 0.4 * torch.randn(50, generator=g), 0.5 * torch.randn(30, generator=g)
    u, i = torch.randint(50, (n,), generator=g), torch.randint(30, (n,), generator=g)
    y = 3.6 + kind[u] + good[i] + 0.4 * (users[u] * items[i]).sum(1) + 0.1 * torch.randn(n, generator=g)
    return torch.stack([u, i], 1), y[:, None]


def lists(n: int = 1024) -> Pair:
    """Lists of eight documents with six features; what share of the clicks each gets."""
    x = torch.randn(n, 8, 6, generator=seeded(13))
    return x, (2 * (x[..., 0] + x[..., 1] * x[..., 2])).softmax(1)


def first_of(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs.argmax(1) == targets.argmax(1)).float().mean())


def clicks(n: int = 4000) -> Pair:
    """Five fields of ten values; few are clicked."""
    g = seeded(14)
    ids = torch.randint(10, (n, 5), generator=g)
    effect, pair = torch.randn(5, 10, generator=g), torch.randn(10, 10, generator=g)
    z = effect[torch.arange(5), ids].sum(1) + pair[ids[:, 0], ids[:, 1]]
    return ids, (torch.rand(n, generator=g) < torch.sigmoid(1.5 * z - 5.5)).float()[:, None]


def auc(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    on, off = outputs[targets > 0.5], outputs[targets < 0.5]
    return float((on[:, None] > off[None]).float().mean())


def counts(n: int = 1024) -> Pair:
    """Orders per hour, of six standardized features."""
    g = seeded(15)
    x = torch.randn(n, 6, generator=g)
    return x, torch.poisson(torch.exp(2.3 + 0.6 * x[:, 0] + 0.4 * torch.tanh(x[:, 1] * x[:, 2])), generator=g)[:, None]


def baskets(n: int = 1024, length: int = 12) -> Pair:
    """Histories of item ids padded with 0, some long, some short; is there more of the first half of the shop."""
    g = seeded(16)
    ids = torch.randint(1, 41, (n, length), generator=g)
    ids = ids * (torch.arange(length) < torch.randint(3, length + 1, (n, 1), generator=g))
    return ids, ((((ids > 0) & (ids <= 20)).sum(1)) > (ids > 20).sum(1)).long()


def masked() -> Pair:
    """Sentences of which a fifth of the words is masked; only those are to be told."""
    ids, _ = data.chain()
    hidden = torch.rand(ids.shape, generator=seeded(17)) < 0.2
    return ids.masked_fill(hidden, 24), ids.masked_fill(~hidden, -100)


def masked_accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    asked = targets != -100
    return float((outputs.argmax(-1) == targets)[asked].float().mean())


def on(codes: str, mend: Callable[[Case], object]) -> Mend:
    """A repair of these findings."""

    def carry_out(case: Case, code: str) -> bool:
        if code not in codes.split():
            return False
        mend(case)
        return True

    return carry_out  # type: ignore[return-value]


# Healthy


@healthy
def relu_rnn_from_identity() -> Case:
    """Le et al. 2015: the recurrent matrix is the identity, the biases are zero, the inputs' weights small."""
    x, y = data.sums()
    model = nets.Recurrent(nn.RNN, 4, 32, 2, nonlinearity="relu")
    nn.init.eye_(model.rnn.weight_hh_l0)
    nn.init.normal_(model.rnn.weight_ih_l0, 0, 0.1)
    nn.init.zeros_(model.rnn.bias_hh_l0)
    nn.init.zeros_(model.rnn.bias_ih_l0)
    return Case(model, x, y, F.cross_entropy, trains=0.9, optimizer=adam(2e-3), steps=250, clip=1.0)


class DiagonalSsm(nn.Module):
    """S4D with real poles -1 … -N, B = 1, and a time step of its own for each channel."""

    sign = -1.0

    def __init__(self, width: int, state: int = 16) -> None:
        super().__init__()
        self.log_a = nn.Parameter(torch.arange(1, state + 1).float().log().repeat(width, 1))
        self.log_dt = nn.Parameter(torch.empty(width, 1).uniform_(math.log(0.01), math.log(0.2)))
        self.b = nn.Parameter(torch.ones(width, state))
        self.c = nn.Parameter(torch.randn(width, state))
        self.d = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.sign * self.log_a.exp()
        decay = (self.log_dt.exp() * a).exp()
        into = (decay - 1) / a * self.b
        h, out = x.new_zeros(len(x), *a.shape), []
        for t in range(x.shape[1]):
            h = decay * h + into * x[:, t, :, None]
            out.append((h * self.c).sum(-1) + self.d * x[:, t])
        return torch.stack(out, 1)


class SsmBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.ssm, self.mix = nn.LayerNorm(width), DiagonalSsm(width), nn.Linear(width, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + F.glu(self.mix(F.gelu(self.ssm(self.norm(x)))), -1)


class Ssm(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.into, self.head = nn.Linear(4, width), nn.Linear(width, 2)
        self.blocks = nn.Sequential(SsmBlock(width), SsmBlock(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.into(x)).mean(1))


@healthy
def diagonal_state_space_model() -> Case:
    x, y = data.sums()
    return Case(Ssm(), x, y, F.cross_entropy, trains=0.9, optimizer=adam(3e-3), steps=150)


class ReZeroBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nets.Attention(width, 4)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.alpha = nn.Parameter(torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.alpha[0] * self.attention(x)
        return x + self.alpha[1] * self.mlp(x)


class ReZero(nn.Module):
    def __init__(self, width: int = 32, depth: int = 6) -> None:
        super().__init__()
        self.into, self.head = nn.Linear(8, width), nn.Linear(width, 10)
        self.positions = nn.Parameter(0.1 * torch.randn(8, width))
        self.blocks = nn.Sequential(*[ReZeroBlock(width) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.into(x) + self.positions).mean(1))


@healthy
def rezero_encoder_without_norms() -> Case:
    """Bachlechner et al. 2020: every branch starts at zero behind one learned number."""
    x, y = data.rows()
    return Case(ReZero(), x, y, F.cross_entropy, trains=0.85, optimizer=adam(3e-3), steps=200)


class LoraLinear(nn.Module):
    def __init__(self, base: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.empty(rank, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.a, math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2.0 * (x @ self.a.T @ self.b.T)


@healthy
def lora_upon_a_trained_body() -> Case:
    """A digit classifier is trained here first; then adapted to transposed digits, with a new head."""
    x, y = data.digits()
    model = nets.mlp([64, 64, 64, 10])
    before = torch.optim.Adam(model.parameters(), 2e-3)
    for i in range(150):
        part = slice(i * 64 % 1600, i * 64 % 1600 + 64)
        before.zero_grad()
        F.cross_entropy(model(x[part]), y[part]).backward()
        before.step()
    model.zero_grad()
    model[0], model[2], model[4] = LoraLinear(model[0]), LoraLinear(model[2]), nn.Linear(64, 10)
    turned = x.view(-1, 8, 8).transpose(1, 2).flatten(1).contiguous()
    return Case(model, turned, y, F.cross_entropy, trains=0.85, optimizer=adam(3e-3), steps=250)


class PostBlock(nn.Module):
    def __init__(self, width: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.attention, self.norm1, self.norm2 = (
            nets.Attention(width, 4, scaled=scaled),
            nn.LayerNorm(width),
            nn.LayerNorm(width),
        )
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


class Bert(nn.Module):
    """Post-norm, norm behind the embeddings, tied output with a bias."""

    def __init__(self, words: int = 25, width: int = 32) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(words, width), nn.Embedding(16, width)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(PostBlock(width), PostBlock(width))
        self.bias = nn.Parameter(torch.zeros(words))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, 0, 0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.tokens(ids) + self.positions(torch.arange(ids.shape[1])))
        return F.linear(self.blocks(x), self.tokens.weight, self.bias)


@healthy
def post_norm_masked_language_model() -> Case:
    x, y = masked()
    return Case(Bert(), x, y, token_loss, masked_accuracy, 0.6, adam(4e-3), steps=350)


class BeatsBlock(nn.Module):
    def __init__(self, past: int, ahead: int, width: int = 32, *, seed: int | None = None, back: bool = True) -> None:
        super().__init__()
        if seed is not None:
            torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(past, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.forecast = nn.Linear(width, ahead)
        self.backcast = nn.Linear(width, past) if back else None


class Beats(nn.Module):
    """Every block forecasts, and takes from the input what it explains; the last has nothing to hand on."""

    def __init__(self, blocks: int = 3, *, seed: int | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(BeatsBlock(24, 4, seed=seed, back=i < blocks - 1) for i in range(blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.new_zeros(len(x), 4)
        for block in self.blocks:
            h = block.body(x)
            total = total + block.forecast(h)
            if block.backcast is not None:
                x = x - block.backcast(h)
        return total


@healthy
def doubly_residual_forecaster() -> Case:
    x, y = series()
    return Case(Beats(), x, y, F.mse_loss, r2, 0.8, adam(2e-3), steps=300)


class Towers(nn.Module):
    """Users and items on the sphere; every other item of the batch is a negative. Logits: cosine / 0.1."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.user = nn.Sequential(nn.Linear(12, 32, bias=False), nn.ReLU(), nn.Linear(32, width, bias=False))
        self.item = nn.Sequential(nn.Linear(12, 32, bias=False), nn.ReLU(), nn.Linear(32, width, bias=False))
        self.safe = True

    def unit(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(x, dim=1) if self.safe else x / (x.square().sum(1, keepdim=True).sqrt() + 1e-8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.unit(self.user(x[:, :12])) @ self.unit(self.item(x[:, 12:])).T / 0.1


def towers(*, safe: bool) -> Case:
    """Of a few users nothing is known: their features are all zero."""
    g = seeded(21)
    z = torch.randn(1024, 6, generator=g)
    views = [torch.tanh(z @ torch.randn(6, 12, generator=g)) + 0.1 * torch.randn(1024, 12, generator=g) for _ in "ui"]
    views[0][::40] = 0
    model = Towers()
    model.safe = safe

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, torch.arange(len(logits)))

    def score(logits: torch.Tensor, targets: torch.Tensor) -> float:
        best = logits.argsort(1, descending=True)[:, :20]
        return float((best == torch.arange(len(logits))[:, None]).any(1).float().mean())

    return Case(model, torch.cat(views, 1), torch.arange(1024), loss, score, 0.6, adam(3e-3), steps=300)


@healthy
def two_towers_with_negatives_of_the_batch() -> Case:
    return towers(safe=True)


class Factors(nn.Module):
    def __init__(self, users: nn.Embedding, mean: float, width: int = 8) -> None:
        super().__init__()
        self.users, self.items = users, nn.Embedding(30, width)
        self.user_bias, self.item_bias = nn.Embedding(50, 1), nn.Embedding(30, 1)
        nn.init.normal_(self.items.weight, 0, 0.1)
        nn.init.zeros_(self.user_bias.weight)
        nn.init.zeros_(self.item_bias.weight)
        self.mean = nn.Parameter(torch.tensor(mean))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, i = x[:, 0], x[:, 1]
        both = (self.users(u) * self.items(i)).sum(1, keepdim=True)
        return self.mean + self.user_bias(u) + self.item_bias(i) + both


def factorization(*, frozen: bool = False) -> Case:
    x, y = ratings()
    vectors = 0.1 * torch.randn(50, 8)
    users = nn.Embedding.from_pretrained(vectors) if frozen else nn.Embedding.from_pretrained(vectors, freeze=False)
    return Case(Factors(users, float(y.mean())), x, y, F.mse_loss, r2, 0.8, adam(0.02), steps=400, batch=128)


@healthy
def biased_matrix_factorization() -> Case:
    """Biases start at zero, the mean at the ratings' mean, the factors small."""
    return factorization()


class CausalConv(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(width, width, 3, dilation=dilation))
        self.pad = 2 * dilation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.conv(F.pad(x, (self.pad, 0))))


class Tcn(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.into, self.head = nn.Conv1d(1, width, 1), nn.Linear(width, 4)
        self.body = nn.Sequential(*[CausalConv(width, 2**k) for k in range(4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.into(x[:, None]))[:, :, -1])


@healthy
def causal_convolutions_under_weight_norm() -> Case:
    x, y = series()
    return Case(Tcn(), x, y, F.mse_loss, r2, 0.8, adam(3e-3), steps=250)


class DLinear(nn.Module):
    """Trend and season, each by one linear map that starts as the mean of the window: Zeng et al. 2023."""

    def __init__(self, past: int = 24, ahead: int = 4) -> None:
        super().__init__()
        self.smooth = nn.AvgPool1d(5, 1, 2, count_include_pad=False)
        self.season, self.trend = nn.Linear(past, ahead), nn.Linear(past, ahead)
        for layer in (self.season, self.trend):
            nn.init.constant_(layer.weight, 1 / past)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        trend = self.smooth(x[:, None])[:, 0]
        return self.season(x - trend) + self.trend(trend)


@healthy
def linear_forecaster_from_even_weights() -> Case:
    x, y = series()
    return Case(DLinear(), x, y, F.mse_loss, r2, 0.6, adam(0.01), steps=400)


class Reversible(nn.Module):
    """Each window is normalized by its own mean and deviation, and the forecast set back."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nets.mlp([24, 48, 48, 4])
        self.scale, self.shift = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = x.mean(1, keepdim=True).detach(), (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt().detach()
        y = self.body((x - mean) / std * self.scale + self.shift)
        return (y - self.shift) / (self.scale + 1e-10) * std + mean


@healthy
def reversible_instance_norm_on_raw_series() -> Case:
    """Loads in their own units; the network inside never sees them."""
    x, y = series()
    level = 80 + 15 * torch.randn(len(x), 1, generator=seeded(22))

    def within(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return 1 - float((outputs - targets).square().mean() / (targets - level[: len(targets)]).square().mean())

    return Case(Reversible(), 4 * x + level, 4 * y + level, F.mse_loss, within, 0.75, adam(2e-3), steps=400)


def orders(bias: float | None = None) -> Case:
    x, y = counts()
    model = nets.mlp([6, 32, 1])
    nn.init.constant_(model[-1].bias, float(y.mean().log()) if bias is None else bias)

    def likelihood(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.poisson_nll_loss(outputs, targets, log_input=True)

    return Case(model, x, y, likelihood, lambda o, y: r2(o.exp(), y), 0.6, sgd(0.003), steps=400)


@healthy
def poisson_counts_by_their_logarithm() -> Case:
    """The output is a log-rate; its bias starts at the log of the mean count."""
    return orders()


class Cross(nn.Module):
    """DCN-v2: x0 ⊙ (W x + b) + x beside a small deep part; the last bias is the logit of the rate of clicks."""

    def __init__(self, rate: float, width: int = 6) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(10, width) for _ in range(5))
        for table in self.tables:
            nn.init.normal_(table.weight, 0, 0.3)
        d = 5 * width
        self.cross = nn.ModuleList(nn.Linear(d, d) for _ in range(2))
        self.deep = nn.Sequential(nn.Linear(d, 24), nn.ReLU())
        self.head = nn.Linear(d + 24, 1)
        nn.init.constant_(self.head.bias, math.log(rate / (1 - rate)))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x0 = x = torch.cat([table(ids[:, k]) for k, table in enumerate(self.tables)], 1)
        for layer in self.cross:
            x = x0 * layer(x) + x
        return self.head(torch.cat([x, self.deep(x0)], 1))


@healthy
def cross_network_for_rare_clicks() -> Case:
    x, y = clicks()
    loss = F.binary_cross_entropy_with_logits
    return Case(Cross(float(y.mean())), x, y, loss, auc, 0.85, adam(5e-3), steps=250, batch=256)


class Sparse(nn.Module):
    """Experts as stacked matrices (experts, in, out), of which each sample uses ``top``; two layers of them."""

    def __init__(
        self, fill: Callable[[torch.Tensor], object], *, top: int = 2, experts: int = 4, width: int = 32
    ) -> None:
        super().__init__()
        self.into, self.head, self.top = nn.Linear(64, width), nn.Linear(width, 10), top
        self.router = nn.Linear(width, experts, bias=False)
        nn.init.normal_(self.router.weight, 0, 0.1)
        self.up = nn.Parameter(torch.empty(experts, width, 2 * width))
        self.down = nn.Parameter(torch.empty(experts, 2 * width, width))
        self.weighted = True
        self.balance = torch.zeros(())
        fill(self.up)
        fill(self.down)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.into(x))
        p = self.router(h).softmax(-1)
        best = p.topk(self.top, -1)
        chosen = torch.zeros_like(p).scatter(1, best.indices, 1.0)
        if self.weighted:
            self.balance = 4 * (chosen.mean(0) / self.top * p.mean(0)).sum()
            gates = p * chosen
            gates = gates / gates.sum(-1, keepdim=True) if self.top > 1 else gates
        else:
            self.balance, gates = torch.zeros(()), chosen
        hidden = torch.relu(torch.einsum("nd,edh->neh", h, self.up))
        return self.head(torch.einsum("ne,neh,ehd->nd", gates, hidden, self.down))


def he_stacked(w: torch.Tensor) -> torch.Tensor:
    return nn.init.normal_(w, 0, math.sqrt(2 / w.shape[1]))


def experts(fill: Callable[[torch.Tensor], object] = he_stacked, *, top: int = 2, weighted: bool = True) -> Case:
    x, y = data.digits()
    model = Sparse(fill, top=top)
    model.weighted = weighted

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs, targets) + 0.01 * model.balance

    return Case(model, x, y, loss, trains=0.9, optimizer=sgd(0.03), steps=250)


@healthy
def one_of_four_experts() -> Case:
    return experts(top=1)


class Echo(nn.Module):
    """A reservoir that is never trained, of spectral radius 0.9, and a linear readout that is."""

    def __init__(self, size: int = 120) -> None:
        super().__init__()
        w = torch.randn(size, size) * (torch.rand(size, size) < 0.1)
        self.register_buffer("w", 0.9 * w / torch.linalg.eigvals(w).abs().max())
        self.register_buffer("into", torch.empty(size, 1).uniform_(-0.5, 0.5))
        self.readout = nn.Linear(size, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), len(self.w))
        for t in range(x.shape[1]):
            h = torch.tanh(h @ self.w.T + x[:, t, None] * self.into.T)
        return self.readout(h)


@healthy
def echo_state_network() -> Case:
    x, y = series()
    return Case(Echo(), x, y, F.mse_loss, r2, 0.8, adam(5e-3), steps=300)


class LlamaBlock(nn.Module):
    """Grouped queries, rotary positions, RMS norms, a gated MLP, no bias; branches end small."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.q, self.kv = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.o = nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 2 * width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)
        for layer in (self.q, self.kv, self.gate, self.up):
            nn.init.normal_(layer.weight, 0, width**-0.5)
        for layer in (self.o, self.down):
            nn.init.normal_(layer.weight, 0, layer.in_features**-0.5 / math.sqrt(2 * depth))

    @staticmethod
    def turned(x: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[-2])[:, None] * 100.0 ** (-torch.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        h = self.norm1(x)
        q = self.q(h).view(n, t, 4, d // 4).transpose(1, 2)
        k, v = self.kv(h).view(n, t, 2, 2, d // 4).permute(2, 0, 3, 1, 4)
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        a = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(n, t, d))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, words: int = 24, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(words, width), nn.Linear(width, words, bias=False)
        self.blocks = nn.Sequential(*[LlamaBlock(width, depth) for _ in range(depth)])
        self.norm = nn.RMSNorm(width)
        nn.init.normal_(self.tokens.weight, 0, 0.5)
        nn.init.normal_(self.head.weight, 0, 0.05)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.tokens(ids))))


@healthy
def rotary_decoder_with_grouped_queries() -> Case:
    """Table and head are two matrices on purpose, as in Llama."""
    x, y = data.chain()
    return Case(Llama(), x, y, token_loss, token_accuracy, 0.75, adam(3e-3), steps=150, clip=1.0)


def ranker(*, raw: bool = False) -> Case:
    """Scores of documents; their softmax is to be the shares of clicks. A bias at the end would do nothing."""
    x, y = lists()
    model = nn.Sequential(
        nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1, bias=False), nn.Flatten()
    )

    def shares(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.kl_div(outputs if raw else outputs.log_softmax(1), targets, reduction="batchmean")

    return Case(model, x, y, shares, first_of, 0.75, adam(3e-3), steps=300)


@healthy
def listwise_ranker() -> Case:
    return ranker()


class Pooled(nn.Module):
    """Attention over a history, without its padding."""

    def __init__(self, *, guarded: bool, width: int = 16) -> None:
        super().__init__()
        self.items, self.asks, self.head = (
            nn.Embedding(41, width, padding_idx=0),
            nn.Linear(width, 1),
            nn.Linear(width, 2),
        )
        self.guarded = guarded

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.items(ids)
        logits = self.asks(torch.tanh(x)).squeeze(-1)
        logits = logits.masked_fill(ids == 0, -1e4 if self.guarded else float("-inf"))
        return self.head((logits.softmax(1)[..., None] * x).sum(1))


def pooled(*, guarded: bool) -> Case:
    x, y = baskets()
    x = x.clone()
    x[::40] = 0
    y = y.masked_fill(x.sum(1) == 0, 0)
    return Case(Pooled(guarded=guarded), x, y, F.cross_entropy, trains=0.85, optimizer=adam(0.02), steps=250)


@healthy
def pooled_histories_some_of_them_empty() -> Case:
    """New users have no history at all: a finite mask makes their pool the padding's zero vector."""
    return pooled(guarded=True)


# Faulty at step 0


@fault("non-finite-values", twin=pooled_histories_some_of_them_empty)
def minus_infinity_masks_the_new_users() -> Case:
    """Softmax over nothing but -inf is NaN: the users without history."""
    return pooled(guarded=False)


minus_infinity_masks_the_new_users = mended(
    minus_infinity_masks_the_new_users, on("non-finite-values", lambda case: setattr(case.model, "guarded", True))
)


@fault("non-finite-gradients", twin=two_towers_with_negatives_of_the_batch)
def length_of_the_unknown_users() -> Case:
    """A norm written by hand, ε behind the root: finite forward, but the root's slope at 0 is not."""
    return towers(safe=False)


length_of_the_unknown_users = mended(
    length_of_the_unknown_users, on("non-finite-gradients", lambda case: setattr(case.model, "safe", True))
)


@fault("unregistered-layer not-in-optimizer", twin=cross_network_for_rare_clicks)
def tables_in_a_plain_list() -> Case:
    """The fields' tables are kept in a list: never registered, never trained."""
    case = cross_network_for_rare_clicks.build()
    tables = list(case.model.tables)
    del case.model.tables
    case.model.tables = tables
    return case


tables_in_a_plain_list = mended(
    tables_in_a_plain_list,
    on(
        "unregistered-layer not-in-optimizer",
        lambda case: setattr(case.model, "tables", nn.ModuleList(case.model.tables)),
    ),
)


@fault("no-gradient", "router router.weight", twin=one_of_four_experts)
def router_that_only_picks() -> Case:
    """The chosen expert's output is not multiplied by its probability: nothing teaches the router."""
    return experts(top=1, weighted=False)


router_that_only_picks = mended(
    router_that_only_picks, on("no-gradient", lambda case: setattr(case.model, "weighted", True))
)


@fault("frozen", "users users.weight", twin=biased_matrix_factorization)
def from_pretrained_freezes_the_users() -> Case:
    """``from_pretrained`` was used to set the scale of fresh random vectors; it freezes by default."""
    return factorization(frozen=True)


from_pretrained_freezes_the_users = mended(
    from_pretrained_freezes_the_users, on("frozen", lambda case: case.model.users.requires_grad_(True))
)


@fault("duplicated-draws", "blocks.*", twin=doubly_residual_forecaster)
def every_block_seeds_itself() -> Case:
    """ "For reproducibility" each block's constructor calls manual_seed: all blocks are one draw."""
    x, y = series()
    return Case(Beats(seed=42), x, y, F.mse_loss, r2, 0.8, adam(2e-3), steps=300)


def drawn_again(case: Case) -> None:
    for module in case.model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()


every_block_seeds_itself = mended(every_block_seeds_itself, on("duplicated-draws", drawn_again))


class Machine(nn.Module):
    """A factorization machine over five fields."""

    def __init__(self, fill: Callable[[torch.Tensor], object], width: int = 8) -> None:
        super().__init__()
        self.weights, self.factors = nn.Embedding(50, 1), nn.Embedding(50, width)
        nn.init.zeros_(self.weights.weight)
        fill(self.factors.weight)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        ids = ids + 10 * torch.arange(5)
        v = self.factors(ids)
        pairs = 0.5 * (v.sum(1).square() - v.square().sum(1)).sum(1, keepdim=True)
        return self.bias + self.weights(ids).sum(1) + pairs


def machine(fill: Callable[[torch.Tensor], object]) -> Case:
    g = seeded(23)
    ids = torch.randint(10, (4000, 5), generator=g)
    z = torch.randn(5, 10, 4, generator=g)[torch.arange(5), ids]
    y = z.sum(1).square().sum(1) - z.square().sum((1, 2))
    y = ((y - y.mean()) / y.std())[:, None]
    return Case(Machine(fill), ids, y, F.mse_loss, r2, 0.8, adam(0.02), steps=400, batch=128)


@healthy
def factorization_machine() -> Case:
    return machine(lambda w: nn.init.normal_(w, 0, 0.1))


@fault("constant-init symmetric-units", "factors factors.weight", twin=factorization_machine)
def factors_of_a_hundredth_each() -> Case:
    """All eight factors are the same and stay so: a machine of one factor."""
    return machine(lambda w: nn.init.constant_(w, 0.01))


factors_of_a_hundredth_each = mended(
    factors_of_a_hundredth_each,
    on("constant-init symmetric-units", lambda case: nn.init.normal_(case.model.factors.weight, 0, 0.1)),
)


def signed(case: Case, sign: float) -> Case:
    for block in case.model.blocks:
        block.ssm.sign = sign
    return case


@fault(
    "exploding-forward exploding-gradient", "blocks.*.ssm blocks.*.ssm.* blocks.*.mix blocks.*.mix.*",
    twin=diagonal_state_space_model,
)  # fmt: skip
def poles_on_the_wrong_side() -> Case:
    """A = exp(log A), the minus forgotten: each state grows with time instead of fading."""
    x, y = data.sums()
    return signed(Case(Ssm(), x, y, F.cross_entropy, trains=0.9, optimizer=adam(3e-3), steps=150), 1.0)


poles_on_the_wrong_side = mended(
    poles_on_the_wrong_side, on("exploding-forward exploding-gradient", lambda case: signed(case, -1.0))
)


@fault("wrong-fan vanishing-forward vanishing-gradient", "up down", twin=one_of_four_experts)
def kaiming_takes_a_stack_for_a_convolution() -> Case:
    """Of (experts, in, out) ``kaiming_normal_`` takes in × out for the fan: weights too small by √out, twice."""
    return experts(lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), top=1)


def refilled(case: Case) -> None:
    he_stacked(case.model.up.data)
    he_stacked(case.model.down.data)


kaiming_takes_a_stack_for_a_convolution = mended(
    kaiming_takes_a_stack_for_a_convolution, on("wrong-fan vanishing-forward vanishing-gradient", refilled)
)


def norms_filled(case: Case, value: float) -> Case:
    for module in case.model.blocks.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.constant_(module.weight, value)
    return case


@fault(
    "zero-norm-scale no-gradient rank-collapse vanishing-forward vanishing-gradient",
    "blocks.*.norm1 blocks.*.norm2 blocks.*.norm1.* blocks.*.norm2.* blocks.0 blocks.1 blocks",
    twin=post_norm_masked_language_model,
)  # fmt: skip
def zero_scales_taken_to_post_norm() -> Case:
    """The trick for the last norm of a residual branch, taken to norms behind the sum: nothing passes."""
    return norms_filled(post_norm_masked_language_model.build(), 0.0)


zero_scales_taken_to_post_norm = mended(
    zero_scales_taken_to_post_norm,
    on(
        "zero-norm-scale no-gradient rank-collapse vanishing-forward vanishing-gradient", lambda c: norms_filled(c, 1.0)
    ),
)


class Pointer(nn.Module):
    """Queries and keys by their own maps, one head; the value found is read out."""

    def __init__(self, *, scaled: bool, width: int = 128) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(24, width), nn.Embedding(16, width)
        self.norm = nn.LayerNorm(width)
        self.attention = nets.Attention(width, 1, scaled=scaled)
        nn.init.normal_(self.attention.qkv.weight, 0, 1.5 * width**-0.5)
        self.after, self.head = nn.LayerNorm(width), nn.Linear(width, 24)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.after(self.attention(self.norm(x))))


def pointer(*, scaled: bool) -> Case:
    """Each sentence is to be told backwards."""
    x = torch.randint(24, (1024, 16), generator=seeded(24))
    return Case(
        Pointer(scaled=scaled),
        x,
        x.flip(1).contiguous(),
        token_loss,
        token_accuracy,
        0.9,
        sgd(0.1),
        steps=200,
        batch=32,
    )


@healthy
def one_head_that_reads_backwards() -> Case:
    return pointer(scaled=True)


@fault("attention-collapse saturation", "attention attention.*", twin=one_head_that_reads_backwards)
def head_without_the_root_of_its_width() -> Case:
    """q·k of 128 numbers each, not divided by √128: the softmax takes one key."""
    return pointer(scaled=False)


head_without_the_root_of_its_width = mended(
    head_without_the_root_of_its_width,
    on("attention-collapse saturation", lambda case: setattr(case.model.attention, "scaled", True)),
)


@fault("missing-softmax", twin=listwise_ranker)
def divergence_of_raw_scores() -> Case:
    """``kl_div`` wants log-probabilities and is given scores: it falls without end."""
    return ranker(raw=True)


def as_shares(case: Case) -> None:
    case.loss_fn = lambda outputs, targets: F.kl_div(outputs.log_softmax(1), targets, reduction="batchmean")


divergence_of_raw_scores = mended(divergence_of_raw_scores, on("missing-softmax", as_shares))


@fault("unscaled-targets wrong-prior", twin=causal_convolutions_under_weight_norm)
def forecast_in_megawatts() -> Case:
    """The windows were standardized, the values ahead were left in megawatts."""
    case = causal_convolutions_under_weight_norm.build()
    case.targets = case.targets * 6000 + 31000
    return case


def targets_scaled(case: Case) -> None:
    case.targets = (case.targets - case.targets.mean()) / case.targets.std()


forecast_in_megawatts = mended(forecast_in_megawatts, on("unscaled-targets wrong-prior", targets_scaled))


@fault("wrong-prior large-head exploding-gradient unscaled-targets", "2 2.bias", twin=poisson_counts_by_their_logarithm)
def bias_of_the_mean_not_of_its_logarithm() -> Case:
    """The head gives a log-rate, but its bias was set to the mean count: e¹² where twelve is meant."""
    return orders(float(counts()[1].mean()))


def log_prior(case: Case) -> None:
    nn.init.constant_(case.model[-1].bias, float(case.targets.mean().log()))


bias_of_the_mean_not_of_its_logarithm = mended(bias_of_the_mean_not_of_its_logarithm, on("wrong-prior", log_prior))


# Faulty in training


@fault(
    "learning-rate-too-high update-too-large loss-oscillating loss-rising loss-diverged loss-stuck trivial-plateau "
    "gradient-spike exploded-gradients dying-units",
    when="training", twin=rezero_encoder_without_norms,
)  # fmt: skip
def rezero_at_a_rate_for_plain_sgd() -> Case:
    case = rezero_encoder_without_norms.build()
    case.optimizer = adam(0.3)
    return case


rezero_at_a_rate_for_plain_sgd = mended(
    rezero_at_a_rate_for_plain_sgd,
    lambda case, code: setattr(case, "optimizer", adam(3e-3)) is None,  # type: ignore[arg-type]
)


@fault("learning-rate-too-low update-too-small loss-stuck", when="training", twin=rotary_decoder_with_grouped_queries)
def warmup_counted_in_epochs() -> Case:
    """The warmup was meant to take 100 steps, and takes 100 epochs of 1000."""
    case = rotary_decoder_with_grouped_queries.build()
    case.schedule = lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, (step + 1) / 100_000))
    return case


warmup_counted_in_epochs = mended(
    warmup_counted_in_epochs,
    lambda case, code: setattr(case, "schedule", None) is None,  # type: ignore[arg-type]
)


@fault(
    "loss-oscillating loss-rising loss-diverged update-too-large learning-rate-too-high exploded-gradients "
    "gradient-spike loss-stuck trivial-plateau dying-units",
    when="training", twin=one_of_four_experts,
)  # fmt: skip
def experts_whose_gradients_pile_up() -> Case:
    """zero_grad is missing."""
    case = experts(top=1)
    case.zeroed = False
    return case


experts_whose_gradients_pile_up = mended(
    experts_whose_gradients_pile_up,
    lambda case, code: setattr(case, "zeroed", True) is None,  # type: ignore[arg-type]
)


@fault("over-fitting", when="training", twin=cross_network_for_rare_clicks)
def cross_network_on_the_first_day() -> Case:
    """Only the first two hundred impressions are there to train on."""
    case = cross_network_for_rare_clicks.build()
    case.held_out = (case.inputs[200:1700], case.targets[200:1700])
    case.inputs, case.targets, case.batch, case.steps = case.inputs[:200], case.targets[:200], 64, 400
    return case


@fault(
    "trivial-plateau loss-stuck vanished-gradients loss-rising update-too-large",
    when="training",
    twin=causal_convolutions_under_weight_norm,
)
def decay_of_sgd_given_to_adamw() -> Case:
    """A decoupled decay of 50 where 0.05 was meant: each step takes a seventh of every weight."""
    case = causal_convolutions_under_weight_norm.build()
    case.optimizer = lambda model: torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=50.0)
    return case


decay_of_sgd_given_to_adamw = mended(
    decay_of_sgd_given_to_adamw,
    lambda case, code: setattr(case, "optimizer", adam(3e-3)) is None,  # type: ignore[arg-type]
)
