"""A block of a whole tensor reads its own elements of the field, whatever its axes, memory, dtype and engine."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import firstlight.fields.fill as module
from firstlight.errors import ArgumentError
from firstlight.fields import Box, Job, box_words, fill_, fill_many_, key, normal, truncated_normal, words

KEY = key(3, "sharded")


@st.composite
def boxes(draw):
    """Any block of a small tensor, often all of an axis; long axes too, so that runs reach over groups of 64."""
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 8, 70]), max_size=4).map(tuple))
    if math.prod(shape) > 100_000:
        shape = shape[:2]
    ends = [draw(st.one_of(st.just([0, n]), st.lists(st.integers(0, n), min_size=2, max_size=2))) for n in shape]
    return Box(shape, tuple(min(e) for e in ends), tuple(max(e) - min(e) for e in ends))


@given(boxes(), st.sampled_from([torch.float32, torch.bfloat16, torch.float64]), st.sampled_from([None, "reference"]))
@settings(max_examples=150, deadline=None)
def test_a_block_equals_that_block_of_the_whole(box, dtype, engine):
    transform = truncated_normal(1.0, 2.0, -2.0, 2.0)
    whole = fill_(torch.empty(box.shape, dtype=dtype), transform, KEY)
    part = torch.full(box.size, torch.nan, dtype=dtype)
    fill_many_([Job(part, transform, KEY, box=box)], engine)
    assert torch.equal(part, whole[box.slices])


@given(boxes())
@settings(max_examples=50, deadline=None)
def test_the_words_of_a_block_are_those_of_the_whole(box):
    whole = words(KEY, 0, math.prod(box.shape)).reshape(box.shape)
    assert torch.equal(box_words(KEY, box, torch.device("cpu")).long() & 0xFFFFFFFF, whole[box.slices])


@given(boxes(), st.sampled_from([1, 7, 64, 1000]))
@settings(max_examples=100, deadline=None)
def test_parts_cover_a_block_once_and_runs_name_its_elements(box, limit):
    whole = torch.arange(math.prod(box.shape)).reshape(box.shape)
    found = torch.full(box.size, -1)
    for place, part in box.parts(limit):
        starts, length = part.runs()
        assert part.numel <= limit
        assert (found[place] == -1).all()
        found[place] = (torch.from_numpy(starts)[:, None] + torch.arange(length)).reshape(part.size)
    assert torch.equal(found, whole[box.slices])
    if box.first is not None and box.numel:
        assert torch.equal(found.reshape(-1), torch.arange(box.numel) + box.first)


@pytest.mark.parametrize("engine", [None, "reference"])
def test_pieces_and_strides_change_nothing(monkeypatch, engine):
    monkeypatch.setattr(module, "BUFFER", 300)
    box = Box((40, 6, 50), (5, 2, 10), (20, 3, 30))
    whole = fill_(torch.empty(box.shape), normal(0.0, 1.0), KEY)
    for part in (torch.empty(box.size), torch.empty(30, 3, 20).permute(2, 1, 0), torch.empty(20, 3, 60)[..., ::2]):
        fill_many_([Job(part, normal(0.0, 1.0), KEY, box=box)], engine)
        assert torch.equal(part, whole[box.slices])


def test_threads_change_no_block(threads):
    box = Box((3000, 100), (0, 30), (3000, 65))
    found = []
    for number in (1, 3):
        threads(number)
        part = torch.empty(box.size)
        fill_many_([Job(part, normal(0.0, 1.0), KEY, box=box)])
        found.append(part)
    assert torch.equal(*found)


@pytest.mark.parametrize("sizes", [((2,), (0,), (3,)), ((2,), (-1,), (1,)), ((2, 2), (0, 0), (1,)), ((2,), (1,), (2,))])
def test_what_lies_outside_is_refused(sizes):
    with pytest.raises(ArgumentError, match="does not lie in"):
        Box(*sizes)


def test_a_block_of_another_shape_is_refused_and_nothing_written():
    good, bad = torch.zeros(4), torch.zeros(3)
    jobs = [Job(good, normal(0.0, 1.0), KEY), Job(bad, normal(0.0, 1.0), KEY, box=Box((9,), (0,), (4,)))]
    with pytest.raises(ArgumentError, match="is no block"):
        fill_many_(jobs)
    assert not good.any()
