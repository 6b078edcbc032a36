"""``firstlight plan``: what it prints and writes, and its errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import firstlight as fl
from firstlight.cli.app import app

SOURCE = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))

def both():
    return net(), torch.zeros(4, 8) + torch.arange(8.0)

def batch():
    return torch.ones(4, 8)

def nothing():
    return 3

def raising():
    raise RuntimeError("no weights today")

def mismatched():
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(7, 2))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets_for_plans.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["plan", *words])
    return done.exit_code, done.output


def test_a_model_alone_is_planned_from_its_modules(here: Path) -> None:
    code, out = run("nets_for_plans.py:net")
    assert code == 0
    assert "0.weight" in out
    assert "not known without example inputs" in out
    assert "--shape" in out


@pytest.mark.parametrize(
    "words",
    [
        ("nets_for_plans.py:both",),
        ("nets_for_plans.py:net", "--shape", "4,8"),
        ("nets_for_plans.py:net", "--inputs", "nets_for_plans.py:batch"),
    ],
)
def test_example_inputs_come_in_three_ways(here: Path, words: tuple[str, ...]) -> None:
    code, out = run(*words)
    assert code == 0
    assert "relu" in out
    assert "linear weight, head" in out


def test_json_and_a_page_are_written(here: Path) -> None:
    code, out = run("nets_for_plans.py:both", "--json", "plan.json", "--html", "plan.html", "--scheme", "he_normal")
    assert code == 0
    assert fl.Plan.from_json(Path("plan.json")).scheme == "he_normal"
    page = Path("plan.html").read_text()
    assert "0.weight" in page
    assert "@inproceedings{he2015delving" in page
    assert "http" not in page.split("</style>")[1].split("<pre")[0]
    assert out.count("Written:") == 2


def test_rules_hold(here: Path) -> None:
    _, out = run("nets_for_plans.py:net", "--rule", "2.weight=fl.Zeros()")
    assert "your rule '2.weight'" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nets_for_plans.py:nothing",), "gave int"),
        (("nets_for_plans.py:raising",), "no weights today"),
        (("nets_for_plans.py:nett",), "Did you mean net"),
        (("nets_for_plans.py:net", "--shape", "4,x"), "whole numbers"),
        (("nets_for_plans.py:net", "--shape", "0,8"), "positive"),
        (("nets_for_plans.py:net", "--shape", "4,8", "--inputs", "a.py:b"), "give one"),
        (("nets_for_plans.py:mismatched", "--shape", "4,8"), "Linear, weight (2, 7)"),
        (("nets_for_plans.py:net", "--scheme", "hee_normal"), "Did you mean he_normal"),
        (("nets_for_plans.py:net", "--json", "no/such/place.json"), "cannot write"),
    ],
)
def test_errors_say_what_was_given(here: Path, words: tuple[str, ...], said: str) -> None:
    code, out = run(*words)
    assert code == 2
    assert said in " ".join(out.split())
    assert "Traceback" not in out
