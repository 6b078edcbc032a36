"""Which tensor of a weights file each parameter of a model starts from: by exact name, all but the head.

Takes a graph and a file's shapes; ``schemes.pretrained`` turns the matches into a plan.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import TransferError
from ..graphs.records import Graph, Parameter, Role
from .safetensors_file import WeightsFile

_WEIGHTS = (Role.LINEAR, Role.CONV, Role.CONV_TRANSPOSED, Role.BILINEAR, Role.DECLARED)
_NEXT = "\n  "


def head_of(graph: Graph) -> str:
    """The path of the module that holds the model's last weight: what is replaced for a new task."""
    heads = [p.module for p in graph.parameters if p.role in _WEIGHTS]
    if not heads:
        raise TransferError("the model has no linear or convolutional weight, so it has no head to leave out")
    return heads[-1]


def match(wanted: Iterable[Parameter], file: WeightsFile) -> dict[str, str]:
    """For each wanted parameter's name, the tensor in ``file`` with one of its names and its shape.

    Raises:
        TransferError: a parameter has no tensor, or one of another shape. A weight that silently stays random is
            the classic fault of loading, so a partial match is refused and named.
    """
    found: dict[str, str] = {}
    faults: list[str] = []
    for parameter in wanted:
        tensor = next((n for n in parameter.names if n in file.shapes), None)
        if tensor is None:
            faults.append(f"{parameter.name} {parameter.layout.shape}: not in the file")
        elif file.shapes[tensor] != parameter.layout.shape:
            faults.append(f"{parameter.name} {parameter.layout.shape}: the file has {file.shapes[tensor]}")
        else:
            found[parameter.name] = tensor
    if faults:
        held = _some(list(file.shapes), 6, ", ") or "no tensors"
        raise TransferError(
            f"{str(file.path)!r} does not fit the model ({len(found)} tensors match):\n  {_some(faults, 8, _NEXT)}"
            f"\nThe file holds {held}. Load weights of the same architecture, or name the part to leave fresh: "
            'pretrained(path, head="pattern").'
        )
    return found


def _some(words: list[str], most: int, between: str) -> str:
    """The first of a list of words, and how many more there are."""
    more = [f"… and {len(words) - most} more"] if len(words) > most else []
    return between.join([*words[:most], *more])
