"""What torch's own modules hold: for each class, the role and the declared axes of each of its tensors.

``structure`` asks ``declare`` for every module of a model. A subclass is read as its base, for the tensors the
base has; a tensor no table names is the caller's to declare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from ..initializers.layout import Layout
from .records import Declared, Role

Table = Mapping[str, Declared]

GATES: Mapping[str, tuple[str, ...]] = {
    "LSTM": ("input", "forget", "cell", "output"),
    "GRU": ("reset", "update", "new"),
    "RNN": ("hidden",),
}


def _vector(role: Role, *shape: int, default_fan: float = 0) -> Declared:
    return Declared(role, Layout.vector(shape), default_fan=default_fan)


def _linear(m: nn.Linear) -> Table:
    weight = Layout.mapping((m.out_features, m.in_features))
    # MultiheadAttention sets its output projection's bias to zero.
    bias_fan = 0 if isinstance(m, NonDynamicallyQuantizableLinear) else m.in_features
    return {
        "weight": Declared(Role.LINEAR, weight, default_fan=m.in_features),
        "bias": _vector(Role.BIAS, m.out_features, default_fan=bias_fan),
    }


def _conv(m: _ConvNd) -> Table:
    if isinstance(m, _ConvTransposeNd):
        shape = (m.in_channels, m.out_channels // m.groups, *m.kernel_size)
        role, layout = Role.CONV_TRANSPOSED, Layout.conv_transposed(shape, m.groups, m.stride)
    else:
        shape = (m.out_channels, m.in_channels // m.groups, *m.kernel_size)
        role, layout = Role.CONV, Layout.conv(shape, m.groups, m.stride)
    default = math.prod(shape[1:])  # for a transposed convolution that is out · k, not its fan-in
    return {
        "weight": Declared(role, layout, default_fan=default),
        "bias": _vector(Role.BIAS, m.out_channels, default_fan=default),
    }


def _bilinear(m: nn.Bilinear) -> Table:
    weight = Layout.bilinear((m.out_features, m.in1_features, m.in2_features))
    return {
        "weight": Declared(Role.BILINEAR, weight, default_fan=m.in1_features),
        "bias": _vector(Role.BIAS, m.out_features, default_fan=m.in1_features),
    }


def _embedding(m: nn.Embedding | nn.EmbeddingBag) -> Table:
    layout = Layout.embedding((m.num_embeddings, m.embedding_dim))
    return {"weight": Declared(Role.EMBEDDING, layout, zero_row=m.padding_idx)}


def _attention(m: nn.MultiheadAttention) -> Table:
    width = m.embed_dim
    return {
        "in_proj_weight": Declared(Role.ATTENTION, Layout.mapping((3 * width, width), blocks=3)),
        "q_proj_weight": Declared(Role.QUERY, Layout.mapping((width, width))),
        "k_proj_weight": Declared(Role.KEY, Layout.mapping((width, m.kdim or width))),
        "v_proj_weight": Declared(Role.VALUE, Layout.mapping((width, m.vdim or width))),
        "in_proj_bias": _vector(Role.BIAS, 3 * width),
        "bias_k": _vector(Role.TOKEN_BIAS, 1, 1, width),
        "bias_v": _vector(Role.TOKEN_BIAS, 1, 1, width),
    }


def _recurrent_tensors(gates: tuple[str, ...], width: int, hidden: int, inputs: int) -> dict[str, Declared]:
    """The tensors of one recurrent layer: ``width`` cells that read ``hidden`` old and ``inputs`` new values."""
    k = len(gates)

    def matrix(role: Role, columns: int) -> Declared:
        return Declared(role, Layout.mapping((k * width, columns), blocks=k), gates, default_fan=width)

    return {
        "weight_ih": matrix(Role.RECURRENT_INPUT, inputs),
        "weight_hh": matrix(Role.RECURRENT_HIDDEN, hidden),
        "bias_ih": Declared(Role.GATE_BIAS, Layout.vector((k * width,)), gates, default_fan=width),
        # torch adds both biases, so a gate's offset goes into the first alone.
        "bias_hh": _vector(Role.BIAS, k * width, default_fan=width),
    }


def _recurrent(m: nn.RNNBase) -> Table:
    gates = GATES[m.mode.split("_")[0]]
    hidden = m.proj_size or m.hidden_size
    directions = 2 if m.bidirectional else 1
    projection = Layout.mapping((hidden, m.hidden_size))
    table: dict[str, Declared] = {}
    for layer in range(m.num_layers):
        inputs = m.input_size if layer == 0 else hidden * directions
        tensors = _recurrent_tensors(gates, m.hidden_size, hidden, inputs)
        tensors["weight_hr"] = Declared(Role.RECURRENT_PROJECTION, projection, default_fan=m.hidden_size)
        for suffix in ("", "_reverse")[:directions]:
            table |= {f"{name}_l{layer}{suffix}": declared for name, declared in tensors.items()}
    return table


def _recurrent_cell(m: nn.RNNCell | nn.LSTMCell | nn.GRUCell) -> Table:
    kind = next(k for k, cell in _CELLS.items() if isinstance(m, cell))
    return _recurrent_tensors(GATES[kind], m.hidden_size, m.hidden_size, m.input_size)


_CELLS: Mapping[str, type[nn.Module]] = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}


def _norm(m: nn.LayerNorm | nn.RMSNorm | nn.GroupNorm | _NormBase) -> Table:
    if isinstance(m, nn.LayerNorm | nn.RMSNorm):
        shape = tuple(m.normalized_shape)
    else:
        shape = (m.num_channels if isinstance(m, nn.GroupNorm) else m.num_features,)
    return {
        "weight": _vector(Role.NORM_SCALE, *shape),
        "bias": _vector(Role.NORM_SHIFT, *shape),
        "running_mean": _vector(Role.RUNNING_MEAN, *shape),
        "running_var": _vector(Role.RUNNING_VARIANCE, *shape),
        "num_batches_tracked": _vector(Role.BATCHES_SEEN),
    }


def _slope(m: nn.PReLU) -> Table:
    return {"weight": _vector(Role.SLOPE, m.num_parameters)}


_TABLES: tuple[tuple[tuple[type[nn.Module], ...], Callable[..., Table]], ...] = (
    ((nn.Linear,), _linear),
    ((_ConvNd,), _conv),
    ((nn.Bilinear,), _bilinear),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    ((nn.MultiheadAttention,), _attention),
    ((nn.RNNBase,), _recurrent),
    ((nn.RNNCell, nn.LSTMCell, nn.GRUCell), _recurrent_cell),
    ((nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _NormBase), _norm),
    ((nn.PReLU,), _slope),
)


def declare(module: nn.Module) -> Table:
    """What ``module``'s own tensors are, by local name; empty for a class no table knows."""
    for types, table in _TABLES:
        if isinstance(module, types):
            return table(module)
    return {}
