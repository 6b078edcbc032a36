"""What several ranks do in the test of a sharded model's probe: every rank runs each function, with ``assert``."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import firstlight as fl
from firstlight.checks.looking import look_at
from firstlight.probes import measure


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))


def sharded() -> nn.Sequential:
    model, mesh = network(), init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


X = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
Y = torch.arange(64) % 4


def part(values: torch.Tensor) -> torch.Tensor:
    return values.chunk(dist.get_world_size())[dist.get_rank()]


def all_ranks_measure_what_one_process_measures_on_the_whole_batch() -> None:
    model = sharded()
    before = [p.full_tensor().clone() for p in model.parameters()]  # type: ignore[attr-defined]
    light = measure(model, part(X), part(Y), F.cross_entropy, lr=0.1)
    single = measure(network(), X, Y, F.cross_entropy, lr=0.1)
    assert (light.ranks, light.batch) == (dist.get_world_size(), 64)
    assert [(p.op, p.parameters, p.depth) for p in light] == [(p.op, p.parameters, p.depth) for p in single]
    for a, b in zip(light, single, strict=True):
        assert a.forward is not None
        assert b.forward is not None
        assert a.forward.second == pytest.approx(b.forward.second, rel=1e-5)
        assert a.forward.rows == b.forward.rows
        if b.backward is not None:
            assert a.backward is not None
            assert a.backward.second == pytest.approx(b.backward.second, rel=1e-4)
    for v, w in zip(light.weights, single.weights, strict=True):
        assert (v.second, v.grad_second, v.update_ratio) == pytest.approx(
            (w.second, w.grad_second, w.update_ratio), rel=1e-4
        )
    assert light.loss is not None
    assert single.loss is not None
    assert light.loss.value == pytest.approx(single.loss.value)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p.full_tensor(), b) for p, b in zip(model.parameters(), before, strict=True))  # type: ignore[attr-defined]


def a_forward_that_fails_leaves_the_shards() -> None:
    model = sharded()
    before = [id(p) for p in model.parameters()]
    with pytest.raises(fl.ModelError, match="the forward raised"):
        measure(model, X[:, :3], Y)
    assert [id(p) for p in model.parameters()] == before
    F.cross_entropy(model(part(X)), part(Y)).backward()
    assert all(p.grad is not None for p in model.parameters())


def a_sharded_model_is_traced_as_the_whole_one() -> None:
    model = sharded()
    light, single = measure(model, part(X), part(Y), F.cross_entropy), measure(network(), X, Y, F.cross_entropy)
    assert light.notes == ()
    assert [p.node for p in light] == [p.node for p in single]
    assert [p.label for p in look_at(light).trunk] == [p.label for p in look_at(single).trunk]


def a_plan_of_a_sharded_model_is_that_of_the_whole_one() -> None:
    model, whole = sharded(), network()
    assert fl.plan(model, X).to_json() == fl.plan(whole, X).to_json()
    receipt = fl.init_(model, "auto", seed=3, inputs=X)
    assert [e.digest for e in receipt] == [e.digest for e in fl.init_(whole, "auto", seed=3, inputs=X)]
    for shards, parameter in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.equal(shards.full_tensor(), parameter)  # type: ignore[attr-defined]


def a_tensor_parallel_model_is_traced_as_the_whole_one() -> None:
    model, mesh = network(), init_device_mesh("cpu", (dist.get_world_size(),))
    parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    assert fl.plan(model, X).to_json() == fl.plan(network(), X).to_json()


def tensor_parallel_ranks_measure_what_one_process_measures() -> None:
    model, mesh = network(), init_device_mesh("cpu", (dist.get_world_size(),))
    parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    light, single = measure(model, X, Y, F.cross_entropy), measure(network(), X, Y, F.cross_entropy)
    assert (light.ranks, light.batch) == (dist.get_world_size(), 64)
    assert [p.op for p in light] == [p.op for p in single]
    for a, b in zip(light, single, strict=True):
        assert a.forward is not None
        assert b.forward is not None
        assert a.forward.second == pytest.approx(b.forward.second, rel=1e-4)
        if b.backward is not None:
            assert a.backward is not None
            assert a.backward.second == pytest.approx(b.backward.second, rel=1e-4)
    for v, w in zip(light.weights, single.weights, strict=True):
        assert (v.second, v.grad_second) == pytest.approx((w.second, w.grad_second), rel=1e-4)


SCENARIOS = (
    all_ranks_measure_what_one_process_measures_on_the_whole_batch,
    a_forward_that_fails_leaves_the_shards,
    a_sharded_model_is_traced_as_the_whole_one,
    a_plan_of_a_sharded_model_is_that_of_the_whole_one,
    a_tensor_parallel_model_is_traced_as_the_whole_one,
    tensor_parallel_ranks_measure_what_one_process_measures,
)
