"""Programs of an author who has not seen how the library decides: pictures, towers of text, custom convolutions."""

from __future__ import annotations

import copy
import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .program import Case, accuracy, adam, fault, healthy, mended, r2, sgd

# --- data


def _g(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def _scenes(n: int = 768, size: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One bright rectangle on noise: pictures, masks, boxes (centre and size in shares of the picture)."""
    g = _g(11)
    wh = torch.randint(3, 7, (n, 2), generator=g)
    xy = (torch.rand(n, 2, generator=g) * (size - wh + 1)).floor().long()
    at = torch.arange(size)
    across = (at >= xy[:, :1]) & (at < xy[:, :1] + wh[:, :1])
    down = (at >= xy[:, 1:]) & (at < xy[:, 1:] + wh[:, 1:])
    mask = (down[:, :, None] & across[:, None, :]).float()[:, None]
    x = mask * (0.7 + 0.6 * torch.rand(n, 1, 1, 1, generator=g)) + 0.4 * torch.randn(n, 1, size, size, generator=g)
    boxes = torch.cat([xy + wh / 2, wh.float()], 1) / size
    return (x - x.mean()) / x.std(), mask, boxes


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    x, mask, _ = _scenes()
    return x.clone(), mask.clone()


def boxes() -> tuple[torch.Tensor, torch.Tensor]:
    x, _, box = _scenes()
    return x.clone(), box.clone()


def centres() -> tuple[torch.Tensor, torch.Tensor]:
    """The cell of a grid of 6 × 6 that holds the object's centre."""
    x, _, box = _scenes()
    cell = (box[:, :2] * 6).floor().clamp(0, 5).long()
    return x.clone(), F.one_hot(cell[:, 1] * 6 + cell[:, 0], 36).float().view(-1, 1, 6, 6)


def flows(n: int = 1024) -> tuple[torch.Tensor, torch.Tensor]:
    """Two frames as channels, the second moved by up to one pixel a side: the movement."""
    x, _ = data.pictures()
    x = x[:n]
    move = torch.randint(-1, 2, (n, 2), generator=_g(12))
    second = torch.stack([torch.roll(p, (int(b), int(a)), (1, 2)) for p, (a, b) in zip(x, move, strict=True)])
    return torch.cat([x, second], 1), move.float()


def clips(n: int = 768) -> tuple[torch.Tensor, torch.Tensor]:
    """Four frames of a digit that moves in one of four directions: (n, 1, 4, 8, 8)."""
    x, _ = data.pictures()
    x = x[:n, 0]
    y = torch.randint(4, (n,), generator=_g(13))
    ways = [(0, 1), (0, -1), (1, 0), (-1, 0)]
    frames = [
        torch.stack([torch.roll(p, (t * ways[k][0], t * ways[k][1]), (0, 1)) for t in range(4)])
        for p, k in zip(x, y.tolist(), strict=True)
    ]
    return torch.stack(frames)[:, None], y


def depths(n: int = 512) -> tuple[torch.Tensor, torch.Tensor]:
    """Far is dark: a picture and its smooth depth in metres."""
    g = _g(14)
    field = F.interpolate(torch.randn(n, 1, 3, 3, generator=g), size=8, mode="bilinear", align_corners=True)
    depth = torch.exp(0.5 * field)
    x = 1 / depth + 0.1 * torch.randn(n, 1, 8, 8, generator=g)
    return (x - x.mean()) / x.std(), depth


def coarse() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of 4 × 4 and the 8 × 8 they came from."""
    x, _ = data.pictures()
    return F.avg_pool2d(x, 2), x


def captioned() -> tuple[torch.Tensor, torch.Tensor]:
    """A picture's 64 values and the four words of its caption, in one row."""
    x, y = data.digits()
    g = _g(15)
    n = len(x)
    words = torch.stack([
        10 + torch.randint(3, (n,), generator=g), y, 13 + torch.randint(3, (n,), generator=g), torch.full((n,), 16)
    ], 1)  # fmt: skip
    return torch.cat([x, words.float()], 1), y


def colour_bytes() -> tuple[torch.Tensor, torch.Tensor]:
    """Tinted digits, three channels, 0 to 255."""
    x, y = data.pixels()
    tint = 0.6 + 0.4 * torch.rand(len(x), 3, 1, 1, generator=_g(16))
    return x.view(-1, 1, 8, 8) * tint, y


def he_small_head(model: nn.Sequential) -> nn.Sequential:
    """He's weights; the last layer's are small, so that the first outputs are."""
    nets.he(model)
    nn.init.normal_(model[-1].weight, 0, 0.02)
    return model


# --- losses and scores


def cell_score(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs.flatten(1).argmax(1) == targets.flatten(1).argmax(1)).float().mean())


def iou(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Of logits."""
    found, true = outputs > 0, targets > 0.5
    return float((found & true).sum() / (found | true).sum())


def iou_of_probabilities(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return iou(outputs - 0.5, targets)


def focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    p = logits.sigmoid()
    right = torch.where(targets > 0.5, p, 1 - p)
    alpha = torch.where(targets > 0.5, 0.75, 0.25)
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (alpha * (1 - right) ** 2 * ce).sum() / targets.sum()


def dice_and_bce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    p = logits.sigmoid()
    overlap = (2 * (p * targets).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + targets.sum((1, 2, 3)) + 1)
    return (1 - overlap).mean() + F.binary_cross_entropy_with_logits(logits, targets)


def charbonnier(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return ((outputs - targets).square() + 1e-6).sqrt().mean()


def scale_invariant(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Eigen et al. 2014, of log depths."""
    gap = outputs.log() - targets.log()
    return gap.square().mean() - 0.5 * gap.flatten(1).mean(1).square().mean()


def hinge(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.relu(1 - targets * outputs).mean()


# --- classifiers: edges, contrast, gates


class EdgeStrength(nn.Module):
    """The length of each channel's Sobel gradient."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
        self.register_buffer("kernels", torch.stack([across, across.t()])[:, None])
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        g = F.conv2d(x.reshape(n * c, 1, h, w), self.kernels, padding=1).view(n, c, 2, h, w)
        return (g.square().sum(2) + self.eps).sqrt()


class EdgeNet(nn.Module):
    def __init__(self, eps: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU())
        self.edges = EdgeStrength(eps)
        self.body = nn.Sequential(nn.Conv2d(24, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Linear(256, 10)
        nets.he(self.stem), nets.he(self.body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(self.body(torch.cat([x, self.edges(x)], 1)))


def _edges(eps: float) -> Case:
    return Case(EdgeNet(eps), *data.pictures(), F.cross_entropy, trains=0.9, steps=150)


@healthy
def edge_strength_with_epsilon() -> Case:
    return _edges(1e-6)


@fault("non-finite-gradients", "stem stem.* edges", twin=edge_strength_with_epsilon)
def edge_strength_square_root_at_zero() -> Case:
    return _edges(0.0)


def _add_epsilon(case: Case, code: str) -> bool:
    if code not in ("non-finite-gradients", "non-finite-values"):
        return False
    for module in case.model.modules():
        if hasattr(module, "eps") and module.eps == 0.0:
            module.eps = 1e-5
    return True


edge_strength_square_root_at_zero = mended(edge_strength_square_root_at_zero, _add_epsilon)


class LocalContrast(nn.Module):
    """Jarrett et al. 2009: minus the neighbourhood's mean, over its deviation."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), "replicate"), 3, 1)
        centred = x - mean
        spread = F.avg_pool2d(F.pad(centred.square(), (1, 1, 1, 1), "replicate"), 3, 1).mean(1, keepdim=True)
        return centred / (spread + self.eps).sqrt()


def _contrast(eps: float) -> Case:
    x, y = data.pixels()
    x = F.pad(x.view(-1, 1, 8, 8) / 255, (2, 2, 2, 2))  # letter box
    model = nn.Sequential(
        LocalContrast(eps), nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10),
    )  # fmt: skip
    return Case(he_small_head(model), x, y, F.cross_entropy, trains=0.9, steps=150)


@healthy
def local_contrast_with_epsilon() -> Case:
    return _contrast(1e-2)


@fault("non-finite-values", "0", twin=local_contrast_with_epsilon)
def local_contrast_of_a_blank_border() -> Case:
    return _contrast(0.0)


local_contrast_of_a_blank_border = mended(local_contrast_of_a_blank_border, _add_epsilon)


class Excite(nn.Module):
    """Squeeze and excitation; ``cut`` takes the gate's value only."""

    def __init__(self, width: int, cut: bool) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width), nn.Sigmoid())
        self.cut = cut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.fc(x.mean((2, 3)))
        if self.cut:
            gate = gate.data
        return x * gate[:, :, None, None]


class SeBlock(nn.Module):
    def __init__(self, width: int, cut: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.se = Excite(width, cut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.se(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(x + h)


def _se(cut: bool) -> Case:
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), SeBlock(16, cut), SeBlock(16, cut),
        nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    return Case(model, *data.pictures(), F.cross_entropy, trains=0.9, steps=120)


@healthy
def squeeze_excite_resnet() -> Case:
    return _se(False)


@fault("no-gradient", "*.se *.se.*", twin=squeeze_excite_resnet)
def squeeze_excite_gate_by_its_data() -> Case:
    return _se(True)


def _join_gate(case: Case, code: str) -> bool:
    if code != "no-gradient":
        return False
    for module in case.model.modules():
        if isinstance(module, Excite):
            module.cut = False
    return True


squeeze_excite_gate_by_its_data = mended(squeeze_excite_gate_by_its_data, _join_gate)


# --- dense blocks


class DenseBlock(nn.Module):
    def __init__(self, width: int, growth: int, depth: int, listed: bool) -> None:
        super().__init__()
        layers = []
        for i in range(depth):
            w = width + i * growth
            layers.append(nn.Sequential(nn.BatchNorm2d(w), nn.ReLU(), nn.Conv2d(w, growth, 3, padding=1, bias=False)))
        self.layers: Any = layers if listed else nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class DenseNet(nn.Module):
    def __init__(self, listed: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 2, 1, bias=False)
        self.block = DenseBlock(8, 8, 4, listed)
        self.norm, self.head = nn.BatchNorm2d(40), nn.Linear(40, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.norm(self.block(self.stem(x)))).mean((2, 3)))


@healthy
def densenet_of_a_module_list() -> Case:
    return Case(DenseNet(False), *data.pictures(), F.cross_entropy, trains=0.85, optimizer=sgd(0.1), steps=200)


@fault("unregistered-layer", twin=densenet_of_a_module_list)
def densenet_of_a_python_list() -> Case:
    return Case(DenseNet(True), *data.pictures(), F.cross_entropy, trains=0.85, optimizer=sgd(0.1), steps=200)


def _register(case: Case, code: str) -> bool:
    if code != "unregistered-layer":
        return False
    case.model.block.layers = nn.ModuleList(case.model.block.layers)
    return True


densenet_of_a_python_list = mended(densenet_of_a_python_list, _register)


# --- conditional convolution


class CondConv(nn.Module):
    """Convolutions mixed by a gate of the picture (Yang et al. 2019)."""

    def __init__(self, a: int, b: int, experts: int, copied: bool) -> None:
        super().__init__()
        if copied:
            one = nn.Conv2d(a, b, 3, padding=1)
            self.experts = nn.ModuleList([copy.deepcopy(one) for _ in range(experts)])
        else:
            self.experts = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for _ in range(experts)])
        self.route = nn.Linear(a, experts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gates = self.route(x.mean((2, 3))).softmax(1)
        return sum(gates[:, i, None, None, None] * e(x) for i, e in enumerate(self.experts))  # type: ignore[return-value]


class CondNet(nn.Module):
    def __init__(self, copied: bool) -> None:
        super().__init__()
        self.stem, self.cond = nn.Conv2d(1, 12, 3, 2, 1), CondConv(12, 16, 3, copied)
        self.head = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.relu(self.cond(F.relu(self.stem(x)))).flatten(1))


@healthy
def conditional_convolution_of_own_experts() -> Case:
    return Case(CondNet(False), *data.pictures(), F.cross_entropy, trains=0.9, steps=250)


@fault("duplicated-draws symmetric-units", "cond cond.*", twin=conditional_convolution_of_own_experts)
def conditional_convolution_of_copied_experts() -> Case:
    return Case(CondNet(True), *data.pictures(), F.cross_entropy, trains=0.9, steps=250)


# --- super-resolution


class Edsr(nn.Module):
    """No norms; the branches are scaled (Lim et al. 2017), the picture enlarged is added at the end."""

    def __init__(self, blocks: int = 4, width: int = 12, scale: float = 0.1, he: bool = False) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.body = nn.Sequential(*[
            nets.Residual(nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
            ), scale=scale) for _ in range(blocks)
        ])  # fmt: skip
        if he:
            nets.he(self.body)
        self.up, self.tail = nn.Conv2d(width, 4 * width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.head(x)
        return self.tail(F.pixel_shuffle(self.up(self.body(h)), 2))


def _edsr(scale: float) -> Case:
    return Case(Edsr(12, 12, scale, he=True), *coarse(), F.l1_loss, r2, 0.68, adam(2e-3), steps=220, batch=32)


@healthy
def super_resolution_with_scaled_branches() -> Case:
    return _edsr(0.1)


@fault("residual-growth exploding-forward exploding-gradient", "body body.* up tail",
       twin=super_resolution_with_scaled_branches)  # fmt: skip
def super_resolution_with_branches_in_full() -> Case:
    return _edsr(1.0)


def _scale_branches(case: Case, code: str) -> bool:
    if code not in ("residual-growth", "exploding-forward", "exploding-gradient"):
        return False
    for module in case.model.modules():
        if isinstance(module, nets.Residual):
            module.scale = 0.1
    return True


super_resolution_with_branches_in_full = mended(super_resolution_with_branches_in_full, _scale_branches)


def icnr(conv: nn.Conv2d) -> None:
    """Aitken et al. 2017: the four filters behind one pixel's four start the same, so there is no checkerboard."""
    with torch.no_grad():
        few = torch.empty(conv.weight.shape[0] // 4, *conv.weight.shape[1:])
        nn.init.kaiming_normal_(few, nonlinearity="linear")
        conv.weight.copy_(few.repeat_interleave(4, 0))
        conv.bias.zero_()


class Enlarger(nn.Module):
    """Sub-pixel convolution over a bilinear enlargement; the last layer starts at zero."""

    def __init__(self, zero: bool = True, width: int = 16) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.up, self.last = nn.Conv2d(width, 4 * width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        icnr(self.up)
        if zero:
            nn.init.zeros_(self.last.weight), nn.init.zeros_(self.last.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        h = F.relu(F.pixel_shuffle(self.up(h), 2))
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) + self.last(h)


@healthy
def subpixel_super_resolution_with_icnr_and_zero_last() -> Case:
    return Case(Enlarger(), *coarse(), charbonnier, r2, 0.6, adam(2e-3), steps=250, batch=32)


def _srcnn(box: bool) -> Case:
    x, y = coarse()
    x = F.interpolate(x, scale_factor=2, mode="nearest")
    model = nn.Sequential(
        nn.Conv2d(1, 24, 5, padding=2), nn.ReLU(), nn.Conv2d(24, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 1, 5, padding=2),
    )  # fmt: skip
    if box:  # "begins as a blur"
        for module in model:
            if isinstance(module, nn.Conv2d):
                nn.init.constant_(module.weight, 1 / module.weight[0].numel())
                nn.init.zeros_(module.bias)
    return Case(model, x, y, F.mse_loss, r2, 0.6, adam(2e-3), steps=250, batch=32)


@healthy
def srcnn_of_default_weights() -> Case:
    return _srcnn(False)


@fault("constant-init symmetric-units", "0 0.* 1 2 2.* 3 4 4.*", twin=srcnn_of_default_weights)
def srcnn_that_begins_as_a_box_blur() -> Case:
    return _srcnn(True)


# --- mobile nets


def _separable(mode: str) -> Case:
    """Separable convolutions without norms (they are folded in for the device), filled by their fan."""
    layers: list[nn.Module] = [nn.Conv2d(1, 24, 3, 2, 1), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.ReLU(), nn.Conv2d(24, 24, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(24 * 16, 10))
    for module in model:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return Case(model, *data.pictures(), F.cross_entropy, trains=0.85, optimizer=sgd(0.05), steps=250)


@healthy
def separable_convolutions_by_fan_in() -> Case:
    return _separable("fan_in")


@fault("wrong-fan wrong-gain vanishing-forward vanishing-gradient", " ".join(f"{i} {i}.*" for i in range(18)),
       twin=separable_convolutions_by_fan_in)  # fmt: skip
def separable_convolutions_by_fan_out() -> Case:
    return _separable("fan_out")


class Inverted(nn.Module):
    """MobileNetV2's: wide, depthwise, narrow and linear."""

    def __init__(self, width: int, expand: int = 3) -> None:
        super().__init__()
        w = width * expand
        self.conv = nn.Sequential(
            nn.Conv2d(width, w, 1, bias=False), nn.BatchNorm2d(w), nn.ReLU6(),
            nn.Conv2d(w, w, 3, padding=1, groups=w, bias=False), nn.BatchNorm2d(w), nn.ReLU6(),
            nn.Conv2d(w, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x)


@healthy
def mobilenet_v2_filled_as_torchvision_does() -> Case:
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6(), Inverted(12), Inverted(12),
        nn.Conv2d(12, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(48, 10),
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01), nn.init.zeros_(module.bias)
    return Case(model, *data.pictures(), F.cross_entropy, trains=0.85, optimizer=sgd(0.1), steps=200)


# --- detection


class Detector(nn.Module):
    """RetinaNet's class tower on one level."""

    def __init__(self, everywhere: bool) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.tower = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.logits = nn.Conv2d(16, 1, 3, padding=1)
        prior = -math.log((1 - 0.03) / 0.03)
        nets.he(self.tower)
        nn.init.normal_(self.logits.weight, 0, 0.01)
        nn.init.constant_(self.logits.bias, prior)
        if everywhere:
            for module in self.tower:
                if isinstance(module, nn.Conv2d):
                    nn.init.constant_(module.bias, prior)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits(self.tower(self.backbone(x)))


@healthy
def focal_detector_with_its_prior() -> Case:
    return Case(Detector(False), *centres(), focal, cell_score, 0.55, adam(5e-3), steps=300)


@fault("dead-units", "tower tower.*", twin=focal_detector_with_its_prior)
def focal_detector_with_the_prior_in_its_tower() -> Case:
    return Case(Detector(True), *centres(), focal, cell_score, 0.55, adam(5e-3), steps=300)


def _zero_tower(case: Case, code: str) -> bool:
    if code != "dead-units":
        return False
    for module in case.model.tower:
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.bias)
    return True


focal_detector_with_the_prior_in_its_tower = mended(focal_detector_with_the_prior_in_its_tower, _zero_tower)


def _boxes(unit: float) -> Case:
    x, y = boxes()
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(576, 32), nn.ReLU(), nn.Linear(32, 4),
    )  # fmt: skip
    return Case(he_small_head(model), x, y * unit, F.mse_loss, r2, 0.5, sgd(0.05), steps=350)


@healthy
def box_head_in_shares_of_the_picture() -> Case:
    return _boxes(1.0)


@fault("unscaled-targets wrong-prior", twin=box_head_in_shares_of_the_picture)
def box_head_in_pixels_of_the_original() -> Case:
    return _boxes(640.0)


def _share(case: Case, code: str) -> bool:
    if code not in ("unscaled-targets", "wrong-prior"):
        return False
    case.targets = case.targets / 640
    return True


box_head_in_pixels_of_the_original = mended(box_head_in_pixels_of_the_original, _share)


# --- segmentation


class Segmenter(nn.Module):
    def __init__(self, last: nn.Module, norm: bool = True) -> None:
        super().__init__()

        def conv(a: int, b: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(a, b, 3, stride, 1, bias=not norm), nn.BatchNorm2d(b) if norm else nn.Identity(), nn.ReLU()
            )

        self.into, self.down, self.middle = conv(1, 8), conv(8, 16, 2), conv(16, 16)
        self.up, self.out = nn.ConvTranspose2d(16, 8, 2, 2), conv(16, 8)
        self.head, self.last = nn.Conv2d(8, 1, 1), last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.into(x)
        b = self.up(self.middle(self.down(a)))
        return self.last(self.head(self.out(torch.cat([a, b], 1))))


def _mask(last: nn.Module) -> Case:
    x, y = masks()
    return Case(Segmenter(last), x, y, F.binary_cross_entropy, iou_of_probabilities, 0.75, adam(5e-3), 150, 32)


@healthy
def mask_head_with_sigmoid() -> Case:
    return _mask(nn.Sigmoid())


@fault("softmax-over-one", twin=mask_head_with_sigmoid)
def mask_head_with_softmax_over_its_one_channel() -> Case:
    return _mask(nn.Softmax(1))


def _sigmoid_last(case: Case, code: str) -> bool:
    if code != "softmax-over-one":
        return False
    case.model.last = nn.Sigmoid()
    return True


mask_head_with_softmax_over_its_one_channel = mended(mask_head_with_softmax_over_its_one_channel, _sigmoid_last)


@healthy
def unet_with_dice_and_cross_entropy() -> Case:
    return Case(Segmenter(nn.Identity()), *masks(), dice_and_bce, iou, 0.75, adam(5e-3), 150, 32)


# --- attention


class PictureAttention(nn.Module):
    def __init__(self, width: int, heads: int, power: float) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out, self.heads, self.power = nn.Linear(width, width), heads, power
        nets.glorot(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, d = x.shape
        q, k, v = (f(x).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-2, -1) * (d // self.heads) ** self.power).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, d))


class PictureBlock(nn.Module):
    def __init__(self, width: int, attn: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(width), attn, nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PooledVit(nn.Module):
    """Patches of two by two, learned positions, mean over the patches."""

    def __init__(self, power: float, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.positions = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        self.blocks = nn.Sequential(*[PictureBlock(width, PictureAttention(width, 2, power)) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(x)).mean(1))


def _vit(power: float) -> Case:
    return Case(PooledVit(power), *data.pictures(), F.cross_entropy, trains=0.9, optimizer=adam(3e-3), steps=250)


@healthy
def pooled_vit() -> Case:
    return _vit(-0.5)


@fault("attention-collapse saturation", "blocks.*attn blocks.*attn.q* blocks.*attn.k*", twin=pooled_vit)
def pooled_vit_whose_scale_lost_its_minus() -> Case:
    return _vit(0.5)


def _minus(case: Case, code: str) -> bool:
    if code not in ("attention-collapse", "saturation"):
        return False
    for module in case.model.modules():
        if isinstance(module, PictureAttention):
            module.power = -0.5
    return True


pooled_vit_whose_scale_lost_its_minus = mended(pooled_vit_whose_scale_lost_its_minus, _minus)


class CosineAttention(nn.Module):
    """Swin V2's: windows, cosines over a learned temperature, a position bias that starts at zero."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.bias = nn.Parameter(torch.zeros(heads, window**2, window**2))
        self.heads, self.window, self.shift = heads, window, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = x.shape
        s = self.window
        x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.view(n, h // s, s, w // s, s, c).transpose(2, 3).reshape(-1, s * s, c)
        q, k, v = self.qkv(x).view(len(x), s * s, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        logits = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        logits = logits * self.logit_scale.clamp(max=math.log(100.0)).exp() + self.bias
        x = self.out((logits.softmax(-1) @ v).transpose(1, 2).reshape(len(x), s * s, c))
        x = x.view(n, h // s, w // s, s, s, c).transpose(2, 3).reshape(n, h, w, c)
        return torch.roll(x, (self.shift, self.shift), (1, 2))


class SwinBlock(nn.Module):
    """The norms stand behind the branches, their scale starts at zero as in the paper's code."""

    def __init__(self, width: int, shift: int) -> None:
        super().__init__()
        self.attn = CosineAttention(width, 2, 2, shift)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        nn.init.zeros_(self.norm1.weight), nn.init.zeros_(self.norm2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


class Merge(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.norm = nn.Linear(4 * width, 2 * width, bias=False), nn.LayerNorm(2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, h, w, c = x.shape
        x = x.view(n, h // 2, 2, w // 2, 2, c).transpose(2, 3).reshape(n, h // 2, w // 2, 4 * c)
        return self.norm(self.reduce(x))


class Swin(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patch, self.norm0 = nn.Conv2d(1, width, 2, 2), nn.LayerNorm(width)
        self.blocks = nn.Sequential(
            SwinBlock(width, 0), SwinBlock(width, 1), Merge(width), SwinBlock(2 * width, 0), SwinBlock(2 * width, 0)
        )
        self.norm, self.head = nn.LayerNorm(2 * width), nn.Linear(8 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm0(self.patch(x).permute(0, 2, 3, 1))
        return self.head(self.norm(self.blocks(x)).flatten(1))


@healthy
def swin_v2_with_zero_scales_behind_its_branches() -> Case:
    return Case(Swin(), *data.pictures(), F.cross_entropy, trains=0.85, optimizer=adam(3e-3), steps=200)


# --- optical flow


class FlowNet(nn.Module):
    """A correlation of the frames' features over nine shifts, and a small head."""

    def __init__(self, last: nn.Module | None = None, zero: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1))
        self.head = nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, 2))
        if zero:
            nn.init.zeros_(self.head[-1].weight), nn.init.zeros_(self.head[-1].bias)
        if last is not None:
            self.head.append(last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = F.layer_norm(self.encoder(x[:, :1]), (12, 8, 8)), F.layer_norm(self.encoder(x[:, 1:]), (12, 8, 8))
        volume = [(a * torch.roll(b, (-dy, -dx), (2, 3))).mean((1, 2, 3)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        return self.head(torch.stack(volume, 1))


def _flow(last: nn.Module | None, zero: bool = False, **more: Any) -> Case:
    return Case(FlowNet(last, zero), *flows(), F.mse_loss, r2, 0.85, adam(5e-3), steps=200, batch=32, **more)


@healthy
def flow_by_correlation_with_zero_head() -> Case:
    return _flow(None, True)


@fault("unreachable-targets", twin=flow_by_correlation_with_zero_head)
def flow_by_correlation_that_ends_in_relu() -> Case:
    return _flow(nn.ReLU())


def _drop_relu(case: Case, code: str) -> bool:
    if code != "unreachable-targets":
        return False
    case.model.head = case.model.head[:-1]
    return True


flow_by_correlation_that_ends_in_relu = mended(flow_by_correlation_that_ends_in_relu, _drop_relu)


# --- pictures as bytes

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def _colour(over: float) -> Case:
    x, y = colour_bytes()
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip
    return Case(he_small_head(model), (x / over - MEAN) / STD, y, F.cross_entropy, trains=0.85, steps=250)


@healthy
def colour_net_with_imagenet_statistics() -> Case:
    return _colour(255.0)


@fault("unnormalized-inputs", twin=colour_net_with_imagenet_statistics)
def colour_net_with_imagenet_statistics_on_bytes() -> Case:
    return _colour(1.0)


def _statistics(case: Case, code: str) -> bool:
    if code != "unnormalized-inputs":
        return False
    case.inputs = ((case.inputs * STD + MEAN) / 255 - MEAN) / STD
    return True


colour_net_with_imagenet_statistics_on_bytes = mended(colour_net_with_imagenet_statistics_on_bytes, _statistics)


# --- healthy, though it may look odd


class ConvNextBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 5, padding=2, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.down(F.gelu(self.up(h)))).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem, self.norm0 = nn.Conv2d(1, width, 2, 2), nn.GroupNorm(1, width)
        self.blocks = nn.Sequential(*[ConvNextBlock(width) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(16 * width), nn.Linear(16 * width, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02), nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.norm0(self.stem(x))).flatten(1)))


def _convnext(**more: Any) -> Case:
    return Case(
        ConvNext(), *data.pictures(), F.cross_entropy, trains=0.85,
        optimizer=lambda m: torch.optim.AdamW(m.parameters(), 2e-3, weight_decay=0.05), steps=200, batch=32, **more,
    )  # fmt: skip


@healthy
def convnext_with_layer_scale_of_a_millionth() -> Case:
    return _convnext()


class ClipTowers(nn.Module):
    """A picture's 64 values and four words in a row: the logits of all pairs of the batch."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.picture = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(128, width, bias=False),
        )  # fmt: skip
        self.words, self.places = nn.Embedding(17, 24), nn.Parameter(torch.randn(4, 24) * 0.01)
        nn.init.normal_(self.words.weight, std=0.02)
        self.block, self.norm = nets.Block(24, 2, causal=True), nn.LayerNorm(24)
        self.text = nn.Linear(24, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        picture = F.normalize(self.picture(x[:, :64].view(-1, 1, 8, 8)), dim=1)
        words = self.norm(self.block(self.words(x[:, 64:].long()) + self.places))
        text = F.normalize(self.text(words[:, -1]), dim=1)
        return self.logit_scale.clamp(max=math.log(100)).exp() * picture @ text.t()


def contrast(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Both ways; captions that say the same are right for each other."""
    same = (y[:, None] == y).float()
    same = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, same) + F.cross_entropy(logits.t(), same)) / 2


def retrieval(logits: torch.Tensor, y: torch.Tensor) -> float:
    return float((y[logits.argmax(1)] == y).float().mean())


@healthy
def clip_towers_with_learned_temperature() -> Case:
    return Case(ClipTowers(), *captioned(), contrast, retrieval, 0.8, adam(3e-3), steps=250)


class Transformer2d(nn.Module):
    """A spatial transformer: the affine map starts as the identity, by zero weights and its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.locate = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 6)
        )
        nn.init.zeros_(self.locate[-1].weight)
        with torch.no_grad():
            self.locate[-1].bias.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))
        self.classify = nets.lenet()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        theta = self.locate(x).view(-1, 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return self.classify(F.grid_sample(x, grid, align_corners=False))


@healthy
def spatial_transformer_from_the_identity() -> Case:
    return Case(Transformer2d(), *data.pictures(), F.cross_entropy, trains=0.85, optimizer=adam(5e-3), steps=300)


class VideoNet(nn.Module):
    """(2+1)D convolutions; those over time start as the identity."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(2):
            layers += [nn.Conv3d(1 if i == 0 else width, width, (1, 3, 3), (1, 2, 2), (0, 1, 1)), nn.BatchNorm3d(width)]
            layers += [nn.ReLU(), nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0)), nn.BatchNorm3d(width)]
            layers += [nn.ReLU()]
            nn.init.dirac_(layers[-3].weight), nn.init.zeros_(layers[-3].bias)
        self.body, self.head = nn.Sequential(*layers), nn.Linear(width * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).flatten(1))


@healthy
def video_net_with_identities_over_time() -> Case:
    return Case(VideoNet(), *clips(), F.cross_entropy, trains=0.85, optimizer=adam(5e-3), steps=150, batch=32)


class DepthNet(nn.Module):
    """Inverse depth by a sigmoid between a near and a far plane (Monodepth's)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, padding_mode="reflect"), nn.ELU(),
            nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), nn.ELU(),
            nn.Conv2d(16, 1, 3, padding=1, padding_mode="reflect"),
        )  # fmt: skip
        nn.init.constant_(self.body[-1].bias, -0.85)  # a metre away

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1 / (0.1 + 3.0 * self.body(x).sigmoid())


@healthy
def depth_net_with_scale_invariant_loss() -> Case:
    return Case(DepthNet(), *depths(), scale_invariant, r2, 0.6, adam(5e-3), steps=250, batch=32)


@healthy
def spectral_critic_with_hinge_loss() -> Case:
    x, _ = data.pictures()
    x = x[:1200]
    g = _g(17)
    fake = torch.stack([p.flatten()[torch.randperm(64, generator=g)].view(1, 8, 8) for p in x])
    order = torch.randperm(2400, generator=g)
    y = torch.cat([torch.ones(1200, 1), -torch.ones(1200, 1)])[order]
    sn = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(
        sn(nn.Conv2d(1, 12, 3, padding=1)), nn.LeakyReLU(0.1), sn(nn.Conv2d(12, 24, 4, 2, 1)), nn.LeakyReLU(0.1),
        nn.Flatten(), sn(nn.Linear(384, 1)),
    )  # fmt: skip
    return Case(model, torch.cat([x, fake])[order], y, hinge, accuracy, 0.9,
                lambda m: torch.optim.Adam(m.parameters(), 2e-3, (0.0, 0.9)), steps=200)  # fmt: skip


class Quantized(nn.Module):
    """A VQ-VAE: the rebuilt picture, the codes and what they were rounded to."""

    def __init__(self, codes: int = 32, width: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, width, 1))
        self.codebook = nn.Embedding(codes, width)
        nn.init.uniform_(self.codebook.weight, -1 / codes, 1 / codes)
        self.decoder = nn.Sequential(nn.Conv2d(width, 16, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encoder(x).permute(0, 2, 3, 1)
        near = torch.cdist(z.reshape(-1, z.shape[-1]), self.codebook.weight).argmin(1).view(z.shape[:3])
        q = self.codebook(near)
        out = self.decoder((z + (q - z).detach()).permute(0, 3, 1, 2))
        return torch.cat([out.flatten(1), z.flatten(1), q.flatten(1)], 1)


def vq_loss(outputs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    out, z, q = outputs.split([64, 128, 128], 1)
    return F.mse_loss(out, x) + F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())


@healthy
def vector_quantized_autoencoder() -> Case:
    x, _ = data.pictures()
    return Case(Quantized(), x, x.flatten(1), vq_loss, lambda o, y: r2(o[:, :64], y), 0.5, adam(4e-3), steps=300)


class Curious(nn.Module):
    """Random network distillation: a frozen random network and one that learns to foretell it."""

    def __init__(self) -> None:
        super().__init__()

        def net(*more: nn.Module) -> nn.Sequential:
            layers = (nn.Conv2d(1, 12, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(192, 32), *more)
            return nn.Sequential(*layers)

        self.target, self.predictor = net(), net(nn.ReLU(), nn.Linear(32, 32))
        for net_ in (self.target, self.predictor):
            for module in net_:
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.orthogonal_(module.weight, math.sqrt(2)), nn.init.zeros_(module.bias)
        self.target.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            goal = self.target(x)
        return torch.cat([self.predictor(x), goal], 1)


@healthy
def random_network_distillation_of_pictures() -> Case:
    x, y = data.pictures()
    return Case(Curious(), x, y, lambda o, y: F.mse_loss(o[:, :32], o[:, 32:]), lambda o, y: r2(o[:, :32], o[:, 32:]),
                0.6, adam(2e-3), steps=250)  # fmt: skip


class AdaBlock(nn.Module):
    """DiT's: shift, scale and gate from the condition, all zero at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.attn = nets.Attention(width, 2)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.modulate = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        nn.init.zeros_(self.modulate[-1].weight), nn.init.zeros_(self.modulate[-1].bias)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        a, b, g, d, e, h = self.modulate(c)[:, None].chunk(6, -1)
        x = x + g * self.attn(self.norm1(x) * (1 + b) + a)
        return x + h * self.mlp(self.norm2(x) * (1 + e) + d)


class Dit(nn.Module):
    """Noise of a noisy picture; in a row stand the picture, how noisy it is, and its class."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patch, self.places = nn.Linear(4, width), nn.Parameter(torch.randn(16, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(10, width)
        self.blocks = nn.ModuleList([AdaBlock(width) for _ in range(2)])
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, 4)
        nn.init.zeros_(self.last.weight), nn.init.zeros_(self.last.bias)

    def forward(self, row: torch.Tensor) -> torch.Tensor:
        x = row[:, :64].view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        angles = row[:, 64:65] * torch.pi * torch.arange(1, 9)
        c = self.time(torch.cat([angles.sin(), angles.cos()], 1)) + self.label(row[:, 65].long())
        x = self.patch(x) + self.places
        for block in self.blocks:
            x = block(x, c)
        x = self.last(self.norm(x))
        return x.view(-1, 4, 4, 2, 2).transpose(2, 3).reshape(-1, 64)


@healthy
def diffusion_transformer_with_zero_gates() -> Case:
    x, y = data.digits()
    g = _g(18)
    t, noise = torch.rand(len(x), 1, generator=g), torch.randn(x.shape, generator=g)
    angle = t * math.pi / 2
    row = torch.cat([angle.cos() * x + angle.sin() * noise, t, y[:, None].float()], 1)
    return Case(Dit(), row, noise, F.mse_loss, r2, 0.4, adam(4e-3), steps=300)


class Standardized(nn.Conv2d):
    """Its weights standardized at each use, with a gain (Brock et al. 2021)."""

    def __init__(self, a: int, b: int, k: int, **more: Any) -> None:
        super().__init__(a, b, k, **more)
        self.gain = nn.Parameter(torch.ones(b, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.weight
        var, mean = torch.var_mean(w, (1, 2, 3), keepdim=True)
        w = (w - mean) * torch.rsqrt(var * w[0].numel() + 1e-4) * self.gain
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class FreeBlock(nn.Module):
    """A normalizer-free block: scaled ReLUs, a skip gain that starts at zero."""

    GAMMA = math.sqrt(2 / (1 - 1 / math.pi))

    def __init__(self, width: int, beta: float) -> None:
        super().__init__()
        self.conv1 = Standardized(width, width, 3, padding=1)
        self.conv2 = Standardized(width, width, 3, padding=1)
        self.skip_gain, self.beta = nn.Parameter(torch.zeros(())), beta

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.relu(x * self.beta) * self.GAMMA)
        h = self.conv2(F.relu(h) * self.GAMMA)
        return x + 0.2 * self.skip_gain * h


@healthy
def normalizer_free_resnet_with_zero_skip_gain() -> Case:
    model = nn.Sequential(
        Standardized(1, 16, 3, stride=2, padding=1), *[FreeBlock(16, 1.0) for _ in range(3)], nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 10),
    )  # fmt: skip
    return Case(model, *data.pictures(), F.cross_entropy, trains=0.85, optimizer=sgd(0.03), steps=200, batch=32)


class FixedFilters(nn.Module):
    """Twelve oriented filters that are never trained, as in a scattering front end."""

    def __init__(self) -> None:
        super().__init__()
        at = torch.arange(5.0) - 2
        v, u = torch.meshgrid(at, at, indexing="ij")
        bank = []
        for k in range(6):
            along = u * math.cos(k * math.pi / 6) + v * math.sin(k * math.pi / 6)
            for phase in (0.0, math.pi / 2):
                f = torch.exp(-(u.square() + v.square()) / 3) * torch.cos(1.5 * along + phase)
                bank.append((f - f.mean()) / (f - f.mean()).norm())
        self.bank = nn.Conv2d(1, 12, 5, padding=2, bias=False)
        self.bank.weight.data.copy_(torch.stack(bank)[:, None])
        self.bank.weight.requires_grad_(False)
        self.body = nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self.bank(x).abs())


@healthy
def gabor_filters_that_stay_fixed() -> Case:
    return Case(FixedFilters(), *data.pictures(), F.cross_entropy, trains=0.9, steps=150)


# --- faults that training shows


@fault("learning-rate-too-low update-too-small loss-stuck trivial-plateau", when="training",
       twin=convnext_with_layer_scale_of_a_millionth)  # fmt: skip
def convnext_whose_warmup_never_ends() -> Case:
    """The warmup was counted in pictures, not in steps."""
    warmup = lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1, (s + 1) / 1_280_000))  # noqa: E731
    return _convnext(schedule=warmup)


def _no_schedule(case: Case, code: str) -> bool:
    if code not in ("learning-rate-too-low", "update-too-small", "loss-stuck", "trivial-plateau"):
        return False
    case.schedule = None
    return True


convnext_whose_warmup_never_ends = mended(convnext_whose_warmup_never_ends, _no_schedule)

WILD = (
    "loss-rising loss-oscillating loss-diverged learning-rate-too-high update-too-large gradient-spike "
    "exploded-gradients loss-stuck trivial-plateau dying-units vanished-gradients non-finite-values"
)


def _plain_cnn(momentum: float = 0.9) -> Case:
    model = he_small_head(nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, 1), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 10),
    ))  # fmt: skip
    return Case(model, *data.pictures(), F.cross_entropy, trains=0.9, optimizer=sgd(0.05, momentum), steps=250)


@healthy
def plain_cnn_with_momentum() -> Case:
    return _plain_cnn()


@fault(WILD, when="training", twin=plain_cnn_with_momentum)
def plain_cnn_with_momentum_of_an_average() -> Case:
    """0.999 was meant for the average of the weights."""
    return _plain_cnn(0.999)


def _momentum(case: Case, code: str) -> bool:
    if code not in WILD:
        return False
    case.optimizer = sgd(0.05)
    return True


plain_cnn_with_momentum_of_an_average = mended(plain_cnn_with_momentum_of_an_average, _momentum)


def _depth_sgd(**more: Any) -> Case:
    model = he_small_head(nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 1)
    ))  # fmt: skip
    x, y = depths()
    y = y.log()
    return Case(model, x, y / y.std(), F.mse_loss, r2, 0.7, sgd(0.05), steps=200, batch=32, **more)


@healthy
def log_depth_by_sgd() -> Case:
    return _depth_sgd()


@fault(WILD, when="training", twin=log_depth_by_sgd)
def log_depth_without_zeroed_gradients() -> Case:
    return _depth_sgd(zeroed=False)


def _zero(case: Case, code: str) -> bool:
    if code not in WILD:
        return False
    case.zeroed = True
    return True


log_depth_without_zeroed_gradients = mended(log_depth_without_zeroed_gradients, _zero)


def _segment(decay: float) -> Case:
    return Case(
        Segmenter(nn.Identity(), norm=False), *masks(), F.binary_cross_entropy_with_logits, iou, 0.65,
        lambda m: torch.optim.AdamW(m.parameters(), 5e-3, weight_decay=decay), steps=200, batch=32,
    )  # fmt: skip


@healthy
def unet_by_adamw() -> Case:
    return _segment(0.01)


@fault(
    "trivial-plateau loss-stuck vanished-gradients loss-rising update-too-large", when="training", twin=unet_by_adamw
)
def unet_by_adamw_with_decay_of_thirty() -> Case:
    return _segment(30.0)


def _less_decay(case: Case, code: str) -> bool:
    if code not in ("trivial-plateau", "loss-stuck", "vanished-gradients", "loss-rising", "update-too-large"):
        return False
    case.optimizer = lambda m: torch.optim.AdamW(m.parameters(), 5e-3, weight_decay=0.01)
    return True


unet_by_adamw_with_decay_of_thirty = mended(unet_by_adamw_with_decay_of_thirty, _less_decay)


def _small(count: int) -> Case:
    x, y = data.pictures()
    x = x + 1.2 * torch.randn(x.shape, generator=_g(19))
    model = he_small_head(nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 64), nn.ReLU(), nn.Linear(64, 10),
    ))  # fmt: skip
    return Case(model, x[:count], y[:count], F.cross_entropy, trains=0.55, optimizer=adam(1e-3), steps=240, batch=32,
                held_out=(x[1400:], y[1400:]))  # fmt: skip


@healthy
def noisy_digits_of_all_pictures() -> Case:
    case = _small(1400)
    case.steps = 100
    return case


@fault("over-fitting", when="training", twin=noisy_digits_of_all_pictures)
def noisy_digits_of_sixty_pictures() -> Case:
    return _small(60)
