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
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import firstlight as fl

Part = Callable[[torch.Tensor], torch.Tensor]


def _model(width: int = 30) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 31), nn.ReLU(), nn.Linear(31, 4))


def _train(model: nn.Module, rate: float, every: int | None, part: Part) -> fl.Watch:
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


# ------------------------------------------------------------------ four ranks


def _over_tensor_parallel(model: nn.Sequential) -> Part:
    """FSDP2 over tensor parallelism: columns of the first layer, rows of the second, the third one whole."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    for layer in model[::2]:
        fully_shard(layer, mesh=mesh["dp"])
    fully_shard(model, mesh=mesh["dp"])
    return lambda x: x.chunk(2)[dist.get_rank() // 2]


def _hybrid(model: nn.Sequential) -> Part:
    fully_shard(model, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("copies", "shards")))
    return _mine


def _parallel_alone(model: nn.Sequential) -> Part:
    """Tensor parallelism without FSDP2: the last layer is an ordinary one on each rank."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    return lambda x: x


def _measured_whole(shard: Callable[[nn.Sequential], Part]) -> None:
    alone, model = _train(_model(32), 0.1, 1, lambda x: x), _model(32)
    sharded = _train(model, 0.1, 1, shard(model))
    _close(sharded, alone)
    for mine, theirs in zip(sharded.training.curve.loss, alone.training.curve.loss, strict=True):
        assert abs(mine - theirs) < 1e-4
    trivial = [w.training.curve.trivial for w in (sharded, alone)]
    assert trivial[0] is not None
    assert trivial[1] is not None
    assert abs(trivial[0] - trivial[1]) < 0.01


def a_grid_is_measured_whole() -> None:
    _measured_whole(_over_tensor_parallel)


def hybrid_shards_are_measured_whole() -> None:
    _measured_whole(_hybrid)


def a_tensor_parallel_model_is_measured_whole() -> None:
    _measured_whole(_parallel_alone)


def _same_everywhere(said: object) -> None:
    everyones: list[object] = [None] * dist.get_world_size()
    dist.all_gather_object(everyones, said)
    assert all(other == everyones[0] for other in everyones), everyones


def units_whose_weights_are_cut_die_as_whole_ones() -> None:
    """Rows of the second layer lie on two ranks each; a third of them is dead from the start."""

    def killed() -> nn.Sequential:
        model = _model(32)
        with torch.no_grad():
            model[2].bias[:10] = -100.0
        return model

    alone, model = _train(killed(), 0.1, 1, lambda x: x), killed()
    sharded = _train(model, 0.1, 1, _over_tensor_parallel(model))
    _close(sharded, alone)
    dead = [w.training.samples[20].dead[2] for w in (sharded, alone)]
    assert abs(dead[0] - dead[1]) < 1e-9, dead
    assert dead[1] > 0.3, dead


def findings_are_the_same_on_all_ranks() -> None:
    """A rate that makes the loss climb: each rank's own losses differ, and so would what each of them finds."""
    for shard in (_over_tensor_parallel, _hybrid):
        model = _model(32)
        w = _train(model, 30.0, None, shard(model))
        assert len(w.findings)
        _same_everywhere(str(w))


def a_loss_that_one_rank_loses_stops_all_at_one_step() -> None:
    """The last rank's inputs overflow at step 8. What is shared at the next measured step all see, and look for it."""
    for shard in (_over_tensor_parallel, _hybrid):
        model = _model(32)
        part = shard(model)
        sgd = torch.optim.SGD(model.parameters(), 0.01)
        stopped, step = None, 0
        try:
            with fl.watch(model, sgd, raise_on="error") as w:
                for step in range(200):
                    x = part(torch.randn(16, 8, generator=torch.Generator().manual_seed(step)))
                    y = (x[:, 0] > 0).long()
                    if step >= 8 and dist.get_rank() == dist.get_world_size() - 1:
                        x = x * 1e30 * 1e30
                    loss = F.cross_entropy(model(x), y)
                    w.step(loss)
                    sgd.zero_grad()
                    loss.backward()
                    sgd.step()
        except fl.FaultError as error:
            stopped = (step, str(error))
        assert stopped is not None
        assert stopped[0] < 100
        _same_everywhere(stopped)


def what_was_found_does_not_stop_the_training() -> None:
    """The look for the operation runs the model between a forward and its backward, which then goes its way."""
    model = _model(32)
    part = _over_tensor_parallel(model)
    sgd = torch.optim.SGD(model.parameters(), 0.01)
    with fl.watch(model, sgd) as w:
        for step in range(60):
            x = part(torch.randn(16, 8, generator=torch.Generator().manual_seed(step)))
            loss = F.cross_entropy(model(x), (x[:, 0] > 0).long())
            w.step(loss * float("inf") if step == 20 and dist.get_rank() == 3 else loss)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    codes = [f.code for f in w.findings]
    assert "non-finite-values" in codes
    _same_everywhere(str(w))
    assert all(bool(p.full_tensor().isfinite().all()) for p in model.parameters())  # type: ignore[attr-defined]


def one_rank_may_look_alone() -> None:
    """The first rank asks at every step, prints and keeps the state; the others never do."""
    model = _model(32)
    part = _over_tensor_parallel(model)
    sgd = torch.optim.SGD(model.parameters(), 30.0)
    told = 0
    with fl.watch(model, sgd) as w:
        for step in range(60):
            x = part(torch.randn(16, 8, generator=torch.Generator().manual_seed(step)))
            loss = F.cross_entropy(model(x), (x[:, 0] > 0).long())
            w.step(loss)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            if dist.get_rank() == 0:
                told = max(told, len(w.check()))
                assert str(w)
                assert w.state_dict()["steps"] == step + 1
    assert dist.get_rank() > 0 or told
    kept = [w.state_dict() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(kept)
    with fl.watch(model, sgd) as again:
        again.load_state_dict(kept[0])
        for step in range(60, 90):
            x = part(torch.randn(16, 8, generator=torch.Generator().manual_seed(step)))
            loss = F.cross_entropy(model(x), (x[:, 0] > 0).long())
            again.step(loss)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    assert again.steps == 90
    _same_everywhere(str(again))
    _same_everywhere([(f.code, f.severity, f.where) for f in w.findings])


FOUR = (
    one_rank_may_look_alone,
    a_grid_is_measured_whole,
    hybrid_shards_are_measured_whole,
    a_tensor_parallel_model_is_measured_whole,
    units_whose_weights_are_cut_die_as_whole_ones,
    findings_are_the_same_on_all_ranks,
    a_loss_that_one_rank_loses_stops_all_at_one_step,
    what_was_found_does_not_stop_the_training,
)
TWO = (a_sharded_model_is_measured_whole, a_replicated_model_is_measured_once, ranks_choose_the_same_steps)
