"""Programs of an author who has not seen how the library decides: sequences, speech, music, forecasts."""

from __future__ import annotations

import copy
import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data
from .program import Case, adam, fault, healthy, mended, r2, sgd, token_accuracy, token_loss

Pair = tuple[torch.Tensor, torch.Tensor]


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- data


def reversal(n: int = 1024, length: int = 5, words: int = 8) -> Pair:
    """Source, then what the decoder is given (a start sign 0 and the answer's beginning); the answer is the reverse."""
    source = torch.randint(1, words + 1, (n, length), generator=drawn(11))
    answer = source.flip(1)
    given = torch.cat([torch.zeros(n, 1, dtype=torch.long), answer[:, :-1]], 1)
    return torch.cat([source, given], 1), answer


def frames(n: int = 768, length: int = 14, labels: int = 5) -> Pair:
    """Three symbols (1 to 5), each for two to four noisy frames; the alignment is not given."""
    g = drawn(12)
    first = torch.randint(labels, (n, 1), generator=g)
    steps = torch.randint(1, labels, (n, 2), generator=g).cumsum(1)
    symbols = torch.cat([first, first + steps], 1) % labels + 1
    lasts = torch.randint(2, 5, (n, 3), generator=g)
    ends = lasts.cumsum(1)
    t = torch.arange(length)[None]
    which = (t[:, :, None] >= ends[:, None]).sum(2)
    shown = torch.cat([symbols, torch.zeros(n, 1, dtype=torch.long)], 1).gather(1, which)
    x = F.one_hot(shown, labels + 1).float()
    return (x - x.mean()) / x.std() + 0.5 * torch.randn(n, length, labels + 1, generator=g), symbols


def two_before(n: int = 1024, length: int = 12, words: int = 8) -> Pair:
    """Each place's target is the token two places before it (the first two: themselves)."""
    ids = torch.randint(words, (n, length), generator=drawn(13))
    return ids, torch.cat([ids[:, :2], ids[:, :-2]], 1)


def stories(n: int = 1024, facts: int = 5, people: int = 8, places: int = 6) -> Pair:
    """Facts (who, where), then a question: who; people are 0 to 7, places 8 to 13; the answer is the place."""
    g = drawn(14)
    who = torch.stack([torch.randperm(people, generator=g)[:facts] for _ in range(n)])
    where = torch.randint(places, (n, facts), generator=g)
    asked = torch.randint(facts, (n, 1), generator=g)
    x = torch.cat([torch.stack([who, where + people], 2).flatten(1), who.gather(1, asked)], 1)
    return x, where.gather(1, asked)[:, 0]


def sentences(n: int = 1024, seed: int = 15, length: int = 12) -> Pair:
    """Words of good (1-20), bad (21-40) or no (41-59) tone, padded by 0; the class is the writer's mood."""
    g = drawn(seed)
    mood = torch.randint(2, (n,), generator=g)
    kind = torch.multinomial(torch.tensor([0.45, 0.15, 0.4]), n * length, replacement=True, generator=g).view(n, length)
    word = torch.randint(20, (n, length), generator=g)
    tone = torch.where(kind == 0, mood[:, None], 1 - mood[:, None])
    ids = torch.where(kind == 2, 41 + word % 19, 1 + word + 20 * tone)
    size = torch.randint(7, length + 1, (n, 1), generator=g)
    return ids * (torch.arange(length)[None] < size), mood


@cache
def word_vectors(width: int = 16) -> torch.Tensor:
    """Vectors of the sixty words: the leading part of their co-occurrence's log-ratio over an unlabelled corpus."""
    ids, _ = sentences(6000, seed=16)
    counts = F.one_hot(ids, 60).sum(1).float()
    counts[:, 0] = 0
    together = counts.T @ counts
    total = together.sum()
    ratio = ((together + 1) * total / (together.sum(0, keepdim=True) + 60) / (together.sum(1, keepdim=True) + 60)).log()
    ratio[0] = 0
    ratio[:, 0] = 0
    u, s, _ = torch.linalg.svd(ratio)
    vectors = u[:, :width] * s[:width].sqrt()
    vectors = vectors / vectors[1:].std()
    vectors[0] = 0
    return vectors


def series(n: int = 1024, past: int = 24, ahead: int = 6) -> Pair:
    """Windows of a season of 12 and one of 7.3, of random phase and size, with noise."""
    g = drawn(17)
    t = torch.arange(past + ahead).float()[None]
    phase, other = 6.283 * torch.rand(n, 1, generator=g), 6.283 * torch.rand(n, 1, generator=g)
    size = 0.7 + 0.6 * torch.rand(n, 1, generator=g)
    y = size * torch.sin(2 * math.pi * t / 12 + phase) + 0.5 * torch.sin(2 * math.pi * t / 7.3 + other)
    y = y + 0.1 * torch.randn(n, past + ahead, generator=g)
    y = (y - y.mean()) / y.std()
    return y[:, :past], y[:, past:]


def drivers(n: int = 1024, length: int = 16, variables: int = 5) -> Pair:
    """What drives a demand: two of five variables do, with a memory; standardized."""
    g = drawn(18)
    x = torch.randn(n, length, variables, generator=g)
    decay = 0.7 ** torch.arange(length - 1, -1, -1).float()
    y = (x[:, :, 0] * decay).sum(1) + 0.8 * torch.tanh(2 * x[:, -1, 2]) + 0.15 * torch.randn(n, generator=g)
    return x, ((y - y.mean()) / y.std())[:, None]


def piano(n: int = 512, length: int = 16, keys: int = 24) -> Pair:
    """A piano roll: chords of three keys that follow each other by a rule; the target is the next step's keys."""
    g = drawn(19)
    chords = torch.stack([torch.randperm(keys, generator=g)[:2] for _ in range(12)])
    follow = torch.randperm(12, generator=g)
    now = torch.randint(12, (n,), generator=g)
    rolls = []
    for _ in range(length + 1):
        rolls.append(F.one_hot(chords[now], keys).amax(1))
        now = torch.where(torch.rand(n, generator=g) < 0.9, follow[now], torch.randint(12, (n,), generator=g))
    roll = torch.stack(rolls, 1).float()
    return roll[:, :-1], roll[:, 1:]


def words_spoken(n: int = 1024, length: int = 256) -> Pair:
    """Waves in ±1: rising, falling, low, high, and digital silence."""
    g = drawn(20)
    y = torch.randint(5, (n,), generator=g)
    t = torch.arange(length).float()[None] / length
    start = torch.tensor([8.0, 40.0, 10.0, 40.0, 0.0])[y][:, None]
    slope = torch.tensor([32.0, -32.0, 0.0, 0.0, 0.0])[y][:, None]
    loud = 0.5 + 0.5 * torch.rand(n, 1, generator=g)
    wave = torch.sin(2 * math.pi * (start * t + 0.5 * slope * t**2) + 6.283 * torch.rand(n, 1, generator=g))
    wave = loud * wave + 0.05 * torch.randn(n, length, generator=g)
    return (wave * (y != 4)[:, None]).clamp(-1, 1), y


def pixel_pairs() -> Pair:
    """The digits as 32 steps of two pixels."""
    x, y = data.digits()
    return x.view(-1, 32, 2), y


# ---- recurrent cells


class LstmByHand(nn.Module):
    """The four gates in one matrix, as (inputs, 4 width): the layout of Keras; forget bias one."""

    def __init__(self, inputs: int = 8, width: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(inputs, 4 * width))
        self.recurrent = nn.Parameter(torch.empty(width, 4 * width))
        self.bias = nn.Parameter(torch.zeros(4 * width))
        self.head = nn.Linear(width, classes)
        self.width = width
        nn.init.xavier_uniform_(self.kernel)
        with torch.no_grad():
            for gate in self.recurrent.chunk(4, 1):
                gate.copy_(torch.linalg.qr(torch.randn(width, width))[0])
        nn.init.ones_(self.bias[width : 2 * width].data)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(len(x), self.width)
        for step in x.unbind(1):
            i, f, g, o = (step @ self.kernel + h @ self.recurrent + self.bias).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.head(h)


def lstm_case() -> Case:
    x, y = data.rows()
    return Case(LstmByHand(), x, y, F.cross_entropy, trains=0.85, optimizer=sgd(0.1), steps=250)


@healthy
def lstm_by_hand_keras_layout() -> Case:
    return lstm_case()


@fault("constant-init symmetric-units", "kernel recurrent head head.weight", twin=lstm_by_hand_keras_layout)
def lstm_by_hand_of_constant_weights() -> Case:
    case = lstm_case()
    for p in case.model.parameters():
        if p.dim() == 2:
            nn.init.constant_(p, 0.05)
    return case


class IdentityRnn(nn.Module):
    """ReLU with an identity as its recurrent matrix: Le, Jaitly and Hinton 2015."""

    def __init__(self, inputs: int = 2, width: int = 48, classes: int = 10) -> None:
        super().__init__()
        self.into, self.again = nn.Linear(inputs, width), nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, classes)
        nn.init.normal_(self.into.weight, 0.0, 0.1)
        nn.init.zeros_(self.into.bias)
        nn.init.eye_(self.again.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), self.again.in_features)
        for step in x.unbind(1):
            h = F.relu(self.into(step) + self.again(h))
        return self.head(h)


def identity_rnn_case() -> Case:
    x, y = pixel_pairs()
    return Case(IdentityRnn(), x, y, F.cross_entropy, trains=0.6, optimizer=adam(1e-3), steps=500, clip=1.0)


@healthy
def identity_relu_rnn() -> Case:
    return identity_rnn_case()


@fault("exploding-forward exploding-gradient", "again again.weight", twin=identity_relu_rnn)
def relu_rnn_recurrent_normal_half() -> Case:
    case = identity_rnn_case()
    nn.init.normal_(case.model.again.weight, 0.0, 0.5)
    return case


class GruText(nn.Module):
    """A hand-written GRU that is trained by truncated back-propagation: the state is cut every ``cut`` steps."""

    def __init__(self, words: int = 24, width: int = 32, cut: int = 8, *, careless: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width)
        draw = torch.randn if careless else (lambda a, b: torch.randn(a, b) / math.sqrt(a))
        self.wx_gates, self.wh_gates = nn.Parameter(draw(width, 2 * width)), nn.Parameter(draw(width, 2 * width))
        self.wx_new, self.wh_new = nn.Parameter(draw(width, width)), nn.Parameter(draw(width, width))
        self.b_gates, self.b_new = nn.Parameter(torch.zeros(2 * width)), nn.Parameter(torch.zeros(width))
        self.head = nn.Linear(width, words)
        self.cut = cut

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        h = torch.zeros_like(x[:, 0])
        outputs = []
        for t, step in enumerate(x.unbind(1)):
            if t and t % self.cut == 0:
                h = h.detach()
            reset, update = torch.sigmoid(step @ self.wx_gates + h @ self.wh_gates + self.b_gates).chunk(2, 1)
            new = torch.tanh(step @ self.wx_new + reset * (h @ self.wh_new) + self.b_new)
            h = update * h + (1 - update) * new
            outputs.append(h)
        return self.head(torch.stack(outputs, 1))


def gru_text_case(*, careless: bool = False) -> Case:
    x, y = two_before()
    return Case(GruText(8, careless=careless), x, y, token_loss, token_accuracy, 0.75, adam(5e-3), steps=300)


@healthy
def truncated_gru_text() -> Case:
    return gru_text_case()


class Reservoir(nn.Module):
    """An echo-state network: the reservoir is a buffer of spectral radius 0.9 and never trained."""

    def __init__(self, width: int = 120, leak: float = 0.5) -> None:
        super().__init__()
        w = torch.randn(width, width) * (torch.rand(width, width) < 0.1)
        self.register_buffer("w", w * 0.9 / torch.linalg.eigvals(w).abs().max())
        self.register_buffer("w_in", torch.rand(1, width) * 2 - 1)
        self.readout = nn.Linear(width + 1, 6)
        self.leak = leak

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), len(self.w))
        for step in x.unbind(1):
            h = (1 - self.leak) * h + self.leak * torch.tanh(step[:, None] @ self.w_in + h @ self.w)
        return self.readout(torch.cat([h, x[:, -1:]], 1))


@healthy
def echo_state_forecast() -> Case:
    x, y = series()
    return Case(Reservoir(), x, y, F.mse_loss, r2, 0.6, adam(1e-2), steps=300)


# ---- sequence to sequence


class Translator(nn.Module):
    """A recurrent encoder, a recurrent decoder, Bahdanau's attention between them."""

    def __init__(self, words: int = 9, width: int = 32, length: int = 5, *, cached: bool = False) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(words, width), nn.Embedding(words, width)
        self.encoder = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.key, self.query, self.energy = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.head = nn.Linear(2 * width, words)
        self.length, self.cached = length, cached

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        memory, _ = self.encoder(self.source(ids[:, : self.length]))
        if self.cached:
            memory = memory.data
        states, _ = self.decoder(self.target(ids[:, self.length :]))
        energy = self.energy(torch.tanh(self.key(memory)[:, None] + self.query(states)[:, :, None]))[..., 0]
        return self.head(torch.cat([states, energy.softmax(-1) @ memory], -1))


def translator_case(*, cached: bool = False) -> Case:
    x, y = reversal()
    return Case(Translator(cached=cached), x, y, token_loss, token_accuracy, 0.8, adam(5e-3), steps=350)


@healthy
def reversing_with_additive_attention() -> Case:
    return translator_case()


@fault("no-gradient", "source source.weight encoder encoder.*", twin=reversing_with_additive_attention)
def encoder_memory_cached_as_data() -> Case:
    return translator_case(cached=True)


def mend_cached(case: Case, code: str) -> bool:
    if code != "no-gradient":
        return False
    case.model.cached = False
    return True


encoder_memory_cached_as_data = mended(encoder_memory_cached_as_data, mend_cached)


# ---- frames without alignment


class Listener(nn.Module):
    def __init__(self, inputs: int = 6, width: int = 24, symbols: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, width, 3, padding=1)
        self.rnn = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, symbols)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return self.head(self.rnn(h)[0])


def aligned_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    n, t, _ = outputs.shape
    logp = outputs.log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(logp, targets, torch.full((n,), t), torch.full((n,), targets.shape[1]))


def transcribed(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The share of sequences that the best path gives without an error."""
    right = 0
    for path, target in zip(outputs.argmax(-1), targets, strict=True):
        path = torch.unique_consecutive(path)
        right += path[path > 0].tolist() == target.tolist()
    return right / len(targets)


@healthy
def unaligned_frames() -> Case:
    x, y = frames()
    return Case(Listener(), x, y, aligned_loss, transcribed, 0.6, adam(1e-2), steps=250)


# ---- attention


class Rms(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight


def rotated(x: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class RotaryBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.heads = Rms(width), Rms(width), heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(width, 2 * width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = (w(self.norm1(x)).view(n, t, self.heads, -1).transpose(1, 2) for w in (self.wq, self.wk, self.wv))
        mixed = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
        x = x + self.wo(mixed.transpose(1, 2).reshape(n, t, d))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class RotaryText(nn.Module):
    """Rotary positions, RMS norms, gated feed-forwards, a tied table; the residual outputs are drawn smaller."""

    def __init__(self, words: int = 24, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width)
        self.blocks = nn.ModuleList([RotaryBlock(width, 4) for _ in range(depth)])
        self.norm, self.head = Rms(width), nn.Linear(width, words, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                small = name.endswith(("wo.weight", "down.weight"))
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * depth) if small else 0.02)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def rotary_case() -> Case:
    x, y = data.chain()
    return Case(RotaryText(), x, y, token_loss, token_accuracy, 0.75, adam(3e-3), steps=150, clip=1.0)


@healthy
def rotary_gated_text() -> Case:
    return rotary_case()


class RelativeHead(nn.Module):
    """One head with T5's relative bias; its logits are not scaled, for the queries are drawn smaller instead."""

    def __init__(self, width: int, size: int, length: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, size, bias=False) for _ in range(3))
        self.distance = nn.Parameter(torch.zeros(2 * length - 1))
        nn.init.normal_(self.q.weight, 0.0, (width * size) ** -0.5)
        nn.init.normal_(self.k.weight, 0.0, width**-0.5)
        nn.init.normal_(self.v.weight, 0.0, width**-0.5)
        place = torch.arange(length)
        self.register_buffer("between", place[:, None] - place[None] + length - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.q(x) @ self.k(x).transpose(1, 2) + self.distance[self.between]
        return logits.softmax(-1) @ self.v(x)


class RelativeTagger(nn.Module):
    def __init__(self, words: int = 8, width: int = 32, heads: int = 4, length: int = 12) -> None:
        super().__init__()
        self.table, self.norm, self.last = nn.Embedding(words, width), Rms(width), Rms(width)
        self.heads = nn.ModuleList([RelativeHead(width, width // heads, length) for _ in range(heads)])
        self.out, self.tags = nn.Linear(width, width, bias=False), nn.Linear(width, words)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        h = self.norm(x)
        x = x + self.out(torch.cat([head(h) for head in self.heads], -1))
        return self.tags(self.last(x))


def relative_case() -> Case:
    x, y = two_before()
    return Case(RelativeTagger(), x, y, token_loss, token_accuracy, 0.75, adam(1e-2), steps=300)


@healthy
def relative_bias_unscaled_tagger() -> Case:
    return relative_case()


@fault("duplicated-draws", "heads heads.*", twin=relative_bias_unscaled_tagger)
def heads_deep_copied() -> Case:
    case = relative_case()
    one = case.model.heads[0]
    case.model.heads = nn.ModuleList([copy.deepcopy(one) for _ in range(4)])
    return case


class PostNormLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor, pad: torch.Tensor) -> torch.Tensor:
        x = self.norm1(x + self.attention(x, x, x, key_padding_mask=pad, need_weights=False)[0])
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class PostNormReader(nn.Module):
    """As BERT: the norm behind each sum, all matrices N(0, 0.02), padding masked, the mean of the words read out."""

    def __init__(self, words: int = 60, width: int = 32, depth: int = 2, length: int = 12) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(words, width, padding_idx=0), nn.Embedding(length, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList([PostNormLayer(width) for _ in range(depth)])
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, 2)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, 0.0, 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        nn.init.zeros_(self.table.weight.data[0])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        pad = ids == 0
        x = self.norm(self.table(ids) + self.places.weight)
        for layer in self.layers:
            x = layer(x, pad)
        kept = (~pad).float()[..., None]
        return self.head(torch.tanh(self.pooler((x * kept).sum(1) / kept.sum(1))))


def post_norm_case() -> Case:
    x, y = sentences()
    return Case(PostNormReader(), x, y, F.cross_entropy, trains=0.8, optimizer=adam(1e-3), steps=180)


@healthy
def post_norm_reader() -> Case:
    return post_norm_case()


@fault(
    "zero-norm-scale rank-collapse vanishing-forward vanishing-gradient",
    "layers.*.norm1 layers.*.norm1.* layers.*.norm2 layers.*.norm2.* layers.0 layers.1",
    twin=post_norm_reader,
)
def post_norms_zeroed_like_a_residual_net() -> Case:
    """The trick of zero scales, taken from nets where the norm ends a branch; here it stands behind the sum."""
    case = post_norm_case()
    for module in case.model.layers.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.zeros_(module.weight)
    return case


def mend_norms(case: Case, code: str) -> bool:
    if code not in ("zero-norm-scale", "rank-collapse", "vanishing-forward", "vanishing-gradient"):
        return False
    for module in case.model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
    return True


post_norms_zeroed_like_a_residual_net = mended(post_norms_zeroed_like_a_residual_net, mend_norms)


# ---- scans


class SelectiveScan(nn.Module):
    """Mamba's mixer without its convolution: A is -1 … -n, the step's bias is the inverse softplus of [0.001, 0.1]."""

    def __init__(self, width: int = 32, state: int = 8, rank: int = 4) -> None:
        super().__init__()
        self.inner = 2 * width
        self.into, self.out = nn.Linear(width, 2 * self.inner, bias=False), nn.Linear(self.inner, width, bias=False)
        self.select, self.step = nn.Linear(self.inner, rank + 2 * state, bias=False), nn.Linear(rank, self.inner)
        self.log_a = nn.Parameter(torch.arange(1, state + 1).float().log().repeat(self.inner, 1))
        self.d = nn.Parameter(torch.ones(self.inner))
        self.sizes = [rank, state, state]
        nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)
        dt = torch.exp(torch.rand(self.inner) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        self.step.bias.data = dt + torch.log(-torch.expm1(-dt))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, gate = self.into(x).chunk(2, -1)
        x = F.silu(x)
        low, b, c = self.select(x).split(self.sizes, -1)
        dt = F.softplus(self.step(low))
        decay = torch.exp(-dt[..., None] * self.log_a.exp())
        added = (dt * x)[..., None] * b[:, :, None]
        h = torch.zeros_like(added[:, 0])
        outputs = []
        for t in range(x.shape[1]):
            h = decay[:, t] * h + added[:, t]
            outputs.append((h * c[:, t, None]).sum(-1))
        return self.out((torch.stack(outputs, 1) + self.d * x) * F.silu(gate))


class ScanText(nn.Module):
    def __init__(self, words: int = 24, width: int = 24) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(words, width), Rms(width)
        self.mixer, self.last = SelectiveScan(width), Rms(width)
        self.head = nn.Linear(width, words, bias=False)
        nn.init.normal_(self.table.weight, 0.0, 0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        return self.head(self.last(x + self.mixer(self.norm(x))))


@healthy
def selective_scan_text() -> Case:
    x, y = data.chain()
    return Case(ScanText(), x, y, token_loss, token_accuracy, 0.75, adam(5e-3), steps=150, batch=32)


class DiagonalUnit(nn.Module):
    """A linear recurrent unit: complex, diagonal, its moduli in [0.9, 0.999], its inputs scaled by √(1 - |λ|²)."""

    def __init__(self, inputs: int = 4, width: int = 16, state: int = 24) -> None:
        super().__init__()
        self.encode = nn.Linear(inputs, width)
        modulus = (torch.rand(state) * (0.999**2 - 0.9**2) + 0.9**2).sqrt()
        self.nu = nn.Parameter((-modulus.log()).log())
        self.theta = nn.Parameter((torch.rand(state) * math.pi / 10).clamp_min(1e-3).log())
        self.gamma = nn.Parameter((1 - modulus.square()).sqrt().log())
        self.b = nn.Parameter(torch.randn(2, width, state) / math.sqrt(2 * width))
        self.c = nn.Parameter(torch.randn(2, state, width) / math.sqrt(state))
        self.glu, self.head = nn.Linear(width, 2 * width), nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.encode(x)
        size, angle, scale = torch.exp(-self.nu.exp()), self.theta.exp(), self.gamma.exp()
        real, imaginary = size * angle.cos(), size * angle.sin()
        u, v = scale * (x @ self.b[0]), scale * (x @ self.b[1])
        h = g = torch.zeros_like(u[:, 0])
        for t in range(x.shape[1]):
            h, g = real * h - imaginary * g + u[:, t], real * g + imaginary * h + v[:, t]
        y = h @ self.c[0] - g @ self.c[1]
        return self.head(x[:, -1] + F.glu(self.glu(F.gelu(y)), -1))


@healthy
def diagonal_complex_unit() -> Case:
    x, y = data.sums()
    return Case(DiagonalUnit(), x, y, F.cross_entropy, trains=0.88, optimizer=adam(5e-3), steps=300)


# ---- memories and pointers


class MemoryHops(nn.Module):
    """End-to-end memory, two hops, adjacent tables shared, all N(0, 0.1), the answer from the last table."""

    def __init__(self, words: int = 14, width: int = 24, hops: int = 2) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(words, width) for _ in range(hops + 1)])
        for table in self.tables:
            nn.init.normal_(table.weight, 0.0, 0.1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        facts, asked = ids[:, :-1].view(len(ids), -1, 2), ids[:, -1]
        u = self.tables[0](asked)
        for key, value in zip(self.tables[:-1], self.tables[1:], strict=True):
            p = (key(facts).sum(2) @ u[:, :, None])[..., 0].softmax(-1)
            u = u + (p[:, None] @ value(facts).sum(2))[:, 0]
        return u @ self.tables[-1].weight[8:].T


@healthy
def memory_of_two_hops() -> Case:
    x, y = stories()
    return Case(MemoryHops(), x, y, F.cross_entropy, trains=0.8, optimizer=adam(1e-2), steps=600)


class Pointer(nn.Module):
    """Points at a place of its input: the outputs are its attention's logits."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.encoder = nn.GRU(1, width, batch_first=True)
        self.w1, self.w2 = nn.Linear(width + 1, width, bias=False), nn.Linear(width, width)
        self.v = nn.Linear(width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, last = self.encoder(x[..., None])
        seen = torch.cat([states, x[..., None]], -1)
        return self.v(torch.tanh(self.w1(seen) + self.w2(last[-1])[:, None]))[..., 0]


def pointer_case() -> Case:
    x = torch.randn(1024, 8, generator=drawn(21))
    return Case(Pointer(), x, x.argmax(1), F.cross_entropy, trains=0.8, optimizer=adam(1e-2), steps=300)


@healthy
def pointer_to_the_largest() -> Case:
    return pointer_case()


@fault("missing-softmax", twin=pointer_to_the_largest)
def pointer_likelihood_of_bare_energies() -> Case:
    """The paper's outputs are log-probabilities, so nll_loss came along; these are the energies."""
    case = pointer_case()
    case.loss_fn = F.nll_loss
    return case


def mend_energies(case: Case, code: str) -> bool:
    if code != "missing-softmax":
        return False
    case.loss_fn = F.cross_entropy
    return True


pointer_likelihood_of_bare_energies = mended(pointer_likelihood_of_bare_energies, mend_energies)


# ---- text classifiers


class Pool(nn.Module):
    """Attention of one learned query over the words."""

    def __init__(self, width: int, dim: int = 1) -> None:
        super().__init__()
        self.hidden, self.score, self.dim = nn.Linear(width, width), nn.Linear(width, 1, bias=False), dim

    def forward(self, x: torch.Tensor, pad: torch.Tensor) -> torch.Tensor:
        logits = self.score(torch.tanh(self.hidden(x))).masked_fill(pad[..., None], -1e9)
        return (logits.softmax(self.dim) * x).sum(1)


class PooledText(nn.Module):
    """Word vectors that are given and stay as they are, an attention over them, a classifier."""

    def __init__(self, dim: int = 1, hidden: int = 32) -> None:
        super().__init__()
        self.vectors = nn.Embedding.from_pretrained(word_vectors(), freeze=True, padding_idx=0)
        self.pool = Pool(16, dim)
        self.body = nn.Sequential(nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.body(self.pool(self.vectors(ids), ids == 0))


def pooled_case(dim: int = 1) -> Case:
    x, y = sentences(1536)
    return Case(
        PooledText(dim), x[512:], y[512:], F.cross_entropy, trains=0.78, optimizer=adam(3e-3), steps=250,
        held_out=(x[:512], y[:512]),
    )  # fmt: skip


@healthy
def given_word_vectors_with_attention_pool() -> Case:
    return pooled_case()


@fault(
    "softmax-over-one no-gradient", "pool pool.score pool.score.weight pool.hidden pool.hidden.*",
    twin=given_word_vectors_with_attention_pool,
)  # fmt: skip
def attention_pool_over_the_last_axis() -> Case:
    return pooled_case(-1)


def mend_axis(case: Case, code: str) -> bool:
    if code not in ("softmax-over-one", "no-gradient"):
        return False
    case.model.pool.dim = 1
    return True


attention_pool_over_the_last_axis = mended(attention_pool_over_the_last_axis, mend_axis)


class BagOfWords(nn.Module):
    """fastText: the mean of word vectors drawn from U(±1/width), a classifier that starts at zero."""

    def __init__(self, words: int = 60, width: int = 16) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(words, width, mode="mean", padding_idx=0)
        self.head = nn.Linear(width, 2)
        nn.init.uniform_(self.bag.weight, -1 / width, 1 / width)
        nn.init.zeros_(self.bag.weight.data[0])
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.bag(ids))


@healthy
def bag_of_words_with_zero_head() -> Case:
    x, y = sentences()
    return Case(BagOfWords(), x, y, F.cross_entropy, trains=0.8, optimizer=adam(1e-2), steps=300)


# ---- convolutions over time


class CausalConv(nn.Module):
    """A weight of (kernel, in, out), as Flax keeps it."""

    def __init__(self, kernel: int, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(kernel, inputs, outputs) * math.sqrt(2 / (kernel * inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.dilation = dilation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, ((len(self.kernel) - 1) * self.dilation, 0))
        return F.conv1d(x, self.kernel.permute(2, 1, 0), self.bias, dilation=self.dilation)


class CausalStack(nn.Module):
    def __init__(self, inputs: int = 4, width: int = 32, classes: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, dilation in enumerate((1, 2, 4, 1, 2, 4)):
            layers += [CausalConv(3, inputs if i == 0 else width, width, dilation), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x.transpose(1, 2))[:, :, -1])


def causal_case() -> Case:
    x, y = data.sums()
    return Case(CausalStack(), x, y, F.cross_entropy, trains=0.85, optimizer=sgd(0.02), steps=300)


@healthy
def causal_stack_in_flax_layout() -> Case:
    return causal_case()


@fault(
    "wrong-fan wrong-gain vanishing-forward vanishing-gradient rank-collapse",
    "body body.* body.*.kernel", twin=causal_stack_in_flax_layout,
)  # fmt: skip
def kaiming_on_the_flax_layout() -> Case:
    """kaiming_normal_ reads (kernel, in, out) as (out, in, kernel): its fan is in times out."""
    case = causal_case()
    for module in case.model.modules():
        if isinstance(module, CausalConv):
            nn.init.kaiming_normal_(module.kernel, nonlinearity="relu")
    return case


class Wave(nn.Module):
    """A WaveNet: gates of tanh and sigmoid, residuals, the skips summed and scaled by their number."""

    def __init__(self, words: int = 24, width: int = 24, dilations: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width)
        self.gates = nn.ModuleList([nn.Conv1d(width, 2 * width, 2, dilation=d) for d in dilations])
        self.sums = nn.ModuleList([nn.Conv1d(width, 2 * width, 1) for _ in dilations])
        self.out1, self.out2 = nn.Conv1d(width, width, 1), nn.Conv1d(width, words, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids).transpose(1, 2)
        skips = 0.0
        for gate, mix in zip(self.gates, self.sums, strict=True):
            a, b = gate(F.pad(x, (gate.dilation[0], 0))).chunk(2, 1)
            residual, skip = mix(a.tanh() * b.sigmoid()).chunk(2, 1)
            x, skips = (x + residual) * math.sqrt(0.5), skips + skip
        h = F.relu(skips / math.sqrt(len(self.gates)) + x)
        return self.out2(F.relu(self.out1(h))).transpose(1, 2)


def wave_case() -> Case:
    x, y = data.chain()
    return Case(Wave(), x, y, token_loss, token_accuracy, 0.7, sgd(0.2), steps=300)


@healthy
def gated_wave_text() -> Case:
    return wave_case()


# ---- forecasters


class TrendBlock(nn.Module):
    def __init__(self, past: int, ahead: int, width: int, *, last: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(past, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.forecast = nn.Linear(width, ahead)
        self.backcast = None if last else nn.Linear(width, past)


class Nbeats(nn.Module):
    """Blocks that explain a part of the past, take it off, and add their forecast."""

    def __init__(self, past: int = 24, ahead: int = 6, width: int = 48, blocks: int = 4) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([TrendBlock(past, ahead, width, last=i == blocks - 1) for i in range(blocks)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = x.mean(1, keepdim=True)
        x, total = x - level, level
        for block in self.blocks:
            h = block.body(x)
            total = total + block.forecast(h)
            if block.backcast is not None:
                x = x - block.backcast(h)
        return total


@healthy
def doubly_residual_forecast() -> Case:
    x, y = series()
    return Case(Nbeats(), x, y, F.mse_loss, r2, 0.8, adam(2e-3), steps=300)


class Gated(nn.Module):
    """A gated residual network: LayerNorm(x + GLU(W ELU(V x)))."""

    def __init__(self, width: int, out: int | None = None) -> None:
        super().__init__()
        out = out or width
        self.skip = nn.Identity() if out == width else nn.Linear(width, out)
        self.v, self.w, self.glu = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 2 * out)
        self.norm = nn.LayerNorm(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.skip(x) + F.glu(self.glu(self.w(F.elu(self.v(x)))), -1))


class Fusion(nn.Module):
    """A small temporal fusion network: it chooses its variables by a softmax, and gives three quantiles."""

    def __init__(self, variables: int = 5, width: int = 12) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.randn(variables, width))
        self.shift = nn.Parameter(torch.zeros(variables, width))
        self.choose = Gated(variables * width, variables)
        self.memory, self.after = nn.LSTM(width, width, batch_first=True), Gated(width)
        self.quantiles = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        e = x[..., None] * self.embed + self.shift
        weights = self.choose(e.flatten(2)).softmax(-1)
        h, _ = self.memory((weights[..., None] * e).sum(2))
        return self.quantiles(self.after(h[:, -1]))


QUANTILES = torch.tensor([0.1, 0.5, 0.9])


def pinball(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    off = targets - outputs
    return torch.maximum(QUANTILES * off, (QUANTILES - 1) * off).mean()


def median_r2(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return r2(outputs[:, 1:2], targets)


def fusion_case() -> Case:
    x, y = drivers()
    return Case(Fusion(), x, y, pinball, median_r2, 0.75, adam(1e-2), steps=300)


@healthy
def fusion_of_chosen_variables() -> Case:
    return fusion_case()


def without_chooser(model: Any) -> torch.optim.Optimizer:
    groups = [{"params": m.parameters()} for m in (model.memory, model.after, model.quantiles)]
    groups.append({"params": [model.embed, model.shift]})
    return torch.optim.Adam(groups, 1e-2)


@fault("not-in-optimizer", "choose choose.*", twin=fusion_of_chosen_variables)
def chooser_missing_in_the_groups() -> Case:
    case = fusion_case()
    case.optimizer = without_chooser
    return case


def mend_groups(case: Case, code: str) -> bool:
    if code != "not-in-optimizer":
        return False
    case.optimizer = adam(1e-2)
    return True


chooser_missing_in_the_groups = mended(chooser_missing_in_the_groups, mend_groups)


@fault("unscaled-targets wrong-prior", "* quantiles quantiles.*", twin=fusion_of_chosen_variables)
def demand_in_kilowatts() -> Case:
    case = fusion_case()
    case.targets = 21_500 + 3_800 * case.targets
    return case


def mend_demand(case: Case, code: str) -> bool:
    if code != "unscaled-targets":
        return False
    case.targets = (case.targets - case.targets.mean()) / case.targets.std()
    return True


demand_in_kilowatts = mended(demand_in_kilowatts, mend_demand)


# ---- music and speech


class PianoRoll(nn.Module):
    """Says each key's probability at the next step; its bias starts at the log-odds of a key that is down."""

    def __init__(self, keys: int = 24, width: int = 32, share: float = 2 / 24) -> None:
        super().__init__()
        self.rnn, self.keys = nn.GRU(keys, width, batch_first=True), nn.Linear(width, keys)
        nn.init.constant_(self.keys.bias, math.log(share / (1 - share)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.keys(self.rnn(x)[0])


def explained_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The share of the keys' entropy (at their mean rate) that the outputs explain."""
    rate = targets.mean()
    base = -(rate * rate.log() + (1 - rate) * (1 - rate).log())
    return float(1 - F.binary_cross_entropy_with_logits(outputs, targets) / base)


def piano_case() -> Case:
    x, y = piano()
    return Case(
        PianoRoll(), x, y, F.binary_cross_entropy_with_logits, explained_entropy, 0.3, adam(3e-3), steps=200, batch=32
    )


@healthy
def piano_roll_with_prior() -> Case:
    return piano_case()


@fault("wrong-prior", "keys keys.bias", twin=piano_roll_with_prior)
def piano_prior_with_its_sign_lost() -> Case:
    """-log((1 - p) / p) was ported as log((1 - p) / p): every key is down."""
    case = piano_case()
    nn.init.constant_(case.model.keys.bias, math.log(22 / 2))
    return case


class StatisticsPool(nn.Module):
    """Mean and deviation over time, as in x-vectors."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.mean(2), (x.var(2, unbiased=False) + self.eps).sqrt()], 1)


class Keywords(nn.Module):
    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(1, 24, 16, stride=4), nn.Conv1d(24, 24, 5, stride=2)
        self.pool, self.head = StatisticsPool(eps), nn.Linear(48, 5)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(F.relu(self.conv2(F.relu(self.conv1(x[:, None]))))))


def keywords_case(eps: float = 1e-5) -> Case:
    x, y = words_spoken()
    return Case(Keywords(eps), x, y, F.cross_entropy, trains=0.65, optimizer=sgd(0.05), steps=400)


@healthy
def spoken_words_with_statistics_pool() -> Case:
    return keywords_case()


@fault(
    "non-finite-gradients", "pool conv1 conv1.* conv2 conv2.*", twin=spoken_words_with_statistics_pool
)  # fmt: skip
def deviation_of_silence() -> Case:
    return keywords_case(0.0)


def mend_deviation(case: Case, code: str) -> bool:
    if code != "non-finite-gradients":
        return False
    case.model.pool.eps = 1e-5
    return True


deviation_of_silence = mended(deviation_of_silence, mend_deviation)


@fault("unnormalized-inputs", twin=spoken_words_with_statistics_pool)
def spoken_words_as_sixteen_bit_integers() -> Case:
    case = keywords_case()
    case.inputs = (case.inputs * 32767).round()
    return case


def mend_integers(case: Case, code: str) -> bool:
    if code != "unnormalized-inputs":
        return False
    case.inputs = case.inputs / case.inputs.std()
    return True


spoken_words_as_sixteen_bit_integers = mended(spoken_words_as_sixteen_bit_integers, mend_integers)


@fault(
    "saturation wrong-gain", "wx_gates wh_gates wx_new wh_new", twin=truncated_gru_text
)  # fmt: skip
def gru_of_bare_randn() -> Case:
    return gru_text_case(careless=True)


# ---- faults that only training shows

TOO_LOW = "learning-rate-too-low update-too-small loss-stuck"
TOO_HIGH = (
    "learning-rate-too-high update-too-large loss-oscillating loss-rising loss-diverged exploded-gradients "
    "gradient-spike trivial-plateau non-finite-values non-finite-gradients"
)


@fault(TOO_LOW, when="training", twin=rotary_gated_text)
def noam_warmup_counted_in_tokens() -> Case:
    """The warm-up of 4000 steps was multiplied by the tokens of a batch; the schedule counts steps."""
    case = rotary_case()
    warmup = 4000 * 64 * 16
    case.optimizer = adam(1.0)
    case.schedule = lambda o: torch.optim.lr_scheduler.LambdaLR(
        o, lambda s: 32**-0.5 * min((s + 1) ** -0.5, (s + 1) * warmup**-1.5)
    )
    return case


def mend_warmup(case: Case, code: str) -> bool:
    if code not in TOO_LOW.split():
        return False
    case.optimizer, case.schedule = adam(3e-3), None
    return True


noam_warmup_counted_in_tokens = mended(noam_warmup_counted_in_tokens, mend_warmup)


@fault(TOO_HIGH + " dying-units vanished-gradients loss-stuck", when="training", twin=causal_stack_in_flax_layout)
def causal_stack_under_adam_at_a_third() -> Case:
    case = causal_case()
    case.optimizer = adam(0.3)
    return case


def mend_rate(case: Case, code: str) -> bool:
    case.optimizer = adam(1e-3)
    return True


causal_stack_under_adam_at_a_third = mended(causal_stack_under_adam_at_a_third, mend_rate)


@fault(TOO_HIGH, when="training", twin=lstm_by_hand_keras_layout)
def lstm_gradients_never_zeroed() -> Case:
    case = lstm_case()
    case.zeroed = False
    return case


def mend_zeroed(case: Case, code: str) -> bool:
    case.zeroed = True
    return True


lstm_gradients_never_zeroed = mended(lstm_gradients_never_zeroed, mend_zeroed)


@fault(TOO_LOW, when="training", twin=gated_wave_text)
def wave_text_clipped_to_nothing() -> Case:
    """The bound was meant for each element and is set on the norm of all."""
    case = wave_case()
    case.clip = 1e-4
    return case


def mend_clip(case: Case, code: str) -> bool:
    if code not in TOO_LOW.split():
        return False
    case.clip = 1.0
    return True


wave_text_clipped_to_nothing = mended(wave_text_clipped_to_nothing, mend_clip)


class LearnedText(nn.Module):
    """Its own word vectors, a recurrent reader, a wide body: much for little text."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.table = nn.Embedding(60, width, padding_idx=0)
        self.rnn = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.body = nn.Sequential(nn.Linear(2 * width, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.body(self.rnn(self.table(ids))[0].mean(1))


def reader_case(n: int) -> Case:
    x, y = sentences(4608)
    return Case(
        LearnedText(), x[512 : 512 + n], y[512 : 512 + n], F.cross_entropy, trains=0.8, optimizer=adam(2e-3), steps=110,
        batch=32, held_out=(x[:512], y[:512]),
    )  # fmt: skip


@healthy
def wide_reader_of_four_thousand_sentences() -> Case:
    return reader_case(4096)


@fault("over-fitting", when="training", twin=wide_reader_of_four_thousand_sentences)
def wide_reader_of_forty_sentences() -> Case:
    case = reader_case(40)
    case.steps = 300
    return case
