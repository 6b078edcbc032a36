"""Transforms: what they refuse, and the bounds they promise."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.errors import ArgumentError
from firstlight.fields import Key, normal, truncated_normal, uniform, values
from firstlight.fields.reference import fma
from firstlight.fields.transforms import Transform

INF, NAN = math.inf, math.nan
KEY = Key(1, 2)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (1.0, 1.0, "less than"),
        (1.0, 0.0, "less than"),
        (NAN, 1.0, "finite"),
        (0.0, INF, "finite"),
        (-1e39, 1.0, "finite"),
        (1.0, 1.0 + 1e-9, "float32"),
        (0.0, 1e-40, "too small"),
        (0.0, 1e-25, "too small"),
    ],
)
def test_uniform_refuses(low, high, message):
    with pytest.raises(ArgumentError, match=message):
        uniform(low, high)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (0.0, 0.0, "positive"),
        (0.0, -1.0, "positive"),
        (0.0, NAN, "finite"),
        (INF, 1.0, "finite"),
        (0.0, 1e38, "finite"),
        (0.0, 1e-30, "too small"),
        (1e-30, 1.0, "too small"),
    ],
)
def test_normal_refuses(mean, std, message):
    with pytest.raises(ArgumentError, match=message):
        normal(mean, std)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (2.0, 2.0, "less than"),
        (2.0, -2.0, "less than"),
        (NAN, 2.0, "less than"),
        (-2.0, NAN, "less than"),
        (8.0, INF, "of the mass"),
        (-INF, -7.5, "of the mass"),
        (6.0, 6.0 + 1e-6, "of the mass"),
        (INF, INF, "less than"),
    ],
)
def test_truncated_normal_refuses(low, high, message):
    with pytest.raises(ArgumentError, match=message):
        truncated_normal(0.0, 1.0, low, high)


def test_messages_replay_the_call():
    with pytest.raises(ArgumentError, match=r"normal\(mean=0\.0, std=-0\.5\): std must be positive"):
        normal(0.0, -0.5)


def test_a_window_that_cuts_nothing_is_the_normal():
    for low, high in ((-INF, INF), (-7.0, 7.0), (-6.2303, INF)):
        assert truncated_normal(0.5, 2.0, low, high) == normal(0.5, 2.0)


def test_the_far_path_begins_where_the_window_is_small():
    assert truncated_normal(0, 1, 3.4, INF).kind == "truncated"
    assert truncated_normal(0, 1, 3.5, INF).kind == "truncated_far"
    assert truncated_normal(0, 1, 0.0, 1e-4).kind == "truncated_far"
    assert truncated_normal(0, 1, 7.0, INF).kind == "truncated_far"


def test_a_transform_holds_float32_constants_only():
    with pytest.raises(ArgumentError, match="float32"):
        Transform("normal", 0.1, 0.0)


finite = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(finite, st.floats(1e-6, 1e6))
@settings(max_examples=300, deadline=None)
def test_uniform_stays_inside_even_at_its_extremes(low, width):
    high = low + width
    try:
        transform = uniform(low, high)
    except ArgumentError:
        return
    ends = torch.tensor([1 - 2**24, -1, 1, 2**24 - 1], dtype=torch.float32)
    reached = fma(ends, transform.scale, transform.shift).double()
    assert low <= float(reached.min())
    assert float(reached.max()) <= high
    # … and comes within a few float32 steps of both bounds
    step = 4 * np.spacing(np.float32(max(abs(low), abs(high)))) + 4e-7 * width
    assert float(reached[0]) <= low + step
    assert float(reached[-1]) >= high - step


@given(st.floats(-10, 10), st.floats(1e-3, 10), st.floats(-5, 5), st.floats(1e-3, 10))
@settings(max_examples=60, deadline=None)
def test_truncation_stays_inside(mean, std, low, width):
    mean = 0.0 if abs(mean) < 1e-6 else mean
    x = values(truncated_normal(mean, std, low, low + width), KEY, 0, 2000).double()
    assert float(x.min()) >= mean + std * low
    assert float(x.max()) <= mean + std * (low + width)
