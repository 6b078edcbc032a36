"""``trace``: a model's graph from one forward: every parameter with the calls that read it.

The modules' own tables say what they know; the tape says the rest, and what surrounds each weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from ..errors import ArgumentError
from .axes import Axes
from .recorder import record
from .records import Declared, Graph, Parameter, Role, Status, Use
from .structure import structure
from .tape import Tape
from .uses import find_uses

Inputs = torch.Tensor | tuple[object, ...] | Mapping[str, object]

_BY_MODULE = (Role.LINEAR, Role.CONV, Role.CONV_TRANSPOSED)
_ATTENTION = (Role.QUERY, Role.KEY, Role.VALUE, Role.ATTENTION, Role.OUT)


def trace(model: nn.Module, inputs: Inputs, axes: Mapping[str, Axes] | None = None) -> Graph:
    """The graph of ``model`` as one forward on example inputs tells it.

    The forward runs on fake tensors: it takes no memory and leaves the model alone.

    Args:
        model: any module; its parameters may be on the meta device.
        inputs: what the model is called with: a tensor, a tuple of positional or a dict of keyword arguments.
        axes: what the user declares, by rule pattern; it wins over what is found.

    Raises:
        ModelError: the forward raised; the message holds its error and the module it came from.
        ArgumentError: the inputs are none of the three.
    """
    base = structure(model, axes)
    if isinstance(inputs, torch.Tensor):
        tape = record(model, (inputs,))
    elif isinstance(inputs, tuple):
        tape = record(model, inputs)
    elif isinstance(inputs, Mapping):
        tape = record(model, (), inputs)
    else:
        raise ArgumentError(
            f"inputs of type {type(inputs).__name__}: give what the model is called with, as a tensor, a tuple of "
            "positional or a dict of keyword arguments"
        )
    found = find_uses(tape)
    parameters = tuple(_joined(p, found.get(p.name, ()), tape) for p in base.parameters)
    return Graph(_with_state_spaces(parameters), base.statistics, tape)


def _joined(parameter: Parameter, uses: tuple[Use, ...], tape: Tape) -> Parameter:
    """A parameter with its uses, and the role they give it where its module gave none."""
    known = [u for u in uses if u.role is not Role.UNKNOWN]
    if not known:
        return replace(parameter, uses=uses, status=Status.OPAQUE if uses else Status.UNUSED)
    guessed = any(tape[u.node].guess for u in uses)
    status = Status.GUESSED if guessed else Status.TRACED
    # A table that is also an output layer is read as the table; the rest are its other roles.
    first = next((u for u in known if u.role is Role.EMBEDDING), known[0])
    others = tuple(u.role for u in known if u is not first)
    declared = _declared(parameter.declared, first)
    return replace(
        parameter,
        declared=declared,
        uses=uses,
        status=status,
        tied_roles=tuple(dict.fromkeys((*parameter.tied_roles, *others))),
    )


def _declared(own: Declared, use: Use) -> Declared:
    """What the module's table says, with the role the tape refines; the tape's word where there is no table."""
    if own.role is Role.DECLARED:
        return own
    if own.role is Role.UNKNOWN:
        return Declared(use.role, use.layout, neutral=use.neutral, direction=use.direction)
    if own.role in _BY_MODULE and use.role in (*_ATTENTION, *_BY_MODULE):
        layout = use.layout if use.role is Role.ATTENTION or use.layout.blocks != own.layout.blocks else own.layout
        return replace(own, role=use.role, layout=layout)
    if own.role is Role.EMBEDDING and use.role in (Role.POSITIONAL, Role.RELATIVE_BIAS):
        return replace(own, role=use.role)
    return own


def _with_state_spaces(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
    """Scales and offsets that stand in one module with a state space's rates belong to it."""
    homes = {p.module for p in parameters if p.role is Role.STATE_SPACE}

    def change(p: Parameter) -> Parameter:
        if p.module in homes and p.role in (Role.SCALE, Role.LAYER_SCALE, Role.BIAS):
            return replace(p, declared=replace(p.declared, role=Role.STATE_SPACE))
        return p

    return tuple(map(change, parameters))
