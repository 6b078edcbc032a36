"""Which block a rank holds: the decoder against torch's own chunks, over meshes, placements and orders."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from firstlight.errors import UnsupportedParameterError
from firstlight.writers.placements import block, held


@dataclass(frozen=True)
class Cut:
    """A placement as a decoder may read it: what axis, into how many parts that was when its turn came."""

    dim: int | None
    split_factor: int = 1

    def is_partial(self) -> bool:
        return False

    def is_replicate(self) -> bool:
        return self.dim is None


@st.composite
def layouts(draw):
    """A tensor's shape, a mesh, and for each tensor axis the mesh axes that cut it, in the order they do."""
    shape = tuple(draw(st.lists(st.integers(0, 40), min_size=1, max_size=3)))
    mesh = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    axis_of = [draw(st.sampled_from([None, *range(len(shape))])) for _ in mesh]
    orders = {
        axis: draw(st.permutations([m for m, a in enumerate(axis_of) if a == axis])) for axis in range(len(shape))
    }
    return shape, mesh, orders


def placements(mesh, orders):
    """What torch writes down: of the mesh axes behind one, how many parts those that cut before it made."""
    found = [Cut(None) for _ in mesh]
    for axis, order in orders.items():
        for turn, m in enumerate(order):
            factor = 1
            for before in order[:turn]:
                factor *= mesh[before] if before > m else 1
            found[m] = Cut(axis, factor)
    return found


def by_chunks(shape, mesh, orders, coordinate):
    """The block as torch.chunk cuts it, one mesh axis after the other."""
    indices = torch.arange(torch.Size(shape).numel()).reshape(shape)
    for axis, order in orders.items():
        for m in order:
            chunks = list(torch.chunk(indices, mesh[m], axis))
            empty = indices.narrow(axis, 0, 0)
            indices = chunks[coordinate[m]] if coordinate[m] < len(chunks) else empty
    return indices


@given(layouts())
@settings(max_examples=150)
def test_every_rank_holds_what_torch_chunks_give_it(layout):
    shape, mesh, orders = layout
    whole = torch.arange(torch.Size(shape).numel()).reshape(shape)
    for coordinate in itertools.product(*map(range, mesh)):
        box = block("w", shape, mesh, coordinate, placements(mesh, orders))
        expected = by_chunks(shape, mesh, orders, coordinate)
        assert box.size == tuple(expected.shape)
        assert torch.equal(whole[box.slices], expected)


def test_all_sizes_of_fsdp_over_tensor_parallel():
    """Up to 60 rows, uneven ones too, where torch 2.13's own compute_local_shape_and_global_offset errs."""
    cases = 0
    for dp, tp in itertools.product(range(2, 6), (2, 3, 4, 5)):
        for n in range(1, 61):
            kinds = [Cut(0, tp), Cut(0)]
            whole = torch.arange(n)
            for coordinate in itertools.product(range(dp), range(tp)):
                box = block("w", (n,), (dp, tp), coordinate, kinds)
                assert torch.equal(whole[box.slices], by_chunks((n,), (dp, tp), {0: [1, 0]}, coordinate))
                cases += 1
    assert cases == 60 * 14 * 14


@pytest.mark.parametrize(
    ("mesh", "kinds"),
    [
        ((4,), [Cut(0, 2)]),
        ((2, 3), [Cut(0, 2), Cut(0)]),
        ((2, 2), [Cut(0, 2), Cut(None)]),
        ((2, 4), [Cut(0, 2), Cut(0)]),
    ],
)
def test_a_split_factor_that_no_order_explains_is_refused(mesh, kinds):
    with pytest.raises(UnsupportedParameterError, match=r"'blocks\.0\.w' is placed as .* no order"):
        block("blocks.0.w", (12, 12), mesh, (0,) * len(mesh), kinds)


def test_other_placements_are_refused_by_name():
    class Ragged:
        def is_partial(self):
            return False

        def is_replicate(self):
            return False

    class Sum(Ragged):
        def is_partial(self):
            return True

    for kind, words in ((Ragged(), "cannot read"), (Sum(), "terms of a sum"), (Cut(2), "has 2 axes")):
        with pytest.raises(UnsupportedParameterError, match=f"'w' .*{words}"):
            block("w", (4, 4), (2,), (0,), [kind])


def test_an_ordinary_tensor_is_held_whole():
    tensor = torch.zeros(3, 4)
    found = held("w", tensor)
    assert found.local is tensor
    assert found.box.is_whole
    assert found.mesh is None


class _Alone:
    """One rank of a large job, in this process: torch's backend that sends nothing."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world

    def __enter__(self) -> None:
        from torch.testing._internal.distributed.fake_pg import FakeStore

        dist.init_process_group("fake", rank=self.rank, world_size=self.world, store=FakeStore())

    def __exit__(self, *_: object) -> None:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")
@pytest.mark.parametrize(("dp", "tp"), [(3, 2), (2, 4)])
def test_real_dtensors_hold_the_block_that_is_decoded(dp: int, tp: int):
    """FSDP2 over tensor parallelism, and plain shards, as torch builds them: their values are their indices."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    def check(tensor, indices, mesh):
        # The mesh that torch hangs on the tensor may be a cached one, of the rank that this process was before.
        box = block("w", indices.shape, mesh.shape, mesh.get_coordinate(), tensor.placements)
        assert torch.equal(tensor.to_local(), indices[box.slices])

    for rank in range(dp * tp):
        with _Alone(rank, dp * tp):
            mesh = init_device_mesh("cpu", (dp, tp), mesh_dim_names=("dp", "tp"))
            for n in (1, 5, 7, 8, 9, 13, 24):
                indices = torch.arange(n * 6.0).reshape(n, 6)
                for kinds in ([Shard(0), Shard(0)], [Shard(1), Shard(0)], [Replicate(), Shard(1)]):
                    check(distribute_tensor(indices, mesh, kinds, src_data_rank=None), indices, mesh)
                model = nn.Linear(6, n, bias=False)
                split = distribute_tensor(indices, mesh["tp"], [Shard(0)], src_data_rank=None)
                model.weight = nn.Parameter(split)
                fully_shard(model, mesh=mesh["dp"])
                assert len(model.weight.placements) == 2
                check(model.weight, indices, mesh)
