"""Images by class: a folder or a zip with one folder for each class, below train/ and test/ or not."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ...errors import DataError
from ..labels import some
from .parts import PART_NAMES, Part, Parts
from .pictures import decode

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_ALL = "all"
_LARGEST = 8 << 30
_RATIO = 200


@dataclass(frozen=True, slots=True)
class _Place:
    """A file's name, the folders it lies in, and the part that one of those names."""

    name: str
    folders: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.folders[-1]

    @property
    def above(self) -> tuple[str, ...]:
        """The folders above its class folder."""
        return self.folders[:-1]

    @property
    def part(self) -> str:
        return next((PART_NAMES[f.lower()] for f in self.above if f.lower() in PART_NAMES), _ALL)

    @property
    def is_picture(self) -> bool:
        return PurePosixPath(self.name).suffix.lower() in _SUFFIXES


def read_folder(path: Path, size: int | None) -> Parts:
    """The images below a folder. DataError names what is wrong with which file."""
    try:
        return _parts(str(path), _arranged(str(path), _walk(path)), lambda name: (path / name).read_bytes(), size)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}): check its files and your rights to them") from error


def read_zip(path: Path, size: int | None) -> Parts:
    """The images in a zip, read without unpacking anything to disk. DataError names what is wrong with which file."""
    try:
        with zipfile.ZipFile(path) as archive:
            # Some packers on Windows write \ between folders.
            members = {m.filename.replace("\\", "/"): m for m in archive.infolist() if not m.is_dir()}
            arranged = _arranged(str(path), sorted(members))
            whole = sum(members[place.name].file_size for part in arranged.values() for place in part)
            if whole > _LARGEST or whole > _RATIO * max(1, path.stat().st_size):
                raise DataError(f"{str(path)!r} unpacks to {whole >> 20:,} MiB, which no folder of images does")
            return _parts(str(path), arranged, lambda name: archive.read(members[name]), size)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(path)!r} is no intact zip file ({error}): pack it again") from error


def _walk(path: Path) -> list[str]:
    """The names of all files below a folder, those below linked folders too."""

    def stop(error: OSError) -> None:
        raise error

    names: list[str] = []
    for folder, below, files in os.walk(path, onerror=stop, followlinks=True):
        here = Path(folder)
        below[:] = [name for name in below if not _leads_back(here / name)]
        names += [(here / name).relative_to(path).as_posix() for name in files]
    return sorted(names)


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one above it, which would be walked for ever."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _arranged(where: str, names: Iterable[str]) -> Mapping[str, list[_Place]]:
    """The images by part. In each part all class folders lie in one folder. Names are only read, never written to."""
    places = [_Place(name, PurePosixPath(name).parts[:-1]) for name in names if not _is_hidden(name)]
    pictures = [place for place in places if place.is_picture]
    if not pictures:
        raise DataError(f"there are no images in {where!r}: it should hold one folder of images for each class")
    for place in pictures:
        if not place.folders:
            raise DataError(
                f"{place.name} in {where!r} lies in no class folder: put each image into a folder named as its class"
            )
    found: dict[str, list[_Place]] = {}
    for place in pictures:
        found.setdefault(place.part, []).append(place)
    _refuse_parts_as_classes(where, found)
    for part in found.values():
        _refuse_nested(where, part)
    _refuse_unread(where, found, places)
    return found


def _is_hidden(name: str) -> bool:
    return any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)


def _refuse_parts_as_classes(where: str, found: Mapping[str, list[_Place]]) -> None:
    """train/1.png and test/2.png are parts without classes, not the classes train and test."""
    loose = [place for place in found.get(_ALL, []) if place.label.lower() in PART_NAMES]
    if loose and (len(found) > 1 or len(loose) == len(found[_ALL])):
        raise DataError(
            f"{loose[0].name} in {where!r} lies right in {loose[0].label}/: put each image into a folder named as its "
            f"class, such as {loose[0].label}/cat/1.png"
        )


def _refuse_nested(where: str, part: list[_Place]) -> None:
    """Folders in class folders may be other classes, or groups within one: only the user knows."""
    first = part[0]
    other = next((place for place in part if place.above != first.above), None)
    if other is not None:
        raise DataError(
            f"the class folders of {where!r} do not lie side by side: {first.name} is in one place, {other.name} in "
            "another. Put all images of a class right into its folder, and all class folders into one"
        )


def _refuse_unread(where: str, found: Mapping[str, list[_Place]], places: list[_Place]) -> None:
    """A class or a part whose files are of a kind that is not read would be missing without a word."""
    for part in found.values():
        above, classes = part[0].above, {place.label for place in part}
        depth = len(above)
        for place in places:
            beside = place.folders[:depth] == above and len(place.folders) > depth
            if beside and place.folders[depth] not in classes and (place.part == part[0].part):
                raise DataError(
                    f"the folder {'/'.join(place.folders[: depth + 1])} of {where!r} holds no image that is read, but "
                    f"{place.name}: convert its files to one of {', '.join(sorted(_SUFFIXES))}, or move it elsewhere"
                )
    lost = next((p for p in places if p.part not in found and p.part != _ALL), None)
    if lost is not None:
        raise DataError(
            f"the {lost.part} part of {where!r} holds no image that is read, but {lost.name}: convert its files to one "
            f"of {', '.join(sorted(_SUFFIXES))}, or move it elsewhere"
        )


def _parts(where: str, found: Mapping[str, list[_Place]], read: Callable[[str], bytes], size: int | None) -> Parts:
    if _ALL in found and len(found) > 1:
        strays = some([place.name for place in found[_ALL]][:3])
        raise DataError(f"{where!r} has train and test folders, and images outside of them ({strays}): move them")
    if _ALL not in found and "train" not in found:
        raise DataError(
            f"{where!r} has no train folder beside {', '.join(found)}: add one, or leave only class folders"
        )
    made = {part: _part(places, read, size) for part, places in found.items()}
    return Parts(made.get(_ALL) or made["train"], made.get("test"), made.get("validation"))


def _part(places: list[_Place], read: Callable[[str], bytes], size: int | None) -> Part:
    # Labels stay names here: a part may lack a class that another has.
    return Part(decode([(place.name, read(place.name)) for place in places], size), np.array([p.label for p in places]))
