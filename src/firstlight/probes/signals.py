"""The signal at step 0: how large activations and gradients are at every weight layer.

A trial measures it on its first batch before it trains; ``studies`` averages it by arm and draws it by depth. Two
numbers a layer by module hooks take a twentieth of the time of ``measure``, which a study pays for every trial.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from .parts import Signal
from .untouched import lent_buffers

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def measure_signal(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, loss: Loss) -> Signal:
    """Second moments of the outputs of all modules with a weight, and of the loss's gradients to them.

    One forward and one backward pass in the mode the model is in. Parameters, their gradients, buffers, hooks and the
    random state are as before, also when the model raises.

    Args:
        model: any module; a layer is a module with an own parameter of two or more axes.
        inputs: one batch.
        targets: what ``loss(model(inputs), targets)`` takes.
        loss: gives a scalar.

    Returns:
        The layers in execution order, each once (its first call).
    """
    outputs: dict[str, float] = {}
    gradients: dict[str, float] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            if name not in outputs and isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                # Now: an activation that works in place would overwrite it.
                outputs[name] = _second_moment(tensor)
                if tensor.requires_grad:
                    tensor.register_hook(  # type: ignore[no-untyped-call]
                        lambda gradient: gradients.__setitem__(name, _second_moment(gradient))
                    )

        return hook

    with ExitStack() as undo:
        undo.enter_context(torch.random.fork_rng(devices=[]))
        undo.enter_context(torch.enable_grad())
        undo.enter_context(lent_buffers(model))
        for name, module in model.named_modules():
            if any(p.ndim >= 2 for p in module._parameters.values() if p is not None):
                undo.callback(module.register_forward_hook(watch(name)).remove)
        value = loss(model(inputs), targets)
        wanted = [p for p in model.parameters() if p.requires_grad]
        # autograd.grad and not backward: the parameters' own .grad stay as they are.
        torch.autograd.grad(value, wanted, allow_unused=True)
    names = tuple(outputs)
    return Signal(names, tuple(outputs.values()), tuple(gradients.get(n, 0.0) for n in names))


def _second_moment(tensor: torch.Tensor) -> float:
    """The mean square, in float64 so that what float32 still holds does not vanish when squared."""
    return float(tensor.detach().double().square().mean()) if tensor.numel() else 0.0
