"""The tape: what one forward did, call by call, as data.

``recorder.record`` makes it from a model and example inputs; ``uses`` reads what each parameter does in it, and
``moments`` sends the signal's statistics along it. Nodes are in execution order, so a node reads only earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import torch


class Flow(StrEnum):
    """What a value depends on."""

    DATA = "data"  # the model's inputs
    WEIGHTS = "weights"  # parameters, and no input
    FIXED = "fixed"  # neither: masks, position numbers, buffers


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor that a call read.

    Args:
        node: the call that made its value last.
        output: which of that call's outputs.
        shape: its shape where it was read.
        also: earlier calls that made parts of it: what a view shows of a storage that was written in place since.
    """

    node: int
    output: int = 0
    shape: tuple[int, ...] = ()
    also: tuple[int, ...] = ()

    @property
    def nodes(self) -> tuple[int, ...]:
        """Every call that made some of it, the latest first."""
        return (self.node, *self.also)


@dataclass(frozen=True, slots=True)
class Operand:
    """One tensor argument of a call: its position or keyword, its place within a list, and what it read."""

    slot: int | str
    index: int
    ref: Ref


PARAMETER, BUFFER, INPUT, CONSTANT = "parameter", "buffer", "input", "constant"
SOURCES = (PARAMETER, BUFFER, INPUT, CONSTANT)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One call, or one of the sources that calls read.

    Args:
        id: its place on the tape.
        op: its plain name (``linear``, ``add``, ``gelu``: no underscore of an in-place form, no dunder), or a source:
            ``parameter``, ``buffer``, ``input``, ``constant``.
        flow: what its value depends on.
        shapes, dtypes: of its output tensors.
        args, kwargs: as called, nested as called, with a ``Ref`` in each tensor's place.
        function: what was called; ``None`` for a source.
        module: the path of the module it ran in, canonical names; ``module_types`` that module's class and bases.
        name: a parameter's or buffer's canonical name.
        value: its real value, where that is known: of an input, a parameter as it was, a small buffer or constant, and
            of what was computed from fixed values or integers alone.
        training: whether that module was in training mode (dropout and batch norm ask).
        parameter: of a constant, whether it is a trainable parameter that no module of the model holds.
        guess: what was guessed to get past it ("" for nothing): a value that depends on data, a shape no kernel gives.
        operands: the tensors it read, in the order of its arguments; ``inputs`` the nodes it read, each once.
    """

    id: int
    op: str
    flow: Flow
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    function: Callable[..., object] | None = None
    module: str = ""
    module_types: tuple[str, ...] = ()
    name: str = ""
    value: torch.Tensor | None = None
    training: bool = False
    parameter: bool = False
    guess: str = ""
    operands: tuple[Operand, ...] = field(init=False, repr=False)
    inputs: tuple[int, ...] = field(init=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """The first output's shape; () where there is none."""
        return self.shapes[0] if self.shapes else ()

    @property
    def is_source(self) -> bool:
        """Whether nothing was called: it stands on the tape for others to read."""
        return self.function is None

    def __post_init__(self) -> None:
        found: list[Operand] = []
        named: list[tuple[int | str, object]] = [*enumerate(self.args), *self.kwargs.items()]
        for slot, argument in named:
            found += (Operand(slot, i, ref) for i, ref in enumerate(refs(argument)))
        object.__setattr__(self, "operands", tuple(found))
        object.__setattr__(self, "inputs", tuple(dict.fromkeys(n for o in found for n in o.ref.nodes)))

    def argument(self, name: str, position: int, default: object = None) -> object:
        """An argument by its keyword or its position."""
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if 0 <= position < len(self.args) else default

    def tensor(self, name: str, position: int) -> Ref | None:
        """A tensor argument by its keyword or its position; ``None`` where none was given."""
        given = self.argument(name, position)
        return given if isinstance(given, Ref) else None


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """One forward, call by call.

    Args:
        nodes: sources and calls in execution order; ``nodes[i].id == i``.
        outputs: the tensors that the model returned.
        guesses: what had to be guessed, in words, where.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Ref, ...]
    guesses: tuple[str, ...] = ()

    def __getitem__(self, node: int) -> Node:
        return self.nodes[node]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def is_real(self, ref: Ref) -> bool:
        """Whether a call read a tensor of floating point numbers."""
        dtypes = self.nodes[ref.node].dtypes
        return bool(dtypes) and dtypes[min(ref.output, len(dtypes) - 1)].is_floating_point

    def readers(self) -> tuple[tuple[tuple[Node, Operand], ...], ...]:
        """For each node, the calls that read it, in order, and the argument they read it as."""
        found: list[list[tuple[Node, Operand]]] = [[] for _ in self.nodes]
        for node in self.nodes:
            for operand in node.operands:
                for source in operand.ref.nodes:
                    found[source].append((node, operand))
        return tuple(map(tuple, found))


def refs(argument: object) -> Iterator[Ref]:
    """The tensors within an argument, in order: it may be one, or nest them in lists, tuples and dicts."""
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, list | tuple):
        for part in argument:
            yield from refs(part)
    elif isinstance(argument, Mapping):
        for part in argument.values():
            yield from refs(part)
