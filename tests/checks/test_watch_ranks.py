"""The watch of a model on several ranks: real processes, over gloo."""

from __future__ import annotations

import pytest
import torch.distributed as dist

import watched
from ranks import outcomes

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")


@pytest.fixture(scope="module")
def two() -> dict[str, str]:
    return outcomes(2, watched.TWO)


@pytest.mark.parametrize("scenario", [s.__name__ for s in watched.TWO])
def test_on_two_ranks(two: dict[str, str], scenario: str) -> None:
    assert not two[scenario], two[scenario]


@pytest.fixture(scope="module")
def four() -> dict[str, str]:
    return outcomes(4, watched.FOUR)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [s.__name__ for s in watched.FOUR])
def test_on_four_ranks(four: dict[str, str], scenario: str) -> None:
    assert not four[scenario], four[scenario]
