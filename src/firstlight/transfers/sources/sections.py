"""Which part of a checkpoint holds the weights: {"model": …, "optimizer": …, "model_ema": …} is a tree of sections.

Takes what ``checkpoint`` or the user gives, a tree of mappings; gives one flat mapping of tensors, and says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from ...errors import TransferError, UnknownNameError

_DEEPEST = 4
_LONGEST_KEY = 200
# What training keeps beside its weights: not sections, whatever tensors they hold.
_NOT_WEIGHTS = re.compile(
    r"(^|_)(optimi[sz]ers?|optims?|opt|schedulers?|lr_scheduler|lr_schedulers|scalers?|amp|callbacks|loops|rng"
    r"|rng_states?|random_state|hyper_parameters|hparams|args|config|cfg)(_|$)|_states$",
    re.IGNORECASE,
)
_COPY = re.compile(r"(^|_)(ema|emas|averaged?|avg|swa|shadow|polyak|teacher|target)(_|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Section:
    """A flat mapping of tensors and where it stands: "" is the checkpoint itself, "ema.module" is nested."""

    path: str
    tensors: Mapping[str, torch.Tensor]
    note: str = ""


def choose(tree: object, label: str, section: str | None = None) -> Section:
    """The weights in ``tree``.

    Without ``section``, the only candidate is taken; a moving average beside it is left, and the note says so.

    Args:
        tree: a mapping of tensors, or a tree of such mappings.
        label: what messages call it.
        section: the path of one, by its keys with dots between; "" is the top.

    Raises:
        TransferError: there are no tensors, or several sections could be the weights: the message lists them.
        UnknownNameError: there is no such section.
    """
    if not isinstance(tree, Mapping):
        raise TransferError(
            f"{label} holds a {type(tree).__name__}, not a dict of tensors by name. "
            "Save model.state_dict() and load that."
        )
    found = {s.path: s for s in _walk(tree, "", 0, set())}
    if section is not None:
        return _named(found, label, section)
    if not found:
        raise TransferError(f"{label} holds no tensors by name. Save model.state_dict() and load that.")
    everything = list(found.values())
    weights = [s for s in everything if not any(_NOT_WEIGHTS.search(p) for p in s.path.split("."))] or everything
    main = [s for s in weights if not any(_COPY.search(p) for p in s.path.split("."))] or weights
    whole = [s for s in main if any(t.dim() for t in s.tensors.values())] or main
    if len(whole) == 1:
        return _noted(whole[0], found)
    raise TransferError(
        f"{label} holds {len(found)} sections, and more than one could be the weights:\n  {_list(found)}\n"
        f'Name one: section="{whole[0].path}".'
    )


def _walk(tree: Mapping[object, object], path: str, depth: int, seen: set[int]) -> Iterator[Section]:
    """Every mapping below ``tree`` that holds tensors under text names, each once, outermost first."""
    if id(tree) in seen:
        return
    seen.add(id(tree))
    tensors = {k: v for k, v in tree.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
    if tensors:
        yield Section(path, tensors)
    if depth == _DEEPEST:
        return
    for key, below in tree.items():
        if isinstance(key, str) and len(key) <= _LONGEST_KEY and isinstance(below, Mapping):
            yield from _walk(below, f"{path}.{key}" if path else key, depth + 1, seen)


def _named(found: Mapping[str, Section], label: str, section: str) -> Section:
    if section in found:
        return found[section]
    below = [s for path, s in found.items() if path.startswith(f"{section}.")]
    if len(below) == 1:
        return below[0]
    if below:
        raise TransferError(f"the section {section!r} of {label} holds several: {', '.join(s.path for s in below)}")
    raise UnknownNameError.of(f"section of {label}", section, found or ["none"])


def _noted(chosen: Section, found: Mapping[str, Section]) -> Section:
    if not chosen.path:
        return chosen
    others = [path for path in found if path != chosen.path and not _NOT_WEIGHTS.search(path.split(".")[0])]
    also = f"; it also holds {', '.join(repr(o) for o in others)}" if others else ""
    return Section(chosen.path, chosen.tensors, f"the weights are its section {chosen.path!r}{also}")


def _list(found: Mapping[str, Section]) -> str:
    lines = [f"{s.path or '(the top)'}: {len(s.tensors)} tensors" for s in found.values()]
    return "\n  ".join(lines[:20] + ([f"… and {len(lines) - 20} more"] if len(lines) > 20 else []))
