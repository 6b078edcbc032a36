"""Unseen programs of vision and generative models: written without knowledge of how the library decides."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons
from torch import nn

from . import data, nets
from .program import Case, adam, fault, healthy, mended, r2, sgd

Pair = tuple[torch.Tensor, torch.Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def adamw(lr: float, decay: float = 0.05) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr, weight_decay=decay)


# --- a diffusion transformer with adaLN-zero -------------------------------------------------------------------------


@cache
def diffusion(top: float) -> Pair:
    """Noisy digits with their time in the last column (0 to ``top``), and the noise to predict."""
    x = data.digits()[0].repeat(3, 1)
    g = seeded(11)
    t, noise = torch.rand(len(x), 1, generator=g), torch.randn(x.shape, generator=g)
    signal = torch.cos(t * math.pi / 2)
    noisy = signal * x + (1 - signal.square()).clamp_min(0).sqrt() * noise
    return torch.cat([noisy, t * top], 1), noise


class TimeEmbedding(nn.Module):
    def forward(self, t: torch.Tensor) -> torch.Tensor:
        angles = 1000 * t * torch.exp(-math.log(10000) * torch.arange(16) / 16)
        return torch.cat([angles.cos(), angles.sin()], -1)


class DiTBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = nets.Attention(width, 4)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        b1, s1, g1, b2, s2, g2 = self.modulation(c)[:, None].chunk(6, -1)
        x = x + g1 * self.attention(self.norm1(x) * (1 + s1) + b1)
        return x + g2 * self.mlp(self.norm2(x) * (1 + s2) + b2)


class DiT(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.Linear(4, width)
        self.position = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.time = nn.Sequential(TimeEmbedding(), nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(DiTBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.out = nn.Linear(width, 4)
        for layer in (self.modulation[1], self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        x, t = inputs[:, :64], inputs[:, 64:]
        x = x.view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        c = self.time(t)
        x = self.patches(x) + self.position
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.modulation(c)[:, None].chunk(2, -1)
        x = self.out(self.norm(x) * (1 + scale) + shift)
        return x.view(-1, 4, 4, 2, 2).transpose(2, 3).reshape(-1, 64)


@healthy
def diffusion_transformer_adaln_zero() -> Case:
    return Case(DiT(), *diffusion(1.0), F.mse_loss, r2, 0.45, adam(3e-3), 240)


def plain_denoiser(top: float) -> Case:
    """A perceptron on the noisy picture with its time as one more feature."""
    model = nn.Sequential(nn.Linear(65, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 64))
    return Case(model, *diffusion(top), F.mse_loss, r2, 0.45, adam(3e-3), 400)


@healthy
def plain_denoiser_unit_time() -> Case:
    return plain_denoiser(1.0)


@fault("unnormalized-inputs exploding-forward", "0 0.weight 0.bias 1", twin=plain_denoiser_unit_time)
def plain_denoiser_time_in_steps() -> Case:
    """The time beside the normalized pixels is the step itself, 0 to 1000."""
    return plain_denoiser(1000.0)


def divide_time(case: Case, code: str) -> bool:
    if code not in ("unnormalized-inputs", "exploding-forward"):
        return False
    scale = torch.ones(65)
    scale[64] = 1 / 1000
    case.inputs = case.inputs * scale
    return True


plain_denoiser_time_in_steps = mended(plain_denoiser_time_in_steps, divide_time)


# --- VQ-VAE ----------------------------------------------------------------------------------------------------------


class VQVAE(nn.Module):
    def __init__(self, codes: int = 32, width: int = 8, straight: bool = True) -> None:
        super().__init__()
        self.straight = straight
        self.enc = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, width, 1),
        )  # fmt: skip
        self.codebook = nn.Embedding(codes, width)
        nn.init.uniform_(self.codebook.weight, -1 / codes, 1 / codes)
        self.dec = nn.Sequential(
            nn.Conv2d(width, 16, 3, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(16, 16, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(16, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = self.enc(x).permute(0, 2, 3, 1)
        nearest = torch.cdist(z.detach().reshape(-1, z.shape[-1]), self.codebook.weight.detach()).argmin(1)
        q = self.codebook(nearest).view(z.shape)
        aside = F.mse_loss(q, z.detach())
        if self.straight:
            aside = aside + 0.25 * F.mse_loss(z, q.detach())
            q = z + (q - z).detach()
        return self.dec(q.permute(0, 3, 1, 2)), aside


def vq_loss(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    return F.mse_loss(outputs[0], targets) + outputs[1]


def vq_score(outputs: Any, targets: torch.Tensor) -> float:
    return r2(outputs[0], targets)


def vq(model: nn.Module) -> Case:
    x = data.pictures()[0]
    return Case(model, x, x, vq_loss, vq_score, 0.45, adam(3e-3), 400)


@healthy
def vq_vae_straight_through() -> Case:
    return vq(VQVAE())


@fault("no-gradient", "enc enc.*", twin=vq_vae_straight_through)
def vq_vae_without_straight_through() -> Case:
    """The decoder reads the looked-up codes, and the codebook's loss detaches the encoder: nothing reaches it."""
    return vq(VQVAE(straight=False))


def pass_straight(case: Case, code: str) -> bool:
    if code != "no-gradient":
        return False
    case.model.straight = True
    return True


vq_vae_without_straight_through = mended(vq_vae_without_straight_through, pass_straight)


# --- SimSiam and a momentum teacher ----------------------------------------------------------------------------------


@cache
def views() -> Pair:
    """Two noisy, partly erased views of each digit: (n, 2, 64)."""
    x, y = data.digits()
    g = seeded(12)
    pair = x[:, None].repeat(1, 2, 1)
    pair = pair + 0.3 * torch.randn(pair.shape, generator=g)
    return pair * (torch.rand(pair.shape, generator=g) < 0.8), y


class SimSiam(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(64, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width, affine=False),
        )  # fmt: skip
        self.predictor = nn.Sequential(
            nn.Linear(width, width // 4, bias=False),
            nn.BatchNorm1d(width // 4),
            nn.ReLU(),
            nn.Linear(width // 4, width),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z1, z2 = self.encoder(x[:, 0]), self.encoder(x[:, 1])
        return self.predictor(z1), self.predictor(z2), z1.detach(), z2.detach()


def siamese_loss(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    p1, p2, z1, z2 = outputs
    return -(F.cosine_similarity(p1, z2).mean() + F.cosine_similarity(p2, z1).mean()) / 2


def siamese_score(outputs: Any, targets: torch.Tensor) -> float:
    """Agreement of the views, times the neighbours that are of one class."""
    z = F.normalize(outputs[2], dim=1)
    near = (z @ z.T).fill_diagonal_(-2).argmax(1)
    return float(-siamese_loss(outputs, targets) * (targets[near] == targets).float().mean())


@healthy
def simsiam_stop_gradient() -> Case:
    return Case(SimSiam(), *views(), siamese_loss, siamese_score, 0.5, sgd(0.05), 300)


class BYOL(nn.Module):
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.online = nn.Sequential(
            nn.Linear(64, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width), nn.BatchNorm1d(width)
        )
        self.teacher = copy.deepcopy(self.online).requires_grad_(False)
        self.predictor = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            z1, z2 = self.teacher(x[:, 0]), self.teacher(x[:, 1])
        return self.predictor(self.online(x[:, 0])), self.predictor(self.online(x[:, 1])), z1, z2


class WithTeacher(torch.optim.SGD):
    """Also moves the teacher a hundredth of the way."""

    def __init__(self, model: BYOL, lr: float) -> None:
        super().__init__([p for p in model.parameters() if p.requires_grad], lr, 0.9, weight_decay=1e-4)
        self.pairs = list(zip(model.teacher.parameters(), model.online.parameters(), strict=True))

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        for slow, fast in self.pairs:
            slow.lerp_(fast, 0.01)
        return result


@healthy
def byol_momentum_teacher() -> Case:
    return Case(BYOL(), *views(), siamese_loss, siamese_score, 0.5, lambda model: WithTeacher(model, 0.05), 300)


# --- a detector with focal loss --------------------------------------------------------------------------------------


@cache
def pasted() -> Pair:
    """A digit somewhere on a 16 x 16 canvas; a heatmap of ten classes, 8 x 8, with one cell of one."""
    x, y = data.pictures()
    g = seeded(13)
    n = len(x)
    canvas = torch.full((n, 1, 16, 16), float(x.min()))
    heat = torch.zeros(n, 10, 8, 8)
    for i, (row, column) in enumerate(torch.randint(0, 5, (n, 2), generator=g).tolist()):
        canvas[i, :, 2 * row : 2 * row + 8, 2 * column : 2 * column + 8] = x[i]
        heat[i, y[i], row + 2, column + 2] = 1
    return (canvas - canvas.mean()) / canvas.std(), heat


def focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    cross = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p = logits.sigmoid()
    wrong = targets * (1 - p) + (1 - targets) * p
    alpha = 0.25 * targets + 0.75 * (1 - targets)
    return (alpha * wrong.square() * cross).sum() / targets.sum().clamp_min(1)


def detected(logits: torch.Tensor, targets: torch.Tensor) -> float:
    return float((logits.flatten(1).argmax(1) == targets.flatten(1).argmax(1)).float().mean())


class Detector(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.subnet = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        nets.he(self)
        self.head = nn.Conv2d(width, 10, 3, padding=1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.constant_(self.head.bias, -math.log(99))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.subnet(self.backbone(x)))


def detector(model: nn.Module) -> Case:
    return Case(model, *pasted(), focal, detected, 0.85, adam(3e-3), 250, 32)


@healthy
def focal_detector_with_prior() -> Case:
    return detector(Detector())


@fault("large-head exploding-gradient wrong-gain", "head head.weight", twin=focal_detector_with_prior)
def detector_head_mean_for_std() -> Case:
    """``normal_(weight, 0.01)``: the hundredth went to the mean, and the deviation is one."""
    model = Detector()
    nn.init.normal_(model.head.weight, 0.01)
    return detector(model)


@fault(
    "dead-units rank-collapse no-gradient vanishing-gradient vanishing-forward", "subnet subnet.* head head.weight",
    twin=focal_detector_with_prior,
)  # fmt: skip
def detector_prior_in_every_bias() -> Case:
    """The loop over the head's convolutions that sets the prior's bias went over the subnet as well."""
    model = Detector()
    for module in [*model.subnet, model.head]:
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.bias, -math.log(99))
    return detector(model)


def prior_in_the_head_only(case: Case, code: str) -> bool:
    if code not in ("dead-units", "rank-collapse", "vanishing-forward", "vanishing-gradient", "no-gradient"):
        return False
    for module in case.model.subnet:
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.bias)
    return True


detector_prior_in_every_bias = mended(detector_prior_in_every_bias, prior_in_the_head_only)


# --- residual networks without norms ---------------------------------------------------------------------------------


class FixupBlock(nn.Module):
    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bias1a, self.bias1b, self.bias2a, self.bias2b = (nn.Parameter(torch.zeros(1)) for _ in range(4))
        self.scale = nn.Parameter(torch.ones(1))
        nn.init.normal_(self.conv1.weight, std=math.sqrt(2 / (9 * width)) * blocks**-0.5)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.conv1(x + self.bias1a) + self.bias1b)
        return F.relu(x + self.conv2(out + self.bias2a) * self.scale + self.bias2b)


class Fixup(nn.Module):
    def __init__(self, blocks: int = 8, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)
        nn.init.kaiming_normal_(self.stem.weight, nonlinearity="relu")
        self.blocks = nn.Sequential(*[FixupBlock(width, blocks) for _ in range(blocks)])
        self.head = nn.Linear(width * 4, 10)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(F.relu(self.stem(x)))
        return self.head(F.avg_pool2d(x, 2).flatten(1))


@healthy
def fixup_resnet_zero_head() -> Case:
    return Case(Fixup(), *data.pictures(), F.cross_entropy, optimizer=sgd(0.05), steps=250)


class PlainBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.bn1 = self.bn2 = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


@fault("residual-growth exploding-forward exploding-gradient large-head", "*", twin=fixup_resnet_zero_head)
def resnet_exported_without_norms() -> Case:
    """Built from an export for inference, where every norm had been folded away; then drawn anew by He and trained."""
    stem = [nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU()]
    body = [PlainBlock(16) for _ in range(18)]
    model = nets.he(nn.Sequential(*stem, *body, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)))
    return Case(model, *data.pictures(), F.cross_entropy, optimizer=sgd(0.05), steps=150)


class WSConv(nn.Conv2d):
    """Scaled weight standardization, with a learned gain a channel."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear")
        nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        var, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        fan = self.weight[0].numel()
        weight = (self.weight - mean) * torch.rsqrt(var * fan + 1e-4) * self.gain
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class NFBlock(nn.Module):
    def __init__(self, width: int, beta: float, alpha: float = 0.2) -> None:
        super().__init__()
        self.beta, self.alpha = beta, alpha
        self.conv1, self.conv2 = WSConv(width, width, 1), WSConv(width, width, 3, padding=1, groups=4)
        self.conv3 = WSConv(width, width, 1)
        self.squeeze = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, width), nn.Sigmoid())
        self.skip_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.gelu(x) * 1.7015 * self.beta
        out = self.conv2(F.gelu(self.conv1(out)) * 1.7015)
        out = self.conv3(F.gelu(out) * 1.7015)
        out = 2 * out * self.squeeze(out.mean((2, 3)))[:, :, None, None]
        return x + self.alpha * self.skip_gain * out


@healthy
def nfnet_weight_standardized() -> Case:
    blocks, variance = [], 1.0
    for _ in range(4):
        blocks.append(NFBlock(24, variance**-0.5))
        variance += 0.2**2
    model = nn.Sequential(
        WSConv(1, 24, 3, stride=2, padding=1), *blocks, nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 10)
    )
    nn.init.normal_(model[-1].weight, std=0.01)
    nn.init.zeros_(model[-1].bias)
    return Case(model, *data.pictures(), F.cross_entropy, optimizer=sgd(0.05), steps=160)


# --- ConvNeXt --------------------------------------------------------------------------------------------------------


class ChannelNorm(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm(self.dw(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.down(F.gelu(self.up(out)))).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self, width: int = 32, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 2, stride=2), ChannelNorm(width, eps=1e-6))
        self.blocks = nn.Sequential(*[ConvNeXtBlock(width) for _ in range(blocks)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)
        nets.initialized(self, lambda w: nn.init.trunc_normal_(w, std=0.02), nn.init.zeros_)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))


@healthy
def convnext_layer_scale() -> Case:
    return Case(ConvNeXt(), *data.pictures(), F.cross_entropy, optimizer=adamw(4e-3), steps=250)


def by_dimensions(model: nn.Module) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], 4e-3, weight_decay=0.05)


@fault("not-in-optimizer", "stem stem.0 stem.0.weight blocks.*.dw blocks.*.dw.weight", twin=convnext_layer_scale)
def convnext_groups_miss_convolutions() -> Case:
    """Decayed are matrices, not decayed vectors: a rule from language models, and kernels are of four dimensions."""
    return Case(ConvNeXt(), *data.pictures(), F.cross_entropy, optimizer=by_dimensions, steps=250)


def group_all(case: Case, code: str) -> bool:
    if code != "not-in-optimizer":
        return False
    case.optimizer = adamw(4e-3)
    return True


convnext_groups_miss_convolutions = mended(convnext_groups_miss_convolutions, group_all)


# --- a masked autoencoder --------------------------------------------------------------------------------------------


@cache
def masked() -> Pair:
    """Patches of 2 x 2 and, as a fifth number, whether they are hidden; the same as targets."""
    x = data.digits()[0].view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4).repeat(2, 1, 1)
    hidden = (torch.rand(len(x), 16, 1, generator=seeded(14)) < 0.4).float()
    both = torch.cat([x, hidden], -1)
    return both, both


def sincos(n: int, width: int) -> torch.Tensor:
    angles = torch.arange(n)[:, None] * torch.exp(-math.log(100) * torch.arange(width // 2) / (width // 2))
    return torch.cat([angles.sin(), angles.cos()], -1)[None]


class MAE(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.Linear(4, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.position = nn.Parameter(sincos(16, width), requires_grad=False)
        self.blocks = nn.Sequential(*[nets.Block(width, 4, causal=False) for _ in range(depth)])
        self.norm, self.out, self.last = nn.LayerNorm(width), nn.Linear(width, 4), nn.Identity()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = inputs[..., 4:]
        x = self.patches(inputs[..., :4]) * (1 - hidden) + self.mask_token * hidden
        return self.last(self.out(self.norm(self.blocks(x + self.position))))


def masked_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    hidden = targets[..., 4]
    return ((outputs - targets[..., :4]).square().mean(-1) * hidden).sum() / hidden.sum()


def masked_score(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    hidden = targets[..., 4] > 0
    return r2(outputs[hidden], targets[..., :4][hidden])


@healthy
def masked_autoencoder_fixed_positions() -> Case:
    return Case(MAE(), *masked(), masked_loss, masked_score, 0.5, adam(3e-3), 350)


@fault("unreachable-targets", "last out out.*", twin=masked_autoencoder_fixed_positions)
def masked_autoencoder_sigmoid_pixels() -> Case:
    """A sigmoid from the days of pixels in [0, 1]; the patches are normalized now."""
    case = Case(MAE(), *masked(), masked_loss, masked_score, 0.5, adam(3e-3), 350)
    case.model.last = nn.Sigmoid()
    return case


def linear_pixels(case: Case, code: str) -> bool:
    if code != "unreachable-targets":
        return False
    case.model.last = nn.Identity()
    return True


masked_autoencoder_sigmoid_pixels = mended(masked_autoencoder_sigmoid_pixels, linear_pixels)


# --- LoRA on a trained MLP-Mixer -------------------------------------------------------------------------------------


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.blocks = nn.Sequential(*[MixerBlock(16, width) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.patches(x).flatten(2).transpose(1, 2))).mean(1))


class LoRA(nn.Module):
    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.empty(rank, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2 * F.linear(F.linear(x, self.a), self.b)


@healthy
def mixer_with_lora() -> Case:
    """Trained on digits, frozen, and adapted to digits upside down by low-rank updates and a new head."""
    x, y = data.pictures()
    model = Mixer()
    Case(model, x, y, F.cross_entropy, optimizer=adam(3e-3), steps=200).train()
    model.requires_grad_(False)
    for block in model.blocks:
        for part in (block.across, block.within):
            part[0], part[2] = LoRA(part[0]), LoRA(part[2])
    model.head = nn.Linear(32, 10)
    return Case(model, x.flip(2), y, F.cross_entropy, optimizer=adam(5e-3), steps=250)


# --- super-resolution ------------------------------------------------------------------------------------------------


@cache
def coarse() -> Pair:
    """Digits in [0, 1] at half the resolution, and as they were."""
    x = data.pixels()[0].view(-1, 1, 8, 8) / 255
    return F.avg_pool2d(x, 2), x


class SuperResolution(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)

        def branch() -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.PReLU(), nn.Conv2d(width, width, 3, padding=1)
            )

        self.body = nn.Sequential(*[nets.Residual(branch(), scale=0.1) for _ in range(4)])
        self.tail = nn.Conv2d(width, 4, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        smooth = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = self.stem(x)
        return smooth + self.shuffle(self.tail(x + self.body(x)))


def charbonnier(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return ((outputs - targets).square() + 1e-6).sqrt().mean()


@healthy
def super_resolution_zero_tail() -> Case:
    return Case(SuperResolution(), *coarse(), charbonnier, r2, 0.65, adam(3e-3), 300)


def distance(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().sum(1).sqrt().mean()


@fault("non-finite-gradients", twin=super_resolution_zero_tail)
def super_resolution_root_of_zero() -> Case:
    """The distance of a pixel is a root without an epsilon; where the background is met exactly its slope is 0/0."""
    return Case(SuperResolution(), *coarse(), distance, r2, 0.65, adam(3e-3), 300)


def add_epsilon(case: Case, code: str) -> bool:
    if code != "non-finite-gradients":
        return False
    case.loss_fn = charbonnier
    return True


super_resolution_root_of_zero = mended(super_resolution_root_of_zero, add_epsilon)


# --- boxes -----------------------------------------------------------------------------------------------------------


@cache
def boxes(*, encoded: bool) -> Pair:
    """A bright rectangle in noise, and its centre and size: standardized, or in pixels of the photo of 1024."""
    g = seeded(15)
    n = 1200
    size = torch.randint(3, 9, (n, 2), generator=g)
    corner = (torch.rand(n, 2, generator=g) * (17 - size)).long()
    x = 0.3 * torch.randn(n, 1, 16, 16, generator=g)
    for i in range(n):
        (r, c), (h, w) = corner[i].tolist(), size[i].tolist()
        x[i, 0, r : r + h, c : c + w] += 1
    box = torch.cat([corner + size / 2, size.float()], 1) * 64
    if encoded:
        box = torch.cat([box[:, :2], box[:, 2:].log()], 1)
        box = (box - box.mean(0)) / box.std(0)
    return (x - x.mean()) / x.std(), box


def boxer(*, encoded: bool) -> Case:
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.GroupNorm(4, 16), nn.Mish(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.GroupNorm(4, 32), nn.Mish(),
        nn.Flatten(), nn.Linear(512, 64), nn.Mish(), nn.Linear(64, 4),
    )  # fmt: skip
    return Case(model, *boxes(encoded=encoded), F.smooth_l1_loss, r2, 0.85, adam(2e-3), 250)


@healthy
def box_regression_encoded() -> Case:
    return boxer(encoded=True)


@fault("unscaled-targets wrong-prior", "*", twin=box_regression_encoded)
def box_regression_in_pixels() -> Case:
    """Centre and size in pixels of the photo, hundreds, from a head of unit scale."""
    return boxer(encoded=False)


def encode_boxes(case: Case, code: str) -> bool:
    if code not in ("unscaled-targets", "wrong-prior"):
        return False
    case.targets = (case.targets - case.targets.mean(0)) / case.targets.std(0)
    return True


box_regression_in_pixels = mended(box_regression_in_pixels, encode_boxes)


# --- a critic with equalized rates and the hinge loss ----------------------------------------------------------------


class Equalized(nn.Module):
    """Weights of unit deviation, scaled where they are used."""

    def __init__(self, *shape: int, stride: int = 1) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(shape)), nn.Parameter(torch.zeros(shape[0]))
        self.scale, self.stride = math.prod(shape[1:]) ** -0.5, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.ndim == 2:
            return F.linear(x, self.weight * self.scale, self.bias)
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, 1)


class ScaledLeaky(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x, 0.2) * math.sqrt(2)


def hinge(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.relu(1 - (2 * targets - 1) * outputs).mean()


def critic() -> Case:
    x, _ = data.pictures()
    fake = torch.cat([x[:, :, :4], x.roll(1, 0)[:, :, 4:]], 2)
    order = torch.randperm(2 * len(x), generator=seeded(16))
    inputs = torch.cat([x, fake])[order]
    targets = torch.cat([torch.ones(len(x), 1), torch.zeros(len(x), 1)])[order]
    model = nn.Sequential(
        Equalized(16, 1, 3, 3), ScaledLeaky(), Equalized(32, 16, 3, 3, stride=2), ScaledLeaky(),
        Equalized(32, 32, 3, 3, stride=2), ScaledLeaky(), nn.Flatten(),
        Equalized(64, 128), ScaledLeaky(), Equalized(1, 64),
    )  # fmt: skip

    def right(outputs: torch.Tensor, targets: torch.Tensor) -> float:
        return float(((outputs > 0) == (targets > 0.5)).float().mean())

    optimizer = lambda m: torch.optim.Adam(m.parameters(), 5e-3, betas=(0.0, 0.99))  # noqa: E731
    return Case(model, inputs, targets, hinge, right, 0.75, optimizer, 350)


@healthy
def hinge_critic_equalized() -> Case:
    """Whole digits against digits with halves of two."""
    return critic()


@fault(
    "constant-init symmetric-units exploding-forward exploding-gradient large-head wrong-gain", "*",
    twin=hinge_critic_equalized,
)  # fmt: skip
def critic_ported_with_ones() -> Case:
    """Ported with the initializer of the scale, ones, put on the weights: the units of a layer are one unit."""
    case = critic()
    for module in case.model.modules():
        if isinstance(module, Equalized):
            nn.init.ones_(module.weight)
    return case


# --- two encoders and a temperature ----------------------------------------------------------------------------------


class CLIP(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.picture = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(256, width)
        )
        self.caption = nn.Sequential(nn.Linear(24, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, width))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        a = F.normalize(self.picture(inputs[:, :64].view(-1, 1, 8, 8)), dim=1)
        b = F.normalize(self.caption(inputs[:, 64:]), dim=1)
        return self.logit_scale.exp().clamp_max(100) * a @ b.T


def contrast(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def retrieved(logits: torch.Tensor, targets: torch.Tensor) -> float:
    own = torch.arange(len(logits))[:, None]
    return float((logits.topk(10, 1).indices == own).any(1).float().mean())


@healthy
def clip_two_towers() -> Case:
    x, y = data.digits()
    g = seeded(17)
    caption = torch.tanh(x @ torch.randn(64, 24, generator=g) / 8) + 0.05 * torch.randn(len(x), 24, generator=g)
    return Case(CLIP(), torch.cat([x, caption / caption.std()], 1), y, contrast, retrieved, 0.5, adamw(3e-3), 300)


# --- PixelCNN --------------------------------------------------------------------------------------------------------


class MaskedConv(nn.Conv2d):
    def __init__(self, kind: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        mask = torch.ones_like(self.weight)
        k = self.kernel_size[0]
        mask[:, :, k // 2, k // 2 + (kind == "B") :] = 0
        mask[:, :, k // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, self.stride, self.padding)


class Gate(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, 1)
        return a.tanh() * b.sigmoid()


@healthy
def pixel_cnn_masked() -> Case:
    x = (data.pixels()[0].view(-1, 1, 8, 8) > 100).float()
    body = [
        nets.Residual(nn.Sequential(MaskedConv("B", 24, 48, 3, padding=1), Gate(), nn.Conv2d(24, 24, 1)))
        for _ in range(2)
    ]
    model = nn.Sequential(MaskedConv("A", 1, 24, 5, padding=2), *body, nn.ReLU(), nn.Conv2d(24, 1, 1))

    def explained(logits: torch.Tensor, targets: torch.Tensor) -> float:
        p = targets.mean().clamp(1e-3, 1 - 1e-3)
        entropy = -(p * p.log() + (1 - p) * (1 - p).log())
        return float(1 - F.binary_cross_entropy_with_logits(logits, targets) / entropy)

    return Case(model, x, x, F.binary_cross_entropy_with_logits, explained, 0.4, adam(3e-3), 180)


# --- a flow ----------------------------------------------------------------------------------------------------------


class Coupling(nn.Module):
    def __init__(self, flip: bool, width: int = 32) -> None:
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, x: torch.Tensor, logdet: torch.Tensor) -> Pair:
        a, b = x.chunk(2, 1)
        if self.flip:
            a, b = b, a
        s, t = self.net(a).chunk(2, 1)
        s = 2 * torch.tanh(s / 2)
        b = b * s.exp() + t
        return torch.cat([b, a] if self.flip else [a, b], 1), logdet + s[:, 0]


class RealNVP(nn.Module):
    def __init__(self, depth: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Coupling(i % 2 == 1) for i in range(depth))

    def forward(self, x: torch.Tensor) -> Pair:
        logdet = torch.zeros(len(x))
        for layer in self.layers:
            x, logdet = layer(x, logdet)
        return x, logdet


def likelihood(outputs: Pair, targets: torch.Tensor) -> torch.Tensor:
    z, logdet = outputs
    return (logdet - 0.5 * z.square().sum(1) - math.log(2 * math.pi)).mean()


@cache
def moons() -> Pair:
    x = torch.tensor(make_moons(1500, noise=0.06, random_state=0)[0], dtype=torch.float32)
    x = (x - x.mean(0)) / x.std(0)
    return x, x


def likelihood_score(outputs: Pair, targets: torch.Tensor) -> float:
    return float(likelihood(outputs, targets))


@healthy
def real_nvp_zero_couplings() -> Case:
    return Case(RealNVP(), *moons(), lambda o, t: -likelihood(o, t), likelihood_score, -2.2, adam(3e-3), 400)


@fault(
    "flipped-loss loss-diverged exploded-gradients gradient-spike update-too-large non-finite-values"
    " non-finite-gradients",
    when="training", twin=real_nvp_zero_couplings,
)  # fmt: skip
def real_nvp_minimizes_likelihood() -> Case:
    """The log-likelihood is what is minimized: its minus was lost."""
    return Case(RealNVP(), *moons(), likelihood, likelihood_score, -2.2, adam(3e-3), 400)


def turn_round(case: Case, code: str) -> bool:
    if code not in ("flipped-loss", "loss-diverged"):
        return False
    case.loss_fn = lambda o, t: -likelihood(o, t)
    return True


real_nvp_minimizes_likelihood = mended(real_nvp_minimizes_likelihood, turn_round)


# --- DenseNet with an ensemble of heads ------------------------------------------------------------------------------


class DenseLayer(nn.Sequential):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, growth, 3, padding=1, bias=False))


class DenseNet(nn.Module):
    def __init__(self, growth: int = 8, depth: int = 4, *, listed: bool = False, copied: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False)
        layers = [DenseLayer(8 + i * growth, growth) for i in range(depth)]
        self.layers = layers if listed else nn.ModuleList(layers)
        width = 8 + depth * growth
        self.transition = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 16, 1), nn.AvgPool2d(2))
        head = nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
        others = [
            copy.deepcopy(head) if copied else nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
            for _ in range(3)
        ]
        self.heads = nn.ModuleList([head, *others])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.stem(x)
        for layer in self.layers:
            features = torch.cat([features, layer(features)], 1)
        flat = self.transition(features).flatten(1)
        return torch.stack([head(flat) for head in self.heads]).mean(0)


def dense(model: nn.Module) -> Case:
    return Case(model, *data.pictures(), F.cross_entropy, optimizer=sgd(0.05), steps=200)


@healthy
def densenet_ensemble_of_heads() -> Case:
    return dense(DenseNet())


@fault("duplicated-draws symmetric-units", "heads heads.*", twin=densenet_ensemble_of_heads)
def densenet_heads_deep_copied() -> Case:
    """An ensemble of one head and its deep copies, averaged: they stay the same for ever."""
    return dense(DenseNet(copied=True))


@fault("unregistered-layer", "*", twin=densenet_ensemble_of_heads)
def densenet_layers_in_a_list() -> Case:
    """The dense layers are in a Python list."""
    return dense(DenseNet(listed=True))


def register(case: Case, code: str) -> bool:
    if code != "unregistered-layer":
        return False
    case.model.layers = nn.ModuleList(case.model.layers)
    return True


densenet_layers_in_a_list = mended(densenet_layers_in_a_list, register)


@fault(
    "zero-norm-scale dead-units no-gradient vanishing-forward rank-collapse",
    "layers.*.0 layers.*.0.weight layers.*.1 layers.*.2 layers.*.2.weight transition transition.*",
    twin=densenet_ensemble_of_heads,
)
def densenet_zero_scales_of_a_resnet() -> Case:
    """``zero_init_residual`` copied from a ResNet: in a concatenating network there is no addition to be silent in."""
    model = DenseNet()
    for module in [*model.layers, model.transition]:
        nn.init.zeros_(module[0].weight)
    return dense(model)


def scales_of_one(case: Case, code: str) -> bool:
    if code not in ("zero-norm-scale", "dead-units", "no-gradient", "vanishing-forward", "rank-collapse"):
        return False
    for module in [*case.model.layers, case.model.transition]:
        nn.init.ones_(module[0].weight)
    return True


densenet_zero_scales_of_a_resnet = mended(densenet_zero_scales_of_a_resnet, scales_of_one)


# --- depthwise separable convolutions without norms ------------------------------------------------------------------


def separable(mode: str, width: int = 32, depth: int = 5) -> Case:
    body: list[nn.Module] = []
    for _ in range(depth):
        body += [nn.Conv2d(width, width, 3, padding=1, groups=width), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU()]
    model = nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, padding=1),
        nn.ReLU(),
        *body,
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    )
    for module in model:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode if module.groups > 1 else "fan_in", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return Case(model, *data.pictures(), F.cross_entropy, optimizer=sgd(0.03), steps=250)


@healthy
def separable_without_norm() -> Case:
    return separable("fan_in")


@fault(
    "wrong-fan vanishing-forward vanishing-gradient wrong-gain",
    " ".join(f"{i} {i}.weight {i + 1}" for i in range(2, 22, 4)), twin=separable_without_norm,
)  # fmt: skip
def depthwise_scaled_by_fan_out() -> Case:
    """He's ``fan_out`` counts all channels of a depthwise kernel, which has one."""
    return separable("fan_out")


# --- faulty only in training -----------------------------------------------------------------------------------------


class NeverWarm(torch.optim.AdamW):
    """A linear warm-up of 100,000 steps: it was meant in samples."""

    def __init__(self, params: Any, lr: float, warm: int) -> None:
        super().__init__(params, lr, weight_decay=0.05)
        self.full, self.warm, self.taken = lr, warm, 0

    def step(self, closure: Any = None) -> Any:
        self.taken += 1
        for group in self.param_groups:
            group["lr"] = self.full * min(1.0, self.taken / self.warm)
        return super().step(closure)


@fault("update-too-small learning-rate-too-low loss-stuck trivial-plateau", when="training", twin=convnext_layer_scale)
def convnext_warmup_never_ends() -> Case:
    optimizer = lambda model: NeverWarm(model.parameters(), 4e-3, 100_000)  # noqa: E731
    return Case(ConvNeXt(), *data.pictures(), F.cross_entropy, optimizer=optimizer, steps=250)


def end_warmup(case: Case, code: str) -> bool:
    if code not in ("update-too-small", "learning-rate-too-low", "loss-stuck", "trivial-plateau"):
        return False
    case.optimizer = adamw(4e-3)
    return True


convnext_warmup_never_ends = mended(convnext_warmup_never_ends, end_warmup)


class Accumulating(torch.optim.SGD):
    """Gradients are kept for accumulation over steps, and nobody clears them."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        pass


@fault(
    "exploded-gradients loss-oscillating loss-rising loss-diverged gradient-spike update-too-large"
    " learning-rate-too-high trivial-plateau loss-stuck dying-units non-finite-values non-finite-gradients",
    when="training", twin=separable_without_norm,
)  # fmt: skip
def separable_never_clears_gradients() -> Case:
    case = separable("fan_in")
    case.optimizer = lambda model: Accumulating(model.parameters(), 0.03, 0.9)
    return case


def clear_gradients(case: Case, code: str) -> bool:
    case.optimizer = sgd(0.03)
    return True


separable_never_clears_gradients = mended(separable_never_clears_gradients, clear_gradients)


@fault(
    "dying-units learning-rate-too-high update-too-large trivial-plateau loss-stuck loss-rising loss-oscillating"
    " gradient-spike exploded-gradients vanished-gradients loss-diverged",
    when="training", twin=focal_detector_with_prior,
)  # fmt: skip
def detector_rate_of_another_optimizer() -> Case:
    """Adam with the rate of the paper's SGD, hundred times too high."""
    case = detector(Detector())
    case.optimizer = adam(0.3)
    return case


def lower_rate(case: Case, code: str) -> bool:
    case.optimizer = adam(3e-3)
    return True


detector_rate_of_another_optimizer = mended(detector_rate_of_another_optimizer, lower_rate)


@fault(
    "trivial-plateau loss-stuck vanished-gradients update-too-large dying-units", when="training",
    twin=fixup_resnet_zero_head,
)  # fmt: skip
def fixup_decayed_to_nothing() -> Case:
    """A decay of 0.5 where 5e-4 was meant: the weights are gone before they learn."""
    optimizer = lambda m: torch.optim.SGD(m.parameters(), 0.05, 0.9, weight_decay=0.5)  # noqa: E731
    return Case(Fixup(), *data.pictures(), F.cross_entropy, optimizer=optimizer, steps=250)


def decay_less(case: Case, code: str) -> bool:
    case.optimizer = sgd(0.05)
    return True


fixup_decayed_to_nothing = mended(fixup_decayed_to_nothing, decay_less)
