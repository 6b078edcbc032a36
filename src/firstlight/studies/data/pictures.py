"""Pictures as arrays: decoded, brought to one size and one mode.

The readers of folders, zips and Parquet files decode through here. Pillow is an extra.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ArgumentError, DataError, MissingExtraError


def decode(named: Sequence[tuple[str, bytes]], size: int | None) -> NDArray[np.uint8]:
    """Pictures (N, channels, height, width): one channel where all are grey, else three.

    Args:
        named: each picture's name, for messages, and its file's bytes.
        size: pixels a side to resize to; without it all must have one size.

    Raises:
        DataError: a picture is broken or far too large, or sizes differ.
        MissingExtraError: Pillow is not installed.
    """
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 4096):
        raise ArgumentError(f"image_size={size!r} should be a whole number from 1 to 4096")
    pictures = [_open(name, data, size) for name, data in named]
    first = pictures[0].shape[:2]
    for (name, _), picture in zip(named, pictures, strict=True):
        if picture.shape[:2] != first:
            here, there = (f"{s[1]} × {s[0]}" for s in (picture.shape, first))
            raise DataError(
                f"the images differ in size: {name} is {here}, {named[0][0]} is {there}. Bring them to one size with "
                "image_size= (--image-size)."
            )
    colours = any(p.ndim == 3 for p in pictures)
    out = np.empty((len(pictures), 3 if colours else 1, *first), np.uint8)
    for i, picture in enumerate(pictures):
        out[i] = picture.transpose(2, 0, 1) if picture.ndim == 3 else picture
    return out


def _open(name: str, data: bytes, size: int | None) -> NDArray[np.uint8]:
    image_module: Any = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            with image_module.open(io.BytesIO(data)) as picture:
                grey = picture.mode in ("1", "L", "LA", "I", "I;16", "F")
                shown = picture.convert("L" if grey else "RGB")
                if size is not None:
                    shown = shown.resize((size, size), image_module.Resampling.BILINEAR)
                return np.asarray(shown)
    except Exception as error:  # a decoder meets hostile bytes with many kinds of error
        raise DataError(
            f"the image {name} cannot be read ({type(error).__name__}: {error}): replace or remove it"
        ) from error


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError.of("reading images", "data") from error
    return Image
