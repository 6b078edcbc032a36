"""Past what fake tensors cannot tell: values that depend on data, and kernels that refuse.

``recorder`` asks here when a call on fake tensors raises, and notes on the tape what was guessed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .ops import words

QUESTIONS = words("bool is_nonzero item int index float tolist equal allclose len")


# Calls whose fake kernels refuse what the real ones take.
REFUSED = words("_grouped_mm grouped_mm")


class NoGuessError(Exception):
    """Nothing is known that would get past the call: its own error stands."""


def is_data_dependent(error: BaseException) -> bool:
    """Whether a call failed because fake tensors hold no values."""
    name, text = type(error).__name__, str(error)
    return any(w in name for w in ("DataDependent", "DynamicOutput", "UnsupportedFakeTensor")) or (
        "data-dependent" in text or "meta tensors" in text
    )


def guess(name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """An answer of the right kind to a question about values: true, one, or as many entries as there can be.

    Raises:
        NoGuessError: the call asks nothing of the kind.
    """
    asked = args[0] if args else None
    if not isinstance(asked, torch.Tensor):
        raise NoGuessError
    if name in QUESTIONS:
        return _answer(name, asked)
    if name in ("nonzero", "argwhere") or (name == "where" and len(args) == 1):
        places = torch.zeros(asked.numel(), asked.dim(), dtype=torch.int64)
        return tuple(places.unbind(1)) if name == "where" or kwargs.get("as_tuple") else places
    if name in ("masked_select", "unique", "unique_consecutive", "_unique2"):
        return asked.flatten().clone()
    if name == "getitem":
        return _selected(asked, args[1])
    if name == "bincount":
        length = kwargs.get("minlength", args[2] if len(args) > 2 else 1)
        return torch.ones(max(1, length) if isinstance(length, int) else 1, dtype=torch.int64)
    if name == "repeat_interleave":
        return asked.clone()
    raise NoGuessError


def _answer(name: str, asked: torch.Tensor) -> object:
    if name in ("bool", "is_nonzero", "equal", "allclose"):
        return True
    if name == "tolist":
        return torch.ones(asked.shape, dtype=torch.int64).tolist()
    return 1.0 if name == "float" or (name == "item" and asked.is_floating_point()) else 1


def _selected(asked: torch.Tensor, index: object) -> torch.Tensor:
    """Everything, where a mask would select some."""
    out, axis = asked, 0
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, torch.Tensor) and part.dtype == torch.bool:
            out = out.flatten(axis, axis + part.dim() - 1) if part.dim() > 1 else out
            axis += 1
        elif isinstance(part, slice):
            out = out[(slice(None),) * axis + (part,)]
            axis += 1
        else:
            raise NoGuessError
    return out.clone()


def by_shape(function: Callable[..., object], name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """What a call that its fake kernel refuses would give: by a rule of shapes, else in another dtype.

    Raises:
        NoGuessError: neither works.
    """
    first, second = (*args, None, None)[:2]
    if name in REFUSED and isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.new_empty((*first.shape[:-1], second.shape[-1]))
    try:
        narrow = [a.bfloat16() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args]
        out = function(*narrow, **kwargs)
    except Exception:
        raise NoGuessError from None
    wide = first.dtype if isinstance(first, torch.Tensor) else torch.float32
    if isinstance(out, torch.Tensor):
        return out.to(wide) if out.is_floating_point() else out
    raise NoGuessError


def reshared(name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[object, ...] | None:
    """The arguments of a split whose sizes were guessed, with sizes that add up; ``None`` for any other call."""
    if name not in ("split", "split_with_sizes") or len(args) < 2:
        return None
    tensor, sizes = args[:2]
    given = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    if not isinstance(tensor, torch.Tensor) or not isinstance(sizes, list | tuple) or not isinstance(given, int):
        return None
    whole, parts = tensor.shape[given], len(sizes)
    return (tensor, [whole // parts + (i < whole % parts) for i in range(parts)], *args[2:])


def with_numbers(
    args: tuple[object, ...], kwargs: dict[str, object], number: Callable[[torch.Tensor], int]
) -> tuple[tuple[object, ...], dict[str, object]] | None:
    """The arguments with single integers in place of 0-dim tensors, as ``torch.arange(n)`` wants them."""

    def convert(value: object) -> object:
        if isinstance(value, torch.Tensor) and value.dim() == 0 and not value.is_floating_point():
            return number(value)
        if isinstance(value, list | tuple):
            return type(value)(convert(v) for v in value)
        return value

    changed = tuple(convert(a) for a in args), {k: convert(v) for k, v in kwargs.items()}
    same = all(a is b for a, b in zip(changed[0], args, strict=True))
    return None if same and all(changed[1][k] is v for k, v in kwargs.items()) else changed
