"""A task: data cut into train, validation and test, with the constants that normalise it.

The readers in ``data`` make tasks; ``training`` asks them for batches; a study's fingerprint holds their digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, DataError
from .cuts import cut, subset
from .labels import as_array, number, plain, some


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Examples and their classes: ``inputs`` (N, …) in uint8 or float32, ``labels`` (N,) in int64."""

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A classification task.

    Args:
        name: what it is called in reports and run folders.
        description: one line on where the data comes from and how it was cut.
        train, validation, test: the splits.
        classes: the classes' names, by label.
        mean, scale: inputs enter the network as (x - mean) / scale; fitted on the training split alone.
        chance: the share of the largest class in the validation split: what guessing that class scores.
        digest: a hash of everything above, the same for the same data.
        source: the task whose trained weights a ``pretrained`` arm starts from.
    """

    name: str
    description: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: torch.Tensor
    scale: torch.Tensor
    chance: float
    digest: str
    source: Task | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.train.inputs.shape[1:])

    def batch(self, split: Split, index: torch.Tensor | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """The examples of ``split`` at ``index``, normalised to float32, and their labels."""
        x = split.inputs[index].to(torch.float32)
        return (x - self.mean).div_(self.scale), split.labels[index]


def task_from_arrays(
    inputs: ArrayLike,
    labels: ArrayLike,
    *,
    name: str = "data",
    description: str = "",
    classes: Sequence[str] | None = None,
    validation: float = 0.2,
    test: float = 0.3,
    split_seed: int = 0,
    limit: int | None = None,
    source: Task | None = None,
) -> Task:
    """A task from examples and labels, cut at random, each class in the same shares.

    Args:
        inputs: (N, features) or (N, channels, height, width) and the like; uint8 stays uint8 in memory.
        labels: (N,) whole numbers from 0 without gaps, or names.
        name: what the task is called.
        description: one line on where the data comes from.
        classes: the classes' names, by number; by default the labels themselves, names in alphabetical order.
        validation: share that chooses the learning rate.
        test: share that is read once per trial.
        split_seed: decides the cut.
        limit: at most so many examples to train and validate on, each class in its share.
        source: the task a ``pretrained`` arm trains on first.

    Raises:
        DataError: the arrays cannot be learned from; the message names what is wrong and where.
        ArgumentError: the shares leave nothing to train on.
    """
    for share_name, share in (("validation", validation), ("test", test)):
        if not 0 < share < 1:
            raise ArgumentError(f"{share_name}={share} should be a share between 0 and 1")
    if validation + test >= 1:
        raise ArgumentError(f"validation={validation} and test={test} leave nothing to train on")
    (whole,), names = _checked([("the data", (inputs, labels))], classes)
    x, y = whole.inputs, whole.labels
    rest, held_out = cut(y, test, split_seed, names)
    if limit is not None and limit < len(rest):
        rest = rest[subset(y[rest], limit, split_seed, names)]
        description = _limited(description, limit)
    kept, chosen = cut(y[rest], validation / (1 - test), split_seed + 1, names)
    parts = [Split(x[i], y[i]) for i in (rest[kept], rest[chosen], held_out)]
    return make_task(name, description, parts, names, source=source)


def task_from_splits(
    train: tuple[ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike],
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    name: str = "data",
    description: str = "",
    classes: Sequence[str] | None = None,
    validation_share: float = 0.2,
    split_seed: int = 0,
    limit: int | None = None,
    source: Task | None = None,
) -> Task:
    """A task from parts that are already cut; without a validation part, a share of the training part becomes it.

    Args:
        train, test, validation: (inputs, labels) each, as ``task_from_arrays`` takes them.
        limit: at most so many examples to train and validate on, each class in its share; the test part stays whole.

    The other arguments and the errors are ``task_from_arrays``'s.
    """
    given = [("the training part", train), ("the test part", test)]
    given += [("the validation part", validation)] if validation is not None else []
    checked, names = _checked(given, classes)
    _refuse_unseen(given, checked, names)
    first, held_out = checked[:2]
    if limit is not None and limit < len(first):
        first = _chosen(first, subset(first.labels, limit, split_seed, names))
        description = _limited(description, limit)
    if validation is None:
        kept, chosen = cut(first.labels, validation_share, split_seed + 1, names)
        parts = [_chosen(first, kept), _chosen(first, chosen), held_out]
    else:
        parts = [first, checked[2], held_out]
    return make_task(name, description, parts, names, source=source)


def make_task(
    name: str,
    description: str,
    parts: Sequence[Split],
    classes: tuple[str, ...],
    *,
    constants: tuple[torch.Tensor, torch.Tensor] | None = None,
    source: Task | None = None,
) -> Task:
    """The task of three checked splits; ``constants`` are (mean, scale), fitted on the first split if not given."""
    mean, scale = constants if constants is not None else _constants(parts[0].inputs)
    counts = torch.bincount(parts[1].labels, minlength=len(classes))
    chance = int(counts.max()) / int(counts.sum())
    digest = _digest(parts, classes, mean, scale)
    train, validation, test = parts
    return Task(name, description, train, validation, test, classes, mean, scale, chance, digest, source)


def _checked(
    given: Sequence[tuple[str, tuple[ArrayLike, ArrayLike]]], classes: Sequence[str] | None
) -> tuple[list[Split], tuple[str, ...]]:
    """The parts as splits that share one list of classes."""
    inputs, labels = [], []
    for what, pair in given:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError(f"{what} is {type(pair).__name__}: give a pair (inputs, labels)")
        x, y = as_array(pair[0], f"the inputs of {what}"), plain(pair[1], what)
        if x.ndim < 2:
            raise DataError(f"the inputs of {what} have the shape {x.shape}: give (examples, features) or more axes")
        if len(x) != len(y):
            raise DataError(f"{what} has {len(x)} inputs and {len(y)} labels: they should be as many")
        if not x.size:
            raise DataError(f"{what} is empty (inputs of shape {x.shape})")
        inputs.append(_checked_inputs(x, what))
        labels.append((what, y))
    shapes = {tuple(x.shape[1:]) for x in inputs}
    if len(shapes) > 1:
        raise DataError(
            f"the parts hold examples of different shapes: {', '.join(map(str, sorted(shapes)))}; bring them to one "
            "(image_size=, --image-size, for files of images)"
        )
    numbers, names = number(labels, classes)
    for (what, _), y in zip(given, numbers, strict=True):
        if len(np.unique(y)) < 2:
            raise DataError(f"{what} has one class only ({names[y[0]]!r}): there is nothing to tell apart")
    return [Split(x, torch.from_numpy(y)) for x, y in zip(inputs, numbers, strict=True)], tuple(names)


def _refuse_unseen(given: Sequence[tuple[str, object]], parts: Sequence[Split], names: Sequence[str]) -> None:
    """A class that the training part lacks cannot be learned; it is more often one that is written in two ways."""
    seen = np.unique(parts[0].labels.numpy())
    for (what, _), part in zip(given, parts, strict=True):
        unseen = np.setdiff1d(part.labels.numpy(), seen)
        if unseen.size:
            raise DataError(
                f"{what} has the class {names[unseen[0]]!r}, of which the training part has no example; its classes "
                f"are {some([names[k] for k in seen])}: write each class alike in all parts, or drop those examples"
            )


def _chosen(split: Split, index: torch.Tensor) -> Split:
    return Split(split.inputs[index], split.labels[index])


def _checked_inputs(x: NDArray[np.generic], what: str) -> torch.Tensor:
    if x.dtype.kind not in "fiub":
        raise DataError(f"the inputs of {what} are of type {x.dtype}: give numbers")
    _refuse_channels_last(x, what)
    if x.dtype == np.uint8:
        return torch.from_numpy(np.array(x, order="C"))
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(single).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(single))[0])
        raise DataError(
            f"the inputs of {what} hold {x[where]} at {list(where)} (example {where[0]}): replace or drop what is not "
            "finite in float32"
        )
    return torch.from_numpy(single.copy() if single is x else single)


def _refuse_channels_last(x: NDArray[np.generic], what: str) -> None:
    """Images that end in their colours would be read as many channels of pictures one to four pixels wide."""
    if x.ndim != 4 or x.shape[3] not in (1, 3, 4) or min(x.shape[1:3]) <= 4:
        return
    # Numbers of four axes need not be images: they count as such where they are square.
    if x.dtype == np.uint8 or x.shape[1] == x.shape[2]:
        raise DataError(
            f"the inputs of {what} have the shape {x.shape}, which looks like (examples, height, width, channels): "
            "give channels first, x.transpose(0, 3, 1, 2)"
        )


def _limited(description: str, limit: int) -> str:
    return f"{description} Limited to {limit} examples to train and validate on.".strip()


def _constants(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each feature of (N, features), of each channel (axis 1) otherwise."""
    axes = [a for a in range(x.ndim) if a != 1]
    count = x.numel() // x.shape[1]
    totals = torch.zeros(2, *(x.shape[1] if a == 1 else 1 for a in range(1, x.ndim)), dtype=torch.float64)
    for part in torch.split(x, 4096):  # in pieces: uint8 images need not stand in float64 all at once
        values = part.double()
        totals[0] += values.sum(dim=axes, keepdim=True)[0]
    mean = totals[0] / count
    for part in torch.split(x, 4096):
        totals[1] += (part.double() - mean).square().sum(dim=axes, keepdim=True)[0]
    scale = (totals[1] / count).sqrt()
    # A feature that never changes tells nothing; it enters as 0.
    scale = torch.where(scale > 1e-12 * (1 + mean.abs()), scale, 1.0)
    return mean.float(), scale.float()


def _digest(parts: Sequence[Split], classes: tuple[str, ...], mean: torch.Tensor, scale: torch.Tensor) -> str:
    hashed = hashlib.blake2b(json.dumps(classes).encode(), digest_size=16)
    for tensor in (mean, scale, *(t for p in parts for t in (p.inputs, p.labels))):
        hashed.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        hashed.update(tensor.contiguous().numpy().data)
    return hashed.hexdigest()
