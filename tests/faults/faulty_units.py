"""Faulty programs whose units are all alike, dead or saturated."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from . import data, healthy, nets
from .program import Case, adam, fault, sgd

CE, MSE = F.cross_entropy, F.mse_loss


@fault("constant-init symmetric-units no-gradient", "0 2 4", twin=healthy.mlp_default)
def zero_weights() -> Case:
    """All zero: no gradient anywhere but at the last bias (SO 36127436)."""
    model = nets.initialized(nets.mlp((64, 64, 64, 10)), nn.init.zeros_, nn.init.zeros_)
    return Case(model, *data.digits(), CE)


@fault("constant-init symmetric-units", "0 3 7 9", twin=healthy.lenet_default)
def constant_lenet() -> Case:
    model = nets.initialized(nets.lenet(), lambda w: nn.init.constant_(w, 0.01), nn.init.zeros_)
    return Case(model, *data.pictures(), CE, optimizer=adam(3e-3), steps=200)


@fault("constant-init symmetric-units", "0 2", twin=healthy.mlp_glorot_tanh)
def ones_in_a_tanh_network() -> Case:
    model = nets.initialized(nets.mlp((64, 32, 10), nn.Tanh), nn.init.ones_, nn.init.zeros_)
    return Case(model, *data.digits(), CE)


@fault("constant-init symmetric-units", "2", twin=healthy.mlp_default)
def one_constant_hidden_layer() -> Case:
    model = nets.mlp((64, 64, 64, 64, 10))
    for layer in (model[2], model[4]):
        nn.init.constant_(layer.weight, 0.02)
        nn.init.zeros_(layer.bias)
    model[6].weight.data[:] = model[6].weight.data[:, :1]
    return Case(model, *data.digits(), CE, trains=0.9, optimizer=sgd(0.01), steps=200)


@fault("symmetric-units duplicated-draws", "0 2", twin=healthy.mlp_default)
def all_rows_alike() -> Case:
    model = nets.mlp((64, 64, 64, 10))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight[:] = layer.weight[:1].clone()
            layer.bias.zero_()
        model[4].weight[:] = model[4].weight[:, :1].clone()
    return Case(model, *data.digits(), CE, optimizer=sgd(0.02))


@fault("duplicated-draws symmetric-units", "up down", twin=healthy.mixture_of_experts)
def experts_from_one_copy() -> Case:
    model = nets.Experts()
    with torch.no_grad():
        model.up[:] = model.up[:1].clone()
        model.down[:] = model.down[:1].clone()
        model.router.weight.zero_()
        model.router.bias.zero_()
    return Case(model, *data.digits(), CE)


@fault("duplicated-draws symmetric-units", "heads.*", twin=healthy.ensemble_of_heads)
def heads_copied() -> Case:
    model = nets.Heads()
    model.heads = nn.ModuleList([copy.deepcopy(model.heads[0]) for _ in range(4)])
    return Case(model, *data.digits(), CE)


@fault("duplicated-draws", "2 4 6", twin=healthy.mlp_he)
def one_seed_for_every_layer() -> Case:
    model = nets.mlp((64, 64, 64, 64, 64, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            torch.manual_seed(0)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return Case(model, *data.digits(), CE)


@fault("dead-units no-gradient", "0 1 2 3", twin=healthy.mlp_he)
def dead_by_bias() -> Case:
    model = nets.he(nets.mlp((64, 64, 64, 10)))
    nn.init.constant_(model[0].bias, -30.0)
    nn.init.constant_(model[2].bias, -30.0)
    return Case(model, *data.digits(), CE)


@fault("dead-units no-gradient", "2 3", twin=healthy.mlp_he)
def dead_in_the_middle() -> Case:
    model = nets.he(nets.mlp((64, 64, 64, 64, 10)))
    nn.init.constant_(model[2].bias, -50.0)
    return Case(model, *data.digits(), CE)


@fault("dead-units no-gradient", "0 1", twin=healthy.pixels_scaled)
def dead_by_mean_shift() -> Case:
    """Inputs are positive and the weights' mean is negative: no unit ever fires."""
    x, y = data.pixels()
    model = nets.mlp((64, 64, 64, 10))
    nn.init.uniform_(model[0].weight, -0.3, 0.0)
    return Case(model, x / 255, y, CE)


@fault("saturation vanishing-gradient", "0 1 2 3", twin=healthy.mlp_sigmoid_shallow)
def sigmoid_saturated_by_bias() -> Case:
    model = nets.glorot(nets.mlp((64, 64, 64, 10), nn.Sigmoid))
    nn.init.constant_(model[0].bias, 30.0)
    nn.init.constant_(model[2].bias, 30.0)
    return Case(model, *data.digits(), CE, optimizer=sgd(0.05))


@fault("saturation wrong-gain exploding-forward", "0 1 2 3", twin=healthy.mlp_glorot_tanh)
def tanh_saturated_by_weights() -> Case:
    model = nets.initialized(
        nets.mlp((64, 64, 64, 64, 10), nn.Tanh), lambda w: nn.init.normal_(w, 0, 5.0), nn.init.zeros_
    )
    return Case(model, *data.digits(), CE, trains=0.9, optimizer=sgd(0.01))


@fault("saturation wrong-gain exploding-forward", "0 1 2 3", twin=healthy.mlp_sigmoid_shallow)
def sigmoid_saturated_by_weights() -> Case:
    model = nets.initialized(
        nets.mlp((64, 64, 64, 10), nn.Sigmoid), lambda w: nn.init.normal_(w, 0, 20.0), nn.init.zeros_
    )
    return Case(model, *data.digits(), CE, trains=0.9, optimizer=sgd(0.05), steps=400)


@fault("saturation vanishing-gradient", "rnn*", twin=healthy.lstm)
def lstm_gates_shut() -> Case:
    model = nets.Recurrent(nn.LSTM)
    nn.init.constant_(model.rnn.bias_ih_l0, -20.0)
    return Case(model, *data.rows(), CE, optimizer=adam(2e-3), steps=200)
