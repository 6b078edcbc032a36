"""Pictures: what a viewer would show is what is read; where Pillow would clip or drop, it is scaled or refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from firstlight.errors import DataError
from firstlight.studies.data.pictures import decode


def saved(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def read(data: bytes) -> np.ndarray:
    return decode([("a", data)], None)[0]


SCENE = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int) -> None:
    """Stored as a camera held that way would, each is the one scene again."""
    back = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90"}
    back |= {7: "TRANSVERSE", 8: "ROTATE_270"}
    scene = Image.fromarray(SCENE)
    stored = scene.transpose(Image.Transpose[back[orientation]]) if orientation > 1 else scene
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (read(saved(stored, exif=exif)) == SCENE.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_the_upper_eight_of_sixteen_bits_count(kind: str) -> None:
    wide = np.array([[0, 255, 256, 30_000, 65_535]] * 2, dtype=np.uint16)
    assert read(saved(wide, kind)).tolist() == [[[0, 0, 1, 117, 255]] * 2]


@pytest.mark.parametrize("pixels", [np.full((4, 4), 0.5, np.float32), np.full((4, 4), 1000, np.int32)])
def test_pixels_of_no_known_range_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="32-bit pixels"):
        read(saved(pixels, "TIFF"))


def test_what_is_transparent_is_white() -> None:
    """A black shape on nothing is black on white, not black on black."""
    alpha = np.array([[0, 255]], np.uint8)
    black = np.zeros((1, 2, 3), np.uint8)
    assert read(saved(np.dstack([black, alpha]))).tolist() == [[[255, 0]]] * 3
    grey = Image.new("LA", (2, 1))
    grey.putalpha(Image.fromarray(alpha))
    assert read(saved(grey)).tolist() == [[[255, 0]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 9, 9, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    assert read(saved(palette, transparency=0)).tolist() == [[[255, 0]]] * 3


def test_opaque_pictures_stay_as_they_are() -> None:
    solid = np.dstack([SCENE, np.full((5, 7), 255, np.uint8)])
    assert (read(saved(solid)) == SCENE.transpose(2, 0, 1)).all()


def test_cmyk_is_shown_as_colour() -> None:
    red = read(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"))
    assert red[:, 0, 0].tolist() == [255, 0, 0]


def test_pictures_of_more_than_one_frame_are_refused() -> None:
    first, second = Image.new("L", (4, 4), 0), Image.new("L", (4, 4), 255)
    assert read(saved(first, "GIF")).shape[1:] == (4, 4)
    with pytest.raises(DataError, match="2 frames"):
        read(saved(first, "GIF", save_all=True, append_images=[second]))


def test_broken_exif_does_not_matter() -> None:
    assert (read(saved(Image.fromarray(SCENE), exif=b"Exif\x00\x00II*\x00\xff\xff")) == SCENE.transpose(2, 0, 1)).all()
