"""What four ranks do in the tests of two-dimensional meshes: a small transformer, sharded by FSDP2 over tensor
parallelism and by HSDP, beside the same one unsharded. Every rank runs each function, and checks with ``assert``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    loss_parallel,
    parallelize_module,
)

import firstlight as fl


class Block(nn.Module):
    """Attention and a ReLU network, each behind a norm, added to the stream; its heads are told from its values."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.head = width // heads
        self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.n1(x)
        q, k, v = (f(y).unflatten(-1, (-1, self.head)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.relu(self.up(self.n2(x))))


class Transformer(nn.Module):
    """Two blocks between a first and a last layer, which no block holds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inp, self.out = nn.Linear(8, 16), nn.Linear(16, 4)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.join = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inp(x)
        for block in self.blocks:
            x = block(x)
        return self.out(self.join(x).mean(1))


X = torch.randn(32, 6, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(32) % 4
PARALLEL = {name: ColwiseParallel() for name in ("q", "k", "v", "up")} | {n: RowwiseParallel() for n in ("o", "down")}
Sharding = Callable[[nn.Module], int]


def over_tensor_parallel(model: nn.Module) -> int:
    """FSDP2 over tensor parallelism, 2 × 2; which part of the batch is this rank's."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    for block in model.blocks:
        parallelize_module(block, mesh["tp"], PARALLEL)
        fully_shard(block, mesh=mesh["dp"])
    fully_shard(model, mesh=mesh["dp"])
    return dist.get_rank() // 2


def over_sequence_parallel(model: nn.Module) -> int:
    """The same with values between the layers cut along the sequence."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    plan = {n: ColwiseParallel(input_layouts=Shard(1)) for n in ("q", "k", "v", "up")}
    plan |= {n: RowwiseParallel(output_layouts=Shard(1)) for n in ("o", "down")}
    for block in model.blocks:
        parallelize_module(block, mesh["tp"], plan | {"n1": SequenceParallel(), "n2": SequenceParallel()})
    first = RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1))
    last = PrepareModuleInput(input_layouts=Shard(1), desired_input_layouts=Replicate(), use_local_output=True)
    parallelize_module(model, mesh["tp"], {"inp": first, "join": last})
    for block in model.blocks:
        fully_shard(block, mesh=mesh["dp"])
    fully_shard(model, mesh=mesh["dp"])
    return dist.get_rank() // 2


def hybrid(model: nn.Module) -> int:
    """HSDP: shards of two ranks, twice; each rank has its own part."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("copies", "shards"))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return dist.get_rank()


def parts(sharding: Sharding) -> int:
    return 4 if sharding is hybrid else 2


def probed(
    sharding: Sharding, spoil: Callable[[nn.Module], object] = lambda _: None, x: torch.Tensor = X, **more: object
):
    """The records of the sharded model, on this rank's part of the batch, and of the unsharded one on all of it."""
    sharded, single = Transformer(), Transformer()
    mine = sharding(sharded)
    for model in (sharded, single):
        with torch.no_grad():
            spoil(model)
    n = parts(sharding)
    light = fl.probe(sharded, x.chunk(n)[mine], Y.chunk(n)[mine], F.cross_entropy, **more)
    same_everywhere(light.to_json())
    same_everywhere(str(light.findings))
    return light, fl.probe(single, x, Y, F.cross_entropy, **more)


def same_everywhere(said: object) -> None:
    all_said: list[object] = [None] * dist.get_world_size()
    dist.all_gather_object(all_said, said)
    assert all(other == all_said[0] for other in all_said)


OF_PARTS = {"effective_rank", "ranked", "cosine", "position_cosine", "sample_spread"}  # means over parts of the batch
ZERO = 1e-6  # gradients below are rounding: a key's bias moves no softmax


def close(light: fl.Light, single: fl.Light) -> None:
    """Every number of every place and weight but what only rows side by side tell."""
    assert light.notes == ()
    assert (light.ranks, light.batch) == (4, single.batch)
    assert [(p.module, p.op, p.node, p.parameters, p.depth, p.branch) for p in light] == [
        (p.module, p.op, p.node, p.parameters, p.depth, p.branch) for p in single
    ]
    for a, b in zip(light, single, strict=True):
        assert a.shape[1:] == b.shape[1:]
        for record in ("forward", "backward"):
            _numbers((a.label, a.op, record), getattr(a, record), getattr(b, record), OF_PARTS)
    assert [w.name for w in light.weights] == [w.name for w in single.weights]
    for v, w in zip(light.weights, single.weights, strict=True):
        rounding = w.grad_second is not None and w.grad_second < ZERO**2
        ignored = (
            {"grad_mean_abs", "grad_second", "grad_zeros", "gradient_ratio", "update_ratio"} if rounding else set()
        )
        _numbers((v.name,), v, w, ignored)
    assert light.loss is not None
    assert single.loss is not None
    for name in ("value", "expected", "trivial"):
        assert getattr(light.loss, name) == pytest.approx(getattr(single.loss, name), rel=1e-4)
    for name in ("mean", "std", "smallest", "largest"):
        found, expected = getattr(light.loss.predictions, name), getattr(single.loss.predictions, name)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def _numbers(where: tuple[str, ...], found: object, expected: object, ignored: set[str]) -> None:
    assert (found is None) == (expected is None), where
    for f in fields(found) if found is not None else ():  # type: ignore[arg-type]
        a, b = getattr(found, f.name), getattr(expected, f.name)
        if f.name not in ignored:
            assert a == (pytest.approx(b, rel=2e-4, abs=1e-7) if isinstance(b, float) else b), (*where, f.name)


def codes(light: fl.Light) -> list[tuple[str, str, str]]:
    return [(f.code, str(f.severity), f.where) for f in light.findings]


# ------------------------------------------------------------------ weights and plans


def a_grid_gets_the_bits_and_the_plan_of_one_process() -> None:
    sharded, single = Transformer(), Transformer()
    over_tensor_parallel(sharded)
    plan = fl.plan(single, X)
    assert fl.plan(sharded, X).to_json() == plan.to_json()
    receipt, alone = fl.init_(sharded, "auto", 3, inputs=X), fl.init_(single, "auto", 3, inputs=X)
    assert [w.digest for w in receipt] == [w.digest for w in alone]
    for found, expected in zip(sharded.parameters(), single.parameters(), strict=True):
        assert isinstance(found, DTensor)
        assert torch.equal(found.full_tensor(), expected)
    assert fl.verify(sharded, alone).ok


class OwnHeads(Block):
    """Counts its heads itself, as many tensor-parallel models do: each rank has a share of them."""

    heads = 4

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.n1(x)
        q, k, v = (f(y).unflatten(-1, (self.heads, self.head)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.relu(self.up(self.n2(x))))


def a_forward_that_counts_its_ranks_heads_takes_the_plan_of_the_whole() -> None:
    sharded, single = Transformer(), Transformer()
    for block in (*sharded.blocks, *single.blocks):
        block.__class__ = OwnHeads
    plan = fl.plan(sharded, X)
    mine = over_tensor_parallel(sharded)
    for block in sharded.blocks:
        block.heads = 2
    with pytest.raises(fl.ModelError, match="plan the model before parallelize_module"):
        fl.plan(sharded, X)
    fl.apply_(sharded, plan, 5)
    fl.apply_(single, plan, 5)
    for found, expected in zip(sharded.parameters(), single.parameters(), strict=True):
        assert torch.equal(found.full_tensor(), expected)  # type: ignore[attr-defined]
    light = fl.probe(sharded, X.chunk(2)[mine], Y.chunk(2)[mine], F.cross_entropy)
    same_everywhere(light.to_json())
    assert "not traced" in light.notes[0]
    whole = fl.probe(single, X, Y, F.cross_entropy)
    for a, b in zip(light, whole, strict=True):
        assert a.op == b.op
        assert a.forward is not None
        assert b.forward is not None
        assert a.forward.second == pytest.approx(b.forward.second, rel=2e-4)
    assert codes(light) == codes(whole) == []


# ------------------------------------------------------------------ probes


def a_grid_is_measured_as_one_process_measures_the_whole_batch() -> None:
    close(*probed(over_tensor_parallel, lr=0.1))


def sequence_parallelism_is_measured_whole() -> None:
    close(*probed(over_sequence_parallel, lr=0.1))


def hybrid_shards_are_measured_whole() -> None:
    close(*probed(hybrid, lr=0.1))


def a_loss_over_shards_of_classes_is_measured_whole() -> None:
    sharded, single = Transformer(), Transformer()
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    parallelize_module(sharded, mesh["tp"], {"out": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False)})
    fully_shard(sharded, mesh=mesh["dp"])
    mine = dist.get_rank() // 2
    with loss_parallel():
        light = fl.probe(sharded, X.chunk(2)[mine], Y.chunk(2)[mine], F.cross_entropy)
    same_everywhere(light.to_json())
    close(light, fl.probe(single, X, Y, F.cross_entropy))


def uneven_shards_are_measured_whole() -> None:
    """7 rows over two ranks, and the optimizer's first step."""

    class Uneven(nn.Sequential):
        def __init__(self) -> None:
            torch.manual_seed(0)
            super().__init__(nn.Linear(8, 14), nn.ReLU(), nn.Linear(14, 7), nn.ReLU(), nn.Linear(7, 4))

    sharded, single = Uneven(), Uneven()
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    parallelize_module(sharded, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    fully_shard(sharded, mesh=mesh["dp"])
    mine, x = dist.get_rank() // 2, X[:, 0]
    adam = [torch.optim.AdamW(m.parameters(), 0.01) for m in (sharded, single)]
    light = fl.probe(sharded, x.chunk(2)[mine], Y.chunk(2)[mine], F.cross_entropy, optimizer=adam[0])
    close(light, fl.probe(single, x, Y, F.cross_entropy, optimizer=adam[1]))
    F.cross_entropy(sharded(x.chunk(2)[mine]), Y.chunk(2)[mine]).backward()  # as usable as before
    adam[0].step()
    assert all(p.grad is not None for p in sharded.parameters())


def a_probe_between_forward_and_backward_leaves_the_shards() -> None:
    """What FSDP2 gathered for a forward that no backward followed is no parameter."""
    model = Transformer()
    mine = over_tensor_parallel(model)
    before = [p.full_tensor().clone() for p in model.parameters()]  # type: ignore[attr-defined]
    with torch.no_grad():
        model(X.chunk(2)[mine])
    light = fl.probe(model, X.chunk(2)[mine], Y.chunk(2)[mine], F.cross_entropy)
    assert all(w.reached for w in light.weights)
    assert all(isinstance(p, DTensor) for p in model.parameters())
    assert all(torch.equal(p.full_tensor(), b) for p, b in zip(model.parameters(), before, strict=True))  # type: ignore[attr-defined]


def the_spectrum_is_that_of_the_first_ranks_samples() -> None:
    light, single = probed(over_tensor_parallel, jacobian=True)
    assert light.jacobian is not None
    assert single.jacobian is not None
    assert light.jacobian.values == pytest.approx(single.jacobian.values, rel=1e-3)


# ------------------------------------------------------------------ findings


def _first(tensor: torch.Tensor, value: float) -> None:
    """The first element of every shard."""
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    local.flatten()[0] = value


FAULTS: dict[str, Callable[[nn.Module], object]] = {
    "dead-units": lambda m: m.blocks[1].up.bias.fill_(-30.0),
    "large-head": lambda m: m.out.weight.mul_(300.0),
    "constant-init": lambda m: m.blocks[0].up.weight.fill_(0.1),
    "non-finite-weights": lambda m: _first(m.blocks[1].down.weight, math.nan),
}


def _faults_are_found(sharding: Sharding) -> None:
    for code, spoil in FAULTS.items():
        light, single = probed(sharding, spoil)
        assert codes(light) == codes(single)
        assert code in [c for c, _, _ in codes(light)]
    light, single = probed(sharding)
    assert codes(light) == codes(single) == []


def faults_of_a_grid_are_those_of_the_whole_model() -> None:
    _faults_are_found(over_tensor_parallel)


def faults_of_hybrid_shards_are_those_of_the_whole_model() -> None:
    _faults_are_found(hybrid)


def _what_one_part_overflows_is_found_by_all(sharding: Sharding) -> None:
    """The second look, for the call that made it, is another forward: all ranks run it, or those that do would wait."""
    x = X.clone()
    x[-1] *= 1e20
    light, single = probed(sharding, lambda m: m.inp.weight.mul_(1e30), x)
    assert light.origin is not None
    assert single.origin is not None
    assert (light.origin.module, light.origin.op, light.origin.value) == (
        single.origin.module,
        single.origin.op,
        single.origin.value,
    )
    assert codes(light) == codes(single)


def what_one_part_of_a_grid_overflows_is_found_by_all() -> None:
    _what_one_part_overflows_is_found_by_all(over_tensor_parallel)


def what_one_part_of_hybrid_shards_overflows_is_found_by_all() -> None:
    _what_one_part_overflows_is_found_by_all(hybrid)


def units_that_die_on_one_part_alone_are_alive() -> None:
    """Each rank's part leaves another half of the units at zero; together none is."""
    mesh = init_device_mesh("cpu", (4,))
    model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2).repeat(32, 1))
        model[0].bias.zero_()
    fully_shard(model, mesh=mesh)
    x = torch.rand(16, 2) + 0.5
    x[:, dist.get_rank() % 2] *= -1
    light = fl.probe(model, x, torch.arange(16) % 4, F.cross_entropy)
    relu = next(p for p in light if p.op == "relu")
    assert relu.forward is not None
    assert (relu.forward.dead, relu.forward.zeros) == (0.0, 0.5)


class Routed(nn.Module):
    """Runs one layer more where its inputs say so."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        return F.relu(self.b(x)) if bool(x.isfinite().all()) and dist.get_rank() == 0 else self.b(x)


def ranks_that_run_different_calls_say_so() -> None:
    model = Routed()
    fully_shard(model, mesh=init_device_mesh("cpu", (4,)))
    light = fl.probe(model, torch.randn(16, 8), torch.randn(16, 8), F.mse_loss)
    assert any("different calls" in note for note in light.notes)


QUICK = (a_grid_is_measured_as_one_process_measures_the_whole_batch,)
SLOW = (
    a_grid_gets_the_bits_and_the_plan_of_one_process,
    a_forward_that_counts_its_ranks_heads_takes_the_plan_of_the_whole,
    sequence_parallelism_is_measured_whole,
    hybrid_shards_are_measured_whole,
    a_loss_over_shards_of_classes_is_measured_whole,
    uneven_shards_are_measured_whole,
    a_probe_between_forward_and_backward_leaves_the_shards,
    the_spectrum_is_that_of_the_first_ranks_samples,
    faults_of_a_grid_are_those_of_the_whole_model,
    faults_of_hybrid_shards_are_those_of_the_whole_model,
    what_one_part_of_a_grid_overflows_is_found_by_all,
    what_one_part_of_hybrid_shards_overflows_is_found_by_all,
    units_that_die_on_one_part_alone_are_alive,
    ranks_that_run_different_calls_say_so,
)
