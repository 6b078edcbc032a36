"""Any bytes at all are read as weights or refused by name: nothing else is raised, and no code is run.

``tools/fuzz_sources.py`` runs the same cases by the million, with coverage as the guide.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

import firstlight as fl
from firstlight.errors import TransferError

sys.path.insert(0, str(Path(__file__).parent))

from mutations import KINDS, STATE, damaged, outcome

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "byte", "cut", "remove", "repeat", "number", "piece", "pickle"]),
        st.integers(0, 5000),
        st.integers(0, 2**24),
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    save_file(STATE, made / "one.safetensors")
    return made


def run(kind: str, folder: Path, examples: int) -> None:
    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    @given(edits=EDITS)
    def law(edits: list[tuple[str, int, int]]) -> None:
        outcome(kind, damaged(kind, edits), folder)

    law()


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_read(kind: str, folder: Path) -> None:
    run(kind, folder, 150)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_much_damage_is_refused_or_read(kind: str, folder: Path) -> None:
    run(kind, folder, 20_000)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "nested", "old", "index"])
def test_without_damage_all_is_read(kind: str, folder: Path) -> None:
    read = outcome(kind, KINDS[kind][1], folder)
    assert isinstance(read, dict), read
    assert all(torch.equal(read[name], values) for name, values in STATE.items())


@pytest.mark.parametrize("kind", ["safetensors", "zip", "old"])
def test_every_cut_is_refused(kind: str, folder: Path) -> None:
    content = KINDS[kind][1]
    for length in range(0, len(content), 1 if kind == "safetensors" else 23):
        assert isinstance(outcome(kind, content[:length], folder), str), length


class Small(nn.Module):
    """A model that the good files fit."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)
        self.register_buffer("steps", torch.tensor(1))
        self.register_buffer("none", torch.empty(0, 2))


@pytest.mark.parametrize("kind", ["safetensors", "zip", "nested", "old"])
def test_a_model_gets_everything_or_nothing(kind: str, folder: Path) -> None:
    @settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
    @given(edits=EDITS)
    def law(edits: list[tuple[str, int, int]]) -> None:
        path = folder / KINDS[kind][0]
        path.write_bytes(damaged(kind, edits))
        model = Small()
        before = {name: values.clone() for name, values in model.state_dict().items()}
        try:
            report = fl.load_(model, path, fresh="keep", require=0.9)
        except TransferError:
            assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
        else:
            assert {o.name for o in report.outcomes if o.kind == "loaded"} >= {"a.weight"}
            assert all(values.isfinite().all() for values in model.state_dict().values())

    law()


ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "I64", "BOOL", "F8_E4M3", "U8", "X1", ""]),
        "shape": st.lists(st.integers(-1, 5), max_size=3),
        "data_offsets": st.lists(st.integers(-1, 40), min_size=2, max_size=2),
    }
)


@settings(max_examples=400, database=None)
@given(
    header=st.dictionaries(st.text(max_size=3), ENTRIES, max_size=4),
    values=st.binary(max_size=48),
    honest=st.booleans(),
)
@example(header={"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, values=b"\0" * 8, honest=False)
def test_a_header_is_accepted_where_the_formats_own_library_accepts_it(
    folder: Path, header: dict[str, dict[str, object]], values: bytes, honest: bool
) -> None:
    """And then the values are the same. ``honest`` headers lay their tensors one behind the other."""
    if honest:
        values = _laid_out(header)
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + values
    read = outcome("safetensors", content, folder)
    try:
        with safe_open(folder / "w.safetensors", framework="pt") as file:
            theirs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, AttributeError):
        theirs = None
    assert isinstance(read, str if theirs is None else dict), read
    if not isinstance(read, dict) or theirs is None:
        return
    assert read.keys() == theirs.keys()
    for name, tensor in read.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor.contiguous().view(-1).view(torch.uint8), theirs[name].view(-1).view(torch.uint8))


_SIZES = {"F32": 4, "BF16": 2, "I64": 8, "BOOL": 1, "F8_E4M3": 1, "U8": 1}


def _laid_out(header: dict[str, dict[str, object]]) -> bytes:
    at = 0
    for entry in header.values():
        size = _SIZES.get(str(entry["dtype"]), 1)
        for axis in entry["shape"]:
            size *= max(axis, 0)
        entry["data_offsets"] = [at, at + size]
        at += size
    return bytes(i % 2 for i in range(at))
