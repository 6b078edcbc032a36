"""Every initializer through one table: a frozen record, a pure draw, the moments it promises, whatever the dtype."""

from __future__ import annotations

import math

import pytest
import torch

import firstlight as fl
from firstlight.errors import ArgumentError
from firstlight.initializers import Built, Fill, Initializer, Layout, Sampled, Segments, sample

MATRIX = Layout.mapping((300, 400))
TABLE: dict[str, tuple[Initializer, Layout]] = {
    "Constant": (fl.Constant(0.25), MATRIX),
    "Zeros": (fl.Zeros(), MATRIX),
    "Ones": (fl.Ones(), MATRIX),
    "PerBlock": (fl.PerBlock((0.0, 1.0, 0.0, 0.0)), Layout.vector((40,))),
    "Uniform": (fl.Uniform(-0.5, 0.25), MATRIX),
    "Normal": (fl.Normal(mean=0.1, std=0.3), MATRIX),
    "TruncatedNormal": (fl.TruncatedNormal(std=0.02), MATRIX),
    "TruncatedNormal result": (fl.TruncatedNormal(mean=1.0, std=0.02, low=-1.0, high=3.0, std_of="result"), MATRIX),
    "TruncatedNormal tail": (fl.TruncatedNormal(std=1.0, low=4.0, high=math.inf), MATRIX),
    **{
        f"VarianceScaling {mode} {distribution}": (fl.VarianceScaling(2.0, mode, distribution), MATRIX)
        for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
        for distribution in ("uniform", "normal", "truncated_normal")
    },
    "GlorotUniform": (fl.GlorotUniform(), MATRIX),
    "GlorotNormal": (fl.GlorotNormal(gain=2.0), MATRIX),
    "HeUniform": (fl.HeUniform(), MATRIX),
    "HeNormal": (fl.HeNormal("fan_out", "leaky_relu", 0.2), MATRIX),
    "LecunUniform": (fl.LecunUniform(), MATRIX),
    "LecunNormal": (fl.LecunNormal(), MATRIX),
    "Orthogonal": (fl.Orthogonal(1.5), MATRIX),
    "Orthogonal conv": (fl.Orthogonal(), Layout.conv((32, 16, 3, 3), groups=2)),
    "Orthogonal transposed": (fl.Orthogonal(), Layout.conv_transposed((32, 16, 4, 4))),
    "DeltaOrthogonal": (fl.DeltaOrthogonal(), Layout.conv((32, 16, 3, 3))),
    "Sparse": (fl.Sparse(0.75, 0.1), MATRIX),
    "Identity": (fl.Identity(0.5), MATRIX),
    "Dirac": (fl.Dirac(), Layout.conv((32, 16, 3, 3), groups=2)),
    "Stft": (fl.Stft(), Layout.conv((9, 1, 16))),
}
RANDOM = {n for n, (i, layout) in TABLE.items() if n not in ("Identity", "Dirac", "Stft")} - {
    n for n, (i, layout) in TABLE.items() if isinstance(i.draw(layout), Fill | Segments)
}


@pytest.fixture(params=TABLE, ids=list(TABLE))
def case(request: pytest.FixtureRequest) -> tuple[str, Initializer, Layout]:
    return request.param, *TABLE[request.param]


def test_the_repr_makes_it_again(case: tuple[str, Initializer, Layout]) -> None:
    _, initializer, _ = case
    names = {n: getattr(fl, n) for n in fl.__all__} | {"inf": math.inf}
    assert eval(repr(initializer), names) == initializer
    assert hash(initializer) == hash(eval(repr(initializer), names))


def test_it_is_frozen(case: tuple[str, Initializer, Layout]) -> None:
    with pytest.raises((AttributeError, TypeError)):
        case[1].anything = 1


def test_values_depend_on_seed_and_name_alone(case: tuple[str, Initializer, Layout]) -> None:
    name, initializer, layout = case
    values = sample(initializer, layout, seed=3, name="w")
    assert values.shape == layout.shape
    assert torch.equal(values, sample(initializer, layout, seed=3, name="w"))
    if name in RANDOM:
        assert not torch.equal(values, sample(initializer, layout, seed=4, name="w"))
        assert not torch.equal(values, sample(initializer, layout, seed=3, name="v"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_rounds_and_changes_no_draw(case: tuple[str, Initializer, Layout], dtype: torch.dtype) -> None:
    _, initializer, layout = case
    assert torch.equal(sample(initializer, layout, dtype=dtype), sample(initializer, layout).to(dtype))


def test_moments_are_as_promised(case: tuple[str, Initializer, Layout]) -> None:
    """Mean and second central moment within 6 standard errors: false alarms below 1e-6 over the table."""
    _, initializer, layout = case
    draw = initializer.draw(layout)
    if isinstance(draw, Fill | Segments) or draw.mean is None or draw.std is None:
        return
    x = sample(initializer, layout, seed=11, name="m").double()
    n = x.numel()
    error = x.std().item() / math.sqrt(n)
    assert abs(x.mean().item() - draw.mean) <= 6 * error
    spread = (x - draw.mean).square()
    assert abs(spread.mean().item() - draw.std**2) <= 6 * spread.std().item() / math.sqrt(n) + 1e-12


def test_draws_are_records_of_the_four_kinds(case: tuple[str, Initializer, Layout]) -> None:
    assert isinstance(case[1].draw(case[2]), Fill | Segments | Sampled | Built)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fl.Constant(math.nan),
        lambda: fl.Uniform(1.0, 1.0),
        lambda: fl.Uniform(0.0, math.inf),
        lambda: fl.Normal(std=0.0),
        lambda: fl.Normal(std=-1.0),
        lambda: fl.Normal(std=math.nan),
        lambda: fl.Normal(std=1e-40),
        lambda: fl.Normal(mean=math.inf),
        lambda: fl.TruncatedNormal(std=0.0),
        lambda: fl.TruncatedNormal(low=2.0, high=-2.0),
        lambda: fl.TruncatedNormal(low=math.nan),
        lambda: fl.TruncatedNormal(low=30.0, high=31.0),
        lambda: fl.TruncatedNormal(std_of="me"),
        lambda: fl.VarianceScaling(0.0),
        lambda: fl.VarianceScaling(1.0, "fan_inn"),
        lambda: fl.VarianceScaling(1.0, "fan_in", "gaussian"),
        lambda: fl.GlorotUniform(math.nan),
        lambda: fl.GlorotNormal(-1.0),
        lambda: fl.HeNormal(activation="rellu"),
        lambda: fl.HeNormal(activation="leaky_relu", parameter=math.nan),
        lambda: fl.HeNormal(parameter=0.1),
        lambda: fl.Orthogonal(0.0),
        lambda: fl.Orthogonal(math.inf),
        lambda: fl.DeltaOrthogonal(math.nan),
        lambda: fl.Sparse(1.0),
        lambda: fl.Sparse(-0.1),
        lambda: fl.Sparse(0.5, 0.0),
        lambda: fl.PerBlock(()),
        lambda: fl.Identity(math.nan),
        lambda: fl.Stft(window="flat"),
    ],
)
def test_arguments_out_of_range_are_refused(make) -> None:
    with pytest.raises(ArgumentError):
        make()


@pytest.mark.parametrize(
    ("initializer", "layout", "words"),
    [
        (fl.HeNormal(), Layout.vector((3, 4)), "Layout.mapping"),
        (fl.HeNormal(), Layout.mapping((3, 0)), "fan_in is 0"),
        (fl.GlorotUniform(), Layout.mapping((0, 0)), "fan_avg is 0"),
        (fl.Orthogonal(), Layout.vector((3,)), "axes"),
        (fl.Identity(), Layout.conv((3, 3, 3, 3)), "Dirac"),
        (fl.Dirac(), MATRIX, "Identity"),
        (fl.Sparse(), Layout.vector((3,)), "axes"),
        (fl.PerBlock((0.0, 1.0)), Layout.vector((3,)), "do not divide"),
        (fl.Stft(), MATRIX, "Conv1d"),
        (fl.Stft(), Layout.conv((3, 1, 16)), "does not fit"),
    ],
)
def test_layouts_that_do_not_fit_are_refused(initializer: Initializer, layout: Layout, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        initializer.draw(layout)


def test_integers_hold_no_weights() -> None:
    with pytest.raises(ArgumentError, match="int32"):
        sample(fl.Normal(), (3,), dtype=torch.int32)


@pytest.mark.parametrize("shape", [(0,), (), (0, 5)])
def test_empty_and_scalar_tensors_work(shape: tuple[int, ...]) -> None:
    assert sample(fl.Normal(), shape).shape == shape
    assert sample(fl.Constant(2.0), shape).shape == shape
    if len(shape) == 2:
        assert sample(fl.Orthogonal(), Layout.mapping(shape)).shape == shape
