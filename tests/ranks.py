"""Several real processes for tests: a group is spawned once, runs every scenario, and says what became of each."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

Scenario = Callable[[], None]

# Processes are forked from a clean one that has imported what they need, and so start at once.
multiprocessing.set_forkserver_preload(["torch.distributed.fsdp", "torch.distributed.tensor.parallel", "firstlight"])


def outcomes(world: int, scenarios: Sequence[Scenario]) -> dict[str, str]:
    """Each scenario's name, and the tracebacks of the ranks it failed on, "" where it passed on all.

    Args:
        world: how many processes.
        scenarios: functions of modules that a new process can import, which check with ``assert``.
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_rank, (world, Path(folder), tuple(scenarios)), nprocs=world, start_method="forkserver")
        said = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(world)]
    return {
        s.__name__: "\n".join(f"rank {r}: {t[s.__name__]}" for r, t in enumerate(said) if t[s.__name__])
        for s in scenarios
    }


def _rank(rank: int, world: int, folder: Path, scenarios: Sequence[Scenario]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    said = {}
    for scenario in scenarios:
        try:
            scenario()
            said[scenario.__name__] = ""
        except Exception:
            said[scenario.__name__] = traceback.format_exc()
    (folder / f"{rank}.json").write_text(json.dumps(said))
    dist.destroy_process_group()
