"""What ``fl.watch`` costs, and how often it is right.

    python benchmarks/watch.py cost       the time of a training with and without it, on four models
    python benchmarks/watch.py parts      of which: a step that is not measured, and one that is
    python benchmarks/watch.py programs   the programs of tests/faults, trained under it without a probe

Cost: both trainings run by turns in blocks of steps, on one thread; the ratio of their sums of processor time, which
other processes disturb less than time on the wall. Programs: healthy ones that get a warning or an error (false
alarms); those that only training shows to be faulty, and get a right code (recall; over-fitting is a note); those that
are faulty at step 0, and get a warning or an error, or train all the same. Thresholds were chosen on the calibrating
half.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

import firstlight as fl  # noqa: I001 (below what makes tests importable)
from tests.faults import collection
from tests.faults.program import Program


def small() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    model = nn.Sequential(nn.Linear(128, 160), nn.ReLU(), nn.Linear(160, 160), nn.ReLU(), nn.Linear(160, 10))
    return model, torch.randn(128, 128), torch.randint(10, (128,))


def mlp() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    return model, torch.randn(128, 784), torch.randint(10, (128,))


class _Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.two = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.skip = nn.Conv2d(inputs, width, 1, stride, bias=False) if stride > 1 or inputs != width else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.skip(x) + self.norm2(self.two(F.relu(self.norm1(self.one(x))))))


def resnet() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    widths = (16, 16, 32, 32, 64, 64)
    blocks = [_Block(a, b, 2 if a != b else 1) for a, b in zip((16, *widths), widths, strict=False)]
    model = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return model, torch.randn(32, 3, 32, 32), torch.randint(10, (32,))


class _Gpt(nn.Module):
    def __init__(self, width: int = 128, layers: int = 4, words: int = 256, length: int = 64) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, words, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids) + self.places.weight
        return self.head(self.body(x, mask=self.mask, is_causal=True)).transpose(1, 2)


def gpt() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    return _Gpt(), torch.randint(256, (8, 64)), torch.randint(256, (8, 64))


# What is told apart as the start: so many steps, and as many more as the watch is dense for, a few seconds of training.
START, DENSE_FOR = 150, 5.0


def _steps(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, adam: torch.optim.Optimizer, w: fl.Watch | None, n: int
) -> None:
    """So many steps of a training, watched or not."""
    for _ in range(n):
        loss = F.cross_entropy(model(x), y)
        if w is not None:
            w.step(loss)
        adam.zero_grad()
        loss.backward()
        adam.step()


def cost(
    make: Callable[[], tuple[nn.Module, torch.Tensor, torch.Tensor]], seconds: float
) -> tuple[float, float, int, float]:
    """(ratio of times, seconds a step without, steps, seconds that the start took more), over so many seconds."""

    def trainer() -> tuple[nn.Module, torch.optim.Optimizer, Callable[[fl.Watch | None, int], float]]:
        torch.manual_seed(0)
        model, x, y = make()
        adam = torch.optim.AdamW(model.parameters(), 1e-4)

        def block(w: fl.Watch | None, n: int) -> float:
            started = time.process_time()
            _steps(model, x, y, adam, w, n)
            return time.process_time() - started

        return model, adam, block

    model, adam, watched = trainer()
    _, _, bare = trainer()
    bare(None, 5)
    plain, ours = [], []
    with fl.watch(model, adam) as w:
        alone = bare(None, START)
        start, n = watched(w, START) - alone, max(5, round(0.2 * START / alone))
        while alone < DENSE_FOR:
            part = bare(None, n)
            alone, start = alone + part, start + watched(w, n) - part
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            plain.append(bare(None, n))
            ours.append(watched(w, n))
    # Samples are rare and whole: the ratio is of sums, not of the blocks that happen to hold none.
    return sum(ours) / sum(plain), statistics.median(plain) / n, n * len(ours), start


def parts(
    make: Callable[[], tuple[nn.Module, torch.Tensor, torch.Tensor]], seconds: float
) -> tuple[float, float, float, float]:
    """Seconds of a step without the watch; what it takes more unmeasured; measured; and what the watch's clock sees of
    that. Medians of differences between blocks of steps on one model, its hooks put on and off by turns."""
    torch.manual_seed(0)
    model, x, y = make()
    adam = torch.optim.AdamW(model.parameters(), 1e-4)
    hooks = (adam._optimizer_step_pre_hooks, model._forward_pre_hooks)

    def block(n: int, w: fl.Watch | None) -> float:
        started = time.thread_time()
        _steps(model, x, y, adam, w, n)
        return (time.thread_time() - started) / n

    every, n, ends = 4, 24, time.perf_counter() + seconds
    rows, seen = [], []
    with fl.watch(model, adam, every=every, curvature=False) as w:
        block(100, w)
        w._next_check = sys.maxsize
        while time.perf_counter() < ends:
            held = [h.copy() for h in hooks]
            for h in hooks:
                h.clear()
            block(every, None)
            alone = block(n, None)
            for h, kept in zip(hooks, held, strict=True):
                h.update(kept)
            w._next_step = sys.maxsize
            block(every, w)
            passing = block(n, w)
            w._next_step, w._meter._pair = 0, None
            block(every, w)
            before = w._own
            rows.append((alone, passing - alone, every * (block(n, w) - passing)))
            seen.append((w._own - before) * every / n)
    step, passing, sample = (statistics.median(column) for column in zip(*rows, strict=True))
    return step, passing, sample, statistics.median(seen)


@dataclass(frozen=True)
class Watched:
    """A program that was trained under the watch: what was found, and whether it trained."""

    program: Program
    findings: fl.Findings
    trained: bool

    @property
    def loud(self) -> list[fl.Finding]:
        return [f for f in self.findings if f.severity != "note"]

    @property
    def right(self) -> bool:
        """A healthy one has nothing loud; of the faulty, see the head of this file."""
        if not self.program.faults:
            return not self.loud
        if self.program.when == "training":
            return any(f.code in self.program.faults for f in self.findings)
        return bool(self.loud)

    @property
    def blamed(self) -> set[str]:
        """What is made responsible: the rate, the start."""
        rate = {"rate" for f in self.loud if f.code.startswith("learning-rate")}
        return rate | {"start" for f in self.loud if "The start is the likelier" in f.cause}


def watched(program: Program) -> Watched:
    """Trains a program under the watch."""
    case = program()
    torch.manual_seed(2)
    case.model.train()
    optimizer = case.optimizer(case.model)
    with fl.watch(case.model, optimizer) as w:
        finite = case.run(optimizer, w)
    return Watched(program, w.findings, finite and case.scored() >= case.trains)


def programs() -> None:
    rates = {"learning-rate-too-high", "learning-rate-too-low"}
    print("| programs | half | how many | wrong | which |\n|---|---|---|---|---|")
    everything: list[Watched] = []
    for name, chosen in (
        ("written blind: healthy", collection.BLIND),
        ("written blind: faulty in training", collection.BLIND),
        ("written later: healthy", collection.WATCHED_LATER),
        ("written later: faulty in training", collection.WATCHED_LATER),
        ("faulty in training", (*collection.TRAINING, *collection.WATCHED)),
        ("healthy", (*collection.HEALTHY, *collection.FRESH, *collection.LATER, *collection.WATCHED)),
        ("faulty at step 0", (*collection.STEP_0, *collection.FRESH, *collection.LATER)),
    ):
        kind = "" if "healthy" in name else "step 0" if "step 0" in name else "training"
        mine = [p for p in chosen if not p.slow and (p.when if p.faults else "") == kind]
        for half in (True, False):
            done = [watched(p) for p in mine if p.calibrates is half]
            everything += done
            wrong = [d for d in done if not d.right]
            words = "false alarms" if not kind else "missed"
            if kind == "step 0":
                words += f", {sum(d.trained for d in wrong)} of them train all the same"
                wrong = [d for d in wrong if not d.trained]
            listed = "; ".join(
                f"{d.program.name} ({', '.join(f.code for f in d.findings) or 'nothing'})" for d in wrong
            )
            count = len([d for d in done if not d.right])
            print(
                f"| {name} | {'calibrating' if half else 'other'} | {len(done)} | {count} {words} | {listed} |",
                flush=True,
            )
    at_rate = [d for d in everything if d.program.when == "training" and d.program.faults & rates]
    at_start = [d for d in everything if d.program.faults and d.program.when == "step 0"]
    print("\n| at fault | programs | told the rate | told the start |\n|---|---|---|---|")
    for name, group in (("the rate, or its like", at_rate), ("the start", at_start)):
        told = [sum(word in d.blamed for d in group) for word in ("rate", "start")]
        print(f"| {name} | {len(group)} | {told[0]} | {told[1]} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["cost", "parts", "programs"])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--models", nargs="*", default=["small", "mlp", "resnet", "gpt"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    models = [m for m in (small, mlp, resnet, gpt) if m.__name__ in given.models]
    if given.what == "parts":
        print("| model | a step | more, unmeasured | more, measured | seen by its clock |\n|---|---|---|---|---|")
        for make in models:
            step, *rest = parts(make, given.seconds)
            more = " | ".join(f"{1e6 * r:.0f} µs" for r in rest)
            print(f"| {make.__name__} | {1e3 * step:.2f} ms | {more} |", flush=True)
        return
    if given.what == "cost":
        print("| model | parameters | step | steps | with / without | the start, once |\n|---|---|---|---|---|---|")
        for make in models:
            ratio, step, steps, start = cost(make, given.seconds)
            size = sum(p.numel() for p in make()[0].parameters())
            row = (make.__name__, f"{size:,}", f"{1e3 * step:.1f} ms", f"{steps}", f"{ratio:.3f}", f"{start:.2f} s")
            print(f"| {' | '.join(row)} |", flush=True)
        return
    programs()


if __name__ == "__main__":
    main()
