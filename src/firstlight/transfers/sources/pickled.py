"""A pickle read as data: what it names is written down and never looked up.

``checkpoint`` reads every pickle this way first, to know what ``torch.load`` would meet: the functions and classes it
names, and the storages it expects in the file. Nothing is imported and nothing of the pickle's is called.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import IO, Any, ClassVar, Final, final

_STORAGES: Final[Mapping[str, int]] = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
    "QInt8Storage": 1,
    "QUInt8Storage": 1,
    "QInt32Storage": 4,
    "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1,
    "UntypedStorage": 1,
}

# Elements given to calls in all; a checkpoint of 200,000 tensors has some 3,000,000.
_MOST_GIVEN: Final = 20_000_000
_LONGEST_PATH: Final = 300


@dataclass(frozen=True, slots=True)
class Named:
    """What a pickle names.

    Args:
        calls: functions and classes, as "module.name", in the order they come.
        storages: by their key in the file, how many bytes each is said to have.
        content: what it would make, with a stand-in for every object.
    """

    calls: tuple[str, ...]
    storages: Mapping[str, int]
    content: object

    def owner(self, storage: str) -> str:
        """The path of a tensor that lies in a storage, by its keys with dots between; "?" where none is found."""
        return next((path for path, key in _storages_of(self.content) if key == storage), "?")


class _Meter:
    """How many elements calls are given: each call may copy them, and a pickle can give one list to a million calls."""

    def __init__(self) -> None:
        self._left = _MOST_GIVEN

    def count(self, value: object) -> None:
        """ValueError where too many were given by now."""
        if isinstance(value, _Stand):
            self._left -= len(value.args) + len(value.items)
        elif isinstance(value, Sized):
            self._left -= len(value)
        if self._left < 0:
            raise ValueError("its calls are given more than weights need")


class _Stand:
    """Stands for whatever a pickle makes of a class or function; keeps what it is given and does nothing."""

    name = ""
    meter: _Meter
    args: list[object]
    items: dict[object, object]

    def __new__(cls, *args: object, **kwargs: object) -> _Stand:
        for value in (*args, *kwargs.values()):
            cls.meter.count(value)
        made = object.__new__(cls)
        made.args, made.items = list(args), {}
        return made

    def __setstate__(self, state: object) -> None:
        self.meter.count(state)

    def __setitem__(self, key: object, value: object) -> None:
        self.items[key] = value

    def append(self, value: object) -> None:
        """Kept."""
        self.args.append(value)

    def extend(self, values: Iterable[object]) -> None:
        """Kept."""
        self.args.extend(values)

    def add(self, value: object) -> None:
        """Kept."""
        self.args.append(value)


@dataclass(frozen=True, slots=True, eq=False)
class _Storage:
    key: str


def _storages_of(content: object) -> Iterator[tuple[str, str]]:
    """The path and the storage of every tensor in a tree, each object once."""
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, _Storage):
            yield path, value.key
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        items = value.items if isinstance(value, _Stand) else value if isinstance(value, dict) else {}
        parts = value.args if isinstance(value, _Stand) else value if isinstance(value, list | tuple) else ()
        waiting += [(path, part) for part in parts]
        waiting += [(_below(path, key), part) for key, part in items.items()]


def _below(path: str, key: object) -> str:
    """A path one key longer, and no longer than a message needs."""
    word = key[:_LONGEST_PATH] if isinstance(key, str) else "…"
    return (f"{path}.{word}" if path else word)[:_LONGEST_PATH]


class _Bounded(io.RawIOBase):
    """The next ``most`` bytes of a file, and then an error."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        super().__init__()
        self._file = file
        self._left = most

    def _spent(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("its pickle is larger than any of weights")
        return data

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        return self._spent(self._file.read(min(size, self._left + 1) if size >= 0 else self._left + 1))

    def readline(self, size: int | None = -1) -> bytes:
        """As a file's."""
        return self._spent(self._file.readline(self._left + 1))


# The implementation in Python: the one in C makes room for any memo number a pickle mentions, up to 32 GB.
@final
class _Reader(pickle._Unpickler):
    """An unpickler that finds no class."""

    # Without the instructions of protocol 5 that make room before they read; torch knows none of them.
    dispatch: ClassVar[dict[int, Any]] = {
        code: does
        for code, does in pickle._Unpickler.dispatch.items()
        if bytes([code]) not in (pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
    }

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="latin1")
        self.meter = _Meter()
        self.calls: dict[str, type[_Stand]] = {}
        self.storages: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> type[_Stand]:
        """A class of no use, the same for the same name."""
        full = f"{module}.{name}"
        if full not in self.calls:
            self.calls[full] = type("_Named", (_Stand,), {"name": full, "meter": self.meter})
        return self.calls[full]

    def get_extension(self, code: int) -> None:
        """A number that stands for a class known to one program only."""
        raise pickle.UnpicklingError(f"it uses the extension code {code}")

    def persistent_load(self, pid: object) -> object:
        """A storage: ("storage", type, key, device, number of values …); before torch 1.6 also a module's class."""
        match pid:
            case ("storage", kind, str(key), _, int(count), *_):
                size = _itemsize(kind) * count
                if count < 0 or self.storages.setdefault(key, size) != size:
                    raise pickle.UnpicklingError(f"the storage {key!r} is declared with two sizes, or a negative one")
                return _Storage(key)
            case ("module", kind, *_):
                return kind
        raise pickle.UnpicklingError("it refers to something that is no storage")


def _itemsize(kind: object) -> int:
    name = str(getattr(kind, "name", "")).rsplit(".", 1)[-1]
    if name not in _STORAGES:
        raise pickle.UnpicklingError(f"it has storages of an unknown type {name!r}")
    return _STORAGES[name]


def read_names(file: IO[bytes], most: int) -> Named:
    """What the pickle at a file's position names; the file then stands behind it.

    Args:
        file: open for reading.
        most: how many bytes it may have.

    Raises:
        Exception: of any type, where the pickle is damaged.
    """
    reader = _Reader(_Bounded(file, most))
    content = reader.load()
    return Named(tuple(reader.calls), reader.storages, content)
