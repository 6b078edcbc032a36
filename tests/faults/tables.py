"""Programs of an author who has not seen how the library decides: text, time and tables."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .program import Case, adam, fault, healthy, mended, r2, sgd, token_accuracy, token_loss

# Data -----------------------------------------------------------------------------------------------------------------


def tagged(n=768, length=12, words=20):
    """Tag of a word: its own class of four, moved by one where the word before is even."""
    ids = torch.randint(1, words, (n, length), generator=torch.Generator().manual_seed(11))
    before = F.pad(ids[:, :-1], (1, 0))
    return ids, (ids % 4 + (before % 2 == 0).long()) % 4


def seasons(n=768, past=24, ahead=6):
    """Windows of noisy seasonal series, standardized: (n, past), (n, ahead)."""
    g = torch.Generator().manual_seed(12)
    t = torch.arange(past + ahead).float()
    phase, level = torch.rand(n, 1, generator=g) * 6.28, torch.randn(n, 1, generator=g) * 0.5
    y = level + torch.sin(t * 0.52 + phase) + 0.1 * torch.randn(n, past + ahead, generator=g)
    return y[:, :past].contiguous(), y[:, past:].contiguous()


def shares(n=1024, length=10, words=24):
    """Random words; the answer at each place is how many of those so far are small, in quarters."""
    ids = torch.randint(words, (n, length), generator=torch.Generator().manual_seed(20))
    share = (ids < words // 2).float().cumsum(1) / torch.arange(1, length + 1)
    return ids, (share * 4).round().long()


def preferences(n=3000, users=40, items=30):
    """(user, item chosen, item not chosen) and a target of ones that nobody reads."""
    g = torch.Generator().manual_seed(14)
    u, i = torch.randn(users, 3, generator=g), torch.randn(items, 3, generator=g)
    a = torch.randint(users, (n,), generator=g)
    b, c = torch.randint(items, (n,), generator=g), torch.randint(items, (n,), generator=g)
    better = (u[a] * i[b]).sum(1) > (u[a] * i[c]).sum(1)
    return torch.stack([a, torch.where(better, b, c), torch.where(better, c, b)], 1), torch.ones(n, 1)


def clicks(n=4000):
    """Five fields of ten values each; one in about eight is a click."""
    g = torch.Generator().manual_seed(15)
    x = torch.randint(10, (n, 5), generator=g)
    w = torch.randn(5, 10, generator=g)
    logit = w[torch.arange(5), x].sum(1) + 1.5 * ((x[:, 0] + x[:, 1]) % 3 == 0)
    return x, (logit > logit.quantile(0.87)).float()[:, None]


def auc(outputs, targets):
    o, t = outputs.flatten(), targets.flatten() > 0.5
    return float(
        (o[t][:, None] > o[~t][None, :]).float().mean() + 0.5 * (o[t][:, None] == o[~t][None, :]).float().mean()
    )


def sentences(n=1024, length=8, words=16):
    """Source and the shifted translation packed (n, 2, length): the answer is the source reversed, each word moved."""
    g = torch.Generator().manual_seed(16)
    source = torch.randint(1, words, (n, length), generator=g)
    target = source.flip(1) % (words - 1) + 1
    return torch.stack([source, F.pad(target[:, :-1], (1, 0))], 1), target


# Nets -----------------------------------------------------------------------------------------------------------------


class Tagger(nn.Module):
    def __init__(self, words=20, width=24, tags=4):
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=0)
        self.lstm = nn.LSTM(width, 24, batch_first=True, bidirectional=True)
        self.out = nn.Linear(48, tags)
        with torch.no_grad():  # Keras: unit forget bias, orthogonal recurrence, Glorot
            for name, p in self.lstm.named_parameters():
                if "weight_hh" in name:
                    for part in p.chunk(4):
                        nn.init.orthogonal_(part)
                elif "weight_ih" in name:
                    nn.init.xavier_uniform_(p)
                else:
                    p.zero_()
                    if "bias_ih" in name:
                        p[24:48] = 1.0

    def forward(self, ids):
        return self.out(self.lstm(self.embed(ids))[0])


class HandGru(nn.Module):
    """A GRU from raw matrices, as a JAX program has it."""

    def __init__(self, inputs=4, width=24, classes=2):
        super().__init__()
        self.wx = nn.Parameter(torch.randn(inputs, 3 * width) / math.sqrt(inputs))
        self.wh = nn.Parameter(torch.cat([nn.init.orthogonal_(torch.empty(width, width)) for _ in range(3)], 1))
        self.b = nn.Parameter(torch.zeros(3 * width))
        self.out = nn.Parameter(torch.randn(width, classes) / math.sqrt(width))

    def forward(self, x):
        h = x.new_zeros(len(x), self.wh.shape[0])
        for t in range(x.shape[1]):
            a, (hr, hz, hn) = x[:, t] @ self.wx + self.b, (h @ self.wh).chunk(3, 1)
            ar, az, an = a.chunk(3, 1)
            z = torch.sigmoid(az + hz)
            h = (1 - z) * torch.tanh(an + torch.sigmoid(ar + hr) * hn) + z * h
        return h @ self.out


class HandRnn(nn.Module):
    """Elman's network from raw matrices."""

    def __init__(self, std_x, std_h, activation=torch.tanh, inputs=4, width=32):
        super().__init__()
        self.w_x = nn.Parameter(torch.randn(inputs, width) * std_x)
        self.w_h = nn.Parameter(torch.randn(width, width) * std_h)
        self.b = nn.Parameter(torch.zeros(width))
        self.act = Applied(activation)
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        h = x.new_zeros(len(x), self.w_h.shape[0])
        for t in range(x.shape[1]):
            h = self.act(x[:, t] @ self.w_x + h @ self.w_h + self.b)
        return self.head(h)


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Ssm(nn.Module):
    """A diagonal state-space layer with real negative poles (S4D-real), by convolution, then a mixing."""

    def __init__(self, width=16, state=8, past=24, ahead=6):
        super().__init__()
        self.enter = nn.Linear(1, width)
        self.log_a = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(width, 1))
        self.log_dt = nn.Parameter(torch.rand(width, 1) * 2.3 - 3.0)
        self.c = nn.Parameter(torch.randn(width, state))
        self.d = nn.Parameter(torch.ones(width))
        self.mix, self.head = nn.Linear(width, width), nn.Linear(width * past, ahead)
        self.past = past

    def forward(self, x):
        u = self.enter(x[..., None])
        steps = torch.arange(self.past, device=x.device)
        a, dt = -self.log_a.exp(), self.log_dt.exp()
        decay = (a * dt)[..., None] * steps
        kernel = ((self.c * (1 - (a * dt).exp()) / -a)[..., None] * decay.exp()).sum(1)
        size = 2 * self.past
        y = torch.fft.irfft(torch.fft.rfft(u, size, 1) * torch.fft.rfft(kernel.T, size, 0), size, 1)[:, : self.past]
        return self.head((u + self.mix(F.gelu(y + u * self.d))).flatten(1))


class NBeats(nn.Module):
    def __init__(self, past=24, ahead=6, blocks=3, width=48):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(past, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, past + ahead)
            )
            for _ in range(blocks)
        )
        self.past, self.ahead = past, ahead

    def forward(self, x):
        total = 0.0
        for i, block in enumerate(self.blocks):
            back, ahead = block(x).split([self.past, self.ahead], 1)
            if i < len(self.blocks) - 1:
                x = x - back
            else:
                ahead = ahead + back[:, : self.ahead]
            total = total + ahead
        return total


class DLinear(nn.Module):
    def __init__(self, past=24, ahead=6):
        super().__init__()
        self.trend, self.season = nn.Linear(past, ahead), nn.Linear(past, ahead)
        for layer in (self.trend, self.season):
            nn.init.constant_(layer.weight, 1 / past)

    def forward(self, x):
        trend = F.avg_pool1d(F.pad(x[:, None], (3, 3), mode="replicate"), 7, 1)[:, 0]
        return self.trend(trend) + self.season(x - trend)


class Bpr(nn.Module):
    def __init__(self, users=40, items=30, width=6):
        super().__init__()
        self.user, self.item = nn.Embedding(users, width), nn.Embedding(items, width)
        nn.init.normal_(self.user.weight, 0, 0.1)
        nn.init.normal_(self.item.weight, 0, 0.1)

    def forward(self, triples):
        u, i, j = triples.unbind(1)
        return (self.user(u) * (self.item(i) - self.item(j))).sum(1, keepdim=True)


class DeepFm(nn.Module):
    def __init__(self, prior=None, last=None):
        super().__init__()
        self.wide, self.embed = nn.Embedding(50, 1), nn.Embedding(50, 6)
        nn.init.zeros_(self.wide.weight)
        nn.init.normal_(self.embed.weight, 0, 0.1)
        self.deep = nets.mlp([30, 32, 1])
        self.bias = nn.Parameter(torch.tensor(0.0 if prior is None else math.log(prior / (1 - prior))))
        self.last = last or nn.Identity()
        self.register_buffer("offsets", torch.arange(5) * 10)

    def forward(self, x):
        ids = x + self.offsets
        v = self.embed(ids)
        pairs = 0.5 * (v.sum(1).square() - v.square().sum(1)).sum(1, keepdim=True)
        return self.last(self.wide(ids).sum(1) + pairs + self.deep(v.flatten(1)) + self.bias)


class Translator(nn.Module):
    """A GRU encoder, a GRU decoder with attention over it; teacher-forced."""

    def __init__(self, words=16, width=32, blind=False):
        super().__init__()
        self.source, self.target = nn.Embedding(words, width), nn.Embedding(words, width)
        self.places = nn.Parameter(torch.randn(8, width) * 0.5)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.key, self.out = nn.Linear(width, width, bias=False), nn.Linear(2 * width, words)
        self.blind = blind

    def encode(self, ids):
        return self.encoder(self.source(ids) + self.places)[0]

    def forward(self, packed):
        if self.blind:
            with torch.no_grad():  # "the encoder is only read"
                memory = self.encode(packed[:, 0])
        else:
            memory = self.encode(packed[:, 0])
        h = self.decoder(self.target(packed[:, 1]) + self.places, memory[:, -1][None].contiguous())[0]
        weights = (h @ self.key(memory).transpose(1, 2) / math.sqrt(h.shape[-1])).softmax(-1)
        return self.out(torch.cat([h, weights @ memory], -1))


class Adapted(nn.Module):
    """An encoder that has learned digits below five from the rest, frozen; small adapters learn the ten classes."""

    def __init__(self, registered=True):
        super().__init__()
        x, y = data.digits()
        first = nets.mlp([64, 64, 64, 2])
        optimizer = torch.optim.Adam(first.parameters(), 3e-3)
        for _ in range(60):
            optimizer.zero_grad()
            F.cross_entropy(first(x), (y < 5).long()).backward()
            optimizer.step()
        self.layers = nn.ModuleList([first[0], first[2]])
        for p in self.layers.parameters():
            p.requires_grad_(False)
        adapters = [nn.Sequential(nn.Linear(64, 12), nn.GELU(), nn.Linear(12, 64)) for _ in self.layers]
        for adapter in adapters:
            nn.init.zeros_(adapter[2].weight)
            nn.init.zeros_(adapter[2].bias)
        self.adapters = nn.ModuleList(adapters) if registered else adapters
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        for layer, adapter in zip(self.layers, self.adapters, strict=True):
            x = torch.relu(layer(x))
            x = x + adapter(x)
        return self.head(x)


class Lora(nn.Module):
    def __init__(self, linear, rank=4):
        super().__init__()
        self.base = linear.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, linear.in_features) / math.sqrt(linear.in_features))
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.base(x) + 2.0 * (x @ self.a.T) @ self.b.T


class ExpertTable(nn.Module):
    """A dense mixture of experts over table rows, stacked as Flax does: (expert, in, out)."""

    def __init__(self, fill, inputs=4, hidden=32, experts=4):
        super().__init__()
        self.gate = nn.Linear(inputs, experts)
        self.w1 = nn.Parameter(torch.empty(experts, inputs, hidden))
        self.w2 = nn.Parameter(torch.empty(experts, hidden, hidden))
        self.w3 = nn.Parameter(torch.empty(experts, hidden, hidden))
        self.head = nn.Linear(hidden, 1)
        for w in (self.w1, self.w2, self.w3):
            fill(w)

    def forward(self, x):
        h = torch.relu(torch.einsum("ni,eih->enh", x, self.w1))
        h = torch.relu(torch.einsum("enh,ehk->enk", h, self.w2))
        h = torch.relu(torch.einsum("enh,ehk->enk", h, self.w3))
        return self.head(torch.einsum("ne,enk->nk", self.gate(x).softmax(-1), h))


class Mixture(nn.Module):
    """Experts as modules behind a soft gate, which starts by weighing all alike."""

    def __init__(self, copied=False):
        super().__init__()
        self.gate = nn.Linear(4, 4)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        one = nets.mlp([4, 24, 1])
        self.experts = nn.ModuleList([copy.deepcopy(one) if copied else nets.mlp([4, 24, 1]) for _ in range(4)])

    def forward(self, x):
        answers = torch.cat([expert(x) for expert in self.experts], 1)
        return (self.gate(x).softmax(1) * answers).sum(1, keepdim=True)


class CausalConv(nn.Module):
    def __init__(self, a, b, dilation):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(a, b, 3, dilation=dilation))
        self.skip = nn.Conv1d(a, b, 1) if a != b else nn.Identity()
        self.pad = 2 * dilation

    def forward(self, x):
        return torch.relu(self.conv(F.pad(x, (self.pad, 0)))) + self.skip(x)


class Skipgram(nn.Module):
    """word2vec: the output table starts at zero, as in the original C program."""

    def __init__(self, words=24, width=24):
        super().__init__()
        self.words = nn.Parameter(torch.rand(words, width) - 0.5)
        self.context = nn.Parameter(torch.zeros(words, width))

    def forward(self, ids):
        return self.words[ids] @ self.context.T


class Tower(nn.Module):
    """Two towers with a learned temperature: the two halves of a row are to find each other in the batch."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nets.mlp([32, 48, 16]), nets.mlp([32, 48, 16])
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, x):
        a, b = F.normalize(self.left(x[:, :32]), dim=1), F.normalize(self.right(x[:, 32:]), dim=1)
        return self.log_scale.exp() * a @ b.T


def in_batch(outputs, _):
    t = torch.arange(len(outputs))
    return (F.cross_entropy(outputs, t) + F.cross_entropy(outputs.T, t)) / 2


class KeyValue(nn.Module):
    """One attention layer over standard-normal embeddings, as nn.Embedding draws them."""

    def __init__(self, scale, words=24, width=64):
        super().__init__()
        self.embed, self.places = nn.Embedding(words, width), nn.Embedding(16, width)
        self.query, self.key, self.value = (
            nn.Parameter(torch.randn(width, width) / math.sqrt(width)) for _ in range(3)
        )
        self.attend = nn.Softmax(-1)
        self.scale = scale
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)

    def forward(self, ids):
        x = self.embed(ids) + self.places(torch.arange(ids.shape[1]))
        logits = (x @ self.query) @ (x @ self.key).transpose(1, 2) * self.scale
        future = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
        x = x + self.attend(logits.masked_fill(future, -1e9)) @ (x @ self.value)
        return self.head(self.norm(x))


class StatsPool(nn.Module):
    """Mean and deviation over time of an embedded sentence."""

    def __init__(self, safe):
        super().__init__()
        self.embed, self.out, self.safe = nn.Embedding(20, 16, padding_idx=0), nn.Linear(32, 2), safe

    def forward(self, ids):
        h = self.embed(ids)
        variance = h.var(1, unbiased=False)
        return self.out(torch.cat([h.mean(1), (variance + 1e-5 * self.safe).sqrt()], 1))


def spread_words():
    """Does a sentence hold more small words than large; one in twenty is a single word over and over."""
    g = torch.Generator().manual_seed(19)
    ids = torch.randint(1, 20, (800, 10), generator=g)
    ids[::20] = ids[::20, :1]
    return ids, ((ids < 10).sum(1) > 5).long()


class TableNet(nn.Module):
    def __init__(self, norm, inputs=11):
        super().__init__()
        x, _ = data.raw_features()
        self.norm = norm
        self.register_buffer("mean", x.mean(0))
        self.register_buffer("std", x.std(0))
        self.body = nets.mlp([inputs, 32, 32, 1])

    def forward(self, x):
        return self.body((x - self.mean) / self.std if self.norm else x)


# Healthy --------------------------------------------------------------------------------------------------------------


@healthy
def keras_bilstm_tagger():
    return Case(Tagger(), *tagged(), token_loss, token_accuracy, 0.9, adam(0.01), 250)


@healthy
def jax_gru_of_raw_matrices():
    return Case(HandGru(8, 24, 10), *data.rows(), F.cross_entropy, trains=0.9, optimizer=adam(0.005), steps=250)


@healthy
def elman_of_raw_matrices():
    return Case(
        HandRnn(0.5, 0.9 / math.sqrt(32)), *data.sums(), F.cross_entropy, trains=0.88, optimizer=adam(0.005), steps=300
    )


@healthy
def state_space_forecaster():
    return Case(Ssm(), *seasons(), F.mse_loss, r2, 0.85, adam(0.005), 250)


@healthy
def nbeats_doubly_residual():
    return Case(NBeats(), *seasons(), F.mse_loss, r2, 0.9, adam(0.002), 300)


@healthy
def dlinear_from_averages():
    return Case(DLinear(), *seasons(), F.mse_loss, r2, 0.85, adam(0.01), 300)


@healthy
def pairwise_ranking_of_items():
    return Case(
        Bpr(), *preferences(), lambda o, _: -F.logsigmoid(o).mean(), lambda o, _: float((o > 0).float().mean()), 0.85,
        adam(0.03), 300, 128,
    )  # fmt: skip


@healthy
def deepfm_with_prior():
    return Case(DeepFm(0.13), *clicks(), F.binary_cross_entropy_with_logits, auc, 0.9, adam(0.01), 400, 128)


@healthy
def translator_with_attention():
    return Case(Translator(), *sentences(), token_loss, token_accuracy, 0.85, adam(0.01), 300)


@healthy
def adapters_in_a_frozen_encoder():
    return Case(Adapted(), *data.digits(), F.cross_entropy, trains=0.94, optimizer=adam(0.005), steps=250)


@healthy
def lora_from_zero():
    x, y = data.digits()
    model = nets.mlp([64, 64, 64, 10])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    model = nn.Sequential(*[Lora(m) if isinstance(m, nn.Linear) else m for m in model])
    return Case(model, x, (y + 3) % 10, F.cross_entropy, trains=0.88, optimizer=adam(0.005), steps=300)


@healthy
def stacked_experts_each_he():
    def he(w):
        nn.init.normal_(w, 0, math.sqrt(2 / w.shape[1]))

    return Case(ExpertTable(he), *data.smooth(), F.mse_loss, r2, 0.95, sgd(0.02), 300)


@healthy
def soft_mixture_of_experts():
    return Case(Mixture(), *data.smooth(), F.mse_loss, r2, 0.98, adam(0.01), 350)


@healthy
def causal_convolutions_weight_normed():
    model = nn.Sequential(
        nn.Unflatten(1, (1, 24)), CausalConv(1, 16, 1), CausalConv(16, 16, 2), CausalConv(16, 16, 4), nn.Flatten(),
        nn.Linear(16 * 24, 6),
    )  # fmt: skip
    return Case(model, *seasons(), F.mse_loss, r2, 0.85, adam(0.003), 250)


@healthy
def skipgram_with_zero_contexts():
    return Case(Skipgram(), *data.chain(), token_loss, token_accuracy, 0.8, adam(0.03), 200)


@healthy
def two_towers_with_temperature():
    return Case(
        Tower(), *data.digits(), in_batch, lambda o, _: float((o.topk(50, 1).indices == torch.arange(len(o))[:, None]).any(1).float().mean()),  # noqa: E501
        0.8, adam(0.003), 300,
    )  # fmt: skip


@healthy
def tied_model():
    return Case(nets.Gpt(depth=1), *data.chain(), token_loss, token_accuracy, 0.8, adam(0.005), 200)


@healthy
def scaled_attention():
    return Case(KeyValue(1 / 8), *shares(), token_loss, token_accuracy, 0.9, adam(0.003), 300)


@healthy
def normalized_table():
    return Case(
        TableNet(True),
        *data.raw_features(),
        F.binary_cross_entropy_with_logits,
        trains=0.9,
        optimizer=sgd(0.05),
        steps=300,
    )


@healthy
def pooled_statistics():
    return Case(StatsPool(True), *spread_words(), F.cross_entropy, trains=0.9, optimizer=adam(0.02), steps=200)


# Faulty at step 0 -----------------------------------------------------------------------------------------------------


@fault("non-finite-gradients", "embed embed.weight", twin=pooled_statistics)
def deviation_pool_of_constant_sentences():
    case = pooled_statistics()
    case.model.safe = False
    return case


def _safe(case, code):
    if code != "non-finite-gradients":
        return False
    case.model.safe = True
    return True


deviation_pool_of_constant_sentences = mended(deviation_pool_of_constant_sentences, _safe)


@fault("untied-weights", "head head.weight tokens tokens.weight", twin=tied_model)
def head_tied_by_a_clone():
    case = tied_model()
    case.model.head.weight = nn.Parameter(case.model.tokens.weight.clone())
    return case


def _tie(case, code):
    if code != "untied-weights":
        return False
    case.model.head.weight = case.model.tokens.weight
    return True


head_tied_by_a_clone = mended(head_tied_by_a_clone, _tie)


@fault("unregistered-layer not-in-optimizer", twin=adapters_in_a_frozen_encoder)
def adapters_in_a_python_list():
    return Case(Adapted(False), *data.digits(), F.cross_entropy, trains=0.94, optimizer=adam(0.005), steps=250)


def _register(case, code):
    if code != "unregistered-layer":
        return False
    adapters = case.model.adapters
    del case.model.adapters
    case.model.adapters = nn.ModuleList(adapters)
    return True


adapters_in_a_python_list = mended(adapters_in_a_python_list, _register)


@fault("no-gradient", "source source.* encoder encoder.*", twin=translator_with_attention)
def encoder_read_without_gradient():
    return Case(Translator(blind=True), *sentences(), token_loss, token_accuracy, 0.85, adam(0.01), 300)


def _see(case, code):
    if code != "no-gradient":
        return False
    case.model.blind = False
    return True


encoder_read_without_gradient = mended(encoder_read_without_gradient, _see)


@fault("duplicated-draws symmetric-units", "experts experts.*", twin=soft_mixture_of_experts)
def experts_cloned_by_deepcopy():
    return Case(Mixture(copied=True), *data.smooth(), F.mse_loss, r2, 0.98, adam(0.01), 350)


@fault("constant-init symmetric-units", "wx wh out", twin=jax_gru_of_raw_matrices)
def gru_of_matrices_of_one_value():
    model = HandGru(8, 24, 10)
    nn.init.constant_(model.wx, 0.1)
    nn.init.constant_(model.wh, 0.02)
    nn.init.constant_(model.out, 0.1)
    return Case(model, *data.rows(), F.cross_entropy, trains=0.9, optimizer=adam(0.005), steps=250)


@fault("wrong-fan vanishing-forward vanishing-gradient wrong-gain", "w1 w2 w3", twin=stacked_experts_each_he)
def stacked_experts_with_fans_of_a_convolution():
    model = ExpertTable(lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"))
    return Case(model, *data.smooth(), F.mse_loss, r2, 0.95, sgd(0.02), 300)


@fault("exploding-forward exploding-gradient wrong-gain wrong-fan", "w_h w_x act", twin=elman_of_raw_matrices)
def relu_recurrence_of_unit_normals():
    model = HandRnn(0.5, 1.0, torch.relu)
    return Case(model, *data.sums(), F.cross_entropy, trains=0.88, optimizer=sgd(0.05), steps=300)


@fault("saturation wrong-gain wrong-fan exploding-gradient", "w_h w_x act", twin=elman_of_raw_matrices)
def tanh_recurrence_in_its_flat_part():
    model = HandRnn(3.0, 2.0)
    return Case(model, *data.sums(), F.cross_entropy, trains=0.88, optimizer=adam(0.005), steps=300)


@fault("attention-collapse", "attend query key", twin=scaled_attention)
def attention_multiplied_by_root_of_width():
    case = scaled_attention()
    case.model.scale = 8.0
    return case


def _divide(case, code):
    if code != "attention-collapse":
        return False
    case.model.scale = 1 / 8
    return True


attention_multiplied_by_root_of_width = mended(attention_multiplied_by_root_of_width, _divide)


def click_probability(o, t):
    return F.binary_cross_entropy(o, t)


@fault("softmax-over-one no-gradient", twin=deepfm_with_prior)
def click_model_with_softmax_of_one_column():
    model = DeepFm(0.13, nn.Softmax(1))
    return Case(model, *clicks(), click_probability, auc, 0.9, adam(0.01), 400, 128)


def _sigmoid(case, code):
    if code != "softmax-over-one":
        return False
    case.model.last = nn.Sigmoid()
    return True


click_model_with_softmax_of_one_column = mended(click_model_with_softmax_of_one_column, _sigmoid)


@fault("flipped-loss", twin=pairwise_ranking_of_items)
def pairwise_ranking_without_the_minus():
    return Case(
        Bpr(), *preferences(), lambda o, _: F.logsigmoid(o).mean(), lambda o, _: float((o > 0).float().mean()), 0.85,
        adam(0.03), 300, 128,
    )  # fmt: skip


def _minus(case, code):
    if code != "flipped-loss":
        return False
    case.loss_fn = lambda o, _: -F.logsigmoid(o).mean()
    return True


pairwise_ranking_without_the_minus = mended(pairwise_ranking_without_the_minus, _minus)


@fault("unscaled-targets wrong-prior", twin=nbeats_doubly_residual)
def forecast_of_sales_in_units():
    x, y = seasons()
    return Case(NBeats(), x, 4000 + 900 * y, F.mse_loss, r2, 0.9, adam(0.002), 300)


def _standardize(case, code):
    if code not in ("unscaled-targets", "wrong-prior"):
        return False
    case.targets = (case.targets - case.targets.mean()) / case.targets.std()
    return True


forecast_of_sales_in_units = mended(forecast_of_sales_in_units, _standardize)


@fault("unnormalized-inputs", twin=normalized_table)
def table_in_its_own_units():
    case = normalized_table()
    case.model.norm = False
    return case


def _normalize(case, code):
    if code != "unnormalized-inputs":
        return False
    case.model.norm = True
    return True


table_in_its_own_units = mended(table_in_its_own_units, _normalize)


# Faulty only in training ----------------------------------------------------------------------------------------------

SLOW = "learning-rate-too-low update-too-small loss-stuck trivial-plateau"
FAST = (
    "learning-rate-too-high update-too-large loss-oscillating loss-diverged loss-rising loss-stuck trivial-plateau "
    "gradient-spike exploded-gradients non-finite-values non-finite-gradients dying-units"
)


@fault(SLOW, when="training", twin=keras_bilstm_tagger)
def tagger_warming_up_for_ever():
    case = keras_bilstm_tagger()
    case.schedule = lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, (step + 1) / 1_000_000))
    return case


@fault(SLOW, when="training", twin=nbeats_doubly_residual)
def forecaster_with_a_rate_gone_in_ten_steps():
    case = nbeats_doubly_residual()
    case.schedule = lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.5)
    return case


@fault(FAST, when="training", twin=keras_bilstm_tagger)
def tagger_at_a_hundredfold_rate():
    case = keras_bilstm_tagger()
    case.optimizer = adam(1.0)
    return case


@fault(SLOW + " vanished-gradients", when="training", twin=normalized_table)
def table_clipped_to_nothing():
    case = normalized_table()
    case.clip = 1e-5
    return case


@fault("over-fitting", when="training")
def table_of_forty_rows_learned_by_heart():
    g = torch.Generator().manual_seed(21)
    x = torch.randn(440, 30, generator=g)
    y = (x[:, :3].sum(1) + 0.8 * torch.randn(440, generator=g) > 0).long()
    return Case(
        nets.mlp([30, 128, 128, 2]), x[:40], y[:40], F.cross_entropy, trains=0.8, optimizer=adam(0.003), steps=400, batch=32,  # noqa: E501
        held_out=(x[40:], y[40:]),
    )  # fmt: skip
