"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import firstlight
from clouds import blobs
from firstlight.cli.compare import read_config, split_arms
from firstlight.errors import ArgumentError, UnknownNameError

QUICK = ["--lr", "0.03,0.1", "--seeds", "2", "--steps", "20", "--batch-size", "8", "--workers", "0"]


def run(*arguments: str, cwd: Path, width: int = 100) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "COLUMNS": str(width),
        "NO_COLOR": "1",
        "PYTHONPATH": str(Path(firstlight.__file__).parents[1]),
    }
    command = [sys.executable, "-c", "from firstlight.cli.app import main; main()", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x, y = blobs()
    np.savez(tmp_path / "blobs.npz", x=x, y=y)
    return tmp_path


def test_help_and_version(tmp_path: Path) -> None:
    shown = run("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for word in ("compare", "schemes", "report"):
        assert word in shown.stdout
    assert run("--version", cwd=tmp_path).stdout.strip() == f"firstlight {firstlight.__version__}"
    assert "--network" in run("compare", "--help", cwd=tmp_path).stdout


def test_schemes_lists_them_all(tmp_path: Path) -> None:
    shown = run("schemes", cwd=tmp_path).stdout
    for listed in firstlight.catalogue():
        for name in (listed.name, *listed.aliases):
            assert name in shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_compare_prints_lines_the_table_the_verdict_and_the_report(data: Path, width: int) -> None:
    done = run(
        "compare", "--data", "blobs.npz", "--arms", "torch,he_normal,normal(std=0.01, mean=0)", *QUICK, "--out", "r",
        cwd=data, width=width,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "12 of 12 trials" in done.stdout
    assert "he_normal" in done.stdout
    assert "highest mean test accuracy" in done.stdout
    assert "r/report.html" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= max(width, 100) + 20
    assert "--arms" in (data / "r" / "report.html").read_text()
    again = run("report", "r", "--out", "again.html", cwd=data)
    assert again.returncode == 0
    assert (data / "again.html").read_text() == (data / "r" / "report.html").read_text()


def test_an_own_model_and_a_toml_file(data: Path) -> None:
    (data / "net.py").write_text(
        "from torch import nn\n"
        "def net(shape, classes): return nn.Sequential(nn.Linear(shape[0], 8), nn.ReLU(), nn.Linear(8, classes))\n"
        "def fixed(): return nn.Linear(4, 3)\n"
    )
    (data / "study.toml").write_text(
        'model = "net.py:net"\ndata = "blobs.npz"\narms = ["torch", "orthogonal"]\nlr = [0.03, 0.1]\n'
        'seeds = 2\nsteps = 10\nbatch-size = 8\nworkers = 2\nout = "r"\n'
    )
    first = run("compare", "study.toml", cwd=data)
    assert first.returncode == 0, first.stderr
    assert "net.py:net" in first.stdout
    refused = run("compare", "study.toml", "--steps", "11", cwd=data)
    assert refused.returncode == 2
    assert "holds another study" in refused.stderr
    assert run("compare", "study.toml", "--steps", "11", "--fresh", "--model", "net.py:fixed", cwd=data).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "he_norml"], "he_normal"),
        (["--network", "mpl"], "mlp"),
        (["--network", "mlp", "--model", "x.py:y"], "give one"),
        (["--data", "digit"], "digits"),
        (["--lr", "fast"], "numbers"),
        (["--optimizer", "adam"], "adamw"),
        (["--network", "cnn"], "images"),
        (["nothing.toml"], "cannot read"),
        (["--label", "x"], "label"),
    ],
)
def test_mistakes_are_one_clean_message(data: Path, arguments: list[str], words: str) -> None:
    source = [] if "--data" in arguments else ["--data", "blobs.npz"]
    done = run("compare", *source, *arguments, *QUICK[2:], "--out", "r", cwd=data)
    assert done.returncode == 2
    assert done.stderr.startswith("error:")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (data / "r").exists()


def test_report_of_nothing_is_said(tmp_path: Path) -> None:
    done = run("report", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "no study" in done.stderr


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("sedes = 3", UnknownNameError, "seeds"),
        ("seeds = 'three'", ArgumentError, "int"),
        ("seeds = true", ArgumentError, "int"),
        ("seeds = ", ArgumentError, "no TOML"),
    ],
)
def test_bad_toml_is_named(tmp_path: Path, text: str, error: type[Exception], words: str) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(error, match=words):
        read_config(tmp_path / "s.toml")


def test_commas_within_parentheses_belong_to_an_arm() -> None:
    assert split_arms("a,b(c=1,d=2),e") == ["a", "b(c=1,d=2)", "e"]
    assert split_arms(["a, b", "c"]) == ["a", "b", "c"]
    assert split_arms("normal(0.1") == ["normal(0.1"]
