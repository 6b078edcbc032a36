"""A tiny task and a quick study for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from clouds import QUICK, blobs
from firstlight.studies import Study, Task, compare, task_from_arrays


@pytest.fixture(scope="session")
def task() -> Task:
    return task_from_arrays(*blobs(), name="blobs")


@pytest.fixture(scope="session")
def quick(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder: Path = tmp_path_factory.mktemp("quick") / "run"
    return compare("mlp", task, ["torch", "he_normal", "zeros"], out=folder, workers=0, **QUICK)
