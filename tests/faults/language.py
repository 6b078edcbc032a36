"""Programs written blind: sequence models (decoders, scans, recurrences, experts, speech), faulty and healthy."""

from __future__ import annotations

import copy
import math
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data
from .program import Case, adam, fault, healthy, mended, r2, sgd, token_accuracy, token_loss

WORDS = 24


# Data


@cache
def bigrams() -> tuple[torch.Tensor, torch.Tensor]:
    """Sentences, and a teacher's probabilities of each next word."""
    x, y = data.chain()
    counts = torch.full((WORDS, WORDS), 0.5)
    counts.index_put_((x.flatten(), y.flatten()), torch.ones(x.numel()), accumulate=True)
    return x, (counts / counts.sum(1, keepdim=True))[x]


@cache
def speech(n: int = 512, frames: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Four phones in a row, each some frames long, as eight noisy bands; labels from one, zero is the blank."""
    g = torch.Generator().manual_seed(11)
    sounds = torch.randn(7, 8, generator=g)
    labels = torch.randint(1, 7, (n, 4), generator=g)
    lengths = 4 + torch.randint(0, 3, (n, 4), generator=g)
    x = torch.zeros(n, frames, 8)
    for i in range(n):
        spoken = sounds[labels[i]].repeat_interleave(lengths[i], 0)
        x[i, : len(spoken)] = spoken
    return x + 0.3 * torch.randn(x.shape, generator=g), labels


@cache
def translation(n: int = 1024, length: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Word for word into another language; sentence and shifted translation side by side; 0 pads, 1 begins."""
    g = torch.Generator().manual_seed(12)
    to = 2 + torch.randperm(14, generator=g)
    source = torch.randint(2, 16, (n, length), generator=g)
    pad = torch.arange(length)[None] >= torch.randint(4, length + 1, (n, 1), generator=g)
    source[pad] = 0
    target = torch.where(pad, torch.zeros_like(source), to[(source - 2).clamp(min=0)])
    shifted = torch.cat([torch.ones(n, 1, dtype=torch.long), target[:, :-1]], 1)
    return torch.cat([source, shifted], 1), target


@cache
def tones(n: int = 512, length: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """A wave of one of many pitches; what comes next, in sixteen levels."""
    g = torch.Generator().manual_seed(13)
    pitch, phase = 0.2 + 0.6 * torch.rand(n, 1, generator=g), 6.28 * torch.rand(n, 1, generator=g)
    wave = torch.sin(pitch * torch.arange(length + 1) + phase)
    levels = ((wave + 1) * 8).long().clamp(0, 15)
    return wave[:, None, :-1].contiguous(), levels[:, 1:].contiguous()


@cache
def series(n: int = 1024, length: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Two waves added, and the value three steps on."""
    g = torch.Generator().manual_seed(14)
    t = torch.arange(length + 3)[None]
    a, b = 6.28 * torch.rand(n, 1, generator=g), 6.28 * torch.rand(n, 1, generator=g)
    wave = torch.sin(0.5 * t + a) + 0.7 * torch.sin(0.9 * t + b)
    wave = wave / wave.std()
    return wave[:, :length, None].contiguous(), wave[:, -1:].contiguous()


@cache
def masked_words() -> tuple[torch.Tensor, torch.Tensor]:
    """A third of the words hidden behind word 24; only they are asked for."""
    ids, _ = data.chain()
    hidden = torch.rand(ids.shape, generator=torch.Generator().manual_seed(15)) < 0.3
    return torch.where(hidden, torch.full_like(ids, 24), ids), torch.where(hidden, ids, torch.full_like(ids, -100))


@cache
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Word, neighbour and whether it is a real one: skip-grams with negative samples."""
    ids, following = data.chain()
    g = torch.Generator().manual_seed(16)
    word, real = ids.flatten()[:8000], following.flatten()[:8000]
    is_real = torch.rand(8000, generator=g) < 0.5
    other = torch.where(is_real, real, torch.randint(WORDS, (8000,), generator=g))
    return torch.stack([word, other], 1), is_real.float()[:, None]


@cache
def left_padded() -> tuple[torch.Tensor, torch.Tensor]:
    """Sentences of unlike lengths, padded in front with word 24."""
    ids, following = data.chain()
    pad = torch.arange(16)[None] < torch.randint(0, 9, (len(ids), 1), generator=torch.Generator().manual_seed(17))
    return torch.where(pad, torch.full_like(ids, 24), ids), torch.where(pad, torch.full_like(ids, -100), following)


def asked_accuracy(outputs: Any, targets: torch.Tensor) -> float:
    logits = outputs if isinstance(outputs, torch.Tensor) else outputs.logits
    asked = targets >= 0
    return float((logits.argmax(-1) == targets)[asked].float().mean())


# Decoders of the Llama kind


class RMSNorm(nn.Module):
    """``centered`` stores the scale's difference from one, as Gemma does."""

    def __init__(self, width: int, *, centered: bool = False) -> None:
        super().__init__()
        self.weight, self.centered = nn.Parameter(torch.zeros(width) if centered else torch.ones(width)), centered

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)
        return x * (1 + self.weight if self.centered else self.weight)


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Rotary positions on (n, heads, time, features)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 100.0 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class GroupedAttention(nn.Module):
    """Rotary attention in which two query heads share a key head."""

    def __init__(self, width: int, heads: int = 4, shared: int = 2) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, shared * self.size, bias=False)
        self.v_proj = nn.Linear(width, shared * self.size, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q = rotate(self.q_proj(x).view(n, t, self.heads, self.size).transpose(1, 2))
        k = rotate(self.k_proj(x).view(n, t, self.shared, self.size).transpose(1, 2))
        v = self.v_proj(x).view(n, t, self.shared, self.size).transpose(1, 2)
        k, v = (z.repeat_interleave(self.heads // self.shared, 1) for z in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(n, t, d))


class SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_norm, self.post_norm = RMSNorm(width), RMSNorm(width)
        self.attn, self.mlp = GroupedAttention(width), SwiGLU(width, 3 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.input_norm(x))
        return x + self.mlp(self.post_norm(x))


class Llama(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.layers = nn.ModuleList([LlamaBlock(width) for _ in range(depth)])
        self.norm, self.lm_head = RMSNorm(width), nn.Linear(width, WORDS, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                ends_branch = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * depth) if ends_branch else 0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def adamw(lr: float, decay: float = 0.1) -> Any:
    return lambda model: torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr, betas=(0.9, 0.95), weight_decay=decay
    )


@healthy
def llama_grouped_rotary() -> Case:
    return Case(Llama(), *data.chain(), token_loss, token_accuracy, 0.78, adamw(3e-3), 160)


# Gemma: scales stored less one, tables times √d, norms around every branch, soft caps


class GemmaBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([RMSNorm(width, centered=True) for _ in range(4)])
        self.attn, self.mlp = GroupedAttention(width), SwiGLU(width, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.norms[1](self.attn(self.norms[0](x)))
        return x + self.norms[3](self.mlp(self.norms[2](x)))


class Gemma(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.layers = nn.Sequential(*[GemmaBlock(width) for _ in range(depth)])
        self.norm, self.head = RMSNorm(width, centered=True), nn.Linear(width, WORDS, bias=False)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, 0.0, 1 / math.sqrt(p.shape[1]))
        nn.init.normal_(self.embed.weight, 0.0, 0.05)
        self.tie()

    def tie(self) -> None:
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) * math.sqrt(self.embed.embedding_dim)
        return 30 * torch.tanh(self.head(self.norm(self.layers(x))) / 30)


@healthy
def gemma_centered_scales_soft_cap() -> Case:
    return Case(Gemma(), *data.chain(), token_loss, token_accuracy, 0.78, adam(3e-3), 250)


class ClonedTie(Gemma):
    def tie(self) -> None:
        self.head.weight = nn.Parameter(self.embed.weight.detach().clone())


@fault("untied-weights duplicated-draws", "embed embed.weight head head.weight", twin=gemma_centered_scales_soft_cap)
def table_tied_by_a_clone() -> Case:
    return Case(ClonedTie(), *data.chain(), token_loss, token_accuracy, 0.78, adam(3e-3), 250)


def ties(case: Case, code: str) -> bool:
    if code in ("untied-weights", "duplicated-draws"):
        case.model.head.weight = case.model.embed.weight
        return True
    return False


table_tied_by_a_clone = mended(table_tied_by_a_clone, ties)


# DeepNorm and post-norm encoders


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int = 4, *, causal: bool = True, scale: float | None = None) -> None:
        super().__init__()
        self.heads, self.causal, self.scale = heads, causal, scale
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = (f(x).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        logits = q @ k.transpose(2, 3) * (self.scale if self.scale is not None else (d // self.heads) ** -0.5)
        if self.causal:
            logits = logits + torch.full((t, t), float("-inf")).triu(1)
        return self.out((logits.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))


class DeepNormBlock(nn.Module):
    def __init__(self, width: int, alpha: float, beta: float, *, norm: bool) -> None:
        super().__init__()
        self.alpha = alpha
        self.attn = SelfAttention(width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2 = (RMSNorm(width) if norm else nn.Identity() for _ in range(2))
        for f in (self.attn.q, self.attn.k):
            nn.init.xavier_normal_(f.weight)
        for f in (self.attn.v, self.attn.out, self.fc1, self.fc2):
            nn.init.xavier_normal_(f.weight, gain=beta)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm1(self.alpha * x + self.attn(x))
        return self.norm2(self.alpha * x + self.fc2(F.relu(self.fc1(x))))


class DeepNorm(nn.Module):
    def __init__(
        self, depth: int = 6, width: int = 32, *, norm: bool = True, alpha: float = 0.0, beta: float = 0.0
    ) -> None:
        super().__init__()
        alpha, beta = alpha or (2 * depth) ** 0.25, beta or (8 * depth) ** -0.25
        self.embed = nn.Embedding(WORDS, width)
        self.layers = nn.Sequential(*[DeepNormBlock(width, alpha, beta, norm=norm) for _ in range(depth)])
        self.head = nn.Linear(width, WORDS, bias=False)
        nn.init.normal_(self.head.weight, 0.0, 0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.embed(ids)))


@healthy
def deepnorm_six_blocks() -> Case:
    return Case(DeepNorm(), *data.chain(), token_loss, token_accuracy, 0.78, adam(1e-3), 200)


@fault(
    "residual-growth exploding-forward exploding-gradient",
    "layers layers.* embed embed.* head head.*",
    twin=deepnorm_six_blocks,
)
def norms_dropped_from_ten_blocks() -> Case:
    model = DeepNorm(10, norm=False, alpha=1.0, beta=1.0)
    return Case(model, *data.chain(), token_loss, token_accuracy, 0.78, adam(1e-3), 150)


def norms_back(case: Case, code: str) -> bool:
    if code in ("residual-growth", "exploding-forward", "exploding-gradient"):
        case.model.layers = DeepNorm(10).layers
        return True
    return False


norms_dropped_from_ten_blocks = mended(norms_dropped_from_ten_blocks, norms_back)


@fault(
    "zero-norm-scale vanishing-forward rank-collapse vanishing-gradient no-gradient",
    "layers layers.* embed embed.*",
    twin=deepnorm_six_blocks,
)
def scales_ported_as_less_one() -> Case:
    """A checkpoint's convention (scale less one) in a norm that multiplies by the scale itself."""
    model = DeepNorm()
    for module in model.modules():
        if isinstance(module, RMSNorm):
            nn.init.zeros_(module.weight)
    return Case(model, *data.chain(), token_loss, token_accuracy, 0.78, adam(1e-3), 200)


def scales_of_one(case: Case, code: str) -> bool:
    if code in ("zero-norm-scale", "vanishing-forward", "rank-collapse", "vanishing-gradient", "no-gradient"):
        for module in case.model.modules():
            if isinstance(module, RMSNorm):
                nn.init.ones_(module.weight)
        return True
    return False


scales_ported_as_less_one = mended(scales_ported_as_less_one, scales_of_one)


# A selective scan


class Mixer(nn.Module):
    """Mamba's: convolution, input-dependent steps, a diagonal state that decays, a gate."""

    def __init__(self, width: int = 24, inner: int = 32, state: int = 6, *, sign: float = -1.0) -> None:
        super().__init__()
        self.sign = sign
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv = nn.Conv1d(inner, inner, 3, groups=inner, padding=2)
        self.x_proj = nn.Linear(inner, 2 * state, bias=False)
        self.dt_proj = nn.Linear(inner, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, state + 1)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        dt = torch.exp(torch.empty(inner).uniform_(math.log(0.01), math.log(0.15)))
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
            self.dt_proj.weight.mul_(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, gate = self.in_proj(x).chunk(2, -1)
        u = F.silu(self.conv(u.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        b, c = self.x_proj(u).chunk(2, -1)
        dt = F.softplus(self.dt_proj(u))
        keep = torch.exp(dt[..., None] * (self.sign * self.A_log.exp()))
        enters = (dt * u)[..., None] * b[:, :, None]
        h, states = torch.zeros_like(enters[:, 0]), []
        for t in range(x.shape[1]):
            h = keep[:, t] * h + enters[:, t]
            states.append((h * c[:, t, None]).sum(-1))
        y = torch.stack(states, 1) + self.D * u
        return self.out_proj(y * F.silu(gate))


class Mamba(nn.Module):
    def __init__(self, inputs: int, outputs: int, width: int = 24, depth: int = 2, *, sign: float = -1.0) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(depth)])
        self.mixers = nn.ModuleList([Mixer(width, sign=sign) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            x = x + mixer(norm(x))
        return self.head(self.norm(x[:, -1]))


@healthy
def selective_scan_forecast() -> Case:
    return Case(Mamba(1, 1), *series(), F.mse_loss, r2, 0.9, adam(3e-3), 150)


@fault("exploding-forward exploding-gradient", "mixers mixers.* embed embed.*", twin=selective_scan_forecast)
def scan_without_the_minus() -> Case:
    """exp(+A·dt) where the state should decay."""
    return Case(Mamba(1, 1, sign=1.0), *series(), F.mse_loss, r2, 0.9, adam(3e-3), 150)


def minus(case: Case, code: str) -> bool:
    if code in ("exploding-forward", "exploding-gradient"):
        for mixer in case.model.mixers:
            mixer.sign = -1.0
        return True
    return False


scan_without_the_minus = mended(scan_without_the_minus, minus)


# Retention: attention without a softmax


class Retention(nn.Module):
    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.gate = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.group = nn.GroupNorm(heads, width, affine=False)
        self.register_buffer("decay", 1 - 2.0 ** (-1 - torch.arange(heads)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        age = torch.arange(t)[:, None] - torch.arange(t)[None]
        weight = self.decay[:, None, None] ** age.clamp(min=0) * (age >= 0)
        y = (q @ k.transpose(2, 3) * (d // self.heads) ** -0.5 * weight) @ v
        y = self.group(y.transpose(1, 2).reshape(n * t, d)).view(n, t, d)
        return self.out(F.silu(self.gate(x)) * y)


class RetNet(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2 * depth)])
        self.mixes = nn.ModuleList([Retention(width) for _ in range(depth)])
        self.mlps = nn.ModuleList([SwiGLU(width, width) for _ in range(depth)])
        self.head = nn.Linear(width, WORDS)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for i, (mix, mlp) in enumerate(zip(self.mixes, self.mlps, strict=True)):
            x = x + mix(self.norms[2 * i](x))
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.head(F.layer_norm(x, x.shape[-1:]))


@healthy
def retention_decaying_heads() -> Case:
    return Case(RetNet(), *data.chain(), token_loss, token_accuracy, 0.78, adam(3e-3), 200)


# WaveNet


class Gated(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.filter, self.gate = (nn.Conv1d(width, width, 2, dilation=dilation) for _ in range(2))
        self.residual, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (self.dilation, 0))
        return torch.tanh(self.filter(x)) * torch.sigmoid(self.gate(x))


class WaveNet(nn.Module):
    """``skips``: whether blocks add to what they were given and to the sum that is read out."""

    def __init__(self, width: int = 24, dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2), *, skips: bool = True) -> None:
        super().__init__()
        self.skips = skips
        self.into = nn.Conv1d(1, width, 1)
        self.blocks = nn.ModuleList([Gated(width, d) for d in dilations])
        self.out1, self.out2 = nn.Conv1d(width, width, 1), nn.Conv1d(width, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.into(x)
        total: torch.Tensor | float = 0.0
        for block in self.blocks:
            h = block(x)
            x = x + block.residual(h) if self.skips else block.residual(h)
            total = total + block.skip(h) if self.skips else block.skip(h)
        return self.out2(F.relu(self.out1(F.relu(total))))


def level_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs, targets)


def level_accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs.argmax(1) == targets).float().mean())


@healthy
def wavenet_levels() -> Case:
    return Case(WaveNet(), *tones(), level_loss, level_accuracy, 0.6, adam(3e-3), 200, 32)


@fault(
    "vanishing-forward vanishing-gradient rank-collapse wrong-gain",
    "into into.* blocks blocks.* out1 out1.* out2 out2.*",
    twin=wavenet_levels,
)
def wavenet_as_a_chain() -> Case:
    """Ported without its sums: twelve products of a tanh and a gate, one behind another; ones unused are not there."""
    model = WaveNet(dilations=(1, 2, 4, 8) * 3, skips=False)
    for block in model.blocks[:-1]:
        block.skip = nn.Identity()
    model.blocks[-1].residual = nn.Identity()
    return Case(model, *tones(), level_loss, level_accuracy, 0.6, adam(3e-3), 200, 32)


def sums_back(case: Case, code: str) -> bool:
    if code in ("vanishing-forward", "vanishing-gradient", "rank-collapse", "wrong-gain"):
        for block in case.model.blocks:
            block.skip, block.residual = nn.Conv1d(24, 24, 1), nn.Conv1d(24, 24, 1)
        case.model.skips = True
        return True
    return False


wavenet_as_a_chain = mended(wavenet_as_a_chain, sums_back)


# Speech


class Recognizer(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.front = nn.Conv1d(8, width, 3, padding=1)
        self.rnn = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.hardtanh(self.front(x.transpose(1, 2)), 0.0, 20.0).transpose(1, 2)
        return self.head(self.rnn(x)[0])


def ctc(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    n, t, _ = outputs.shape
    return F.ctc_loss(
        outputs.log_softmax(-1).transpose(0, 1), labels, torch.full((n,), t), torch.full((n,), labels.shape[1])
    )


def spoken(outputs: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of sentences whose greedy reading is right."""
    right = 0
    for path, label in zip(outputs.argmax(-1), labels, strict=True):
        read = torch.unique_consecutive(path)
        right += read[read > 0].tolist() == label.tolist()
    return right / len(labels)


@healthy
def speech_recognizer_ctc() -> Case:
    return Case(Recognizer(), *speech(), ctc, spoken, 0.6, adam(1e-2), 350, 32)


# Translation


class CrossAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, memory: torch.Tensor, pad: torch.Tensor) -> torch.Tensor:
        k, v = self.kv(memory).chunk(2, -1)
        logits = self.q(x) @ k.transpose(1, 2) / math.sqrt(k.shape[-1])
        return self.out(logits.masked_fill(pad[:, None], float("-inf")).softmax(-1) @ v)


class Translator(nn.Module):
    """A sinusoid table frozen on purpose, an encoder, a decoder; the target's table is the head, times d^-½ as T5's."""

    def __init__(self, width: int = 32, *, no_grad: bool = False) -> None:
        super().__init__()
        self.no_grad = no_grad
        angle = torch.arange(6)[:, None] * 10.0 ** (-torch.arange(0, width, 2) / width)
        self.positions = nn.Embedding.from_pretrained(torch.cat([angle.sin(), angle.cos()], 1), freeze=True)
        self.source, self.target = nn.Embedding(16, width, padding_idx=0), nn.Embedding(16, width, padding_idx=0)
        self.encoder = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn, self.cross = SelfAttention(width), CrossAttention(width)
        self.head = nn.Linear(width, 16)
        with torch.no_grad():
            self.target.weight.mul_(width**-0.5)
        self.head.weight = self.target.weight

    def encode(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.source(ids) + self.positions.weight
        return x + self.encoder(x)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        ids, shifted = packed[:, :6], packed[:, 6:]
        if self.no_grad:
            with torch.no_grad():
                memory = self.encode(ids)
        else:
            memory = self.encode(ids)
        y = self.target(shifted) * math.sqrt(32) + self.positions.weight
        y = y + self.attn(self.norm1(y))
        y = y + self.cross(self.norm2(y), memory, ids == 0)
        return self.head(self.norm3(y) * 32**-0.5)


def smoothed(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), ignore_index=0, label_smoothing=0.1)


def real_words(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs.argmax(-1) == targets)[targets > 0].float().mean())


@healthy
def translation_smoothed_labels() -> Case:
    return Case(Translator(), *translation(), smoothed, real_words, 0.85, adam(3e-3), 400)


@fault("no-gradient", "encoder encoder.* source source.weight", twin=translation_smoothed_labels)
def encoder_run_without_gradients() -> Case:
    """The call that once encoded for inference was kept for training."""
    return Case(Translator(no_grad=True), *translation(), smoothed, real_words, 0.85, adam(3e-3), 400)


def with_gradients(case: Case, code: str) -> bool:
    if code == "no-gradient":
        case.model.no_grad = False
        return True
    return False


encoder_run_without_gradients = mended(encoder_run_without_gradients, with_gradients)


# Experts


class Expert(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.wi, self.wo = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.wo(F.relu(self.wi(x)).square())


class Switch(nn.Module):
    """A router sends each token to one of four experts; its gate scales what comes back."""

    def __init__(self, width: int = 32, *, copied: bool = False) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(WORDS, width), nn.LayerNorm(width)
        self.router = nn.Linear(width, 4, bias=False)
        first = Expert(width)
        self.experts = nn.ModuleList([copy.deepcopy(first) if copied else Expert(width) for _ in range(4)])
        self.final, self.head = nn.LayerNorm(width), nn.Linear(width, WORDS)
        nn.init.normal_(self.router.weight, 0.0, 0.1 / math.sqrt(width))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        h = self.norm(x)
        gate, chosen = self.router(h).softmax(-1).max(-1)
        y = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            here = chosen == i
            y[here] = expert(h[here])
        return self.head(self.final(x + gate[..., None] * y))


@healthy
def switch_of_squared_relu_experts() -> Case:
    return Case(Switch(), *data.chain(), token_loss, token_accuracy, 0.78, adam(3e-3), 250)


@fault("duplicated-draws", "experts experts.*", twin=switch_of_squared_relu_experts)
def experts_deep_copied() -> Case:
    return Case(Switch(copied=True), *data.chain(), token_loss, token_accuracy, 0.78, adam(3e-3), 250)


def experts_drawn(case: Case, code: str) -> bool:
    if code == "duplicated-draws":
        case.model.experts = nn.ModuleList([Expert(32) for _ in range(4)])
        return True
    return False


experts_deep_copied = mended(experts_deep_copied, experts_drawn)


# Low-rank adapters on a trained base


class Adapted(nn.Module):
    def __init__(self, base: nn.Linear, rank: int = 8) -> None:
        super().__init__()
        self.base = base
        self.lora_a = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2.0 * F.linear(F.linear(x, self.lora_a), self.lora_b)


class Tagger(nn.Module):
    """Words in, words out, through two layers."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(WORDS, width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, WORDS)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        return self.head(x + self.down(F.gelu(self.up(self.norm(x)))))


def adapted_tagger() -> nn.Module:
    """Trained on one language, then frozen, with adapters for another that shares half of it."""
    model = Tagger()
    Case(model, *data.chain(), token_loss, token_accuracy, 0.78, adam(1e-2), 80).train()
    model.train().requires_grad_(False)
    model.up, model.down, model.head = Adapted(model.up), Adapted(model.down), Adapted(model.head)
    return model


def other_language() -> tuple[torch.Tensor, torch.Tensor]:
    ids, following = data.chain()
    return ids, torch.where(ids % 2 == 0, (following + 5) % WORDS, following)


@healthy
def adapters_on_a_trained_base() -> Case:
    return Case(adapted_tagger(), *other_language(), token_loss, token_accuracy, 0.75, adam(1e-2), 250)


@fault(
    "constant-init no-gradient symmetric-units",
    "up down head *.lora_a *.lora_b",
    twin=adapters_on_a_trained_base,
)
def adapters_zero_on_both_sides() -> Case:
    model = adapted_tagger()
    for name, p in model.named_parameters():
        if "lora" in name:
            nn.init.zeros_(p)
    return Case(model, *other_language(), token_loss, token_accuracy, 0.75, adam(1e-2), 250)


def adapters_drawn(case: Case, code: str) -> bool:
    if code in ("constant-init", "no-gradient", "symmetric-units"):
        for name, p in case.model.named_parameters():
            if name.endswith("lora_a"):
                nn.init.kaiming_uniform_(p, a=math.sqrt(5))
        return True
    return False


adapters_zero_on_both_sides = mended(adapters_zero_on_both_sides, adapters_drawn)


# Maximal-update parametrization


class Mup(nn.Module):
    """Logits of attention over d, queries and readout that start at zero, rates by role."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn = SelfAttention(width, scale=4 / (width // 4))
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.readout = nn.Linear(width, WORDS, bias=False)
        for p in (self.attn.k, self.attn.v, self.attn.out, self.fc1, self.fc2):
            nn.init.normal_(p.weight, 0.0, p.in_features**-0.5)
        nn.init.zeros_(self.attn.q.weight)
        nn.init.zeros_(self.readout.weight)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        x = x + self.attn(self.norm1(x))
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return self.readout(self.norm3(x)) / 4


def mup_adam(*roles: str) -> Any:
    """One group for each role, in which the parameter's name says which it is."""

    def build(model: nn.Module) -> torch.optim.Optimizer:
        named = list(model.named_parameters())
        rates = {"embed": 1e-2, "norm": 1e-2, "bias": 1e-2, "attn": 2.5e-3, "fc": 2.5e-3, "readout": 1e-2}
        groups = []
        taken: set[str] = set()
        for role in roles:
            chosen = [(name, p) for name, p in named if role in name and name not in taken]
            taken.update(name for name, _ in chosen)
            groups.append({"params": [p for _, p in chosen], "lr": rates[role]})
        return torch.optim.Adam(groups)

    return build


@healthy
def mup_zero_queries_and_readout() -> Case:
    roles = mup_adam("embed", "norm", "bias", "attn", "fc", "readout")
    return Case(Mup(), *data.chain(), token_loss, token_accuracy, 0.78, roles, 200)


@fault("not-in-optimizer", "fc1 fc2 fc?.weight", twin=mup_zero_queries_and_readout)
def group_of_a_role_forgotten() -> Case:
    roles = mup_adam("embed", "norm", "bias", "attn", "readout")
    return Case(Mup(), *data.chain(), token_loss, token_accuracy, 0.78, roles, 200)


def all_roles(case: Case, code: str) -> bool:
    if code == "not-in-optimizer":
        case.optimizer = mup_adam("embed", "norm", "bias", "attn", "fc", "readout")
        return True
    return False


group_of_a_role_forgotten = mended(group_of_a_role_forgotten, all_roles)


# Masked words, by a library's model


@healthy
def bert_masked_words() -> Case:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=25, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return Case(BertForMaskedLM(config), *masked_words(), token_loss, asked_accuracy, 0.55, adam(1e-2), 260)


# Ternary weights


class Ternary(nn.Linear):
    """BitNet's: weights rounded to -1, 0 or 1 times their mean size; gradients pass the rounding by."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight.abs().mean().clamp(min=1e-5)
        rounded = (self.weight / scale).round().clamp(-1, 1) * scale
        x = F.rms_norm(x, x.shape[-1:])
        return F.linear(x, self.weight + (rounded - self.weight).detach(), self.bias)


@healthy
def ternary_weights_straight_through() -> Case:
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), Ternary(64, 64, bias=False), nn.ReLU(), Ternary(64, 64, bias=False), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip
    return Case(model, *data.digits(), F.cross_entropy, trains=0.9, optimizer=adam(3e-3), steps=200)


# A reservoir


class Reservoir(nn.Module):
    """An echo-state network: the recurrence is drawn, of radius 0.9 and no parameter; the readout learns."""

    def __init__(self, size: int = 80) -> None:
        super().__init__()
        w = torch.randn(size, size)
        self.register_buffer("w", 0.9 * w / torch.linalg.eigvals(w).abs().max())
        self.register_buffer("w_in", 0.5 * torch.randn(size, 1))
        self.readout = nn.Linear(size, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), len(self.w))
        for t in range(x.shape[1]):
            h = torch.tanh(h @ self.w.T + x[:, t] @ self.w_in.T)
        return self.readout(h)


@healthy
def reservoir_fixed_by_design() -> Case:
    return Case(Reservoir(), *series(), F.mse_loss, r2, 0.9, adam(1e-2), 250)


# Skip-grams


class SkipGram(nn.Module):
    """word2vec's starts: words in ±½/d, contexts at zero."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words, self.contexts = nn.Embedding(WORDS, width), nn.Embedding(WORDS, width)
        nn.init.uniform_(self.words.weight, -0.5 / width, 0.5 / width)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        return (self.words(packed[:, 0]) * self.contexts(packed[:, 1])).sum(1, keepdim=True)


@healthy
def skipgram_zero_contexts() -> Case:
    return Case(SkipGram(), *pairs(), F.binary_cross_entropy_with_logits, trains=0.82, optimizer=adam(2e-2), steps=250)


# A class token that must look at all


class Pooler(nn.Module):
    """One learned query over a sequence, then a head."""

    def __init__(self, width: int = 128, *, scale: float | None = None) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(4, width), nn.LayerNorm(width)
        self.query = nn.Parameter(torch.randn(1, 1, width))
        self.attn = SelfAttention(width, 1, causal=False, scale=scale)
        self.final, self.head = nn.LayerNorm(width), nn.Linear(width, 2)
        for f in (self.attn.q, self.attn.k, self.attn.v, self.attn.out):
            nn.init.normal_(f.weight, 0.0, width**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.query.expand(len(x), -1, -1), self.embed(x)], 1)
        x = x + self.attn(self.norm(x))
        return self.head(self.final(x[:, 0]))


@healthy
def class_token_encoder() -> Case:
    return Case(Pooler(), *data.sums(), F.cross_entropy, trains=0.9, optimizer=sgd(0.02), steps=200)


@fault("attention-collapse saturation", "attn attn.q* attn.k*", twin=class_token_encoder)
def attention_as_t5_with_usual_weights() -> Case:
    """T5 does not divide by √d, since its queries start that much smaller; these do not."""
    return Case(Pooler(scale=1.0), *data.sums(), F.cross_entropy, trains=0.9, optimizer=sgd(0.02), steps=200)


def divides(case: Case, code: str) -> bool:
    if code in ("attention-collapse", "saturation"):
        case.model.attn.scale = None
        return True
    return False


attention_as_t5_with_usual_weights = mended(attention_as_t5_with_usual_weights, divides)


# Distillation


class Student(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(WORDS, width), nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, WORDS)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.embed(ids))[0])


def distill(outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return F.kl_div(outputs.log_softmax(-1).flatten(0, 1), teacher.flatten(0, 1), reduction="batchmean")


def distill_raw(outputs: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return F.kl_div(outputs.flatten(0, 1), teacher.flatten(0, 1), reduction="batchmean")


def nearness(outputs: torch.Tensor, teacher: torch.Tensor) -> float:
    """How far the student's distribution lies from the teacher's: 1 is nowhere."""
    return float(1 - 0.5 * (outputs.softmax(-1) - teacher).abs().sum(-1).mean())


@healthy
def distilled_gru() -> Case:
    return Case(Student(), *bigrams(), distill, nearness, 0.93, adam(1e-2), 200)


@fault("missing-softmax", twin=distilled_gru)
def distilled_from_raw_outputs() -> Case:
    return Case(Student(), *bigrams(), distill_raw, nearness, 0.93, adam(1e-2), 200)


def log_probabilities(case: Case, code: str) -> bool:
    if code == "missing-softmax":
        case.loss_fn = distill
        return True
    return False


distilled_from_raw_outputs = mended(distilled_from_raw_outputs, log_probabilities)


# Members side by side


class Members(nn.Module):
    """Four networks in one product per layer; their logits are averaged."""

    def __init__(self, widths: tuple[int, ...] = (64, 48, 48, 48, 48, 10), *, by_torch: bool = False) -> None:
        super().__init__()
        pairs_of = list(pairwise(widths))
        self.weights = nn.ParameterList([torch.empty(4, a, b) for a, b in pairs_of])
        self.biases = nn.ParameterList([torch.zeros(4, 1, b) for _, b in pairs_of])
        for w in self.weights:
            if by_torch:
                nn.init.kaiming_normal_(w, nonlinearity="relu")
            else:
                nn.init.normal_(w, 0.0, math.sqrt(2 / w.shape[1]))
        with torch.no_grad():
            self.weights[-1].mul_(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.expand(4, -1, -1)
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(b, h, w)
            h = F.relu(h) if i < len(self.weights) - 1 else h
        return h.mean(0)


@healthy
def members_in_one_product() -> Case:
    return Case(Members(), *data.digits(), F.cross_entropy, trains=0.9, optimizer=sgd(0.05), steps=150)


@fault(
    "wrong-fan vanishing-forward vanishing-gradient wrong-gain rank-collapse",
    "weights weights.*",
    twin=members_in_one_product,
)
def stacked_matrices_taken_for_convolutions() -> Case:
    """kaiming_normal_ reads (members, in, out) as a convolution: the fan is in · out."""
    model = Members(by_torch=True)
    return Case(model, *data.digits(), F.cross_entropy, trains=0.9, optimizer=sgd(0.05), steps=150)


def fans_by_hand(case: Case, code: str) -> bool:
    if code in ("wrong-fan", "vanishing-forward", "vanishing-gradient", "wrong-gain", "rank-collapse"):
        for w in case.model.weights:
            nn.init.normal_(w, 0.0, math.sqrt(2 / w.shape[1]))
        return True
    return False


stacked_matrices_taken_for_convolutions = mended(stacked_matrices_taken_for_convolutions, fans_by_hand)


# Highways


class Highway(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.plain, self.act, self.transform = nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.transform(x))
        return gate * self.act(self.plain(x)) + (1 - gate) * x


def highway(word: str) -> nn.Module:
    """Gates start closed: the biases with this word in their names at -2 (Srivastava et al. 2015)."""
    model = nn.Sequential()
    model.add_module("enter", nn.Linear(64, 48))
    model.add_module("act", nn.ReLU())
    for i in range(4):
        model.add_module(f"highway{i}", Highway(48))
    model.add_module("head", nn.Linear(48, 10))
    for name, p in model.named_parameters():
        if word in name and name.endswith("bias"):
            nn.init.constant_(p, -2.0 if word == "transform" else -6.0)
    nn.init.zeros_(model.get_parameter("head.bias"))
    return model


@healthy
def highway_closed_gates() -> Case:
    return Case(highway("transform"), *data.digits(), F.cross_entropy, trains=0.9, optimizer=sgd(0.05), steps=150)


@fault(
    "dead-units rank-collapse vanishing-forward no-gradient vanishing-gradient",
    "enter enter.* act highway? highway?.*",
    twin=highway_closed_gates,
)
def gates_bias_on_every_layer() -> Case:
    """The loop that should close the gates matched every bias but the head's."""
    return Case(highway(""), *data.digits(), F.cross_entropy, trains=0.9, optimizer=sgd(0.05), steps=150)


def biases_back(case: Case, code: str) -> bool:
    if code in ("dead-units", "rank-collapse", "vanishing-forward", "no-gradient", "vanishing-gradient"):
        for name, p in case.model.named_parameters():
            if name.endswith("bias"):
                nn.init.constant_(p, -2.0 if "transform" in name else 0.0)
        return True
    return False


gates_bias_on_every_layer = mended(gates_bias_on_every_layer, biases_back)


# Padding in front


class Padded(nn.Module):
    """Causal attention that leaves pads out; ``hard`` masks with -inf, and a pad's own row has no key left."""

    def __init__(self, width: int = 32, *, hard: bool = False) -> None:
        super().__init__()
        self.hard = hard
        self.embed, self.norm = nn.Embedding(25, width, padding_idx=24), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.head = nn.Linear(width, WORDS)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        t = ids.shape[1]
        shut = torch.ones(t, t, dtype=torch.bool).triu(1)[None] | (ids == 24)[:, None]
        logits = q @ k.transpose(1, 2) / math.sqrt(k.shape[-1])
        logits = logits.masked_fill(shut, float("-inf") if self.hard else torch.finfo(logits.dtype).min)
        x = x + self.out(logits.softmax(-1) @ v)
        return self.head(x + self.mlp(x))


@healthy
def left_padded_decoder() -> Case:
    return Case(Padded(), *left_padded(), token_loss, asked_accuracy, 0.78, adam(5e-3), 200)


@fault("non-finite-values", twin=left_padded_decoder)
def rows_of_pads_fully_masked() -> Case:
    return Case(Padded(hard=True), *left_padded(), token_loss, asked_accuracy, 0.78, adam(5e-3), 200)


def finite_mask(case: Case, code: str) -> bool:
    if code == "non-finite-values":
        case.model.hard = False
        return True
    return False


rows_of_pads_fully_masked = mended(rows_of_pads_fully_masked, finite_mask)


# Faults that only training shows

TOO_LOW = "learning-rate-too-low update-too-small loss-stuck"
TOO_HIGH = (
    "learning-rate-too-high update-too-large loss-stuck loss-rising loss-oscillating loss-diverged trivial-plateau "
    "gradient-spike exploded-gradients vanished-gradients dying-units non-finite-values non-finite-gradients"
)


class Scheduled(torch.optim.Adam):
    """Adam whose rate follows ``factor`` of the step."""

    def __init__(self, params: Any, lr: float, factor: Any) -> None:
        super().__init__(params, lr)
        self.factor, self.base, self.count = factor, lr, 0

    def step(self, closure: Any = None) -> Any:
        self.count += 1
        for group in self.param_groups:
            group["lr"] = self.base * self.factor(self.count)
        return super().step(closure)


def repaired(codes: str, optimizer: Any) -> Any:
    def mend(case: Case, code: str) -> bool:
        if code in codes.split():
            case.optimizer = optimizer
            return True
        return False

    return mend


@fault(TOO_HIGH, when="training", twin=speech_recognizer_ctc)
def base_rate_left_at_one() -> Case:
    """The schedule's factor was to be multiplied by a base of 0.01; the base stayed at the scheduler's 1."""
    case = speech_recognizer_ctc()
    case.optimizer = lambda model: Scheduled(model.parameters(), 1.0, lambda t: min(1.0, t / 10))
    return case


base_rate_left_at_one = mended(base_rate_left_at_one, repaired(TOO_HIGH, adam(1e-2)))


@fault(TOO_LOW, when="training", twin=retention_decaying_heads)
def warmup_counted_in_tokens() -> Case:
    """A warmup of a million, meant in tokens, stepped once a batch."""
    case = retention_decaying_heads()
    case.optimizer = lambda model: Scheduled(model.parameters(), 3e-3, lambda t: min(1.0, t / 1_000_000))
    return case


warmup_counted_in_tokens = mended(warmup_counted_in_tokens, repaired(TOO_LOW, adam(3e-3)))


class Clipped(torch.optim.SGD):
    """Clips the whole gradient's norm to ``most`` before its step."""

    def __init__(self, params: Any, lr: float, most: float) -> None:
        super().__init__(params, lr, momentum=0.9)
        self.most = most

    def step(self, closure: Any = None) -> Any:
        nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], self.most)
        return super().step(closure)


@fault(TOO_LOW + " vanished-gradients", when="training", twin=highway_closed_gates)
def gradients_clipped_to_nothing() -> Case:
    case = highway_closed_gates()
    case.optimizer = lambda model: Clipped(model.parameters(), 0.05, 1e-4)
    return case


gradients_clipped_to_nothing = mended(
    gradients_clipped_to_nothing,
    repaired(TOO_LOW + " vanished-gradients", lambda model: Clipped(model.parameters(), 0.05, 1.0)),
)


class Hoarding(torch.optim.SGD):
    """Its gradients are never cleared: the call was lost with a port from micro-batches."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


@fault(TOO_HIGH, when="training", twin=members_in_one_product)
def gradients_never_cleared() -> Case:
    case = members_in_one_product()
    case.optimizer = lambda model: Hoarding(model.parameters(), 0.05, momentum=0.9)
    return case


gradients_never_cleared = mended(gradients_never_cleared, repaired(TOO_HIGH, sgd(0.05)))

DECAYED = "trivial-plateau loss-stuck loss-rising vanished-gradients dying-units update-too-large"


@fault(DECAYED, when="training", twin=distilled_gru)
def decay_of_one_in_the_gradient() -> Case:
    """A decay of AdamW's size, in thousandths, given to Adam as it is, where it outweighs the loss's gradient."""
    case = distilled_gru()
    case.optimizer = lambda model: torch.optim.Adam(model.parameters(), 1e-2, weight_decay=1.0)
    return case


decay_of_one_in_the_gradient = mended(decay_of_one_in_the_gradient, repaired(DECAYED, adamw(1e-2, 0.001)))
