"""Compiled kernels on disk: small files that are written whole, checked when read, and never required.

The folder is ``$FIRSTLIGHT_CACHE`` or the platform's cache folder. Object code is executed, so a folder that others
may write to is not used. Anything that goes wrong means compiling again, never an error.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

_DIGEST: Final = hashlib.sha256


def folder() -> Path:
    """Where compiled kernels are kept; it may not exist."""
    given = os.environ.get("FIRSTLIGHT_CACHE")
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "firstlight"


def _ours(path: Path) -> bool:
    """Whether only this user can have written ``path``; links are looked at themselves."""
    if sys.platform == "win32":
        return True
    status = path.lstat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def read(name: str) -> bytes | None:
    """What ``write`` stored under ``name``; ``None`` where nothing whole and trustworthy is."""
    try:
        place = folder()
        path = place / name
        if not (_ours(place) and _ours(path)):
            return None
        data = path.read_bytes()
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    size = _DIGEST().digest_size
    digest, content = data[:size], data[size:]
    return content if content and _DIGEST(content).digest() == digest else None


def write(name: str, content: bytes) -> None:
    """Store ``content`` under ``name``, by renaming a finished file; do nothing where that is not possible."""
    temporary = ""
    try:
        place = folder()
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _ours(place):
            return
        handle, temporary = tempfile.mkstemp(dir=place, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(_DIGEST(content).digest() + content)
        os.replace(temporary, place / name)
    except (OSError, RuntimeError):
        if temporary:
            Path(temporary).unlink(missing_ok=True)
