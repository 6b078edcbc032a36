"""``firstlight compare``: options and TOML into one call of ``compare``, then the table and the verdict."""

from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, UnknownNameError
from ..studies import compare, learning_curve, load_task
from .live import make_observer
from .rules import read_rules
from .show import show_curve, show_study, stdout

# The keys of a study's TOML file, which are the options' names, and the types they take.
KEYS: Mapping[str, tuple[type, ...]] = {
    "network": (str,),
    "model": (str,),
    "data": (str,),
    "test_data": (str,),
    "label": (str,),
    "image_size": (int,),
    "limit": (int,),
    "arms": (list, str),
    "rule": (list, str),
    "lr": (list, str, float, int),
    "seeds": (int,),
    "optimizer": (str,),
    "steps": (int,),
    "epochs": (float, int),
    "batch_size": (int,),
    "target": (float, int),
    "baseline": (str,),
    "teacher": (str,),
    "examples": (list, str, int),
    "out": (str, Path),
    "fresh": (bool,),
    "workers": (int,),
}
_ASKED = ("seeds", "optimizer", "steps", "epochs", "batch_size", "target", "baseline", "teacher")
_DATA = ("test_data", "label", "image_size", "limit")
# Two ways to say one thing: what the command line says replaces either in the file.
_RIVALS = (("network", "model"), ("steps", "epochs"))


def run(config: Path | None, given: Mapping[str, Any], plain: bool) -> None:
    """Settle the options, run the study with a live view, show what came out."""
    options = merged(read_config(config) if config is not None else {}, given)
    if "network" in options and "model" in options:
        raise ArgumentError("--network and --model both name the network: give one")
    about_data = {k.removesuffix("_data"): options[k] for k in _DATA if k in options}
    task = load_task(options.get("data", "digits"), **about_data)
    console = stdout()
    arms = options.get("arms")
    question = {
        "learning_rates": _numbers("lr", options["lr"], float) if "lr" in options else None,
        "rules": read_rules(_as_list(options.get("rule", []))),
        **{k: options[k] for k in _ASKED if k in options},
    }
    running = {
        "out": options.get("out"),
        "fresh": options.get("fresh", False),
        "workers": options.get("workers"),
        "observer": make_observer(console, plain=plain),
        "command": shlex.join(["firstlight", *sys.argv[1:]]),
    }
    network = options.get("model") or options.get("network") or "mlp"
    schemes = split_arms(arms) if arms is not None else None
    if "examples" in options:
        examples = _numbers("examples", options["examples"], int)
        curve = learning_curve(network, task, schemes, examples=examples, **running, **question)
        show_curve(console, curve, curve.folder / "report.html")
    else:
        study = compare(network, task, schemes, **running, **question)
        show_study(console, study, study.folder / "report.html")


def merged(file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a file under those of the command line, which win.

    >>> merged({"network": "cnn", "seeds": 3}, {"model": "net.py:Net"})
    {'seeds': 3, 'model': 'net.py:Net'}
    """
    replaced = {k for pair in _RIVALS if any(k in given for k in pair) for k in pair}
    return {**{k: v for k, v in file.items() if k not in replaced}, **given}


def read_config(path: Path) -> dict[str, Any]:
    """The options in a TOML file.

    Raises:
        ArgumentError: the file is missing or no TOML, or a value has another type.
        UnknownNameError: a key is no option; the nearest are shown.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"cannot read the study {str(path)!r}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{str(path)!r} is no TOML: {error}") from error
    options = {key.replace("-", "_"): value for key, value in raw.items()}
    for key, value in options.items():
        if key not in KEYS:
            raise UnknownNameError.of(f"key in {path.name}", key, KEYS)
        if not isinstance(value, KEYS[key]) or (isinstance(value, bool) and bool not in KEYS[key]):
            wanted = " or ".join(t.__name__ for t in KEYS[key])
            raise ArgumentError(f"in {str(path)!r}, {key} = {value!r} should be of type {wanted}")
    return options


def split_arms(given: str | list[str]) -> list[str]:
    """Arms from comma-separated text; commas within parentheses belong to an arm.

    >>> split_arms(["torch,normal(std=0.1, mean=0)", "he_normal"])
    ['torch', 'normal(std=0.1, mean=0)', 'he_normal']
    """
    arms: list[str] = []
    for text in _as_list(given):
        depth, current = 0, ""
        for character in f"{text},":
            depth += (character == "(") - (character == ")")
            if character == "," and depth <= 0:
                arms.append(current.strip())
                current = ""
            else:
                current += character
        if current:
            arms.append(current.strip().rstrip(","))
    return [a for a in arms if a]


def _as_list(given: str | list[str]) -> list[str]:
    return [given] if isinstance(given, str) else given


def _numbers(option: str, given: Any, kind: Callable[[Any], Any]) -> list[Any]:
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, list) else [given]
    try:
        return [kind(p) for p in parts]
    except (TypeError, ValueError):
        shown = "10,50,250" if kind is int else "0.01,0.1"
        raise ArgumentError(f"--{option} {given!r} should be numbers separated by commas: {shown}") from None
