"""The first update that an optimizer would make, from the gradient: what the update ratio is measured with.

``weighing`` asks for each parameter; nothing is stepped, and the optimizer is only read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from ..errors import ArgumentError

Group = Mapping[str, object]
_DRAWS = 4096


@dataclass(frozen=True, slots=True)
class Updates:
    """The optimizer's options for each parameter that it holds, by the parameter's id.

    Args:
        name: the optimizer's class.
        groups: the options of each parameter.
    """

    name: str
    groups: Mapping[int, Group]

    def of(self, parameter: torch.Tensor) -> Group | None:
        """The options for a parameter; ``None`` where the optimizer does not hold it."""
        return self.groups.get(id(parameter))

    def rate(self, parameter: torch.Tensor) -> float | None:
        """The parameter's learning rate; ``None`` where the optimizer does not hold it."""
        lr = (self.of(parameter) or {}).get("lr")
        return float(lr) if isinstance(lr, int | float | torch.Tensor) else None

    def first(self, parameter: torch.Tensor, values: torch.Tensor, gradient: torch.Tensor) -> float | None:
        """The rms of the first update of a parameter of these values; ``None`` where it or the rule is not known."""
        options = self.of(parameter)
        return None if options is None else self._first(options, values, gradient)

    def expected(self, parameter: torch.Tensor, value: float, gradient: float) -> float | None:
        """The same for Gaussian values and gradients of these rms, where there are no real ones."""
        options, generator = self.of(parameter), torch.Generator().manual_seed(0)
        w, g = (torch.randn(_DRAWS, generator=generator, dtype=torch.float64) for _ in range(2))
        return None if options is None else self._first(options, value * w, gradient * g)

    def _first(self, options: Group, w: torch.Tensor, gradient: torch.Tensor) -> float | None:
        rule = _RULES.get(self.name)
        if rule is None:
            return None
        lr, decay = _number(options, "lr", math.nan), _number(options, "weight_decay", 0.0)
        g = -gradient if options.get("maximize") else gradient
        if decay and self.name not in _DECOUPLED:
            g = g + decay * w
        step = lr * rule(g, options)
        if decay and self.name in _DECOUPLED:
            step = step + lr * decay * w
        return float(step.double().square().mean().sqrt()) if step.numel() else None


def updates_of(optimizer: torch.optim.Optimizer | None, lr: float | None, model: torch.nn.Module) -> Updates | None:
    """The options of an optimizer, or of plain SGD with this learning rate; ``None`` where neither is given.

    Raises:
        ArgumentError: both are given, or the optimizer is none of torch's kind, or the rate is not positive.
    """
    if optimizer is not None and lr is not None:
        raise ArgumentError("optimizer= and lr= were both given: the optimizer has its own learning rates, give one")
    if lr is not None:
        if not (isinstance(lr, int | float) and math.isfinite(lr) and lr > 0):
            raise ArgumentError(f"lr={lr!r} should be a positive number")
        return Updates("SGD", {id(p): {"lr": lr} for p in model.parameters()})
    if optimizer is None:
        return None
    groups = getattr(optimizer, "param_groups", None)
    if groups is None:
        raise ArgumentError(
            f"optimizer={type(optimizer).__name__} is no torch.optim.Optimizer: give the one that will train the model"
        )
    return Updates(type(optimizer).__name__, {id(p): group for group in groups for p in group["params"]})


def _number(options: Group, name: str, default: float) -> float:
    value = options.get(name, default)
    return float(value) if isinstance(value, int | float | torch.Tensor) else default


def _sgd(g: torch.Tensor, options: Group) -> torch.Tensor:
    """The first step has no momentum yet but Nesterov's: (1 + μ) g."""
    return g * (1 + _number(options, "momentum", 0.0)) if options.get("nesterov") else g


def _adam(g: torch.Tensor, options: Group) -> torch.Tensor:
    """m̂ / (√v̂ + ε) = g / (|g| + ε) after the bias corrections of the first step (Kingma & Ba 2015)."""
    return g / (g.abs() + _number(options, "eps", 1e-8))


def _rmsprop(g: torch.Tensor, options: Group) -> torch.Tensor:
    spread = g.abs() * math.sqrt(1 - _number(options, "alpha", 0.99))
    return g / (spread + _number(options, "eps", 1e-8))


def _adagrad(g: torch.Tensor, options: Group) -> torch.Tensor:
    start = _number(options, "initial_accumulator_value", 0.0)
    return g / ((g.square() + start).sqrt() + _number(options, "eps", 1e-10))


def _sign(g: torch.Tensor, _: Group) -> torch.Tensor:
    return g.sign()


_RULES: Mapping[str, Callable[[torch.Tensor, Group], torch.Tensor]] = MappingProxyType(
    {"SGD": _sgd, "Adam": _adam, "AdamW": _adam, "RMSprop": _rmsprop, "Adagrad": _adagrad, "Lion": _sign}
)
_DECOUPLED = frozenset({"AdamW", "Lion"})
