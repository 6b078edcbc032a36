"""Signals through recurrent layers: the state's second moment, step by step, from that of the gates' arguments.

A gate's argument is a = W x + U h + b, Gaussian over units, with E[a²] = n σ² E[x²] + m τ² E[h²] + Var[b]; gates are
independent of each other. An LSTM's cell then follows E[c'²] = E[f²] E[c²] + 2 E[f] E[i] E[c g] + E[i²] E[g²], where
E[c g] is what inputs share over time, and E[h²] = E[o²] E[tanh(c)²]; a GRU's state goes likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ..graphs.tape import Node, Ref
from .maps import mapped, with_bias
from .quadrature import through
from .signal import Signal

_STEPS, _ROUNDS, _CELL_STEPS = 256, 4, 16
Of = Callable[[Ref], Signal]


@dataclass(frozen=True, slots=True)
class _Tensors:
    """One layer's parameters in one direction: input and hidden weight, their biases, a projection."""

    input: Ref
    hidden: Ref
    biases: tuple[Ref, ...]
    projection: Ref | None


@dataclass(frozen=True, slots=True)
class Series:
    """A value over time: its signal, and its covariance between neighbouring steps.

    Between steps k apart it is local + (near - local) m^(k-1), with m = (near - local) / (variance - local).
    """

    value: Signal
    near: float

    @property
    def memory(self) -> float:
        """m, between 0 and 1."""
        own = self.value.variance - self.value.local
        return min(max((self.near - self.value.local) / own, 0.0), 1.0) if own > 1e-12 else 0.0

    def mapped(self, weight: Ref, of: Of) -> Series:
        """Behind a linear map."""
        through_, fan = of(weight), weight.shape[1]
        near = mapped(replace(self.value, local=self.near), fan, through_).local
        return Series(mapped(self.value, fan, through_), near)

    def plus(self, other: Series) -> Series:
        """A sum with an independent one."""
        return Series(self.value.plus(other.value), self.near + other.near)

    def through(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Series:
        """A function of each step's value."""
        return Series(through(function, self.value), through(function, replace(self.value, local=self.near)).local)


def recurrent(node: Node, of: Of) -> Signal:
    """The signal of what a recurrent layer or cell gives."""
    *_, last = inputs(node, of)
    return last


def inputs(node: Node, of: Of) -> Iterator[Signal]:
    """What each layer reads, then what the last one gives; a layer's weights are asked for only beyond its input.

    Raises:
        ArithmeticError: the call has no parameters in a form that is known.
    """
    kind = node.op.removesuffix("_cell")
    data = node.operands[0].ref
    x = of(data).plain()
    series = Series(x, x.local)
    layers, steps = _layers(node), _steps(node, data)
    if not layers:
        raise ArithmeticError(f"{node.op} without weights")
    yield x
    for tensors in layers:
        series = _layer(kind, series, tensors, of, steps)
        yield replace(series.value, known=x.known)


def layer_of(node: Node, parameter: int) -> int:
    """Which layer of a recurrent call a parameter belongs to, by the parameter's place on the tape."""
    found, directions = groups(node)
    return next((i // directions for i, g in enumerate(found) if parameter in [r.node for r in g]), 0)


def _layers(node: Node) -> list[_Tensors]:
    """A layer's parameters, of its first direction: the second's are alike."""
    found, directions = groups(node)
    return [
        _Tensors(g[0], g[1], tuple(_of_rank(g, 1)), next(iter(_of_rank(g[2:], 2)), None))
        for g in found[::directions]
        if len(g) > 1
    ]


def groups(node: Node) -> tuple[list[list[Ref]], int]:
    """The parameters of each layer and direction, two matrices, vectors, a projection; and the directions."""
    if node.op.endswith("_cell"):
        named = (("w_ih", 2), ("w_hh", 3), ("b_ih", 4), ("b_hh", 5))
        return [[r for n, i in named if (r := node.tensor(n, i)) is not None]], 1
    slot = next((o.slot for o in node.operands if o.slot in (2, 3) and len(o.ref.shape) == 2), None)
    flat = [o.ref for o in node.operands if o.slot == slot]
    vectors, matrices = len(_of_rank(flat, 1)), len(_of_rank(flat, 2))
    size = (3 if _projects(flat, node) else 2) + (2 if vectors else 0)
    found = [flat[i : i + size] for i in range(0, len(flat), size)]
    flags = [a for a in node.args if isinstance(a, bool)]  # has_biases, train, bidirectional, batch_first
    both = len(flags) > 2 and flags[2] and len(found) % 2 == 0
    return found, 2 if both and matrices else 1


def _projects(flat: list[Ref], node: Node) -> bool:
    """Whether an LSTM's state is projected: its hidden weight then reads fewer values than it has cells."""
    return node.op == "lstm" and len(flat) > 1 and flat[1].shape[0] != 4 * flat[1].shape[-1]


def _of_rank(refs: list[Ref], rank: int) -> list[Ref]:
    return [r for r in refs if len(r.shape) == rank]


def _steps(node: Node, data: Ref) -> int:
    if node.op.endswith("_cell"):
        return _CELL_STEPS
    first = bool(node.args and node.args[-1] is True)  # batch_first
    shape = data.shape
    return min(_STEPS, max(1, shape[1] if first and len(shape) > 2 else shape[0]))


def _layer(kind: str, x: Series, tensors: _Tensors, of: Of, steps: int) -> Series:
    """The state of one layer, a mean over its steps: a fixed point, since the gates read the state."""
    given = x.mapped(tensors.input, of)
    forget = 0.0
    for ref in tensors.biases:
        bias = of(ref)
        # An LSTM's bias that is not zero in the mean is its forget gate's, one in four.
        forget += 4 * bias.mean
        spread = max(0.0, bias.variance - 3 * bias.mean**2) if kind == "lstm" else bias.second
        given = Series(with_bias(given.value, Signal(0.0, spread)), given.near + spread)
    state = Series(Signal(), 0.0)
    for _ in range(_ROUNDS):
        state = _STATES[kind](given, state.mapped(tensors.hidden, of), forget, steps)
        if tensors.projection is not None:
            state = state.mapped(tensors.projection, of)
    return state


def _lstm(given: Series, own: Series, forget: float, steps: int) -> Series:
    argument = given.plus(own)
    gate, new = through(torch.sigmoid, argument.value), argument.through(torch.tanh)
    kept = through(lambda z: torch.sigmoid(z + forget), argument.value)
    rest = (gate.mean, gate.second)
    cell = _accumulated(new, (kept.mean, kept.second), rest, kept.mean * gate.mean, steps)
    given_out = Signal(gate.mean, gate.variance, gate.shared, gate.local)
    out = cell.through(torch.tanh)
    whole = out.value.times(replace(given_out, shared=0.0, local=0.0))
    return Series(whole, gate.mean**2 * out.near)


def _gru(given: Series, own: Series, _: float, steps: int) -> Series:
    gate = through(torch.sigmoid, given.plus(own).value)
    passed = Series(own.value.times(gate), gate.mean**2 * own.near)
    new = given.plus(passed).through(torch.tanh)
    rest = (1 - gate.mean, 1 - 2 * gate.mean + gate.second)
    return _accumulated(new, (gate.mean, gate.second), rest, gate.mean - gate.second, steps)


def _accumulated(new: Series, kept: tuple[float, float], taken: tuple[float, float], both: float, steps: int) -> Series:
    """s' = f s + i n over the steps, a mean over them, from zero; of f and i the mean and the mean square, and E[f i].

    What n shares with the state before it is Σ_j E[f]^j E[i] cov(j + 1), of a lasting and a fading part.
    """
    (f, f2), (i, i2) = kept, taken
    lasting, fading, memory = new.value.local, new.near - new.value.local, new.memory
    state = near = common = with_lasting = with_fading = 0.0
    states: list[tuple[float, float, float]] = []
    nears: list[float] = []
    for _ in range(steps):
        with_new = with_lasting + with_fading
        nears.append(f * state + i * with_new)
        state = f2 * state + 2 * both * with_new + i2 * new.value.second
        common = f**2 * common + i**2 * new.value.shared
        with_lasting = f * with_lasting + i * lasting
        with_fading = f * memory * with_fading + i * fading
        states.append((state, with_lasting, with_fading))
    second, near = sum(s for s, _, _ in states) / steps, sum(nears) / steps
    local = _over_time(states, f, i, memory)
    return Series(Signal(0.0, second, min(common, second), min(local, second)), min(near, second))


def _over_time(states: list[tuple[float, float, float]], kept: float, taken: float, memory: float) -> float:
    """The mean covariance of a state at two steps: it decays by what is kept, and new input shares some with it."""
    steps = len(states)
    total, pairs = 0.0, 0
    for start in range(0, steps, max(1, steps // 16)):
        now, lasting, fading = states[start]
        for _ in range(start + 1, steps):
            now = kept * now + taken * (lasting + fading)
            fading *= memory
            total, pairs = total + now, pairs + 1
    return total / pairs if pairs else 0.0


def _rnn(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Series, Series, float, int], Series]:
    def state(given: Series, own: Series, _forget: float, _steps: int) -> Series:
        return given.plus(own).through(function)

    return state


_STATES = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _rnn(torch.tanh), "rnn_relu": _rnn(torch.relu)}
