"""Logs: every usual form gives its curve; what is damaged is an error that names file and line, never a crash."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import firstlight as fl


def _write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _read(path: Path) -> tuple[fl.Curve | None, str]:
    """The curve, or what the error says."""
    try:
        return fl.read_log(path), ""
    except fl.DataError as error:
        return None, str(error)


@pytest.mark.parametrize(
    "text",
    [
        "step,loss,val_loss\n1,2.5,\n2,2.25,2.75\n",
        "step;train loss;val loss\n1;2,5;\n2;2,25;2,75\n",
        "Step\tTrain/Loss\tEval/Loss\n1\t2.5\tNA\n2\t2.25\t2.75\n",
        "step | training_loss | validation_loss\n1 | 2.5 | -\n2 | 2.25 | 2.75\n",
        "# step trainLoss valLoss\n1 2.5 nan\n2 2.25 2.75\n".replace("nan", "none"),
        "time,phase,step,acc,loss,test_loss\n12:01,warm,1,0.1,2.5,\n12:02,run,2,0.2,2.25,2.75\n",
        "\ufeffglobal_step,train_loss,grad_loss_scale,dev_loss\r\n1,2.5,1024,\r\n2,2.25,1024,2.75\r\n",
        "# a comment is none of it\nstep,loss,val_loss\n1,2.5,\n# nor this\n\n2,2.25,2.75\n",
    ],
)
def test_tables_with_any_usual_names_and_delimiters(tmp_path: Path, text: str) -> None:
    curve = fl.read_log(_write(tmp_path, "log.csv", text))
    assert curve.steps.tolist() == [1, 2]
    assert curve.loss.tolist() == [2.5, 2.25]
    assert (curve.validation_steps.tolist(), curve.validation.tolist()) == ([2], [2.75])


def test_tables_without_a_header(tmp_path: Path) -> None:
    assert fl.read_log(_write(tmp_path, "a.txt", "2.5\n2.25\n2.0\n")).loss.tolist() == [2.5, 2.25, 2.0]
    curve = fl.read_log(_write(tmp_path, "b.txt", "10 2.5\n20 2.25\n"))
    assert (curve.steps.tolist(), curve.loss.tolist()) == ([10, 20], [2.5, 2.25])


@pytest.mark.parametrize(
    "word", ["NaN", "nan", "-nan", "-nan(ind)", "nan(snan)", "1.#QNAN", "-1.#IND00", "inf", "-Inf", "1.#INF"]
)
def test_numbers_that_are_none_as_programs_print_them(tmp_path: Path, word: str) -> None:
    path = _write(tmp_path, "log.csv", "step,loss\n1,2.5\n2,tensor(2.25)\n3," + word + "\n")
    curve = fl.read_log(path)
    assert curve.loss[:2].tolist() == [2.5, 2.25]
    assert not math.isfinite(curve.loss[2])
    assert fl.diagnose(path)[0].code == "non-finite-values"


def test_lightnings_sparse_rows(tmp_path: Path) -> None:
    text = (
        "epoch,step,train_loss_epoch,train_loss_step,val_loss\n"
        "0,49,,2.5,\n0,99,,2.25,\n0,99,,,2.75\n0,99,2.4,,\n1,149,,2.0,\n1,199,,1.75,\n1,199,,,2.5\n1,199,1.9,,\n"
    )
    curve = fl.read_log(_write(tmp_path, "metrics.csv", text))
    assert (curve.steps.tolist(), curve.loss.tolist()) == ([49, 99, 149, 199], [2.5, 2.25, 2.0, 1.75])
    assert (curve.validation_steps.tolist(), curve.validation.tolist()) == ([99, 199], [2.75, 2.5])


def test_steps_that_start_anew_each_epoch_give_way_to_the_rows(tmp_path: Path) -> None:
    curve = fl.read_log(_write(tmp_path, "a.csv", "epoch,batch,loss\n0,1,4\n0,2,3\n1,1,2\n1,2,1\n"))
    assert (curve.steps.tolist(), curve.loss.tolist()) == ([1, 2, 3, 4], [4, 3, 2, 1])


def test_json_in_its_forms(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "loss": 2.5},
        {"step": 2, "loss": math.nan, "lr": 0.1, "note": "?"},
        {"step": 2, "eval_loss": 3},
    ]
    lines = fl.read_log(_write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    listed = fl.read_log(_write(tmp_path, "a.json", json.dumps(rows)))
    state = fl.read_log(_write(tmp_path, "trainer_state.json", json.dumps({"epoch": 1, "log_history": rows})))
    for curve in (lines, listed, state):
        assert curve.steps.tolist() == [1, 2]
        assert curve.loss[0] == 2.5
        assert math.isnan(curve.loss[1])
        assert curve.validation.tolist() == [3]
    keras = fl.read_log(_write(tmp_path, "k.json", json.dumps({"loss": [3, 2], "val_loss": [4, 3], "acc": [0, 1]})))
    assert (keras.loss.tolist(), keras.validation.tolist()) == ([3, 2], [4, 3])
    nested = fl.read_log(_write(tmp_path, "n.jsonl", '{"step": 1, "train": {"loss": 2.5}, "val": {"loss": 3}}'))
    assert (nested.loss.tolist(), nested.validation.tolist()) == ([2.5], [3])
    assert fl.read_log(_write(tmp_path, "l.json", "[3, 2, 1]")).loss.tolist() == [3, 2, 1]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(tmp_path / "run")
    for step in range(50):
        writer.add_scalar("train/loss", 2.0 - step / 32, step)
        writer.add_scalar("train/accuracy", step / 64, step)
    writer.add_scalar("val/loss", 1.5, 49)
    writer.close()
    return tmp_path / "run"


def test_event_files_and_the_folder_of_a_run(run: Path, tmp_path: Path) -> None:
    (file,) = run.iterdir()
    for path in (file, run, tmp_path):
        curve = fl.read_log(path)
        assert curve.steps.tolist() == list(range(50))
        assert curve.loss.tolist() == [2.0 - step / 32 for step in range(50)]
        assert (curve.validation_steps.tolist(), curve.validation.tolist()) == ([49], [1.5])
    other = tmp_path / "other"
    other.mkdir()
    (other / file.name).write_bytes(file.read_bytes())
    with pytest.raises(fl.DataError, match="2 runs"):
        fl.read_log(tmp_path)


@given(cut=st.integers(0, 4000), flips=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_event_files_give_what_is_whole_or_an_error(run: Path, cut: int, flips: list[tuple[int, int]]) -> None:
    logging.disable(logging.CRITICAL)  # tensorboard's reader logs what it skips
    (file,) = (p for p in run.iterdir() if "damaged" not in p.name)
    data = bytearray(file.read_bytes())
    for at, value in flips:
        data[at % len(data)] = value
    damaged = run.parent / "damaged.tfevents"
    damaged.write_bytes(bytes(data[: len(data) - cut % len(data)]))
    try:
        curve, said = _read(damaged)
    finally:
        logging.disable(logging.NOTSET)
    assert len(curve) <= 51 if curve is not None else "damaged.tfevents" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "no column that looks like a loss"),
        ("step,loss\n1,2.5\n2,oops\n", r"line 3: 'oops' in column 'loss'"),
        ("step,loss\n1,2.5,7\n", r"line 2: 3 cells, and the header has 2"),
        ('step,loss\n1,"2.5\n', "line 2: unexpected end"),
        ('{"loss": 1}\n{"loss": ', r"line 2: no JSON"),
        ('{"loss": 1}\n[1, 2]', r"line 2: '\[1, 2\]' is no object"),
        ('[1, "a"]', "entry 2: 'a' is no object"),
        ("[" * 100_000, "line 1"),
        (b"step,loss\n1,\xff\n", "byte 12 is no UTF-8"),
        ("step,loss\n", "no column that looks like a loss"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_names_file_and_line(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    path = _write(tmp_path, "log.csv", text)
    with pytest.raises(fl.DataError, match=words) as caught:
        fl.read_log(path)
    assert str(path) in str(caught.value)


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "none.csv", "No such file"),
        (tmp_path / "events.out.tfevents.1", "no such file"),
        (tmp_path, "without event files"),
        (Path("a\0b"), "cannot read"),
    ):
        with pytest.raises(fl.DataError, match=words):
            fl.read_log(path)


def test_a_column_is_taken_by_name(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.csv", "step,loss,energy,held\n1,2,7,8\n2,1,6,7\n")
    curve = fl.read_log(path, column="energy", validation="held")
    assert (curve.loss.tolist(), curve.validation.tolist()) == ([7, 6], [8, 7])
    with pytest.raises(fl.UnknownNameError, match="energy"):
        fl.read_log(path, column="energi")


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)), st.sampled_from(["a.csv", "a.jsonl"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_curve_or_an_error(tmp_path: Path, data: bytes, name: str) -> None:
    path = _write(tmp_path, name, data)
    curve, said = _read(path)
    assert len(curve) > 0 if curve is not None else str(path) in said


_CELL = st.one_of(st.floats().map(repr), st.text("0123456789.,;-+eE \t\"'#|nanif", max_size=8), st.just(""))


@given(st.lists(st.lists(_CELL, min_size=1, max_size=4), max_size=12), st.sampled_from(",;\t| "))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cells_are_a_curve_or_an_error(tmp_path: Path, rows: list[list[str]], delimiter: str) -> None:
    body = "\n".join(delimiter.join(row) for row in rows)
    path = _write(tmp_path, "a.csv", delimiter.join(["step", "loss", "val_loss"]) + "\n" + body)
    curve, said = _read(path)
    assert len(curve.loss) == len(curve.steps) > 0 if curve is not None else str(path) in said
