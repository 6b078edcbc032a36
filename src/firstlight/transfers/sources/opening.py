"""``open_source``: whatever weights a user has, a path, a dict or a model, as one kind of thing.

The reader is chosen by what a file holds, never by its name alone. Nothing is downloaded, and no code is run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from ...errors import ArgumentError, TransferError
from .base import Noted, Source
from .checkpoint import load_checkpoint
from .folder import weights_in
from .held import held_section, live_model
from .magic import kind_of
from .safetensors import SafetensorsFile
from .sections import choose
from .sharded import ShardedFiles

SourceLike = str | os.PathLike[str] | Mapping[str, object] | nn.Module | Source


def open_source(source: SourceLike, *, section: str | None = None) -> Source:
    """The names and shapes of weights from elsewhere, before any value is read.

    Args:
        source: one of

            - the path of a safetensors file, or of a torch checkpoint (opened with ``weights_only=True`` and mapped);
            - the path of a sharded checkpoint's index (``model.safetensors.index.json``,
              ``pytorch_model.bin.index.json``);
            - a folder that holds either, as ``save_pretrained`` writes;
            - a state dict, or a checkpoint's dict with sections;
            - another live model;
            - a ``Source``, which is given back.
        section: which section of a nested checkpoint: ``"model_ema"``, ``"ema.module"``; by default the only one that
            can be the weights.

    Returns:
        The source: its ``tensors`` by name, and ``read`` for one of them or a part.

    Raises:
        TransferError: it cannot be read safely; the message names the file, and the tensor where one is at fault.
        ArgumentError: ``source`` is none of these, or has no sections.

    >>> import torch
    >>> source = open_source({"epoch": 3, "model": {"weight": torch.ones(2, 3)}, "optimizer": {}})
    >>> source.label, dict(source.tensors)["weight"].shape
    ("the state dict (section 'model')", (2, 3))
    """
    if isinstance(source, nn.Module):
        _refuse_section(section, "a live model")
        return live_model(source)
    if isinstance(source, Source):
        _refuse_section(section, "a source that is already open")
        return source
    if isinstance(source, Mapping):
        return held_section(choose(source, "the state dict", section), "the state dict")
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source), str(source), section)
    raise ArgumentError(f"weights come from a path, a state dict or a model; {type(source).__name__} was given")


def _open_path(path: Path, given: str, section: str | None) -> Source:
    if "://" in given:
        raise TransferError(f"firstlight downloads nothing: download {given!r} and give the file's path")
    if "\0" in given:
        raise TransferError(f"{given!r} is no path: it holds a zero byte")
    try:
        if not path.is_dir():
            return open_file(path, section)
        file, note = weights_in(path)
    except OSError as error:
        raise TransferError(f"{given!r} cannot be read ({error})") from error
    found = open_file(file, section)
    return Noted(found, note) if note else found


def open_file(path: Path, section: str | None = None) -> Source:
    """One weights file, or an index and the files it names, as a source.

    Raises:
        TransferError: as ``open_source``.
    """
    if path.name.endswith(".index.json"):
        _refuse_section(section, f"the sharded checkpoint {str(path)!r}")
        return ShardedFiles(path, open_file)
    kind = kind_of(path)
    if kind == "safetensors":
        _refuse_section(section, f"the safetensors file {str(path)!r}")
        return SafetensorsFile(path)
    tree = load_checkpoint(path, zipped=kind == "zip")
    label = repr(str(path))
    return held_section(choose(tree, label, section), label, path.name)


def _refuse_section(section: str | None, what: str) -> None:
    if section is not None:
        raise ArgumentError(f"section={section!r} was given, but {what} has no sections")
