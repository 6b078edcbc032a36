"""``firstlight schemes``: the catalogue as a table."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from ..schemes import Listed, catalogue
from .show import stdout

_THREE_COLUMNS = 120


def run() -> None:
    """Print every scheme: how it is written, its formula, its source."""
    console = stdout()
    wide = console.width >= _THREE_COLUMNS
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("scheme", overflow="fold", ratio=2)
    table.add_column("weights", overflow="fold", ratio=3)
    if wide:
        table.add_column("source", style="dim", overflow="fold", ratio=4)
    for listed in catalogue():
        formula, source = escape(listed.formula), escape(listed.reference)
        if wide:
            table.add_row(_names(listed), formula, source)
        else:
            table.add_row(_names(listed), formula + (f"\n[dim]{source}[/dim]" if source else ""))
    console.print(table)
    console.print(
        "\nSmaller names are other spellings. Biases start at 0, norms as the identity, embeddings from N(0, 1). "
        "Schemes that draw weights also take recurrent=orthogonal|same and forget_bias=1.",
        highlight=False,
    )


def _names(listed: Listed) -> str:
    own = [p for p in listed.signature.parameters.values() if p.name not in ("recurrent", "forget_bias")]
    shown = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default}" for p in own)
    name = f"[bold]{listed.name}[/bold]" + (escape(f"({shown})") if shown else "")
    return name + "".join(f"\n[dim]{alias}[/dim]" for alias in listed.aliases)
