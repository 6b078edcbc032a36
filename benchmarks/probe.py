"""What a probe costs: its time beside one forward and one backward pass of the same model, on the same batch.

    OMP_NUM_THREADS=1 python benchmarks/probe.py [--repeats 5] [--device cpu]

For each network: milliseconds of a forward and a backward pass, and of the whole probe with its findings; and of three
parts of it alone: the trace, what is asked of parameters and gradients, the findings. Run by turns, on a CPU in
the process's own time; medians. Writes ``benchmarks/results/probe.md``.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from firstlight.checks.diagnosis import diagnose
from firstlight.checks.probing import probe
from firstlight.graphs import trace
from firstlight.probes.weighing import weigh

RESULTS = Path(__file__).parent / "results" / "probe.md"


def mlp(width: int, depth: int, classes: int = 10) -> nn.Module:
    """ReLU layers of one width."""
    hidden = (m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU()))
    return nn.Sequential(*hidden, nn.Linear(width, classes))


def convolutions(depth: int, channels: int) -> list[nn.Module]:
    """Convolutions of pictures, with norms."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(3 if i == 0 else channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    return layers


def cnn(depth: int, channels: int) -> nn.Module:
    """Convolutions, the mean over the picture, and a head."""
    return nn.Sequential(*convolutions(depth, channels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def networks() -> Iterator[tuple[str, nn.Module, Any, Any, Callable[..., torch.Tensor] | None]]:
    """Name, model, inputs, targets, loss."""
    import transformers as hf

    labels = torch.arange(256) % 10
    yield "MLP, 20 layers of 256, batch 128", mlp(256, 20), torch.randn(128, 256), labels[:128], F.cross_entropy
    yield "MLP, 3 layers of 128, batch 64", mlp(128, 2), torch.randn(64, 128), labels[:64], F.cross_entropy
    yield "CNN, 4 layers of 16, 16 × 16, batch 64", cnn(4, 16), torch.randn(64, 3, 16, 16), labels[:64], F.cross_entropy
    tiny = hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=256, n_embd=128, n_layer=4, n_head=4, n_positions=64)).train()
    characters = torch.randint(0, 256, (32, 64))
    text = {"input_ids": characters, "labels": characters, "use_cache": False}
    yield "GPT, 4 layers of 128, 32 × 64 characters", tiny, text, None, None
    yield "MLP, 20 layers of 1024, batch 256", mlp(1024, 20), torch.randn(256, 1024), labels, F.cross_entropy
    yield "CNN, 8 layers of 64, 32 × 32, batch 64", cnn(8, 64), torch.randn(64, 3, 32, 32), labels[:64], F.cross_entropy
    resnet = hf.ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", num_labels=10)
    model = hf.ResNetForImageClassification(resnet).train()
    images = {"pixel_values": torch.randn(8, 3, 224, 224), "labels": labels[:8]}
    yield "ResNet-18, 224 × 224, batch 8", model, images, None, None
    ids = torch.randint(0, 50257, (2, 256))
    gpt = hf.GPT2LMHeadModel(hf.GPT2Config()).train()
    text = {"input_ids": ids, "labels": ids, "use_cache": False}
    yield "GPT-2, 124 M, 2 × 256 tokens", gpt, text, None, None


def passes(
    model: nn.Module, inputs: Any, targets: Any, loss: Callable[..., torch.Tensor] | None
) -> tuple[torch.Tensor, ...]:
    """One forward and one backward pass."""
    out = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    value = out.loss if loss is None else loss(out, targets)
    return torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad])


def gradients(
    model: nn.Module, inputs: Any, targets: Any, loss: Callable[..., torch.Tensor] | None
) -> dict[int, torch.Tensor | None]:
    """The gradient of each parameter, by its id."""
    wanted = [p for p in model.parameters() if p.requires_grad]
    return {id(p): g for p, g in zip(wanted, passes(model, inputs, targets, loss), strict=True)}


def seconds(run: Callable[[], object], device: str) -> float:
    """How long it takes; on a CPU in the process's own time, so that what else runs on the machine does not count."""
    start = time.process_time() if device == "cpu" else time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return (time.process_time() if device == "cpu" else time.perf_counter()) - start


def by_turns(runs: Sequence[Callable[[], object]], device: str, least: int) -> list[float]:
    """The median seconds of each, run by turns, so that a slow minute of the machine meets all; the first turn is none.

    Quick ones take more turns: as many as five seconds hold, up to 40.
    """
    once = sum(seconds(run, device) for run in runs)
    turns = [[seconds(run, device) for run in runs] for _ in range(max(least, min(40, int(5 / once))))]
    return [statistics.median(column) for column in zip(*turns, strict=True)]


def moved(value: Any, device: str) -> Any:
    """Tensors on the device."""
    if isinstance(value, dict):
        return {k: moved(v, device) for k, v in value.items()}
    return value.to(device) if isinstance(value, torch.Tensor) else value


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    lines = [
        "| network | passes, ms | probe, ms | ratio | of it trace | weights | findings |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, model, inputs, targets, loss in networks():
        model, inputs, targets = model.to(given.device), moved(inputs, given.device), moved(targets, given.device)
        light = probe(model, inputs, targets, loss)
        graph = trace(model, inputs)
        runs: tuple[Callable[[], object], ...] = (
            partial(passes, model, inputs, targets, loss),
            partial(probe, model, inputs, targets, loss),
            partial(trace, model, inputs),
            partial(weigh, model, graph, gradients(model, inputs, targets, loss), None),
            partial(diagnose, light),
        )
        base, whole, *parts = (t * 1e3 for t in by_turns(runs, given.device, given.repeats))
        shown = " | ".join(f"{t:.1f}" for t in parts)
        lines.append(f"| {name} | {base:.1f} | {whole:.1f} | {whole / base:.2f} | {shown} |")
        print(lines[-1], flush=True)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
