"""Faulty programs whose output, loss or data do not fit one another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from . import data, healthy, nets
from .mending import averaged
from .program import Case, adam, fault, mended, r2, sgd

CE, MSE, BCE = F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits


@fault("softmax-over-one", "*", twin=healthy.binary_sigmoid_output)
def softmax_over_one_unit() -> Case:
    """50-50-1 with a softmax behind the last: a constant (SO 31880720)."""
    model = nets.mlp((64, 50, 50, 1), last=[nn.Softmax(1)])
    return Case(model, *data.tall(), F.binary_cross_entropy)


@fault("softmax-over-one unnormalized-inputs saturation", "*", twin=healthy.regression_tanh)
def softmax_over_one_and_raw_inputs() -> Case:
    """Two inputs up to 1e4, 3-3-2-1 tanh, softmax over one, MSE (SO 33969059)."""
    x = torch.rand(512, 2, generator=torch.Generator().manual_seed(0)) * 1e4
    y = (x[:, :1] > x[:, 1:]).float()
    return Case(nets.mlp((2, 3, 3, 2, 1), nn.Tanh, [nn.Softmax(1)]), x, y, MSE, trains=0.8)


@fault("double-softmax", "*", twin=healthy.mlp_default)
def softmax_before_cross_entropy() -> Case:
    model = nets.mlp((64, 64, 64, 10), last=[nn.Softmax(1)])
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01))


@fault("double-softmax", "*", twin=healthy.lenet_default)
def functional_softmax_before_cross_entropy() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nets.lenet()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.softmax(self.body(x), dim=-1)

    return Case(Net(), *data.pictures(), CE, optimizer=sgd(0.05), steps=300)


def _without_softmax(case: Case, code: str) -> bool:
    case.model = case.model.body  # type: ignore[assignment]
    return code == "double-softmax"


functional_softmax_before_cross_entropy = mended(functional_softmax_before_cross_entropy, _without_softmax)


@fault("double-softmax", "*", twin=healthy.binary_logits)
def sigmoid_before_bce_with_logits() -> Case:
    model = nets.mlp((64, 64, 1), last=[nn.Sigmoid()])
    return Case(model, *data.tall(), BCE)


@fault("missing-softmax", "*", twin=healthy.log_softmax_nll)
def nll_on_raw_outputs() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), F.nll_loss, optimizer=sgd(0.1))


@fault("hidden-softmax", "1 3 5", twin=healthy.mlp_default)
def softmax_as_hidden_activation() -> Case:
    model = nets.mlp((64, 64, 64, 64, 10), lambda: nn.Softmax(1))
    return Case(model, *data.digits(), CE)


@fault("unreachable-targets unscaled-targets", "*", twin=healthy.regression)
def sigmoid_for_unbounded_targets() -> Case:
    x, y = data.smooth()
    return Case(nets.mlp((4, 64, 64, 1), last=[nn.Sigmoid()]), x, 10 * y, MSE, r2, 0.5, adam(3e-3))


@fault("unreachable-targets dead-units no-gradient", "*", twin=healthy.regression)
def relu_for_negative_targets() -> Case:
    """The best it can do is zero (SO 48251943)."""
    x, y = data.smooth()
    return Case(nets.mlp((4, 64, 64, 1), last=[nn.ReLU()]), x, y - 3, MSE, r2, 0.5, adam(3e-3))


@fault("unreachable-targets", "*", twin=healthy.binary_sigmoid_output)
def relu_output_with_bce() -> Case:
    """Raw features, 11-12-12-1, ReLU behind the last, cross-entropy on it (SO 44066044)."""
    model = nets.mlp((64, 12, 12, 1), last=[nn.ReLU()])
    return Case(model, *data.tall(), lambda p, y: F.binary_cross_entropy(p.clamp(0, 1), y), trains=0.9)


@fault("unreachable-targets unscaled-targets", "*", twin=healthy.autoencoder)
def tanh_for_bytes() -> Case:
    x, _ = data.digits()
    raw, _ = data.pixels()
    model = nn.Sequential(*nets.Autoencoder().encoder, nn.ReLU(), nn.Linear(12, 64), nn.Tanh())
    return Case(model, x, raw, MSE, r2, 0.3, adam(3e-3))


@fault("wrong-prior large-head", "4", twin=healthy.mlp_default)
def bias_of_the_wrong_class() -> Case:
    model = nets.mlp((64, 64, 64, 10))
    with torch.no_grad():
        model[-1].bias.zero_()
        model[-1].bias[3] = 3000.0
    return Case(model, *data.digits(), CE, optimizer=sgd(0.01), steps=150)


@fault("unscaled-targets wrong-prior", "*", twin=healthy.regression)
def targets_far_from_zero() -> Case:
    x, y = data.smooth()
    return Case(nets.mlp((4, 32, 1)), x, y + 2000, MSE, r2, 0.5, adam(1e-3))


@fault("unscaled-targets saturation unnormalized-inputs", "*", twin=healthy.regression)
def quartic_of_raw_inputs() -> Case:
    """x in ±100, y = x⁴, sigmoid then ELU (SO 52800582)."""
    x = torch.rand(512, 1, generator=torch.Generator().manual_seed(0)) * 200 - 100
    model = nn.Sequential(nn.Linear(1, 40), nn.Sigmoid(), nn.Linear(40, 40), nn.ELU(), nn.Linear(40, 1))
    return Case(model, x, x**4, MSE, r2, 0.5, adam(3e-3), 500)


@fault("unreduced-loss exploding-gradient", "*", twin=healthy.mlp_default)
def summed_loss() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), lambda p, y: CE(p, y, reduction="sum"), optimizer=sgd(0.05))


summed_loss = mended(summed_loss, averaged)


@fault("unreduced-loss exploding-gradient", "*", twin=healthy.autoencoder)
def summed_reconstruction() -> Case:
    x, _ = data.digits()
    model = nets.Autoencoder()
    return Case(model, x, x, lambda p, y: (p - y).square().sum(), r2, 0.4, sgd(0.1), 600)


summed_reconstruction = mended(summed_reconstruction, averaged)


@fault("flipped-loss", "*", twin=healthy.mlp_default)
def flipped_sign() -> Case:
    return Case(nets.mlp((64, 64, 64, 10)), *data.digits(), lambda p, y: -CE(p, y), optimizer=sgd(0.05))


def _turned(case: Case, code: str) -> bool:
    case.loss_fn = CE
    return code == "flipped-loss"


flipped_sign = mended(flipped_sign, _turned)


@fault("unnormalized-inputs saturation exploding-forward", "* 0 1", twin=healthy.pixels_scaled)
def bytes_into_sigmoids() -> Case:
    """0..255 into 784-784-50-10 sigmoid, SGD 1e-4 (SO 55328966)."""
    model = nets.initialized(nets.mlp((64, 128, 50, 10), nn.Sigmoid), lambda w: nn.init.normal_(w, 0, 0.5))
    return Case(model, *data.pixels(), CE, optimizer=sgd(0.02), steps=400)


@fault("unnormalized-inputs exploding-forward large-head", "*", twin=healthy.mlp_default)
def inputs_of_ten_thousands() -> Case:
    x, y = data.digits()
    return Case(nets.mlp((64, 64, 64, 10)), x * 1e4, y, CE, optimizer=sgd(0.05))


@fault("unnormalized-inputs", "*", twin=healthy.raw_features_with_batchnorm)
def raw_feature_columns() -> Case:
    return Case(nets.mlp((11, 32, 32, 1)), *data.raw_features(), BCE, optimizer=sgd(0.01))


@fault("unnormalized-inputs", "*", twin=healthy.regression)
def three_unscaled_inputs() -> Case:
    """3-12-3-1 ReLU on inputs of hundreds (SO 39525358)."""
    x, y = data.smooth()
    return Case(nets.mlp((3, 12, 3, 1)), x[:, :3] * 150 + 800, y, MSE, r2, 0.5, sgd(0.02), 500)


@fault("unnormalized-inputs vanishing-forward", "*", twin=healthy.mlp_default)
def inputs_of_millionths() -> Case:
    x, y = data.digits()
    return Case(nets.mlp((64, 64, 64, 10)), x * 1e-6, y, CE, optimizer=sgd(0.01))


@fault("unnormalized-inputs", "*", twin=healthy.lstm)
def raw_sequence_into_lstm() -> Case:
    x, y = data.pixels()
    return Case(nets.Recurrent(nn.LSTM), x.view(-1, 8, 8) * 20, y, CE, trains=0.9, optimizer=adam(5e-3), steps=400)
