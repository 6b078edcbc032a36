"""What a file is, by its first bytes; its name only says what it ought to be.

``opening`` and ``sharded`` ask before they give a file to a reader, so that no reader meets another's format.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

from ...errors import TransferError

Kind = Literal["safetensors", "zip", "pickle"]

# torch's old format begins with a pickled number, its magic; any other protocol-2 to 5 pickle begins with 0x80.
_PICKLE = tuple(bytes([0x80, protocol]) for protocol in (2, 3, 4, 5))
_OTHERS = {
    b"\x89HDF": "an HDF5 file (Keras): save its arrays under the model's names with safetensors",
    b"GGUF": "a GGUF file (llama.cpp): convert it to safetensors with the tool that wrote it",
    b"version https://git-lfs": "a Git LFS pointer, not the weights: run git lfs pull, or download the file itself",
    b"<!DO": "a web page, not weights: the download gave an error page",
    b"<htm": "a web page, not weights: the download gave an error page",
    b"\x1f\x8b": "compressed with gzip: decompress it first",
    b"\xfd7zXZ": "compressed with xz: decompress it first",
    b"BZh": "compressed with bzip2: decompress it first",
    b"ustar": "a tar archive: unpack it first",
    b"\x93NUMPY": "a NumPy array: build a state dict from it and give that",
}
_SAFETENSORS = frozenset({".safetensors"})
_TORCH = frozenset({".pt", ".pth", ".ckpt", ".bin"})


def kind_of(path: Path) -> Kind:
    """The format of a file.

    Raises:
        TransferError: there is no such file, it is empty, of an unknown format, or of another than its suffix says.
    """
    head, size = _head(path)
    kind = _kind(head)
    if kind is None:
        raise TransferError(
            f"{str(path)!r} is {_other(head, size)}. firstlight reads safetensors and torch checkpoints."
        )
    suffix = path.suffix.lower()
    if suffix in _SAFETENSORS and kind != "safetensors":
        raise TransferError(
            f"{str(path)!r} is named safetensors but is not an intact safetensors file: it holds a "
            f"{'zip archive' if kind == 'zip' else 'pickle'}, as torch.save writes. Do not trust it; if you know where "
            "it comes from, give it the suffix .pt and it is read with weights_only=True."
        )
    if suffix in _TORCH and kind == "safetensors":
        raise TransferError(
            f"{str(path)!r} is named as a torch checkpoint but holds safetensors. Give it the suffix .safetensors."
        )
    return kind


def _head(path: Path) -> tuple[bytes, int]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise TransferError(f"{str(path)!r} is no ordinary file: weights are read in any order, a pipe is not")
        with path.open("rb") as file:
            return file.read(32), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise TransferError(f"there is no weights file {str(path)!r}") from None
    except OSError as error:
        raise TransferError(f"{str(path)!r} cannot be read ({error})") from error


def _kind(head: bytes) -> Kind | None:
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(_PICKLE):
        return "pickle"
    # A header's length, then its JSON. A length beyond the file is left to the reader, which says what is wrong.
    if len(head) > 8 and head[8:9] == b"{":
        return "safetensors"
    return None


def _other(head: bytes, size: int) -> str:
    if size == 0:
        return "empty"
    known = next((words for magic, words in _OTHERS.items() if head.startswith(magic)), None)
    return known or f"no weights file: it begins with {head[:8].hex(' ')}"
