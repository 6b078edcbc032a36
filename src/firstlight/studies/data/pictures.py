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

_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def decode(named: Sequence[tuple[str, bytes]], size: int | None) -> NDArray[np.uint8]:
    """Pictures (N, channels, height, width): one channel where all are grey, else three.

    Args:
        named: each picture's name, for messages, and its file's bytes.
        size: pixels a side to resize to; without it all must have one size.

    Pictures are turned upright as their EXIF data says, what is transparent is white, and of 16 bits the upper 8 count.

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
                _refuse_frames(picture)
                shown = _upright(image_module, picture, _in_eight_bits(image_module, picture))
                if size is not None:
                    shown = shown.resize((size, size), image_module.Resampling.BILINEAR)
                return np.asarray(shown)
    except image_module.UnidentifiedImageError:
        raise DataError(
            f"the image {name} cannot be read: it is broken, or of no kind that Pillow knows. Replace or remove it"
        ) from None
    except Exception as error:  # a decoder meets hostile bytes with many kinds of error
        raise DataError(
            f"the image {name} cannot be read ({type(error).__name__}: {error}): replace or remove it"
        ) from error


def _refuse_frames(picture: Any) -> None:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # telephones keep a depth map behind the picture
        raise ValueError(f"it has {frames} frames; save the one that counts")


def _in_eight_bits(image_module: Any, picture: Any) -> Any:
    """The picture in mode L or RGB: what Pillow would clip is scaled, what it would uncover is shown on white."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        return image_module.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"it has 32-bit pixels (mode {picture.mode}), of no known range; save it with 8 or 16 bits")
    mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = image_module.alpha_composite(image_module.new("RGBA", layer.size, "white"), layer)
    return picture.convert(mode)


def _upright(image_module: Any, picture: Any, shown: Any) -> Any:
    """What is shown, turned as the EXIF data of the picture says."""
    try:
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION))
    except Exception:  # broken EXIF data says nothing about a picture that can be read
        turn = None
    return shown if turn is None else shown.transpose(image_module.Transpose[turn])


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError.of("reading images", "data") from error
    return Image
