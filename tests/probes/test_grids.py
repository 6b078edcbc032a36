"""FSDP2 over tensor parallelism and HSDP, on four real processes over gloo: one record, that of the whole model."""

from __future__ import annotations

import pytest
import torch.distributed as dist

import grids
from ranks import outcomes

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")


@pytest.fixture(scope="module")
def quick() -> dict[str, str]:
    return outcomes(4, grids.QUICK)


@pytest.fixture(scope="module")
def slow() -> dict[str, str]:
    return outcomes(4, grids.SLOW)


@pytest.mark.parametrize("scenario", [s.__name__ for s in grids.QUICK])
def test_on_four_ranks(quick: dict[str, str], scenario: str) -> None:
    assert not quick[scenario], quick[scenario]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [s.__name__ for s in grids.SLOW])
def test_more_on_four_ranks(slow: dict[str, str], scenario: str) -> None:
    assert not slow[scenario], slow[scenario]
