"""``compare`` from end to end: resumable, the same bits however it is run, nothing written on a bad question."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import firstlight as fl
from clouds import QUICK, Deadly, blobs
from firstlight.errors import ArgumentError, ModelError, OtherStudyError, StoreError, UncoveredParameterError
from firstlight.studies import Study, Task, compare, load_study, task_from_arrays
from firstlight.studies.observer import Silent
from firstlight.studies.store import FILE

ARMS = ["torch", "he_normal", "zeros"]


def numbers(study: Study) -> str:
    """Everything a study says but how long it took."""
    whole = json.loads((study.folder / "results.json").read_text())
    del whole["timing"]
    whole["setting"].pop("command")
    return json.dumps(whole)


def test_a_quick_study_is_complete(quick: Study) -> None:
    assert {a.arm for a in quick.arms} == set(ARMS)
    assert len(quick.results) == 3 * 2 * 2
    assert quick.arms[-1].arm == "zeros" or quick.arms[-1].test.mean <= quick.arms[0].test.mean
    zeros = next(a for a in quick.arms if a.arm == "zeros")
    assert zeros.at_chance == zeros.trials
    assert zeros.findings[0].finding.severity == "error"
    assert zeros.findings[0].finding.code in zeros.reading
    assert {f.verdict: sum(f.outcomes) for f in quick.foretold}["will not train"] >= zeros.trials
    for name in ("report.html", "results.csv", "results.json", FILE):
        assert (quick.folder / name).stat().st_size > 100
    assert "he_normal" in str(quick)


def test_the_files_hold_every_trial(quick: Study) -> None:
    rows = list(csv.DictReader((quick.folder / "results.csv").read_text().splitlines()))
    assert len(rows) == len(quick.results)
    assert {r["arm"] for r in rows} == set(ARMS)
    assert float(rows[0]["test_accuracy"]) == quick.results[0].test_accuracy
    whole = json.loads((quick.folder / "results.json").read_text())
    assert whole["setting"]["arms"] == ARMS
    assert len(whole["trials"]) == len(quick.results)


def test_processes_or_none_give_the_same_bits(quick: Study, task: Task, tmp_path: Path) -> None:
    spread = compare("mlp", task, ARMS, out=tmp_path / "run", workers=2, **QUICK)
    assert numbers(spread) == numbers(quick)


def test_nothing_finished_is_run_again(quick: Study, task: Task) -> None:
    before = (quick.folder / FILE).stat().st_mtime_ns
    seen: list[Any] = []

    class Watch:
        def on_start(self, setting, totals, done) -> None:
            assert dict(totals) == dict(done)

        def on_result(self, result) -> None:
            seen.append(result)

        def on_end(self, completed: bool) -> None:
            assert completed

    again = compare("mlp", task, ARMS, out=quick.folder, workers=0, observer=Watch(), **QUICK)
    assert not seen
    assert numbers(again) == numbers(quick)
    assert before <= (quick.folder / FILE).stat().st_mtime_ns


def test_more_seeds_and_arms_add_only_what_is_new(task: Task, tmp_path: Path) -> None:
    small = compare("mlp", task, ["he_normal"], out=tmp_path, workers=0, **QUICK)
    grown = compare("mlp", task, ["he_normal", "torch"], out=tmp_path, workers=0, **(QUICK | {"seeds": 3}))
    kept = {r.trial: r for r in grown.results}
    for result in small.results:
        assert kept[result.trial].wall_seconds == result.wall_seconds, "it was run again"
    assert len(grown.results) == 2 * 2 * 3


def test_a_study_is_read_back_from_its_folder(quick: Study) -> None:
    back = load_study(quick.folder)
    assert back.setting == quick.setting
    assert repr(back.results) == repr(quick.results)
    assert back.verdict == quick.verdict


def test_another_question_in_the_same_folder_is_refused_and_fresh_starts_over(task: Task, tmp_path: Path) -> None:
    compare("mlp", task, ["torch"], out=tmp_path, workers=0, **QUICK)
    kept = (tmp_path / FILE).read_bytes()
    other = QUICK | {"steps": 10}
    with pytest.raises(OtherStudyError, match="recipe"):
        compare("mlp", task, ["torch"], out=tmp_path, workers=0, **other)
    assert (tmp_path / FILE).read_bytes() == kept
    assert compare("mlp", task, ["torch"], out=tmp_path, workers=0, fresh=True, **other).setting.steps == 10


def test_pretrained_learns_the_source_first(tmp_path: Path) -> None:
    options = QUICK | {"steps": 40, "batch_size": 32}
    study = compare("mlp", "digits", ["he_normal", "pretrained"], out=tmp_path, workers=0, **options)
    sources = [r for r in study.results if r.trial.stage == "source"]
    assert len(sources) == 4
    assert len(list((tmp_path / "weights").glob("*.safetensors"))) == 4
    again = compare("mlp", "digits", ["he_normal", "pretrained"], out=tmp_path, workers=0, **options)
    assert numbers(again) == numbers(study)


def test_an_initializer_and_a_notebooks_function_can_be_arms(task: Task, tmp_path: Path) -> None:
    width = 8
    study = compare(
        lambda: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3)),
        task,
        [fl.HeNormal(), "torch"],
        out=tmp_path,
        workers=2,
        **QUICK,
    )
    assert study.setting.arms[0] == repr(fl.HeNormal())
    assert not [r.error for r in study.results if r.error]


def test_a_worker_that_dies_costs_its_own_trial_only(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRSTLIGHT_TEST_PARENT", str(os.getpid()))
    study = compare(Deadly, task, ["torch"], out=tmp_path, workers=2, **(QUICK | {"learning_rates": [0.1], "seeds": 4}))
    status = {r.trial.seed: r.status for r in study.results}
    assert status == {0: "finished", 1: "failed", 2: "finished", 3: "finished"}
    assert "died" in (study.results[1].error or "")


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from clouds import blobs
from firstlight.studies import compare, task_from_arrays

if __name__ == "__main__":
    compare("mlp", task_from_arrays(*blobs(), name="blobs"), ["torch", "he_normal", "zeros"],
            learning_rates=[0.03, 0.1], seeds=6, steps=60, batch_size=8, out={out!r}, workers=2)
"""


def _script(tmp_path: Path, name: str) -> list[str]:
    path = tmp_path / f"{name}.py"
    path.write_text(RUN.format(tests=str(Path(__file__).parents[1]), out=str(tmp_path / name)))
    return [sys.executable, str(path)]


def _alive(parent: int) -> list[int]:
    """The running processes that ``parent`` started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_and_resumed_ends_with_the_same_bits(tmp_path: Path, how: signal.Signals) -> None:
    whole = subprocess.run(_script(tmp_path, "whole"), capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(_script(tmp_path, "cut"), stderr=subprocess.PIPE, start_new_session=True)
    database = tmp_path / "cut" / FILE
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not database.exists() or database.stat().st_size < 40_000):
        time.sleep(0.02)
    workers = _alive(process.pid)
    os.kill(process.pid, how)
    process.communicate(timeout=30)
    assert process.returncode != 0, "it had finished before it was interrupted"
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and any(Path(f"/proc/{w}").exists() for w in workers):
        time.sleep(0.1)
    assert not [w for w in workers if Path(f"/proc/{w}").exists()], "workers outlived the study"
    assert not (tmp_path / "cut" / "results.json").exists()
    again = subprocess.run(_script(tmp_path, "cut"), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert numbers(load_study(tmp_path / "cut")) == numbers(load_study(tmp_path / "whole"))


class Wide(nn.Module):
    """Its output has more columns than there are classes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def _raises() -> nn.Module:
    raise ValueError("no such layer")


def _unknown() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3))
    model.scale = nn.Parameter(torch.ones(3))
    return model


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"schemes": ["he_norml"]}, ArgumentError, "he_normal"),
        ({"schemes": []}, ArgumentError, "no arm"),
        ({"schemes": ["torch", "torch"]}, ArgumentError, "twice"),
        ({"schemes": ["he_normal", "kaiming_normal"]}, ArgumentError, "twice"),
        ({"schemes": ["pretrained"]}, ArgumentError, "no source"),
        ({"schemes": ["pretrained(no.safetensors)"]}, fl.TransferError, "no weights file"),
        ({"schemes": [3]}, ArgumentError, "no scheme"),
        ({"model": "mpl"}, ArgumentError, "mlp"),
        ({"model": "nowhere.py:net"}, ArgumentError, "no file"),
        ({"model": Wide}, ModelError, r"\(2, 7\).*3 classes.*\(2, 3\)"),
        ({"model": _raises}, ModelError, "no such layer"),
        ({"model": lambda: 3}, ModelError, "int"),
        ({"model": _unknown}, UncoveredParameterError, "scale"),
        ({"baseline": "lecun_normal"}, ArgumentError, "baseline"),
        ({"learning_rates": [0.1, -1]}, ArgumentError, "learning rate"),
        ({"learning_rates": []}, ArgumentError, "at least one"),
        ({"learning_rates": [float("nan")]}, ArgumentError, "learning rate"),
        ({"seeds": 0}, ArgumentError, "seeds"),
        ({"optimizer": "adm"}, ArgumentError, "adamw"),
        ({"steps": 0}, ArgumentError, "steps"),
        ({"steps": 5, "epochs": 2}, ArgumentError, "give one"),
        ({"batch_size": -1}, ArgumentError, "batch_size"),
        ({"target": 1.5}, ArgumentError, "target"),
        ({"workers": -1}, ArgumentError, "workers"),
        ({"rules": {"nothing": fl.Ones()}}, ArgumentError, "matches no parameter"),
    ],
)
def test_a_bad_question_is_refused_before_anything_is_written(
    task: Task, tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    arguments: dict[str, Any] = QUICK | {"model": "mlp", "schemes": ["torch", "he_normal"], "workers": 0} | options
    with pytest.raises(error, match=words):
        compare(task=task, out=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_rules_cover_what_no_scheme_knows(task: Task, tmp_path: Path) -> None:
    study = compare(_unknown, task, ["torch"], out=tmp_path, workers=0, rules={"scale": fl.Ones()}, **QUICK)
    assert not [r.error for r in study.results if r.error]


def test_an_unfinished_study_is_said_to_be(task: Task, tmp_path: Path) -> None:
    class Stop:
        def on_start(self, setting, totals, done) -> None:
            pass

        def on_result(self, result) -> None:
            raise KeyboardInterrupt

        def on_end(self, completed: bool) -> None:
            assert not completed

    with pytest.raises(KeyboardInterrupt):
        compare("mlp", task, ["torch"], out=tmp_path, workers=0, observer=Stop(), **QUICK)
    with pytest.raises(StoreError, match="run its command again"):
        load_study(tmp_path)


def test_an_edited_model_is_another_study(task: Task, tmp_path: Path) -> None:
    """Also within one process, where an import would be remembered."""
    file = tmp_path / "net.py"
    text = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))\n"
    losses = []
    for activation in ("ReLU", "Tanh"):
        file.write_text(text.replace("ReLU", activation))
        study = compare(f"{file}:make", task, "torch", out=tmp_path / activation, workers=0, **QUICK)
        losses.append([r.test_loss for r in study.results])
    assert losses[0] != losses[1]
    with pytest.raises(OtherStudyError, match="network"):
        compare(f"{file}:make", task, "torch", out=tmp_path / "ReLU", workers=0, **QUICK)


def test_a_model_that_cannot_reach_a_worker_is_named(task: Task, tmp_path: Path) -> None:
    lock = threading.Lock()

    def locked() -> nn.Module:
        with lock:
            return nn.Linear(4, 3)

    with pytest.raises(ModelError, match=r"cannot be sent to a worker process.*lock.*--workers 0"):
        compare(locked, task, "torch", out=tmp_path, workers=1, **QUICK)
    assert all(r.status == "finished" for r in compare(locked, task, "torch", out=tmp_path, workers=0, **QUICK).results)


def test_the_callers_random_state_stays(task: Task, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    compare("mlp", task, "torch", out=tmp_path, workers=0, **QUICK)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_source_may_have_other_classes(tmp_path: Path) -> None:
    source = task_from_arrays(*blobs(200, 5), name="five")
    task = task_from_arrays(*blobs(), name="three", source=source)
    study = compare("mlp", task, ["he_normal", "pretrained"], out=tmp_path, workers=0, **QUICK)
    assert not [r.error for r in study.results if r.error]


def test_weights_that_cannot_be_kept_are_the_disks_fault_and_can_be_tried_again(tmp_path: Path) -> None:
    source = task_from_arrays(*blobs(200), name="more")
    task = task_from_arrays(*blobs(), name="few", source=source)
    options = {"out": tmp_path, "workers": 0} | QUICK
    compare("mlp", task, "he_normal", **options)
    (tmp_path / "weights").write_text("in the way")
    with pytest.raises(StoreError, match="cannot keep the weights"):
        compare("mlp", task, "pretrained", **options)
    (tmp_path / "weights").unlink()
    assert not [r.error for r in compare("mlp", task, "pretrained", **options).results if r.error]


class Counts(Silent):
    """What a study said was done when it began."""

    def on_start(self, setting: object, totals: Mapping[str, int], done: Mapping[str, int]) -> None:
        self.totals, self.done = dict(totals), dict(done)


def test_what_is_done_already_is_counted_by_what_is_asked(tmp_path: Path) -> None:
    source = task_from_arrays(*blobs(200), name="more")
    task = task_from_arrays(*blobs(), name="few", source=source)
    arms = ["he_normal", "pretrained"]
    options = {"out": tmp_path, "workers": 0} | QUICK
    compare("mlp", task, arms, **options)
    for seeds, done in ((2, 4), (3, 4), ([7, 8], 0)):
        compare("mlp", task, "he_normal", observer=(counts := Counts()), **options | {"seeds": seeds})
        assert counts.done.get("he_normal", 0) == done
    compare("mlp", task, arms, observer=(counts := Counts()), **options)
    assert counts.done == counts.totals


def test_a_tasks_name_stays_inside_the_folder_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = compare("mlp", task_from_arrays(*blobs(), name="../../etc/x y"), "torch", workers=0, **QUICK)
    assert study.folder.parent == Path("runs")


@pytest.mark.parametrize(
    "odd",
    [{"seeds": [0.5]}, {"seeds": ["a"]}, {"seeds": 1.5}, {"target": "x"}, {"learning_rates": ["x"]}, {"steps": 2.5}],
)
def test_arguments_of_another_kind_are_named(task: Task, tmp_path: Path, odd: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(odd)).removesuffix("s").replace("_", ".")):
        compare("mlp", task, "torch", out=tmp_path / "run", workers=0, **QUICK | odd)
    assert not (tmp_path / "run").exists()


def test_numpys_numbers_are_numbers(task: Task, tmp_path: Path) -> None:
    numpys = {
        "seeds": np.int64(2),
        "learning_rates": np.float32(0.125),
        "steps": np.int64(5),
        "batch_size": np.int32(8),
    }
    assert len(compare("mlp", task, "torch", out=tmp_path, workers=0, **numpys).results) == 2
