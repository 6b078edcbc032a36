"""Every format read, every fault named; nothing but a DataError comes out of hostile bytes."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clouds import blobs
from firstlight.errors import ArgumentError, DataError, FirstlightError, ModelError, UnknownNameError
from firstlight.studies import Task, load_task
from firstlight.studies.data import load_factory

X, Y = blobs(60)
NAMES = np.array(["cat", "dog", "emu"])


def picture(colour: int, size: tuple[int, int] = (6, 6), mode: str = "RGB", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, (colour, 0, 0) if mode == "RGB" else colour).save(buffer, kind)
    return buffer.getvalue()


def write_images(folder: Path, counts: int = 6, **options: Any) -> Path:
    for i, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for j in range(counts):
            (folder / name / f"{j}.png").write_bytes(picture(40 * i + j, **options))
    return folder


def write_csv(path: Path, label: str = "label", delimiter: str = ",") -> Path:
    rows = [delimiter.join(["a", "b", "c", "d", label])]
    rows += [delimiter.join([*map(str, x), NAMES[y]]) for x, y in zip(X, Y, strict=True)]
    path.write_text("\n".join(rows) + "\n")
    return path


def write_zip(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def write_hf(path: Path, metadata: dict[bytes, bytes] | None = None) -> Path:
    images = [{"bytes": picture(int(y) * 60), "path": None} for y in Y]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": Y}).replace_schema_metadata(metadata or {})
    pq.write_table(table, path)
    return path


def check(task: Task, shape: tuple[int, ...], classes: tuple[str, ...] = ("cat", "dog", "emu")) -> None:
    assert task.input_shape == shape
    assert task.classes == classes


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=X, y=Y)
    check(load_task(tmp_path / "one.npz"), (4,), ("0", "1", "2"))
    np.savez(tmp_path / "cut.npz", x_train=X[:40], y_train=Y[:40], x_test=X[40:], y_test=Y[40:])
    assert len(load_task(tmp_path / "cut.npz").test) == 20
    np.savez_compressed(tmp_path / "all.npz", x_train=X, y_train=Y, x_val=X, y_val=Y, x_test=X, y_test=Y)
    assert len(load_task(tmp_path / "all.npz").validation) == 60


def test_csv_and_tsv_and_their_label_column(tmp_path: Path) -> None:
    check(load_task(write_csv(tmp_path / "a.csv")), (4,))
    check(load_task(write_csv(tmp_path / "a.tsv", "target", "\t")), (4,))
    check(load_task(write_csv(tmp_path / "b.csv", "animal"), label="animal"), (4,))


def test_parquet_of_numbers_and_of_images(tmp_path: Path) -> None:
    pq.write_table(pa.table({**{f"x{i}": X[:, i] for i in range(4)}, "label": NAMES[Y]}), tmp_path / "n.parquet")
    check(load_task(tmp_path / "n.parquet"), (4,))
    check(load_task(write_hf(tmp_path / "i.parquet", {b"classes": b"cat,dog,emu"})), (3, 6, 6))
    features = b'{"info": {"features": {"label": {"names": ["cat", "dog", "emu"]}}}}'
    check(load_task(write_hf(tmp_path / "h.parquet", {b"huggingface": features})), (3, 6, 6))
    write_hf(tmp_path / "test.parquet")
    task = load_task(write_hf(tmp_path / "train.parquet"), test=tmp_path / "test.parquet")
    assert len(task.test) == 60


def test_a_folder_of_train_and_test_parquet(tmp_path: Path) -> None:
    write_hf(tmp_path / "x-train-0.parquet")
    write_hf(tmp_path / "x-test-0.parquet")
    assert len(load_task(tmp_path).test) == 60


def test_numbered_from_one_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": X[:, 0], "label": Y + 1}), tmp_path / "n.parquet")
    check(load_task(tmp_path / "n.parquet"), (1,), ("1", "2", "3"))


def test_images_in_folders_and_zips(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "all")
    check(load_task(folder), (3, 6, 6))
    check(load_task(write_zip(tmp_path / "all.zip", folder)), (3, 6, 6))
    check(load_task(folder, image_size=4), (3, 4, 4))
    check(load_task(write_images(tmp_path / "grey", mode="L")), (1, 6, 6))
    for part in ("train", "test"):
        write_images(tmp_path / "cut" / part)
    assert len(load_task(tmp_path / "cut").test) == 18
    assert load_task(folder).digest == load_task(tmp_path / "all.zip").digest


def test_grey_and_colour_together_are_colour(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "mixed", mode="L")
    (folder / "cat" / "0.png").write_bytes(picture(9))
    check(load_task(folder), (3, 6, 6))


def test_arrays_and_factories(tmp_path: Path) -> None:
    check(load_task((X, Y)), (4,), ("0", "1", "2"))
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "from firstlight import task_from_arrays\n"
        "x, y = np.random.default_rng(0).standard_normal((60, 4)), np.arange(60) % 3\n"
        "def pair(): return x, y\n"
        "def parts(): return {'train': (x, y), 'test': (x, y)}\n"
        "def task(): return task_from_arrays(x, y, name='mine')\n"
        "def bad(): return 3\n"
        "def breaks(): raise RuntimeError('no disk')\n"
        "value = 7\n"
    )
    for name in ("pair", "parts", "task"):
        check(load_task(f"{tmp_path}/mine.py:{name}"), (4,), ("0", "1", "2"))
    for name, error, words in (
        ("bad", DataError, "int"),
        ("breaks", ModelError, "no disk"),
        ("value", ArgumentError, "not a function"),
        ("tusk", UnknownNameError, "task"),
    ):
        with pytest.raises(error, match=words):
            load_task(f"{tmp_path}/mine.py:{name}")
    (tmp_path / "broken.py").write_text("import nothing_like_this\n")
    with pytest.raises(ModelError, match=r"nothing_like_this.*line 1"):
        load_factory(f"{tmp_path}/broken.py:task")
    with pytest.raises(ArgumentError, match="names no function"):
        load_factory("task")


def _csv(text: str) -> Callable[[Path], Any]:
    def make(folder: Path) -> Path:
        (folder / "t.csv").write_text(text)
        return folder / "t.csv"

    return make


def _file(name: str, data: bytes) -> Callable[[Path], Any]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def _broken_image(folder: Path) -> Path:
    images = write_images(folder / "i")
    (images / "dog" / "3.png").write_bytes(picture(1)[:40])
    return images


def _sizes(folder: Path) -> Path:
    images = write_images(folder / "i")
    (images / "dog" / "3.png").write_bytes(picture(1, (7, 5)))
    return images


def _stray(folder: Path) -> Path:
    images = write_images(folder / "i")
    (images / "x.png").write_bytes(picture(1))
    return images


def _objects(folder: Path) -> Path:
    np.savez(folder / "o.npz", x=np.array([[1], ["a"]], dtype=object), y=np.arange(2))
    return folder / "o.npz"


def _unnamed(folder: Path) -> Path:
    np.savez(folder / "u.npz", images=X)
    return folder / "u.npz"


def _cut_parquet(folder: Path) -> Path:
    data = write_hf(folder / "p.parquet").read_bytes()
    (folder / "p.parquet").write_bytes(data[: len(data) // 2])
    return folder / "p.parquet"


def _bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/0.png", b"\0" * 50_000_000)
    return folder / "b.zip"


def _huge_picture(folder: Path) -> Path:
    images = write_images(folder / "i")
    header = bytearray(picture(1))
    header[16:24] = (100_000).to_bytes(4, "big") * 2
    (images / "cat" / "0.png").write_bytes(header)
    return images


def _empty_folder(folder: Path) -> Path:
    (folder / "e").mkdir()
    return folder / "e"


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no label column": (_csv("a,b\n1,2\n3,4\n"), "no label column.*a, b"),
    "two label columns": (_csv("label,target,a\n1,2,3\n0,1,1\n"), "more than one"),
    "ragged": (_csv("a,label\n1,0\n1,2,3\n"), "no intact CSV"),
    "only a header": (_csv("a,label\n"), "no rows"),
    "empty file": (_csv(""), "is empty"),
    "words": (_csv("a,label\nred,0\nblue,1\n"), "column 'a'.*string, not numbers"),
    "gap": (_csv("a,label\n1,0\n,1\n"), "'a'.*empty in row 2"),
    "infinite": (_csv("a,label\n1,0\ninf,1\n"), "'a'.*inf in row 2"),
    "doubled": (_csv("a,a,label\n1,0,1\n"), "more than one column 'a'"),
    "label alone": (_csv("label\n1\n0\n"), "no other column"),
    "fractions": (_csv("a,label\n" + "1,0.5\n2,1.5\n" * 5), "no whole numbers"),
    "broken image": (_broken_image, "dog/3.png cannot be read"),
    "sizes": (_sizes, "dog/3.png is 7 × 5.*image-size"),
    "stray": (_stray, "x.png.*no class folder"),
    "empty folder": (_empty_folder, "no images"),
    "broken zip": (_file("b.zip", b"PK\x03\x04 and no more"), "no intact zip"),
    "bomb": (_bomb, "unpacks to"),
    "huge picture": (_huge_picture, "cat/0.png cannot be read"),
    "objects": (_objects, "Python objects"),
    "unnamed arrays": (_unnamed, "name the arrays x and y"),
    "no archive": (_file("n.npz", b"hello"), "no intact .npz"),
    "cut parquet": (_cut_parquet, "no intact PARQUET"),
    "other kind": (_file("x.xlsx", b"hello"), "of no kind"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(tmp_path: Path, name: str) -> None:
    make, words = BAD[name]
    with pytest.raises(DataError, match=words):
        load_task(make(tmp_path))


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "i")
    for options in ({"image_size": 0}, {"limit": 0}, {"limit": 3}):
        with pytest.raises(ArgumentError):
            load_task(folder, **options)
    with pytest.raises(ArgumentError, match="already made"):
        load_task("digits", limit=10)
    with pytest.raises(UnknownNameError, match="digits10"):
        load_task("digits1")
    for options in ({"label": "y"}, {"image_size": 4}):
        np.savez(tmp_path / "a.npz", x=X, y=Y)
        with pytest.raises(ArgumentError, match="is for"):
            load_task(tmp_path / "a.npz", **options)
    with pytest.raises(DataError, match="no column 'x'"):
        load_task(write_csv(tmp_path / "a.csv"), label="x")
    np.savez(tmp_path / "cut.npz", x_train=X, y_train=Y, x_test=X, y_test=Y)
    with pytest.raises(DataError, match="one too many"):
        load_task(tmp_path / "cut.npz", test=tmp_path / "cut.npz")


SEEDS: dict[str, Callable[[Path], Path]] = {
    "s.npz": lambda p: (np.savez(p, x=X, y=Y), p)[1],
    "s.csv": write_csv,
    "s.parquet": lambda p: (pq.write_table(pa.table({"a": X[:, 0], "label": Y}), p), p)[1],
    "h.parquet": write_hf,
    "s.zip": lambda p: write_zip(p, write_images(p.parent / "i")),
}


@pytest.mark.parametrize("name", SEEDS)
def test_only_our_errors_come_out_of_mutated_files(name: str, tmp_path: Path) -> None:
    """100 files of each of five kinds, each with up to eight bytes changed, cut or added."""
    whole = SEEDS[name](tmp_path / name).read_bytes()
    target = tmp_path / f"m{Path(name).suffix}"

    @settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=8),
        st.integers(0, len(whole)),
        st.binary(max_size=20),
    )
    def mutate(changes: list[tuple[int, int]], keep: int, more: bytes) -> None:
        data = bytearray(whole)
        for place, value in changes:
            data[place] = value
        target.write_bytes(bytes(data[: keep if keep % 3 == 0 else len(data)]) + more)
        with contextlib.suppress(FirstlightError):
            load_task(target)

    mutate()


@pytest.mark.data
def test_cifar_as_hugging_face_stores_it(shared_data: Path) -> None:
    task = load_task(shared_data / "cifar10-test.parquet")
    assert task.classes[:2] == ("airplane", "automobile")
    assert task.input_shape == (3, 32, 32)
    assert len(task.train) + len(task.validation) + len(task.test) == 10_000


@pytest.mark.data
def test_cifar_as_a_zip_of_class_folders(shared_data: Path) -> None:
    task = load_task(shared_data / "cifar10-small.zip", limit=500)
    assert (len(task.train), len(task.validation), len(task.test)) == (400, 100, 1000)
    assert task.classes[-1] == "truck"
