"""Programs of an author who has not seen how the library decides: pictures and sound."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .program import Case, accuracy, adam, fault, healthy, mended, r2, sgd

# ---------------------------------------------------------------- segmentation


class SegNet(nn.Module):
    """A small U-Net with group norms, logits per pixel; ``probabilities`` puts a sigmoid behind."""

    def __init__(self, width: int = 16, *, probabilities: bool = False) -> None:
        super().__init__()
        self.enter = self.double(1, width)
        self.deep = self.double(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.leave = self.double(2 * width, width)
        self.out = nn.Conv2d(width, 1, 1)
        self.probabilities = probabilities

    @staticmethod
    def double(a: int, b: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.GroupNorm(4, b), nn.SiLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.enter(x)
        b = self.deep(F.max_pool2d(a, 2))
        y = self.out(self.leave(torch.cat([a, self.up(b)], 1)))
        return y.sigmoid() if self.probabilities else y


def dice(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    p = logits.sigmoid().flatten(1)
    m = mask.flatten(1)
    return ((2 * (p * m).sum(1) + 1) / (p.sum(1) + m.sum(1) + 1)).mean()


def bce_dice(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, mask) + 1 - dice(logits, mask)


def iou(logits: torch.Tensor, mask: torch.Tensor) -> float:
    p, m = logits.sigmoid() > 0.5, mask > 0.5
    return float((p & m).sum() / (p | m).sum().clamp(min=1))


def strokes() -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy pictures of digits, and where their strokes are."""
    x, _ = data.pictures()
    g = torch.Generator().manual_seed(11)
    return (x + 0.5 * torch.randn(x.shape, generator=g)) / 1.12, (x > 0.5).float()


def segmentation(**more: Any) -> Case:
    x, y = strokes()
    case = Case(SegNet(), x, y, bce_dice, iou, 0.7, adam(3e-3), 150, 32)
    for name, value in more.items():
        setattr(case, name, value)
    return case


@healthy
def unet_groupnorm_bce_and_dice() -> Case:
    return segmentation()


@fault("double-softmax", twin=unet_groupnorm_bce_and_dice)
def mask_model_gives_probabilities_and_the_loss_squashes_them_again() -> Case:
    return segmentation(model=SegNet(probabilities=True))


def _logits(case: Case, code: str) -> bool:
    if code != "double-softmax":
        return False
    case.model.probabilities = False
    return True


mask_model_gives_probabilities_and_the_loss_squashes_them_again = mended(
    mask_model_gives_probabilities_and_the_loss_squashes_them_again, _logits
)


@fault("flipped-loss", twin=unet_groupnorm_bce_and_dice)
def dice_coefficient_returned_as_the_loss() -> Case:
    # went over to Dice alone, from a metrics package: the coefficient, which is to be maximized
    return segmentation(loss_fn=dice)


def _unflip(case: Case, code: str) -> bool:
    if code != "flipped-loss":
        return False
    old = case.loss_fn
    case.loss_fn = lambda outputs, targets: 1 - old(outputs, targets)
    return True


dice_coefficient_returned_as_the_loss = mended(dice_coefficient_returned_as_the_loss, _unflip)

# ---------------------------------------------------------------- detection by a heat map of centres


class CentreNet(nn.Module):
    def __init__(self, width: int = 16, prior: float = 0.01) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.heat = nn.Conv2d(width, 1, 1)
        nn.init.normal_(self.heat.weight, 0.0, 0.01)
        nn.init.constant_(self.heat.bias, -math.log((1 - prior) / prior))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.heat(self.body(x))[:, 0]


def centre_focal(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """CenterNet's penalty-reduced focal loss, per object."""
    p = logits.sigmoid()
    positive = (heat == 1).float()
    there = positive * (1 - p).square() * F.logsigmoid(logits)
    away = (1 - positive) * (1 - heat).pow(4) * p.square() * F.logsigmoid(-logits)
    return -(there + away).sum() / positive.sum().clamp(min=1)


def found(logits: torch.Tensor, heat: torch.Tensor) -> float:
    """The share of pictures whose peak is within a pixel's size and whose count at a threshold of 0.3 is right by 2."""
    peak = logits.flatten(1).argmax(1) == heat.flatten(1).argmax(1)
    few = (logits.flatten(1).sigmoid() > 0.3).sum(1) <= 3
    return float((peak & few).float().mean())


def blobs(n: int = 768, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(12)
    at = torch.randint(1, size - 1, (n, 2), generator=g)
    grid = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij"), -1)
    far = (grid[None] - at[:, None, None]).square().sum(-1).float()
    x = 2.5 * (far <= 1).float() + 0.6 * torch.randn(n, size, size, generator=g)
    return ((x - x.mean()) / x.std())[:, None], torch.exp(-far / 0.8)


def detection(model: nn.Module) -> Case:
    x, y = blobs()
    return Case(model, x, y, centre_focal, found, 0.85, adam(3e-3), 150, 32)


@healthy
def centre_detector_with_focal_prior() -> Case:
    return detection(CentreNet())


@fault("wrong-prior", "heat heat.bias", twin=centre_detector_with_focal_prior)
def focal_prior_with_its_sign_lost() -> Case:
    model = CentreNet()
    nn.init.constant_(model.heat.bias, math.log((1 - 0.01) / 0.01))
    return detection(model)


def _prior(case: Case, code: str) -> bool:
    if code != "wrong-prior":
        return False
    nn.init.constant_(case.model.heat.bias, -math.log((1 - 0.01) / 0.01))
    return True


focal_prior_with_its_sign_lost = mended(focal_prior_with_its_sign_lost, _prior)

# ---------------------------------------------------------------- audio


class PoolHead(nn.Module):
    """One head of attention over time."""

    def __init__(self, width: int, out: int, axis: int) -> None:
        super().__init__()
        self.score, self.value, self.axis = nn.Linear(width, 1), nn.Linear(width, out), axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.score(x).softmax(self.axis) * self.value(x)).sum(1)


class Listener(nn.Module):
    """Learned quadrature filters that start as a windowed Fourier basis, a convolution, attentive pooling."""

    def __init__(self, bands: int = 16, length: int = 32, *, eps: float = 1e-6, axis: int = 1) -> None:
        super().__init__()
        t = torch.arange(length) - length / 2 + 0.5
        f = torch.linspace(0.5, bands - 0.5, bands)[:, None] * math.pi / bands
        window = torch.hann_window(length, periodic=False) * math.sqrt(8 / length)
        self.real = nn.Parameter((torch.cos(f * t) * window)[:, None] / 2)
        self.imaginary = nn.Parameter((torch.sin(f * t) * window)[:, None] / 2)
        self.norm = nn.BatchNorm1d(bands)
        self.mix = nn.Conv1d(bands, 32, 3, padding=1)
        self.heads = nn.ModuleList([PoolHead(32, 8, axis) for _ in range(4)])
        self.out = nn.Linear(32, 6)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        re, im = F.conv1d(x, self.real, stride=16), F.conv1d(x, self.imaginary, stride=16)
        magnitude = torch.sqrt(re.square() + im.square() + self.eps)
        h = F.relu(self.mix(self.norm(torch.log1p(10 * magnitude)))).transpose(1, 2)
        return self.out(torch.cat([head(h) for head in self.heads], 1))


def calls(n: int = 1024, length: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """Chirps at three pitches, rising or falling, which end early: digital silence behind."""
    g = torch.Generator().manual_seed(13)
    y = torch.randint(6, (n,), generator=g)
    t = torch.arange(length) / length
    low = torch.tensor([0.12, 0.22, 0.34])[y % 3] * (1 + 0.1 * torch.randn(n, generator=g))
    slope = torch.where(y < 3, 0.12, -0.12)
    start = low - slope / 2
    phase = 2 * math.pi * length * (start[:, None] * t + slope[:, None] * t.square() / 2)
    x = 1.4 * torch.sin(phase + 6.28 * torch.rand(n, 1, generator=g)) + 0.5 * torch.randn(n, length, generator=g)
    end = torch.randint(160, 208, (n, 1), generator=g)
    return torch.where(torch.arange(length) < end, x, 0.0)[:, None], y


def audio(model: nn.Module) -> Case:
    x, y = calls()
    return Case(model, x, y, F.cross_entropy, accuracy, 0.85, adam(3e-3), 200, 32)


@healthy
def learned_filterbank_with_attentive_pooling() -> Case:
    return audio(Listener())


@fault("duplicated-draws", "heads heads.*", twin=learned_filterbank_with_attentive_pooling)
def pooling_heads_deepcopied_from_one() -> Case:
    model = Listener()
    head = PoolHead(32, 8, 1)
    model.heads = nn.ModuleList([copy.deepcopy(head) for _ in range(4)])
    return audio(model)


def _redraw_heads(case: Case, code: str) -> bool:
    if code != "duplicated-draws":
        return False
    for head in case.model.heads:
        head.score.reset_parameters()
        head.value.reset_parameters()
    return True


pooling_heads_deepcopied_from_one = mended(pooling_heads_deepcopied_from_one, _redraw_heads)


@fault("softmax-over-one no-gradient", "heads heads.*", twin=learned_filterbank_with_attentive_pooling)
def attentive_pooling_softmax_over_the_feature_axis() -> Case:
    return audio(Listener(axis=-1))


def _over_time(case: Case, code: str) -> bool:
    if code not in ("softmax-over-one", "no-gradient"):
        return False
    for head in case.model.heads:
        head.axis = 1
    return True


attentive_pooling_softmax_over_the_feature_axis = mended(attentive_pooling_softmax_over_the_feature_axis, _over_time)


@fault("non-finite-gradients", "real imaginary", twin=learned_filterbank_with_attentive_pooling)
def magnitude_of_digital_silence_without_eps() -> Case:
    return audio(Listener(eps=0.0))


def _eps(case: Case, code: str) -> bool:
    if code != "non-finite-gradients":
        return False
    case.model.eps = 1e-6
    return True


magnitude_of_digital_silence_without_eps = mended(magnitude_of_digital_silence_without_eps, _eps)

# ---------------------------------------------------------------- finite scalar quantization


class Fsq(nn.Module):
    """An autoencoder whose code is rounded to five levels; gradients pass straight through."""

    def __init__(self, code: int = 16, *, straight: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, code))
        self.decoder = nn.Sequential(nn.Linear(code, 64), nn.GELU(), nn.Linear(64, 64))
        self.straight = straight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = 2 * torch.tanh(self.encoder(x))
        q = torch.round(z)
        if self.straight:
            q = z + (q - z).detach()
        return self.decoder(q / 2)


def quantized(model: nn.Module) -> Case:
    x, _ = data.digits()
    return Case(model, x, x, F.mse_loss, r2, 0.55, adam(3e-3), 400, 64)


@healthy
def finite_scalar_quantization() -> Case:
    return quantized(Fsq())


@fault("no-gradient", "encoder encoder.*", twin=finite_scalar_quantization)
def rounding_without_a_straight_through_gradient() -> Case:
    return quantized(Fsq(straight=False))


def _straight(case: Case, code: str) -> bool:
    if code != "no-gradient":
        return False
    case.model.straight = True
    return True


rounding_without_a_straight_through_gradient = mended(rounding_without_a_straight_through_gradient, _straight)

# ---------------------------------------------------------------- a vision transformer with normed queries and keys


class QkBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        d = width // heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.q_norm, self.k_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.heads, self.scale = heads, d**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        logits = self.q_norm(q) @ self.k_norm(k).transpose(-2, -1) * self.scale
        x = x + self.proj((logits.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class QkVit(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2, *, placed: bool = True) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, stride=2)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.ModuleList([QkBlock(width, 2) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)
        self.placed = placed
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
        nn.init.trunc_normal_(self.head.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        if self.placed:
            x = x + self.positions
        else:
            x.add(self.positions)  # not in place: the sum is dropped
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def vit(model: nn.Module) -> Case:
    x, y = data.pictures()
    return Case(model, x, y, F.cross_entropy, accuracy, 0.82, adam(2e-3), 350, 32)


@healthy
def vit_with_query_and_key_norm() -> Case:
    return vit(QkVit())


@fault("unused-parameter no-gradient", "positions", twin=vit_with_query_and_key_norm)
def positions_added_out_of_place_and_dropped() -> Case:
    return vit(QkVit(placed=False))


def _place(case: Case, code: str) -> bool:
    if code not in ("unused-parameter", "no-gradient"):
        return False
    case.model.placed = True
    return True


positions_added_out_of_place_and_dropped = mended(positions_added_out_of_place_and_dropped, _place)


@fault("attention-collapse saturation", "blocks blocks.*", twin=vit_with_query_and_key_norm)
def normed_attention_multiplied_by_the_root_of_width() -> Case:
    # the port's source keeps the divisor in `scale`
    model = QkVit()
    for block in model.blocks:
        block.scale = 16**0.5
    return vit(model)


def _scale(case: Case, code: str) -> bool:
    if code not in ("attention-collapse", "saturation"):
        return False
    for block in case.model.blocks:
        block.scale = 16**-0.5
    return True


normed_attention_multiplied_by_the_root_of_width = mended(normed_attention_multiplied_by_the_root_of_width, _scale)


@fault(
    "constant-init symmetric-units",
    "blocks blocks.? blocks.*.up blocks.*.up.* blocks.*.down blocks.*.down.*",
    twin=vit_with_query_and_key_norm,
)
def vit_mlp_filled_by_constant_for_std() -> Case:
    model = QkVit()
    for block in model.blocks:
        for layer in (block.up, block.down):
            nn.init.constant_(layer.weight, 0.02)  # meant trunc_normal_(std=0.02)
    return vit(model)


@fault("frozen no-gradient", "patch patch.* positions blocks blocks.*", twin=vit_with_query_and_key_norm)
def linear_probe_recipe_without_a_checkpoint() -> Case:
    model = QkVit()
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith(("norm", "head")))
    case = vit(model)
    case.optimizer = adam(2e-3)
    return case


def _thaw(case: Case, code: str) -> bool:
    if code not in ("frozen", "no-gradient"):
        return False
    case.model.requires_grad_(True)
    return True


linear_probe_recipe_without_a_checkpoint = mended(linear_probe_recipe_without_a_checkpoint, _thaw)

# Depthwise convolutions, instance norm ahead of pooling


class InstanceNorm(nn.Module):
    """As ported: over a channel's own picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        x = centred * torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + 1e-5)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Separable(nn.Module):
    def __init__(self, width: int = 32, depth: int = 5, *, pool_first: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 1), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.norm, self.pool, self.head = InstanceNorm(width), nn.AdaptiveAvgPool2d(2), nn.Linear(4 * width, 10)
        self.pool_first = pool_first
        nets.he(self.body)
        if pool_first:
            self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)
        x = F.relu(self.norm(self.pool(x))) if self.pool_first else self.pool(F.relu(self.norm(x)))
        return self.head(x.flatten(1))


def separable(model: nn.Module) -> Case:
    x, y = data.pictures()
    return Case(model, x, y, F.cross_entropy, accuracy, 0.85, sgd(0.02), 250, 32)


@healthy
def depthwise_net_with_one_instance_norm() -> Case:
    return separable(Separable())


@fault(
    "wrong-fan vanishing-forward vanishing-gradient wrong-gain",
    "body body.2 body.2.* body.6 body.6.* body.10 body.10.* body.14 body.14.* body.18 body.18.* "
    "body.3 body.7 body.11 body.15 body.19",
    twin=depthwise_net_with_one_instance_norm,
)
def depthwise_fan_out_not_divided_by_groups() -> Case:
    # the well-known line of MobileNet's port; nothing normalizes behind these layers
    model = Separable()
    for m in model.body:
        if isinstance(m, nn.Conv2d):
            fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
            nn.init.normal_(m.weight, 0.0, math.sqrt(2 / fan_out))
    # the stem and the pointwise layers are as they should be
    nn.init.kaiming_normal_(model.body[0].weight, nonlinearity="relu")
    return separable(model)


@fault(
    "zero-norm-scale dead-units no-gradient vanishing-forward rank-collapse",
    "norm norm.weight",
    twin=depthwise_net_with_one_instance_norm,
)
def residual_zero_start_copied_to_a_net_without_residuals() -> Case:
    model = Separable()
    for m in model.modules():
        if isinstance(m, InstanceNorm):
            nn.init.zeros_(m.weight)
    return separable(model)


def _ones(case: Case, code: str) -> bool:
    nn.init.ones_(case.model.norm.weight)
    return True


residual_zero_start_copied_to_a_net_without_residuals = mended(
    residual_zero_start_copied_to_a_net_without_residuals, _ones
)


@fault(
    "rank-collapse vanishing-forward dead-units no-gradient vanishing-gradient",
    "norm norm.* pool",
    twin=depthwise_net_with_one_instance_norm,
)
def instance_norm_behind_global_pooling() -> Case:
    return separable(Separable(pool_first=True))


def _norm_first(case: Case, code: str) -> bool:
    # the norm ahead; behind an instance norm, the maximum says more than the mean
    case.model.pool_first, case.model.pool = False, nn.AdaptiveMaxPool2d(1)
    return True


instance_norm_behind_global_pooling = mended(instance_norm_behind_global_pooling, _norm_first)

# ---------------------------------------------------------------- faults that only training shows


@fault(
    "learning-rate-too-high update-too-large loss-oscillating loss-diverged loss-rising loss-stuck trivial-plateau "
    "gradient-spike exploded-gradients dying-units non-finite-values non-finite-gradients vanished-gradients",
    when="training",
    twin=vit_with_query_and_key_norm,
)
def adam_at_the_rate_of_sgd() -> Case:
    case = vit(QkVit())
    case.optimizer = adam(0.1)
    return case


@fault(
    "learning-rate-too-low update-too-small loss-stuck trivial-plateau",
    when="training",
    twin=vit_with_query_and_key_norm,
)
def warmup_counted_in_samples_of_a_large_run() -> Case:
    case = vit(QkVit())
    case.schedule = lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda s: min(1.0, (s + 1) / 500_000))
    return case


@fault(
    "loss-stuck trivial-plateau update-too-small vanished-gradients learning-rate-too-low dying-units",
    when="training",
    twin=unet_groupnorm_bce_and_dice,
)
def gradient_clipping_at_a_ten_thousandth() -> Case:
    return segmentation(optimizer=sgd(0.05), clip=1e-4)


@fault(
    "trivial-plateau loss-stuck vanished-gradients loss-rising dying-units update-too-large",
    when="training",
    twin=finite_scalar_quantization,
)
def weight_decay_of_adamw_a_thousandfold() -> Case:
    case = quantized(Fsq())
    case.optimizer = lambda model: torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=30.0)
    return case


@fault("over-fitting", when="training", twin=learned_filterbank_with_attentive_pooling)
def forty_recordings_by_heart() -> Case:
    case = audio(Listener())
    g = torch.Generator().manual_seed(14)
    held = (case.inputs[512:], case.targets[512:])
    case.inputs, case.targets = case.inputs[:40], case.targets[:40].clone()
    wrong = torch.rand(40, generator=g) < 0.4  # annotators in a hurry
    case.targets = torch.where(wrong, torch.randint(6, (40,), generator=g), case.targets)
    case.held_out, case.steps = held, 400
    return case


# ---------------------------------------------------------------- sound programs, many of an odd look


class SimSiam(nn.Module):
    """Projections and predictions of two views; no negatives, and a stopped gradient by design."""

    def __init__(self, width: int = 64, code: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(64, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, code, bias=False), nn.BatchNorm1d(code, affine=False),
        )  # fmt: skip
        self.predictor = nn.Sequential(nn.Linear(code, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, code))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        z1, z2 = self.encoder(views[:, 0]), self.encoder(views[:, 1])
        return torch.stack([self.predictor(z1), self.predictor(z2), z1.detach(), z2.detach()], 1)


def _neighbours(outputs: torch.Tensor, labels: torch.Tensor) -> float:
    z = F.normalize(outputs[:, 2], dim=1)
    near = z @ z.T - 2 * torch.eye(len(z))
    return float((labels[near.argmax(1)] == labels).float().mean())


@healthy
def simsiam_with_stop_gradient() -> Case:
    x, y = data.digits()
    g = torch.Generator().manual_seed(21)
    views = torch.stack([(x + 0.5 * torch.randn(x.shape, generator=g)) / 1.12 for _ in range(2)], 1)

    def loss(o: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return -0.5 * (F.cosine_similarity(o[:, 0], o[:, 3]) + F.cosine_similarity(o[:, 1], o[:, 2])).mean()

    return Case(SimSiam(), views, y, loss, _neighbours, 0.7, sgd(0.05), 200, 128)


def sincos(places: int, width: int) -> torch.Tensor:
    f = torch.exp(-math.log(100.0) * torch.arange(width // 2) / (width // 2))
    a = torch.arange(places)[:, None] * f
    return torch.cat([a.sin(), a.cos()], 1)[None]


class Masked(nn.Module):
    """A masked autoencoder of 16 patches: fixed positions, a mask token from zero, a loss on hidden patches."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Linear(4, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(sincos(16, width), requires_grad=False)
        self.blocks = nn.Sequential(*[nets.Block(width, 4, causal=False) for _ in range(2)])
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = F.unfold(x, 2, stride=2).transpose(1, 2)
        hidden = torch.rand(len(x), 16).argsort(1)[..., None] < 6
        h = torch.where(hidden, self.mask_token, self.embed(patches)) + self.positions
        return torch.cat([self.out(self.norm(self.blocks(h))), hidden.float()], 2)


@healthy
def masked_autoencoder_with_fixed_positions() -> Case:
    x, _ = data.pictures()
    patches = F.unfold(x, 2, stride=2).transpose(1, 2).contiguous()

    def loss(o: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        hidden = o[..., 4]
        return ((o[..., :4] - t).square().mean(-1) * hidden).sum() / hidden.sum()

    def score(o: torch.Tensor, t: torch.Tensor) -> float:
        hidden = o[..., 4] > 0
        return float(1 - (o[..., :4] - t)[hidden].square().mean() / (t - t.mean(0))[hidden].square().mean())

    return Case(Masked(), x, patches, loss, score, 0.2, adam(3e-3), 300, 64)


class DitBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.branch = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.modulate = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = self.modulate(F.silu(c)).chunk(3, 1)
        return x + gate * self.branch(self.norm(x) * (1 + scale) + shift)


class Denoiser(nn.Module):
    """A diffusion model's noise predictor: every branch's gate and the last layer start at zero."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.enter = nn.Linear(64, width)
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList([DitBlock(width) for _ in range(3)])
        self.out = nn.Linear(width, 64)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 5, 16)))

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        x, t = packed[:, :64], packed[:, 64:]
        a = t * self.frequencies
        c = self.time(torch.cat([a.sin(), a.cos()], 1))
        h = self.enter(x)
        for block in self.blocks:
            h = block(h, c)
        return self.out(h)


@healthy
def diffusion_with_gates_and_output_from_zero() -> Case:
    x, _ = data.digits()
    g = torch.Generator().manual_seed(22)
    t = torch.rand(len(x), 1, generator=g)
    noise = torch.randn(x.shape, generator=g)
    noisy = torch.cos(t * math.pi / 2) * x + torch.sin(t * math.pi / 2) * noise
    return Case(Denoiser(), torch.cat([noisy, t], 1), noise, F.mse_loss, r2, 0.45, adam(2e-3), 400, 64)


class Cosines(nn.Module):
    def __init__(self, code: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.PReLU(16),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.PReLU(32),
            nn.Flatten(), nn.Linear(512, code, bias=False), nn.BatchNorm1d(code),
        )  # fmt: skip
        self.centres = nn.Parameter(0.01 * torch.randn(10, code))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.body(x)) @ F.normalize(self.centres).T


@healthy
def additive_angular_margin_on_cosines() -> Case:
    x, y = data.pictures()

    def loss(cosines: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        angle = torch.acos(cosines.clamp(-1 + 1e-6, 1 - 1e-6))
        own = F.one_hot(labels, 10).bool()
        return F.cross_entropy(24 * torch.where(own, (angle + 0.4).cos(), cosines), labels)

    return Case(Cosines(), x, y, loss, accuracy, 0.85, sgd(0.05), 120, 64)


class TwoTowers(nn.Module):
    """Similarities of pictures (rows) and sounds (columns), behind a learned temperature from 1/0.07."""

    def __init__(self, code: int = 32) -> None:
        super().__init__()
        self.picture = nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.LayerNorm(96), nn.Linear(96, code, bias=False))
        self.sound = nn.Sequential(
            nn.Conv1d(1, 16, 5, stride=2, padding=2), nn.GELU(), nn.Flatten(), nn.LayerNorm(16 * 24),
            nn.Linear(16 * 24, code, bias=False),
        )  # fmt: skip
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        a = F.normalize(self.picture(packed[:, :64]), dim=-1)
        b = F.normalize(self.sound(packed[:, None, 64:]), dim=-1)
        return self.logit_scale.clamp(max=math.log(100)).exp() * a @ b.T


@healthy
def pictures_and_sounds_matched_by_contrast() -> Case:
    x, _ = data.digits()
    g = torch.Generator().manual_seed(23)
    sound = torch.tanh(x @ torch.randn(64, 48, generator=g) / 8) + 0.1 * torch.randn(len(x), 48, generator=g)
    index = torch.zeros(len(x), dtype=torch.long)  # the pairing is the target

    def loss(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        own = torch.arange(len(logits))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

    def score(logits: torch.Tensor, _: torch.Tensor) -> float:
        return float((logits.argmax(1) == torch.arange(len(logits))).float().mean())

    return Case(TwoTowers(), torch.cat([x, sound / sound.std()], 1), index, loss, score, 0.5, adam(2e-3), 300, 64)


class Gated(nn.Module):
    """A question's stream that looks at a picture through tanh gates which start shut."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(2, width)
        self.patch = nn.Linear(8, width)
        self.places = nn.Parameter(0.02 * torch.randn(1, 8, width))
        self.looks = nn.ModuleList([nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(2)])
        self.mlps = nn.ModuleList(
            [
                nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
                for _ in range(2)
            ]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
        self.gates = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 2)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        seen = self.patch(packed[:, :64].view(-1, 8, 8)) + self.places
        h = self.words(packed[:, 64:].long())
        for look, mlp, norm, gate in zip(self.looks, self.mlps, self.norms, self.gates, strict=True):
            h = h + torch.tanh(gate) * look(norm(h), seen, seen, need_weights=False)[0]
            h = h + mlp(h)
        return self.head(self.norm(h))[:, 0]


@healthy
def flamingo_gates_that_start_shut() -> Case:
    x, y = data.digits()
    g = torch.Generator().manual_seed(24)
    asks = torch.randint(2, (len(x), 1), generator=g)
    answer = torch.where(asks[:, 0] == 0, y % 2, (y >= 5).long())
    return Case(Gated(), torch.cat([x, asks.float()], 1), answer, F.cross_entropy, accuracy, 0.78, adam(3e-3), 350, 64)


class Transformer2d(nn.Module):
    """A spatial transformer: its localization starts as the identity, whatever is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.locate = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 32), nn.ReLU(),
        )  # fmt: skip
        self.theta = nn.Linear(32, 6)
        nn.init.zeros_(self.theta.weight)
        self.theta.bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 1.0, 0]))
        self.classify = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        theta = self.theta(self.locate(x)).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return self.classify(F.grid_sample(x, grid, padding_mode="border", align_corners=False))


@healthy
def spatial_transformer_from_the_identity() -> Case:
    x, y = data.pictures()
    g = torch.Generator().manual_seed(25)
    canvas = torch.full((len(x), 1, 12, 12), float(x.min()))
    for i, (a, b) in enumerate(torch.randint(5, (len(x), 2), generator=g).tolist()):
        canvas[i, :, a : a + 8, b : b + 8] = x[i]
    canvas = (canvas - canvas.mean()) / canvas.std()
    return Case(Transformer2d(), canvas, y, F.cross_entropy, accuracy, 0.8, adam(2e-3), 250, 64)


def icnr(weight: torch.Tensor, factor: int) -> None:
    """Sub-pixels of one pixel start alike, so that the first picture is free of checkerboards (Aitken et al. 2017)."""
    kernel = torch.empty(weight.shape[0] // factor**2, *weight.shape[1:])
    nn.init.kaiming_normal_(kernel, nonlinearity="linear")
    with torch.no_grad():
        weight.copy_(kernel.repeat_interleave(factor**2, 0))


@healthy
def sub_pixel_upscaling_with_icnr() -> Case:
    x, _ = data.pictures()
    small = F.avg_pool2d(x, 2)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(32, 32, 3, padding=1), nn.LeakyReLU(0.1),
        nn.Conv2d(32, 64, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(0.1), nn.Conv2d(16, 1, 3, padding=1),
    )  # fmt: skip
    nets.initialized(model, lambda w: nn.init.kaiming_normal_(w, 0.1, nonlinearity="leaky_relu"), nn.init.zeros_)
    icnr(model[4].weight, 2)
    nn.init.xavier_normal_(model[7].weight)
    return Case(model, small / small.std(), x, F.l1_loss, r2, 0.6, adam(3e-3), 300, 32)


class RandomFourier(nn.Module):
    """As in score-based models' code: a parameter which is never trained."""

    def __init__(self, inputs: int, features: int, scale: float) -> None:
        super().__init__()
        self.w = nn.Parameter(scale * torch.randn(inputs, features), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = 2 * math.pi * x @ self.w
        return torch.cat([a.sin(), a.cos()], -1)


@healthy
def picture_field_on_random_fourier_features() -> Case:
    side = torch.linspace(-1, 1, 32)
    at = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).view(-1, 2)
    at = at[torch.randperm(1024, generator=torch.Generator().manual_seed(26))]
    radius = at.norm(dim=1)
    colour = torch.stack([torch.sin(12 * radius), torch.cos(7 * at[:, 0]) * at[:, 1], (radius < 0.6).float()], 1)
    colour = (colour - colour.min()) / (colour.max() - colour.min())
    model = nn.Sequential(
        RandomFourier(2, 48, 1.5),
        nn.Linear(96, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 3),
        nn.Sigmoid(),
    )
    return Case(model, at, colour, F.mse_loss, r2, 0.85, adam(3e-3), 400, 128)


class Coupling(nn.Module):
    def __init__(self, flip: bool, width: int = 48) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)
        self.flip = flip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = (x[:, 1:], x[:, :1]) if self.flip else (x[:, :1], x[:, 1:])
        s, t = self.net(a).chunk(2, 1)
        s = 2 * torch.tanh(s)
        b = b * s.exp() + t
        return torch.cat([b, a] if self.flip else [a, b], 1), s[:, 0]


class Flow(nn.Module):
    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Coupling(bool(i % 2)) for i in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(x))
        for layer in self.layers:
            x, more = layer(x)
            total = total + more
        return torch.cat([x, total[:, None]], 1)


@healthy
def coupling_flow_from_the_identity() -> Case:
    g = torch.Generator().manual_seed(27)
    a = math.pi * torch.rand(1024, generator=g)
    upper = torch.rand(1024, generator=g) < 0.5
    x = torch.where(upper[:, None], torch.stack([a.cos(), a.sin()], 1), torch.stack([1 - a.cos(), 0.5 - a.sin()], 1))
    x = x + 0.08 * torch.randn(1024, 2, generator=g)
    x = (x - x.mean(0)) / x.std(0)

    def loss(o: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return (0.5 * o[:, :2].square().sum(1) + math.log(2 * math.pi) - o[:, 2]).mean()

    return Case(Flow(), x, x, loss, lambda o, t: -float(loss(o, t)), -2.2, adam(3e-3), 350, 128)


class FixupBlock(nn.Module):
    """Zhang et al. 2019: no norm; scalars about the convolutions, of which the last starts at zero."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.biases = nn.Parameter(torch.zeros(4))
        self.scale = nn.Parameter(torch.ones(1))
        nn.init.normal_(self.conv1.weight, 0.0, math.sqrt(2 / (9 * width)) * blocks**-0.5)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b = self.biases
        h = F.relu(self.conv1(x + b[0]) + b[1])
        return F.relu(x + self.scale * self.conv2(h + b[2]) + b[3])


@healthy
def fixup_resnet_with_a_head_from_zero() -> Case:
    x, y = data.pictures()
    head = nn.Linear(16 * 4, 10)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    stem = nn.Conv2d(1, 16, 3, padding=1)
    nn.init.kaiming_normal_(stem.weight, nonlinearity="relu")
    body = [FixupBlock(16, 4) for _ in range(4)]
    model = nn.Sequential(stem, nn.ReLU(), *body, nn.AvgPool2d(4), nn.Flatten(), head)
    return Case(model, x, y, F.cross_entropy, accuracy, 0.8, adam(3e-3), 250, 32)


@healthy
def hinge_critic_with_spectral_norm() -> Case:
    x, _ = data.pictures()
    g = torch.Generator().manual_seed(28)
    fake = x.flatten(1)[:, torch.randperm(64, generator=g)].view(-1, 1, 8, 8)
    real = torch.rand(len(x), 1, generator=g) < 0.5
    inputs = torch.where(real[..., None, None], x, fake) + 0.1 * torch.randn(x.shape, generator=g)
    normed = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(
        normed(nn.Conv2d(1, 16, 4, 2, 1)), nn.LeakyReLU(0.1), normed(nn.Conv2d(16, 32, 4, 2, 1)), nn.LeakyReLU(0.1),
        nn.Flatten(), normed(nn.Linear(128, 1)),
    )  # fmt: skip

    def hinge(o: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return F.relu(1 - o * t).mean()

    return Case(model, inputs, 2 * real.float() - 1, hinge, accuracy, 0.85, adam(2e-3), 200, 64)


class Sign(nn.Module):
    """The sign, with the gradient of hardtanh."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        soft = F.hardtanh(x)
        return soft + (torch.where(x >= 0, 1.0, -1.0) - soft).detach()


class BinaryConv(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = self.weight.abs().mean((1, 2, 3), keepdim=True).detach()
        hard = torch.where(self.weight >= 0, size, -size)
        soft = self.weight.clamp(-1, 1)
        return F.conv2d(x, soft + (hard - soft).detach(), padding=self.padding)


@healthy
def binary_convolutions_with_straight_through_signs() -> Case:
    x, y = data.pictures()
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32),
        Sign(), BinaryConv(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.MaxPool2d(2),
        Sign(), BinaryConv(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    return Case(model, x, y, F.cross_entropy, accuracy, 0.85, adam(2e-3), 200, 64)


class Transcriber(nn.Module):
    """Frames to logits of four symbols and the blank, which is the first."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.convs = nn.Sequential(nn.Conv1d(8, width, 3, padding=1), nn.ReLU())
        self.rnn = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(self.convs(self.norm(x.transpose(1, 2))).transpose(1, 2))[0])


@healthy
def ctc_transcriber_of_frames() -> Case:
    g = torch.Generator().manual_seed(29)
    n = 768
    sounds = 1.5 * torch.randn(5, 8, generator=g)
    sounds[0] = 0
    symbols = torch.randint(1, 5, (n, 3), generator=g)
    x = torch.zeros(n, 15, 8)
    for i in range(n):
        at = 0
        for s in symbols[i].tolist():
            at += int(torch.randint(1, 3, (1,), generator=g))
            last = at + int(torch.randint(2, 4, (1,), generator=g))
            x[i, at:last] = sounds[s]
            at = last
    x = x + 0.4 * torch.randn(x.shape, generator=g)

    def loss(o: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        lengths = torch.full((len(o),), 15), torch.full((len(o),), 3)
        return F.ctc_loss(o.log_softmax(-1).transpose(0, 1), t, *lengths)

    def score(o: torch.Tensor, t: torch.Tensor) -> float:
        right = 0
        for path, wanted in zip(o.argmax(-1), t, strict=True):
            right += [s for s in path.unique_consecutive().tolist() if s] == wanted.tolist()
        return right / len(o)

    return Case(Transcriber(), x, symbols, loss, score, 0.6, adam(5e-3), 250, 32)


# ---------------------------------------------------------------- repairs of the training's faults


def _own_rate(case: Case, code: str) -> bool:
    case.optimizer = adam(2e-3)
    return True


def _no_schedule(case: Case, code: str) -> bool:
    case.schedule = None
    return True


def _unclipped(case: Case, code: str) -> bool:
    case.clip, case.optimizer = None, adam(3e-3)
    return True


def _little_decay(case: Case, code: str) -> bool:
    case.optimizer = lambda model: torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.03)
    return True


def _all_recordings(case: Case, code: str) -> bool:
    x, y = calls()
    case.inputs, case.targets = x[:512], y[:512]
    return True


adam_at_the_rate_of_sgd = mended(adam_at_the_rate_of_sgd, _own_rate)
warmup_counted_in_samples_of_a_large_run = mended(warmup_counted_in_samples_of_a_large_run, _no_schedule)
gradient_clipping_at_a_ten_thousandth = mended(gradient_clipping_at_a_ten_thousandth, _unclipped)
weight_decay_of_adamw_a_thousandfold = mended(weight_decay_of_adamw_a_thousandfold, _little_decay)
forty_recordings_by_heart = mended(forty_recordings_by_heart, _all_recordings)
