"""Trials a second: ``compare`` beside a plain loop that trains one trial after another, in one run.

    python benchmarks/compare.py

The loop is what one writes by hand: torch's own initializers, a fresh model, SGD with momentum, the same number of
steps and evaluations, torch's default threads. Both run the embedded digits on the 20-layer network. The loop goes
first and again last, so that a change in the machine's load shows.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time

import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl
from firstlight.studies.design import POINTS, STEPS
from firstlight.studies.networks import mlp

ARMS = ("he_normal", "glorot_uniform")
RATES, SEEDS, BATCH = (0.003, 0.01), 25, 32


def plain_loop(task: fl.Task, seeds: int) -> int:
    """Train and evaluate one trial after another; returns how many."""
    schemes = {"he_normal": nn.init.kaiming_normal_, "glorot_uniform": nn.init.xavier_uniform_}
    trials = 0
    for arm in ARMS:
        for rate in RATES:
            for seed in range(seeds):
                torch.manual_seed(seed)
                model = mlp(task.input_shape, len(task.classes))
                for module in model.modules():
                    if isinstance(module, nn.Linear):
                        schemes[arm](module.weight)
                        nn.init.zeros_(module.bias)
                optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
                x, y = task.batch(task.train, slice(None))
                for step in range(1, STEPS + 1):
                    index = torch.randint(len(x), (BATCH,))
                    loss = F.cross_entropy(model(x[index]), y[index])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    if step % (STEPS // POINTS) == 0:
                        evaluate(model, task)
                evaluate(model, task)
                trials += 1
    return trials


@torch.no_grad()
def evaluate(model: nn.Module, task: fl.Task) -> float:
    x, y = task.batch(task.validation, slice(None))
    return float((model(x).argmax(1) == y).float().mean())


def timed_loop(task: fl.Task) -> float:
    start = time.perf_counter()
    return plain_loop(task, 4) / (time.perf_counter() - start)


def timed_compare(task: fl.Task) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        study = fl.compare("mlp", task, ARMS, learning_rates=RATES, seeds=SEEDS, batch_size=BATCH, out=f"{folder}/run")
        return len(study.results) / (time.perf_counter() - start)


def main() -> None:
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"{platform.machine()}, {cores} cores, torch {torch.__version__}, load average {load:.2f}")
    task = fl.load_task("digits")
    first, ours, last = timed_loop(task), timed_compare(task), timed_loop(task)
    print(f"plain loop   {first:6.2f} and {last:6.2f} trials a second")
    print(f"compare      {ours:6.2f} trials a second, workers' start, step-0 signal, analysis and report included")
    print(f"ratio        {ours / ((first + last) / 2):6.2f}")


if __name__ == "__main__":
    main()
