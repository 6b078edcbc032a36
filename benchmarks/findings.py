"""Findings at step 0: recall and false alarms on the programs of tests/faults, and whether the fixes make them train.

    python benchmarks/findings.py            what is found: about half a minute
    python benchmarks/findings.py --fixes    every faulty program trained before and after its fixes: about 5 minutes

Writes benchmarks/results/findings.md. Thresholds were chosen on the "calibration" half, a fixed split by the hash of
the program's name. The "fresh" and "later" programs were written once the rules stood; docs/findings.md says what the
first run on each set gave, before its misses were looked at. Without --fixes the table of fixes that stands is kept.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from scipy.stats import beta  # noqa: E402

from faults.collection import BLIND, FRESH, HEALTHY, LATER, STEP_0  # noqa: E402
from faults.judging import Mended, Verdict, judged, repaired, shares  # noqa: E402

_TITLE = "## Do the fixes make them train?"
RESULTS = Path(__file__).parent / "results" / "findings.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fixes", action="store_true", help="train every faulty program before and after its fixes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    own = (*STEP_0, *HEALTHY)
    sets = {
        "calibration half": [p for p in own if p.calibrates],
        "other half": [p for p in own if not p.calibrates],
        "fresh": list(FRESH),
        "later": list(LATER),
        "blind": [p for p in BLIND if p.when == "step 0"],
    }
    verdicts = {name: [judged(p) for p in programs] for name, programs in sets.items()}
    text = "# Findings at step 0\n\n`python benchmarks/findings.py --fixes`\n\n" + _found(verdicts)
    before = RESULTS.read_text() if RESULTS.exists() else ""
    RESULTS.write_text(text + (f"\n{_TITLE}{before.split(_TITLE, 1)[1]}" if _TITLE in before else ""))
    print(text)
    if arguments.fixes:
        blind = [p for p in (*FRESH, *LATER, *BLIND) if p.faults and p.when == "step 0"]
        mended = [_told(repaired(p)) for p in (*STEP_0, *blind)]
        n = len(STEP_0)
        parts = [f"\n{_TITLE}\n", _fixed("tests/faults", mended[:n]), _fixed("fresh, later and blind", mended[n:])]
        RESULTS.write_text(text + "\n".join(parts))


def _found(verdicts: dict[str, list[Verdict]]) -> str:
    lines = [
        "| programs | faulty | right fault and layer | as the first finding | healthy | false alarms |",
        "|---|---|---|---|---|---|",
    ]
    for name, of in verdicts.items():
        n, hit, first, well, alarms = shares(of)
        lines.append(f"| {name} | {n} | {_share(hit, n)} | {_share(first, n)} | {well} | {_share(alarms, well)} |")
    lines += ["", "Intervals: 95 %, Clopper-Pearson. An alarm is any error or warning; notes are none.", ""]
    wrong = [
        v
        for of in verdicts.values()
        for v in of
        if (v.program.faults and not v.first) or (not v.program.faults and v.findings)
    ]
    if wrong:
        lines += ["Not as they should be:", ""]
        for v in wrong:
            got = ", ".join(f"{f.severity} {f.code} at {f.where}" for f in v.findings) or "nothing"
            lines.append(f"- {v.program.name} ({' or '.join(sorted(v.program.faults)) or 'healthy'}): {got}")
        lines.append("")
    return "\n".join(lines)


def _share(k: int, n: int) -> str:
    low = beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return f"{k} ({100 * k / n:.0f} %, {100 * low:.0f} to {100 * high:.0f})"


def _told(done: Mended) -> Mended:
    print(_row(done), flush=True)
    return done


def _fixed(name: str, mended: Sequence[Mended]) -> str:
    sick = [m for m in mended if m.failed_before]
    cured = [m for m in sick if m.trains_after]
    hale = [m for m in mended if not m.failed_before]
    still = [m for m in hale if m.trains_after]
    return "\n".join(
        [
            f"**{name}.** Of {len(mended)} faulty programs {len(sick)} do not reach their score as they are; after at "
            f"most three fixes {_share(len(cured), len(sick))} of these do. {len(hale)} train in spite of their fault; "
            f"{len(still)} of them still do.",
            "",
            "| program | score before | after | needed | fixes applied |",
            "|---|---|---|---|---|",
            *[_row(m) for m in mended],
            "",
        ]
    )


def _row(m: Mended) -> str:
    after = f"{m.after:.3f}" if m.trains_after else f"**{m.after:.3f}**"
    return f"| {m.program.name} | {m.before:.3f} | {after} | {m.needed:g} | {', '.join(m.applied)} |"


if __name__ == "__main__":
    main()
