"""Progressive stacking: a deeper network whose further blocks begin as copies of the source's, in turn.

With L blocks in the source, block i of the model starts as block i mod L (Gong et al. 2019, Efficient Training of BERT
by Progressively Stacking, ICML).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..records import Match, Shape, Target
from .base import Model, Supplied, Supply
from .depth import extra_blocks


def supply_stacked(
    targets: Sequence[Target],
    matches: Mapping[str, Match],
    unused: Mapping[str, Shape],  # noqa: ARG001 - blocks are copied from blocks that matched
    model: Model,  # noqa: ARG001 - names tell the blocks
    option: object,  # noqa: ARG001 - there is one way
) -> Supplied:
    """For each tensor of a further block, the match of its like in an earlier one."""
    shapes = {t.name: t.shape for t in targets}
    found = {}
    for name, (above, below, number, blocks) in extra_blocks(targets, matches).items():
        like = f"{above}{number % blocks}{below}"
        match = matches.get(like)
        if match is not None and shapes.get(like) == shapes[name]:
            evidence = f"block {number} as block {number % blocks} of {blocks}"
            found[name] = replace(match, target=name, rule="stack", evidence=evidence)
    return Supplied(matches=found)


STACK = Supply("stack", supply_stacked, "Gong et al. 2019, Efficient Training of BERT, ICML", asked=True)
