"""A watch at work: hooks on the optimizer, one call for each loss, and when to look.

``watch`` makes it. ``watch_meter`` measures the steps that ``watch_schedule`` chooses; ``curves_rules`` and
``training`` make findings of them, ``training_causes`` says why.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from ..errors import ArgumentError, FaultError
from . import watch_text
from .curves_rules import diagnose_curve
from .findings import Findings
from .records import Evidence, Finding, Severity
from .training import diagnose_training
from .training_causes import explain
from .training_records import FIRST, LAST, Sample, Training
from .watch_losses import WAITING, Losses
from .watch_meter import Meter, layers_of
from .watch_model import hooked, plain_momentum, trained
from .watch_origin import Where, origin
from .watch_schedule import Schedule
from .watch_sharpness import sharpness
from .watch_trivial import CALLS, Targets

SMALL = 10_000_000  # parameters up to which the first step's sharpness is measured
BLOWN = 1e3  # times the first loss: looked at without waiting
FIRST_CHECK, BETWEEN = 20, 1.3  # losses before the first look, and the factor to the next
AT_ONCE = frozenset({"non-finite-values", "non-finite-gradients", "loss-diverged", "flipped-loss"})


@dataclass(slots=True)
class _Seen:
    """The model's last inputs, for the rerun that finds an origin."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None


class Watch:
    """What ``fl.watch`` gives. Enter it with ``with``; hooks come off at its end, also after an exception."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        schedule: Schedule,
        suspect: tuple[str, ...],
        trivial: float | None,
        curvature: bool,
        limit: Severity | None,
        callback: Callable[[Finding], object] | None,
    ) -> None:
        self._model, self._optimizers, self._schedule = model, optimizers, schedule
        self._suspect, self._given, self._limit, self._callback = suspect, trivial, limit, callback
        parameters = trained(model, optimizers)
        self._meter = Meter([p for _, p in parameters], layers_of(parameters, model))
        small = sum(p.numel() for _, p in parameters) <= SMALL and not self._meter.sharded and not hooked(model)
        self._curvature = curvature and small
        self._momentum = plain_momentum(optimizers)
        self._losses, self._targets = Losses(), Targets()
        self._first: list[Sample] = []
        self._last: list[Sample] = []
        self._sharpness: float | None = None
        self._steps, self._calls, self._next_check = 0, 0, FIRST_CHECK
        self._said: list[Finding] = []
        self._pending: dict[str, int] = {}
        self._queue: list[Finding] = []
        self._seen = _Seen()
        self._handles: list[Any] = []
        self._clock, self._own, self._cost = 0.0, 0.0, 0.0

    # ── the loop

    def __enter__(self) -> Self:
        """Put the hooks on."""
        if self._handles:
            raise ArgumentError("this watch is on already: leave its with block first")
        self._clock = self._own = 0.0
        for number, optimizer in enumerate(self._optimizers):
            self._handles.append(optimizer.register_step_pre_hook(self._pre_hook(number)))
            self._handles.append(optimizer.register_step_post_hook(self._post_hook(number)))
        self._handles.append(self._model.register_forward_pre_hook(self._note_inputs, with_kwargs=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the hooks off and look at the whole once more."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if not self._meter.sharded:
            self._meter.drop_pair()
            self._take()
        self._losses.flush()
        self._check(final=True)
        self._seen = _Seen()
        self._say(raising=error is None)

    def step(self, loss: torch.Tensor | float, validation: torch.Tensor | float | None = None) -> None:
        """Show the loss of this step; call it once for each loss, before ``backward()``.

        Losses between two steps of the optimizer (accumulated gradients) count as one, their mean. Give the loss
        itself, not the one a ``GradScaler`` has scaled.

        Raises:
            ArgumentError: the loss is no single number.
            FaultError: a finding is as severe as ``raise_on``.
        """
        started = time.perf_counter()
        self._calls += 1
        step = self._steps + 1 if self._optimizers else self._calls
        if isinstance(loss, torch.Tensor):
            self._see_tensor(loss, step)
        elif isinstance(loss, int | float):
            self._losses.add(step, float(loss))
        else:
            raise ArgumentError(f"w.step(loss) takes a tensor with one value or a number, not {type(loss).__name__}")
        if validation is not None:
            self.log(validation_loss=validation)
        bad, latest = self._losses.first_bad, self._losses.latest
        first = self._losses.values[0] if self._losses.values else latest
        if bad is not None and not self._known("non-finite-values"):
            self._check(final=False, found=self._non_finite(*bad))
        elif step >= self._next_check or abs(latest) > BLOWN * (abs(first) + 1):
            self._check(final=False)
        if self._queue:
            self._say(raising=True)
        self._own += time.perf_counter() - started

    def log(self, *, validation_loss: torch.Tensor | float) -> None:
        """Show a validation loss, measured after the steps so far."""
        self._losses.validation.append((float(self._steps or self._calls), float(validation_loss)))

    def _see_tensor(self, loss: torch.Tensor, step: int) -> None:
        if loss.numel() != 1:
            raise ArgumentError(
                f"w.step(loss) takes a loss with one value, not of shape {tuple(loss.shape)}: reduce it, loss.mean()"
            )
        if self._given is None and self._targets.calls < CALLS:
            self._targets.see(loss)
        if self._curvature and self._sharpness is None and step == 1 and self._calls == 1 and loss.requires_grad:
            self._sharpness = sharpness(loss, self._meter.parameters)
        if loss.device.type == "cpu":
            self._losses.add(step, loss.item())
        else:
            self._losses.hold(step, loss.detach().reshape(()))
            if len(self._losses.waiting) >= WAITING or step < WAITING // 2 or step >= self._next_check:
                self._losses.flush()

    # ── hooks

    def _pre_hook(self, number: int) -> Callable[..., None]:
        def hook(optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if number == 0:
                now = time.perf_counter()
                if self._clock:
                    self._schedule.steps.append(max(now - self._clock - self._own, 1e-9))
                self._clock, self._own = now, 0.0
                self._steps += 1
                scale = getattr(optimizer, "grad_scale", None)
                if self._meter.waits:
                    self._meter.next_step(scale)
                    self._settle(now)
                if self._schedule.due(self._steps):
                    began = time.perf_counter()
                    closure = (len(args) > 1 and args[1] is not None) or kwargs.get("closure") is not None
                    skipped = getattr(optimizer, "found_inf", None)
                    self._meter.before(self._steps, self._rates(), closure, scale, skipped)
                    self._cost = time.perf_counter() - began
                self._own += time.perf_counter() - now

        return hook

    def _post_hook(self, number: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            if number == len(self._optimizers) - 1 and self._meter.measuring:
                began = time.perf_counter()
                self._meter.after()
                spent = time.perf_counter() - began
                self._cost += spent
                self._own += spent

        return hook

    def _settle(self, since: float) -> None:
        """The sample is complete: fetch it where that waits for nothing, and choose the next step."""
        if self._meter.sharded or not self._meter.on_device:
            self._take()
        self._cost += time.perf_counter() - since
        self._schedule.costs.append(self._cost)
        seconds, share = self._meter.agree(self._schedule.cost())
        self._schedule.measured(self._steps - 1, (seconds, share))

    def _note_inputs(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if module.training and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self._seen = _Seen(args, kwargs)

    def _rates(self) -> list[float]:
        rates = {id(p): float(g["lr"]) for o in self._optimizers for g in o.param_groups for p in g["params"]}
        return [rates.get(id(p), math.nan) for p in self._meter.parameters]

    def _take(self) -> None:
        for sample in self._meter.read():
            if len(self._first) < FIRST:
                self._first.append(sample)
            else:
                self._last = [*self._last[-LAST + 1 :], sample]

    # ── findings

    @property
    def findings(self) -> Findings:
        """What has been found so far, in the order in which it was."""
        return Findings(self._said)

    @property
    def steps(self) -> int:
        """How many steps were seen."""
        return self._steps if self._optimizers else self._calls

    @property
    def training(self) -> Training:
        """What the findings are made of: samples of gradients and updates, and the loss."""
        trivial = self._given if self._given is not None else self._targets.trivial
        return Training(
            self._meter.layers,
            (*self._first, *self._last),
            self._losses.curve(trivial),
            self._sharpness,
            self._momentum,
            self._suspect,
        )

    def check(self) -> Findings:
        """Look now, without waiting for the next time, and give all findings.

        Raises:
            FaultError: a finding is as severe as ``raise_on``.
        """
        self._losses.flush()
        self._check(final=True)
        self._say(raising=True)
        return self.findings

    def _known(self, code: str) -> bool:
        return any(f.code == code for f in (*self._said, *self._queue))

    def _check(self, final: bool, found: Finding | None = None) -> None:
        """Put what holds into the queue: at once, at the second look in a row, or at the last."""
        if not self._meter.sharded:
            self._take()
        training = self.training
        self._next_check = max(self._next_check, int(self.steps * BETWEEN) + 1)
        every = ((found,) if found else ()) + diagnose_curve(training.curve) + tuple(diagnose_training(training))
        now = [f for f in every if not self._known(f.code)]
        seen = {f.code: self._pending.get(f.code, 0) + 1 for f in now}
        self._pending = seen
        bottomless = any(f.code == "flipped-loss" for f in every)
        for finding in now:
            if (final or finding.code in AT_ONCE or seen[finding.code] > 1) and not self._known(finding.code):
                told = (finding,) if bottomless else explain(finding, training)
                self._queue += [f for f in told if not self._known(f.code)]

    def _say(self, raising: bool) -> None:
        """Announce what is queued, each finding once."""
        queue, self._queue = self._queue, []
        self._said += queue
        for finding in queue:
            if self._callback is not None:
                self._callback(finding)
        if raising and self._limit is not None:
            order = list(Severity)
            for finding in queue:
                if order.index(finding.severity) <= order.index(self._limit):
                    raise FaultError(watch_text.fault_words(finding), finding)

    def _non_finite(self, step: int, value: float) -> Finding:
        """A loss that is no number, with the operation that made it."""
        where = None
        if self._seen.kwargs is not None:
            where = origin(self._model, self._seen.args, self._seen.kwargs)
        found = where or Where("unknown")
        return Finding(
            "non-finite-values",
            Severity.ERROR,
            found.module,
            None,
            (Evidence("loss", value, math.inf, None, "IEEE 754"),),
            f"the loss is {value} at step {step}: {watch_text.origin_words(found)}",
            watch_text.origin_remedy(found),
            "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            step,
        )

    # ── keeping and showing

    def state_dict(self) -> dict[str, Any]:
        """The state, for a checkpoint: numbers, lists and tensors. Gives up a sample that is half measured."""
        self._meter.drop_pair()
        self._take()
        return {
            "version": 1,
            "steps": self._steps,
            "calls": self._calls,
            "next_check": self._next_check,
            "sharpness": self._sharpness,
            "losses": self._losses.state(),
            "targets": self._targets.state(),
            "schedule": self._schedule.state(),
            "first": [s.state() for s in self._first],
            "last": [s.state() for s in self._last],
            "streaks": {i: t.clone() for i, t in self._meter.streaks.items()},
            "pending": dict(self._pending),
            "said": [watch_text.finding_state(f) for f in self._said],
            "parameters": list(self._meter.layers.names),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken.

        Raises:
            ArgumentError: it is the state of another model's watch, or none.
        """
        if state.get("version") != 1:
            raise ArgumentError("this is no state of fl.watch: give what w.state_dict() gave")
        if state["parameters"] != list(self._meter.layers.names):
            other = sorted(set(state["parameters"]) ^ set(self._meter.layers.names))[:4]
            raise ArgumentError(f"this is the state of another model's watch: it differs by {', '.join(other)}")
        self._steps, self._calls, self._next_check = state["steps"], state["calls"], state["next_check"]
        self._sharpness = state["sharpness"]
        self._losses, self._targets = Losses.of(state["losses"]), Targets.of(state["targets"])
        self._schedule.load(state["schedule"])
        self._first = [Sample.of(s) for s in state["first"]]
        self._last = [Sample.of(s) for s in state["last"]]
        self._meter.streaks = {i: t.to(self._meter.parameters[i].device) for i, t in state["streaks"].items()}
        self._pending = dict(state["pending"])
        self._said = [watch_text.finding_of(f) for f in state["said"]]
        self._clock = self._own = 0.0

    def __str__(self) -> str:
        """The loss so far as a line, and the findings."""
        self._losses.flush()
        return watch_text.summary(self.training, self.steps, self.findings)

    __repr__ = __str__
