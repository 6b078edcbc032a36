"""``fl.watch``: findings while a model trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ..errors import ArgumentError
from ..probes.records import Light
from .records import Finding, Severity
from .watch_schedule import Schedule
from .watch_session import Watch

BUDGET = 0.022  # of the time: 3 % with what differs from one machine to the next

Optimizers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]


def watch(
    model: nn.Module,
    optimizer: Optimizers | None = None,
    *,
    light: Light | None = None,
    trivial: float | None = None,
    every: int | None = None,
    budget: float = BUDGET,
    curvature: bool = True,
    raise_on: Severity | str | None = None,
    callback: Callable[[Finding], object] | None = None,
) -> Watch:
    """Watch a model while it trains: ``with fl.watch(model, optimizer) as w:`` and ``w.step(loss)`` in the loop.

    Training is the same to the bit with and without. Losses are all seen; gradients, weights and updates at the first
    steps and then as often as ``budget`` allows. Call ``w.step(loss)`` before ``backward()``: the targets of torch's
    cross-entropies and squared errors are then read from the loss, and a loss that is not finite is found before it
    reaches the weights.

    Args:
        model: plain, compiled, in DDP or sharded (FSDP2, tensor parallelism, both: then watch on all ranks).
        optimizer: one or several; gradients are seen as they get them (unscaled, accumulated, clipped). Without one
            only the loss is watched.
        light: what ``fl.probe`` measured at step 0; a bad start is then told from a bad learning rate by its findings.
        trivial: the loss of the best constant prediction, where the loss is not one of torch's own.
        every: measure each k-th step. By default as often as ``budget`` allows.
        budget: the share of the time that watching may take, on average and all in all.
        curvature: measure the Hessian's largest eigenvalue once, at the first step of a model of up to 10 M values.
        raise_on: "error" or "warning": raise ``FaultError`` at the first finding that is as severe.
        callback: called with each finding as it is made.

    Raises:
        ArgumentError: an argument is out of its range.
        ModelError: the optimizer holds none of the model's parameters.

    >>> net = nn.Linear(2, 1)
    >>> sgd = torch.optim.SGD(net.parameters(), 0.1)
    >>> with watch(net, sgd) as w:
    ...     for _ in range(3):
    ...         loss = net(torch.ones(4, 2)).square().mean()
    ...         w.step(loss)
    ...         sgd.zero_grad()
    ...         loss.backward()
    ...         sgd.step()
    >>> len(w.findings)
    0
    """
    if every is not None and every < 1:
        raise ArgumentError(f"every={every!r} should be a number of steps, 1 or more; None keeps to the budget")
    if not 0 < budget <= 1:
        raise ArgumentError(f"budget={budget!r} should be a share of the time, above 0 and at most 1")
    if trivial is not None and not math.isfinite(trivial):
        raise ArgumentError(f"trivial={trivial!r} should be a finite loss: log C for C balanced classes")
    try:
        limit = None if raise_on is None else Severity(raise_on)
    except ValueError:
        raise ArgumentError(f"raise_on={raise_on!r} should be 'error', 'warning', 'note' or None") from None
    optimizers = [] if optimizer is None else [optimizer] if not isinstance(optimizer, Sequence) else [*optimizer]
    suspect = tuple(sorted({f.code for f in light.findings if f.severity is not Severity.NOTE})) if light else None
    return Watch(model, optimizers, Schedule(every, budget), suspect, trivial, curvature, limit, callback)
