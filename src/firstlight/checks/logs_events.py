"""TensorBoard's event files, read by TensorBoard's own reader (the extra ``firstlight[tensorboard]``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import DataError, MissingExtraError
from .logs_columns import Column


def is_events(path: Path) -> bool:
    """Whether a path is an event file, or a folder, which can only be a run's.

    >>> is_events(Path("events.out.tfevents.1700000000.host"))
    True
    """
    try:
        return "tfevents" in path.name or path.is_dir()
    except (OSError, ValueError):
        return False


def read_events(path: Path) -> Mapping[str, Column]:
    """The scalars of one run, by tag.

    Raises:
        DataError: there is no run, several, or a file that is damaged from its start.
        MissingExtraError: tensorboard is not installed.
    """
    path = _one_run(path)
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError:
        raise MissingExtraError.of("reading TensorBoard's event files", "tensorboard") from None
    try:
        run = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
        run.Reload()
        tags = run.Tags()
        columns = {tag: _column([(e.step, e.value) for e in run.Scalars(tag)]) for tag in tags["scalars"]}
        for tag in tags["tensors"]:
            arrays = [(e.step, make_ndarray(e.tensor_proto)) for e in run.Tensors(tag)]
            if all(a.size == 1 and a.dtype.kind in "fiu" for _, a in arrays):
                columns[tag] = _column([(step, float(a.reshape(()))) for step, a in arrays])
    except Exception as error:  # its reader raises whatever a damaged record leads it to
        raise DataError(f"cannot read {str(path)!r} as TensorBoard's events: {type(error).__name__}: {error}") from None
    if not columns:
        raise DataError(f"{str(path)!r} holds no scalars, or is damaged from its first record on")
    return columns


def _one_run(path: Path) -> Path:
    """The file, or the one folder below that has event files."""
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"cannot read {str(path)!r}: no such file")
        return path
    runs = sorted({file.parent for file in path.rglob("*tfevents*") if file.is_file()})
    if len(runs) == 1:
        return runs[0]
    if not runs:
        raise DataError(f"{str(path)!r} is a folder without event files (events.out.tfevents…)")
    names = ", ".join(repr(str(run)) for run in runs[:8])
    raise DataError(f"{str(path)!r} holds {len(runs)} runs: give one of {names}")


def _column(points: list[tuple[int, float]]) -> Column:
    return Column([float(s) for s, _ in points], [float(v) for _, v in points])
