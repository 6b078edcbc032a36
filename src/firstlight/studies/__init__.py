"""Fair experiments: which initialization, for this network and this task."""

from .data import load_task
from .experiment import compare
from .learning_curves import LearningCurve, learning_curve, load_learning_curve
from .observer import Observer
from .study import Study, load_study
from .tasks import Split, Task, task_from_arrays, task_from_splits

__all__ = [
    "LearningCurve",
    "Observer",
    "Split",
    "Study",
    "Task",
    "compare",
    "learning_curve",
    "load_learning_curve",
    "load_study",
    "load_task",
    "task_from_arrays",
    "task_from_splits",
]
