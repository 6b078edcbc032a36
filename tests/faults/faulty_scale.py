"""Faulty programs whose weights have the wrong size: the signal or the gradient dies or explodes.

Several follow published reports (the numbers of questions on Stack Overflow, as collected by DeepLocalize and
AUTOTRAINER); the code is our own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from . import data, healthy, nets
from .program import Case, adam, fault, mended, r2, sgd

CE, MSE, BCE = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits
_VANISHING = "vanishing-forward vanishing-gradient wrong-gain"
_EXPLODING = "exploding-forward exploding-gradient wrong-gain"


@fault(_VANISHING, "0", twin=healthy.mlp_he)
def tiny_normal_weights() -> Case:
    model = nets.initialized(
        nets.mlp((64, 64, 64, 64, 64, 64, 10)), lambda w: nn.init.normal_(w, 0, 0.01), nn.init.zeros_
    )
    return Case(model, *data.digits(), CE)


@fault(_EXPLODING + " large-head", "0", twin=healthy.mlp_he)
def unit_normal_weights() -> Case:
    """784-500-500-500-10 with N(0, 1) weights and biases: gain 250 a layer."""
    model = nets.mlp((64, 400, 400, 400, 10))
    for p in model.parameters():
        nn.init.normal_(p)
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01), steps=150)


@fault(_VANISHING, "0", twin=healthy.xor_tanh)
def uniform_005_narrow() -> Case:
    """2-2-2-1 ReLU, U(±.05): the signal shrinks millionfold (SO 41372874)."""
    model = nets.initialized(nets.mlp((2, 2, 2, 1)), lambda w: nn.init.uniform_(w, -0.05, 0.05), nn.init.zeros_)
    return Case(model, *data.xor(), BCE, trains=0.9, optimizer=sgd(0.01))


@fault(_VANISHING, "0 2", twin=healthy.mlp_he_deep)
def glorot_on_thirty_relu() -> Case:
    return Case(nets.glorot(nets.mlp((64, *[64] * 30, 10))), *data.digits(), CE, optimizer=sgd(3e-3), steps=500)


@fault(_VANISHING, "0 2", twin=healthy.mlp_he_deep)
def default_on_thirty_relu() -> Case:
    return Case(nets.mlp((64, *[64] * 30, 10)), *data.digits(), CE, optimizer=sgd(3e-3), steps=500)


@fault(_VANISHING, "0 2", twin=healthy.cnn_he)
def default_on_deep_cnn() -> Case:
    return Case(nets.cnn(8, 24), *data.pictures(), CE, optimizer=sgd(0.01), steps=400)


@fault(_VANISHING, "0 2", twin=healthy.mlp_gelu)
def default_on_deep_gelu() -> Case:
    return Case(nets.mlp((64, *[64] * 16, 10), nn.GELU), *data.digits(), CE, optimizer=sgd(0.01), steps=500)


@fault(_EXPLODING + " saturation rank-collapse", "0 2", twin=healthy.mlp_tanh_deep_orthogonal)
def he_times_two_on_deep_tanh() -> Case:
    """Deep in the chaotic phase: σw² = 8."""
    model = nets.initialized(
        nets.mlp((64, *[64] * 25, 10), nn.Tanh),
        lambda w: nn.init.normal_(w, 0, math.sqrt(8 / w.shape[1])),
        nn.init.zeros_,
    )
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01), steps=200)


@fault(_VANISHING + " rank-collapse", "0 2", twin=healthy.mlp_tanh_deep_orthogonal)
def lecun_half_on_deep_tanh() -> Case:
    model = nets.initialized(
        nets.mlp((64, *[64] * 20, 10), nn.Tanh),
        lambda w: nn.init.normal_(w, 0, 0.5 / math.sqrt(w.shape[1])),
        nn.init.zeros_,
    )
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01), steps=200)


@fault("wrong-gain vanishing-forward vanishing-gradient", "2 4 6 8 0", twin=healthy.siren)
def siren_with_default_weights() -> Case:
    return Case(nets.siren(), *data.waves(), F.mse_loss, r2, 0.9, adam(3e-4), 400, 256)


@fault(_VANISHING, "8", twin=healthy.mlp_he)
def one_layer_shrunk() -> Case:
    model = nets.he(nets.mlp((64, *[64] * 8, 10)))
    with torch.no_grad():
        model[8].weight.mul_(1e-9)
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01))


@fault(_EXPLODING, "6", twin=healthy.mlp_he)
def one_layer_grown() -> Case:
    model = nets.he(nets.mlp((64, *[64] * 6, 10)))
    with torch.no_grad():
        model[6].weight.mul_(1e4)
    return Case(model, *data.digits(), CE)


@fault("vanishing-gradient rank-collapse wrong-gain vanishing-forward", twin=healthy.mlp_sigmoid_shallow)
def twelve_narrow_sigmoid_layers() -> Case:
    return Case(
        nets.mlp((64, *[5] * 12, 10), nn.Sigmoid), *data.digits(), CE, trains=0.6, optimizer=sgd(0.05), steps=1500
    )


@fault("rank-collapse vanishing-gradient vanishing-forward wrong-gain", twin=healthy.mlp_sigmoid_shallow)
def sigmoid_small_normal() -> Case:
    """8-8-8-8 sigmoid, N(0, .05): the output does not depend on the input (SO 39217567)."""
    model = nets.initialized(
        nets.mlp((4, 8, 8, 8, 1), nn.Sigmoid), lambda w: nn.init.normal_(w, 0, 0.05), nn.init.zeros_
    )
    return Case(model, *data.smooth(), MSE, r2, 0.5, sgd(0.02), 600)


@fault("rank-collapse vanishing-gradient vanishing-forward wrong-gain", twin=healthy.mlp_sigmoid_shallow)
def scalar_to_sigmoid_layers() -> Case:
    """Scalar → 69-69-69 sigmoid, N(0, .05) (SO 58609115)."""
    model = nets.initialized(
        nets.mlp((1, 69, 69, 69, 1), nn.Sigmoid), lambda w: nn.init.normal_(w, 0, 0.05), nn.init.zeros_
    )
    x, _ = data.smooth()
    return Case(model, x[:, :1], torch.sin(2 * x[:, :1]), MSE, r2, 0.5, sgd(0.02), 600)


@fault("saturation exploding-gradient exploding-forward wrong-gain", "rnn*", twin=healthy.lstm)
def lstm_with_huge_recurrence() -> Case:
    model = nets.Recurrent(nn.LSTM)
    nn.init.normal_(model.rnn.weight_hh_l0, 0, 10.0)
    nn.init.normal_(model.rnn.weight_ih_l0, 0, 10.0)
    return Case(model, *data.rows(), CE, optimizer=adam(2e-3), steps=200)


@fault("exploding-forward exploding-gradient wrong-gain", "rnn*", twin=healthy.rnn_tanh)
def relu_rnn_with_unit_normal() -> Case:
    model = nets.Recurrent(nn.RNN, nonlinearity="relu")
    nn.init.normal_(model.rnn.weight_hh_l0)
    return Case(model, *data.rows(), CE, optimizer=sgd(0.01), steps=200)


@fault("wrong-fan vanishing-forward vanishing-gradient wrong-gain", "2 4 6 *", twin=healthy.unet)
def transposed_convolutions_as_plain() -> Case:
    """Kernel 4, stride 4: torch's fan_in is out · 4, the true one is in · 4/4."""
    layers: list[nn.Module] = [nn.Conv1d(10, 16, 1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.ConvTranspose1d(16, 16, 4, 4), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv1d(16, 1, 1), nn.Flatten())
    nets.initialized(model, lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), nn.init.zeros_)
    x, y = data.digits()
    return Case(model, F.one_hot(y, 10).float()[:, :, None], x, MSE, r2, 0.3, sgd(0.05), 300)


@fault("wrong-fan vanishing-forward vanishing-gradient wrong-gain", "* 2 0", twin=healthy.cnn_depthwise)
def depthwise_as_plain() -> Case:
    """Depthwise convolutions scaled by torch's fan_out, which is 16 times the true one."""
    layers: list[nn.Module] = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU()]
    for _ in range(5):
        layers += [nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    nets.initialized(model, lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), nn.init.zeros_)
    return Case(model, *data.pictures(), CE, trains=0.6, optimizer=sgd(0.05), steps=500)


class ChainOfExperts(nn.Module):
    """Stacked matrices, as (expert, in, out), layer behind layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.head = nn.Linear(64, 32), nn.Linear(32, 10)
        self.layers = nn.ParameterList([nn.Parameter(torch.empty(4, 32, 32)) for _ in range(4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.inputs(x)).expand(4, -1, -1)
        for w in self.layers:
            h = torch.relu(torch.bmm(h, w))
        return self.head(h.mean(0))


@fault("wrong-fan vanishing-forward vanishing-gradient wrong-gain", "layers* *", twin=healthy.mixture_of_experts)
def stacked_experts_as_convolution() -> Case:
    """torch reads a stack (expert, in, out) as a convolution's kernel: fan_in = in · out."""
    model = ChainOfExperts()
    for w in model.layers:
        nn.init.kaiming_normal_(w, nonlinearity="relu")
    return Case(model, *data.digits(), CE, steps=200)


@fault("exploding-forward wrong-gain unnormalized-inputs large-head saturation", "* table*", twin=healthy.gpt)
def embedding_std_hundred() -> Case:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(24, 16)
            self.body = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 24))

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.body(self.table(ids))

    model = Words()
    nn.init.normal_(model.table.weight, 0, 1e5)
    nn.init.normal_(model.body[2].weight, 0, 1e-3)
    ids, after = data.chain()
    return Case(model, ids[:, 0].contiguous(), after[:, 0].contiguous(), CE, trains=0.7, optimizer=sgd(0.1), steps=150)


@fault("large-head wrong-gain exploding-forward", "4", twin=healthy.mlp_default)
def head_much_too_large() -> Case:
    model = nets.mlp((64, 64, 64, 10))
    nn.init.normal_(model[-1].weight, 0, 100.0)
    return Case(model, *data.digits(), CE, optimizer=sgd(0.05), steps=200)


@fault(
    "residual-growth exploding-forward exploding-gradient large-head",
    "1* 2*",
    twin=healthy.residual_scaled_without_norm,
)
def fifty_residual_blocks_without_norm() -> Case:
    return Case(nets.he(nets.residual_mlp(50, 32)), *data.digits(), CE, optimizer=adam(1e-3), steps=200)


@fault("batchnorm-explosion exploding-gradient", "*", twin=healthy.batchnorm_ten)
def fifty_batchnorm_layers() -> Case:
    return Case(nets.bn_stack(50, 32), *data.digits(), CE, trains=0.7, optimizer=sgd(5e-3), steps=400)


@fault("attention-collapse", "blocks.*", twin=healthy.vit)
def attention_without_scale() -> Case:
    model = nets.Vit(scaled=False)
    for block in model.blocks:
        nn.init.normal_(block.attention.qkv.weight[:64], 0, 1.5)
    return Case(model, *data.pictures(), CE, optimizer=adam(2e-3), steps=150)


@fault("rank-collapse attention-collapse", "blocks.*", twin=healthy.vit)
def attention_without_skips() -> Case:
    model = nets.Vit(depth=10, skips=False)
    return Case(model, *data.pictures(), CE, optimizer=adam(2e-3), steps=250)


def _with_skips(case: Case, code: str) -> bool:
    for block in case.model.blocks:  # type: ignore[union-attr]
        block.skips = True
    return code == "rank-collapse"


attention_without_skips = mended(attention_without_skips, _with_skips)


@fault("vanishing-forward vanishing-gradient wrong-gain", "0", twin=healthy.dcgan_generator)
def gan_generator_without_norm() -> Case:
    """N(0, .02) is DCGAN's only because a BatchNorm stands behind every layer."""
    case = healthy.dcgan_generator.build()
    layers = list(nets.generator(norm=False))
    refining = [m for _ in range(4) for m in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU())]
    case.model = nets.dcgan_init(nn.Sequential(*layers[:-1], *refining, layers[-1], nn.Tanh()))
    case.optimizer = sgd(0.05)
    return case


class Exp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


class Square(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.square()


@fault(_EXPLODING + " non-finite-values", "*", twin=healthy.mlp_he)
def exponential_layers() -> Case:
    return Case(nets.glorot(nets.mlp((64, 64, 64, 64, 10), Exp)), *data.digits(), CE, optimizer=adam(1e-3))


@fault(_EXPLODING + " non-finite-values", "*", twin=healthy.mlp_he)
def squaring_layers() -> Case:
    return Case(nets.he(nets.mlp((64, *[64] * 8, 10), Square)), *data.digits(), CE, optimizer=adam(3e-4))


@fault(_VANISHING, "0", twin=healthy.mlp_tanh_deep_orthogonal)
def deep_linear_half_orthogonal() -> Case:
    model = nets.initialized(
        nets.mlp((64, *[64] * 15, 10), nn.Identity), lambda w: nn.init.orthogonal_(w, 0.4), nn.init.zeros_
    )
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01))


@fault("zero-norm-scale no-gradient constant-init", "* norm* blocks*", twin=healthy.vit)
def layernorm_scale_zero() -> Case:
    model = nets.Vit()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.zeros_(module.weight)
    return Case(model, *data.pictures(), CE, optimizer=sgd(0.05), steps=300)


@fault("zero-norm-scale no-gradient constant-init dead-units", "*", twin=healthy.vgg_batchnorm)
def batchnorm_scale_zero_in_a_chain() -> Case:
    model = nets.vgg()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.weight)
    return Case(model, *data.pictures(), CE, optimizer=sgd(0.05), steps=100)
