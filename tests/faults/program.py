"""What a program is: a model, its data and its training, with the fault it has or none.

The collection's files write programs; the tests and ``benchmarks/findings.py`` probe and train them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Loss = Callable[[Any, torch.Tensor], torch.Tensor]
Score = Callable[[Any, torch.Tensor], float]
Optimizer = Callable[[nn.Module], torch.optim.Optimizer]
Schedule = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


def sgd(lr: float, momentum: float = 0.9) -> Optimizer:
    return lambda model: torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr, momentum)


def adam(lr: float = 1e-3) -> Optimizer:
    return lambda model: torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr)


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The share of right answers; of one output, its side of ½ (a probability) or of 0 (a logit) is the answer."""
    if outputs.shape == targets.shape:
        middle = 0.5 if outputs.min() >= 0 and outputs.max() <= 1 else 0.0
        return float(((outputs > middle) == (targets > 0.5)).float().mean())
    return float((outputs.argmax(1) == targets).float().mean())


def r2(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """1 - (mean square error) / (variance of the targets)."""
    residual = (outputs - targets).double().square().mean()
    return float(1 - residual / (targets - targets.mean(0)).double().square().mean())


def token_accuracy(outputs: Any, targets: torch.Tensor) -> float:
    logits = outputs if isinstance(outputs, torch.Tensor) else outputs.logits
    return float((logits.argmax(-1) == targets).float().mean())


def token_loss(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    logits = outputs if isinstance(outputs, torch.Tensor) else outputs.logits
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


@dataclass
class Case:
    """One program, built.

    Args:
        inputs, targets: all training data; ``batch`` of it is one step's, and what a probe is given.
        trains: the score from which the program is said to train; of data held out, where there is some.
        zeroed: whether gradients are zeroed before each backward.
        clip: the norm that gradients are clipped to.
        schedule: what changes the learning rate after each step.
        held_out: data for the validation loss, which is measured twenty times.
        shuffled: whether a batch is drawn from all data; else they come in their order.
    """

    model: nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor
    loss_fn: Loss
    score: Score = accuracy
    trains: float = 0.8
    optimizer: Optimizer = field(default_factory=lambda: sgd(0.05))
    steps: int = 300
    batch: int = 64
    zeroed: bool = True
    clip: float | None = None
    schedule: Schedule | None = None
    held_out: tuple[torch.Tensor, torch.Tensor] | None = None
    shuffled: bool = True

    def first_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[: self.batch], self.targets[: self.batch]

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator().manual_seed(1)
        for i in range(self.steps):
            chosen = torch.randint(len(self.inputs), (self.batch,), generator=generator)
            if not self.shuffled:
                chosen = torch.arange(i * self.batch, (i + 1) * self.batch) % len(self.inputs)
            yield self.inputs[chosen], self.targets[chosen]

    def run(self, optimizer: torch.optim.Optimizer, watch: Any = None) -> bool:
        """Trains the model, perhaps under ``fl.watch``; False where the loss blew up."""
        schedule = self.schedule(optimizer) if self.schedule is not None else None
        for i, (x, y) in enumerate(self.batches(), start=1):
            loss = self.loss_fn(self.model(x), y)
            if watch is not None:
                watch.step(loss)
            if not torch.isfinite(loss):
                return False
            if self.zeroed:
                optimizer.zero_grad()
            loss.backward()
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            if watch is not None and self.held_out is not None and i % max(1, self.steps // 20) == 0:
                watch.log(validation_loss=self._validation())
        return True

    @torch.no_grad()
    def _validation(self) -> float:
        assert self.held_out is not None
        self.model.eval()
        loss = float(self.loss_fn(self.model(self.held_out[0]), self.held_out[1]))
        self.model.train()
        return loss

    def train(self) -> float:
        """Trains the model as the program would, and gives its score: NaN where it blew up."""
        torch.manual_seed(2)
        self.model.train()
        if not self.run(self.optimizer(self.model)):
            return float("nan")
        return self.scored()

    def scored(self) -> float:
        """The score of the model as it is."""
        self.model.eval()
        x, y = (self.inputs[:1000], self.targets[:1000]) if self.held_out is None else self.held_out
        with torch.no_grad():
            return self.score(self.model(x), y)


Mend = Callable[[Case, str], None]


@dataclass(frozen=True)
class Program:
    """A program and what is right to say of it.

    Args:
        build: makes it; the global random state is seeded before.
        faults: the codes that are right diagnoses; none for a healthy program.
        where: globs of the places that are right; ("*",) where the whole model is.
        when: "step 0", or "training" for a fault that only training shows.
        twin: the healthy program it was made from.
        mend: carries out the code that a finding gives to paste, where it is code.
        slow: not for the quick tests.
    """

    name: str
    build: Callable[[], Case]
    faults: frozenset[str] = frozenset()
    where: tuple[str, ...] = ("*",)
    when: str = "step 0"
    twin: Callable[[], Case] | None = None
    mend: Mend | None = None
    slow: bool = False

    def __call__(self) -> Case:
        torch.manual_seed(zlib.crc32(self.name.encode()) % 1000)
        return self.build()

    @property
    def calibrates(self) -> bool:
        """Whether thresholds may be chosen on it: a fixed half, by the hash of its name."""
        return zlib.crc32(self.name.encode()) % 2 == 0


def fault(
    codes: str, where: str = "*", *, when: str = "step 0", twin: Callable[[], Case] | None = None, slow: bool = False
) -> Callable[[Callable[[], Case]], Program]:
    """Makes a builder a faulty program; ``codes`` and ``where`` are words."""

    def make(build: Callable[[], Case]) -> Program:
        name = build.__name__.removeprefix("build_").replace("_", "-")
        return Program(name, build, frozenset(codes.split()), tuple(where.split()), when, twin, None, slow)

    return make


def mended(program: Program, mend: Mend) -> Program:
    return replace(program, mend=mend)


def healthy(build: Callable[[], Case]) -> Program:
    return Program("ok-" + build.__name__.replace("_", "-"), build)


def programs_of(module: Any) -> list[Program]:
    return [value for value in vars(module).values() if isinstance(value, Program)]
