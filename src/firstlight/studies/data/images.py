"""Images by class: a folder or a zip with one folder for each class, below train/ and test/ or not."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import DataError
from .parts import Part, Parts
from .pictures import decode

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_PARTS = {"train": "train", "training": "train", "test": "test", "val": "validation", "valid": "validation"} | {
    "validation": "validation"
}
_LARGEST = 8 << 30
_RATIO = 200

# A picture's name, its class, and how to get its bytes.
Found = Mapping[str, list[tuple[str, str, bytes]]]


def read_folder(path: Path, size: int | None) -> Parts:
    """The images below a folder. DataError names what is wrong with which file."""
    names = sorted(p for p in path.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    found = _sorted_out(str(path), ((p.relative_to(path).as_posix(), p.read_bytes()) for p in names))
    return _parts(str(path), found, size)


def read_zip(path: Path, size: int | None) -> Parts:
    """The images in a zip, read without unpacking anything to disk. DataError names what is wrong with which file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if PurePosixPath(m.filename).suffix.lower() in _SUFFIXES]
            whole = sum(m.file_size for m in members)
            if whole > _LARGEST or whole > _RATIO * max(1, path.stat().st_size):
                raise DataError(f"{str(path)!r} unpacks to {whole >> 20:,} MiB, which no folder of images does")
            members.sort(key=lambda m: m.filename)
            found = _sorted_out(str(path), ((m.filename, archive.read(m)) for m in members))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(path)!r} is no intact zip file ({error}): pack it again") from error
    return _parts(str(path), found, size)


def _sorted_out(where: str, files: Iterable[tuple[str, bytes]]) -> Found:
    """Files by part; the class is the last folder above a file. Names are only read, never written to."""
    found: dict[str, list[tuple[str, str, bytes]]] = {}
    for name, data in files:
        folders = [f for f in PurePosixPath(name).parts[:-1] if f not in ("__MACOSX",)]
        if "__MACOSX" in name or PurePosixPath(name).name.startswith("."):
            continue
        if not folders:
            raise DataError(
                f"{name} in {where!r} lies in no class folder: put each image into a folder named as its class"
            )
        part = next((_PARTS[f.lower()] for f in folders[:-1] if f.lower() in _PARTS), "all")
        found.setdefault(part, []).append((name, folders[-1], data))
    if not found:
        raise DataError(f"there are no images in {where!r}: it should hold one folder of images for each class")
    return found


def _parts(where: str, found: Found, size: int | None) -> Parts:
    classes = tuple(sorted({label for files in found.values() for _, label, _ in files}))
    made = {part: _part(files, classes, size) for part, files in found.items()}
    if "all" in made and len(made) > 1:
        strays = ", ".join(name for name, _, _ in found["all"][:3])
        raise DataError(f"{where!r} has train and test folders, and images outside of them ({strays}): move them")
    if "all" in made:
        return Parts(made["all"])
    if "train" not in made:
        raise DataError(f"{where!r} has no train folder beside {', '.join(made)}: add one, or leave only class folders")
    return Parts(made["train"], made.get("test"), made.get("validation"))


def _part(files: list[tuple[str, str, bytes]], classes: tuple[str, ...], size: int | None) -> Part:
    labels = np.array([classes.index(label) for _, label, _ in files], dtype=np.int64)
    return Part(decode([(name, data) for name, _, data in files], size), labels, classes)
