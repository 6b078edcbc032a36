"""Programs written after those of ``fresh`` had been looked at, again run before anything was changed for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .fresh import Bottleneck, Dense, Gated, Mixer
from .program import Case, accuracy, adam, fault, healthy, r2, sgd, token_accuracy, token_loss

CE, MSE, BCE = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits


class Caption(nn.Module):
    """A picture's code starts a GRU that reads words."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 24))
        self.read, self.head = nn.GRU(8, 24, batch_first=True), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x[:, 0]
        return self.head(self.read(rows, self.look(x)[None])[0][:, -1])


class Prototypes(nn.Module):
    """Negative distances to learned points as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.points = nets.mlp((64, 64, 8)), nn.Parameter(torch.randn(10, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -(self.body(x)[:, None] - self.points).square().sum(-1)


class Memory(nn.Module):
    """A softmax over slots reads a table of values."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.keys = nn.Linear(64, 16), nn.Parameter(torch.randn(32, 16) / 4)
        self.values, self.head = nn.Parameter(torch.randn(32, 32)), nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self.query(x)
        return self.head(torch.cat([(q @ self.keys.T).softmax(-1) @ self.values, q], 1))


@healthy
def picture_into_gru() -> Case:
    return Case(Caption(), *data.pictures(), CE, optimizer=adam(5e-3))


@healthy
def prototypes() -> Case:
    return Case(Prototypes(), *data.digits(), CE, optimizer=adam(5e-3))


@healthy
def memory_slots() -> Case:
    return Case(Memory(), *data.digits(), CE, optimizer=adam(5e-3))


@healthy
def two_towers() -> Case:
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nets.mlp((32, 32, 16)), nets.mlp((32, 32, 16))
            self.head = nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.a(x[:, :32]) * self.b(x[:, 32:]) + self.a(x[:, :32]))

    return Case(Towers(), *data.digits(), CE, optimizer=adam(5e-3))


@healthy
def relu_squared_blocks() -> Case:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.up = nn.RMSNorm(32), nn.Linear(32, 64)
            self.down = nn.Linear(64, 32)
            nn.init.zeros_(self.down.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(F.relu(self.up(self.norm(x))).square())

    return Case(
        nn.Sequential(nn.Linear(64, 32), Block(), Block(), nn.Linear(32, 10)), *data.digits(), CE, optimizer=adam(3e-3)
    )


@healthy
def instance_norm_cnn() -> Case:
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.InstanceNorm2d(16, affine=True), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1),
        nn.InstanceNorm2d(16, affine=True), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    return Case(model, *data.pictures(), CE, optimizer=adam(3e-3))


@healthy
def prelu_network() -> Case:
    return Case(nets.mlp((64, 64, 64, 64, 10), nn.PReLU), *data.digits(), CE, optimizer=adam(3e-3))


@healthy
def multi_label() -> Case:
    x, y = data.digits()
    targets = torch.stack([y % 2 == 0, y > 4, y % 3 == 0], 1).float()
    return Case(nets.mlp((64, 64, 3)), x, targets, BCE, accuracy, 0.85, adam(3e-3))


@healthy
def segmentation() -> Case:
    x, _ = data.pictures()
    y = (x[:, 0] > 0.5).long()
    model = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 2, 1))
    score = lambda out, t: float((out.argmax(1) == t).float().mean())  # noqa: E731
    return Case(model, x, y, CE, score, 0.9, adam(5e-3))


@healthy
def gaussian_likelihood() -> Case:
    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.gaussian_nll_loss(out[:, :1], y, F.softplus(out[:, 1:]) + 1e-3)

    score = lambda out, y: r2(out[:, :1], y)  # noqa: E731
    return Case(nets.mlp((4, 64, 64, 2), nn.SiLU), *data.smooth(), loss, score, 0.6, adam(3e-3), 500)


@healthy
def contrastive() -> Case:
    x, y = data.digits()

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        z = F.normalize(out[:, :16], dim=1)
        logits = (z @ z.T / 0.2).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
        same = (y[:, None] == y).float() * (1 - torch.eye(len(z)))
        return -(logits.log_softmax(1) * same).sum(1).div(same.sum(1).clamp_min(1)).mean() + CE(out[:, 16:], y)

    score = lambda out, y: float((out[:, 16:].argmax(1) == y).float().mean())  # noqa: E731
    return Case(nets.mlp((64, 64, 26)), x, y, loss, score, optimizer=adam(3e-3))


@healthy
def random_features_frozen_then_trained() -> Case:
    model = nn.Sequential(nn.Linear(64, 256).requires_grad_(False), nn.ReLU(), *nets.mlp((256, 32, 10)))
    return Case(model, *data.digits(), CE, optimizer=adam(3e-3))


# Faulty.


@fault("vanishing-forward vanishing-gradient wrong-gain rank-collapse", "* layers*")
def densely_tiny() -> Case:
    model = nets.mlp((64, *[32] * 9, 10), nn.LeakyReLU)
    nets.initialized(model, lambda w: nn.init.xavier_normal_(w, gain=0.2), nn.init.zeros_)
    return Case(model, *data.digits(), CE, optimizer=sgd(0.02))


@fault("exploding-forward wrong-gain large-head exploding-gradient", "0 2 3")
def cnn_of_unit_normal() -> Case:
    model = nets.initialized(nets.cnn(depth=5), lambda w: nn.init.normal_(w), nn.init.zeros_)
    return Case(model, *data.pictures(), CE, optimizer=sgd(0.01))


@fault("constant-init symmetric-units", "gate* up*")
def gates_filled_with_a_constant() -> Case:
    model = Gated()
    for part in (*model.gate, *model.up):
        nn.init.constant_(part.weight, 0.1)
    return Case(model, *data.digits(), CE, optimizer=adam(3e-3))


@fault("constant-init no-gradient", "look* read*")
def zero_recurrence_and_inputs() -> Case:
    model = Caption()
    nn.init.zeros_(model.read.weight_ih_l0)
    nn.init.zeros_(model.read.weight_hh_l0)
    nn.init.zeros_(model.head.weight)
    return Case(model, *data.pictures(), CE)


@fault("dead-units no-gradient", "layers.0 layers.0.*")
def dense_dead_first_layer() -> Case:
    model = Dense()
    nn.init.constant_(model.layers[0].bias, -50.0)
    return Case(model, *data.digits(), CE)


@fault("unnormalized-inputs exploding-forward large-head saturation", "*")
def bytes_into_a_cnn() -> Case:
    x, y = data.pixels()
    return Case(nets.cnn(), x.view(-1, 1, 8, 8), y, CE, optimizer=sgd(0.05))


@fault("no-gradient", "stem* conv* squeeze*")
def features_detached_for_the_head() -> Case:
    class Net(Bottleneck):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            x = F.silu(x + self.conv(x) * self.squeeze(x.mean((2, 3)))[:, :, None, None])
            return self.head(x.mean((2, 3)).detach())

    return Case(Net(), *data.pictures(), CE)


@fault("non-finite-values", "*")
def standard_deviation_of_one_sample() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(64, 1), nn.Linear(1, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.a(x)
            return self.b((h - h.mean(1, keepdim=True)) / h.std(1, keepdim=True))

    return Case(Net(), *data.digits(), CE)


@fault("non-finite-values exploding-forward", "*")
def half_precision_overflow() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 10)
            nn.init.normal_(self.a.weight, 0, 3e3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x).half().mul(4).float())

    return Case(Net(), *data.digits(), CE)


@fault("unreachable-targets", "*")
def softplus_for_signed_targets() -> Case:
    return Case(nets.mlp((4, 64, 1), last=[nn.Softplus()]), *data.smooth(), MSE, r2, 0.6, adam(3e-3))


@fault("double-softmax", "*")
def softmax_in_a_language_model() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.Gpt()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.body(ids).softmax(-1)

    return Case(Net(), *data.chain(), token_loss, token_accuracy, 0.7, sgd(0.01))


@fault("softmax-over-one", "*")
def softmax_over_the_only_class() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp((64, 32, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.softmax(self.body(x), dim=1)

    return Case(Net(), *data.tall(), MSE)


@fault("wrong-prior large-head", "*")
def segmentation_bias_of_background() -> Case:
    x, _ = data.pictures()
    model = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 2, 1))
    nn.init.zeros_(model[2].bias)
    model[2].bias.data[0] = 80.0
    return Case(model, x, (x[:, 0] > -0.5).long(), CE)


@fault("not-in-optimizer", "points*")
def prototypes_not_optimized() -> Case:
    return Case(Prototypes(), *data.digits(), CE, optimizer=lambda m: torch.optim.Adam(m.body.parameters(), 3e-3))


@fault("duplicated-draws symmetric-units", "a* b*")
def towers_deep_copied() -> Case:
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nets.mlp((64, 32, 16)), nets.mlp((64, 32, 16))
            self.b.load_state_dict(self.a.state_dict())
            self.head = nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.a(x) + self.b(x))

    return Case(Towers(), *data.digits(), CE)


@fault("residual-growth exploding-forward large-head", "*")
def mixer_without_norms() -> Case:
    model = Mixer(24)
    model.norms = nn.ModuleList([nn.Identity() for _ in model.norms])
    for part in (*model.over_rows, *model.over_columns):
        nets.initialized(part, lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), nn.init.zeros_)
    return Case(model, *data.rows(), CE, optimizer=sgd(0.01))


@fault("unscaled-targets", "*")
def tiny_targets() -> Case:
    x, y = data.smooth()
    return Case(nets.mlp((4, 64, 1)), x, y * 1e4 - 5e3, F.l1_loss, r2, 0.5, adam(1e-3))


@fault("saturation wrong-gain exploding-forward", "0 1 2 3")
def hardtanh_driven_to_its_ends() -> Case:
    model = nets.initialized(nets.mlp((64, 64, 64, 10), nn.Hardtanh), lambda w: nn.init.uniform_(w, -3, 3))
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01))
