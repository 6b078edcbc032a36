"""Charts of characters: every value has its place, and what has none on a logarithmic axis is marked."""

from __future__ import annotations

import math

import pytest

from firstlight.reports.grids import SYMBOLS, profile


@pytest.mark.parametrize("values", [[1.0, 0.1, 0.01], [3.0, 2.9, 2.8], [1e-30, 1e30], [5.0], [2.0] * 40])
@pytest.mark.parametrize(("width", "height"), [(80, 8), (30, 3), (140, 12)])
def test_every_value_has_a_point_in_order(values: list[float], width: int, height: int) -> None:
    text = profile({"a": values}, width, height)
    lines = text.split("\n")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    points = sorted((i, row) for row, line in enumerate(lines) for i, c in enumerate(line) if c == "●")
    assert len(points) == min(len(values), width - 10)
    if len(values) > 1 and values[0] > values[-1] * 1.5:
        assert [r for _, r in points] == sorted(r for _, r in points)


def test_zeros_stand_at_the_bottom_and_lost_values_at_the_top() -> None:
    lines = profile({"a": [1.0, 0.0, math.nan, math.inf, 0.001]}, 40, 5).split("\n")
    assert lines[0].count("!") == 2
    assert lines[-1].count("0") - lines[-1].split("┤")[0].count("0") == 1


def test_series_have_symbols_and_the_first_lies_on_top() -> None:
    text = profile({"a": [1.0, 1.0], "b": [1.0, 0.001]}, 40, 5)
    assert text.count(SYMBOLS[0]) == 2
    assert text.count(SYMBOLS[1]) == 1


def test_nothing_but_zeros_can_be_drawn() -> None:
    assert "0" in profile({"a": [0.0, 0.0]}, 40, 5)
