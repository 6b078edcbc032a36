"""Programs of an author who has not seen how the library decides: transformers, fine-tuning, recommenders."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .program import Case, accuracy, adam, fault, healthy, mended, r2, sgd, token_accuracy, token_loss


def auc(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The chance that a click is ranked above a non-click; ties count half."""
    ups, downs = outputs[targets > 0.5], outputs[targets <= 0.5]
    over = (ups[:, None] > downs[None]).float() + 0.5 * (ups[:, None] == downs[None]).float()
    return float(over.mean())


# ---------------------------------------------------------------- decoder of the Llama kind


class RmsNorm(nn.Module):
    """Root-mean-square norm; ``start`` is what its scale starts at."""

    def __init__(self, width: int, start: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), start))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Rotary positions over (..., t, d)."""
    t, half = x.shape[-2], x.shape[-1] // 2
    angle = torch.arange(t)[:, None] * 10000.0 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class LlamaBlock(nn.Module):
    """Grouped queries, rotary positions, SwiGLU; no biases."""

    def __init__(self, width: int, heads: int, groups: int, start: float) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.norm1, self.norm2 = RmsNorm(width, start), RmsNorm(width, start)
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * groups * self.size, bias=False)
        self.o = nn.Linear(width, width, bias=False)
        self.gate, self.up = nn.Linear(width, 64, bias=False), nn.Linear(width, 64, bias=False)
        self.down = nn.Linear(64, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        h = self.norm1(x)
        q = self.q(h).view(n, t, self.heads, self.size).transpose(1, 2)
        k, v = self.kv(h).view(n, t, 2, self.groups, self.size).permute(2, 0, 3, 1, 4)
        k, v = (z.repeat_interleave(self.heads // self.groups, 1) for z in (k, v))
        mixed = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(n, t, d))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    def __init__(self, words: int = 24, width: int = 32, depth: int = 2, start: float = 1.0) -> None:
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        self.blocks = nn.Sequential(*[LlamaBlock(width, 4, 2, start) for _ in range(depth)])
        self.norm, self.head = RmsNorm(width, start), nn.Linear(width, words, bias=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                last = name.endswith(("o.weight", "down.weight"))
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * depth) if last else 0.02)
        self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.tokens(ids))))


def llama(**more: Any) -> Case:
    return Case(Llama(**more), *data.chain(), token_loss, token_accuracy, 0.75, adam(3e-3), 200)


@healthy
def llama_with_grouped_queries() -> Case:
    return llama()


@fault(
    "zero-norm-scale vanishing-forward constant-init",
    "norm norm.weight blocks.*.norm1 blocks.*.norm2 blocks.*.norm1.weight blocks.*.norm2.weight",
    twin=llama_with_grouped_queries,
)
def gemma_norm_ported_without_its_one_plus() -> Case:
    """Gemma stores w of (1 + w) x, zero at first; the port multiplies by w."""
    return llama(start=0.0)


def mend_scales(case: Case, code: str) -> bool:
    if code not in ("zero-norm-scale", "vanishing-forward", "constant-init"):
        return False
    for module in case.model.modules():
        if isinstance(module, RmsNorm):
            nn.init.ones_(module.weight)
    return True


gemma_norm_ported_without_its_one_plus = mended(gemma_norm_ported_without_its_one_plus, mend_scales)


@fault("learning-rate-too-low update-too-small loss-stuck", when="training", twin=llama_with_grouped_queries)
def llama_warmup_counts_tokens_against_steps() -> Case:
    """Warmup of two million, meant as tokens, counted in steps."""
    case = llama()
    case.schedule = lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda s: min(1.0, (s + 1) / 2_000_000))
    return case


def mend_warmup(case: Case, code: str) -> bool:
    if code not in ("learning-rate-too-low", "update-too-small", "loss-stuck"):
        return False
    case.schedule = lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda s: min(1.0, (s + 1) / 20))
    return True


llama_warmup_counts_tokens_against_steps = mended(llama_warmup_counts_tokens_against_steps, mend_warmup)

# ---------------------------------------------------------------- linear attention


class LinearAttention(nn.Module):
    """Causal, with the feature map elu + 1: Katharopoulos et al. 2020."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        memory = torch.einsum("nhtd,nhte->nhtde", k, v).cumsum(2)
        over = torch.einsum("nhtd,nhtd->nht", q, k.cumsum(2))[..., None]
        mixed = torch.einsum("nhtd,nhtde->nhte", q, memory) / (over + 1e-6)
        return self.out(mixed.transpose(1, 2).reshape(n, t, d))


class LinearLm(nn.Module):
    """A language model of linear attention; ``tie`` says how the head gets the table."""

    def __init__(self, tie: str = "share", words: int = 24, width: int = 32) -> None:
        super().__init__()
        self.tokens = nn.Embedding(words, width)
        nn.init.normal_(self.tokens.weight, 0.0, 0.02)
        self.positions = nn.Parameter(torch.randn(16, width) * 0.02)
        self.attentions = nn.ModuleList([LinearAttention(width, 4) for _ in range(2)])
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width)) for _ in range(2)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(5)])
        self.head = nn.Linear(width, words, bias=False)
        if tie == "share":
            self.head.weight = self.tokens.weight
        else:
            self.head.load_state_dict(self.tokens.state_dict())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions
        for i in range(2):
            x = x + self.attentions[i](self.norms[2 * i](x))
            x = x + self.mlps[i](self.norms[2 * i + 1](x))
        return self.head(self.norms[4](x))


@healthy
def linear_attention_lm() -> Case:
    return Case(LinearLm(), *data.chain(), token_loss, token_accuracy, 0.75, adam(3e-3), 200)


@fault("untied-weights", "head head.weight tokens tokens.weight", twin=linear_attention_lm)
def head_tied_by_loading_the_tables_state() -> Case:
    """The tie is a copy: table and head go their own ways from the first step."""
    return Case(LinearLm("load"), *data.chain(), token_loss, token_accuracy, 0.75, adam(3e-3), 200)


def mend_tie(case: Case, code: str) -> bool:
    if code != "untied-weights":
        return False
    case.model.head.weight = case.model.tokens.weight  # type: ignore[union-attr]
    return True


head_tied_by_loading_the_tables_state = mended(head_tied_by_loading_the_tables_state, mend_tie)

# ---------------------------------------------------------------- transformers package


class T5(nn.Module):
    """A tiny T5; six source words and the decoder's words come as one tensor."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import T5Config, T5ForConditionalGeneration

        config = T5Config(
            vocab_size=26, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, dropout_rate=0.0, use_cache=False
        )
        self.t5 = T5ForConditionalGeneration(config)

    def forward(self, ids: torch.Tensor) -> Any:
        return self.t5(input_ids=ids[:, :6], decoder_input_ids=ids[:, 6:])


def two_languages(n: int = 1024) -> data.Pair:
    """A source of words 24 or 25 among others says which of two successions the target follows."""
    g = torch.Generator().manual_seed(15)
    follow = torch.stack([torch.randperm(24, generator=g) for _ in range(2)])
    language = torch.randint(2, (n,), generator=g)
    source = torch.randint(24, (n, 6), generator=g)
    source[:, :3] = 24 + language[:, None]
    source = source.gather(1, torch.rand(n, 6, generator=g).argsort(1))
    words = torch.randint(24, (n, 11), generator=g)
    for t in range(10):
        words[:, t + 1] = follow[language, words[:, t]]
    return torch.cat([source, words[:, :-1]], 1), words[:, 1:].contiguous()


@healthy
def t5_of_two_languages() -> Case:
    """Attention is not scaled: T5's start has 1/√d in the query weights."""
    return Case(T5(), *two_languages(), token_loss, token_accuracy, 0.8, adam(3e-3), 250)


def binned(bins: int = 16) -> data.Pair:
    """Sums as words: each step's first channel by its bin."""
    x, y = data.sums(2048)
    return (x[:, :, 0] * 4 + bins / 2).long().clamp(0, bins - 1), y


def logits_loss(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs.logits, targets)


def logits_accuracy(outputs: Any, targets: torch.Tensor) -> float:
    return accuracy(outputs.logits, targets)


def bert(lr: float) -> Case:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=12, type_vocab_size=1, num_labels=2,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    return Case(model, *binned(), logits_loss, logits_accuracy, 0.8, adam(lr), 300)


@healthy
def tiny_bert_classifier() -> Case:
    return bert(1e-3)


@fault(
    "learning-rate-too-high update-too-large trivial-plateau loss-stuck loss-oscillating loss-rising loss-diverged "
    "gradient-spike vanished-gradients",
    when="training",
    twin=tiny_bert_classifier,
)
def bert_fine_tuned_at_the_rate_of_sgd() -> Case:
    """Adam at 0.1, a rate carried over from SGD."""
    return bert(0.1)


def mend_rate(case: Case, code: str) -> bool:
    if code in ("vanished-gradients",):
        return False
    case.optimizer = adam(1e-3)
    return True


bert_fine_tuned_at_the_rate_of_sgd = mended(bert_fine_tuned_at_the_rate_of_sgd, mend_rate)

# ---------------------------------------------------------------- a denoiser with adaLN-Zero


class DitBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = nets.Attention(width, 4)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        a, b, g, d, e, h = self.modulation(c)[:, None].chunk(6, -1)
        x = x + g * self.attention(self.norm1(x) * (1 + a) + b)
        return x + h * self.mlp(self.norm2(x) * (1 + d) + e)


class Dit(nn.Module):
    """Gates and last layer start at zero: Peebles & Xie 2023."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.patch, self.positions = nn.Linear(8, width), nn.Parameter(torch.randn(1, 8, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList([DitBlock(width) for _ in range(2)])
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, 8)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        x, t = packed[:, :64].view(-1, 8, 8), packed[:, 64:]
        angle = 1000 * t * 10000.0 ** (-torch.arange(8) / 8)
        c = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        x = self.patch(x) + self.positions
        for block in self.blocks:
            x = block(x, c)
        return self.last(self.norm(x)).flatten(1)


@healthy
def dit_denoiser_starting_at_zero() -> Case:
    x, _ = data.digits()
    g = torch.Generator().manual_seed(16)
    noise, t = torch.randn(x.shape, generator=g), torch.rand(len(x), 1, generator=g)
    noisy = (math.pi / 2 * t).cos() * x + (math.pi / 2 * t).sin() * noise
    return Case(Dit(), torch.cat([noisy, t], 1), noise, F.mse_loss, r2, 0.55, adam(3e-3), 300)


# ---------------------------------------------------------------- LoRA on a trained backbone


def smoothed(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, targets, label_smoothing=0.1)


@cache
def _trained_vit() -> dict[str, torch.Tensor]:
    """A ViT's weights behind 250 steps on clean digits, with smoothed labels."""
    with torch.random.fork_rng():
        torch.manual_seed(17)
        x, y = data.pictures()
        model = nets.Vit()
        Case(model, x, y, smoothed, optimizer=adam(3e-3), steps=250).train()
    return {k: v.clone() for k, v in model.state_dict().items()}


class Lora(nn.Module):
    """base(x) + B A x · 2, of rank 4."""

    def __init__(self, base: nn.Linear, zero_a: bool) -> None:
        super().__init__()
        self.base = base
        self.lora_a = nn.Parameter(torch.zeros(4, base.in_features))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, 4))
        if not zero_a:
            nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2 * (x @ self.lora_a.T @ self.lora_b.T)


def lora(zero_a: bool) -> Case:
    model = nets.Vit()
    model.load_state_dict(_trained_vit())
    model.requires_grad_(False)
    for block in model.blocks:
        block.attention.qkv = Lora(block.attention.qkv, zero_a)
        block.attention.out = Lora(block.attention.out, zero_a)
        block.mlp[0], block.mlp[2] = Lora(block.mlp[0], zero_a), Lora(block.mlp[2], zero_a)
    x, y = data.pictures()
    noisy = x + 0.8 * torch.randn(x.shape, generator=torch.Generator().manual_seed(23))
    return Case(model, noisy, y, F.cross_entropy, accuracy, 0.75, adam(1e-2), 250)


@healthy
def lora_on_a_frozen_vit() -> Case:
    """Everything but the LoRA matrices is trained and frozen, the head too: the classes are the same.

    The pictures are noisy, those that the backbone learned from were clean.
    """
    return lora(False)


@fault(
    "constant-init no-gradient symmetric-units vanishing-gradient vanishing-forward",
    "*lora_a *lora_b *qkv *out *mlp.0 *mlp.2",
    twin=lora_on_a_frozen_vit,
)
def lora_with_both_matrices_zero() -> Case:
    return lora(True)


def mend_lora(case: Case, code: str) -> bool:
    if code not in ("constant-init", "no-gradient", "symmetric-units", "vanishing-gradient", "vanishing-forward"):
        return False
    for module in case.model.modules():
        if isinstance(module, Lora):
            nn.init.kaiming_uniform_(module.lora_a, a=math.sqrt(5))
    return True


lora_with_both_matrices_zero = mended(lora_with_both_matrices_zero, mend_lora)


# ---------------------------------------------------------------- mixture of experts


class Mixture(nn.Module):
    """Top two of eight by sigmoid scores, balanced by a bias that no gradient moves, as DeepSeek-V3."""

    balance: torch.Tensor

    def __init__(self, width: int = 32, experts: int = 8, detached: bool = False) -> None:
        super().__init__()
        self.detached, self.count = detached, experts
        self.stem, self.norm = nn.Linear(8, width), nn.LayerNorm(width)
        self.positions = nn.Parameter(torch.randn(8, width) * 0.02)
        self.mix = nets.Block(width, 4, causal=False)
        self.router = nn.Linear(width, experts, bias=False)
        self.register_buffer("balance", torch.zeros(experts))
        self.up = nn.Parameter(torch.randn(experts, width, 32) / math.sqrt(width))
        self.down = nn.Parameter(torch.randn(experts, 32, width) / math.sqrt(32))
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def route(self, h: torch.Tensor) -> torch.Tensor:
        scores = self.router(h).sigmoid()
        chosen = (scores.detach() + self.balance).topk(2, -1).indices
        taken = torch.zeros_like(scores).scatter(-1, chosen, 1.0)
        if self.training:
            load = taken.detach().mean((0, 1))
            self.balance += 0.001 * (load.mean() - load).sign()
        gates = scores * taken
        return gates / gates.sum(-1, keepdim=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.mix(self.stem(x) + self.positions)
        h = self.norm(x)
        if self.detached:
            with torch.no_grad():
                gates = self.route(h)
        else:
            gates = self.route(h)
        hidden = F.gelu(torch.einsum("ntd,edh->enth", h, self.up))
        x = x + torch.einsum("nte,enth,ehd->ntd", gates, hidden, self.down)
        return self.head(self.last(x).mean(1))


def mixture(detached: bool) -> Case:
    return Case(Mixture(detached=detached), *data.rows(), F.cross_entropy, accuracy, 0.85, adam(3e-3), 200)


@healthy
def mixture_balanced_without_a_loss() -> Case:
    return mixture(False)


@fault("no-gradient", "router router.weight", twin=mixture_balanced_without_a_loss)
def router_whose_gates_are_made_without_gradient() -> Case:
    """``no_grad`` was meant for the balance, and covers the gates: the router never learns."""
    return mixture(True)


def mend_router(case: Case, code: str) -> bool:
    if code != "no-gradient":
        return False
    case.model.detached = False  # type: ignore[assignment]
    return True


router_whose_gates_are_made_without_gradient = mended(router_whose_gates_are_made_without_gradient, mend_router)


class Stage(nn.Module):
    """Stacked experts of two layers, and a gate for each of two tasks."""

    def __init__(self, features: int, experts: int, hidden: int, width: int, stacked: bool) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(experts, features, hidden))
        self.down = nn.Parameter(torch.empty(experts, hidden, width))
        self.gates = nn.ModuleList([nn.Linear(features, experts) for _ in range(2)])
        for weight in (self.up, self.down):
            if stacked:
                nn.init.kaiming_normal_(weight, nonlinearity="relu")
            else:
                nn.init.normal_(weight, 0.0, math.sqrt(2 / weight.shape[1]))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        h = torch.relu(torch.einsum("nd,edh->neh", x, self.up))
        h = torch.relu(torch.einsum("neh,ehw->new", h, self.down))
        return [(gate(x).softmax(-1)[..., None] * h).sum(1) for gate in self.gates]


class Mmoe(nn.Module):
    """Two tasks, each with its gate over shared experts (Ma et al. 2018), behind a stage of experts for both."""

    def __init__(self, stacked: bool) -> None:
        super().__init__()
        self.shared = Stage(8, 4, 64, 32, stacked)
        self.tasks = Stage(32, 4, 64, 32, stacked)
        self.towers = nn.ModuleList([nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1)) for _ in range(2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.tasks(sum(self.shared(x)) / 2)
        return torch.cat([tower(m) for tower, m in zip(self.towers, mixed, strict=True)], 1)


def two_tasks() -> data.Pair:
    x, y = data.smooth(2048, 8)
    z = torch.tanh(x[:, 4] + x[:, 5]) * x[:, 6] + 0.5 * x[:, 0]
    return x, torch.cat([y, ((z - z.mean()) / z.std())[:, None]], 1)


def mmoe(stacked: bool) -> Case:
    return Case(Mmoe(stacked), *two_tasks(), F.mse_loss, r2, 0.65, sgd(0.03), 300)


@healthy
def two_tasks_over_stacked_experts() -> Case:
    return mmoe(False)


@fault(
    "wrong-fan vanishing-forward vanishing-gradient wrong-gain",
    "shared shared.up shared.down tasks tasks.up tasks.down",
    twin=two_tasks_over_stacked_experts,
)
def stacked_experts_drawn_as_one_convolution() -> Case:
    """He's fan of (experts, in, out) is read as a convolution's: in times out."""
    return mmoe(True)


@fault(
    "loss-oscillating loss-rising loss-diverged exploded-gradients gradient-spike update-too-large "
    "learning-rate-too-high dying-units trivial-plateau loss-stuck non-finite-values non-finite-gradients",
    when="training",
    twin=two_tasks_over_stacked_experts,
)
def experts_whose_gradients_pile_up() -> Case:
    """``zero_grad`` is forgotten."""
    case = mmoe(False)
    case.zeroed = False
    return case


def mend_zeroed(case: Case, code: str) -> bool:
    case.zeroed = True
    return True


experts_whose_gradients_pile_up = mended(experts_whose_gradients_pile_up, mend_zeroed)

# ---------------------------------------------------------------- perceiver


class Perceiver(nn.Module):
    """A few latents read the sequence twice with the same weights; positions are Fourier features."""

    fourier: torch.Tensor

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        t = torch.linspace(-1, 1, 12)[:, None] * math.pi * torch.tensor([1.0, 2.0, 4.0])
        self.register_buffer("fourier", torch.cat([t.sin(), t.cos()], 1))
        self.latents = nn.Parameter(torch.empty(8, width))
        nn.init.trunc_normal_(self.latents, std=0.02)
        self.stem, self.norm_in, self.norm_q = nn.Linear(10, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross = nn.MultiheadAttention(width, 4, batch_first=True)
        self.body = nets.Block(width, 4, causal=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.norm_in(self.stem(torch.cat([x, self.fourier.expand(len(x), -1, -1)], 2)))
        z = self.latents.expand(len(x), -1, -1)
        for _ in range(2):
            z = z + self.cross(self.norm_q(z), seen, seen, need_weights=False)[0]
            z = self.body(z)
        return self.head(self.norm(z).mean(1))


def decayed(*kinds: type[nn.Module], rest: bool) -> Any:
    """AdamW, whose decay is for the weights of matrices only; ``rest`` is whether raw parameters are handed on."""

    def make(model: nn.Module) -> torch.optim.Optimizer:
        decay, plain, seen = [], [], set()
        for module in model.modules():
            own = dict(module.named_parameters(recurse=False))
            if not isinstance(module, kinds) and not rest:
                continue
            for name, p in own.items():
                matrix = name.endswith("weight") and not isinstance(module, nn.LayerNorm)
                if id(p) not in seen:
                    (decay if matrix else plain).append(p)
                    seen.add(id(p))
        groups = [{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=2e-3)

    return make


def perceiver(rest: bool) -> Case:
    kinds = (nn.Linear, nn.LayerNorm, nn.MultiheadAttention)
    return Case(Perceiver(), *data.sums(), F.cross_entropy, accuracy, 0.85, decayed(*kinds, rest=rest), 200)


@healthy
def perceiver_reading_twice() -> Case:
    return perceiver(True)


@fault("not-in-optimizer", "latents", twin=perceiver_reading_twice)
def decay_groups_that_miss_the_latents() -> Case:
    """Groups are gathered by the kind of module: a parameter of the model itself falls through."""
    return perceiver(False)


def mend_groups(case: Case, code: str) -> bool:
    if code != "not-in-optimizer":
        return False
    case.optimizer = decayed(nn.Module, rest=True)
    return True


decay_groups_that_miss_the_latents = mended(decay_groups_that_miss_the_latents, mend_groups)

# ---------------------------------------------------------------- ratings


def ratings(n: int = 6000) -> data.Pair:
    """(user, item) and one to five stars."""
    g = torch.Generator().manual_seed(18)
    u, v = torch.randn(60, 3, generator=g), torch.randn(80, 3, generator=g)
    a, b = 0.4 * torch.randn(60, generator=g), 0.5 * torch.randn(80, generator=g)
    who, what = torch.randint(60, (n,), generator=g), torch.randint(80, (n,), generator=g)
    stars = 3.4 + a[who] + b[what] + 0.5 * (u[who] * v[what]).sum(1) + 0.2 * torch.randn(n, generator=g)
    return torch.stack([who, what], 1), stars.round().clamp(1, 5)[:, None]


class Factors(nn.Module):
    """Biased matrix factorization around the mean rating, which is a buffer: Koren 2009."""

    mean: torch.Tensor

    def __init__(self, mean: torch.Tensor, width: int = 4, loaded: bool = False) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.users, self.user_bias = nn.Embedding(60, width), nn.Embedding(60, 1)
        self.items, self.item_bias = nn.Embedding(80, width), nn.Embedding(80, 1)
        nn.init.normal_(self.users.weight, 0.0, 0.1)
        nn.init.normal_(self.items.weight, 0.0, 0.1)
        nn.init.zeros_(self.user_bias.weight)
        nn.init.zeros_(self.item_bias.weight)
        if loaded:
            self.items = nn.Embedding.from_pretrained(0.1 * torch.randn(80, width))

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        who, what = pairs.unbind(1)
        product = (self.users(who) * self.items(what)).sum(1, keepdim=True)
        return self.mean + self.user_bias(who) + self.item_bias(what) + product


def factors(**more: Any) -> Case:
    x, y = ratings()
    held_out = x[5000:], y[5000:]
    x, y = x[:5000], y[:5000]
    model = Factors(y.mean(), **more)
    return Case(model, x, y, F.mse_loss, r2, 0.6, adam(0.02), 500, 128, held_out=held_out)


@healthy
def ratings_by_biased_factors() -> Case:
    return factors()


@fault("frozen no-gradient", "items items.weight", twin=ratings_by_biased_factors)
def item_table_frozen_by_from_pretrained() -> Case:
    """``from_pretrained`` was used to set a random start, and freezes unless told."""
    return factors(loaded=True)


def mend_frozen(case: Case, code: str) -> bool:
    if code not in ("frozen", "no-gradient"):
        return False
    case.model.items.weight.requires_grad_(True)  # type: ignore[union-attr]
    return True


item_table_frozen_by_from_pretrained = mended(item_table_frozen_by_from_pretrained, mend_frozen)


# ---------------------------------------------------------------- two towers


class Towers(nn.Module):
    """Cosines of users and items over a learned temperature, as CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.user = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 32))
        self.item = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 32))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, v = F.normalize(self.user(x[:, :8]), dim=1), F.normalize(self.item(x[:, 8:]), dim=1)
        return self.log_scale.exp() * u @ v.T


def contrast(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def first_of_64(logits: torch.Tensor, _: torch.Tensor) -> float:
    return accuracy(logits[:64, :64], torch.arange(64))


@healthy
def two_towers_in_batch() -> Case:
    g = torch.Generator().manual_seed(19)
    user, turn = torch.randn(2048, 8, generator=g), torch.linalg.qr(torch.randn(8, 8, generator=g))[0]
    item = user @ turn + 0.2 * torch.randn(2048, 8, generator=g)
    x = torch.cat([user, item], 1)
    return Case(Towers(), x, torch.arange(2048), contrast, first_of_64, 0.7, adam(3e-3), 300)


# ---------------------------------------------------------------- feature tokens


class FtTransformer(nn.Module):
    """Each number is a token: Gorishniy et al. 2021; ``scale`` multiplies the logits of attention."""

    def __init__(self, features: int, width: int = 32, scale: float | None = None) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(features, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(features, width).uniform_(-bound, bound))
        self.cls = nn.Parameter(torch.empty(width).uniform_(-bound, bound))
        self.blocks = nn.Sequential(*[ScaledBlock(width, scale) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x[..., None] * self.weight + self.bias
        tokens = torch.cat([self.cls.expand(len(x), 1, -1), tokens], 1)
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class ScaledBlock(nn.Module):
    """Pre-norm, with projections drawn as Flax's Dense: LeCun's normal, no bias at first."""

    def __init__(self, width: int, scale: float | None) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.scale = (width // 2) ** -0.5 if scale is None else scale
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, module.in_features**-0.5)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        h = self.norm1(x)
        q, k, v = (f(h).view(n, t, 2, d // 2).transpose(1, 2) for f in (self.query, self.key, self.value))
        mixed = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, d))
        return x + self.mlp(self.norm2(x))


def table(scale: float | None = None) -> Case:
    return Case(FtTransformer(8, scale=scale), *data.smooth(2048, 8), F.mse_loss, r2, 0.8, adam(2e-3), 250)


@healthy
def table_of_feature_tokens() -> Case:
    return table()


@fault(
    "attention-collapse saturation",
    "blocks.*",
    twin=table_of_feature_tokens,
)
def queries_multiplied_by_the_root_of_the_width() -> Case:
    """``dim ** 0.5`` for ``dim ** -0.5``."""
    return table(16**0.5)


def mend_scale(case: Case, code: str) -> bool:
    if code not in ("attention-collapse", "saturation"):
        return False
    for block in case.model.blocks:  # type: ignore[union-attr]
        block.scale = 16**-0.5
    return True


queries_multiplied_by_the_root_of_the_width = mended(queries_multiplied_by_the_root_of_the_width, mend_scale)


@fault("unscaled-targets wrong-prior", twin=table_of_feature_tokens)
def prices_in_cents() -> Case:
    """Prices around 2,500 with a spread of 800, in cents, into the mean square error."""
    case = table()
    case.targets = (2500 + 800 * case.targets) * 100
    return case


def mend_prices(case: Case, code: str) -> bool:
    if code not in ("unscaled-targets", "wrong-prior"):
        return False
    case.targets = (case.targets - case.targets.mean()) / case.targets.std()
    return True


prices_in_cents = mended(prices_in_cents, mend_prices)

# ---------------------------------------------------------------- clicks


def clicks(n: int = 9000) -> data.Pair:
    """Six categorical fields and whether there was a click: about one in five."""
    g = torch.Generator().manual_seed(20)
    fields = torch.randint(12, (n, 6), generator=g)
    alone, v = torch.randn(6, 12, generator=g), torch.randn(6, 12, 3, generator=g)
    place = torch.arange(6)
    e = v[place, fields]
    pairs = (e[:, 0] * e[:, 1]).sum(1) + (e[:, 2] * e[:, 3]).sum(1)
    logit = 0.9 * alone[place, fields].sum(1) + 0.8 * pairs - 4.0
    return fields, (torch.rand(n, generator=g) < logit.sigmoid()).float()[:, None]


class Dcn(nn.Module):
    """Embeddings, then two layers that cross, then a deep tower; the last bias is the log-odds of a click."""

    offsets: torch.Tensor

    def __init__(self, odds: float, everywhere: bool = False, squash: str | None = None) -> None:
        super().__init__()
        self.squash = squash
        self.register_buffer("offsets", 12 * torch.arange(6))
        self.table = nn.Embedding(72, 6)
        nn.init.uniform_(self.table.weight, -0.3, 0.3)
        self.cross = nn.ModuleList([nn.Linear(36, 36) for _ in range(2)])
        self.deep = nn.Sequential(nn.Linear(36, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU())
        self.head = nn.Linear(24, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.constant_(self.head.bias, odds)
        if everywhere:
            for module in self.deep.modules():
                if isinstance(module, nn.Linear):
                    nn.init.constant_(module.bias, odds)

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        x = x0 = self.table(fields + self.offsets).flatten(1)
        for layer in self.cross:
            x = x0 * layer(x) + x
        logit = self.head(self.deep(x))
        if self.squash is None:
            return logit
        return logit.softmax(1) if self.squash == "softmax" else logit.sigmoid()


def ctr(**more: Any) -> Case:
    x, y = clicks()
    share = float(y.mean())
    model = Dcn(math.log(share / (1 - share)), **more)
    loss = F.binary_cross_entropy_with_logits if model.squash is None else F.binary_cross_entropy
    held_out = x[8000:], y[8000:]
    return Case(model, x[:8000], y[:8000], loss, auc, 0.75, adam(3e-3), 300, 128, held_out=held_out)


@healthy
def clicks_by_crossed_features() -> Case:
    """One view in five is clicked: the head's bias starts at their log-odds."""
    return ctr()


@fault("softmax-over-one no-gradient", twin=clicks_by_crossed_features)
def click_head_ported_with_softmax() -> Case:
    """Dense(1, activation="softmax") kept in the port."""
    return ctr(squash="softmax")


def mend_squash(case: Case, code: str) -> bool:
    if code not in ("softmax-over-one", "no-gradient"):
        return False
    case.model.squash = "sigmoid"  # type: ignore[assignment]
    return True


click_head_ported_with_softmax = mended(click_head_ported_with_softmax, mend_squash)


@fault(
    "dead-units no-gradient vanishing-gradient vanishing-forward rank-collapse",
    "deep deep.*",
    twin=clicks_by_crossed_features,
)
def log_odds_in_every_bias() -> Case:
    """The loop that sets the head's bias to the log-odds goes over the tower too."""
    return ctr(everywhere=True)


def mend_biases(case: Case, code: str) -> bool:
    if code not in ("dead-units", "no-gradient", "vanishing-gradient", "vanishing-forward", "rank-collapse"):
        return False
    for i in (0, 2):
        nn.init.zeros_(case.model.deep[i].bias)  # type: ignore[index,union-attr]
    return True


log_odds_in_every_bias = mended(log_odds_in_every_bias, mend_biases)


@fault("over-fitting", when="training", twin=clicks_by_crossed_features)
def clicks_of_one_morning() -> Case:
    """The same net over two hundred views, each seen about two hundred times."""
    case = ctr()
    case.inputs, case.targets = case.inputs[:200], case.targets[:200]
    return case


def mend_few(case: Case, code: str) -> bool:
    if code != "over-fitting":
        return False
    case.inputs, case.targets = (z[:8000] for z in clicks())
    return True


clicks_of_one_morning = mended(clicks_of_one_morning, mend_few)

# ---------------------------------------------------------------- gMLP


class GatedBlock(nn.Module):
    """A gate over positions that starts at one: weights near zero, bias 1 (Liu et al. 2021)."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.norm, self.into = nn.LayerNorm(width), nn.Linear(width, 4 * width)
        self.gate_norm, self.gate = nn.LayerNorm(2 * width), nn.Linear(length, length)
        self.out = nn.Linear(2 * width, width)
        nn.init.uniform_(self.gate.weight, -1e-3 / length, 1e-3 / length)
        nn.init.ones_(self.gate.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, v = F.gelu(self.into(self.norm(x))).chunk(2, -1)
        v = self.gate(self.gate_norm(v).transpose(1, 2)).transpose(1, 2)
        return x + self.out(u * v)


class Gmlp(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Linear(8, width)
        self.blocks = nn.Sequential(*[GatedBlock(width, 8) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.stem(x))).mean(1))


@healthy
def gmlp_whose_gates_start_at_one() -> Case:
    return Case(Gmlp(), *data.rows(), F.cross_entropy, accuracy, 0.85, adam(3e-3), 250)


@fault(
    "trivial-plateau loss-stuck vanished-gradients update-too-large",
    when="training",
    twin=gmlp_whose_gates_start_at_one,
)
def decay_of_sgd_handed_to_adamw() -> Case:
    """A decay of 30 where 0.03 was meant: each step takes nearly a tenth of every weight."""
    case = gmlp_whose_gates_start_at_one.build()
    case.optimizer = lambda model: torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=30.0)
    return case


def mend_decay(case: Case, code: str) -> bool:
    case.optimizer = lambda model: torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.03)
    return True


decay_of_sgd_handed_to_adamw = mended(decay_of_sgd_handed_to_adamw, mend_decay)

# ---------------------------------------------------------------- Swin V2's block


class CosineBlock(nn.Module):
    """Cosine attention over a learned temperature; norms behind each branch, whose scales start at zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        nn.init.zeros_(self.norm1.weight)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scale = self.log_scale.clamp(max=math.log(100.0)).exp()
        logits = scale * (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1))
        x = x + self.norm1(self.out((logits.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d)))
        return x + self.norm2(self.mlp(x))


class Swin(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patch, self.patch_norm = nn.Conv2d(1, width, 2, 2), nn.LayerNorm(width)
        self.positions = nn.Parameter(torch.randn(16, width) * 0.02)
        self.blocks = nn.Sequential(*[CosineBlock(width, 4) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_norm(self.patch(x).flatten(2).transpose(1, 2)) + self.positions
        return self.head(self.norm(self.blocks(x)).mean(1))


@healthy
def swin_block_with_norms_behind_at_zero() -> Case:
    return Case(Swin(), *data.pictures(), F.cross_entropy, accuracy, 0.85, adam(3e-3), 200)


# ---------------------------------------------------------------- distillation


@cache
def _teacher() -> torch.Tensor:
    """What a trained net says of the digits, at temperature 2."""
    with torch.random.fork_rng():
        torch.manual_seed(21)
        x, y = data.digits()
        model = nets.mlp((64, 96, 96, 10))
        Case(model, x, y, F.cross_entropy, optimizer=adam(3e-3), steps=300).train()
        with torch.no_grad():
            return (model(x) / 2).softmax(1)


class Pooled(nn.Module):
    """A transformer over rows, pooled by one learned query."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem, self.positions = nn.Linear(8, width), nn.Parameter(torch.randn(8, width) * 0.02)
        self.block = nets.Block(width, 4, causal=False)
        self.norm, self.query = nn.LayerNorm(width), nn.Linear(width, 1, bias=False)
        self.head = nn.Linear(width, 10)
        nn.init.zeros_(self.query.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.block(self.stem(x) + self.positions))
        return self.head((self.query(x).softmax(1) * x).sum(1))


def distillation(logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    return 4 * F.kl_div((logits / 2).log_softmax(1), taught, reduction="batchmean")


def agreement(outputs: torch.Tensor, taught: torch.Tensor) -> float:
    return accuracy(outputs, taught.argmax(1))


@healthy
def student_of_a_teachers_soft_answers() -> Case:
    """The query that pools starts at zero: the mean of all rows."""
    return Case(Pooled(), data.rows()[0], _teacher().clone(), distillation, agreement, 0.85, adam(3e-3), 250)


@fault("missing-softmax", twin=student_of_a_teachers_soft_answers)
def student_without_a_logarithm_before_kl() -> Case:
    """``kl_div`` wants log-probabilities, and gets logits."""
    case = student_of_a_teachers_soft_answers.build()
    case.loss_fn = lambda logits, taught: 4 * F.kl_div(logits / 2, taught, reduction="batchmean")
    return case


def mend_kl(case: Case, code: str) -> bool:
    if code != "missing-softmax":
        return False
    case.loss_fn = distillation
    return True


student_without_a_logarithm_before_kl = mended(student_without_a_logarithm_before_kl, mend_kl)

# ---------------------------------------------------------------- a causal classifier


class Decider(nn.Module):
    """A causal transformer with a summary token, that sees all only where it comes last."""

    def __init__(self, first: bool, width: int = 32) -> None:
        super().__init__()
        self.first = first
        self.stem, self.cls = nn.Linear(4, width), nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(13, width) * 0.02)
        self.blocks = nn.Sequential(*[nets.Block(width, 4, causal=True) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, cls = self.stem(x), self.cls.expand(len(x), -1, -1)
        x = torch.cat([cls, x] if self.first else [x, cls], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0 if self.first else -1])


@healthy
def causal_classifier_with_summary_last() -> Case:
    return Case(Decider(False), *data.sums(), F.cross_entropy, accuracy, 0.85, adam(2e-3), 200)


@fault("rank-collapse no-gradient", twin=causal_classifier_with_summary_last)
def summary_token_first_under_a_causal_mask() -> Case:
    """The class token comes first, as in BERT, and sees itself alone."""
    return Case(Decider(True), *data.sums(), F.cross_entropy, accuracy, 0.85, adam(2e-3), 200)


def mend_summary(case: Case, code: str) -> bool:
    if code not in ("rank-collapse", "no-gradient"):
        return False
    case.model.first = False  # type: ignore[assignment]
    return True


summary_token_first_under_a_causal_mask = mended(summary_token_first_under_a_causal_mask, mend_summary)

# ---------------------------------------------------------------- items by distance


class Near(nn.Module):
    """Do two items go together: a learned radius less their distance."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps, self.items = eps, nn.Embedding(60, 8)
        nn.init.normal_(self.items.weight, 0.0, 8**-0.5)
        self.radius, self.slope = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(2.0))

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        a, b = self.items(pairs).unbind(1)
        distance = ((a - b).square().sum(1, keepdim=True) + self.eps).sqrt()
        return self.slope * (self.radius - distance)


def together(n: int = 4096) -> data.Pair:
    """Pairs of sixty items in six baskets; an item may meet itself."""
    g = torch.Generator().manual_seed(22)
    basket, pairs = torch.randint(6, (60,), generator=g), torch.randint(60, (n, 2), generator=g)
    mates = torch.rand(n, generator=g) < 0.3
    for i in mates.nonzero()[:, 0].tolist():
        same = (basket == basket[pairs[i, 0]]).nonzero()[:, 0]
        pairs[i, 1] = same[int(torch.randint(len(same), (1,), generator=g))]
    pairs[5, 1] = pairs[5, 0]
    return pairs, (basket[pairs[:, 0]] == basket[pairs[:, 1]]).float()[:, None]


def near(eps: float) -> Case:
    return Case(Near(eps), *together(), F.binary_cross_entropy_with_logits, accuracy, 0.9, adam(0.02), 300, 128)


@healthy
def items_by_their_distance() -> Case:
    return near(1e-6)


@fault("non-finite-gradients", "items items.weight", twin=items_by_their_distance)
def distance_of_an_item_to_itself() -> Case:
    """The root of zero has no slope: the first pair of an item with itself makes every gradient of it NaN."""
    return near(0.0)


def mend_root(case: Case, code: str) -> bool:
    if code != "non-finite-gradients":
        return False
    case.model.eps = 1e-6  # type: ignore[assignment]
    return True


distance_of_an_item_to_itself = mended(distance_of_an_item_to_itself, mend_root)
