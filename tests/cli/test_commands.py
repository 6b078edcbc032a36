"""The command line as a person meets it: help that teaches, one clean message for what is wrong, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import firstlight
from firstlight.cli.app import app
from firstlight.errors import FirstlightError

COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'firstlight'; from firstlight.cli.app import main; main()"]
# One arm, one seed, a few steps: as little as a study can be.
TINY = ["--arms", "he_normal", "--lr", "0.01", "--seeds", "1", "--steps", "3", "--workers", "0"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def invoke(*words: str):
    return CliRunner().invoke(app, words)


def test_help_names_every_command(here: Path) -> None:
    shown = invoke("--help")
    assert shown.exit_code == 0
    for command in ("compare", "schemes", "report"):
        assert command in shown.output
    assert invoke("-h").output == shown.output


def test_help_of_compare_teaches_by_examples(here: Path) -> None:
    shown = invoke("compare", "--help").output
    for words in ("firstlight compare --network cnn", "--data flowers.csv --label", "study.toml", 'arms = ["torch"'):
        assert words in shown


def test_version() -> None:
    assert invoke("--version").output == f"firstlight {firstlight.__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--arms", "he_norml"], ["he_norml", "Did you mean he_normal"]),
        (["--network", "mpl"], ["mpl", "Did you mean mlp"]),
        (["--data", "digit"], ["digit", "digits"]),
        (["--data", "missing.csv"], ["missing.csv"]),
        (["--model", "missing.py:Net"], ["missing.py"]),
        (["--model", "net.py:Net", "--network", "mlp"], ["--network", "--model"]),
        (["--optimizer", "adam"], ["adam", "Did you mean adamw"]),
        (["--lr", "fast"], ["fast", "numbers separated by commas"]),
        (["--lr", "-1"], ["-1", "above 0"]),
        (["--seeds", "0"], ["seeds=0"]),
        (["--steps", "3", "--epochs", "1"], ["steps=3", "epochs=1"]),
        (["--target", "95"], ["target=95"]),
        (["--baseline", "torhc", "--arms", "torch,he_normal"], ["torhc", "Did you mean torch"]),
        (["missing.toml"], ["missing.toml", "No such file"]),
    ],
    ids=lambda v: " ".join(v) if v[0].startswith("-") or v[0].endswith("toml") else "",
)
def test_what_is_wrong_is_said_once_without_a_traceback(here: Path, words: list[str], expected: list[str]) -> None:
    shown = invoke("compare", "--out", "run", *words)
    assert shown.exit_code == 2
    assert not shown.stdout
    assert shown.stderr.startswith("error: ")
    assert len(shown.stderr.strip().splitlines()) == 1
    for word in expected:
        assert word in shown.stderr
    assert not (here / "run").exists()


def test_debug_shows_the_traceback(here: Path) -> None:
    shown = invoke("compare", "--arms", "he_norml", "--debug")
    assert isinstance(shown.exception, FirstlightError)


def test_square_brackets_in_a_message_are_no_markup(here: Path) -> None:
    shown = invoke("compare", "--lr", "[bold]x[/nothing]")
    assert shown.exit_code == 2
    assert "[bold]x[/nothing]" in shown.stderr


def test_a_study_in_a_pipe_prints_lines_the_table_and_the_report(here: Path) -> None:
    shown = invoke("compare", "--out", "run", *TINY)
    assert shown.exit_code == 0, shown.output
    assert "\x1b" not in shown.output
    lines = shown.output.splitlines()
    assert lines[0].startswith("mlp (")
    assert any(line.startswith("finished: 1 of 1 trials") for line in lines)
    assert lines[-1] == f"Report: {Path('run') / 'report.html'}"
    assert {p.name for p in (here / "run").iterdir()} >= {"report.html", "results.csv", "results.json", "study.sqlite"}

    again = invoke("report", "run", "--out", "again.html")
    assert again.exit_code == 0, again.output
    assert again.output.splitlines()[-1] == "Report: again.html"
    # The page is a function of the study alone.
    assert (here / "again.html").read_text() == (here / "run" / "report.html").read_text()

    other = invoke("compare", "--out", "run", *TINY, "--batch-size", "16")
    assert other.exit_code == 2
    assert "another study" in other.stderr


def test_a_toml_file_is_the_same_study(here: Path) -> None:
    (here / "study.toml").write_text(
        'arms = ["he_normal"]\nlr = [0.01]\nseeds = 1\nsteps = 3\nworkers = 0\nout = "one"\nfresh = true\n'
    )
    assert invoke("compare", "study.toml").exit_code == 0
    assert invoke("compare", "--config", "study.toml", "--out", "two").exit_code == 0
    assert invoke("compare", "--out", "three", *TINY).exit_code == 0
    tables = [(here / d / "results.csv").read_text().splitlines()[1].rsplit(",", 1)[0] for d in ("one", "two", "three")]
    assert len(set(tables)) == 1


def test_two_files_are_one_too_many(here: Path) -> None:
    shown = invoke("compare", "a.toml", "--config", "b.toml")
    assert shown.exit_code == 2
    assert "give one" in " ".join(shown.stderr.split())


def test_report_of_a_folder_without_a_study(here: Path) -> None:
    shown = invoke("report", "nowhere")
    assert shown.exit_code == 2
    assert shown.stderr.startswith("error: ")
    assert "nowhere" in shown.stderr


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_schemes_lists_every_scheme_with_its_formula_and_source(
    here: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = invoke("schemes").output
    words = " ".join(shown.split())
    for listed in firstlight.catalogue():
        for name in (listed.name, *listed.aliases):
            assert name in words
    assert "√(6 /" in words
    assert "1502.01852" in words
    assert max(map(len, shown.splitlines())) <= columns


def _hear_interrupts() -> None:
    """What a shell starts in the background is deaf to Ctrl-C; the command under test is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("notice", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_with_130_and_says_how_to_go_on(here: Path, notice: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(firstlight.__file__).parents[1])}
    words = ["compare", "--out", "run", "--workers", "1", "--steps", "100000", "--arms", "he_normal", "--seeds", "2"]
    with subprocess.Popen(
        [*COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_hear_interrupts,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("mlp (")  # the study has begun
        time.sleep(1)
        process.send_signal(notice)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert "stopped: 0 of" in out


def test_a_command_called_in_a_process_leaves_its_handlers(here: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert invoke("schemes").exit_code == 0
    assert signal.getsignal(signal.SIGTERM) is before
