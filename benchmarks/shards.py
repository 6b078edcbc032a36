"""Initial weights under FSDP2 at 1, 2 and 4 ranks, beside what torch and a common workaround do.

    python benchmarks/shards.py [--matrices 8]

Arms, all on the same DTensor parameters, one thread a rank, best of several rounds in turn, the slowest rank counts:

- firstlight: ``apply_`` without digests; every rank draws its block of the values that one process would draw.
- torch: ``torch.nn.init`` on the DTensors. On a CPU mesh every rank draws the same values into its shard, so the
  result is wrong; it is here for its time.
- whole, then cut: every rank draws all of each tensor, as one process would, and keeps its block.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import firstlight as fl
from firstlight.writers.placements import held

ROUNDS = 3
STD = 0.02


def model(matrices: int) -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(matrices)))


def normal_(weight: torch.Tensor) -> None:
    nn.init.normal_(weight, std=STD)


def truncated_(weight: torch.Tensor) -> None:
    nn.init.trunc_normal_(weight, std=STD, a=-3 * STD, b=3 * STD)


def torch_arm(sharded: nn.Module, draw: Callable[[torch.Tensor], None]) -> None:
    for weight in sharded.parameters():
        draw(weight)


def whole_arm(sharded: nn.Module, draw: Callable[[torch.Tensor], None]) -> None:
    torch.manual_seed(0)
    for weight in sharded.parameters():
        here = held("", weight)
        whole = torch.empty(weight.shape)
        draw(whole)
        with torch.no_grad():
            here.local.copy_(whole[here.box.slices])


def firstlight_arm(sharded: nn.Module, plan: fl.Plan) -> None:
    fl.apply_(sharded, plan, digests=False)


def verify_arm(sharded: nn.Module, receipt: fl.Receipt) -> None:
    fl.verify(sharded, receipt).raise_if_failed()


def timed(arm: Callable[[], None]) -> float:
    """Seconds of the slowest rank."""
    dist.barrier()
    start = time.perf_counter()
    arm()
    took = torch.tensor([time.perf_counter() - start], dtype=torch.float64)
    dist.all_reduce(took, dist.ReduceOp.MAX)
    return float(took)


def rank_(rank: int, world: int, store: Path, matrices: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    sharded = model(matrices)
    fully_shard(sharded, mesh=init_device_mesh("cpu", (world,)))
    for name, initializer, draw in (
        ("normal", fl.Normal(std=STD), normal_),
        ("truncated normal at 3σ", fl.TruncatedNormal(std=STD, low=-3.0, high=3.0), truncated_),
    ):
        plan = fl.plan(sharded, None, initializer)
        fl.apply_(sharded, plan, device="cpu")
        arms = {
            "firstlight": partial(firstlight_arm, sharded, plan),
            "torch": partial(torch_arm, sharded, draw),
            "whole": partial(whole_arm, sharded, draw),
        }
        best = dict.fromkeys(arms, float("inf"))
        for _ in range(ROUNDS):
            for arm, run in arms.items():
                best[arm] = min(best[arm], timed(run))
        receipt = fl.apply_(sharded, plan)
        digest = max(receipt, key=lambda w: w.name).digest[:8]
        verified = timed(partial(verify_arm, sharded, receipt))
        if rank == 0:
            own, theirs, cut = best["firstlight"], best["torch"], best["whole"]
            print(
                f"| {name}, {world} | {own:.3f} | {theirs:.3f} | {cut:.3f} | {theirs / own:.1f} | {cut / own:.1f} "
                f"| {verified:.2f} | {digest} |",
                flush=True,
            )
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matrices", type=int, default=8, help="of 2048 × 2048")
    matrices = parser.parse_args().matrices
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    count = sum(p.numel() for p in model(matrices).parameters())
    print(f"{count / 1e6:.0f} M float32 values, {os.cpu_count()} cores, seconds\n")
    print("| draw, ranks | firstlight | torch, wrong | whole, then cut | torch / fl | whole / fl | verify | digest |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    for world in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(rank_, (world, Path(folder) / "store", matrices), nprocs=world)


if __name__ == "__main__":
    main()
