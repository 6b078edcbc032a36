"""``init_``: a whole model in one line, any scheme.

The walk through the house in one function: model → graph → scheme → plan → writers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import nn

from ..errors import ModelError, UnknownNameError
from ..graphs import Role, structure
from ..initializers.base import Initializer
from ..plans import Entry, Keep, Plan, Rules, check_used, override, split
from ..schemes import Recurrence, Scheme, parse, weights_scheme
from .apply import apply_
from .receipt import Receipt

_STATISTICS = (Role.RUNNING_MEAN, Role.RUNNING_VARIANCE, Role.BATCHES_SEEN)


def init_(
    model: nn.Module,
    scheme: str | Scheme | Initializer,
    seed: int = 0,
    *,
    rules: Rules | None = None,
    frozen: Literal["keep", "init"] = "keep",
    buffers: Literal["reset", "keep"] = "reset",
    digests: bool = True,
) -> Receipt:
    """Give every parameter of a model its initial value, in place.

    Weights follow the scheme; biases are zero, norms the identity, embeddings N(0, 1) (N(0, 1/width) where tied to
    an output layer), recurrent matrices orthogonal for each gate, an LSTM's forget bias 1. A tied parameter is
    written once. A value depends on the seed, the parameter's name and the element's index alone.

    Args:
        model: any module, on any device, in float16, bfloat16, float32 or float64.
        scheme: a name as ``fl.schemes()`` lists them (``"he_normal"``, ``"normal(std=0.01)"``), or an initializer,
            which every weight then gets.
        seed: 0 to 2⁶⁴ - 1.
        rules: what to do with single parameters: a glob over names (``"blocks.*.gamma"``) or over
            ``ModuleType.parameter``, to an initializer, ``Keep(reason)``, or ``Axes(out, in_)`` for a weight that
            the scheme should treat as its own. The first match wins.
        frozen: ``"keep"`` leaves parameters with ``requires_grad=False`` alone, ``"init"`` writes them too.
        buffers: ``"reset"`` sets the running statistics of norms back to the start, ``"keep"`` leaves them; other
            buffers are never touched.
        digests: whether the receipt hashes every tensor.

    Returns:
        The receipt: for each parameter what was written and why.

    Raises:
        FirstlightError: nothing has been written then. UncoveredParameterError names parameters that no rule knows
            and shows the rule that would cover them.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    >>> print(init_(model, "he_normal", seed=0))
    he_normal, seed 0: 4 tensors written (4,810 values)
    """
    for given, option, known in (
        (frozen, "frozen", ("keep", "init")),
        (buffers, "buffers", ("reset", "keep")),
    ):
        if given not in known:
            raise UnknownNameError.of(f"choice for {option}=", str(given), known)
    axes, decisions = split(rules)
    graph = structure(model, axes)
    if not graph.parameters:
        raise ModelError(f"{type(model).__name__} has no parameters, so there is nothing to initialize")
    check_used(rules, graph)
    plan = as_scheme(scheme).plan(graph)
    if frozen == "keep":
        plan = _keep_frozen(plan)
    if buffers == "keep":
        plan = _keep_statistics(plan)
    return apply_(model, override(plan, decisions), seed, digests=digests)


def as_scheme(scheme: str | Scheme | Initializer) -> Scheme:
    """The scheme itself, the scheme a text writes, or the one that gives every weight an initializer."""
    if isinstance(scheme, Scheme):
        return scheme
    if isinstance(scheme, Initializer):
        return weights_scheme(repr(scheme), lambda _: scheme, "as asked", "", Recurrence())
    return parse(scheme)


def _keep_frozen(plan: Plan) -> Plan:
    def change(entry: Entry) -> Entry:
        if entry.parameter.trainable or entry.parameter.role in _STATISTICS:
            return entry
        why = "frozen (requires_grad=False)"
        return replace(entry, decision=Keep(why), reason=why, reference="")

    return plan.map(change)


def _keep_statistics(plan: Plan) -> Plan:
    def change(entry: Entry) -> Entry:
        if entry.parameter.role not in _STATISTICS:
            return entry
        why = 'statistics kept (buffers="keep")'
        return replace(entry, decision=Keep(why), reason=why, reference="")

    return plan.map(change)
