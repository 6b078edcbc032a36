"""A safetensors file on disk as a source of weights: its names and shapes first, its tensors when they are needed.

``schemes.pretrained`` matches a model against it; the format holds numbers only, so nothing in it can run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from safetensors import SafetensorError, safe_open

from ..errors import TransferError
from ..fields import Key
from ..initializers.base import Initializer
from ..initializers.draws import Built, Draw
from ..initializers.layout import Layout


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A readable safetensors file and the shapes of its tensors."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]


def open_weights(path: str | Path) -> WeightsFile:
    """The names and shapes in a safetensors file.

    Raises:
        TransferError: there is no such file, or it is not an intact safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise TransferError(f"there is no weights file {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise TransferError(
            f"{str(path)!r} is not an intact safetensors file ({error}). "
            "Write one with safetensors.torch.save_model(model, path)."
        ) from error
    return WeightsFile(path, MappingProxyType(shapes))


@final
@dataclass(frozen=True, slots=True)
class Loaded(Initializer):
    """The values of one tensor in a safetensors file.

    Args:
        path: the file.
        tensor: the tensor's name in it.
    """

    path: str
    tensor: str

    def draw(self, layout: Layout) -> Draw:
        """The tensor itself, read now so that a bad file is found before anything is written.

        Raises:
            TransferError: the file or the tensor cannot be read, its shape differs, or it holds NaN or infinity.
        """
        values = self._read()
        if tuple(values.shape) != layout.shape:
            raise TransferError(
                f"{self.tensor!r} in {self.path!r} has the shape {tuple(values.shape)}, the model {layout.shape}"
            )
        if not torch.isfinite(values).all():
            raise TransferError(f"{self.tensor!r} in {self.path!r} holds NaN or infinity")

        def build(key: Key, device: torch.device) -> torch.Tensor:  # noqa: ARG001 - loaded, not drawn
            return values.to(device)

        return Built(build, mean=None, std=None, random=False)

    def _read(self) -> torch.Tensor:
        open_weights(self.path)
        with safe_open(self.path, framework="pt") as file:
            try:
                tensor: torch.Tensor = file.get_tensor(self.tensor)
            except SafetensorError as error:
                raise TransferError(f"{self.path!r} has no tensor {self.tensor!r} ({error})") from error
        return tensor
