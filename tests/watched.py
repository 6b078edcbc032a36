"""What several ranks do in the tests of the watch: the same training sharded, replicated and alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import firstlight as fl


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 30), nn.ReLU(), nn.Linear(30, 31), nn.ReLU(), nn.Linear(31, 4))


def _train(model: nn.Module, rate: float, every: int | None, part: Callable[[torch.Tensor], torch.Tensor]) -> fl.Watch:
    sgd = torch.optim.SGD(model.parameters(), rate)
    g = torch.Generator().manual_seed(1)
    with fl.watch(model, sgd, every=every, curvature=False) as w:
        for _ in range(30):
            x = torch.randn(16, 8, generator=g)
            loss = F.cross_entropy(model(part(x)), part((x[:, 0] > 0).long()))
            w.step(loss)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    return w


def _mine(x: torch.Tensor) -> torch.Tensor:
    return x.chunk(dist.get_world_size())[dist.get_rank()]


def _close(one: fl.Watch, other: fl.Watch) -> None:
    """The same samples, but for the last one, which the end cuts short."""
    mine, theirs = one.training.samples[:29], other.training.samples[:29]
    assert len(mine) == len(theirs) == 29
    for a, b in zip(mine, theirs, strict=True):
        for name in ("gradient", "weight", "update", "dead"):
            x, y = torch.tensor(getattr(a, name)), torch.tensor(getattr(b, name))
            assert torch.allclose(x, y, rtol=1e-3, atol=1e-7, equal_nan=True), (a.step, name, x, y)
        assert abs(a.norm - b.norm) < 1e-3 * b.norm, (a.step, a.norm, b.norm)
        assert abs(a.overshoot - b.overshoot) < 1e-2, (a.step, a.overshoot, b.overshoot)


def a_sharded_model_is_measured_whole() -> None:
    alone = _train(_model(), 0.1, 1, lambda x: x)
    model = _model()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model[::2]:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    sharded = _train(model, 0.1, 1, _mine)
    _close(sharded, alone)
    assert sharded.training.layers.names == alone.training.layers.names


def a_replicated_model_is_measured_once() -> None:
    alone = _train(_model(), 0.1, 1, lambda x: x)
    replicated = _train(DistributedDataParallel(_model()), 0.1, 1, _mine)
    _close(replicated, alone)
    assert replicated.training.layers.names == alone.training.layers.names


def ranks_choose_the_same_steps() -> None:
    """By default the time decides, and each rank has its own."""
    model = _model()
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    w = _train(model, 0.1, None, _mine)
    steps = torch.tensor([s.step for s in w.training.samples])
    everyones = [copy.deepcopy(steps) for _ in range(dist.get_world_size())]
    dist.all_gather(everyones, steps)
    assert all(torch.equal(steps, other) for other in everyones)


TWO = (a_sharded_model_is_measured_whole, a_replicated_model_is_measured_once, ranks_choose_the_same_steps)
