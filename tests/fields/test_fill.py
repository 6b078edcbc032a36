"""What ``fill_`` promises whatever the tensor: its laws, the layouts it takes, what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import firstlight.fields.fill as module
from firstlight.errors import ArgumentError, UnknownNameError, UnsupportedParameterError
from firstlight.fields import Job, Key, fill_, fill_many_, key, normal, truncated_normal, uniform, values, words

KEY = key(7, "layer.weight")
NORMAL = normal(0.0, 1.0)
TRANSFORMS = [uniform(-2.0, 1.0), NORMAL, truncated_normal(0.0, 1.0, -2.0, 2.0), truncated_normal(0, 1, 5, 9)]
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
ENGINES = [None, "reference"]


@given(st.integers(0, 2000), st.integers(0, 2000), st.sampled_from(TRANSFORMS), st.sampled_from(ENGINES))
@settings(max_examples=60, deadline=None)
def test_any_sub_range_equals_that_range_of_the_whole(a, b, transform, engine):
    start, stop = sorted((a, b))
    whole = values(transform, KEY, 0, 2000)
    part = fill_(torch.empty(stop - start), transform, KEY, start, engine=engine)
    assert torch.equal(part, whole[start:stop])


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.kind)
def test_thread_count_changes_nothing(transform, threads):
    found = []
    for number in (1, 2, 3):
        threads(number)
        found.append(fill_(torch.empty(700_001), transform, KEY, 11))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_dtype_changes_nothing_but_the_rounding(dtype, engine):
    for transform in TRANSFORMS:
        canonical = values(transform, KEY, 5, 5005)
        found = fill_(torch.empty(5000, dtype=dtype), transform, KEY, 5, engine=engine)
        assert found.dtype == dtype
        assert torch.equal(found, canonical.to(dtype))


def test_bfloat16_and_float16_round_denormal_results_too():
    tiny = normal(0.0, 1e-6)  # float16 is subnormal below 6e-5
    canonical = values(tiny, KEY, 0, 5000)
    assert torch.equal(fill_(torch.empty(5000, dtype=torch.float16), tiny, KEY), canonical.half())


def test_one_list_equals_one_by_one():
    sizes = [0, 1, 63, 64, 65, 1000, 40_000, 3, 200_000]
    jobs = [
        Job(torch.empty(n, dtype=DTYPES[i % 4]), TRANSFORMS[i % 4], key(i, "w"), i * 7) for i, n in enumerate(sizes)
    ]
    fill_many_(jobs)
    for job in jobs:
        alone = fill_(torch.empty_like(job.tensor), job.transform, job.key, job.start)
        assert torch.equal(job.tensor, alone)
    fill_many_([])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_strided_tensors_are_filled_in_row_major_order(monkeypatch, engine, dtype):
    monkeypatch.setattr(module, "BUFFER", 50)  # several pieces even of small tensors
    tensors = [
        torch.empty(6, 5, dtype=dtype).t(),
        torch.empty(4, 3, 5, 7, dtype=dtype).to(memory_format=torch.channels_last),
        torch.empty(300, dtype=dtype)[::3],
        torch.empty(9, 8, 70, dtype=dtype)[1::2, :, 3:],
        torch.empty(3, 4, 5, dtype=dtype).permute(2, 0, 1)[None],
        torch.empty(2, 2, dtype=torch.complex64).conj().imag if dtype == torch.float32 else torch.empty(1, dtype=dtype),
    ]
    for tensor in tensors:
        for start in (0, (1 << 33) + 5):
            assert fill_(tensor, NORMAL, KEY, start, engine=engine) is tensor
            expected = values(NORMAL, KEY, start, start + tensor.numel(), dtype=dtype)
            assert torch.equal(tensor.reshape(-1), expected)


def test_only_the_view_is_written():
    base = torch.zeros(10, 10)
    fill_(base[2:5, 3:7], uniform(1.0, 2.0), KEY)
    assert int((base != 0).sum()) == 12


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_and_0d_tensors(engine):
    assert fill_(torch.empty(0, 3), NORMAL, KEY, engine=engine).shape == (0, 3)
    assert fill_(torch.empty(3, 0).t(), NORMAL, KEY, engine=engine).numel() == 0
    single = fill_(torch.empty(()), NORMAL, KEY, 41, engine=engine)
    assert single.shape == ()
    assert float(single) == float(values(NORMAL, KEY, 40, 43)[1])


def test_huge_indices():
    last = 1 << 63
    assert torch.equal(values(NORMAL, KEY, last - 10, last)[5:], values(NORMAL, KEY, last - 5, last))
    # … and the low 32 bits of an index are not all of it
    assert not torch.equal(values(NORMAL, KEY, 1 << 38, (1 << 38) + 9), values(NORMAL, KEY, 0, 9))
    assert words(KEY, last - 3, last).shape == (3,)


def test_words_are_32_bits():
    raw = words(KEY, 0, 10_000)
    assert raw.dtype == torch.int64
    assert int(raw.min()) >= 0
    assert int(raw.max()) < 1 << 32
    assert int(raw.max()) > 1 << 31
    assert words(KEY, 3, 3).numel() == 0


def test_keys_give_different_values():
    drawn = [values(NORMAL, k, 0, 64) for k in (KEY, Key(KEY.seed + 1, KEY.stream), Key(KEY.seed, KEY.stream + 1))]
    assert not (drawn[0] == drawn[1]).any()
    assert not (drawn[0] == drawn[2]).any()


def test_no_generator_is_read_or_advanced():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = values(NORMAL, KEY, 0, 10)
    torch.rand(5)
    assert torch.equal(values(NORMAL, KEY, 0, 10), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [10, 100_000])
def test_parameters_are_written_and_autograd_knows(size):
    parameter = torch.nn.Parameter(torch.zeros(size))
    product = (parameter * parameter).sum()  # needs the old values to go backward
    fill_(parameter, NORMAL, KEY)
    assert parameter.requires_grad
    assert parameter.grad_fn is None
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()
    (parameter * 2).sum().backward()
    assert parameter.grad is not None


def test_inference_tensors_and_strided_parameters():
    with torch.inference_mode():
        frozen = torch.empty(10)
        fill_(frozen, NORMAL, KEY)
    turned = torch.nn.Parameter(torch.empty(5, 2).t())
    fill_(turned, NORMAL, KEY)
    assert torch.equal(turned.detach().reshape(-1), values(NORMAL, KEY, 0, 10))
    assert frozen.equal(turned.detach().reshape(-1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.empty(3, dtype=torch.int64), "int64"),
        (lambda: torch.empty(3, dtype=torch.bool), "bool"),
        (lambda: torch.empty(3, dtype=torch.complex64), "complex64"),
        (lambda: torch.empty(3, dtype=torch.float8_e4m3fn), "float8"),
        (lambda: torch.empty(3, device="meta"), "meta"),
        (lambda: torch.empty(3, 1).expand(3, 4), "share memory"),
        (lambda: torch.empty(10).as_strided((4, 3), (1, 1)), "share memory"),
        (lambda: torch.eye(3).to_sparse(), "layout"),
        (lambda: torch.nn.LazyLinear(3).weight, "lazily"),
    ],
)
def test_tensors_that_take_no_values(make, message):
    with pytest.raises(UnsupportedParameterError, match=message):
        fill_(make(), NORMAL, KEY)


def test_fake_tensors_have_no_memory():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.empty(3)
    with pytest.raises(UnsupportedParameterError, match="no memory"):
        fill_(fake, NORMAL, KEY)


def test_arguments_outside_their_range():
    for start in (-1, 1 << 63, (1 << 63) - 2):
        with pytest.raises(ArgumentError, match="start"):
            fill_(torch.empty(3), NORMAL, KEY, start)
    with pytest.raises(ArgumentError, match="integer"):
        fill_(torch.empty(3), NORMAL, KEY, 0.5)
    with pytest.raises(UnknownNameError, match="llvm"):
        fill_(torch.empty(3), NORMAL, KEY, engine="lvm")
    for start, stop in ((-1, 3), (3, 2), (0, (1 << 63) + 1)):
        with pytest.raises(ArgumentError, match="range"):
            words(KEY, start, stop)


def test_nothing_is_written_if_one_job_is_wrong():
    good = torch.zeros(5)
    with pytest.raises(UnsupportedParameterError):
        fill_many_([Job(good, NORMAL, KEY), Job(torch.zeros(5, dtype=torch.int32), NORMAL, KEY)])
    assert not good.any()


def test_other_kinds_of_device_go_through_the_reference(monkeypatch):
    """A device without float64 gets values made on the CPU; here the CPU plays that device."""
    monkeypatch.setattr(module, "_native", lambda job, engine: False)
    monkeypatch.setattr(module, "BUFFER", 100)
    assert torch.equal(fill_(torch.empty(40, 25).t(), NORMAL, KEY).reshape(-1), values(NORMAL, KEY, 0, 1000))
    assert not module._has_float64("nonsense")


def test_without_the_native_engine_the_reference_steps_in(monkeypatch):
    expected = values(NORMAL, KEY, 0, 1000)

    def refuse(kind, dtype):
        raise module.native.UnavailableError("the CPU toaster has no fma")

    monkeypatch.setattr(module.native, "kernel", refuse)
    monkeypatch.setattr(module.native, "loaded", lambda kind, dtype: 0)
    module._warn.cache_clear()
    with pytest.warns(RuntimeWarning, match="toaster has no fma"):
        found = values(NORMAL, KEY, 0, 1000)
    assert torch.equal(found, expected)
    with pytest.raises(ArgumentError, match="toaster"):
        fill_(torch.empty(3), NORMAL, KEY, engine="llvm")
    module._warn.cache_clear()
