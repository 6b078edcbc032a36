"""Where tasks come from: the embedded digits, the user's files, the user's own function."""

from __future__ import annotations

from pathlib import Path

from ...errors import UnknownNameError
from ..tasks import Task, task_from_arrays
from .digits import digits, digits10
from .factories import load_factory

__all__ = ["load_factory", "load_task"]

DATASETS = {"digits": digits, "digits10": digits10}


def load_task(spec: Task | str | Path | tuple[object, object], **options: object) -> Task:
    """Load."""
    if isinstance(spec, Task):
        return spec
    if isinstance(spec, tuple):
        return task_from_arrays(*spec)
    if spec in DATASETS:
        return DATASETS[spec]()
    raise UnknownNameError.of("data set", str(spec), DATASETS)
