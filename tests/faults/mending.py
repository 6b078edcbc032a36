"""Carrying out a fix: a plan is applied, code is pasted in.

What a finding's code says in words (take the detach out) a program's own ``mend`` does, where it has one.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl
from firstlight.checks import Finding
from firstlight.plans import Plan

from .program import Case, Program


def mend(program: Program, case: Case, finding: Finding) -> bool:
    """Applies a finding's fix to a program; whether it could be."""
    fix = finding.fix()
    if isinstance(fix, Plan):
        fl.apply_(case.model, fix, seed=0)
        return True
    if program.mend is not None and program.mend(case, finding.code):
        return True
    if not fix.startswith("#"):
        return _pasted(case, finding.code, fix)
    if fix.startswith("# remove the last "):
        return _without_last(case, None)
    if fix.startswith("# replace the last "):
        return _without_last(case, nn.Sigmoid())
    if fix.startswith("# replace the Softmax at "):
        return _replaced(case.model, nn.Softmax, nn.ReLU)
    return False  # words: someone has to do it by hand


def _pasted(case: Case, code: str, text: str) -> bool:
    """Runs the code with the names that a user has."""
    if code == "not-in-optimizer":
        made = case.optimizer(case.model)
        lr, kind = made.param_groups[0]["lr"], type(made)
        case.optimizer = lambda model: kind(model.parameters(), lr=lr)
        return True
    if text == 'reduction="mean"':
        return False
    names = {
        "model": case.model,
        "inputs": case.inputs,
        "targets": case.targets,
        "torch": torch,
        "fl": fl,
        "loss_fn": None,
    }
    exec(text, names)
    case.inputs, case.targets = names["inputs"], names["targets"]
    case.loss_fn = names["loss_fn"] or case.loss_fn
    return True


def _without_last(case: Case, instead: nn.Module | None) -> bool:
    """The model without the activation it ends in."""
    if not isinstance(case.model, nn.Sequential):
        return False
    kept = list(case.model)[:-1]
    case.model = nn.Sequential(*kept, *([instead] if instead is not None else []))
    return True


def _replaced(model: nn.Module, old: type[nn.Module], new: type[nn.Module]) -> bool:
    """Every hidden layer of one kind made another."""
    layers = list(model.named_children())
    for (name, layer), _ in pairwise(layers):
        if isinstance(layer, old):
            setattr(model, name, new())
    return True


def averaged(case: Case, code: str) -> bool:
    """For programs whose loss was summed: the mean of the same."""
    if code != "unreduced-loss":
        return False
    case.loss_fn = F.mse_loss if case.targets.is_floating_point() else F.cross_entropy
    return True
