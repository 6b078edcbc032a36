"""NumPy archives: ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test``, ``y_test`` (and ``x_val``, ``y_val``)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...errors import DataError
from .parts import Array, Part, Parts

_PAIRS = (("x", "y"), ("inputs", "labels"), ("data", "target"), ("images", "labels"), ("X", "y"))
_LARGEST = 64 << 30


def read_npz(path: Path) -> Parts:
    """The arrays of an archive; nothing in it is unpickled.

    Raises:
        DataError: the file is no intact archive, holds Python objects, or lacks the arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(i.file_size for i in archive.infolist()) > _LARGEST:
                raise DataError(f"{str(path)!r} unpacks to more than {_LARGEST >> 30} GiB")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, KeyError, NotImplementedError) as error:
        hint = " Arrays of Python objects are not read." if "pickle" in str(error).lower() else ""
        raise DataError(f"{str(path)!r} is no intact .npz archive of numbers ({error}).{hint}") from error
    except (MemoryError, SyntaxError, TypeError, RuntimeError, OverflowError, RecursionError) as error:
        raise DataError(f"{str(path)!r} is damaged ({error!r})") from error
    return _parts(path, arrays)


def _parts(path: Path, arrays: Mapping[str, Array]) -> Parts:
    if "x_train" in arrays or "y_train" in arrays:
        validation = next((s for s in ("val", "valid", "validation") if f"x_{s}" in arrays), None)
        return Parts(
            _pair(path, arrays, "x_train", "y_train"),
            _pair(path, arrays, "x_test", "y_test"),
            _pair(path, arrays, f"x_{validation}", f"y_{validation}") if validation else None,
        )
    pairs = [(x, y) for x, y in _PAIRS if x in arrays and y in arrays]
    cut = [name for name in arrays if name.startswith(("x_", "y_", "X_"))]
    if len(pairs) > 1 or (pairs and cut):
        raise DataError(
            f"{str(path)!r} holds {', '.join(map(repr, arrays))}, more than one set of examples: keep x and y, or "
            "x_train, y_train, x_test and y_test"
        )
    for x, y in pairs:
        return Parts(Part(arrays[x], arrays[y]))
    raise DataError(
        f"{str(path)!r} holds {', '.join(map(repr, arrays)) or 'nothing'}: name the arrays x and y, or x_train, "
        "y_train, x_test and y_test"
    )


def _pair(path: Path, arrays: Mapping[str, Array], x: str, y: str) -> Part:
    for name in (x, y):
        if name not in arrays:
            raise DataError(f"{str(path)!r} has no array {name!r} beside {', '.join(map(repr, arrays))}")
    return Part(arrays[x], arrays[y])
