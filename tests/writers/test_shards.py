"""Sharded models hold, bit for bit, what one process writes: real processes, over gloo."""

from __future__ import annotations

import pytest
import torch.distributed as dist

import sharded
from ranks import outcomes

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")


@pytest.fixture(scope="module")
def two() -> dict[str, str]:
    return outcomes(2, sharded.TWO)


@pytest.fixture(scope="module")
def four() -> dict[str, str]:
    return outcomes(4, sharded.FOUR)


@pytest.mark.parametrize("scenario", [s.__name__ for s in sharded.TWO])
def test_on_two_ranks(two: dict[str, str], scenario: str) -> None:
    assert not two[scenario], two[scenario]


@pytest.mark.parametrize("scenario", [s.__name__ for s in sharded.FOUR])
def test_on_four_ranks(four: dict[str, str], scenario: str) -> None:
    assert not four[scenario], four[scenario]


@pytest.mark.slow
@pytest.mark.parametrize("world", [6, 8])
def test_uneven_fsdp_over_tensor_parallel(world: int) -> None:
    for name, said in outcomes(world, sharded.MANY).items():
        assert not said, (name, said)
