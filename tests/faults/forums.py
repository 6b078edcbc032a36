"""Programs of an author who has not seen how the library decides: what people ask in forums."""

from __future__ import annotations

import copy
import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from . import data
from .program import Case, adam, fault, healthy, mended, r2, sgd

# Data -----------------------------------------------------------------------------------------------------------------


def _grid(n: int, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rectangles of random place and size: centres, sizes, and the pixels that each covers."""
    g = torch.Generator().manual_seed(11)
    w, h = (4 + 5 * torch.rand(2, n, generator=g)).unbind()
    cx = w / 2 + (size - w) * torch.rand(n, generator=g)
    cy = h / 2 + (size - h) * torch.rand(n, generator=g)
    at = torch.arange(size) + 0.5
    inside_x = (at[None] - cx[:, None]).abs() < w[:, None] / 2
    inside_y = (at[None] - cy[:, None]).abs() < h[:, None] / 2
    return cx, cy, w, h, inside_y[:, :, None] & inside_x[:, None, :]


@cache
def _scenes(n: int = 768, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of one bright rectangle in noise, and its mask: (n, 1, 16, 16)."""
    mask = _grid(n, size)[-1][:, None].float()
    x = 1.5 * mask + torch.randn(mask.shape, generator=torch.Generator().manual_seed(12))
    return (x - x.mean()) / x.std(), mask


@cache
def _boxes() -> tuple[torch.Tensor, torch.Tensor]:
    """The same pictures with their boxes on a grid of 4 × 4: objectness, centre in the cell, logs of the sizes."""
    cx, cy, w, h, _ = _grid(768, 16)
    y = torch.zeros(768, 5, 4, 4)
    column, row = (cx / 4).long().clamp(max=3), (cy / 4).long().clamp(max=3)
    values = torch.stack([torch.ones(768), cx / 4 - column, cy / 4 - row, (w / 4).log(), (h / 4).log()], 1)
    y[torch.arange(768), :, row, column] = values
    return _scenes()[0], y


@cache
def _pairs(n: int = 1500) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of digits, (n, 2, 64): 1 where they are of one class; a tenth are the same picture twice."""
    x, y = data.digits()
    g = torch.Generator().manual_seed(13)
    left = torch.randint(len(x), (n,), generator=g)
    right = torch.randint(len(x), (n,), generator=g)
    for i in range(0, n, 2):
        same = torch.nonzero(y == y[left[i]])[:, 0]
        right[i] = same[torch.randint(len(same), (1,), generator=g)]
    right[::10] = left[::10]
    return torch.stack([x[left], x[right]], 1), (y[left] == y[right]).float()


@cache
def _graphs(p: float, n: int = 800, nodes: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Graphs as (nodes, nodes + 4), adjacency beside features; the class: are neighbours' features alike."""
    g = torch.Generator().manual_seed(14)
    upper = (torch.rand(n, nodes, nodes, generator=g) < p).float().triu(1)
    a = upper + upper.transpose(1, 2)
    x = torch.randn(n, nodes, 4, generator=g)
    y = torch.randint(2, (n,), generator=g)
    smooth = x + 2 * (a @ x) / a.sum(2, keepdim=True).clamp(min=1).sqrt()
    smooth = smooth / smooth.std((1, 2), keepdim=True)
    return torch.cat([a, torch.where(y[:, None, None] == 1, smooth, x)], 2), y


@cache
def _series(n: int = 1024, length: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of noisy sums of two waves, (n, 1, 32), and the value three steps behind."""
    g = torch.Generator().manual_seed(15)
    t = torch.arange(length + 3)
    phase, rate = 6.28 * torch.rand(n, 2, 1, generator=g), 0.15 + 0.5 * torch.rand(n, 2, 1, generator=g)
    x = torch.sin(rate * t + phase).sum(1) + 0.05 * torch.randn(n, length + 3, generator=g)
    return x[:, None, :length], x[:, -1:]


@cache
def _houses(n: int = 1024) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardized features of houses and prices in dollars."""
    x, y = data.smooth(n)
    return x, 260_000 + 70_000 * y


# Segmentation ---------------------------------------------------------------------------------------------------------


def _overlap(outputs: torch.Tensor, mask: torch.Tensor) -> float:
    """Intersection over union of the mask that the outputs say, logits or probabilities."""
    says = outputs > (0.5 if outputs.min() >= 0 and outputs.max() <= 1 else 0.0)
    return float((says & (mask > 0.5)).sum() / (says | (mask > 0.5)).sum().clamp(min=1))


def _double(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(a, b, 3, padding=1, bias=False), nn.GroupNorm(4, b), nn.ReLU(),
        nn.Conv2d(b, b, 3, padding=1, bias=False), nn.GroupNorm(4, b), nn.ReLU(),
    )  # fmt: skip


class _Unet(nn.Module):
    """Two levels; ``typo`` is the line copied from the level above and not changed."""

    def __init__(self, width: int = 8, last: nn.Module | None = None, *, typo: bool = False) -> None:
        super().__init__()
        self.enc1, self.enc2, self.middle = _double(1, width), _double(width, 2 * width), _double(2 * width, 2 * width)
        self.up2, self.up1 = nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2)
        self.dec2, self.dec1 = _double(4 * width, width), _double(2 * width, width)
        self.refine1, self.refine2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.out, self.last, self.typo = nn.Conv2d(width, 1, 1), last or nn.Identity(), typo

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.enc1(x)
        b = self.enc2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        c = self.dec2(torch.cat([self.up2(c), b], 1))
        c = self.dec1(torch.cat([self.up1(c), a], 1))
        c = F.relu(self.refine1(c))
        c = F.relu(self.refine1(c) if self.typo else self.refine2(c))
        return self.last(self.out(c))


def _segmentation(model: nn.Module, loss_fn, **more) -> Case:
    x, y = _scenes()
    more = {"trains": 0.7, "steps": 120, "batch": 32, "optimizer": adam(3e-3)} | more
    return Case(model, x, y, loss_fn, score=_overlap, **more)


def _logit_loss(outputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(outputs, mask)


def _dice_loss(outputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """1 - soft dice of each picture's probabilities."""
    both = (outputs * mask).sum((1, 2, 3))
    return 1 - ((2 * both + 1) / (outputs.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)).mean()


@healthy
def unet_group_norm_mask() -> Case:
    return _segmentation(_Unet(), _logit_loss)


@healthy
def unet_soft_dice() -> Case:
    """The sigmoid in the model is right here: dice wants probabilities."""
    return _segmentation(_Unet(last=nn.Sigmoid()), _dice_loss)


@fault("double-softmax", twin=unet_group_norm_mask)
def unet_sigmoid_into_bce_with_logits() -> Case:
    return _segmentation(_Unet(last=nn.Sigmoid()), _logit_loss)


def _unsquash(case: Case, code: str) -> bool:
    if code != "double-softmax":
        return False
    case.model.last = nn.Identity()
    return True


unet_sigmoid_into_bce_with_logits = mended(unet_sigmoid_into_bce_with_logits, _unsquash)


@fault("unused-parameter no-gradient", "refine2 refine2.*", twin=unet_group_norm_mask)
def unet_refine_copied_line() -> Case:
    """``refine1`` twice in forward, ``refine2`` never."""
    return _segmentation(_Unet(typo=True), _logit_loss)


def _untypo(case: Case, code: str) -> bool:
    if code not in ("unused-parameter", "no-gradient"):
        return False
    case.model.typo = False
    return True


unet_refine_copied_line = mended(unet_refine_copied_line, _untypo)


# Detection ------------------------------------------------------------------------------------------------------------


class _Detector(nn.Module):
    """Objectness and boxes of each cell of a grid, two branches of convolutions over shared features."""

    def __init__(self, *, decode_outside: bool = False) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.objectness, self.box = self._tower(1), self._tower(4)
        self.decode_outside = decode_outside
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        for tower in (self.objectness, self.box):
            nn.init.normal_(tower[-1].weight, 0.0, 0.01)
        nn.init.constant_(self.objectness[-1].bias, -math.log((1 - 0.05) / 0.05))  # RetinaNet's prior

    @staticmethod
    def _tower(outputs: int) -> nn.Sequential:
        conv = [nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*conv, nn.Conv2d(24, outputs, 3, padding=1))

    def _decoded(self, features: torch.Tensor) -> torch.Tensor:
        raw = self.box(features)
        return torch.cat([raw[:, :2] + 0.5, raw[:, 2:]], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.backbone(x)
        if self.decode_outside:
            with torch.no_grad():  # "decoding needs no gradients"
                boxes = self._decoded(features)
        else:
            boxes = self._decoded(features)
        return torch.cat([self.objectness(features), boxes], 1)


def _detection_loss(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Focal loss over the cells by the number of objects, smooth L1 at the objects' cells."""
    logits, object_ = outputs[:, 0], y[:, 0]
    p = logits.sigmoid()
    right = p * object_ + (1 - p) * (1 - object_)
    cross = F.binary_cross_entropy_with_logits(logits, object_, reduction="none")
    focal = (1 - right).square() * cross
    off = F.smooth_l1_loss(outputs[:, 1:], y[:, 1:], reduction="none").sum(1) * object_
    return (focal.sum() + 2 * off.sum()) / object_.sum()


def _box_overlap(outputs: torch.Tensor, y: torch.Tensor) -> float:
    """Mean IoU of the box at the most likely cell with the true one."""

    def corners(z: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        v = z[:, 1:].flatten(2)[torch.arange(len(z)), :, cell]
        centre = v[:, :2] + torch.stack([cell % 4, cell // 4], 1)
        half = v[:, 2:].clamp(max=3).exp() / 2
        return centre - half, centre + half

    (a, b), (c, d) = (corners(z, z[:, 0].flatten(1).argmax(1)) for z in (outputs, y))
    both = (torch.minimum(b, d) - torch.maximum(a, c)).clamp(min=0).prod(1)
    return float((both / ((b - a).prod(1) + (d - c).prod(1) - both)).mean())


def _detection(model: nn.Module, **more) -> Case:
    x, y = _boxes()
    more = {"trains": 0.5, "steps": 250, "batch": 32, "optimizer": adam(2e-3)} | more
    return Case(model, x, y, _detection_loss, score=_box_overlap, **more)


@healthy
def centre_detector_focal_prior() -> Case:
    return _detection(_Detector())


@fault("no-gradient", "box box.*", twin=centre_detector_focal_prior)
def detector_boxes_decoded_without_grad() -> Case:
    return _detection(_Detector(decode_outside=True))


def _decode_inside(case: Case, code: str) -> bool:
    if code != "no-gradient":
        return False
    case.model.decode_outside = False
    return True


detector_boxes_decoded_without_grad = mended(detector_boxes_decoded_without_grad, _decode_inside)


@fault(
    "dead-units vanishing-forward vanishing-gradient rank-collapse",
    "objectness objectness.0* objectness.1 objectness.2* objectness.3",
    twin=centre_detector_focal_prior,
)
def detector_prior_bias_in_every_layer() -> Case:
    """The prior's bias was meant for the last convolution; the loop gives it to the hidden ones too."""
    model = _Detector()
    for module in model.objectness.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.bias, -math.log((1 - 0.01) / 0.01))
    return _detection(model)


def _prior_last_only(case: Case, code: str) -> bool:
    if code not in ("dead-units", "vanishing-forward", "vanishing-gradient", "rank-collapse"):
        return False
    for layer in case.model.objectness[:-1]:
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.bias)
    return True


detector_prior_bias_in_every_layer = mended(detector_prior_bias_in_every_layer, _prior_last_only)


# Siamese --------------------------------------------------------------------------------------------------------------


class _Siamese(nn.Module):
    """The distance of two pictures' embeddings."""

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
        self.right = self.left
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        apart = self.left(x[:, 0]) - self.right(x[:, 1])
        return (apart.pow(2).sum(1) + self.eps).sqrt()


def _contrastive(distance: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    """Hadsell et al. 2006, of margin 1."""
    return (same * distance.square() + (1 - same) * (1 - distance).clamp(min=0).square()).mean()


def _near(distance: torch.Tensor, same: torch.Tensor) -> float:
    return float(((distance < 0.5) == (same > 0.5)).float().mean())


def _verification(model: nn.Module, **more) -> Case:
    x, y = _pairs()
    more = {"trains": 0.88, "steps": 400, "batch": 64, "optimizer": adam(2e-3)} | more
    return Case(model, x[:1000], y[:1000], _contrastive, score=_near, held_out=(x[1000:], y[1000:]), **more)


@healthy
def siamese_contrastive_margin() -> Case:
    return _verification(_Siamese())


@fault("non-finite-gradients", twin=siamese_contrastive_margin)
def siamese_root_of_zero_distance() -> Case:
    """The square root's slope at 0 is infinite, and a tenth of the pairs are the same picture twice."""
    return _verification(_Siamese(eps=0.0))


def _add_eps(case: Case, code: str) -> bool:
    if code != "non-finite-gradients":
        return False
    case.model.eps = 1e-6
    return True


siamese_root_of_zero_distance = mended(siamese_root_of_zero_distance, _add_eps)


@fault("untied-weights duplicated-draws", "left left.* right right.*", twin=siamese_contrastive_margin)
def siamese_towers_deep_copied() -> Case:
    """Two towers that were to be one: they start alike and part."""
    model = _Siamese()
    model.right = copy.deepcopy(model.left)
    return _verification(model)


def _share(case: Case, code: str) -> bool:
    if code not in ("untied-weights", "duplicated-draws"):
        return False
    case.model.right = case.model.left
    return True


siamese_towers_deep_copied = mended(siamese_towers_deep_copied, _share)


# Graphs ---------------------------------------------------------------------------------------------------------------


class _GraphConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, how: str) -> None:
        super().__init__()
        self.linear, self.how = nn.Linear(inputs, outputs), how
        nn.init.kaiming_normal_(self.linear.weight, nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        if self.how != "symmetric":
            a = a + torch.eye(a.shape[1])
        if self.how == "sum with loops":
            return self.linear(a @ x)
        root = a.sum(2).pow(-0.5)
        return self.linear(root[:, :, None] * a * root[:, None, :] @ x)


class _Gcn(nn.Module):
    """Graph convolutions, the mean over nodes, a linear head; inputs are adjacency and features side by side."""

    def __init__(self, how: str = "symmetric with loops", depth: int = 3, width: int = 32) -> None:
        super().__init__()
        self.convs = nn.ModuleList([_GraphConv(4 if i == 0 else width, width, how) for i in range(depth)])
        self.head = nn.Linear(width, 2)

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        a, x = packed[:, :, :-4], packed[:, :, -4:]
        for conv in self.convs:
            x = F.relu(conv(x, a))
        return self.head(x.mean(1))


def _graph_task(model: nn.Module, p: float, **more) -> Case:
    x, y = _graphs(p)
    more = {"trains": 0.85, "steps": 300, "batch": 64, "optimizer": sgd(0.05)} | more
    return Case(model, x, y, F.cross_entropy, **more)


@healthy
def gcn_sparse_graphs_with_loops() -> Case:
    return _graph_task(_Gcn(), 0.12)


@healthy
def gcn_dense_graphs_normalized() -> Case:
    return _graph_task(_Gcn(depth=4), 0.6)


@fault("non-finite-values", "convs convs.*", twin=gcn_sparse_graphs_with_loops)
def gcn_isolated_node_divides_by_zero() -> Case:
    """D^-1/2 A D^-1/2 without self-loops: a node without neighbours is 0 · ∞."""
    return _graph_task(_Gcn("symmetric"), 0.12)


@fault("exploding-forward exploding-gradient", "convs convs.*", twin=gcn_dense_graphs_normalized)
def gcn_sums_over_dense_neighbours() -> Case:
    """The adjacency is not normalized: each layer multiplies by the twelve neighbours."""
    return _graph_task(_Gcn("sum with loops", depth=4), 0.6)


def _loops(case: Case, code: str) -> bool:
    if code not in ("non-finite-values", "exploding-forward", "exploding-gradient"):
        return False
    for conv in case.model.convs:
        conv.how = "symmetric with loops"
    return True


gcn_isolated_node_divides_by_zero = mended(gcn_isolated_node_divides_by_zero, _loops)
gcn_sums_over_dense_neighbours = mended(gcn_sums_over_dense_neighbours, _loops)


# Physics-informed -----------------------------------------------------------------------------------------------------


class _Dense(nn.Module):
    """A hand-written layer with its weight as (in, out), as other frameworks keep it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * math.sqrt(2 / (inputs + outputs)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


class _Oscillator(nn.Module):
    """u with u″ + 9u = 0, u(0) = 1, u′(0) = 0 built in; gives u and the residual."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Dense(1, width), _Dense(width, width), _Dense(width, 1)])

    def _u(self, t: torch.Tensor) -> torch.Tensor:
        h = t - 1
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        return 1 + t.square() * self.layers[-1](h)

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            t = t.detach().requires_grad_()
            u = self._u(t)
            du = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
            ddu = torch.autograd.grad(du.sum(), t, create_graph=True)[0]
        return torch.cat([u, ddu / 9 + u], 1)


def _physics(model: nn.Module, **more) -> Case:
    t = torch.rand(512, 1, generator=torch.Generator().manual_seed(16)) * 2
    more = {"trains": 0.97, "steps": 900, "batch": 64, "optimizer": adam(5e-3)} | more
    return Case(
        model, t, torch.cos(3 * t), lambda outputs, _: outputs[:, 1].square().mean(),
        score=lambda outputs, y: r2(outputs[:, :1], y), **more,
    )  # fmt: skip


@healthy
def pinn_oscillator_hard_conditions() -> Case:
    return _physics(_Oscillator())


@fault("constant-init symmetric-units", "layers.* layers.*.weight", twin=pinn_oscillator_hard_conditions)
def pinn_dense_layers_of_ones() -> Case:
    model = _Oscillator()
    for layer in model.layers:
        layer.weight.data = torch.ones_like(layer.weight) / layer.weight.shape[0]
    return _physics(model)


# Convolutions ---------------------------------------------------------------------------------------------------------


class _Separable(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.pointwise(F.relu(self.depthwise(x))))


def _mobile(*, by_groups: bool, blocks: int = 4, width: int = 32) -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *[_Separable(width) for _ in range(blocks)],
        nn.Flatten(), nn.Linear(16 * width, 10),
    )  # fmt: skip
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            n = m.kernel_size[0] * m.kernel_size[1] * m.out_channels
            if by_groups:
                n //= m.groups
            m.weight.data.normal_(0, math.sqrt(2.0 / n))
            m.bias.data.zero_()
    return model


def _pictures(model: nn.Module, **more) -> Case:
    x, y = data.pictures()
    more = {"trains": 0.85, "steps": 250, "batch": 64, "optimizer": sgd(0.02)} | more
    return Case(model, x, y, F.cross_entropy, **more)


@healthy
def separable_cnn_without_norm() -> Case:
    return _pictures(_mobile(by_groups=True))


@fault("wrong-fan vanishing-forward vanishing-gradient wrong-gain", "*depthwise* 3 4 5 6",
       twin=separable_cnn_without_norm)  # fmt: skip
def separable_cnn_fan_of_full_convolution() -> Case:
    """MobileNet's loop as many copied it: k · k · out_channels, forgetting the groups."""
    return _pictures(_mobile(by_groups=False))


class _Basic(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu2(x + self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))


def _zero_gamma_resnet(width: int = 16) -> nn.Sequential:
    stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    blocks = nn.Sequential(*[_Basic(width) for _ in range(3)])
    for block in blocks:
        nn.init.zeros_(block.bn2.weight)
    head = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * width, 10))
    model = nn.Sequential()
    for name, part in (("stem", stem), ("blocks", blocks), ("head", head)):
        model.add_module(name, part)
    return model


@healthy
def resnet_zero_last_gamma() -> Case:
    return _pictures(_zero_gamma_resnet(), trains=0.9, steps=150)


@fault("zero-norm-scale rank-collapse dead-units vanishing-forward vanishing-gradient",
       "stem stem.1* stem.2 blocks.*.bn1* blocks.*.relu1", twin=resnet_zero_last_gamma)  # fmt: skip
def resnet_zero_gamma_in_every_norm() -> Case:
    """The loop zeroes each norm's scale, where each block's last was meant."""
    model = _zero_gamma_resnet()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.weight)
    return _pictures(model, trains=0.9, steps=150)


def _one_gamma(case: Case, code: str) -> bool:
    if code not in resnet_zero_gamma_in_every_norm.faults:
        return False
    for name, module in case.model.named_modules():
        if isinstance(module, nn.BatchNorm2d) and not name.endswith("bn2"):
            nn.init.ones_(module.weight)
    return True


resnet_zero_gamma_in_every_norm = mended(resnet_zero_gamma_in_every_norm, _one_gamma)


def _cosines(size: int = 3) -> torch.Tensor:
    """The discrete cosine transform's basis as convolution kernels."""
    at = torch.arange(size)
    rows = torch.cos(math.pi * (2 * at[None] + 1) * at[:, None] / (2 * size)) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return torch.einsum("iy,jx->ijyx", rows, rows).reshape(size * size, 1, size, size)


@healthy
def fixed_cosine_filters_in_front() -> Case:
    """Harmonic networks: the first filters are a fixed basis, on purpose; only their mixing is learned."""
    front = nn.Conv2d(1, 9, 3, padding=1, bias=False)
    front.weight.data.copy_(_cosines())
    front.weight.requires_grad_(False)
    model = nn.Sequential(
        front, nn.BatchNorm2d(9), nn.Conv2d(9, 24, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24 * 16, 10),
    )  # fmt: skip
    return _pictures(model, optimizer=sgd(0.05))


# Autoencoders ---------------------------------------------------------------------------------------------------------


class _Tied(nn.Module):
    """The decoder's matrices are the encoder's, transposed; ``last`` is what the reconstruction passes."""

    def __init__(self, last: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 48), nn.Linear(48, 16)
        self.back1, self.back0 = nn.Parameter(torch.zeros(48)), nn.Parameter(torch.zeros(64))
        self.last = last or nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = self.second(F.elu(self.first(x)))
        h = F.elu(F.linear(code, self.second.weight.t(), self.back1))
        return self.last(F.linear(h, self.first.weight.t(), self.back0))


def _rebuilding(model: nn.Module, **more) -> Case:
    x, _ = data.digits()
    more = {"trains": 0.75, "steps": 500, "batch": 64, "optimizer": adam(3e-3)} | more
    return Case(model, x, x, F.mse_loss, score=r2, **more)


@healthy
def tied_transposed_autoencoder() -> Case:
    return _rebuilding(_Tied())


@fault("unreachable-targets", twin=tied_transposed_autoencoder)
def autoencoder_sigmoid_for_standardized_pixels() -> Case:
    """The sigmoid of a tutorial with pixels in [0, 1]; these pixels have mean 0 and variance 1."""
    return _rebuilding(_Tied(nn.Sigmoid()))


def _linear_last(case: Case, code: str) -> bool:
    if code != "unreachable-targets":
        return False
    case.model.last = nn.Identity()
    return True


autoencoder_sigmoid_for_standardized_pixels = mended(autoencoder_sigmoid_for_standardized_pixels, _linear_last)


class _Quantized(nn.Module):
    """Six slots of four numbers, each replaced by the nearest of 32 codes; gradients pass straight through."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 24))
        self.codes = nn.Parameter(torch.randn(32, 4) * 0.5)
        self.decoder = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.encoder(x).view(-1, 6, 4)
        nearest = self.codes[torch.cdist(z, self.codes.expand(len(z), -1, -1)).argmin(-1)]
        rebuilt = self.decoder((z + (nearest - z).detach()).flatten(1))
        pulls = torch.cat([nearest - z.detach(), 0.5 * (z - nearest.detach())], 2).flatten(1)
        return torch.cat([rebuilt, pulls], 1)


@healthy
def vector_quantized_straight_through() -> Case:
    x, _ = data.digits()
    return Case(
        _Quantized(), x, x, lambda o, y: F.mse_loss(o[:, :64], y) + o[:, 64:].square().mean(),
        score=lambda o, y: r2(o[:, :64], y), trains=0.4, steps=500, optimizer=adam(3e-3),
    )  # fmt: skip


# Regression and series ------------------------------------------------------------------------------------------------


class _Dilated(nn.Module):
    """A gated causal convolution with a skip, as WaveNet has it."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv, self.dilation = nn.Conv1d(width, 2 * width, 2, dilation=dilation), dilation
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.conv(F.pad(x, (self.dilation, 0))).chunk(2, 1)
        return x + self.mix(torch.tanh(value) * torch.sigmoid(gate))


class _Forecaster(nn.Module):
    """The last value plus a change, which is 0 at first; ``listed`` is whether the blocks are in a plain list."""

    def __init__(self, width: int = 16, *, listed: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, width, 1)
        blocks = [_Dilated(width, 2**i) for i in range(4)]
        self.blocks = blocks if listed else nn.ModuleList(blocks)
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return x[:, :, -1] + self.head(h[:, :, -1])


def _forecast(model: nn.Module, **more) -> Case:
    x, y = _series()
    more = {"trains": 0.75, "steps": 300, "batch": 64, "optimizer": adam(5e-3)} | more
    return Case(model, x[:800], y[:800], F.mse_loss, score=r2, held_out=(x[800:], y[800:]), **more)


@healthy
def dilated_forecast_of_the_change() -> Case:
    return _forecast(_Forecaster())


@fault("unregistered-layer not-in-optimizer", twin=dilated_forecast_of_the_change)
def dilated_blocks_in_a_plain_list() -> Case:
    return _forecast(_Forecaster(listed=True))


def _register(case: Case, code: str) -> bool:
    if code not in ("unregistered-layer", "not-in-optimizer"):
        return False
    case.model.blocks = nn.ModuleList(case.model.blocks)
    return True


dilated_blocks_in_a_plain_list = mended(dilated_blocks_in_a_plain_list, _register)


class _Priced(nn.Module):
    """Prices in dollars: the network's outputs are in standard deviations, buffers bring them to the unit."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) * self.std + self.mean


def _pricing(model: nn.Module, unit: float, **more) -> Case:
    x, y = _houses()
    more = {"trains": 0.85, "steps": 500, "batch": 64, "optimizer": adam(3e-3)} | more
    return Case(model, x, y, lambda outputs, y: F.mse_loss(outputs / unit, y / unit), score=r2, **more)


@healthy
def prices_in_dollars_rescaled_inside() -> Case:
    _, y = _houses()
    return _pricing(_Priced(float(y.mean()), float(y.std())), float(y.std()))


@fault("unscaled-targets wrong-prior", twin=prices_in_dollars_rescaled_inside)
def prices_in_dollars_from_a_bare_head() -> Case:
    return _pricing(_Priced(0.0, 1.0), 1.0)


def _standardize(case: Case, code: str) -> bool:
    if code not in ("unscaled-targets", "wrong-prior"):
        return False
    case.targets = (case.targets - case.targets.mean()) / case.targets.std()
    return True


prices_in_dollars_from_a_bare_head = mended(prices_in_dollars_from_a_bare_head, _standardize)


@healthy
def counts_by_log_link() -> Case:
    """Counts of about twenty from the logarithm of their rate: outputs about 3, and that is right."""
    x, y = data.smooth()
    counts = torch.poisson((3 + 0.5 * y).exp(), generator=torch.Generator().manual_seed(17))
    model = nn.Sequential(nn.Linear(4, 64), nn.Softplus(), nn.Linear(64, 64), nn.Softplus(), nn.Linear(64, 1))
    nn.init.constant_(model[-1].bias, float(counts.mean().log()))
    return Case(
        model, x, counts, lambda o, y: F.poisson_nll_loss(o, y, log_input=True), score=lambda o, y: r2(o.exp(), y),
        trains=0.6, steps=500, optimizer=adam(5e-3),
    )  # fmt: skip


@healthy
def mean_and_log_variance() -> Case:
    """A Gaussian's negative log-likelihood, which may fall below 0."""
    x, y = data.smooth()
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(18))
    y = y + noise * 0.3 * torch.sigmoid(3 * x[:, 1:2])
    model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    return Case(
        model, x, y, lambda o, y: 0.5 * (o[:, 1:] + (y - o[:, :1]).square() * (-o[:, 1:]).exp()).mean(),
        score=lambda o, y: r2(o[:, :1], y), trains=0.7, steps=600, optimizer=adam(3e-3),
    )  # fmt: skip


# Digits ---------------------------------------------------------------------------------------------------------------


class _Cosine(nn.Module):
    """Cosines with a vector of each class: outputs in [-1, 1] whatever the weights' scale."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.PReLU(), nn.Linear(64, 32))
        self.classes = nn.Parameter(torch.randn(10, 32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.body(x), dim=1) @ F.normalize(self.classes, dim=1).t()


@healthy
def cosine_classifier_with_margin() -> Case:
    """CosFace: the loss takes a margin off the right class and scales by 16."""
    x, y = data.digits()

    def loss(cosines: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(16 * (cosines - 0.2 * F.one_hot(y, 10)), y)

    return Case(_Cosine(), x, y, loss, trains=0.9, steps=250, optimizer=sgd(0.05))


class _Highway(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.change, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)  # carries at first: Srivastava et al. 2015

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        t = torch.sigmoid(self.gate(x))
        return t * torch.relu(self.change(x)) + (1 - t) * x


def _highway(size: int = 1200, **more) -> Case:
    x, y = data.digits()
    model = nn.Sequential(nn.Linear(64, 64), *[_Highway(64) for _ in range(8)], nn.Linear(64, 10))
    more = {"trains": 0.9, "steps": 300, "batch": 64, "optimizer": adam(1e-3)} | more
    return Case(model, x[:size], y[:size], F.cross_entropy, held_out=(x[1200:], y[1200:]), **more)


@healthy
def highway_gates_closed_at_first() -> Case:
    return _highway()


# Training -------------------------------------------------------------------------------------------------------------

_WILD = "loss-oscillating loss-rising loss-diverged gradient-spike exploded-gradients update-too-large "
_WILD += "learning-rate-too-high"
_WEAK = "learning-rate-too-low update-too-small loss-stuck"


@fault(f"{_WILD} non-finite-values non-finite-gradients loss-stuck dying-units trivial-plateau", when="training",
       twin=fixed_cosine_filters_in_front)  # fmt: skip
def cosine_filters_without_zero_grad() -> Case:
    case = fixed_cosine_filters_in_front()
    case.zeroed = False
    return case


@fault(_WEAK, when="training", twin=centre_detector_focal_prior)
def detector_rate_decayed_each_batch() -> Case:
    """The decay of an epoch, stepped in the loop over batches."""
    return _detection(_Detector(), schedule=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.8))


@fault(f"{_WILD} dying-units loss-stuck trivial-plateau vanished-gradients non-finite-values non-finite-gradients",
       when="training", twin=separable_cnn_without_norm)  # fmt: skip
def separable_cnn_adam_at_a_tenth() -> Case:
    """SGD's rate kept when the optimizer became Adam."""
    return _pictures(_mobile(by_groups=True), optimizer=adam(0.1))


@fault("trivial-plateau loss-stuck vanished-gradients dying-units", when="training", twin=highway_gates_closed_at_first)
def highway_adam_decay_of_a_half() -> Case:
    """AdamW's habit of large decay, with Adam, whose decay is a penalty."""
    return _highway(optimizer=lambda m: torch.optim.Adam(m.parameters(), 1e-3, weight_decay=0.5))


@fault("over-fitting", when="training", twin=highway_gates_closed_at_first)
def highway_of_forty_digits() -> Case:
    return _highway(40)
