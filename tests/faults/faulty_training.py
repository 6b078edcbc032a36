"""Faulty programs that only training shows: learning rates, decay, the optimizer's settings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from . import data, healthy, nets
from .program import Case, adam, fault, r2, sgd

CE, MSE, BCE = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits
_TOO_HIGH = "learning-rate-too-high loss-diverged loss-oscillating loss-rising update-too-large loss-stuck"
_TOO_HIGH += " exploded-gradients non-finite-values trivial-plateau gradient-spike dying-units"
_TOO_LOW = "learning-rate-too-low update-too-small loss-stuck trivial-plateau"


@fault(_TOO_HIGH, when="training", twin=healthy.mlp_default)
def sgd_of_ten() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(10.0), steps=150)


@fault(_TOO_HIGH, when="training", twin=healthy.mlp_gelu)
def adam_of_one() -> Case:
    return Case(nets.mlp((64, 128, 128, 10), nn.GELU), *data.digits(), CE, trains=0.95, optimizer=adam(1.0), steps=150)


@fault(_TOO_HIGH, when="training", twin=healthy.cnn_he)
def cnn_with_sgd_of_three() -> Case:
    return Case(nets.he(nets.cnn()), *data.pictures(), CE, optimizer=sgd(3.0), steps=100)


@fault(_TOO_HIGH, when="training", twin=healthy.vit)
def vit_with_adam_of_a_tenth() -> Case:
    return Case(nets.Vit(), *data.pictures(), CE, optimizer=adam(0.3), steps=120)


@fault(_TOO_HIGH, when="training", twin=healthy.regression_linear)
def linear_regression_past_two_over_lambda() -> Case:
    case = healthy.regression_linear.build()
    case.optimizer = lambda m: torch.optim.SGD(m.parameters(), 1.3)
    return case


@fault(_TOO_HIGH, when="training", twin=healthy.regression)
def quadratic_with_sgd_of_a_tenth() -> Case:
    """y = 5x², 1-50-30-1 ReLU, SGD .1: diverges (SO 48934338)."""
    x = torch.rand(512, 1, generator=torch.Generator().manual_seed(0)) * 10 - 5
    return Case(nets.mlp((1, 50, 30, 1)), x, 5 * x.square(), MSE, r2, 0.5, sgd(0.1, 0.0), 150)


@fault(_TOO_LOW, when="training", twin=healthy.mlp_default)
def sgd_of_a_ten_millionth() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), CE, optimizer=sgd(1e-7), steps=150)


@fault(_TOO_LOW, when="training", twin=healthy.lenet_default)
def adam_of_a_hundred_millionth() -> Case:
    return Case(nets.lenet(), *data.pictures(), CE, optimizer=adam(1e-8), steps=150)


@fault(_TOO_LOW, when="training", twin=healthy.xor_tanh)
def xor_of_sigmoids_with_a_small_rate() -> Case:
    """XOR, 2-2-3-1 sigmoid, U(±.05), lr 1e-3 (SO 34311586)."""
    model = nets.initialized(nets.mlp((2, 2, 3, 1), nn.Sigmoid), lambda w: nn.init.uniform_(w, -0.05, 0.05))
    return Case(model, *data.xor(), BCE, trains=0.9, optimizer=sgd(1e-3, 0.0), steps=200)


@fault(_TOO_HIGH + " update-too-small vanished-gradients", when="training", twin=healthy.mlp_default)
def weight_decay_of_one() -> Case:
    """Decay pulls every weight to zero within a few steps."""
    return Case(
        nets.mlp((64, 64, 64, 10)), *data.digits(), CE,
        optimizer=lambda m: torch.optim.AdamW(m.parameters(), 0.01, weight_decay=30.0), steps=200,
    )  # fmt: skip


@fault("over-fitting", when="training", twin=healthy.mlp_default)
def twenty_random_labels() -> Case:
    x, _ = data.digits()
    y = torch.randint(10, (len(x),), generator=torch.Generator().manual_seed(0))
    return Case(nets.mlp((64, 256, 10)), x, y, CE, optimizer=adam(3e-3), steps=200)
