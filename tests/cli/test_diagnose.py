"""``firstlight diagnose``: the curve, the findings, and an exit code that a script can ask."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firstlight.cli.app import app


def _log(path: Path, losses: list[float], held: list[float] | None = None) -> Path:
    rows = [f"{i},{v},{held[i] if held else ''}" for i, v in enumerate(losses)]
    path.write_text("\n".join(["step,loss,val_loss", *rows]))
    return path


def _run(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["diagnose", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


def test_a_healthy_curve_ends_with_0(tmp_path: Path) -> None:
    code, out, _ = _run(_log(tmp_path / "a.csv", [2 * 0.97**i + 0.1 for i in range(200)]))
    assert code == 0
    assert "200 points" in out
    assert "nothing found in this curve" in out
    assert "█" in out


def test_an_error_among_the_findings_ends_with_1(tmp_path: Path) -> None:
    rng = random.Random(0)
    log = _log(tmp_path / "a.csv", [2.303 + rng.gauss(0, 0.02) for _ in range(200)])
    code, out, _ = _run(log, "--classes", 10)
    assert code == 1
    assert "trivial-plateau" in out
    code, out, _ = _run(log, "--trivial", math.log(1000), "--json", tmp_path / "f.json")
    assert code == 1
    assert [f["code"] for f in json.loads((tmp_path / "f.json").read_text())] == ["loss-stuck"]


def test_a_note_ends_with_0(tmp_path: Path) -> None:
    held = [2 - i / 60 if i < 60 else 1 + (i - 60) / 60 for i in range(120)]
    code, out, _ = _run(_log(tmp_path / "a.csv", [2 * 0.98**i for i in range(120)], held))
    assert code == 0
    assert "over-fitting" in out
    assert "validation" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--column", "los"], "Did you mean loss"),
        (["--classes", "1"], "2 or more"),
        (["--classes", "10", "--trivial", "2.3"], "give one"),
        (["--json", "/nowhere/f.json"], "cannot write"),
    ],
)
def test_what_does_not_fit_is_one_message_and_2(tmp_path: Path, words: list[str], message: str) -> None:
    code, _, err = _run(_log(tmp_path / "a.csv", [2.0, 1.0]), *words)
    assert code == 2
    assert message in err


def test_a_log_that_is_none_is_one_message_and_2(tmp_path: Path) -> None:
    code, _, err = _run(tmp_path / "none.csv")
    assert code == 2
    assert "none.csv" in err
