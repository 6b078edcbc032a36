"""Small values that are looked at together give what each gives alone, and may change once they are handed in."""

from __future__ import annotations

from dataclasses import astuple

import pytest
import torch

from firstlight.probes.parts import Backward, Forward
from firstlight.probes.statistics import Looked, backward_statistics, forward_statistics, looked
from firstlight.probes.sums import finite, shares_of_zeros
from firstlight.probes.together import ROOM, Together

from .nets import normal


def values() -> list[torch.Tensor]:
    """(samples, positions, units): plain, with zeros, tiny, huge, with NaN, all zero, constant units."""
    plain = normal(16, 3, 12)
    broken, still = plain.clone(), plain.clone()
    broken[2, 1, 5], broken[3, 0, 0] = float("nan"), float("inf")
    still[..., 4], still[..., 7] = 0.0, 2.5
    return [plain, plain.relu(), plain * 1e-25, plain * 1e20, broken, torch.zeros_like(plain), still]


def close(a: Forward | Backward, b: Forward | Backward) -> None:
    for one, other in zip(astuple(a), astuple(b), strict=True):
        assert one == (other if other is None or isinstance(other, int) else pytest.approx(other, rel=1e-5, abs=1e-30))


def test_the_statistics_of_several_are_those_of_each() -> None:
    given = values()
    looks = [looked(v, v, "tanh") for v in given]
    alone = [forward_statistics(v[None].clone(), [look])[0] for v, look in zip(given, looks, strict=True)]
    for a, b in zip(forward_statistics(torch.stack(given), looks, True), alone, strict=True):
        close(a, b)
    alone_back = [backward_statistics(v[None].clone(), [look])[0] for v, look in zip(given, looks, strict=True)]
    for c, d in zip(backward_statistics(torch.stack(given), looks, True), alone_back, strict=True):
        close(c, d)


def test_what_is_not_to_be_spared_is_not_written_over() -> None:
    for v in values():
        x = v[None].clone()
        forward_statistics(x, [looked(v, v)])
        backward_statistics(x, [looked(v, v)])
        assert torch.equal(x.nan_to_num(), v[None].nan_to_num())


def test_the_statistics_are_those_of_their_definitions() -> None:
    x = normal(16, 3, 12)
    x[..., 4] = 0.0
    found = forward_statistics(x[None], [looked(x, x)])[0]
    flat = x.double().reshape(-1, 12)
    assert found.mean == pytest.approx(float(flat.mean()), rel=1e-5)
    assert found.second == pytest.approx(float(flat.square().mean()), rel=1e-6)
    assert found.largest == float(x.abs().max())
    assert found.zeros == pytest.approx(1 / 12)
    assert (found.dead, found.constant) == (1 / 12, 1 / 12)
    unit = torch.nn.functional.normalize(x.double().reshape(16, -1), dim=1)
    cosines = unit @ unit.T
    assert found.cosine == pytest.approx(float(cosines.sum() - cosines.trace()) / (16 * 15), abs=1e-6)
    gram = flat @ flat.T
    assert found.effective_rank == pytest.approx(float(gram.trace() ** 2 / gram.square().sum()), rel=1e-5)
    back = backward_statistics(x[None], [looked(x, x)])[0]
    assert back.mean_abs == pytest.approx(float(flat.abs().mean()), rel=1e-6)
    assert (back.second, back.zeros) == (pytest.approx(found.second), found.zeros)


def test_values_that_change_behind_the_call_are_those_that_were_handed_in() -> None:
    found: dict[int, Forward] = {}
    together = Together(forward_statistics)
    value, want = normal(8, 1, 4), []
    for i in range(100):
        value.add_(0.01)
        want.append(float(value.double().square().mean()))
        together.add(value, Looked("", 32, None), lambda s, i=i: found.__setitem__(i, s))  # type: ignore[misc]
    together.settle()
    assert [found[i].second for i in range(100)] == pytest.approx(want, rel=1e-6)


def test_a_large_value_does_not_wait_and_is_not_written_over() -> None:
    found: list[Forward] = []
    value = normal(1, 1, ROOM // 4)
    before = value.clone()
    Together(forward_statistics).add(value, looked(value, value), found.append)
    assert len(found) == 1
    assert torch.equal(value, before)


def test_shapes_and_dtypes_do_not_mix() -> None:
    found: list[Forward] = []
    together = Together(forward_statistics)
    for x in (torch.ones(2, 1, 3), torch.ones(2, 1, 3, dtype=torch.float64) * 2, torch.ones(3, 1, 2) * 3):
        together.add(x, looked(x, x), found.append)
    together.settle()
    assert sorted(f.second for f in found) == [1.0, 4.0, 9.0]


def test_zeros_are_counted_exactly() -> None:
    x = torch.randn(3, 70_001, generator=torch.Generator().manual_seed(0))
    x[0, ::7], x[1, 5] = 0.0, 1e-45
    x[2] = 0.0
    assert shares_of_zeros(x) == [1 - int(torch.count_nonzero(v)) / 70_001 for v in x]


def test_a_sum_that_overflows_is_not_taken_for_lost_values() -> None:
    x = torch.full((1, 64), 1e38)
    assert finite(x)[2] == [0]
