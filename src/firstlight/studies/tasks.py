"""A task: data cut into train, validation and test, with the constants that normalise it.

The readers in ``data`` make tasks; ``training`` asks them for batches; a study's fingerprint holds their digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, DataError

_PARTS = ("train", "validation", "test")


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
        labels: (N,) whole numbers from 0, or names.
        name: what the task is called.
        description: one line on where the data comes from.
        classes: the classes' names; by default the labels themselves.
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
    x, y, names = _checked(inputs, labels, classes, "the data")
    rest, held_out = _cut(y, test, split_seed, names)
    if limit is not None and limit < len(rest):
        rest = rest[_limit(y[rest], limit, split_seed, names)]
        description = _limited(description, limit)
    kept, chosen = _cut(y[rest], validation / (1 - test), split_seed + 1, names)
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
    if classes is None:
        named = [part[1] for part in (train, validation, test) if part is not None]
        classes = _class_names(np.concatenate([np.asarray(labels) for labels in named]))
    x, y, names = _checked(*train, classes, "the training part")
    if limit is not None and limit < len(y):
        chosen = _limit(y, limit, split_seed, names)
        x, y = x[chosen], y[chosen]
        description = _limited(description, limit)
    if validation is None:
        kept, chosen = _cut(y, validation_share, split_seed + 1, names)
        parts = [Split(x[kept], y[kept]), Split(x[chosen], y[chosen])]
    else:
        parts = [Split(x, y), Split(*_checked(*validation, classes, "the validation part")[:2])]
    parts.append(Split(*_checked(*test, classes, "the test part")[:2]))
    shapes = {tuple(p.inputs.shape[1:]) for p in parts}
    if len(shapes) > 1:
        raise DataError(f"the parts hold examples of different shapes: {', '.join(map(str, sorted(shapes)))}")
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
    inputs: ArrayLike, labels: ArrayLike, classes: Sequence[str] | None, what: str
) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    x, y = np.asarray(inputs), np.asarray(labels)
    if x.ndim < 2:
        raise DataError(f"the inputs of {what} have the shape {x.shape}: give (examples, features) or more axes")
    if y.ndim != 1:
        raise DataError(f"the labels of {what} have the shape {y.shape}: give one class for each example")
    if len(x) != len(y):
        raise DataError(f"{what} has {len(x)} inputs and {len(y)} labels: they should be as many")
    if not x.size:
        raise DataError(f"{what} is empty (inputs of shape {x.shape})")
    return _checked_inputs(x, what), *_checked_labels(y, classes, what)


def _checked_inputs(x: NDArray[np.generic], what: str) -> torch.Tensor:
    if x.dtype.kind not in "fiub":
        raise DataError(f"the inputs of {what} are of type {x.dtype}: give numbers")
    if x.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(x))
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(single).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(single))[0])
        raise DataError(
            f"the inputs of {what} hold {x[where]} at {list(where)} (example {where[0]}): replace or drop what is not "
            "finite in float32"
        )
    return torch.from_numpy(single.copy() if single is x else single)


def _checked_labels(
    y: NDArray[np.generic], classes: Sequence[str] | None, what: str
) -> tuple[torch.Tensor, tuple[str, ...]]:
    names = tuple(str(c) for c in (classes if classes is not None else _class_names(y)))
    if y.dtype.kind in "USO":
        index = {name: i for i, name in enumerate(names)}
        strange = sorted({str(v) for v in y} - set(index))
        if strange:
            raise DataError(f"{what} has the label {strange[0]!r}, which is none of the classes {', '.join(names)}")
        numbers = np.array([index[str(v)] for v in y], dtype=np.int64)
    else:
        if y.dtype.kind not in "iubf" or (y.dtype.kind == "f" and not (np.isfinite(y) & (y == np.floor(y))).all()):
            raise DataError(f"the labels of {what} are no whole numbers: give each example's class as 0, 1, 2 …")
        numbers = y.astype(np.int64)
    outside = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if outside.size:
        raise DataError(
            f"example {outside[0]} of {what} has the label {numbers[outside[0]]}, outside the classes 0 to "
            f"{len(names) - 1}: number classes from 0 without gaps, or give their names"
        )
    if len(np.unique(numbers)) < 2:
        raise DataError(f"{what} has one class only ({names[numbers[0]]!r}): there is nothing to tell apart")
    return torch.from_numpy(numbers), names


def _class_names(y: NDArray[np.generic]) -> tuple[str, ...]:
    if y.dtype.kind in "USO":
        return tuple(sorted({str(v) for v in y}))
    try:
        top = int(y.max())
    except (TypeError, ValueError, OverflowError):
        return ("0",)
    # A label far beyond the number of examples is a wrong column, not a class.
    return tuple(str(i) for i in range(min(max(top, 0), len(y)) + 1))


def _cut(y: torch.Tensor, share: float, seed: int, classes: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of (the rest, a share), each class in the same shares and on both sides."""
    rng = np.random.Generator(np.random.Philox(seed))
    rest, taken = [], []
    for label, name in enumerate(classes):
        members = rng.permutation(np.flatnonzero(y.numpy() == label))
        if len(members) < 2:
            raise DataError(
                f"the class {name!r} has too few examples ({len(members)} left to cut): every class needs one in each "
                "of train, validation and test; drop the class or add examples"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        taken.append(members[:count])
        rest.append(members[count:])
    return tuple(torch.from_numpy(np.sort(np.concatenate(part))) for part in (rest, taken))  # type: ignore[return-value]


def _limited(description: str, limit: int) -> str:
    return f"{description} Limited to {limit} examples to train and validate on.".strip()


def _limit(y: torch.Tensor, limit: int, seed: int, classes: tuple[str, ...]) -> torch.Tensor:
    if limit < 2 * len(classes):
        raise ArgumentError(f"limit={limit} is too few for {len(classes)} classes: give at least {2 * len(classes)}")
    return _cut(y, limit / len(y), seed + 2, classes)[1]


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


def save_task(task: Task, folder: Path) -> None:
    """Write a task so that other processes can map it into memory; the folder appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        for name in _PARTS:
            split: Split = getattr(task, name)
            np.save(draft / f"{name}-inputs.npy", split.inputs.contiguous().numpy())
            np.save(draft / f"{name}-labels.npy", split.labels.numpy())
        np.save(draft / "mean.npy", task.mean.numpy())
        np.save(draft / "scale.npy", task.scale.numpy())
        about = {k: getattr(task, k) for k in ("name", "description", "classes", "chance", "digest")}
        (draft / "task.json").write_text(json.dumps(about))
        if task.source is not None:
            save_task(task.source, draft / "source")
        os.replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def open_task(folder: Path) -> Task:
    """The task that ``save_task`` wrote, its examples mapped from the files."""
    about = json.loads((folder / "task.json").read_text())

    def array(name: str) -> torch.Tensor:
        return torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))

    train, validation, test = (Split(array(f"{p}-inputs"), array(f"{p}-labels")) for p in _PARTS)
    source = open_task(folder / "source") if (folder / "source").is_dir() else None
    return Task(
        about["name"],
        about["description"],
        train,
        validation,
        test,
        tuple(about["classes"]),
        array("mean").clone(),
        array("scale").clone(),
        about["chance"],
        about["digest"],
        source,
    )
