"""Tensors already in memory as a source: a state dict, a checkpoint that was opened, another live model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import final

import torch
from torch import nn

from ...errors import TransferError
from ...graphs import slots
from .base import Source, Stored, part
from .sections import Section


@final
class HeldTensors(Source):
    """A mapping of tensors; they are read where they lie."""

    __slots__ = ("_label", "_notes", "_stored", "_values")

    def __init__(self, label: str, values: Mapping[str, torch.Tensor], place: str = "", note: str = "") -> None:
        """Tensors by name.

        Args:
            label: what messages call them.
            values: the tensors.
            place: the file they lie in, "" for none.
            note: what was decided on the way.
        """
        self._label = label
        self._values = values
        self._notes = (note,) if note else ()
        self._stored = {n: Stored(() if t.is_nested else tuple(t.shape), t.dtype, place) for n, t in values.items()}

    @property
    def label(self) -> str:
        """As it was given."""
        return self._label

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """In the mapping's order."""
        return MappingProxyType(self._stored)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which section was taken."""
        return self._notes

    def read(self, name: str, index: tuple[slice, ...] | None = None) -> torch.Tensor:
        """The tensor itself, without its history."""
        values = self._values.get(name)
        if values is None:
            raise TransferError(f"{self._label} has no tensor {name!r}")
        form = _form(values)
        if form:
            raise TransferError(f"{name!r} in {self._label} is {form}, which cannot be weights as it is")
        return part(values.detach(), index)


def _form(values: torch.Tensor) -> str:
    """What keeps a tensor from being read, "" for a plain one."""
    if values.is_meta:
        return "on the meta device and holds nothing"
    if values.is_quantized:
        return "quantised"
    if values.layout is not torch.strided or values.is_nested:
        return "sparse or nested"
    if hasattr(values, "full_tensor"):
        return "sharded over processes (a DTensor)"
    return ""


def held_section(section: Section, label: str, place: str = "") -> HeldTensors:
    """A checkpoint's section as a source; its label names the section."""
    name = f"{label} (section {section.path!r})" if section.path else label
    return HeldTensors(name, section.tensors, place, section.note)


def live_model(model: nn.Module) -> HeldTensors:
    """Another model's parameters and persistent buffers, by their canonical names, a tied one under each."""
    kept = {
        s.name: s.tensor
        for s in slots(model)
        if not (s.is_buffer and s.local_name in s.owner._non_persistent_buffers_set)
    }
    label = f"the model {type(model).__name__}"
    if not kept:
        raise TransferError(f"{label} has no parameters and no buffers to load from")
    return HeldTensors(label, kept)
