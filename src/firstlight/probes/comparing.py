"""Several records laid over one another: one model from different initializations, on the same batch."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import ArgumentError
from ..plans import Rules
from ..plans.saving import written
from ..reports.grids import SYMBOLS, profile
from ..reports.text import table
from ..writers import init_
from .measuring import measure
from .page import comparison_page, figure_of
from .records import Light, LossFunction
from .text import backward_values, forward_values, number

_HEADER = ("initialization", "loss", "untrained", "E[x²] first → last", "E[g²] first → last", "cosine at the end")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Records by name, laid over one another.

    Args:
        lights: in the order they were given.
    """

    lights: Mapping[str, Light]

    def __str__(self) -> str:
        return self.table()

    def __getitem__(self, name: str) -> Light:
        return self.lights[name]

    def table(self, width: int | None = None) -> str:
        """Loss, signal and gradient of each in a row, and both profiles by depth over one another."""
        width = width or 100
        rows = [[f"{s} {row[0]}", *row[1:]] for s, row in zip(SYMBOLS, self.rows(), strict=False)]
        forward = {n: forward_values(x) for n, x in self.lights.items()}
        backward = {n: backward_values(x) for n, x in self.lights.items() if backward_values(x)}
        longest = max(map(len, forward.values()), default=0)
        room = min(width, 10 + max(2 * longest, 40))
        shown = table(_HEADER, rows)
        if max(map(len, shown.split("\n"))) > width:  # the theory's loss is the first that can be spared
            shown = table((*_HEADER[:2], *_HEADER[3:]), [row[:2] + row[3:] for row in rows])
        found = self.found()
        marked = [f"{SYMBOLS[i]} {line}" for i, line in found.items() if i < len(SYMBOLS)]
        parts = [shown, *(["", *marked] if marked else [])]
        if longest:
            parts += ["", "E[x²] behind each weight, inputs → outputs", profile(forward, room, 10)]
        if backward:
            parts += ["", "E[g²] there, of the loss's gradient", profile(backward, room, 10)]
        return "\n".join(parts)

    def found(self) -> dict[int, str]:
        """What was found, in a line for each that has something, by its number."""
        lines = {}
        for i, (name, light) in enumerate(self.lights.items()):
            codes = dict.fromkeys(f"{f.code} ({f.where})" if f.where else str(f.code) for f in light.findings)
            if codes:
                lines[i] = f"{name}: {', '.join(codes)}"
        return lines

    def rows(self) -> list[list[str]]:
        """The cells of the table."""
        found = []
        for name, light in self.lights.items():
            loss, forward, backward = light.loss, forward_values(light), backward_values(light)
            last = next((p.forward for p in reversed(light.places) if p.forward is not None), None)
            found.append(
                [
                    name,
                    number(None if loss is None else loss.value),
                    number(None if loss is None else loss.expected),
                    f"{number(forward[0])} → {number(forward[-1])}" if forward else "",
                    f"{number(backward[0])} → {number(backward[-1])}" if backward else "",
                    number(None if last is None else last.cosine),
                ]
            )
        return found

    def plot(self) -> Any:
        """Both profiles as a plotly ``Figure``."""
        return figure_of(self.lights)

    def html(self) -> str:
        """The comparison as one HTML page that opens offline."""
        return comparison_page(self.lights, _HEADER, self.rows(), list(self.found().values()))

    def to_json(self) -> str:
        """Every record, by its name."""
        lights = {n: json.loads(light.to_json()) for n, light in self.lights.items()}
        return json.dumps({"firstlight_probes": 1, "lights": written(lights)}, indent=1)


def compare(
    what: Mapping[str, Light | nn.Module], inputs: Any = None, targets: Any = None, loss_fn: LossFunction | None = None
) -> Comparison:
    """Lay several probes over one another.

    Args:
        what: by name, records of ``fl.probe``, or models, which are then measured on the batch.
        inputs, targets, loss_fn: of the models, as ``fl.probe`` takes them.

    Raises:
        ArgumentError: there is nothing to compare, more than eight, or something is neither.
    """
    if not isinstance(what, Mapping) or not 1 <= len(what) <= len(SYMBOLS):
        raise ArgumentError(
            f"give one to {len(SYMBOLS)} records or models by name, such as {{'he': light, 'torch': other}}"
        )
    lights: dict[str, Light] = {}
    for name, value in what.items():
        if isinstance(value, Light):
            lights[str(name)] = value
        elif isinstance(value, nn.Module):
            if inputs is None:
                raise ArgumentError(f"{name!r} is a model: give inputs= to measure it on")
            lights[str(name)] = measure(value, inputs, targets, loss_fn)
        else:
            raise ArgumentError(f"{name!r} is {type(value).__name__}: give a record of fl.probe, or a model")
    return Comparison(lights)


def initialized(
    model: nn.Module, schemes: Sequence[str], inputs: Any = None, *, rules: Rules | None = None, seed: int = 0
) -> dict[str, nn.Module]:
    """A copy of a model for each scheme, initialized by it; the model is left alone.

    Args:
        model: any module that can be copied.
        schemes: as ``fl.init_`` takes them.
        inputs: example inputs, for what the trace tells.
        rules, seed: as ``fl.init_`` takes them.
    """
    found = {}
    for scheme in schemes:
        own = copy.deepcopy(model)
        init_(own, scheme, seed=seed, rules=rules, inputs=inputs)
        found[scheme] = own
    return found
