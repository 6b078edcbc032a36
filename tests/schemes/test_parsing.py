"""Schemes as text: both spellings, arguments, labels that read back, and errors that name the usual fix."""

from __future__ import annotations

import pytest

from firstlight.errors import ArgumentError, UnknownNameError
from firstlight.schemes import catalogue, parse

LABELS = {
    "he_normal": "he_normal",
    "kaiming_normal": "he_normal",
    "xavier_uniform": "glorot_uniform",
    "normal(0.01)": "normal(std=0.01)",
    "normal( std = 0.01 )": "normal(std=0.01)",
    "uniform(0.05)": "uniform(bound=0.05)",
    "uniform(low=-0.1, high=0.2)": "uniform(low=-0.1, high=0.2)",
    "he_normal(mode=fan_out)": "he_normal(mode=fan_out)",
    "he_normal(fan_in)": "he_normal",
    "he_normal(activation=leaky_relu, parameter=0.2)": "he_normal(activation=leaky_relu, parameter=0.2)",
    "orthogonal(gain=1.41)": "orthogonal(gain=1.41)",
    "orthogonal(gain=relu)": "orthogonal(gain=relu)",
    "glorot_normal(forget_bias=0)": "glorot_normal(forget_bias=0)",
    "variance_scaling(2.0, fan_avg, uniform)": "variance_scaling(scale=2.0, mode=fan_avg, distribution=uniform)",
    "torch": "torch",
    "pretrained(a/b.safetensors)": "pretrained(path=a/b.safetensors)",
    "pretrained('a, (1).safetensors')": "pretrained(path='a, (1).safetensors')",
    "pretrained('k=v.safetensors', head=\"fc\")": "pretrained(path='k=v.safetensors', head=fc)",
}


@pytest.mark.parametrize(("text", "label"), LABELS.items())
def test_labels_are_canonical_and_read_back(text: str, label: str) -> None:
    assert parse(text).label == label
    assert parse(label).label == label


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("he_norml", "he_normal"),
        ("", "Known"),
        ("normal(std=0.01", "parenthesis"),
        ("normal", "missing a required argument: 'std'"),
        ("normal(0.1, wrong=1)", "unexpected keyword argument 'wrong'"),
        ("normal(std=wide)", "should be a number"),
        ("normal(std=True)", "should be a number"),
        ("normal(std=0)", "std"),
        ("normal(std=-1)", "std"),
        ("normal(std=1e999)", "std"),
        ("normal(std=inf)", "std"),
        ("orthogonal(gain=nan)", "gain=nan should be"),
        ("identity(gain=-inf)", "gain=-inf should be"),
        ("normal(0.1, mean=0, 3)", "after a named argument"),
        ("normal(std=0.1, std=0.2)", "twice"),
        ("normal(,)", "cannot be read"),
        ("he_normal(mode=fan_inn)", "fan_in"),
        ("he_normal(activation=rellu)", "relu"),
        ("he_normal(recurrent=odd)", "orthogonal"),
        ("torch(1)", "does not fit"),
        ("uniform(0)", "below high"),
        ("uniform(0.1, low=0)", "give uniform"),
        ("pretrained", "path"),
        ("pretrained(x, fresh=nothing)", "nothing"),
    ],
)
def test_errors_name_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words.replace("(", r"\(")):
        parse(text)


def test_unknown_names_show_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean glorot_uniform"):
        parse("glorot_unifrom")


def test_the_catalogue_lists_every_name_once_with_its_source() -> None:
    names = [n for listed in catalogue() for n in (listed.name, *listed.aliases)]
    assert len(set(names)) == len(names)
    for listed in catalogue():
        assert listed.formula
        assert listed.usage.startswith(listed.name)
