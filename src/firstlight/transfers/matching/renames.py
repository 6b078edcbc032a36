"""The user's rename rules: from the source's names to the model's, by glob with captures or by regular expression.

A rule that renames nothing is an error, as is one whose result is no name of the model: both are spelling mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

from ...errors import ArgumentError, TransferError
from ..records import Match, Piece, Shape, Target

Renames = Mapping[str | re.Pattern[str], str]


@dataclass(frozen=True, slots=True)
class Renamed:
    """What one rule did to one tensor's name."""

    rule: str
    old: str
    new: str


def apply_renames(rules: Renames | None, names: Sequence[str]) -> tuple[Renamed, ...]:
    """What the rules make of a source's names; the first rule that fits a name is the one that counts.

    Args:
        rules: from a pattern to the new name. A pattern is a glob over the whole name, whose ``*`` stand in the new
            name again, in order (``"encoder.*.attn.*": "blocks.*.attention.*"``); or, as ``re.compile(...)`` or as
            text that begins with ``re:``, a regular expression that ``re.sub`` replaces wherever it is found.
        names: the source's.

    Raises:
        ArgumentError: a rule cannot be read.
        TransferError: a rule fits no name.
    """
    if not rules:
        return ()
    found: list[Renamed] = []
    taken: set[str] = set()
    for pattern, new in rules.items():
        expression, replacement, whole = _compiled(pattern, new)
        label = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
        fits = [n for n in names if (expression.fullmatch(n) if whole else expression.search(n))]
        if not fits:
            raise TransferError(
                f"rename={{{label!r}: {new!r}}} fits none of the source's names: {_some(names)}. "
                "A glob has to fit the whole name; dry_run=True shows what rules do."
            )
        for name in fits:
            if name not in taken:
                taken.add(name)
                found.append(Renamed(label, name, _sub(expression, replacement, name, label)))
    return tuple(found)


def matched(renamed: Sequence[Renamed], targets: Sequence[Target], shapes: Mapping[str, Shape]) -> dict[str, Match]:
    """The matches that renamed names give.

    Raises:
        TransferError: two tensors got one name, or a rule made no name of the model.
    """
    by_name = {name: target for target in targets for name in target.parameter.names}
    matches: dict[str, Match] = {}
    hits: dict[str, int] = {}
    for item in renamed:
        hits.setdefault(item.rule, 0)
        target = by_name.get(item.new)
        if target is None:
            continue
        hits[item.rule] += 1
        if target.name in matches:
            other = matches[target.name].pieces[0].tensor
            raise TransferError(f"rename gives {other!r} and {item.old!r} the same name {item.new!r}")
        evidence = f"{item.rule!r} of {item.old!r}"
        matches[target.name] = Match(target.name, (Piece(item.old, shapes[item.old]),), "rename", evidence)
    for rule, count in hits.items():
        if not count:
            example = next(i for i in renamed if i.rule == rule)
            raise TransferError(
                f"rename rule {rule!r} makes no name of the model: {example.old!r} became {example.new!r}; "
                f"the model has {_some([t.name for t in targets])}"
            )
    return matches


def _compiled(pattern: str | re.Pattern[str], new: str) -> tuple[re.Pattern[str], str, bool]:
    """The expression, its replacement, and whether it has to fit the whole name."""
    if not isinstance(new, str):
        raise ArgumentError(f"rename gives {new!r} for {pattern!r}: give the new name as text")
    if isinstance(pattern, re.Pattern):
        return pattern, new, False
    if not isinstance(pattern, str):
        raise ArgumentError(f"rename has the pattern {pattern!r}: give a glob, or re.compile(...)")
    if pattern.startswith("re:"):
        try:
            return re.compile(pattern[3:]), new, False
        except re.error as error:
            raise ArgumentError(
                f"rename has the pattern {pattern!r}, which is no regular expression: {error}"
            ) from None
    stars = pattern.count("*")
    if new.count("*") > stars:
        raise ArgumentError(f"rename={{{pattern!r}: {new!r}}} has more * in the new name than in the pattern")
    counter = iter(range(1, stars + 1))
    replacement = re.sub(r"\*", lambda _: f"\\g<{next(counter)}>", new.replace("\\", "\\\\"))
    expression = "".join("(.*?)" if part == "*" else translate(part)[4:-3] for part in re.split(r"(\*)", pattern))
    return re.compile(expression), replacement, True


def _sub(expression: re.Pattern[str], replacement: str, name: str, label: str) -> str:
    try:
        return expression.sub(replacement, name)
    except (re.error, IndexError) as error:
        raise ArgumentError(f"rename cannot make {replacement!r} of {name!r} by {label!r}: {error}") from None


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" … and {len(names) - most} more" if len(names) > most else "")
