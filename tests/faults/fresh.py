"""Programs written after the rules and bounds were fixed, run once: what is found in networks that were not looked at.

Other kinds of network and of fault than those the rules were made on, as far as the author could think of them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from . import data, nets
from .program import Case, adam, fault, healthy, r2, sgd, token_accuracy, token_loss

CE, MSE, BCE = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits


class Mixer(nn.Module):
    """Linear maps over rows and over columns in turn, with norms and skips."""

    def __init__(self, depth: int = 2, *, skips: bool = True) -> None:
        super().__init__()
        self.over_rows = nn.ModuleList([nets.mlp((8, 16, 8), nn.GELU) for _ in range(depth)])
        self.over_columns = nn.ModuleList([nets.mlp((8, 16, 8), nn.GELU) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(8) for _ in range(2 * depth)])
        self.head = nn.Linear(64, 10)
        self.skips = skips

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, (rows, columns) in enumerate(zip(self.over_rows, self.over_columns, strict=True)):
            y = rows(self.norms[2 * i](x).transpose(1, 2)).transpose(1, 2)
            x = x + y if self.skips else y
            y = columns(self.norms[2 * i + 1](x))
            x = x + y if self.skips else y
        return self.head(x.flatten(1))


class Dense(nn.Module):
    """Each layer reads all before it."""

    def __init__(self, growth: int = 16, depth: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(64 + growth * i, growth) for i in range(depth)])
        self.head = nn.Linear(64 + growth * depth, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], 1)
        return self.head(x)


class Bag(nn.Module):
    """The mean of word vectors, and a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(24, 16), nets.mlp((16, 32, 24))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(ids).mean(1))


class Gated(nn.Module):
    """SwiGLU blocks before a norm, as written in language models."""

    def __init__(self, depth: int = 3, width: int = 32) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.norms = nn.ModuleList([nn.RMSNorm(width) for _ in range(depth)])
        self.gate = nn.ModuleList([nn.Linear(width, 2 * width, bias=False) for _ in range(depth)])
        self.up = nn.ModuleList([nn.Linear(width, 2 * width, bias=False) for _ in range(depth)])
        self.down = nn.ModuleList([nn.Linear(2 * width, width, bias=False) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for norm, gate, up, down in zip(self.norms, self.gate, self.up, self.down, strict=True):
            h = norm(x)
            x = x + down(F.silu(gate(h)) * up(h))
        return self.head(x)


class Siamese(nn.Module):
    """One body on both halves of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nets.mlp((32, 48, 24)), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x[:, :32]) + self.body(x[:, 32:]))


class Bottleneck(nn.Module):
    """A convolution network with squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU())
        self.conv = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16))
        self.squeeze = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16), nn.Sigmoid())
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.conv(x)
        x = F.silu(x + y * self.squeeze(y.mean((2, 3)))[:, :, None, None])
        return self.head(x.mean((2, 3)))


# Healthy.


@healthy
def mixer() -> Case:
    return Case(Mixer(), *data.rows(), CE, optimizer=adam(3e-3))


@healthy
def densely_connected() -> Case:
    return Case(Dense(), *data.digits(), CE, optimizer=adam(3e-3))


@healthy
def bag_of_words() -> Case:
    ids, after = data.chain()
    x = ids[:, -1:].contiguous()
    return Case(Bag(), x, after[:, -1].contiguous(), CE, trains=0.7, optimizer=adam(1e-2))


@healthy
def gated_rms() -> Case:
    return Case(Gated(), *data.digits(), CE, optimizer=adam(3e-3))


@healthy
def siamese() -> Case:
    return Case(Siamese(), *data.digits(), CE, optimizer=adam(3e-3))


@healthy
def squeeze_excitation() -> Case:
    return Case(Bottleneck(), *data.pictures(), CE, optimizer=adam(1e-2), steps=500)


@healthy
def bidirectional_lstm() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(8, 24, bidirectional=True, batch_first=True)
            self.head = nn.Linear(48, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.rnn(x)[0].mean(1))

    return Case(Net(), *data.rows(), CE, optimizer=adam(5e-3))


@healthy
def temporal_convolutions() -> Case:
    layers: list[nn.Module] = []
    for i in range(3):
        layers += [nn.Conv1d(8 if i == 0 else 24, 24, 3, padding=2**i, dilation=2**i), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, 10))
    return Case(model, *data.rows(), CE, optimizer=adam(5e-3))


@healthy
def weight_norm_mlp() -> Case:
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(64, 64)), nn.ReLU(),
        nn.utils.parametrizations.weight_norm(nn.Linear(64, 64)), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    return Case(model, *data.digits(), CE, optimizer=adam(3e-3))


@healthy
def hardswish_cnn() -> Case:
    return Case(nets.cnn(activation=nn.Hardswish), *data.pictures(), CE, optimizer=adam(3e-3))


@healthy
def huber_regression() -> Case:
    x, y = data.smooth()
    return Case(nets.mlp((4, 64, 64, 1), nn.SiLU), x, 3 * y + 2, F.smooth_l1_loss, r2, 0.6, adam(3e-3), 500)


@healthy
def soft_labels() -> Case:
    x, y = data.digits()
    soft = 0.9 * F.one_hot(y, 10).float() + 0.01
    score = lambda out, t: float((out.argmax(1) == t.argmax(1)).float().mean())  # noqa: E731
    return Case(nets.mlp((64, 64, 10)), x, soft, CE, score)


@healthy
def summed_loss_with_adam() -> Case:
    return Case(nets.mlp((64, 64, 10)), *data.digits(), lambda p, y: CE(p, y, reduction="sum"), optimizer=adam(3e-3))


@healthy
def policy_and_value() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp((64, 64, 64), nn.Tanh)
            self.policy, self.value = nn.Linear(64, 10), nn.Linear(64, 1)
            for layer, gain in ((self.body[0], 2**0.5), (self.body[2], 2**0.5), (self.policy, 0.01), (self.value, 1.0)):
                nn.init.orthogonal_(layer.weight, gain)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.tanh(self.body(x))
            return torch.cat([self.policy(h), self.value(h)], 1)

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return CE(out[:, :10], y) + 0.5 * MSE(out[:, 10], y.float() / 10)

    score = lambda out, y: float((out[:, :10].argmax(1) == y).float().mean())  # noqa: E731
    return Case(Net(), *data.digits(), loss, score, optimizer=adam(3e-3))


@healthy
def lora_on_a_frozen_body() -> Case:
    class Lora(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.a = nn.Parameter(torch.randn(8, base.in_features) / math.sqrt(base.in_features))
            self.b = nn.Parameter(torch.zeros(base.out_features, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.base(x) + x @ self.a.T @ self.b.T

    model = nn.Sequential(
        Lora(nn.Linear(64, 64)), nn.ReLU(), Lora(nn.Linear(64, 64)), nn.ReLU(), Lora(nn.Linear(64, 10))
    )
    return Case(model, *data.digits(), CE, optimizer=adam(1e-2))


# Faulty.


@fault("vanishing-forward vanishing-gradient wrong-gain rank-collapse", "0 2")
def tiny_uniform_elu() -> Case:
    model = nets.initialized(
        nets.mlp((64, *[48] * 7, 10), nn.ELU), lambda w: nn.init.uniform_(w, -0.02, 0.02), nn.init.zeros_
    )
    return Case(model, *data.digits(), CE, optimizer=sgd(0.02))


@fault("exploding-forward wrong-gain large-head exploding-gradient", "0 2")
def truncated_normal_of_one() -> Case:
    """torch's trunc_normal_ with its default std of 1."""
    model = nets.mlp((64, 128, 128, 128, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight)
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01))


@fault("exploding-forward wrong-gain exploding-gradient large-head", "0 2")
def orthogonal_of_gain_three() -> Case:
    model = nets.initialized(nets.mlp((64, *[64] * 14, 10)), lambda w: nn.init.orthogonal_(w, 3.0), nn.init.zeros_)
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01))


@fault("constant-init symmetric-units", "embed* body*")
def identity_matrices_of_ones() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.body, self.head = nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 10)
            nn.init.ones_(self.body.weight)
            nn.init.zeros_(self.body.bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.body(torch.tanh(self.embed(x)))))

    model = Net()
    with torch.no_grad():
        model.head.weight[:] = model.head.weight[:, :1].clone()
    return Case(model, *data.digits(), CE)


@fault("dead-units no-gradient", "conv* 0 1 2 3")
def convolution_dead_by_bias() -> Case:
    model = nets.cnn()
    nn.init.constant_(model[2].bias, -40.0)
    return Case(model, *data.pictures(), CE)


@fault("saturation wrong-gain", "0 1 2 3")
def softsign_saturated() -> Case:
    model = nets.initialized(nets.mlp((64, 64, 64, 10), nn.Softsign), lambda w: nn.init.normal_(w, 0, 10.0))
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01))


@fault("saturation", "rnn*")
def gru_update_gate_stuck() -> Case:
    model = nets.Recurrent(nn.GRU)
    nn.init.normal_(model.rnn.weight_ih_l0, 0, 30.0)
    return Case(model, *data.rows(), CE, optimizer=adam(2e-3))


@fault("unnormalized-inputs saturation", "*")
def years_as_inputs() -> Case:
    x, y = data.smooth()
    x = x.clone()
    x[:, 0] = 2000 + 10 * x[:, 0]
    return Case(nets.mlp((4, 64, 64, 1), nn.Tanh), x, y, MSE, r2, 0.5, adam(3e-3))


@fault("unscaled-targets wrong-prior", "*")
def prices_as_targets() -> Case:
    x, y = data.smooth()
    return Case(nets.mlp((4, 64, 64, 1)), x, 250_000 + 80_000 * y, MSE, r2, 0.5, adam(1e-3))


@fault("unreachable-targets", "*")
def tanh_for_unit_interval_targets_times_five() -> Case:
    x, y = data.positive()
    return Case(nets.mlp((4, 64, 1), last=[nn.Tanh()]), x, 5 * y, MSE, r2, 0.6, adam(3e-3))


@fault("double-softmax", "*")
def log_softmax_of_a_softmax() -> Case:
    model = nets.mlp((64, 64, 10), last=[nn.Softmax(-1)])
    return Case(model, *data.digits(), lambda p, y: F.nll_loss(F.log_softmax(p, 1), y), optimizer=sgd(0.01))


@fault("double-softmax unreachable-targets", "*")
def sigmoid_before_cross_entropy() -> Case:
    return Case(nets.mlp((64, 64, 10), last=[nn.Sigmoid()]), *data.digits(), CE, optimizer=sgd(0.01))


@fault("hidden-softmax", "*")
def functional_softmax_between_convolutions() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.relu(self.b(F.softmax(self.a(x), dim=1)))
            return self.c(x.mean((2, 3)))

    return Case(Net(), *data.pictures(), CE, optimizer=sgd(0.01))


@fault("no-gradient", "encoder*")
def data_taken_out() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nets.mlp((64, 64, 16)), nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.relu(self.encoder(x).data))

    return Case(Net(), *data.digits(), CE)


@fault("no-gradient", "encoder*")
def hard_assignment() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Linear(64, 16), nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.one_hot(self.encoder(x).argmax(1), 16).float())

    return Case(Net(), *data.digits(), CE)


@fault("not-in-optimizer", "norm* *")
def optimizer_with_weights_only() -> Case:
    model = nets.mlp((64, 64, 10))
    return Case(
        model, *data.digits(), CE,
        optimizer=lambda m: torch.optim.SGD([p for n, p in m.named_parameters() if n.endswith("weight")], 0.05),
    )  # fmt: skip


@fault("frozen", "blocks.0*")
def one_block_left_frozen() -> Case:
    model = nets.Gpt(depth=3)
    model.blocks[0].requires_grad_(False)
    return Case(model, *data.chain(), token_loss, token_accuracy, 0.7, adam(5e-3))


@fault("duplicated-draws", "gate* up*")
def gate_and_up_from_one_seed() -> Case:
    model = Gated()
    for gate, up in zip(model.gate, model.up, strict=True):
        up.weight.data.copy_(gate.weight)
    return Case(model, *data.digits(), CE, optimizer=adam(3e-3))


@fault("non-finite-values", "*")
def logarithm_of_a_softmax() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.mlp((64, 64, 10))
            nn.init.normal_(self.body[2].weight, 0, 30.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log(self.body(x).softmax(1))

    return Case(Net(), *data.digits(), F.nll_loss)


@fault("rank-collapse vanishing-forward vanishing-gradient wrong-gain", "*")
def mixer_without_skips() -> Case:
    model = Mixer(10, skips=False)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.001)
    return Case(model, *data.rows(), CE, optimizer=sgd(0.01))


@fault("residual-growth exploding-forward large-head", "*")
def forty_gelu_blocks_without_norm() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Linear(64, 48), nn.Linear(48, 10)
            self.layers = nn.ModuleList([nn.Linear(48, 48) for _ in range(40)])
            for layer in self.layers:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            for layer in self.layers:
                x = x + layer(F.gelu(x))
            return self.head(x)

    return Case(Net(), *data.digits(), CE, optimizer=sgd(0.01))


@fault("attention-collapse", "*")
def encoder_with_huge_queries() -> Case:
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    nn.init.normal_(layer.self_attn.in_proj_weight, 0, 2.0)
    model = nn.Sequential(nn.Linear(8, 32), nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(256, 10))
    return Case(model, *data.rows(), CE, optimizer=adam(2e-3))


@fault("wrong-fan vanishing-forward vanishing-gradient wrong-gain", "*")
def matrices_stored_in_out() -> Case:
    """x @ w with w of (in, out), drawn by torch's fan_in, which is out."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ws = nn.ParameterList([nn.Parameter(torch.empty(a, b)) for a, b in ((64, 8), (8, 256), (8, 256))])
            self.back = nn.Linear(256, 8)
            self.head = nn.Linear(256, 10)
            for w in self.ws:
                nn.init.kaiming_normal_(w, nonlinearity="relu")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = F.relu(F.relu(x @ self.ws[0]) @ self.ws[1])
            return self.head(F.relu(F.relu(self.back(h)) @ self.ws[2]))

    return Case(Net(), *data.digits(), CE, optimizer=sgd(0.05))


@fault("large-head wrong-gain exploding-forward", "head*")
def language_head_of_unit_normal() -> Case:
    model = nets.Gpt(tied=False)
    nn.init.normal_(model.head.weight, 0, 10.0)
    return Case(model, *data.chain(), token_loss, token_accuracy, 0.7, sgd(0.01))


@fault("flipped-loss", "*")
def negated_squares() -> Case:
    return Case(nets.mlp((4, 64, 1)), *data.smooth(), lambda p, y: -MSE(p, y), r2, 0.5, sgd(0.01))


@fault("unreduced-loss", "*")
def mse_summed() -> Case:
    return Case(nets.mlp((4, 64, 1)), *data.smooth(), lambda p, y: MSE(p, y, reduction="sum"), r2, 0.5, sgd(0.05))


@fault("wrong-prior large-head", "*")
def binary_bias_of_the_wrong_sign() -> Case:
    model = nets.mlp((64, 64, 1))
    nn.init.constant_(model[-1].bias, 60.0)
    x, y = data.tall()
    return Case(model, x, y * (x[:, :1] > 100), BCE, optimizer=sgd(0.01))
