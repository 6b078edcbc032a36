"""A watch at work: hooks on the optimizer, one call for each loss, and when to look.

``watch`` makes it. ``watch_meter`` measures the steps that ``watch_schedule`` chooses; ``curves_rules`` and
``training`` make findings of them, ``training_causes`` says why. Of a sharded model all ranks judge by what they have
in common (``watch_ranks``): what each of them sees alone waits until all share it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
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
from .watch_losses import FRESH, WAITING, Losses
from .watch_meter import Meter, layers_of
from .watch_model import hooked, plain_momentum, trained
from .watch_origin import Where, origin
from .watch_ranks import ranks_of
from .watch_schedule import Schedule, spent
from .watch_sharpness import sharpness
from .watch_trivial import Targets
from .watch_zeroing import Zeroing

SMALL = 10_000_000  # parameters up to which the first step's sharpness is measured
BLOWN = 1e3  # times the first loss: looked at without waiting
IDLE = 50  # losses without one step of the optimizer
READ = 12  # samples that are fetched together
SOON = 5  # steps between two looks at a loss that is far off
FIRST_CHECK, BETWEEN = 20, 1.3  # losses before the first look, and the factor to the next
AT_ONCE = frozenset({"non-finite-values", "non-finite-gradients", "loss-diverged", "flipped-loss"})


class Watch:
    """What ``fl.watch`` gives. Enter it with ``with``; hooks come off at its end, also after an exception."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        schedule: Schedule,
        suspect: tuple[str, ...] | None,
        trivial: float | None,
        curvature: bool,
        limit: Severity | None,
        callback: Callable[[Finding], object] | None,
    ) -> None:
        self._model, self._optimizers, self._schedule = model, optimizers, schedule
        self._suspect, self._given, self._limit, self._callback = suspect, trivial, limit, callback
        parameters = trained(model, optimizers)
        self._ranks = ranks_of([p for _, p in parameters])
        self._meter = Meter([p for _, p in parameters], layers_of(parameters, model), self._ranks)
        small = sum(p.numel() for _, p in parameters) <= SMALL and not self._meter.sharded and not hooked(model)
        self._curvature = curvature and small
        self._momentum = plain_momentum(optimizers)
        self._losses, self._targets = Losses(), Targets()
        self._zeroing = Zeroing(self._meter.parameters)
        self._first: list[Sample] = []
        self._last: list[Sample] = []
        self._sharpness: float | None = None
        self._steps, self._calls, self._next_check = 0, 0, FIRST_CHECK
        self._said: list[Finding] = []
        self._pending: dict[str, int] = {}
        self._excused: set[str] = set()
        self._blown, self._checked = False, 0
        self._queue: list[Finding] = []
        self._seen: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._handles: list[Any] = []
        self._passing: list[Any] = []  # hooks of a measured step
        self._next_step, self._bound, self._fast = 0, math.inf, False
        # A device's work takes no time of the processor; other processes take none of this thread's.
        self._time = time.perf_counter if self._meter.on_device else spent
        self._clock, self._clock_step, self._clock_own = 0.0, 0, 0.0
        self._own, self._settled, self._aside = 0.0, 0.0, 0.0  # spent on samples, up to the last one, on the rest
        self._opening = True

    # ── the loop

    def __enter__(self) -> Self:
        """Put the hooks on."""
        if self._handles:
            raise ArgumentError("this watch is on already: leave its with block first")
        self._clock = 0.0
        if self._optimizers:
            self._handles.append(self._optimizers[0].register_step_pre_hook(self._before_step))
        self._handles.append(self._model.register_forward_pre_hook(self._note_inputs, with_kwargs=True))
        self._zeroing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the hooks off and look at the whole once more."""
        for handle in (*self._handles, *self._passing):
            handle.remove()
        self._handles.clear()
        self._passing.clear()
        self._next_step = 0
        self._zeroing.stop()
        if not self._meter.sharded:
            self._meter.drop_pair()
            self._take()
        elif error is None:  # behind an exception nobody knows who else is here
            self._share()
        self._losses.flush()
        self._check(final=True)
        self._seen = None
        self._say(raising=error is None)

    def step(self, loss: torch.Tensor | float, validation: torch.Tensor | float | None = None) -> None:
        """Show the loss of this step; call it once for each loss, before ``backward()``.

        Losses between two steps of the optimizer (accumulated gradients) count as one, their mean. Give the loss
        itself, not the one a ``GradScaler`` has scaled.

        Raises:
            ArgumentError: the loss is no single number.
            FaultError: a finding is as severe as ``raise_on``.
        """
        if self._fast and validation is None:
            try:
                value = loss.item() if loss.is_cpu else math.nan  # type: ignore[union-attr]
            except (AttributeError, RuntimeError):  # a number, or more than one: below
                value = math.nan
            fresh, step = self._losses.fresh, self._steps + 1
            if -self._bound < value < self._bound and step < self._next_check and len(fresh) < FRESH:
                fresh.append((step, value))
                return
        self._step(loss, validation)

    def _step(self, loss: torch.Tensor | float, validation: torch.Tensor | float | None) -> None:
        """The same, wherever more is to be done than to keep a number."""
        self._calls += 1
        step = self._steps + 1 if self._optimizers else self._calls
        losses = self._losses
        if isinstance(loss, torch.Tensor):
            if self._opening or loss.numel() != 1:
                self._open(loss, step)
            if self._ranks is not None:
                self._ranks.losses.append((step, _whole(loss).detach()))
            elif loss.is_cpu:
                losses.add(step, loss.item())
            else:
                losses.hold(step, loss.detach().reshape(()))
                if len(losses.waiting) >= WAITING or step < WAITING // 2 or step >= self._next_check:
                    losses.flush()
        elif isinstance(loss, int | float):
            if self._ranks is not None:
                self._ranks.losses.append((step, torch.tensor(float(loss), dtype=torch.float64)))
            else:
                losses.add(step, float(loss))
        else:
            raise ArgumentError(f"w.step(loss) takes a tensor with one value or a number, not {type(loss).__name__}")
        if validation is not None:
            self.log(validation_loss=validation)
        if self._ranks is not None and (step >= self._next_check or len(self._ranks.losses) >= WAITING):
            self._share()
        self._bound = BLOWN * (losses.size + 1)
        if step >= self._next_check or losses.first_bad is not None or abs(losses.latest) > self._bound:
            self._look(step)
        self._fast = bool(self._steps) and not self._opening and self._ranks is None
        if self._queue:
            self._say(raising=True)

    def _look(self, step: int) -> None:
        """Make findings, now or as soon as a loss is not finite or far off."""
        started = self._time()
        bad = self._losses.first_bad
        if bad is not None and not self._blown:
            self._blown = True
            self._check(final=False, found=self._non_finite(*bad))
        elif step >= min(self._next_check, self._checked + SOON):
            self._check(final=False)
        self._aside += self._time() - started

    def log(self, *, validation_loss: torch.Tensor | float) -> None:
        """Show a validation loss, measured after the steps so far."""
        kept = self._losses.validation if self._ranks is None else self._ranks.validation
        kept.append((float(self._steps or self._calls), float(validation_loss)))

    def _share(self) -> None:
        """Make losses and targets those of all ranks, which all do at the same step."""
        if self._ranks is not None:
            self._ranks.share(self._losses, self._targets)

    def _open(self, loss: torch.Tensor, step: int) -> None:
        """What is looked at in the first losses only: targets and curvature."""
        if loss.numel() != 1:
            raise ArgumentError(
                f"w.step(loss) takes a loss with one value, not of shape {tuple(loss.shape)}: reduce it, loss.mean()"
            )
        started = self._time()
        if self._given is None and self._targets.wanted:
            self._targets.see(loss)
        if self._curvature and self._sharpness is None and step == 1 and self._calls == 1 and loss.requires_grad:
            self._sharpness = sharpness(loss, self._meter.parameters)
        self._opening = self._given is None and self._targets.wanted
        self._aside += self._time() - started

    # ── hooks

    def _before_step(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._steps += 1
        if self._steps >= self._next_step:
            self._measure(optimizer, args, kwargs)

    def _measure(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Complete the last sample, and begin one where it is time."""
        began = self._time()
        for handle in self._passing:
            handle.remove()
        self._passing.clear()
        if self._zeroing.looking:
            self._zeroing.stepped()
        if self._clock and self._schedule.due(self._steps):
            taken = began - self._clock - (self._own + self._aside - self._clock_own)
            self._schedule.steps.append(max(taken / (self._steps - self._clock_step), 1e-9))
        self._clock, self._clock_step = began, self._steps
        scale = getattr(optimizer, "grad_scale", None)
        if self._meter.waits:
            self._meter.next_step(scale)
            self._settle(began)
        if self._schedule.due(self._steps):
            closure = (len(args) > 1 and args[1] is not None) or kwargs.get("closure") is not None
            skipped = getattr(optimizer, "found_inf", None)
            self._meter.before(self._steps, self._rates(), closure, scale, skipped)
            self._passing.append(self._optimizers[-1].register_step_post_hook(self._after_step))
        at_once = self._meter.measuring or self._zeroing.looking
        self._next_step = self._steps + 1 if at_once else self._schedule.next
        self._clock_own = self._own + self._aside
        self._own += self._time() - began

    def _after_step(self, *_: object) -> None:
        if self._meter.measuring:
            began = self._time()
            self._meter.after()
            self._own += self._time() - began

    def _settle(self, began: float) -> None:
        """The sample is complete: fetch some where that waits for nothing, and choose the next step."""
        if self._meter.sharded or (not self._meter.on_device and self._meter.unread >= READ):
            self._take()
        own = self._own + self._time() - began
        self._schedule.costs.append(own - self._settled)
        self._settled = own
        seconds, share = self._schedule.cost()
        if self._ranks is not None:
            self._share()
            seconds, share = self._ranks.mean((seconds, share))
        self._schedule.measured(self._steps - 1, (seconds, share))

    def _note_inputs(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.compiler.is_compiling():
            self._seen = (args, kwargs)

    def _rates(self) -> list[float]:
        rates = {}
        for group in (g for o in self._optimizers for g in o.param_groups):
            rates.update(dict.fromkeys(map(id, group["params"]), float(group["lr"])))
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
        targets = self._targets if self._ranks is None else self._ranks.targets
        trivial = self._given if self._given is not None else targets.trivial
        if not self._meter.sharded and not self._meter.on_device:
            self._take()
        return Training(
            self._meter.layers,
            (*self._first, *self._last),
            self._losses.curve(trivial),
            self._sharpness,
            self._momentum,
            self._suspect,
            self._zeroing.missed,
        )

    def check(self) -> Findings:
        """Look now, without waiting for the next time, and give all findings.

        On a sharded model one rank may ask alone: it is told, and nothing else changes.

        Raises:
            FaultError: a finding is as severe as ``raise_on``.
        """
        self._losses.flush()
        before = self._next_check, self._checked, dict(self._pending), set(self._excused), [*self._said]
        self._check(final=True)
        self._say(raising=True)
        found = self.findings
        if self._ranks is not None:
            self._next_check, self._checked, self._pending, self._excused, self._said = before
        return found

    def _known(self, finding: Finding) -> bool:
        """Whether it has been said; that a note has become a fault is news."""
        loud = finding.severity is not Severity.NOTE
        return finding.code in self._excused or any(
            f.code == finding.code and not (loud and f.severity is Severity.NOTE) for f in (*self._said, *self._queue)
        )

    def _check(self, final: bool, found: Finding | None = None) -> None:
        """Put what holds into the queue: at once, at the second look in a row, or at the last."""
        began = spent()
        if not self._meter.sharded:
            self._take()
        training = self.training
        idle = (
            ()
            if self._steps or not self._optimizers or not final or self._calls < IDLE
            else (watch_text.never_stepped(self._calls),)
        )
        known = idle + ((found,) if found else ())
        every = known + diagnose_curve(training.curve) + tuple(diagnose_training(training))
        now = [f for f in every if not self._known(f)]
        seen = {f.code: self._pending.get(f.code, 0) + 1 for f in now}
        self._pending = seen
        bottomless = any(f.code == "flipped-loss" for f in every)
        for finding in now:
            if (final or finding.code in AT_ONCE or seen[finding.code] > 1) and not self._known(finding):
                told = (finding,) if bottomless else explain(finding, training)
                if told[0].severity is Severity.NOTE and finding.severity is not Severity.NOTE:
                    self._excused.add(finding.code)
                self._queue += [f for f in told if f is told[0] or not self._known(f)]
        self._checked = self.steps
        self._next_check = max(self._next_check, int(self.steps * BETWEEN) + 1)
        if not self._meter.sharded:  # ranks come to their findings at the same steps
            self._next_check = max(self._next_check, self._schedule.checked(self.steps, spent() - began))

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
        if self._seen is not None:
            where = origin(self._model, *self._seen, ranks=self._ranks)
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
        """The state, for a checkpoint: numbers, lists and tensors. Gives up a sample that is half measured.

        On a sharded model one rank may ask alone, and all load what it was given.
        """
        if not self._meter.sharded:  # where one rank alone may keep it, nothing is measured or given up
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
            "excused": sorted(self._excused),
            "missed": self._zeroing.missed,
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
        self._meter.take_up(state["streaks"])
        self._zeroing.missed, self._excused = state["missed"], set(state["excused"])
        self._pending = dict(state["pending"])
        self._said = [watch_text.finding_of(f) for f in state["said"]]
        self._blown = any(f.code == "non-finite-values" for f in self._said)
        self._clock = 0.0
        self._next_step, self._fast = 0, False

    def __str__(self) -> str:
        """The loss so far as a line, and the findings."""
        self._losses.flush()
        return watch_text.summary(self.training, self.steps, self.findings)

    __repr__ = __str__


def _whole(loss: torch.Tensor) -> torch.Tensor:
    """A loss over shards of classes is distributed itself."""
    full = getattr(loss, "full_tensor", None)
    return loss if full is None else full()
