"""Folders of images: a folder is a class only where that is the one way to read it; nothing is left out in silence."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from firstlight.errors import DataError
from firstlight.studies import load_task


def fill(root: Path, *folders: str, count: int = 6) -> Path:
    for k, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            Image.new("L", (4, 4), 40 * k + i).save(root / folder / f"{i}.png")
    return root


def packed(path: Path, folder: Path, separator: str = "/") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            info = zipfile.ZipInfo("x")
            info.filename = file.relative_to(folder).as_posix().replace("/", separator)
            archive.writestr(info, file.read_bytes())
    return path


BAD = {
    "parts without classes": (("train", "test"), r"test/0.png.*lies right in test/.*test/cat/1.png"),
    "a test part without classes": (("train/cat", "train/dog", "test"), r"test/0.png.*lies right in test/"),
    "a class in a class": (("cat", "cat/extra", "dog"), r"cat/0.png is in one place, cat/extra/0.png in another"),
    "groups of classes": (("cat/persian", "cat/siamese", "dog/husky"), "do not lie side by side"),
    "one class in two places": (("a/cat", "a/dog", "b/cat"), "do not lie side by side"),
    "one part under two names": (("train/cat", "train/dog", "val/cat", "valid/cat"), "do not lie side by side"),
}


@pytest.mark.parametrize("name", BAD)
def test_folders_that_can_be_read_in_two_ways_are_refused(tmp_path: Path, name: str) -> None:
    folders, words = BAD[name]
    folder = fill(tmp_path / "i", *folders)
    for path in (folder, packed(tmp_path / "i.zip", folder)):
        with pytest.raises(DataError, match=words):
            load_task(path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert load_task(fill(tmp_path / "a", "car", "train")).classes == ("car", "train")
    assert load_task(
        fill(tmp_path / "b", *(f"{p}/{c}" for p in ("train", "test") for c in ("car", "train")))
    ).classes == (
        "car",
        "train",
    )


def test_folders_above_all_classes_do_not_matter(tmp_path: Path) -> None:
    plain = load_task(fill(tmp_path / "a", "cat", "dog"))
    assert load_task(fill(tmp_path / "b", "set/images/cat", "set/images/dog")).digest == plain.digest
    assert load_task(packed(tmp_path / "w.zip", tmp_path / "b", "\\")).digest == plain.digest


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    plain = load_task(fill(tmp_path / "a", "cat", "dog")).digest
    folder = fill(tmp_path / "b", "cat", "dog", "cat/.ipynb_checkpoints", ".cache/emu", "__MACOSX/cat")
    (folder / "dog" / "._0.png").write_bytes(b"no picture")
    (folder / "dog" / "notes.txt").write_text("of a kind that is not read, beside images that are")
    assert load_task(folder).digest == load_task(packed(tmp_path / "b.zip", folder)).digest == plain


def test_linked_folders_are_classes_too(tmp_path: Path) -> None:
    plain = load_task(fill(tmp_path / "a", "cat", "dog", "emu")).digest
    folder = fill(tmp_path / "b", "cat", "dog")
    os.symlink(tmp_path / "a" / "emu", folder / "emu")
    os.symlink(folder, folder / "back")
    assert load_task(folder).digest == plain


@pytest.mark.parametrize(("folder", "words"), [("emu", "the folder emu"), ("test/cat", "the test part|the folder")])
def test_a_class_or_part_of_which_nothing_is_read_is_named(tmp_path: Path, folder: str, words: str) -> None:
    cut = "train/" if "/" in folder else ""
    images = fill(tmp_path / "i", f"{cut}cat", f"{cut}dog")
    (images / folder).mkdir(parents=True)
    (images / folder / "0.heic").write_bytes(b"a picture of another kind")
    with pytest.raises(DataError, match=rf"{words}.*0\.heic"):
        load_task(images)


def test_a_part_may_lack_a_class_and_numbers_the_others_alike(tmp_path: Path) -> None:
    folder = fill(tmp_path / "i", "train/cat", "train/dog", "train/emu")
    for name in ("cat", "emu"):
        (folder / "test").mkdir(exist_ok=True)
        (folder / "train" / name).rename(folder / "test" / name)
        fill(folder / "train", name)
    task = load_task(folder)
    assert task.classes == ("cat", "dog", "emu")
    assert task.test.labels.unique().tolist() == [0, 2]
    apart = load_task(folder / "train", test=folder / "test")
    assert apart.digest == task.digest


def test_folders_named_by_numbers_stand_in_the_order_of_numbers(tmp_path: Path) -> None:
    task = load_task(fill(tmp_path / "i", *map(str, range(12))))
    assert task.classes == tuple(map(str, range(12)))


def test_one_set_has_the_same_labels_in_every_form(tmp_path: Path) -> None:
    """A picture's class is the same in a folder, a zip, an .npz of numbers and one of names."""
    folder = fill(tmp_path / "i", "cat", "dog", "emu")
    files = sorted(folder.rglob("*.png"))
    x = np.stack([np.asarray(Image.open(io.BytesIO(f.read_bytes())))[None] for f in files])
    names = np.array([f.parent.name for f in files])
    np.savez(tmp_path / "names.npz", x=x, y=names)
    np.savez(tmp_path / "numbers.npz", x=x, y=np.unique(names, return_inverse=True)[1])
    forms = [load_task(p) for p in (folder, packed(tmp_path / "i.zip", folder), tmp_path / "names.npz")]
    assert len({task.digest for task in forms}) == 1
    assert load_task(tmp_path / "numbers.npz").test.labels.tolist() == forms[0].test.labels.tolist()
