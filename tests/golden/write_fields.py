"""Write ``fields.json``, the golden values of field format 1: ``python tests/golden/write_fields.py``.

The file is a promise. Run this only to add cases, and look at the diff: a value that changes is a new format.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from firstlight import fields

COUNT = 12
STARTS = (0, 57, (1 << 32) * 4 - 5, (1 << 63) - COUNT)
TRANSFORMS = (
    ("uniform", -1.0, 1.0),
    ("uniform", 0.1, 0.7),
    ("normal", 0.0, 1.0),
    ("normal", 0.5, 0.02),
    ("truncated_normal", 0.0, 1.0, -2.0, 2.0),
    ("truncated_normal", 0.0, 0.02, -3.0, 1.0),
    ("truncated_normal", 1.0, 2.0, "-inf", 0.5),
    ("truncated_normal", 0.0, 1.0, 0.0, 1e-4),
    ("truncated_normal", 0.0, 1.0, 5.0, "inf"),
    ("truncated_normal", 0.0, 1.0, -7.0, -6.5),
)
KEYS = ((0, "weight", "values"), ((1 << 64) - 1, "layers.3.größe", "mask"))
BITS = {torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float64: torch.int64}


def bits(tensor: torch.Tensor) -> str:
    """The elements' bits in hexadecimal, separated by blanks."""
    width = tensor.element_size() * 2
    return " ".join(f"{int(v) & (1 << 4 * width) - 1:0{width}x}" for v in tensor.view(BITS[tensor.dtype]))


def transform_of(name: str, *numbers: float | str) -> fields.Transform:
    """The transform of a case; infinities are spelled, since JSON has none."""
    return getattr(fields, name)(*(float(number) for number in numbers))


def cases() -> list[dict[str, object]]:
    """All golden cases, computed by the reference engine."""
    found: list[dict[str, object]] = []
    for seed, name, stream in KEYS:
        key = fields.key(seed, name, stream)
        for start in STARTS:
            where = {"key": [seed, name, stream], "stream": f"{key.stream:016x}", "start": start}
            raw = fields.words(key, start, start + COUNT)
            found.append({**where, "words": " ".join(f"{int(w):08x}" for w in raw)})
            for transform in TRANSFORMS:
                # One transform shows the dtypes: they are conversions of float32, the same for all.
                for dtype in BITS if transform == TRANSFORMS[3] else (torch.float32,):
                    out = torch.empty(COUNT, dtype=dtype)
                    fields.fill_(out, transform_of(*transform), key, start, engine="reference")
                    dtype_name = str(dtype).removeprefix("torch.")
                    found.append({**where, "transform": list(transform), "dtype": dtype_name, "bits": bits(out)})
    return found


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases())
    text = f'{{"format": {fields.FORMAT}, "cases": [\n{lines}\n]}}\n'
    Path(__file__).with_name("fields.json").write_text(text, encoding="utf-8")
