"""Aids for fine-tuning: how deep each parameter lies, learning rates that decay towards the input, and freezing.

Depth is read from a traced graph (how many weights lie before a parameter) where example inputs are given, else from
the numbers of blocks in names. What is given are parameter groups that any torch optimizer takes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..errors import ArgumentError, ModelError
from ..graphs import slots, structure
from ..graphs.records import Graph, Parameter, Role
from ..graphs.tracing import Inputs, trace
from .transfer import head_of

_UNDECAYED = frozenset({Role.BIAS, Role.GATE_BIAS, Role.NORM_SCALE, Role.NORM_SHIFT, Role.LAYER_SCALE, Role.SCALE})
_TABLES = (Role.EMBEDDING, Role.POSITIONAL, Role.TOKEN)


def depths(model: nn.Module, inputs: Inputs | None = None) -> Mapping[str, int]:
    """The layer each parameter belongs to, from 0 at the input, by canonical name.

    A model of L numbered blocks has L + 2 layers: what comes before them (embeddings, the stem) is 0, block i is
    i + 1, what comes after (the final norm, the head) is L + 1. Blocks in stages (``layer1.0``, ``layer1.1``,
    ``layer2.0`` …) are counted through. A model without numbered blocks has a layer for each module with a weight.

    Args:
        model: any module.
        inputs: example inputs; where they are given, what stands before, between and after the blocks is told by the
            order of the forward, not by the order in which modules were registered.

    Raises:
        ModelError: the model has no parameters.
    """
    graph = structure(model) if inputs is None else trace(model, inputs)
    if not graph.parameters:
        raise ModelError(f"{type(model).__name__} has no parameters")
    blocks = _blocks(graph)
    if len(set(blocks.values())) < 2:
        return _by_module(graph)
    last = max(blocks.values())
    place = {p.name: i for i, p in enumerate(_in_order(graph))}
    first_place = min(place[n] for n in blocks)
    head = head_of(graph, default="")
    found = {}
    for parameter in graph.parameters:
        name = parameter.name
        if name in blocks:
            found[name] = blocks[name] + 1
        elif parameter.role in _TABLES or (place[name] < first_place and parameter.module != head):
            found[name] = 0
        else:
            found[name] = last + 2
    return found


def groups_by_depth(
    model: nn.Module,
    lr: float,
    *,
    decay: float = 0.75,
    weight_decay: float = 0.05,
    decay_all: bool = False,
    inputs: Inputs | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups with a learning rate that decays layer by layer towards the input.

    A parameter of layer d of D has the rate lr · decay^(D − d): the head learns at lr, the embeddings slowest (Clark et
    al. 2020, ELECTRA, arXiv 2003.10555; Bao et al. 2022, BEiT, arXiv 2106.08254).

    Args:
        model: any module; parameters with ``requires_grad=False`` are left out.
        lr: the last layer's learning rate.
        decay: the factor from one layer to the one before it, 0 < decay ≤ 1; 0.65 to 0.9 are usual, 1 is none.
        weight_decay: for matrices and kernels.
        decay_all: whether biases, norms and scales decay as well; by default their weight decay is 0.
        inputs: example inputs, as ``depths`` takes them.

    Returns:
        Groups for any torch optimizer, each with ``params``, ``lr``, ``weight_decay``, and for people ``layer`` and
        ``names``.

    Raises:
        ArgumentError: a number outside its range, or nothing is trainable.

    >>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> [(g["layer"], g["lr"], g["weight_decay"]) for g in groups_by_depth(model, 0.1, decay=0.5)]
    [(0, 0.05, 0.05), (0, 0.05, 0.0), (1, 0.1, 0.05), (1, 0.1, 0.0)]
    """
    for name, value, low, high in (("lr", lr, 0.0, math.inf), ("decay", decay, 0.0, 1.0)):
        if not (math.isfinite(value) and low < value <= high):
            raise ArgumentError(f"{name}={value!r} should lie above {low:g} and be at most {high:g}")
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ArgumentError(f"weight_decay={weight_decay!r} should be a finite number ≥ 0")
    layers = depths(model, inputs)
    records = {p.name: p for p in structure(model).parameters}
    top = max(layers.values())
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, tensor in _trainable(model).items():
        decayed = decay_all or not _is_undecayed(records[name])
        group = groups.setdefault(
            (layers[name], not decayed),
            {
                "params": [],
                "lr": lr * decay ** (top - layers[name]),
                "weight_decay": weight_decay if decayed else 0.0,
                "layer": layers[name],
                "names": [],
            },
        )
        group["params"].append(tensor)
        group["names"].append(name)
    if not groups:
        raise ArgumentError("no parameter of the model has requires_grad=True, so there is nothing to train")
    return [groups[k] for k in sorted(groups)]


def freeze_(model: nn.Module, layers: int, *, inputs: Inputs | None = None) -> tuple[str, ...]:
    """Stop the first layers from training: ``requires_grad=False``; the others' is left as it is.

    Args:
        model: changed in place; no value is.
        layers: how many layers, from the input, as ``depths`` counts them; a negative number counts from the head:
            -1 freezes all but the last.
        inputs: example inputs, as ``depths`` takes them.

    Returns:
        The names of the parameters that are frozen now.

    Raises:
        ArgumentError: the model has not so many layers.
    """
    depth = depths(model, inputs)
    count = max(depth.values()) + 1
    if not -count <= layers <= count:
        raise ArgumentError(f"layers={layers}: the model has {count} layers")
    first = layers if layers >= 0 else count + layers
    names = [n for n, d in depth.items() if d < first]
    tensors = {s.name: s.tensor for s in slots(model)}
    for name in names:
        tensors[name].requires_grad_(False)
    return tuple(names)


def _trainable(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every trainable parameter once, under its canonical name."""
    held = {n: s.tensor for s in slots(model) for n in [s.name] if not s.is_buffer}
    known = {p.name for p in structure(model).parameters}
    return {n: t for n, t in held.items() if n in known and t.requires_grad}


def _is_undecayed(parameter: Parameter) -> bool:
    """Biases, norms and scales, by role; of what no table knows, vectors."""
    return parameter.role in _UNDECAYED or len(parameter.layout.shape) < 2


def _blocks(graph: Graph) -> dict[str, int]:
    """The number of the block, counted through, of every parameter that lies in one.

    Blocks are the numbered paths that hold most parameters between them, each several modules: the innermost such.
    """
    held: dict[tuple[str, ...], dict[tuple[int, ...], list[str]]] = {}
    for parameter in graph.parameters:
        parts = parameter.module.split(".")
        for end in range(1, len(parts) + 1):
            if re.search(r"\d+$", parts[end - 1]):
                head = parts[:end]
                template = tuple(re.sub(r"\d+", "#", s) for s in head)
                numbers = tuple(int(n) for s in head for n in re.findall(r"\d+", s))
                held.setdefault(template, {}).setdefault(numbers, []).append(parameter.name)
    modules = {p.name: p.module for p in graph.parameters}
    best: tuple[int, int] = (0, 0)
    chosen: dict[tuple[int, ...], list[str]] = {}
    for template, blocks in held.items():
        several = len(blocks) > 1 and all(len({modules[n] for n in names}) > 1 for names in blocks.values())
        score = (sum(map(len, blocks.values())), len(template))
        if several and score > best:
            best, chosen = score, blocks
    return {name: i for i, key in enumerate(sorted(chosen)) for name in chosen[key]}


def _by_module(graph: Graph) -> dict[str, int]:
    """A layer for every module that holds a matrix or kernel; vectors and tables before one belong to it."""
    found: dict[str, int] = {}
    layer = -1
    seen: set[str] = set()
    for parameter in _in_order(graph):
        if len(parameter.layout.shape) > 1 and parameter.module not in seen:
            seen.add(parameter.module)
            layer += 1
        found[parameter.name] = max(layer, 0)
    return found


def _in_order(graph: Graph) -> Sequence[Parameter]:
    """The parameters by their first use, where the graph is traced; else as they are registered."""
    if graph.tape is None:
        return graph.parameters
    end = len(graph.tape)
    return sorted(graph.parameters, key=lambda p: p.uses[0].node if p.uses else end)
