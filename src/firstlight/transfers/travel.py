"""Whether the signal still travels through a model after loading: one forward, watched module by module.

``TransferReport.check`` asks it. Running statistics that a batch norm learned on its old inputs are the one record
that weights carry of the data they were trained on; a batch that is normalized in another way does not have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import ArgumentError, ModelError
from ..graphs.tracing import Inputs

# A channel's mean this many of its standard deviations away, or its variance this many times another, for the mean
# channel of a norm: a batch of the training data's kind stays far below both.
_SHIFT, _RATIO = 1.0, 3.0
_FAINT, _LOUD = 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch norm's running statistics beside the batch's own.

    Args:
        shift: the root mean square over channels of (batch mean - running mean) / running std.
        ratio: the geometric mean over channels of batch variance / running variance.
    """

    name: str
    shift: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Travel:
    """What one forward showed.

    Args:
        moments: E[y²] of the output of every module with a weight, in the order of the forward.
        norms: the batch norms, in the order of the forward.
        concerns: what speaks against the transfer, in words; empty where nothing does.
    """

    moments: tuple[tuple[str, float], ...]
    norms: tuple[Norm, ...]
    concerns: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.concerns

    def __str__(self) -> str:
        if not self.concerns:
            return f"the signal travels through {len(self.moments)} layers; nothing speaks against the transfer"
        return "\n".join(self.concerns)


def travel(model: nn.Module, batch: Inputs, loaded: Collection[str] = ()) -> Travel:
    """One forward in evaluation mode; buffers, modes, gradients and the random state stay as they were.

    Args:
        model: the loaded model.
        batch: as it is called.
        loaded: the parameters and buffers that came from the source.

    Raises:
        ModelError: the forward raised.
        ArgumentError: the batch is none of a tensor, a tuple or a dict.
    """
    moments: dict[str, float] = {}
    norms: dict[str, Norm] = {}
    modes = {m: m.training for m in model.modules()}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            y = output[0] if isinstance(output, tuple) else output
            if name not in moments and isinstance(y, torch.Tensor) and y.is_floating_point() and y.numel():
                moments[name] = float(y.double().square().mean())
            if isinstance(module, _BatchNorm) and module.running_mean is not None and name not in norms:
                norms[name] = _norm(name, module, args[0])

        return hook

    with ExitStack() as undo, torch.no_grad():
        undo.enter_context(torch.random.fork_rng(devices=[]))
        for module, mode in modes.items():
            undo.callback(setattr, module, "training", mode)
        for name, module in model.named_modules():
            if any(p is not None for p in module._parameters.values()):
                undo.callback(module.register_forward_hook(watch(name)).remove)
        model.eval()
        try:
            _call(model, batch)
        except (ArgumentError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise ModelError(f"the model raised {type(error).__name__} on the batch: {error}") from error
    order = tuple(moments.items())
    return Travel(order, tuple(norms.values()), _concerns(order, norms, loaded))


def _call(model: nn.Module, batch: Inputs) -> object:
    if isinstance(batch, torch.Tensor):
        return model(batch)
    if isinstance(batch, tuple):
        return model(*batch)
    if isinstance(batch, Mapping):
        return model(**batch)
    raise ArgumentError(
        f"a batch of type {type(batch).__name__}: give a tensor, a tuple or a dict, as the model is called"
    )


def _norm(name: str, module: _BatchNorm, x: torch.Tensor) -> Norm:
    axes = [a for a in range(x.dim()) if a != 1]
    variance, mean = torch.var_mean(x.double(), dim=axes, correction=0)
    running_mean, running_var = module.running_mean.double(), module.running_var.double()  # type: ignore[union-attr]
    shift = (mean - running_mean) / (running_var + module.eps).sqrt()
    ratio = (variance + module.eps) / (running_var + module.eps)
    return Norm(name, float(shift.square().mean().sqrt()), float(ratio.log().mean().exp()))


def _concerns(
    moments: tuple[tuple[str, float], ...], norms: Mapping[str, Norm], loaded: Collection[str]
) -> tuple[str, ...]:
    found = []
    bad = next(((n, m) for n, m in moments if not math.isfinite(m)), None)
    if bad is not None:
        found.append(f"{bad[0]}: its output is not finite")
    faint = next(((n, m) for n, m in moments if m < _FAINT), None)
    loud = next(((n, m) for n, m in moments if math.isfinite(m) and m > _LOUD), None)
    for place, word in ((faint, "vanishes"), (loud, "explodes")):
        if place is not None:
            found.append(f"{place[0]}: the signal {word} here, E[y²] = {place[1]:.3g}")
    learned = [n for n in norms.values() if not loaded or f"{n.name}.running_mean".lstrip(".") in loaded]
    off = [n for n in learned if n.shift > _SHIFT or not 1 / _RATIO < n.ratio < _RATIO]
    if off:
        first = off[0]
        cause = (
            "the inputs are normalized in another way than those the weights were trained on"
            if learned and first is learned[0]
            else "what comes before it is not what the weights were trained with"
        )
        found.append(
            f"{first.name}: the batch's mean is {first.shift:.2f} standard deviations from the running mean and its "
            f"variance {first.ratio:.3g} times the running one ({len(off)} of {len(learned)} loaded batch norms are "
            f"off): {cause}"
        )
    return tuple(found)
