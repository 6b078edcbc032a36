"""firstlight: the initial weights of PyTorch networks.

Give a model its weights (``init_``), and measure what the choice does to training (``compare``). This file is the
table of contents, in the order data flows. A name's room is loaded when the name is first asked for: the command
line answers ``--help`` without torch, and only studies load scipy, scikit-learn and plotly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checks import Curve as Curve
    from .checks import Finding as Finding
    from .checks import Findings as Findings
    from .checks import Watch as Watch
    from .checks import diagnose as diagnose
    from .checks import diagnose_curve as diagnose_curve
    from .checks import probe as probe
    from .checks import read_log as read_log
    from .checks import watch as watch
    from .errors import ArgumentError as ArgumentError
    from .errors import DataError as DataError
    from .errors import FaultError as FaultError
    from .errors import FirstlightError as FirstlightError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import ModelError as ModelError
    from .errors import OtherStudyError as OtherStudyError
    from .errors import ParameterError as ParameterError
    from .errors import StoreError as StoreError
    from .errors import StudyError as StudyError
    from .errors import TransferError as TransferError
    from .errors import UncoveredParameterError as UncoveredParameterError
    from .errors import UnknownNameError as UnknownNameError
    from .errors import UnsupportedParameterError as UnsupportedParameterError
    from .errors import VerificationError as VerificationError
    from .graphs import Axes as Axes
    from .initializers import Constant as Constant
    from .initializers import DeltaOrthogonal as DeltaOrthogonal
    from .initializers import Dirac as Dirac
    from .initializers import GlorotNormal as GlorotNormal
    from .initializers import GlorotUniform as GlorotUniform
    from .initializers import HeNormal as HeNormal
    from .initializers import HeUniform as HeUniform
    from .initializers import Identity as Identity
    from .initializers import Initializer as Initializer
    from .initializers import KaimingNormal as KaimingNormal
    from .initializers import KaimingUniform as KaimingUniform
    from .initializers import Layout as Layout
    from .initializers import LecunNormal as LecunNormal
    from .initializers import LecunUniform as LecunUniform
    from .initializers import Normal as Normal
    from .initializers import Ones as Ones
    from .initializers import Orthogonal as Orthogonal
    from .initializers import PerBlock as PerBlock
    from .initializers import Sparse as Sparse
    from .initializers import Stft as Stft
    from .initializers import TruncatedNormal as TruncatedNormal
    from .initializers import Uniform as Uniform
    from .initializers import VarianceScaling as VarianceScaling
    from .initializers import XavierNormal as XavierNormal
    from .initializers import XavierUniform as XavierUniform
    from .initializers import Zeros as Zeros
    from .initializers import gain as gain
    from .initializers import sample as sample
    from .plans import Keep as Keep
    from .plans import Plan as Plan
    from .plans import Selector as Selector
    from .probes import Light as Light
    from .schemes import catalogue as catalogue
    from .schemes import plan as plan
    from .studies import LearningCurve as LearningCurve
    from .studies import Study as Study
    from .studies import Task as Task
    from .studies import compare as compare
    from .studies import learning_curve as learning_curve
    from .studies import load_task as load_task
    from .studies import task_from_arrays as task_from_arrays
    from .transfers import TransferReport as TransferReport
    from .transfers import freeze_ as freeze_
    from .transfers import groups_by_depth as groups_by_depth
    from .writers import Receipt as Receipt
    from .writers import Verification as Verification
    from .writers import apply_ as apply_
    from .writers import init_ as init_
    from .writers import load_ as load_
    from .writers import reset_last_ as reset_last_
    from .writers import verify as verify

__version__ = "0.1.0"

_CONTENTS: dict[str, tuple[str, ...]] = {
    # weights
    "writers": ("init_", "apply_", "load_", "reset_last_", "verify", "Receipt", "Verification"),
    "transfers": ("TransferReport", "groups_by_depth", "freeze_"),
    "schemes": ("plan", "catalogue"),
    "plans": ("Plan", "Keep", "Selector"),
    "graphs": ("Axes",),
    "initializers": (
        "Initializer",
        "Layout",
        "sample",
        "gain",
        "Constant",
        "Zeros",
        "Ones",
        "PerBlock",
        "Identity",
        "Dirac",
        "Uniform",
        "Normal",
        "TruncatedNormal",
        "VarianceScaling",
        "GlorotUniform",
        "GlorotNormal",
        "XavierUniform",
        "XavierNormal",
        "HeUniform",
        "HeNormal",
        "KaimingUniform",
        "KaimingNormal",
        "LecunUniform",
        "LecunNormal",
        "Orthogonal",
        "DeltaOrthogonal",
        "Sparse",
        "Stft",
    ),
    # light
    "probes": ("Light",),
    "checks": ("probe", "diagnose", "watch", "Watch", "Finding", "Findings", "diagnose_curve", "read_log", "Curve"),
    # evidence
    "studies": ("compare", "learning_curve", "LearningCurve", "Study", "Task", "load_task", "task_from_arrays"),
    "errors": (
        "FirstlightError",
        "ArgumentError",
        "UnknownNameError",
        "ParameterError",
        "UncoveredParameterError",
        "UnsupportedParameterError",
        "VerificationError",
        "ModelError",
        "DataError",
        "TransferError",
        "StudyError",
        "OtherStudyError",
        "StoreError",
        "FaultError",
        "MissingExtraError",
    ),
}
_ROOMS = {name: room for room, names in _CONTENTS.items() for name in names}

__all__ = [name for names in _CONTENTS.values() for name in names]


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
