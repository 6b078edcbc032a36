"""Who may watch a study as it runs: the terminal does, a notebook or a dashboard can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .records import Result, Setting


class Observer(Protocol):
    """Told what happens, in this order; what it does cannot change a result."""

    def on_start(self, setting: Setting, totals: Mapping[str, int], done: Mapping[str, int]) -> None:
        """The study begins: trials in all and already done, by arm (``"source"`` for what ``pretrained`` needs)."""

    def on_result(self, result: Result) -> None:
        """A trial has ended and is kept."""

    def on_end(self, completed: bool) -> None:
        """The trials are over; ``completed`` is false after an interrupt or an error."""


class Silent:
    """The observer that says nothing."""

    def on_start(self, setting: Setting, totals: Mapping[str, int], done: Mapping[str, int]) -> None:
        """Nothing."""

    def on_result(self, result: Result) -> None:
        """Nothing."""

    def on_end(self, completed: bool) -> None:
        """Nothing."""
