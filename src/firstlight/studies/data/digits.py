"""scikit-learn's handwritten digits (UCI, Alpaydin & Kaynak 1998): real data that every installation has.

1,797 images of 8 × 8 pixels. ``digits`` asks about 5 to 9 and keeps 0 to 4 as the source that a ``pretrained`` arm
learns first; ``digits10`` asks about all ten.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from ..tasks import Split, Task, make_task, task_from_arrays


@lru_cache(maxsize=1)
def _images() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    bunch = load_digits()
    return bunch.images.astype(np.float32)[:, None], bunch.target.astype(np.int64)


def digits() -> Task:
    """Digits 5 to 9, with 0 to 4 as the source.

    Both halves enter the network on one scale, the source's, so that pretrained weights meet the inputs they know.
    """
    source = _half("digits-0-4", range(5), None)
    return _half("digits-5-9", range(5, 10), source)


def digits10() -> Task:
    """All ten digits."""
    images, labels = _images()
    return task_from_arrays(images, labels, name="digits10", description=_about("0 to 9"))


def _half(name: str, wanted: range, source: Task | None) -> Task:
    images, labels = _images()
    chosen = np.isin(labels, list(wanted))
    names = [str(d) for d in wanted]
    task = task_from_arrays(images[chosen], labels[chosen] - wanted[0], name=name, classes=names)
    constants = (task.mean, task.scale) if source is None else (source.mean, source.scale)
    parts: list[Split] = [task.train, task.validation, task.test]
    about = _about(f"{wanted[0]} to {wanted[-1]}")
    return make_task(name, about, parts, task.classes, constants=constants, source=source)


def _about(which: str) -> str:
    return f"Handwritten digits {which}, 8 × 8 pixels (scikit-learn, UCI), 50 / 20 / 30 % train, validation, test."
