"""Random fields: numbers without meaning yet, each a pure function of a key and an index.

``key(seed, name)`` says which field a parameter reads, a ``Transform`` what its words become, ``fill_`` writes them.
Nothing is drawn from a global generator and none is advanced; threads, devices, dtypes and the order of calls change
no value. Initializers build transforms and keys, writers fill tensors with them.
"""

from __future__ import annotations

from .boxes import Box
from .fill import ENGINES, Job, box_words, fill_, fill_many_, values, words
from .keys import FORMAT, Key, key
from .transforms import Transform, normal, truncated_normal, uniform

__all__ = [
    "ENGINES",
    "FORMAT",
    "Box",
    "Job",
    "Key",
    "Transform",
    "box_words",
    "fill_",
    "fill_many_",
    "key",
    "normal",
    "truncated_normal",
    "uniform",
    "values",
    "words",
]
