"""Labels as numbers: the labels of every part become places in one list of classes.

All parts are read together, so that a class has one number in all of them. ``tasks`` numbers through here, the readers
in ``data`` give what it takes.
"""

from __future__ import annotations

import numbers
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, DataError

Plain = NDArray[np.int64] | NDArray[np.str_]

# What NumPy and pandas write where there is no label.
_MISSING = frozenset({"", "nan", "NaN", "NaT", "<NA>"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_GIVE = "give each example's class as 0, 1, 2 …, or its name"


def plain(labels: ArrayLike, what: str) -> Plain:
    """Labels as whole numbers or as names, one for each example.

    Names lose the blanks around them and take one Unicode form: names that look alike are alike.

    Raises:
        DataError: they are not one for each example, some are missing, or they are neither of the two.
    """
    y = as_array(labels, f"the labels of {what}")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]  # Keras keeps labels as a column
    if y.ndim != 1:
        hint = " (labels.argmax(1), where each row marks its class)" if y.ndim == 2 else ""
        raise DataError(f"the labels of {what} have the shape {y.shape}: give one class for each example{hint}")
    if y.dtype.kind == "O":
        y = _of_one_kind(y, what)
    if y.dtype.kind == "S":
        y = _decoded(y, what)
    return _named(y.astype(np.str_), what) if y.dtype.kind in "UT" else _whole(y, what)


def number(
    parts: Sequence[tuple[str, Plain]], classes: Sequence[str] | None
) -> tuple[list[NDArray[np.int64]], list[str]]:
    """Each part's labels as places in one list of classes, and that list.

    A whole number is a place, counted from 0; text is a name.

    Args:
        parts: what each part is called, and its labels as ``plain`` gives them.
        classes: the classes' names; by default what is found in any of the parts.

    Raises:
        DataError: a label is no class, numbers leave a gap, or some parts have names and some numbers.
        ArgumentError: ``classes`` are no names, or name a class twice.
    """
    names = _checked_names(classes) if classes is not None else _found(parts)
    return [_places(y, names, what) for what, y in parts], names


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order of their numbers where all are whole numbers, else in alphabetical order."""
    distinct = sorted(set(names))
    return sorted(distinct, key=int) if all(map(_WHOLE.fullmatch, distinct)) else distinct


def clean(name: str) -> str:
    """A name as it is compared."""
    return unicodedata.normalize("NFC", name).strip()


def as_array(value: ArrayLike, what: str) -> NDArray[np.generic]:
    """The array that NumPy makes of a value; DataError where it makes none."""
    try:
        return np.asarray(value)
    except Exception as error:  # ragged lists, tensors on a device or in a graph: each raises its own
        first = (str(error).splitlines() or [repr(error)])[0]
        raise DataError(f"{what} make no NumPy array ({first}): give arrays of one shape in main memory") from error


def _of_one_kind(y: NDArray[np.generic], what: str) -> NDArray[np.generic]:
    """Python objects, if all are text or all are numbers."""
    values = y.tolist()
    for kind in (str, numbers.Real):
        if all(isinstance(v, kind) for v in values):
            return np.array(values)
    kind = str if isinstance(values[0], str) else numbers.Real
    i = next((i for i, v in enumerate(values) if not isinstance(v, kind)), 0)
    raise DataError(
        f"the labels of {what} are of different kinds: example 0 has {values[0]!r}, example {i} has {values[i]!r}; "
        f"{_GIVE}"
    )


def _decoded(y: NDArray[np.generic], what: str) -> NDArray[np.str_]:
    try:
        return np.char.decode(y.astype(np.bytes_), "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"the labels of {what} are bytes that are no UTF-8 text: {_GIVE}") from error


def _named(y: NDArray[np.str_], what: str) -> NDArray[np.str_]:
    distinct, places = np.unique(y, return_inverse=True)
    names = [clean(str(name)) for name in distinct]
    for k, name in enumerate(names):
        if name in _MISSING:
            i = int(np.flatnonzero(places == k)[0])
            raise DataError(f"example {i} of {what} has no label ({str(distinct[k])!r}): fill or drop such examples")
    return np.array(names, dtype=np.str_)[places]


def _whole(y: NDArray[np.generic], what: str) -> NDArray[np.int64]:
    if y.dtype.kind not in "biuf":
        raise DataError(f"the labels of {what} are of type {y.dtype}, no whole numbers: {_GIVE}")
    values = y.astype(np.float64)
    strange = np.flatnonzero(~(np.isfinite(values) & (values == np.floor(values))))
    if strange.size:
        i = strange[0]
        raise DataError(f"the labels of {what} are no whole numbers (example {i} has {y[i]}): {_GIVE}")
    huge = np.flatnonzero(np.abs(values) > 2**53)
    if huge.size:
        raise DataError(f"example {huge[0]} of {what} has the label {y[huge[0]]}, which is no class: {_GIVE}")
    return y.astype(np.int64)


def _checked_names(classes: Sequence[str]) -> list[str]:
    if isinstance(classes, str) or not all(isinstance(c, str) for c in classes):
        raise ArgumentError(f"classes={classes!r} should be the classes' names in order, such as ['cat', 'dog']")
    names = [clean(c) for c in classes]
    for name in names:
        if not name or names.count(name) > 1:
            raise ArgumentError(
                f"the classes {', '.join(names)} should have different names: {name!r} is none of its own"
            )
    return names


def _found(parts: Sequence[tuple[str, Plain]]) -> list[str]:
    by_kind = {y.dtype.kind: (what, y) for what, y in reversed(parts)}
    if len(by_kind) > 1:
        (named, text), (numbered, whole) = by_kind["U"], by_kind["i"]
        raise DataError(
            f"{named} names its classes ({str(text[0])!r}) and {numbered} numbers them ({whole[0]}): give both in one "
            "way"
        )
    seen = np.unique(np.concatenate([y for _, y in parts]))
    if "U" in by_kind:
        return in_order(map(str, seen))
    missing = next((k for k, label in enumerate(seen) if k != label), None)
    if missing is not None:
        label = int(seen[missing])
        what, i = next((what, int(np.flatnonzero(y == label)[0])) for what, y in parts if (y == label).any())
        raise DataError(
            f"example {i} of {what} has the label {label}, "
            + (f"and none has {missing}" if label > 0 else "below 0, which often marks what is not labelled")
            + ": number classes from 0 without gaps, or give their names (labels.astype(str))"
        )
    return [str(k) for k in range(len(seen))]


def _places(y: Plain, names: Sequence[str], what: str) -> NDArray[np.int64]:
    if y.dtype.kind == "i":
        whole = y.astype(np.int64)
        outside = np.flatnonzero((whole < 0) | (whole >= len(names)))
        if outside.size:
            label = int(whole[outside[0]])
            hint = ". -1 often marks what is not labelled: drop such examples" if label == -1 else ""
            raise DataError(
                f"example {outside[0]} of {what} has the label {label}, outside the classes 0 to {len(names) - 1} "
                f"({some(names)}): number classes from 0, or give their names{hint}"
            )
        return whole
    place = {name: i for i, name in enumerate(names)}
    distinct, where = np.unique(y, return_inverse=True)
    strange = [str(name) for name in distinct if str(name) not in place]
    if strange:
        raise DataError(f"{what} has the label {strange[0]!r}, which is none of the classes {some(names)}")
    return np.array([place[str(name)] for name in distinct], dtype=np.int64)[where]


def some(names: Sequence[str]) -> str:
    """The first twenty names."""
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
