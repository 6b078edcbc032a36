"""The ranked table and the charts of a study's page, each chart with a table of its numbers.

Made from a study's records; ``page`` puts them in their places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..reports import text
from ..reports.charts import Axis, Chart, Series, Spread, lines, strip
from ..reports.page import Block, Cell, Plot, Table, Text
from .records import ArmSummary, Comparison, CurvePoint, Interval, RateSummary, Setting

Style = Mapping[str, int]


def ranking(setting: Setting, arms: Sequence[ArmSummary], comparisons: Sequence[Comparison], style: Style) -> Table:
    """The arms, best first, with all that speaks for and against them."""
    against = {c.arm: c for c in comparisons}
    header = (
        "Initialization",
        "Test accuracy",
        "Learning rate",
        "Steps to target",
        "Diverged",
        "At chance",
        "Rates that work",
        f"Against {setting.baseline}",
    )
    rows = [
        (
            named(arm, style),
            Cell(text.percent(arm.test.mean), note=text.span(arm.test.low, arm.test.high)),
            Cell(text.rate(arm.learning_rate)),
            steps(arm),
            Cell(f"{arm.diverged} of {arm.trials}", note=f"{arm.failed} failed" if arm.failed else ""),
            Cell(f"{arm.at_chance} of {arm.trials}"),
            Cell(text.rates(arm.working_rates, setting.learning_rates)),
            _difference(against.get(arm.arm)),
        )
        for arm in arms
    ]
    caption = (
        f"Mean test accuracy over {text.counted(len(setting.seeds), 'seed')} with its 95 % bootstrap interval, at the "
        "learning rate with the best mean validation accuracy; diverged and at chance count the runs at that rate. A "
        "rate works if more than half of its seeds end at the target or above, "
        f"{text.percent(setting.target)} on validation. Differences to {setting.baseline} in percentage points, p "
        "Holm-corrected."
    )
    return Table(caption, header, rows)


def named(arm: ArmSummary, style: Style) -> Cell:
    """An arm's name beside the key of its lines."""
    return Cell(arm.arm, style=style[arm.arm])


def steps(arm: ArmSummary) -> Cell:
    """Mean steps to the target, and how many seeds got there."""
    if arm.steps_to_target is None:
        return Cell("never", note=f"0 of {text.counted(arm.trials, 'seed')}")
    return Cell(text.count(arm.steps_to_target.mean), note=f"{arm.reached} of {text.counted(arm.trials, 'seed')}")


def _difference(comparison: Comparison | None) -> Cell:
    if comparison is None:
        return Cell("baseline")
    return Cell(text.points(comparison.difference.mean), note=text.equals_p(comparison.p_holm))


def spread(arms: Sequence[ArmSummary], style: Style) -> list[Block]:
    """Test accuracies, seed by seed."""
    chart = strip(
        "Test accuracy of each seed",
        "Test accuracy by initialization, best first: "
        + "; ".join(f"{a.arm} {text.percent(a.test.mean)} ({text.span(a.test.low, a.test.high)})" for a in arms),
        Axis("Test accuracy", percent=True),
        [Spread(a.arm, style[a.arm], a.test_accuracies, a.test.mean, a.test.low, a.test.high) for a in arms],
    )
    caption = (
        "Pale: the single runs. Full: their mean, with its 95 % interval. A run that failed has no dot and counts 0."
    )
    return drawn(chart, caption)


def drawn(chart: Chart, caption: str = "", numbers: Table | None = None) -> list[Block]:
    """The chart, or a sentence where nothing was measured that it could show."""
    if chart.empty:
        return [Text([f"{chart.title}: no run got far enough to measure it."])]
    return [Plot(chart, caption, numbers)]


def training(setting: Setting, arms: Sequence[ArmSummary], style: Style) -> list[Block]:
    """Accuracy and loss over the steps."""

    def series(pick: Callable[[CurvePoint], Interval]) -> list[Series]:
        return [_over(a.arm, style[a.arm], [p.step for p in a.curve], [pick(p) for p in a.curve]) for a in arms]

    accuracy = lines(
        "Validation accuracy",
        "Mean validation accuracy over training steps for each initialization, with 95 % intervals.",
        Axis("Step"),
        Axis("Validation accuracy", percent=True),
        series(lambda p: p.accuracy),
        reference=(setting.target, f"target, {text.percent(setting.target)}"),
    )
    loss = lines(
        "Training loss",
        "Mean training loss over training steps for each initialization, with 95 % intervals, logarithmic.",
        Axis("Step"),
        Axis("Cross-entropy", log=True),
        series(lambda p: p.train_loss),
    )
    caption = "Each at its own learning rate: mean over seeds with the 95 % interval of the mean."
    return [
        *drawn(accuracy, caption, _curve_table(arms, style, lambda p: text.percent(p.accuracy.mean))),
        *drawn(loss, "Mean over the steps since the point before.", _curve_table(arms, style, _loss)),
    ]


def _loss(point: CurvePoint) -> str:
    return f"{point.train_loss.mean:.3g}" if point.train_loss.n else text.MISSING


def _curve_table(arms: Sequence[ArmSummary], style: Style, show: Callable[[CurvePoint], str]) -> Table:
    """Five steps, evenly spread from the first to the last."""
    seen = sorted({p.step for a in arms for p in a.curve})
    chosen = sorted({seen[round(i * (len(seen) - 1) / 4)] for i in range(5)}) if seen else []
    rows = []
    for arm in arms:
        by_step = {p.step: p for p in arm.curve}
        cells = (Cell(show(by_step[s]) if s in by_step else text.MISSING) for s in chosen)
        rows.append((named(arm, style), *cells))
    return Table("Means over seeds.", ("Initialization", *(f"Step {s:,}" for s in chosen)), rows)


def rates(setting: Setting, arms: Sequence[ArmSummary], style: Style) -> list[Block]:
    """Accuracy against the learning rate."""
    chart = lines(
        "Accuracy against learning rate",
        "Final validation accuracy at each learning rate for each initialization, with 95 % intervals.",
        Axis("Learning rate", log=True, ticks=setting.learning_rates),
        Axis("Validation accuracy", percent=True),
        [_over(a.arm, style[a.arm], [r.learning_rate for r in a.rates], [r.validation for r in a.rates]) for a in arms],
        bands=False,
        markers=True,
        reference=(setting.chance, f"chance, {text.percent(setting.chance)}"),
    )
    caption = (
        "After the last step, mean over seeds with its 95 % interval. An initialization that works over a wide range "
        "of rates is easier to use than one that needs the right one."
    )
    return drawn(chart, caption, _rate_table(setting, arms, style))


def _rate_table(setting: Setting, arms: Sequence[ArmSummary], style: Style) -> Table:
    rows = []
    for arm in arms:
        by_rate = {r.learning_rate: r for r in arm.rates}
        cells = (_rate_cell(by_rate[r]) if r in by_rate else Cell(text.MISSING) for r in setting.learning_rates)
        rows.append((named(arm, style), *cells))
    caption = "Mean validation accuracy after the last step, and how many seeds reached the target."
    return Table(caption, ("Initialization", *map(text.rate, setting.learning_rates)), rows)


def _rate_cell(rate: RateSummary) -> Cell:
    lost = "".join(f", {n} {word}" for n, word in ((rate.diverged, "diverged"), (rate.failed, "failed")) if n)
    return Cell(text.percent(rate.validation.mean), note=f"{rate.reached} of {rate.trials} reached it{lost}")


def _over(name: str, style: int, x: Sequence[float], intervals: Sequence[Interval]) -> Series:
    return Series(name, style, x, [i.mean for i in intervals], [i.low for i in intervals], [i.high for i in intervals])


def signal(arms: Sequence[ArmSummary], style: Style) -> list[Block]:
    """Second moments by depth at step 0, forward and backward."""
    known = [(a, a.signal) for a in arms if a.signal is not None]
    if not known:
        return [Text(["No run got as far as its first batch."])]
    activations = [(a, s.activations) for a, s in known]
    gradients = [(a, s.gradients) for a, s in known]
    forward = _by_depth(
        "Activations",
        "Second moment of the outputs of each weight layer at step 0, by depth, logarithmic.",
        "E[activation²]",
        [(a.arm, style[a.arm], y) for a, y in activations],
    )
    backward = _by_depth(
        "Gradients",
        "Second moment of the loss's gradient to each weight layer's output at step 0, by depth, logarithmic.",
        "E[gradient²]",
        [(a.arm, style[a.arm], y) for a, y in gradients],
    )
    layers = known[0][1].layers
    caption = (
        "Mean square of each weight layer's output on the first batch, before training; geometric mean over seeds. A "
        "signal that gets through stays level; a line ends where the value is zero or no longer finite."
    )
    back = "The same of the loss's gradient to that output, which travels from the last layer (right) to the first."
    return [
        *drawn(forward, caption, _depth_table(layers, activations, style)),
        *drawn(backward, back, _depth_table(layers, gradients, style)),
    ]


def _by_depth(title: str, words: str, axis: str, moments: Sequence[tuple[str, int, Sequence[float]]]) -> Chart:
    series = [Series(name, style, list(range(1, len(y) + 1)), y) for name, style, y in moments]
    return lines(title, words, Axis("Weight layer, input side first"), Axis(axis, log=True), series)


def _depth_table(layers: Sequence[str], moments: Sequence[tuple[ArmSummary, Sequence[float]]], style: Style) -> Table:
    """Five layers, evenly spread from the first to the last."""
    last = len(layers) - 1
    chosen = sorted({round(i * last / 4) for i in range(5)}) if layers else []
    rows = [
        (named(arm, style), *(Cell(f"{y[i]:.2g}" if i < len(y) else text.MISSING) for i in chosen))
        for arm, y in moments
    ]
    caption = f"Second moments at {len(chosen)} of the {text.counted(len(layers), 'weight layer')}."
    return Table(caption, ("Initialization", *(f"{i + 1}: {layers[i]}" for i in chosen)), rows)
