"""A table, and the output layer beside it, for another vocabulary.

With both vocabularies given, an entry both have keeps its row. Else the first rows are kept and the table has grown.
New rows are the mean of the old ones plus noise of a hundredth of their standard deviation: a new word is then no
likelier than the average word, whatever the context (Hewitt 2021, Initializing New Word Embeddings for Pretrained
Language Models).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...errors import ArgumentError
from ...fields import Key, fill_, normal
from ...graphs.records import Role
from ..records import Reader, Step
from .base import Adaptation, Answer, Case

NOISE = 0.01


def adapt_vocabulary(case: Case) -> Answer:
    """The rows that both have, and mean rows for the new entries."""
    both = _vocabularies(case.option)
    if len(case.given) != len(case.wanted) or case.differing != (0,) or len(case.wanted) > 2:
        return None
    old, new = case.given[0], case.wanted[0]
    table = case.target.parameter.role is Role.EMBEDDING
    if not table and not (case.model.head == case.target.parameter.module and (old, new) in case.model.changed_tables):
        return None
    if both is None and new < old:
        return None
    rows = _rows(both, old, new)
    kept = sum(r is not None for r in rows)

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - all from the values
        return regrown(values, rows, key)

    how = "by token" if both is not None else "the first"
    words = f"{kept} of {new} rows kept ({how}), {new - kept} new ones at the mean of {old}"
    return Step("vocabulary", words, case.wanted, apply, VOCABULARY.reference, random=kept < new)


def regrown(values: torch.Tensor, rows: Sequence[int | None], key: Key) -> torch.Tensor:
    """The rows asked for, in order; where ``None`` is, the mean row with noise."""
    # The standard deviation over entries, of each column; the noise is a hundredth of it.
    std, mean = torch.std_mean(values.double(), dim=0, correction=0)
    noise = torch.empty((len(rows), *values.shape[1:]), dtype=torch.float32)
    fill_(noise, normal(0.0, 1.0), key)
    made = (mean + NOISE * std * noise.to(values.device)).to(values.dtype)
    kept = [(i, r) for i, r in enumerate(rows) if r is not None]
    if kept:
        into, source = (torch.tensor(side, device=values.device) for side in zip(*kept, strict=True))
        made[into] = values[source]
    return made


def _rows(both: tuple[Sequence[str], Sequence[str]] | None, old: int, new: int) -> list[int | None]:
    if both is None:
        return [i if i < old else None for i in range(new)]
    before, after = both
    if len(before) != old or len(after) != new:
        raise ArgumentError(
            f"adapt={{'vocabulary': ...}} has {len(before)} old and {len(after)} new tokens; the tables have {old} and "
            f"{new} rows"
        )
    place = {token: i for i, token in enumerate(before)}
    return [place.get(token) for token in after]


def _vocabularies(option: object) -> tuple[Sequence[str], Sequence[str]] | None:
    if option is True:
        return None
    if isinstance(option, Sequence) and not isinstance(option, str) and len(option) == 2:
        before, after = option
        if all(isinstance(side, Sequence) and not isinstance(side, str) for side in (before, after)):
            return before, after
    raise ArgumentError(
        "adapt={'vocabulary': ...}: give True, or a pair of lists: the old tokens and the new ones, in the rows' order"
    )


VOCABULARY = Adaptation("vocabulary", adapt_vocabulary, "Hewitt 2021, Initializing New Word Embeddings")
