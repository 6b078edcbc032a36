"""What a probe costs: its time beside one forward and one backward pass of the same model, on the same batch.

    OMP_NUM_THREADS=1 python benchmarks/probe.py [--repeats 5] [--device cpu]

For each network: seconds of a forward and a backward pass, of the whole probe, and of the trace in it; on a CPU the
process's own time. The median of the repeats; the ratios are to the passes. Writes ``benchmarks/results/probe.md``.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from firstlight.graphs import trace
from firstlight.probes import measure

RESULTS = Path(__file__).parent / "results" / "probe.md"


def mlp(width: int, depth: int, classes: int = 10) -> nn.Module:
    """ReLU layers of one width."""
    hidden = (m for _ in range(depth) for m in (nn.Linear(width, width), nn.ReLU()))
    return nn.Sequential(*hidden, nn.Linear(width, classes))


def cnn() -> nn.Module:
    """Eight convolutions of 64 channels with norms."""
    layers: list[nn.Module] = []
    for i in range(8):
        layers += [nn.Conv2d(3 if i == 0 else 64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def networks() -> Iterator[tuple[str, nn.Module, Any, Any, Callable[..., torch.Tensor] | None]]:
    """Name, model, inputs, targets, loss."""
    import transformers as hf

    labels = torch.arange(256) % 10
    yield "MLP, 20 layers of 256, batch 128", mlp(256, 20), torch.randn(128, 256), labels[:128], F.cross_entropy
    yield "MLP, 20 layers of 1024, batch 256", mlp(1024, 20), torch.randn(256, 1024), labels, F.cross_entropy
    yield "CNN, 8 layers of 64, 32 × 32, batch 64", cnn(), torch.randn(64, 3, 32, 32), labels[:64], F.cross_entropy
    resnet = hf.ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", num_labels=10)
    model = hf.ResNetForImageClassification(resnet).train()
    images = {"pixel_values": torch.randn(8, 3, 224, 224), "labels": labels[:8]}
    yield "ResNet-18, 224 × 224, batch 8", model, images, None, None
    ids = torch.randint(0, 50257, (2, 256))
    gpt = hf.GPT2LMHeadModel(hf.GPT2Config()).train()
    text = {"input_ids": ids, "labels": ids, "use_cache": False}
    yield "GPT-2, 124 M, 2 × 256 tokens", gpt, text, None, None


def passes(model: nn.Module, inputs: Any, targets: Any, loss: Callable[..., torch.Tensor] | None) -> None:
    """One forward and one backward pass."""
    out = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    value = out.loss if loss is None else loss(out, targets)
    torch.autograd.grad(value, [p for p in model.parameters() if p.requires_grad])


def timed(run: Callable[[], object], device: str, repeats: int) -> float:
    """The median of the seconds it takes, after one run that is not counted."""
    run()
    found = []
    for _ in range(repeats):
        # On a CPU the process's own time: what else runs on the machine does not count.
        start = time.process_time() if device == "cpu" else time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        found.append((time.process_time() if device == "cpu" else time.perf_counter()) - start)
    return statistics.median(found)


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
    lines = ["| network | passes, s | probe, s | ratio | trace, s | ratio without it |", "|---|---|---|---|---|---|"]
    for name, model, inputs, targets, loss in networks():
        model, inputs, targets = model.to(given.device), moved(inputs, given.device), moved(targets, given.device)
        graph = trace(model, inputs)
        traced = timed(lambda m=model, x=inputs: trace(m, x), given.device, 1)
        base = timed(lambda m=model, x=inputs, y=targets, f=loss: passes(m, x, y, f), given.device, given.repeats)
        whole = timed(lambda m=model, x=inputs, y=targets, f=loss: measure(m, x, y, f), given.device, given.repeats)
        bare = timed(
            lambda m=model, x=inputs, y=targets, f=loss, g=graph: measure(m, x, y, f, graph=g),
            given.device,
            given.repeats,
        )
        lines.append(f"| {name} | {base:.3f} | {whole:.3f} | {whole / base:.2f} | {traced:.3f} | {bare / base:.2f} |")
        print(lines[-1], flush=True)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
