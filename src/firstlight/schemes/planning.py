"""``plan``: decide for every parameter of a model, and write nothing.

The walk model → graph → scheme → plan in one function; ``writers`` carries the plan out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import nn

from ..calibrations import calibrated
from ..errors import ModelError, UnknownNameError
from ..graphs import Inputs, Role, structure, trace
from ..initializers.base import Initializer
from ..plans import Entry, Keep, Plan, Rules, check_used, override, split
from .by_name import parse
from .records import Scheme
from .weights import Recurrence, weights_scheme

_STATISTICS = (Role.RUNNING_MEAN, Role.RUNNING_VARIANCE, Role.BATCHES_SEEN)


def plan(
    model: nn.Module,
    inputs: Inputs | None = None,
    scheme: str | Scheme | Initializer = "auto",
    *,
    rules: Rules | None = None,
    frozen: Literal["keep", "init"] = "keep",
    buffers: Literal["reset", "keep"] = "reset",
    calibrate: Inputs | None = None,
) -> Plan:
    """Decide what every parameter of a model starts as, with the reason and the paper beside each choice.

    Args:
        model: any module; it is only read, and may be on the meta device.
        inputs: example inputs, as the model is called: a tensor, a tuple of positional or a dict of keyword arguments.
            One forward on fake tensors then tells what each parameter does. Without them only torch's own modules are
            known, and what follows a weight is not.
        scheme: a name as ``fl.catalogue()`` lists them, a scheme, or an initializer that every weight gets.
        rules: what to do with single parameters, as ``init_`` takes them.
        frozen: ``"keep"`` leaves parameters with ``requires_grad=False`` alone, ``"init"`` plans them too.
        buffers: ``"reset"`` sets the running statistics of norms back to the start, ``"keep"`` leaves them.
        calibrate: a real batch, as ``inputs``: each weight's scale is then corrected by what the draws of seed 0 give
            on it (LSUV; Mishkin & Matas 2016).

    Returns:
        The plan: printable, editable, and data until ``apply_`` writes it.

    Raises:
        ModelError: the model has no parameters, or its forward raised.
        ArgumentError: a rule matches nothing, or the scheme is malformed.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    >>> plan(model, torch.randn(8, 64), "he_normal").entries[0].decision
    VarianceScaling(scale=2.0, mode='fan_in', distribution='normal')
    """
    for given, option, known in (
        (frozen, "frozen", ("keep", "init")),
        (buffers, "buffers", ("reset", "keep")),
    ):
        if given not in known:
            raise UnknownNameError.of(f"choice for {option}=", str(given), known)
    chosen = as_scheme(scheme)
    axes, decisions = split(rules)
    example = inputs if inputs is not None else calibrate
    graph = structure(model, axes) if example is None else trace(model, example, axes)
    if not graph.parameters:
        raise ModelError(f"{type(model).__name__} has no parameters, so there is nothing to initialize")
    check_used(rules, graph)
    made = chosen.plan(graph)
    if frozen == "keep":
        made = made.map(_frozen_kept)
    if buffers == "keep":
        made = made.map(_statistics_kept)
    made = override(made, decisions)
    return made if calibrate is None else calibrated(made, trace(model, calibrate, axes))


def as_scheme(scheme: str | Scheme | Initializer) -> Scheme:
    """The scheme itself, the scheme a text writes, or the one that gives every weight an initializer."""
    if isinstance(scheme, Scheme):
        return scheme
    if isinstance(scheme, Initializer):
        return weights_scheme(repr(scheme), lambda _: scheme, "as asked", "", Recurrence())
    return parse(scheme)


def _frozen_kept(entry: Entry) -> Entry:
    if entry.parameter.trainable or entry.parameter.role in _STATISTICS:
        return entry
    why = "frozen (requires_grad=False)"
    return replace(entry, decision=Keep(why), reason=why, reference="")


def _statistics_kept(entry: Entry) -> Entry:
    if entry.parameter.role not in _STATISTICS:
        return entry
    why = 'statistics kept (buffers="keep")'
    return replace(entry, decision=Keep(why), reason=why, reference="")
