"""Rules as text: they say what the same words say in Python, and run nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import firstlight as fl
from firstlight.cli.rules import read_rules
from firstlight.errors import ArgumentError, UnknownNameError


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("fl.Ones()", fl.Ones()),
        ("Ones()", fl.Ones()),
        (" firstlight.Normal(std = 0.02)", fl.Normal(std=0.02)),
        ("fl.Normal(-1, std=0.02)", fl.Normal(-1, std=0.02)),
        ("fl.Axes(out=1, in_=0)", fl.Axes(out=1, in_=0)),
        ("fl.Keep()", fl.Keep()),
        ("fl.VarianceScaling(2.0, mode='fan_out')", fl.VarianceScaling(2.0, mode="fan_out")),
    ],
)
def test_a_rule_is_what_python_would_make_of_it(text: str, rule: object) -> None:
    assert read_rules([f"*.odd={text}"]) == {"*.odd": rule}


@pytest.mark.parametrize("text", ["", "=", "a", "a=", "=fl.Ones()", "a=fl.Ones", "a=1", "a=(", "a=fl.Ones(x)"])
def test_what_is_no_rule_is_shown(text: str) -> None:
    with pytest.raises(ArgumentError, match="the rule"):
        read_rules([text])


def test_nothing_is_run(tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    for text in (f"a=fl.Constant(open({str(evil)!r}, 'w'))", f"a=open({str(evil)!r}, 'w')"):
        with pytest.raises((ArgumentError, UnknownNameError)):
            read_rules([text])
    assert not evil.exists()


def test_an_unknown_name_shows_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Normall.*Did you mean Normal"):
        read_rules(["a=fl.Normall(1)"])


@pytest.mark.parametrize("text", ["a=fl.Normal(sdt=1)", "a=fl.Normal(1, 2, 3, 4)", "a=fl.Normal(std=-1)"])
def test_arguments_that_do_not_fit_are_named(text: str) -> None:
    with pytest.raises(ArgumentError):
        read_rules([text])
