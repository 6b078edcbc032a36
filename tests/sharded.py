"""What several ranks do in the tests of shards: every rank runs each function, and checks with ``assert``."""

from __future__ import annotations

import copy
import importlib.util
import math
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.utils._python_dispatch import TorchDispatchMode

import firstlight as fl
from firstlight.errors import UnsupportedParameterError
from firstlight.graphs import Declared, Parameter, Role
from firstlight.plans import Entry
from models import Everything, Tied


def mesh(*shape: int) -> DeviceMesh:
    return init_device_mesh("cpu", shape, mesh_dim_names=("dp", "tp", "cp")[: len(shape)])


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def same(sharded: nn.Module, single: nn.Module) -> None:
    """Every tensor of both, bit for bit."""
    expected = dict(single.state_dict())
    for name, tensor in sharded.state_dict().items():
        found = whole(tensor)
        assert found.dtype == expected[name].dtype, name
        assert torch.equal(found, expected[name]), name


def refused(words: str, call: Any) -> None:
    with pytest.raises(UnsupportedParameterError) as caught:
        call()
    assert words in str(caught.value)


# ------------------------------------------------------------------ every initializer, on bare DTensors


def contract_table() -> ModuleType:
    path = Path(__file__).parent / "initializers" / "test_contract.py"
    spec = importlib.util.spec_from_file_location("contract", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Holder(nn.Module):
    """One distributed parameter, ``w``."""

    def __init__(self, values: torch.Tensor, over: DeviceMesh, placements: list[Placement]) -> None:
        super().__init__()
        self.w = nn.Parameter(distribute_tensor(values, over, placements, src_data_rank=None))


def one_entry(decision: Any, layout: fl.Layout, dtype: torch.dtype, zero_row: int | None = None) -> fl.Plan:
    declared = Declared(Role.DECLARED, layout, zero_row=zero_row)
    parameter = Parameter("w", (), "", ("Holder",), "w", declared, dtype, True)
    return fl.Plan("by hand", (Entry(parameter, decision, "a test"),))


def every_initializer_on_every_placement() -> None:
    world = dist.get_world_size()
    over = mesh(world) if world == 2 else mesh(2, world // 2)
    for name, (initializer, layout) in contract_table().TABLE.items():
        last = len(layout.shape) - 1
        kinds: list[list[Placement]] = [[Shard(0)], [Shard(last)], [Replicate()]]
        if over.ndim == 2:
            kinds = [[Shard(0), Shard(last)], [Replicate(), Shard(last)], [Shard(0), Shard(0)]]
        expected = fl.sample(initializer, layout, 5, "w")
        for placements in kinds:
            model = Holder(torch.full(layout.shape, 7.0), over, placements)
            receipt = fl.apply_(model, one_entry(initializer, layout, torch.float32), 5)
            assert torch.equal(model.w.full_tensor(), expected), (name, placements)
            plain = nn.Module()
            plain.w = nn.Parameter(torch.zeros(layout.shape))
            alone = fl.apply_(plain, one_entry(initializer, layout, torch.float32), 5)
            assert receipt["w"].digest == alone["w"].digest, (name, placements)
            assert math.isclose(receipt["w"].std, alone["w"].std, rel_tol=1e-5, abs_tol=1e-9), (name, placements)
            found = fl.verify(model, alone)
            assert found.ok, (name, placements, str(found))


def dtypes_and_rows_of_zeros() -> None:
    world = dist.get_world_size()
    layout = fl.Layout.embedding((11, 6))
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        for placements in ([Shard(0)], [Shard(1)]):
            model = Holder(torch.full((11, 6), 7.0, dtype=dtype), mesh(world), placements)
            fl.apply_(model, one_entry(fl.Normal(), layout, dtype, zero_row=8), 1)
            expected = fl.sample(fl.Normal(), layout, 1, "w", dtype)
            expected[8] = 0
            assert torch.equal(model.w.full_tensor(), expected)


def placements_that_cannot_be_read_are_refused_and_nothing_is_written() -> None:
    over = mesh(dist.get_world_size())
    layout = fl.Layout.mapping((4, 4))
    model = Holder(torch.full((4, 4), 7.0), over, [Shard(0)])
    local = torch.full((4, 4), 7.0)
    model.v = nn.Parameter(DTensor.from_local(local, over, [Partial()], run_check=False))
    first = one_entry(fl.Normal(), layout, torch.float32).entries[0]
    declared = Declared(Role.DECLARED, layout)
    second = Entry(Parameter("v", (), "", ("Holder",), "v", declared, torch.float32, True), fl.Normal(), "a test")
    refused("'v' is placed as Partial(sum)", lambda: fl.apply_(model, fl.Plan("by hand", (first, second))))
    assert (model.w.to_local() == 7).all()


class Largest(TorchDispatchMode):
    """The largest tensor that any operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, torch.Tensor) and not isinstance(value, DTensor):
                self.numel = max(self.numel, value.numel())
        return out


def no_rank_makes_more_than_its_shard() -> None:
    world = dist.get_world_size()
    shape = (1024, 1030)
    for initializer in (fl.Normal(), fl.Uniform(-1.0, 1.0), fl.TruncatedNormal(), fl.HeNormal(), fl.Ones()):
        for placements in ([Shard(0)], [Shard(1)]):
            model = Holder(torch.zeros(shape), mesh(world), placements)
            plan = one_entry(initializer, fl.Layout.mapping(shape), torch.float32)
            fl.apply_(model, plan)  # compiles
            with Largest() as largest:
                fl.apply_(model, plan)
            assert 0 < largest.numel <= model.w.to_local().numel()


# ------------------------------------------------------------------ whole models


def fsdp_equals_one_process() -> None:
    over = mesh(dist.get_world_size())
    for scheme in ("he_normal", "orthogonal", "torch", "sparse"):
        single, sharded = Everything(), Everything()
        alone = fl.init_(single, scheme, 3)
        plan = fl.plan(sharded, None, scheme)
        for part in (sharded.lstm, sharded.attention, sharded):
            fully_shard(part, mesh=over)
        assert fl.plan(sharded, None, scheme) == plan
        receipt = fl.init_(sharded, scheme, 3)
        same(sharded, single)
        assert [w.digest for w in receipt] == [w.digest for w in alone]
        assert [w.name for w in receipt] == [w.name for w in alone]
        for model, said in ((sharded, alone), (single, receipt)):
            found = fl.verify(model, said)
            assert found.ok, (scheme, str(found))


def language_model() -> nn.Module:
    model = Tied()
    model.forward = lambda ids: model.head(torch.tanh(model.body(model.embed(ids))))
    return model


def meta_models_are_made_shard_by_shard_and_stay_tied() -> None:
    over = mesh(dist.get_world_size())
    single = language_model()
    plan = fl.plan(single, None, "he_normal")
    alone = fl.apply_(single, plan, 4)
    with torch.device("meta"):
        sharded = language_model()
    fully_shard(sharded, mesh=over)
    held = sharded.embed.weight
    assert held.is_meta
    receipt = fl.apply_(sharded, plan, 4, device="cpu")
    assert sharded.embed.weight is sharded.head.weight
    assert isinstance(sharded.embed.weight, DTensor)
    assert isinstance(sharded.embed.weight, nn.Parameter)
    same(sharded, single)
    assert [w.digest for w in receipt] == [w.digest for w in alone]
    ids = torch.arange(20).reshape(2, 10)
    out, expected = sharded(ids), single(ids)
    assert torch.allclose(out, expected, atol=1e-6)
    out.square().sum().backward()
    expected.square().sum().backward()
    assert torch.allclose(whole(sharded.body.weight.grad), single.body.weight.grad, atol=1e-4)
    assert fl.verify(sharded, alone).ok


def what_is_gathered_at_the_moment_is_written_all_the_same() -> None:
    over = mesh(dist.get_world_size())
    single, sharded = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)), nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))
    fl.init_(single, "he_normal", 2)
    fully_shard(sharded, mesh=over, reshard_after_forward=False)
    sharded(torch.zeros(1, 7))
    assert not isinstance(sharded[0].weight, DTensor)
    receipt = fl.init_(sharded, "he_normal", 2)
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(sharded(x), single(x), atol=1e-6)
    assert fl.verify(sharded, receipt).ok
    same(sharded, single)


class Own(nn.Module):
    """A module of the user's with a reset of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(9, 4))
        self.inner = nn.Linear(4, 4)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.a, std=3.0)


def own_resets_and_weight_norms_come_whole_and_are_cut() -> None:
    over = mesh(dist.get_world_size())
    single = nn.Sequential(Own(), nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)))
    sharded = copy.deepcopy(single)
    plan = fl.plan(single[1], torch.randn(2, 6), "he_normal")
    state = torch.random.get_rng_state()
    own = fl.plan(single[0], None, "torch")
    fl.apply_(single[1], plan, 1)
    fl.apply_(single[0], own, 1)
    fully_shard(sharded[0], mesh=over)
    fully_shard(sharded[1], mesh=over)
    fl.apply_(sharded[1], plan, 1)
    fl.apply_(sharded[0], own, 1)
    same(sharded, single)
    assert single[0].a.std() > 1
    assert torch.equal(state, torch.random.get_rng_state())


def other_weights_are_loaded_shard_by_shard() -> None:
    single, sharded = Everything(), Everything()
    fl.init_(single, "he_normal", 11)
    fully_shard(sharded, mesh=mesh(dist.get_world_size()))
    fl.load_(sharded, single.state_dict())
    same(sharded, single)


def fsdp1_is_refused_while_flat_and_written_while_whole() -> None:
    for keeps in (True, False):
        single = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
        wrapped = FullyShardedDataParallel(copy.deepcopy(single), device_id=torch.device("cpu"), use_orig_params=keeps)
        refused("flattened by FullyShardedDataParallel", partial(fl.init_, wrapped, "he_normal"))
        fl.init_(single, "he_normal", 9)
        with FullyShardedDataParallel.summon_full_params(wrapped):
            fl.init_(wrapped, "he_normal", 9)
        with FullyShardedDataParallel.summon_full_params(wrapped):
            for (name, found), expected in zip(wrapped.named_parameters(), single.parameters(), strict=True):
                assert torch.equal(found, expected), name


# ------------------------------------------------------------------ verify


def _sharded_linear() -> nn.Module:
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    fully_shard(model, mesh=mesh(dist.get_world_size()))
    return model


def every_rank_sees_what_one_rank_has_wrong() -> None:
    model = _sharded_linear()
    receipt = fl.init_(model, "he_normal", digests=False)
    assert fl.verify(model, receipt).ok
    last = dist.get_world_size() - 1
    if dist.get_rank() == last:
        with torch.no_grad():
            model[1].weight.to_local()[0, 0] = math.nan
    found = fl.verify(model, receipt)
    assert "1.weight: holds 1 values that are NaN" in str(found), str(found)
    assert len(found.faults) == 1


def shards_with_the_same_draw_are_found() -> None:
    model = _sharded_linear()
    receipt = fl.init_(model, "he_normal", digests=False)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # what torch's own functions do on a CPU mesh
            parameter.to_local().normal_(std=(2 / 16) ** 0.5)
    found = str(fl.verify(model, receipt))
    assert "0.weight: shards repeat: the ranks at (0,) and (1,)" in found, found


def experts_on_different_ranks_with_the_same_draw_are_found() -> None:
    layout = fl.Layout.mapping((6, 5, 8), 1, 2, blocks=1)
    model = Holder(torch.zeros(6, 5, 8), mesh(dist.get_world_size()), [Shard(0)])
    receipt = fl.apply_(model, one_entry(fl.Normal(), layout, torch.float32), 0)
    assert fl.verify(model, receipt).ok
    values = model.w.full_tensor().detach()
    values[5] = values[1]
    twice = Holder(values, mesh(dist.get_world_size()), [Shard(0)])
    assert "its blocks 1 and 5 along axis 0 hold the same values" in str(fl.verify(twice, receipt))


def replicas_that_differ_are_found() -> None:
    model = Holder(torch.zeros(4, 6), mesh(dist.get_world_size()), [Replicate()])
    receipt = fl.apply_(model, one_entry(fl.Normal(), fl.Layout.mapping((4, 6)), torch.float32), 0)
    assert fl.verify(model, receipt).ok
    if dist.get_rank() == 1:
        with torch.no_grad():
            model.w.to_local().neg_()
    found = str(fl.verify(model, receipt))
    assert "w: replicas disagree: the ranks at (0,) and (1,)" in found, found


def a_receipt_read_from_json_holds_for_shards() -> None:
    model = _sharded_linear()
    receipt = fl.Receipt.from_json(fl.init_(nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16)), "he_normal").to_json())
    assert not fl.verify(model, receipt).ok
    fl.init_(model, "he_normal")
    assert fl.verify(model, receipt).ok


# ------------------------------------------------------------------ two-dimensional meshes


class Pair(nn.Module):
    """What tensor parallelism splits: columns of the first, rows of the second."""

    def __init__(self, n: int, k: int = 6) -> None:
        super().__init__()
        self.up = nn.Linear(k, n)
        self.down = nn.Linear(n, k)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))


def _fsdp_over_tp(dp: int, tp: int, sizes: list[int]) -> None:
    over = mesh(dp, tp)
    for n in sizes:
        for scheme in ("he_normal", "orthogonal"):
            single, sharded = Pair(n), Pair(n)
            alone = fl.init_(single, scheme, 6)
            parallelize_module(sharded, over["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
            fully_shard(sharded, mesh=over["dp"])
            receipt = fl.init_(sharded, scheme, 6)
            if n >= tp:  # torch cannot gather what has no columns on some ranks; the receipt adds it up all the same
                same(sharded, single)
            assert [w.digest for w in receipt] == [w.digest for w in alone]
            found = fl.verify(sharded, alone)
            assert found.ok, str(found)


def fsdp_over_tensor_parallel() -> None:
    assert dist.get_world_size() == 4
    _fsdp_over_tp(2, 2, [8, 13])


def fsdp_over_tensor_parallel_uneven() -> None:
    world = dist.get_world_size()
    _fsdp_over_tp(*{6: (3, 2), 8: (4, 2)}[world], [7, 9, 1, 30])


def hybrid_shards_agree_and_differences_are_found() -> None:
    over = mesh(2, dist.get_world_size() // 2)
    single, sharded = Everything(), Everything()
    fl.init_(single, "he_normal", 8)
    fully_shard(sharded, mesh=over)
    receipt = fl.init_(sharded, "he_normal", 8)
    same(sharded, single)
    assert fl.verify(sharded, receipt).ok
    if dist.get_rank() == dist.get_world_size() - 1:
        with torch.no_grad():
            sharded.linear.weight.to_local().add_(1.0)
    assert "linear.weight: replicas disagree" in str(fl.verify(sharded, receipt))


def a_rank_outside_of_the_mesh_passes() -> None:
    over = DeviceMesh("cpu", torch.tensor([0, 1]))
    model = Holder(torch.zeros(4, 6), over, [Shard(0)])
    receipt = fl.apply_(model, one_entry(fl.Normal(), fl.Layout.mapping((4, 6)), torch.float32), 0)
    assert (receipt["w"].digest == "") == (dist.get_rank() > 1)
    if dist.get_rank() < 2:
        assert torch.equal(model.w.full_tensor(), fl.sample(fl.Normal(), (4, 6), 0, "w"))
    assert fl.verify(model, receipt).ok


TWO = [
    every_initializer_on_every_placement,
    dtypes_and_rows_of_zeros,
    placements_that_cannot_be_read_are_refused_and_nothing_is_written,
    no_rank_makes_more_than_its_shard,
    fsdp_equals_one_process,
    meta_models_are_made_shard_by_shard_and_stay_tied,
    what_is_gathered_at_the_moment_is_written_all_the_same,
    own_resets_and_weight_norms_come_whole_and_are_cut,
    other_weights_are_loaded_shard_by_shard,
    fsdp1_is_refused_while_flat_and_written_while_whole,
    every_rank_sees_what_one_rank_has_wrong,
    shards_with_the_same_draw_are_found,
    experts_on_different_ranks_with_the_same_draw_are_found,
    replicas_that_differ_are_found,
    a_receipt_read_from_json_holds_for_shards,
]
FOUR = [
    every_initializer_on_every_placement,
    fsdp_over_tensor_parallel,
    hybrid_shards_agree_and_differences_are_found,
    a_rank_outside_of_the_mesh_passes,
]
MANY = [fsdp_over_tensor_parallel_uneven]
