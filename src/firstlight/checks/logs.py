"""A finished run's log as a curve: CSV and other tables, JSON and JSON lines, TensorBoard's event files.

Which column is the loss is found by its usual names. ``diagnose_curve`` and ``firstlight diagnose`` take the curve.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import DataError, UnknownNameError
from .curves import Curve, make_curve
from .logs_columns import Column
from .logs_events import is_events, read_events
from .logs_json import read_json
from .logs_text import read_table

_HELD_OUT = re.compile(r"(^|_)(val|valid|validation|eval|evaluation|dev|test|holdout)(_|$)")
_LOSS = re.compile(r"(^|_)(loss|nll|cross_?entropy|mse|objective|cost)(_|$)")
_FIRST = ("loss", "train_loss", "training_loss", "loss_train", "train_loss_step", "loss_step", "batch_loss")
_FIRST_HELD_OUT = ("val_loss", "valid_loss", "validation_loss", "eval_loss", "dev_loss", "test_loss")


def read_log(
    path: str | Path, *, column: str | None = None, validation: str | None = None, trivial: float | None = None
) -> Curve:
    """The loss curve that a log holds.

    Args:
        path: a table with a header (CSV, tabs, semicolons, spaces; Lightning's ``metrics.csv``), or without one
            (losses, or steps and losses); JSON lines, a JSON list, a Keras history, ``trainer_state.json``;
            an event file of TensorBoard or the folder of one run (``firstlight[tensorboard]``).
        column: the training loss's name, where it is none of the usual ones.
        validation: the validation loss's name, likewise.
        trivial: the loss of the best constant prediction, where it is known.

    Raises:
        DataError: the file cannot be read or holds no loss; the message names the line.
        UnknownNameError: no column has the name that was given.
        MissingExtraError: an event file, and ``tensorboard`` is not installed.
    """
    path = Path(path)
    columns = _columns(path)
    loss = _named(columns, column, path) if column is not None else _found(columns, _FIRST, held_out=False)
    held_out = (
        _named(columns, validation, path) if validation is not None else _found(columns, _FIRST_HELD_OUT, held_out=True)
    )
    if loss is None and held_out is None:
        raise DataError(
            f"{str(path)!r} has no column that looks like a loss: it has {', '.join(sorted(columns)) or 'none'}. "
            "Say which one with column= (--column)"
        )
    if loss is None or not loss.values:
        if held_out is None or not held_out.values:
            raise DataError(f"the loss of {str(path)!r} has no values")
        loss, held_out = held_out, None
    made = make_curve(loss.values, loss.steps, None, None, trivial, str(path))
    if held_out is None or not held_out.values:
        return made
    other = make_curve(held_out.values, held_out.steps)
    return replace(made, validation_steps=other.steps, validation=other.loss)


def _columns(path: Path) -> Mapping[str, Column]:
    if is_events(path):
        return read_events(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{str(path)!r} is no text: byte {error.start} is no UTF-8. Logs are read as CSV, JSON lines, JSON or "
            "TensorBoard's event files (named events.out.tfevents…)"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {str(path)!r}: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise DataError(f"cannot read {str(path)!r}: {error}") from None
    if not text.strip():
        raise DataError(f"{str(path)!r} is empty")
    as_json = path.suffix.lower() in (".json", ".jsonl", ".ndjson") or text.lstrip()[0] in "{["
    return (read_json if as_json else read_table)(text, path)


def _plain(name: str) -> str:
    """A name in lower case with single underscores: ``Train/Loss`` is ``train_loss``.

    >>> _plain("Train/Loss"), _plain("valLoss")
    ('train_loss', 'val_loss')
    """
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")


def _named(columns: Mapping[str, Column], name: str, path: Path) -> Column:
    if name not in columns:
        raise UnknownNameError.of(f"column of {str(path)!r}", name, columns)
    return columns[name]


def _found(columns: Mapping[str, Column], first: tuple[str, ...], *, held_out: bool) -> Column | None:
    """The usual names in their order, then whatever is called a loss."""
    by_plain = {_plain(name): column for name, column in reversed(list(columns.items())) if column.values}
    for name in first:
        if name in by_plain:
            return by_plain[name]
    rest = [n for n in reversed(list(by_plain)) if _LOSS.search(n) and bool(_HELD_OUT.search(n)) == held_out]
    return by_plain[min(rest, key=lambda n: ("loss" not in n, len(n)))] if rest else None
