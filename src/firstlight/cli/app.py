"""``firstlight``: the commands, and what becomes of an error or an interrupt.

Each command's file is imported when the command runs, so that help needs no torch.
"""

from __future__ import annotations

import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .. import __version__
from ..errors import FirstlightError

app = typer.Typer(
    name="firstlight",
    help="The initial weights of neural networks: choose them, and measure what they do.",
    epilog="Start with: firstlight compare",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FAILED, INTERRUPTED = 2, 130

_COMPARE = """Train a network from different initializations, and see on your data which one to use.

Without arguments: nine initializations of a 20-layer ReLU network on handwritten digits, four learning rates, ten \
seeds; one to two minutes on two cores. Results land in the run folder as they come; the same command goes on where \
it was interrupted.

[bold]Examples[/bold]

    firstlight compare
    firstlight compare --network cnn --seeds 5
    firstlight compare --arms torch,he_normal --arms 'normal(std=0.02)'
    firstlight compare --model net.py:Net --data images/
    firstlight compare --data flowers.csv --label species --epochs 20
    firstlight compare study.toml --seeds 20

[bold]A study in a file[/bold] has the same options as keys:

    model = "net.py:Net"
    data = "images.zip"
    arms = \\["torch", "he_normal"]
    lr = \\[0.001, 0.01]
"""

Debug = Annotated[
    bool, typer.Option("--debug", help="Show the whole traceback of an error.", rich_help_panel="When it fails")
]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"firstlight {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


@app.command(help=_COMPARE)
def compare(
    study: Annotated[
        Path | None,
        typer.Argument(help="A study in a TOML file, with these options as keys; options given here win."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The same, as an option.", rich_help_panel="What")] = None,
    network: Annotated[
        str | None, typer.Option(help="An embedded network: mlp (the default) or cnn.", rich_help_panel="What")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Your own: file.py:factory or package.module:factory, called with (input shape, classes) or nothing.",
            rich_help_panel="What",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits (the default), digits10, an .npz, a .csv or .parquet with a label column, a folder or zip of "
            "images by class, or file.py:factory.",
            rich_help_panel="What",
        ),
    ] = None,
    test_data: Annotated[
        str | None, typer.Option(help="The test part, where it is a file of its own.", rich_help_panel="What")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The label column of a table.", rich_help_panel="What")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Resize images to this many pixels a side.", rich_help_panel="What")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="Train and validate on so many examples, each class in its share.", rich_help_panel="What"),
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            help="Initializations, separated by commas or given again: torch,he_normal,'normal(std=0.02)'. "
            "firstlight schemes lists them.",
            rich_help_panel="What",
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="A rule for what no scheme knows: 'LlamaRMSNorm.weight=fl.Ones()'; may be given again.",
            rich_help_panel="What",
        ),
    ] = None,
    lr: Annotated[
        str | None, typer.Option(help="Learning rates, separated by commas: 0.01,0.1.", rich_help_panel="How")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds (10).", rich_help_panel="How")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd or adamw (sgd).", rich_help_panel="How")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates (200).", rich_help_panel="How")] = None,
    epochs: Annotated[
        float | None, typer.Option(help="The same in passes over the data.", rich_help_panel="How")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples an update (32).", rich_help_panel="How")] = None,
    target: Annotated[
        float | None,
        typer.Option(
            help="Validation accuracy whose first step is noted (half-way from chance to perfect).",
            rich_help_panel="How",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The arm the others are tested against (torch).", rich_help_panel="How")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="The larger network that the arm weight_selection starts from, as --model.", rich_help_panel="How"
        ),
    ] = None,
    examples: Annotated[
        str | None,
        typer.Option(
            help="Training examples of each class, separated by commas: 10,50,250. One study for each, and one figure.",
            rich_help_panel="How",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder (runs/<task>-<network>-<mark>).", rich_help_panel="Run")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over: forget the results in the run folder.", rich_help_panel="Run")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes (as many as cores; 0 for none).", rich_help_panel="Run")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Plain lines also on a terminal.", rich_help_panel="Run")
    ] = False,
    debug: Debug = False,
) -> None:
    """Settle which file and options were given, and run the study."""
    given = {k: v for k, v in locals().items() if k not in ("study", "config", "plain", "debug")}
    given = {k: v for k, v in given.items() if v is not None and v is not False}
    if study is not None and config is not None:
        raise typer.BadParameter(f"{study} and --config {config} both name a study: give one")
    _run("compare", debug, study or config, given, plain)


@app.command()
def plan(
    model: Annotated[
        str,
        typer.Argument(
            help="file.py:factory or package.module:factory: called with nothing, it gives a model or (model, inputs)."
        ),
    ],
    scheme: Annotated[str, typer.Option(help="The initialization; firstlight schemes lists them.")] = "auto",
    shape: Annotated[
        str | None, typer.Option(help="Example inputs of this shape, random: 8,3,32,32. One forward then tells more.")
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(help="Example inputs from file.py:function: a tensor, a tuple or a dict.")
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="A rule for single parameters: 'Norm.gamma=fl.Ones()'; may be given again.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the plan as JSON, which fl.Plan.from_json reads.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the plan as one HTML page.")] = None,
    debug: Debug = False,
) -> None:
    """Show how a model would be initialized: each parameter, what it is, what it gets, and why. Writes no weights."""
    _run("plan", debug, model, scheme, shape, inputs, rule or [], json, html)


@app.command()
def probe(
    model: Annotated[
        str,
        typer.Argument(
            help="file.py:factory or package.module:factory: called with nothing, it gives a model or (model, inputs)."
        ),
    ],
    init: Annotated[
        list[str] | None,
        typer.Option(help="Initializations to lay over one another: torch,he_normal. As built where none is given."),
    ] = None,
    shape: Annotated[str | None, typer.Option(help="Inputs of this shape, random: 64,3,32,32.")] = None,
    inputs: Annotated[
        str | None, typer.Option(help="Inputs from file.py:function: a tensor, a tuple or a dict.")
    ] = None,
    targets: Annotated[str | None, typer.Option(help="Targets from file.py:function.")] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="The loss: cross_entropy, mse_loss … or file.py:function. Chosen by the targets otherwise."),
    ] = None,
    lr: Annotated[float | None, typer.Option(help="SGD's learning rate: how large the first update would be.")] = None,
    jacobian: Annotated[bool, typer.Option("--jacobian", help="The spectrum of ∂output/∂input as well.")] = False,
    seed: Annotated[int, typer.Option(help="Of the initialization and of what is drawn to measure.")] = 0,
    rule: Annotated[
        list[str] | None, typer.Option(help="A rule for single parameters: 'Norm.gamma=fl.Ones()'; may be given again.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Write the numbers as JSON, which fl.Light.from_json reads.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write them as one HTML page.")] = None,
    debug: Debug = False,
) -> None:
    """Show how the signal travels through a model at step 0, forward and backward, and what is wrong with it."""
    _run("probe", debug, model, init or [], shape, inputs, targets, loss, lr, jacobian, seed, rule or [], json, html)


@app.command()
def load(
    model: Annotated[
        str,
        typer.Argument(
            help="file.py:factory or package.module:factory: called with nothing, it gives a model or (model, inputs)."
        ),
    ],
    source: Annotated[
        Path, typer.Argument(help="Weights: safetensors, a torch checkpoint, a sharded index, a folder of either.")
    ],
    rename: Annotated[
        list[str] | None,
        typer.Option(help="From the source's names to the model's: 'encoder.*=backbone.*', 're:^bert=net'; again."),
    ] = None,
    adapt: Annotated[
        list[str] | None,
        typer.Option(help="Adaptations of shapes, by name, or none; by default all that keep the network what it is."),
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(help="What stays fresh though it may match: 'head.*'.")] = None,
    fresh: Annotated[str, typer.Option(help="The initialization of what is not loaded; keep leaves it.")] = "auto",
    section: Annotated[str | None, typer.Option(help="A nested checkpoint's section: model_ema.")] = None,
    require: Annotated[float, typer.Option(help="The share of values that has to come from the source.")] = 0.1,
    shape: Annotated[
        str | None, typer.Option(help="Example inputs of this shape, random: 8,3,32,32. One forward then tells more.")
    ] = None,
    inputs: Annotated[
        str | None, typer.Option(help="Example inputs from file.py:function: a tensor, a tuple or a dict.")
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(help="A rule for single fresh parameters: 'Norm.gamma=fl.Ones()'; again.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    every: Annotated[bool, typer.Option("--all", help="List also what is loaded under its own name.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the loaded model's weights as safetensors.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    debug: Debug = False,
) -> None:
    """Start a model from other weights: match, adapt, and show what became of every parameter."""
    lists = [rename or [], adapt or [], skip or []]
    rest = (fresh, section, require, shape, inputs, rule or [], seed, dry_run, every, out, json)
    _run("load", debug, model, source, *lists, *rest)


@app.command()
def schemes(debug: Debug = False) -> None:
    """List the initializations: how each is written, its formula and its source."""
    _run("schemes", debug)


@app.command()
def diagnose(
    log: Annotated[
        Path,
        typer.Argument(
            help="A table (CSV, Lightning's metrics.csv), JSON or JSON lines, trainer_state.json, a TensorBoard event "
            "file or a run's folder."
        ),
    ],
    column: Annotated[str | None, typer.Option(help="The training loss's column or tag, if not a usual name.")] = None,
    validation: Annotated[str | None, typer.Option(help="The validation loss's, likewise.")] = None,
    trivial: Annotated[float | None, typer.Option(help="The loss of the best constant prediction.")] = None,
    classes: Annotated[int | None, typer.Option(help="How many balanced classes: that loss is then log N.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the findings as JSON.")] = None,
    debug: Debug = False,
) -> None:
    """Name what is wrong with a finished run from its loss curve: stuck, at chance, swinging, diverged, over-fitting.

    Exit code 0 without errors among the findings, 1 with, 2 where the log cannot be read.
    """
    _run("diagnose", debug, log, column, validation, trivial, classes, json)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The run folder of a finished study.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the page (report.html in the folder).")] = None,
    debug: Debug = False,
) -> None:
    """Write the report of a finished study again, and print its table."""
    _run("report", debug, folder, out)


def _run(command: str, debug: bool, *arguments: object) -> None:
    """Run a command: a firstlight error becomes one message and exit code 2, Ctrl-C a line and 130."""
    stderr = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        import_module(f".{command}", __package__).run(*arguments)
    except FirstlightError as error:
        if debug or os.environ.get("FIRSTLIGHT_DEBUG"):
            raise
        stderr.print(f"[bold red]error:[/bold red] {escape(str(error))}")
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        kept = " Finished trials are kept: the same command goes on from there." if command == "compare" else ""
        stderr.print(f"\nInterrupted.{kept}")
        raise typer.Exit(INTERRUPTED) from None


def main() -> None:
    """The entry point of the process, which a scheduler's notice ends as cleanly as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
