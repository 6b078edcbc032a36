"""What all tests share: the folder of small models on the path, and where the shared data lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# The same examples in every run; a time limit would only measure the machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with CIFAR-10, or a skip where it is absent."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("FIRSTLIGHT_DATA", root.parent / "shared" / "data"))
    if not (folder / "cifar10-test.parquet").is_file():
        pytest.skip(f"no shared data at {folder} (set FIRSTLIGHT_DATA)")
    return folder
