"""Text into a file that the user named: every record's ``to_json``, the command line's ``--json`` and ``--html``."""

from __future__ import annotations

from pathlib import Path

from ..errors import ArgumentError


def into(path: str | Path | None, text: str) -> str:
    """The text, which is also in the file where a path is given.

    Raises:
        ArgumentError: it cannot be written.
    """
    if path is not None:
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise ArgumentError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    return text
