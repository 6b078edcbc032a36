"""Faulty programs whose gradient, optimizer or numbers do not reach all of the model."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from . import data, healthy, nets
from .program import Case, Mend, adam, fault, mended, r2, sgd, token_accuracy, token_loss

CE, MSE = F.cross_entropy, F.mse_loss


class Two(nn.Module):
    """A body and a head with something between."""

    def __init__(self, between: object) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(8, 10))
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.between(self.body(x)))  # type: ignore[operator]


@fault("no-gradient", "body*", twin=healthy.mlp_default)
def detached_body() -> Case:
    return Case(Two(torch.Tensor.detach), *data.digits(), CE, trains=0.9, steps=200)


@fault("no-gradient", "body*", twin=healthy.mlp_default)
def body_under_no_grad() -> Case:
    class Net(Two):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                h = self.body(x)
            return self.head(h)

    return Case(Net(None), *data.digits(), CE, trains=0.9, steps=200)


@fault("no-gradient", "body*", twin=healthy.mlp_default)
def rounded_in_the_middle() -> Case:
    return Case(Two(torch.round), *data.digits(), CE, trains=0.9, steps=200)


@fault("no-gradient", "body*", twin=healthy.mlp_default)
def through_numpy() -> Case:
    return Case(Two(lambda h: torch.tensor(h.detach().numpy())), *data.digits(), CE, trains=0.9, steps=200)


def _uncut(case: Case, code: str) -> bool:
    model = Two(lambda h: h)
    model.load_state_dict(case.model.state_dict())
    case.model = model
    return code == "no-gradient"


detached_body = mended(detached_body, _uncut)
body_under_no_grad = mended(body_under_no_grad, _uncut)
rounded_in_the_middle = mended(rounded_in_the_middle, _uncut)
through_numpy = mended(through_numpy, _uncut)


@fault("frozen", "2", twin=healthy.mlp_default)
def middle_frozen_by_mistake() -> Case:
    model = nets.mlp((64, 64, 64, 64, 10))
    model[2].requires_grad_(False)
    return Case(model, *data.digits(), CE)


@fault("frozen", "4", twin=healthy.mlp_default)
def head_frozen() -> Case:
    model = nets.mlp((64, 64, 64, 10))
    model[4].requires_grad_(False)
    return Case(model, *data.digits(), CE)


@fault("not-in-optimizer", "0 2", twin=healthy.mlp_default)
def optimizer_without_the_body() -> Case:
    model = nets.mlp((64, 16, 16, 10))
    return Case(
        model,
        *data.digits(),
        CE,
        trains=0.9,
        optimizer=lambda m: torch.optim.SGD(m[4].parameters(), 0.05, 0.9),
        steps=400,
    )


@fault("not-in-optimizer", "4", twin=healthy.mlp_default)
def head_replaced_after_the_optimizer() -> Case:
    """The optimizer holds the old head, which the model no longer has."""
    model = nets.mlp((64, 64, 64, 10))
    old = list(model.parameters())
    model[4] = nn.Linear(64, 10)
    return Case(model, *data.digits(), CE, optimizer=lambda m: torch.optim.SGD(old, 0.05, 0.9))


@fault("untied-weights duplicated-draws", "head* tokens*", twin=healthy.gpt)
def head_copied_from_the_table() -> Case:
    model = nets.Gpt()
    model.head.weight = nn.Parameter(model.tokens.weight.detach().clone())
    return Case(model, *data.chain(), token_loss, token_accuracy, 0.7, adam(5e-3), 100)


@fault("unused-parameter no-gradient", "skipped*", twin=healthy.mlp_default)
def layer_never_called() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.skipped, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.relu(self.first(x)))

    return Case(Net(), *data.digits(), CE)


@fault("non-finite-weights", "2", twin=healthy.mlp_default)
def nan_in_a_weight() -> Case:
    model = nets.mlp((64, 64, 64, 10))
    with torch.no_grad():
        model[2].weight[3, 5] = float("nan")
    return Case(model, *data.digits(), CE)


@fault("non-finite-weights exploding-forward non-finite-values", "2", twin=healthy.mlp_default)
def uninitialized_memory() -> Case:
    model = nets.mlp((64, 64, 64, 10))
    with torch.no_grad():
        model[2].weight.fill_(1e38)
        model[2].weight[::2] = 3e-42
    return Case(model, *data.digits(), CE)


class Log(nn.Module):
    least = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(F.relu(x).clamp_min(self.least))


def _set_least(value: float) -> Mend:
    """The small number that the fix asks for, in every module that has a place for it."""

    def mend(case: Case, code: str) -> bool:
        for module in case.model.modules():
            if hasattr(module, "least"):
                module.least = value
        return code.startswith("non-finite")

    return mend


@fault("non-finite-values", "1*", twin=healthy.mlp_default)
def logarithm_of_zero() -> Case:
    return Case(nets.mlp((64, 64, 10), Log), *data.digits(), CE, optimizer=adam(3e-3))


class Distances(nn.Module):
    """Distances to the batch's first samples, one's own among them: the root's gradient at zero is infinite."""

    least = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, None] - x[None, :16]).square().sum(-1).add(self.least).sqrt()


@fault("non-finite-gradients", "1* 0*", twin=healthy.mlp_default)
def root_of_zero() -> Case:
    return Case(
        nn.Sequential(nn.Linear(64, 64), Distances(), nn.Linear(16, 10)), *data.digits(), CE, optimizer=adam(3e-3)
    )


@fault("non-finite-values", "1*", twin=healthy.mlp_default)
def division_by_a_zero_norm() -> Case:
    class Unit(nn.Module):
        least = 0.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = F.relu(x - 1)
            return h / (h.norm(dim=1, keepdim=True) + self.least)

    return Case(nets.mlp((64, 64, 10), Unit), *data.digits(), CE)


@fault("non-finite-values", "attention* softmax", twin=healthy.vit)
def attention_row_all_masked() -> Case:
    class Net(nn.Module):
        least = -1

        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = nets.Attention(8, 2), nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.attention.qkv(x).chunk(3, -1)
            mask = torch.ones(8, 8, dtype=torch.bool).tril(int(self.least))
            weights = (q @ k.transpose(1, 2) / 8**0.5).masked_fill(~mask, float("-inf")).softmax(-1)
            return self.head(self.attention.out(weights @ v).flatten(1))

    return Case(Net(), *data.rows(), CE)


logarithm_of_zero = mended(logarithm_of_zero, _set_least(1e-6))
root_of_zero = mended(root_of_zero, _set_least(1e-12))
division_by_a_zero_norm = mended(division_by_a_zero_norm, _set_least(1e-8))
attention_row_all_masked = mended(attention_row_all_masked, _set_least(0))


@fault("non-finite-inputs", "*", twin=healthy.regression)
def nan_in_the_data() -> Case:
    x, y = data.smooth()
    x = x.clone()
    x[::17, 2] = float("nan")
    return Case(nets.mlp((4, 64, 1)), x, y, MSE, r2, 0.5)


@fault("non-finite-inputs", "*", twin=healthy.regression)
def nan_in_the_targets() -> Case:
    x, y = data.smooth()
    y = y.clone()
    y[::17] = float("nan")
    return Case(nets.mlp((4, 64, 1)), x, y, MSE, r2, 0.5)


@fault("symmetric-units duplicated-draws", "branches*", twin=healthy.mlp_default)
def branches_deep_copied() -> Case:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            first = nn.Sequential(nn.Linear(64, 16), nn.ReLU())
            self.branches = nn.ModuleList([copy.deepcopy(first) for _ in range(4)])
            self.head = nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.stack([b(x) for b in self.branches]).sum(0))

    return Case(Net(), *data.digits(), CE, optimizer=sgd(0.02))
