"""Values are looked at before anything is written, and arrive bit for bit."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from firstlight.errors import TransferError
from firstlight.transfers.sources import bounds, check, copy_many_, dtype_fault, open_source

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FLOATS)
@given(
    size=st.integers(1, 200),
    place=st.integers(0, 199),
    odd=st.sampled_from([math.nan, math.inf, -math.inf]),
    seed=st.integers(0, 99),
)
def test_bounds_see_one_odd_value_anywhere(dtype: torch.dtype, size: int, place: int, odd: float, seed: int) -> None:
    values = torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(dtype)
    low, high = bounds(values)
    assert low == float(values.double().min())
    assert high == float(values.double().max())
    values[place % size] = odd
    assert not all(math.isfinite(b) for b in bounds(values))


@pytest.mark.parametrize("dtype", [*FLOATS, torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("size", [5, 40_000, 100_001])
def test_bounds_see_the_last_value(dtype: torch.dtype, size: int) -> None:
    values = torch.zeros(size).to(dtype)
    values[-1] = math.nan
    assert math.isnan(bounds(values)[0])
    assert bounds(torch.zeros(0)) == (0.0, 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ""])
def test_odd_values_are_named_by_file_and_tensor(bad: float, suffix: str, tmp_path: Path) -> None:
    state = {"good": torch.ones(3), "odd": torch.tensor([1.0, bad, bad])}
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    elif suffix:
        torch.save(state, path)
    source = open_source(path if suffix else state)
    check(source, "good", torch.float32)
    kind = "NaN" if math.isnan(bad) else "infinite"
    with pytest.raises(TransferError, match=rf"'odd' in .* holds 2 {kind} of 3 values") as caught:
        check(source, "odd", torch.float32)
    assert not suffix or path.name in str(caught.value)
    check(source, "odd", torch.float32, allow_nonfinite=True)
    check(source, "odd", torch.float32, index=(slice(0, 1),))


def test_a_shard_is_named_where_the_index_is_the_source(tmp_path: Path) -> None:
    save_file({"w": torch.tensor([math.nan])}, tmp_path / "one.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"w": "one.safetensors"}}')
    with pytest.raises(TransferError, match=r"'w' in '.*index\.json' \(one\.safetensors\) holds 1 NaN"):
        check(open_source(tmp_path), "w", torch.float32)


def test_values_beyond_the_models_dtype_are_refused() -> None:
    source = open_source({"w": torch.tensor([1.0, -70_000.0])})
    check(source, "w", torch.bfloat16)
    with pytest.raises(TransferError, match=r"'w' in the state dict reaches 7e\+04, and float16 ends at 6\.55e\+04"):
        check(source, "w", torch.float16)
    check(source, "w", torch.float16, allow_nonfinite=True)


@pytest.mark.parametrize(
    ("stored", "wanted", "fits"),
    [
        (torch.float32, torch.bfloat16, True),
        (torch.float16, torch.float64, True),
        (torch.int64, torch.int64, True),
        (torch.int32, torch.int64, True),
        (torch.complex64, torch.complex64, True),
        (torch.bool, torch.bool, True),
        (torch.int64, torch.int32, False),
        (torch.uint8, torch.int8, False),
        (torch.int8, torch.float32, False),
        (torch.float32, torch.int64, False),
        (torch.float8_e4m3fn, torch.float32, False),
        (torch.float32, torch.float8_e4m3fn, False),
        (torch.complex64, torch.float32, False),
        (torch.float32, torch.complex64, False),
        (torch.bool, torch.float32, False),
        (torch.bool, torch.int64, False),
        (torch.qint8, torch.float32, False),
    ],
)
def test_which_dtypes_go_into_which(stored: torch.dtype, wanted: torch.dtype, fits: bool) -> None:
    assert (dtype_fault(stored, wanted) == "") is fits


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.complex64])
def test_an_exotic_dtype_is_named(dtype: torch.dtype, tmp_path: Path) -> None:
    save_file({"w": torch.ones(4).to(dtype)}, tmp_path / "w.safetensors")
    with pytest.raises(TransferError, match=r"'w' in .*w\.safetensors' is stored as .*, and the model wants float32"):
        check(open_source(tmp_path / "w.safetensors"), "w", torch.float32)


def _case(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    big = torch.randn(1200, 1100, generator=torch.Generator().manual_seed(3))
    match name:
        case "large":
            return torch.zeros(1200, 1100), big
        case "very large":
            return torch.zeros(4, 1200, 1100), big.expand(4, -1, -1).contiguous()
        case "small":
            return torch.zeros(3), torch.randn(3)
        case "scalar":
            return torch.zeros(()), torch.tensor(2.0)
        case "none":
            return torch.zeros(0, 2), torch.zeros(0, 2)
        case "cast":
            return torch.zeros(1200, 1100, dtype=torch.bfloat16), big
        case "transposed source":
            return torch.zeros(1100, 1200), big.T
        case "transposed target":
            return torch.zeros(1100, 1200).T, big
        case "integers":
            return torch.zeros(400_000, dtype=torch.int64), torch.arange(400_000)
        case "complex":
            return torch.zeros(400_000, dtype=torch.complex64), torch.complex(big, big).flatten()[:400_000]
        case "conjugate":
            return torch.zeros(400_000, dtype=torch.complex64), torch.complex(big, big).flatten()[:400_000].conj()
        case "expanded":
            return torch.zeros(1000, 1000), torch.ones(1000, 1).expand(1000, 1000)
        case _:
            return torch.zeros(1200, 1100)[1:], big[:-1]


CASES = ["large", "very large", "small", "scalar", "none", "cast", "transposed source", "transposed target"]
CASES += ["integers", "complex", "conjugate", "expanded", "an offset"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_copies_are_those_of_copy_(case: str, threads: int) -> None:
    target, values = _case(case)
    expected = target.clone().copy_(values)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        copy_many_([(target, values)])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(target, expected)


def test_a_parameter_is_written_and_autograd_knows() -> None:
    weight = torch.nn.Parameter(torch.zeros(1000, 1000))
    used = (weight * weight).sum()
    copy_many_([(weight, torch.ones(1000, 1000))])
    assert (weight == 1).all()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        used.backward()
