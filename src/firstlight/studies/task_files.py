"""A task in a folder, so that worker processes map its examples into memory instead of copying them.

``experiment`` saves what it trains on, ``execution`` opens it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from .tasks import Split, Task

_PARTS = ("train", "validation", "test")


def save_task(task: Task, folder: Path) -> None:
    """Write a task so that other processes can map it into memory; the folder appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        for name in _PARTS:
            split: Split = getattr(task, name)
            np.save(draft / f"{name}-inputs.npy", split.inputs.contiguous().numpy())
            np.save(draft / f"{name}-labels.npy", split.labels.numpy())
        np.save(draft / "mean.npy", task.mean.numpy())
        np.save(draft / "scale.npy", task.scale.numpy())
        about = {k: getattr(task, k) for k in ("name", "description", "classes", "chance", "digest")}
        (draft / "task.json").write_text(json.dumps(about))
        if task.source is not None:
            save_task(task.source, draft / "source")
        os.replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def open_task(folder: Path) -> Task:
    """The task that ``save_task`` wrote, its examples mapped from the files."""
    about = json.loads((folder / "task.json").read_text())

    def array(name: str) -> torch.Tensor:
        return torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))

    train, validation, test = (Split(array(f"{p}-inputs"), array(f"{p}-labels")) for p in _PARTS)
    source = open_task(folder / "source") if (folder / "source").is_dir() else None
    return Task(
        about["name"],
        about["description"],
        train,
        validation,
        test,
        tuple(about["classes"]),
        array("mean").clone(),
        array("scale").clone(),
        about["chance"],
        about["digest"],
        source,
    )
