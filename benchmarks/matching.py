"""How long structure matching takes: two models of 500 and more tensors whose names share no word.

    python benchmarks/matching.py

Names and shapes are all that matching sees, so the models are built on the meta device. ``match`` is timed alone; the
graph of the model, by its modules, is made before.
"""

from __future__ import annotations

import re
import time

import torch
from torch import nn

from firstlight.graphs import structure
from firstlight.transfers.matching import match
from firstlight.transfers.records import Target


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)


class Transformer(nn.Module):
    """Tables, blocks, a norm and a head."""

    def __init__(self, depth: int, width: int = 256) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(1000, width), nn.Embedding(128, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)


class Residual(nn.Module):
    """A bottleneck block."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        inner = out // 4
        self.conv1, self.bn1 = nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out)
        if width != out:
            self.downsample = nn.Sequential(nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out))


class ResNet(nn.Module):
    """A stem, four stages and a head: ResNet-101's depths."""

    def __init__(self, depths: tuple[int, ...] = (3, 4, 23, 3)) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, bias=False), nn.BatchNorm2d(64)
        width = 64
        for i, depth in enumerate(depths):
            out = 256 * 2**i
            self.add_module(
                f"layer{i + 1}", nn.Sequential(*(Residual(width if j == 0 else out, out) for j in range(depth)))
            )
            width = out
        self.fc = nn.Linear(width, 1000)


# The same modules under the names that another library gives them.
TRANSFORMER = (
    (r"^blocks\.(\d+)", r"encoder.layer.\1"),
    (r"query", "attention.self.q_lin"),
    (r"key", "attention.self.k_lin"),
    (r"value", "attention.self.v_lin"),
    (r"\.proj\.", ".attention.out_lin."),
    (r"fc(\d)", r"ffn.lin\1"),
    (r"norm1", "layernorm_before"),
    (r"norm2", "layernorm_after"),
    (r"^norm", "final_layernorm"),
    (r"^tokens", "wte"),
    (r"^positions", "wpe"),
    (r"^head", "classifier"),
)
RESNET = (
    (r"^layer(\d)\.(\d+)\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.layers.{m[2]}."),
    (r"\.conv(\d)", lambda m: f".layer.{int(m[1]) - 1}.convolution"),
    (r"\.bn(\d)", lambda m: f".layer.{int(m[1]) - 1}.normalization"),
    (r"downsample\.0", "shortcut.convolution"),
    (r"downsample\.1", "shortcut.normalization"),
    (r"^conv1", "embedder.convolution"),
    (r"^bn1", "embedder.normalization"),
    (r"^fc", "classifier.1"),
)


def structure_part(repeats: int = 3) -> list[tuple[str, int, int, float]]:
    """For each model its name, tensors, matches and seconds (the best of ``repeats``)."""
    rows = []
    with torch.device("meta"):
        models = (("transformer, 32 blocks", Transformer(32), TRANSFORMER), ("ResNet-101", ResNet(), RESNET))
    for label, model, rules in models:
        graph = structure(model)
        targets = [Target(p) for p in graph.parameters] + [Target(p, True) for p in graph.statistics]
        shapes = {renamed(n, rules): tuple(t.shape) for n, t in sorted(model.state_dict().items())}
        best = float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            found = match(targets, shapes)
            best = min(best, time.perf_counter() - start)
        rows.append((label, len(targets), len(found.matches), best))
    return rows


def renamed(name: str, rules: tuple) -> str:
    """A name under another library's spelling."""
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


def main() -> None:
    """Print the table."""
    for label, tensors, matched, seconds in structure_part():
        print(f"{label:24s} {tensors:5d} tensors, {matched:5d} matched, {seconds * 1000:7.1f} ms")


if __name__ == "__main__":
    main()
