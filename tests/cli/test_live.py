"""What one sees while a study runs: right at every width, counted right, few lines where nobody looks."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from example_study import LONG, example_study
from firstlight.cli.live import LiveTable, PlainLines, make_observer
from firstlight.cli.show import ranking, show_study
from firstlight.studies import Study

WIDTHS = [40, 60, 80, 120, 200]


@pytest.fixture(scope="module")
def study() -> Study:
    return example_study()


def console(width: int, *, terminal: bool = True, colour: bool = True) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=40,
        force_terminal=terminal,
        no_color=not colour,
        legacy_windows=False,
        _environ={},
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def watched(observer, study: Study, *, of: int | None = None, before: int = 0) -> None:
    """Tell an observer of a study's results, the first ``before`` of which were there already."""
    totals = Counter(r.trial.arm for r in study.results)
    done = Counter(r.trial.arm for r in study.results[:before])
    observer.on_start(study.setting, totals, done)
    for result in study.results[before:of]:
        observer.on_result(result)
    observer.on_end(of is None)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_live_table_fits_any_terminal_and_shows_every_arm(study: Study, width: int) -> None:
    screen = console(width, colour=False)
    live = LiveTable(screen)
    watched(live, study)
    plain = Console(file=io.StringIO(), width=width, force_terminal=False, _environ={})
    plain.print(live._render())
    lines = written(plain).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 2 + len(study.arms) + 1  # a line each: nothing wraps
    assert "360 of 360 trials" in lines[-1]
    torch = next(line for line in lines if line.startswith("torch"))
    assert "40/40" in torch
    assert "20.0 %" in torch


def test_the_live_table_counts_what_went_wrong(study: Study) -> None:
    plain = Console(file=io.StringIO(), width=100, force_terminal=False, _environ={})
    live = LiveTable(console(100))
    watched(live, study)
    plain.print(live._render())
    lines = written(plain).splitlines()
    assert lines[0].split() == ["initialization", "trials", "done", "best", "at", "chance", "diverged", "failed"]
    assert next(line for line in lines if line.startswith("uniform")).split()[-1] == "40"
    assert next(line for line in lines if line.startswith("variance")).split()[-1] == "4"


def test_no_colour_means_none(study: Study) -> None:
    screen = console(80, colour=False)
    watched(LiveTable(screen), study, of=100)
    show_study(screen, study, Path("report.html"))
    shown = written(screen)
    assert not any(f"\x1b[{code}m" in shown for code in range(30, 50))
    assert "Stopped: 100 of 360" in shown


@pytest.mark.parametrize(("of", "before"), [(None, 0), (None, 200), (10, 0), (360, 360)])
def test_plain_lines_are_few_and_end_with_the_count(study: Study, of: int | None, before: int) -> None:
    pipe = console(160, terminal=False)
    watched(PlainLines(pipe), study, of=of, before=before)
    lines = written(pipe).splitlines()
    assert len(lines) <= 24
    assert f"{before if of == 360 else of or 360} of 360 trials" in lines[-1]
    assert any(line.startswith(f"{before} of 360") for line in lines) == bool(before)


def test_plain_lines_say_what_went_wrong(study: Study) -> None:
    pipe = console(160, terminal=False)
    watched(PlainLines(pipe), study)
    last = written(pipe).splitlines()[-1]
    assert "40 diverged" in last
    assert "4 failed" in last


def test_a_terminal_gets_the_table_and_a_pipe_the_lines() -> None:
    assert isinstance(make_observer(console(80), plain=False), LiveTable)
    assert isinstance(make_observer(console(80), plain=True), PlainLines)
    assert isinstance(make_observer(console(80, terminal=False), plain=False), PlainLines)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("long_names", [False, True])
def test_the_ranked_table_fits_and_loses_the_least_important_columns_first(
    study: Study, width: int, long_names: bool
) -> None:
    arms = ("torch", "he_normal", LONG) if long_names else ("torch", "he_normal", "orthogonal(gain=relu)")
    plain = console(width, terminal=False)
    plain.print(ranking(example_study(arms), width))
    lines = written(plain).splitlines()
    shown = " ".join(lines)
    assert max(map(len, lines)) <= width
    assert "accuracy" in shown
    for wider, columns in ((60, ["interval", "torch"]), (120, ["target", "rate"])):
        if width >= wider:
            assert all(c in shown for c in columns)
    # Names stay whole where there is room for them.
    if not long_names and width >= 60:
        assert any(line.startswith("orthogonal(gain=relu)") for line in lines)


def test_one_arm_has_nothing_to_be_tested_against() -> None:
    plain = console(120, terminal=False)
    plain.print(ranking(example_study(("he_normal",)), 120))
    assert "p vs" not in written(plain)


def test_names_with_square_brackets_are_names() -> None:
    study = example_study(("torch", "odd[bold]name"), seeds=2)
    plain = console(100, terminal=False)
    show_study(plain, study, Path("report[1].html"))
    assert "odd[bold]name" in written(plain)
    assert written(plain).splitlines()[-1].endswith("report[1].html")
