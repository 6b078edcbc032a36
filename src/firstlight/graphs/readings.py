"""What a parameter is to the call that reads it: its role and fans, from the call's own signature.

``uses`` asks for every operand that was made from parameters. What only the surroundings can tell (an attention's
query, a branch's scale) is decided there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .ops import CONVS, EMBEDDINGS, MATMULS, RECURRENT, TRANSPOSED_CONVS
from .records import Role
from .tape import Node, Operand


@dataclass(frozen=True, slots=True)
class Reading:
    """A role, and for a map its fans and which axes of the operand are its outputs, inputs and independent blocks."""

    role: Role
    fan_in: float = 1
    fan_out: float = 1
    out: int | None = None
    in_: int | None = None
    stacked: tuple[int, ...] = ()
    blocks: int = 1


_VECTORS: Mapping[str, Mapping[int | str, Role]] = {
    "layer_norm": {2: Role.NORM_SCALE, "weight": Role.NORM_SCALE, 3: Role.NORM_SHIFT, "bias": Role.NORM_SHIFT},
    "rms_norm": {2: Role.NORM_SCALE, "weight": Role.NORM_SCALE},
    "group_norm": {2: Role.NORM_SCALE, "weight": Role.NORM_SCALE, 3: Role.NORM_SHIFT, "bias": Role.NORM_SHIFT},
    "batch_norm": {3: Role.NORM_SCALE, "weight": Role.NORM_SCALE, 4: Role.NORM_SHIFT, "bias": Role.NORM_SHIFT},
    "instance_norm": {3: Role.NORM_SCALE, "weight": Role.NORM_SCALE, 4: Role.NORM_SHIFT, "bias": Role.NORM_SHIFT},
    "prelu": {1: Role.SLOPE, "weight": Role.SLOPE},
    "_prelu_kernel": {1: Role.SLOPE},
    "_weight_norm": {1: Role.MAGNITUDE, "g": Role.MAGNITUDE},
    "scaled_dot_product_attention": {
        0: Role.TOKEN,
        "query": Role.TOKEN,
        1: Role.TOKEN_BIAS,
        "key": Role.TOKEN_BIAS,
        2: Role.TOKEN_BIAS,
        "value": Role.TOKEN_BIAS,
        3: Role.RELATIVE_BIAS,
        "attn_mask": Role.RELATIVE_BIAS,
    },
}
_ATTENTION: Mapping[int | str, Role] = {
    5: Role.ATTENTION,
    "in_proj_weight": Role.ATTENTION,
    6: Role.BIAS,
    "in_proj_bias": Role.BIAS,
    7: Role.TOKEN_BIAS,
    "bias_k": Role.TOKEN_BIAS,
    8: Role.TOKEN_BIAS,
    "bias_v": Role.TOKEN_BIAS,
    11: Role.OUT,
    "out_proj_weight": Role.OUT,
    12: Role.BIAS,
    "out_proj_bias": Role.BIAS,
    "q_proj_weight": Role.QUERY,
    "k_proj_weight": Role.KEY,
    "v_proj_weight": Role.VALUE,
}
_CELL = (2, 3, 4, 5, "w_ih", "w_hh", "b_ih", "b_hh")
_LAYERS = (2, 3, "params")  # the second form has the batch sizes of packed sequences before
_GATES = {"lstm": 4, "gru": 3}


def read(node: Node, operand: Operand) -> Reading | None:
    """What the operand is to the call by the call's signature; ``None`` where it says nothing."""
    slot, shape = operand.slot, operand.ref.shape
    if node.op in _VECTORS:
        role = _VECTORS[node.op].get(slot)
        return None if role is None else Reading(role)
    if node.op == "linear":
        return _weight_or_bias(slot, Reading(Role.LINEAR, shape[-1], math.prod(shape[:-1]), 0, len(shape) - 1))
    if node.op in CONVS | TRANSPOSED_CONVS:
        return _conv(node, slot, shape)
    if node.op in EMBEDDINGS:
        return Reading(Role.EMBEDDING, 1, shape[-1], 1, 0) if slot in (1, "weight") else None
    if node.op == "bilinear":
        weight = Reading(Role.BILINEAR, math.prod(shape[1:]), math.prod((*shape[:1], *shape[2:])), 0, 1)
        return weight if slot in (2, "weight") else Reading(Role.BIAS) if slot in (3, "bias") else None
    if node.op == "multi_head_attention_forward":
        return _attention(slot, shape)
    if node.op in RECURRENT:
        return _recurrent(node, operand)
    if node.op == "einsum":
        return _einsum(node, operand)
    if node.op in MATMULS:
        return _matmul(node, operand)
    return None


def _weight_or_bias(slot: int | str, weight: Reading) -> Reading | None:
    if slot in (1, "weight"):
        return weight
    return Reading(Role.BIAS) if slot in (2, "bias") else None


def _conv(node: Node, slot: int | str, shape: tuple[int, ...]) -> Reading | None:
    transposed = node.op in TRANSPOSED_CONVS
    stride = node.argument("stride", 3, 1)
    groups = node.argument("groups", 6, 1)  # both signatures have it in this place
    rank, g = len(shape) - 2, groups if isinstance(groups, int) else 1
    given = list(stride) if isinstance(stride, Sequence) else [stride]
    step = math.prod(int(s) for s in (given * rank if len(given) == 1 else given) if isinstance(s, int))
    field = math.prod(shape[2:])
    if slot not in (1, "weight"):
        return _weight_or_bias(slot, Reading(Role.BIAS))
    if transposed:
        return Reading(Role.CONV_TRANSPOSED, shape[0] / g * field / step, shape[1] * field, 1, 0, blocks=g)
    return Reading(Role.CONV, shape[1] * field, shape[0] / g * field / step, 0, 1, blocks=g)


def _attention(slot: int | str, shape: tuple[int, ...]) -> Reading | None:
    role = _ATTENTION.get(slot)
    if role is None or role in (Role.BIAS, Role.TOKEN_BIAS):
        return None if role is None else Reading(role)
    blocks = 3 if role is Role.ATTENTION else 1
    return Reading(role, shape[1], shape[0] / blocks, 0, 1, blocks=blocks)


def _recurrent(node: Node, operand: Operand) -> Reading | None:
    """Of a layer's flat list, or of a cell's arguments: input weight, hidden weight, both biases, a projection."""
    shape, cell = operand.ref.shape, node.op.endswith("_cell")
    if operand.slot not in (_CELL if cell else _LAYERS):
        return None
    gates = _GATES.get(node.op.removesuffix("_cell"), 1)
    if len(shape) == 1:
        return Reading(Role.GATE_BIAS if gates == 4 else Role.BIAS)
    place = int(operand.slot in (3, "w_hh")) if cell else _place(node, operand)
    if place == 2:
        return Reading(Role.RECURRENT_PROJECTION, shape[1], shape[0], 0, 1)
    role = Role.RECURRENT_HIDDEN if place else Role.RECURRENT_INPUT
    return Reading(role, shape[1], shape[0] / gates, 0, 1, blocks=gates)


def _place(node: Node, operand: Operand) -> int:
    """Which of its layer's matrices it is: 0 for the input's, 1 for the hidden state's, 2 for the projection."""
    flat = [o for o in node.operands if o.slot == operand.slot]
    matrices = [o.index for o in flat if len(o.ref.shape) == 2]
    projects = (len(flat) - len(matrices)) * 3 == len(matrices) * 2
    return matrices.index(operand.index) % (3 if projects else 2)


def _einsum(node: Node, operand: Operand) -> Reading | None:
    equation = node.args[0] if node.args and isinstance(node.args[0], str) else None
    if equation is None or "->" not in equation:
        return None
    left, _, right = equation.replace(" ", "").replace("...", "").partition("->")
    terms = left.split(",")
    place = operand.index if operand.slot == 1 and len(node.args) == 2 else int(operand.slot) - 1
    if not 0 <= place < len(terms) or len(terms) < 2:
        return None
    letters, shape = terms[place], operand.ref.shape
    letters, shape = letters[-len(shape) :] if shape else "", shape[-len(letters) :] if letters else ()
    others = "".join(t for i, t in enumerate(terms) if i != place)
    summed = [i for i, c in enumerate(letters) if c not in right]
    stacked = tuple(i for i, c in enumerate(letters) if c in right and c in others)
    made = [i for i, c in enumerate(letters) if c in right and c not in others]
    if not summed:  # nothing is summed over: a scale, entry by entry
        return Reading(Role.SCALE)
    # Matrices (stack, in, out): what comes before the inputs, where outputs come behind them, counts maps.
    if made and made[0] < summed[0] < made[-1]:
        stacked = (*stacked, *(i for i in made if i < summed[0]))
        made = [i for i in made if i > summed[0]]
    fan_in, fan_out = (math.prod(shape[i] for i in some) for some in (summed, made))
    return Reading(Role.LINEAR, fan_in, fan_out, made[0] if made else None, summed[0] if made else None, stacked)


def _matmul(node: Node, operand: Operand) -> Reading | None:
    """A matrix product's operand: its last axis is summed over on the left, its last but one on the right."""
    shape, rank = operand.ref.shape, len(operand.ref.shape)
    adds = node.op in ("addmm", "baddbmm", "addbmm", "addmv")
    if adds and operand.slot in (0, "input"):
        return Reading(Role.BIAS)
    left = operand.slot in ((1, "mat1", "batch1") if adds else (0, "input"))
    if rank == 0:
        return None
    if rank == 1:
        return Reading(Role.LINEAR, shape[0], 1)
    in_, out = (rank - 1, rank - 2) if left else (rank - 2, rank - 1)
    if node.op in ("inner", "tensordot"):
        in_, out = (rank - 1, rank - 2)
    return Reading(Role.LINEAR, shape[in_], shape[out], out, in_, tuple(range(rank - 2)))
