"""Signals through torch's fused attention call, which holds its own projections."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..graphs.tape import Node, Ref
from .attended import Focus, attended, causal, logit_variance, masked, mean_focus
from .maps import mapped, with_bias
from .signal import Signal

Of = Callable[[Ref], Signal]
Value = Callable[[Ref], torch.Tensor | None]
_PARTS = ("query", "key", "value")


def operands(node: Node) -> tuple[Ref, Ref, Ref]:
    """What queries, keys and values are made of."""
    found = [node.tensor(name, i) for i, name in enumerate(_PARTS)]
    if any(ref is None for ref in found):
        raise ArithmeticError("an attention without query, key and value")
    query, key, value = (ref for ref in found if ref is not None)
    return query, key, value


@dataclass(frozen=True, slots=True)
class Packed:
    """What stands between the projections: queries, keys and values, their heads' width, focus, the keys seen.

    ``weights`` are what the three are made with: one stacked tensor, or three.
    """

    signals: tuple[Signal, Signal, Signal]
    weights: tuple[Ref, Ref, Ref]
    width: int
    focus: Focus
    allowed: tuple[int, ...]

    @property
    def heads(self) -> Signal:
        """The signal behind the heads, before the output projection: what that projection reads."""
        return attended(self.signals[2], self.focus.squares, self.allowed)


def packed(node: Node, of: Of, value_of: Value) -> Packed:
    """The inside of the call, from its projections on.

    Raises:
        ArithmeticError: it has no projections.
    """
    stacked = node.tensor("in_proj_weight", 5)
    parts: list[Signal] = []
    weights: list[Ref] = []
    bias = node.tensor("in_proj_bias", 6)
    for name, ref in zip("qkv", operands(node), strict=True):
        weight = stacked or node.tensor(f"{name}_proj_weight", -1)
        if weight is None:
            raise ArithmeticError("an attention without projections")
        part = mapped(of(ref).plain(), weight.shape[-1], of(weight))
        parts.append(part if bias is None else with_bias(part, of(bias)))
        weights.append(weight)
    query, key, _ = operands(node)
    number = node.argument("num_heads", 4, 1)
    width = query.shape[-1] // (number if isinstance(number, int) else 1)
    own = logit_variance(parts[0], parts[1], width, 1 / math.sqrt(width))
    queries, keys = (ref.shape[0] if len(ref.shape) > 1 else 1 for ref in (query, key))
    mask = node.tensor("attn_mask", -1)
    known = None if mask is None else value_of(mask)
    # torch's masks hide where they are true.
    shown = ~known if known is not None and known.dtype == torch.bool else known
    allowed = masked(shown, keys) or (causal(queries, keys) if mask is not None else (keys,))
    return Packed(
        (parts[0], parts[1], parts[2]), (weights[0], weights[1], weights[2]), width, mean_focus(own, allowed), allowed
    )


def heads(node: Node, of: Of, value_of: Value) -> Signal:
    """The signal behind the heads, before the output projection: what that projection reads."""
    return packed(node, of, value_of).heads


def fused_attention(node: Node, of: Of, value_of: Value) -> Signal:
    """The signal of the call's output."""
    weight, bias = node.tensor("out_proj_weight", 11), node.tensor("out_proj_bias", 12)
    if weight is None:
        raise ArithmeticError("an attention without an output projection")
    out = mapped(heads(node, of, value_of), weight.shape[-1], of(weight))
    return out if bias is None else with_bias(out, of(bias))
