"""The model of a study: how to build it anew for each trial, and that it fits the task.

``compare`` makes one from a network's name, a factory's text or a function; workers call it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ..errors import FirstlightError, ModelError, UnknownNameError
from .data.factories import is_factory, load_factory
from .identity import code_digest
from .networks import NETWORKS
from .tasks import Task

ModelSource = str | Callable[..., nn.Module]


@dataclass(frozen=True, slots=True)
class Model:
    """Builds the model of a study; it can be sent to another process.

    Args:
        source: a network's name, the text of a factory, or a function. It is called with (input shape, classes) if it
            takes two arguments, with none if it takes none.
        input_shape: the shape of one example.
        classes: how many outputs the task asks for.
    """

    source: ModelSource
    input_shape: tuple[int, ...]
    classes: int

    @property
    def name(self) -> str:
        """What the network is called in reports."""
        if isinstance(self.source, str):
            return self.source
        return getattr(self.source, "__name__", type(self.source).__name__)

    def __call__(self) -> nn.Module:
        """A new model."""
        model = _call(_function(self.source), self.input_shape, self.classes)
        if not isinstance(model, nn.Module):
            raise ModelError(f"the model factory {self.name!r} gave {type(model).__name__}, not a torch.nn.Module")
        return model

    def for_task(self, task: Task) -> Model:
        """The same factory for another task's inputs and classes."""
        return replace(self, input_shape=task.input_shape, classes=len(task.classes))

    def identity(self, example: nn.Module) -> str:
        """A hash of what decides the model: its parameters' names and shapes, its modules, and the code behind it."""
        hashed = hashlib.blake2b(digest_size=16)
        for name, tensor in example.state_dict().items():
            hashed.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        hashed.update(code_digest(_function(self.source), example).encode())
        return hashed.hexdigest()


def _function(source: ModelSource) -> Callable[..., Any]:
    if not isinstance(source, str):
        return source
    if source in NETWORKS:
        return NETWORKS[source]
    if is_factory(source):
        return load_factory(source)
    raise UnknownNameError.of("network", source, (*NETWORKS, "file.py:factory"))


def _call(function: Callable[..., Any], input_shape: tuple[int, ...], classes: int) -> Any:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    free = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in free if p.default is p.empty]
    arguments = (input_shape, classes) if len(needed) == 2 or (not needed and len(free) == 2) else ()
    return function(*arguments)


def checked_example(model: Model, task: Task) -> nn.Module:
    """One model, after it has shown that it maps a batch to (examples, classes).

    Raises:
        ModelError: building it or the forward pass raised, or the output's shape does not fit the classes.
    """
    x, _ = task.batch(task.train, slice(0, 2))
    try:
        example = model()
        with torch.no_grad():
            output = example(x)
    except FirstlightError:
        raise
    except Exception as error:
        raise ModelError(
            f"the model {model.name!r} raised on a batch of shape {(2, *task.input_shape)}: {error!r}"
        ) from error
    expected = (2, len(task.classes))
    if not isinstance(output, torch.Tensor) or tuple(output.shape) != expected:
        got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise ModelError(
            f"the model {model.name!r} gives {got} for a batch of 2, and the task {task.name!r} has "
            f"{len(task.classes)} classes: its output should be {expected}, one logit for each class"
        )
    return example
