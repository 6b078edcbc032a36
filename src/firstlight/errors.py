"""Every exception firstlight raises, in one tree.

Each class also inherits the built-in a caller would expect, so ``except ValueError`` keeps working::

    FirstlightError
    ├── ArgumentError (ValueError)          an argument outside its range: std ≤ 0, NaN gain, fan 0
    │   └── UnknownNameError                a scheme, network, data set or option nobody knows
    ├── ParameterError                      a parameter that cannot be initialized as asked
    │   ├── UncoveredParameterError         no rule says what the parameter is
    │   ├── UnsupportedParameterError       complex, quantised, integer, or not yet materialised
    │   └── VerificationError               a model does not hold what was written
    ├── ModelError                          the model cannot be built, or its output does not fit the task
    ├── DataError (ValueError)              the data cannot be read, or cannot be learned from
    ├── TransferError                       weights from elsewhere cannot be read or do not match
    ├── StudyError                          a study cannot be run or its results cannot be kept
    │   ├── OtherStudyError                 the run folder belongs to another study
    │   └── StoreError                      the run folder is damaged, full or read-only
    ├── FaultError                          a watched training has a fault, and was asked to stop at one
    └── MissingExtraError (ImportError)     an optional dependency is not installed

Every message says what was given, what was expected and the usual fix.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FirstlightError(Exception):
    """The base of every error firstlight raises on purpose."""


class ArgumentError(FirstlightError, ValueError):
    """An argument has a value outside its range."""


class UnknownNameError(ArgumentError):
    """A name is not one of those that exist; the message lists the nearest ones."""

    @classmethod
    def of(cls, kind: str, given: str, known: Iterable[str]) -> UnknownNameError:
        """The error for ``given`` where one of ``known`` was expected."""
        names = sorted(known)
        near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        return cls(f"unknown {kind} {given!r}. {hint}Known: {', '.join(names)}.")


class ParameterError(FirstlightError):
    """A parameter of the model cannot be initialized as asked."""


class UncoveredParameterError(ParameterError):
    """No rule says what a parameter is; the message shows the rule that would."""


class UnsupportedParameterError(ParameterError):
    """A parameter's kind (complex, quantised, integer, lazy) takes no initial weights."""


class VerificationError(ParameterError):
    """A model does not hold what its receipt says was written; the message lists every difference."""


class ModelError(FirstlightError):
    """A model cannot be built, or its output does not fit the task."""


class DataError(FirstlightError, ValueError):
    """Data cannot be read, or there is nothing in it to learn."""


class TransferError(FirstlightError):
    """Weights from elsewhere cannot be read, or do not match the model."""


class StudyError(FirstlightError):
    """A study cannot be run, or its results cannot be kept."""


class OtherStudyError(StudyError):
    """The run folder holds the results of another study."""


class StoreError(StudyError):
    """The run folder is damaged, full or read-only."""


class FaultError(FirstlightError):
    """A watched training has a fault; ``finding`` says which."""

    def __init__(self, message: str, finding: object = None) -> None:
        super().__init__(message)
        self.finding = finding


class MissingExtraError(FirstlightError, ImportError):
    """An optional dependency is needed and not installed."""

    @classmethod
    def of(cls, what: str, extra: str) -> MissingExtraError:
        """The error for ``what`` (a feature), which the extra ``extra`` brings."""
        return cls(f"{what} needs an optional dependency: pip install 'firstlight[{extra}]'")
