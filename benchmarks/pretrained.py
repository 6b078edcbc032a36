"""What is a start worth in data? Pretrained weights against fresh ones at several numbers of target examples.

    python benchmarks/pretrained.py --data ../shared/data [--only digits] [--out runs/pretrained]

(a) scikit-learn's digits, 0 to 4 → 5 to 9; (b) CIFAR-10 at 16 × 16, animals → vehicles. ``pretrained`` starts from the
same network trained on the source, ``weight_selection`` from one twice as wide and deep (Xu et al. 2023). Resumable:
what is finished is not run again. Writes ``benchmarks/results/pretrained.json`` and ``pretrained.md``.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn

import firstlight as fl
from firstlight.studies import Task, task_from_splits
from firstlight.studies.observer import Silent
from firstlight.studies.tasks import make_task

RESULTS = Path(__file__).parent / "results" / "pretrained.json"
ARMS = ("torch", "he_normal", "auto", "pretrained", "weight_selection")
VEHICLES = (0, 1, 8, 9)
SIDE = 16
Shape = tuple[int, ...]


def mlp(shape: Shape, classes: int, width: int = 64, depth: int = 4) -> nn.Module:
    """Linear layers with ReLU."""
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(math.prod(shape), width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def wide_mlp(shape: Shape, classes: int) -> nn.Module:
    """The same, twice as wide and deep."""
    return mlp(shape, classes, 128, 8)


class Cnn(nn.Module):
    """Three stages of plain 3 × 3 convolutions with ReLU, the later two halving the picture; a mean at the end."""

    def __init__(self, channels: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        stages, before = [], channels
        for i in range(3):
            layers: list[nn.Module] = []
            for j in range(depth):
                layers += [nn.Conv2d(before, width << i, 3, padding=1, stride=2 if i and not j else 1), nn.ReLU()]
                before = width << i
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stages(x).mean(dim=(2, 3)))


def cnn(shape: Shape, classes: int) -> nn.Module:
    """Six convolutions of 16 to 64 channels."""
    return Cnn(shape[0], classes, 16, 2)


def wide_cnn(shape: Shape, classes: int) -> nn.Module:
    """Twelve of 32 to 128."""
    return Cnn(shape[0], classes, 32, 4)


def pictures(data: Path, name: str, each: int | None) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10's pictures at half their size, (N, 3, 16, 16) in uint8, and labels; ``each`` of a class, the first."""
    table = pq.read_table(data / f"cifar10-{name}.parquet")
    labels = np.array(table["label"].to_pylist())
    kept = np.sort(np.concatenate([np.flatnonzero(labels == k)[:each] for k in range(10)]))
    shown = [
        Image.open(io.BytesIO(table["image"][int(i)].as_py()["bytes"])).resize((SIDE, SIDE), Image.BOX) for i in kept
    ]
    return np.stack([np.asarray(p).transpose(2, 0, 1) for p in shown]), labels[kept]


def cifar(data: Path) -> Task:
    """Vehicles, with animals as the source; both enter on the source's scale."""
    train, test = pictures(data, "train", 1000), pictures(data, "test", 500)

    def part(which: list[int], name: str, source: Task | None) -> Task:
        def chosen(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            keep = np.isin(y, which)
            return x[keep], np.searchsorted(which, y[keep])

        about = "CIFAR-10 at 16 × 16 (Krizhevsky 2009), 800 training and 200 validation pictures a class."
        made = task_from_splits(chosen(*train), chosen(*test), name=name, description=about)
        constants = (made.mean, made.scale) if source is None else (source.mean, source.scale)
        parts = [made.train, made.validation, made.test]
        return make_task(name, about, parts, made.classes, constants=constants, source=source)

    animals = part([k for k in range(10) if k not in VEHICLES], "cifar-animals", None)
    return part(list(VEHICLES), "cifar-vehicles", animals)


class Lines(Silent):
    """A line every fifty trials."""

    def __init__(self) -> None:
        self.done = 0

    def on_result(self, result: object) -> None:
        self.done += 1
        if self.done % 50 == 0:
            print(f"  {self.done} trials", flush=True)


def main() -> None:
    """Run what is asked for, write what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/pretrained"))
    parser.add_argument("--only", choices=("digits", "cifar"))
    asked = parser.parse_args()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in ("digits", "cifar") if asked.only is None else (asked.only,):
        print(name, flush=True)
        curve = (
            fl.learning_curve(
                mlp, "digits", ARMS, teacher=wide_mlp, examples=[5, 20, 60], seeds=5, steps=200,
                learning_rates=[0.003, 0.01, 0.03, 0.1], out=asked.out / name, observer=Lines(),
            )
            if name == "digits"
            else fl.learning_curve(
                cnn, cifar(asked.data), ARMS, teacher=wide_cnn, examples=[10, 50, 250], seeds=5, steps=300,
                learning_rates=[0.01, 0.03, 0.1], target=0.6, out=asked.out / name, observer=Lines(),
            )
        )  # fmt: skip
        known[name] = summary(curve)
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
        RESULTS.with_suffix(".md").write_text(as_markdown(known))
        print(curve, flush=True)


def summary(curve: fl.LearningCurve) -> dict[str, object]:
    """What is kept of a curve: each arm's accuracy and steps at each size."""
    return {
        str(n): {
            a.arm: {
                "test": [a.test.mean, a.test.low, a.test.high],
                "learning_rate": a.learning_rate,
                "steps_to_target": None if a.steps_to_target is None else a.steps_to_target.mean,
                "reached": f"{a.reached}/{a.trials}",
            }
            for a in study.arms
        }
        for n, study in curve
    }


def as_markdown(known: dict[str, dict[str, dict[str, dict]]]) -> str:
    """The table the docs show."""
    rows = ["| task | examples a class | " + " | ".join(ARMS) + " |", "|---" * (2 + len(ARMS)) + "|"]
    for task, sizes in known.items():
        for n, arms in sizes.items():
            best = max(a["test"][0] for a in arms.values())
            cells = []
            for name in ARMS:
                mean, low, high = arms[name]["test"]
                shown = f"{100 * mean:.1f}"
                steps = arms[name]["steps_to_target"]
                speed = f"{steps:.0f} steps, " if steps is not None else ""
                cells.append(
                    f"{f'**{shown}**' if mean == best else shown} ({100 * low:.1f} to {100 * high:.1f}); "
                    f"{speed}{arms[name]['reached']}"
                )
            rows.append(f"| {task} | {n} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
