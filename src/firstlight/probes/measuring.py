"""``measure``: one forward and one backward of a model on a batch, as a ``Light``.

The public verb ``fl.probe`` is this and the findings that ``checks`` makes of it.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..errors import ArgumentError, DataError, FirstlightError, ModelError
from ..graphs import Graph, structure, trace
from ..graphs.copies import is_parallel
from ..graphs.known import tensors_in
from ..graphs.names import unwrapped
from ..plans import Plan
from ..writers.materials import resharded
from .depths import depth_scales, streams_of
from .following import Follower
from .losses import loss_record
from .origins import Finder, FoundError, of_gradients, of_held
from .placing import placed
from .predicting import is_predicted, predict
from .ranks import APART, Ranks, from_all, from_first, mean_loss, over_ranks, ranks_of
from .records import Jacobian, Light, LossFunction, Origin, Place
from .running import Call, Ran, call_of, plainly, run_watched
from .shards import is_sharded
from .spectra import jacobian_of
from .statistics import Limits
from .untouched import kept_randomness, seed_all, untouched
from .updates import updates_of
from .weighing import weigh


def measure(
    model: nn.Module,
    inputs: Any,
    targets: Any = None,
    loss_fn: LossFunction | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float | None = None,
    jacobian: bool = False,
    max_samples: int = 256,
    max_positions: int = 256,
    seed: int = 0,
    graph: Graph | None = None,
    plan: Plan | None = None,
) -> Light:
    """Measure how the signal travels through a model, forward and backward, and leave the model as it was.

    One forward and one backward pass in the mode the model is in. Parameters, gradients, buffers, flags, hooks and
    random states come back bit for bit, also when something raises or Ctrl-C is pressed.

    Args:
        model: any module. Compiled ones are measured uncompiled, wrapped ones inside their wrapper.
        inputs: one batch, as the model is called: a tensor, a tuple of positional or a dict of keyword arguments.
        targets: what the loss compares with.
        loss_fn: called with (outputs, targets), or with the outputs alone where there are no targets; gives a scalar.
            One of the user's own is called some times more, with other outputs: whether it compares them with the
            targets, and whether it is bounded below.
            Without it: the output's own ``loss``, cross-entropy for whole numbers, squared error for real ones; and
            without targets a random projection of the outputs takes the loss's place.
        optimizer: the one that will train the model: its first update is set beside each weight.
        lr: the same for plain SGD of this learning rate.
        jacobian: whether to measure the spectrum of ∂ output / ∂ input, which costs more than the rest.
        max_samples, max_positions: how much of each value is looked at: memory and time stay bounded.
        seed: of the random state in which the forward runs (dropout), and of what is drawn to measure.
        graph: the model's, where it was traced before.
        plan: what the parameters will be: the signal is then predicted from it, forward and backward, and nothing is
            run. A model on the meta device is predicted in any case, from torch's defaults where no plan is given.

    Returns:
        The record: every weight call, activation, norm, softmax and residual join in execution order, every parameter.

    Raises:
        ModelError: the model has no parameters, or its forward or backward raised.
        ArgumentError: inputs, targets, the loss or an option do not fit.
        DataError: inputs or targets hold NaN.

    >>> model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    >>> light = measure(model, torch.randn(64, 16), torch.arange(64) % 4)
    >>> [place.op for place in light]
    ['input 0', 'linear', 'relu', 'linear', 'output']
    """
    given, model = model, _checked(model, max_samples, max_positions)
    with torch.inference_mode(False):
        call, own_targets = call_of(inputs), _off_graph(targets)
    _refuse_empty(call)
    _refuse_nan("inputs", (call.args, call.kwargs))
    _refuse_nan("targets", own_targets)
    updates = updates_of(optimizer, lr, model)
    if plan is not None or is_predicted(model):
        return predict(model, inputs, own_targets, loss_fn, plan=plan, updates=updates)
    notes = _compiled(given)
    resharded(model)  # what FSDP2 has gathered for another forward is no parameter
    ranks = ranks_of(model)
    limits = Limits(max_samples, max_positions)
    with plainly(), untouched(model):
        seed_all(seed)
        try:
            ran = run_watched(model, call, own_targets, loss_fn, limits, whole=is_sharded(model))
        finally:
            resharded(model)
        observed = ran.observer.found
        loss = None if ran.value is None else loss_record(ran.value, observed.losses)
        if ranks is not None:
            alike = over_ranks(observed.places, ranks)
            notes = notes if alike else (*notes, APART)
            loss = None if loss is None else mean_loss(from_all(loss, ranks))
        lost = any(p.forward is not None and p.forward.nonfinite for p in observed.places)
        lost = lost or (loss is not None and not _finite(loss.value))
        origin = _origin(model, call, ran, seed, ranks) if lost else None
        spectrum = _spectrum(model, call, seed, ranks) if jacobian else None
    if lost:  # what the model held before; its own forward may have written NaN into running statistics
        origin = of_held(model) or origin
    # After the real forward, since a cache should hold real tensors; of the model as it was, since a first forward may
    # hang hooks on it that another one asks for.
    with torch.inference_mode(False), kept_randomness():
        graph, more = _graph(model, inputs) if graph is None else (graph, ())
        places = placed(observed.places, graph, parallel=ranks is not None and is_parallel(model))
        weights = weigh(model, graph, ran.gradients, updates)
    if ran.gradients == {}:
        more = (*more, "no gradient: the loss depends on no trainable parameter")
    first = next(iter(model.parameters()))
    return Light(
        model=type(model).__name__,
        training=model.training,
        device=str(first.device),
        dtype=str(first.dtype).removeprefix("torch."),
        places=places,
        weights=weights,
        batch=call.batch * (1 if ranks is None else ranks.parts),
        loss=loss,
        streams=streams_of(places),
        depth_scales=depth_scales(places),
        jacobian=spectrum,
        origin=_located(origin, places),
        projected=ran.value is None,
        optimizer="" if updates is None else updates.name,
        notes=(*notes, *more),
        graph=graph,
        ranks=1 if ranks is None else ranks.count,
    )


def _checked(model: nn.Module, samples: int, positions: int) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model is {type(model).__name__}: give a torch.nn.Module")
    for name, value in (("max_samples", samples), ("max_positions", positions)):
        if not (isinstance(value, int) and value > 0):
            raise ArgumentError(f"{name}={value!r} should be a whole number > 0")
    model = unwrapped(model)
    if next(iter(model.parameters()), None) is None:
        raise ModelError(f"{type(model).__name__} has no parameters, so there is nothing to probe")
    if any(t.is_inference() for t in (*model.parameters(), *model.buffers())):
        raise ModelError(
            f"{type(model).__name__} was built in inference mode, where its tensors take no gradient and no update: "
            "build it outside torch.inference_mode()"
        )
    return model


def _refuse_empty(call: Call) -> None:
    empty = next((t for t in tensors_in((call.args, call.kwargs)) if not t.numel()), None)
    if empty is not None:
        raise DataError(f"inputs of shape {tuple(empty.shape)} hold no values: give a batch of at least one sample")


def _compiled(model: nn.Module) -> tuple[str, ...]:
    compiled = any(
        type(m).__name__ == "OptimizedModule" or getattr(m, "_compiled_call_impl", None) is not None
        for m in model.modules()
    )
    return ("compiled modules were measured uncompiled: the same numbers to rounding",) if compiled else ()


def _off_graph(targets: Any) -> Any:
    return call_of((targets,)).args[0]


def _refuse_nan(what: str, value: object) -> None:
    for tensor in tensors_in(value):
        if tensor.is_floating_point() and not tensor.is_meta and bool(torch.isnan(tensor).any()):
            where = torch.isnan(tensor)
            first = tuple(int(i) for i in where.nonzero()[0])
            raise DataError(
                f"{what} of shape {tuple(tensor.shape)} hold {int(where.sum())} NaN of {tensor.numel()} values, the "
                f"first at {first}: clean the batch; nothing can be measured through them"
            )


def _graph(model: nn.Module, inputs: Any) -> tuple[Graph, tuple[str, ...]]:
    """The traced graph; from the modules alone, with a note, where the model cannot be traced."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the real forward has said what there is to say
            return trace(model, inputs), ()
    except ModelError as error:
        return structure(model), (f"not traced, so roles come from the modules alone: {_short(error)}",)
    except FirstlightError:
        raise
    except Exception as error:  # a model may do anything under fake tensors
        return structure(model), (f"not traced, so roles come from the modules alone: {type(error).__name__}",)


def _short(error: Exception) -> str:
    text = str(error).split("\n")[0]
    return text if len(text) <= 160 else f"{text[:159]}…"


def _origin(model: nn.Module, call: Call, ran: Ran, seed: int, ranks: Ranks | None) -> Origin | None:
    """Where the first value of the forward that is not finite came from; ``None`` where none is found.

    The processes of a sharded model all run the second forward, to its end, and take the first call that one of them
    found.
    """
    follower, found = Follower(model), None
    seed_all(seed)
    finder = Finder(follower, stops=ranks is None)
    try:
        with finder, follower.followed(), torch.no_grad():
            call.on(model)
    except FoundError:
        pass
    finally:
        resharded(model)
    found = finder.found
    calls = ran.observer.found.losses
    if found is None and ran.value is not None and not _finite(ran.value):
        found = Origin("loss", "", calls[-1].op if calls else "loss")
    if ranks is not None:
        everyones = [(calls, o) for calls, o in from_all((finder.calls, found), ranks) if o is not None]
        found = min(everyones, key=lambda one: one[0])[1] if everyones else None
    return found


def _spectrum(model: nn.Module, call: Call, seed: int, ranks: Ranks | None) -> Jacobian:
    """Of a sharded model that of the first process's samples: all must take the same steps, as many as those need."""
    if ranks is None:
        return jacobian_of(model, call, seed)
    args, kwargs = from_first((call.args, dict(call.kwargs)), ranks)
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(ranks.device), (args, kwargs))
    try:
        return from_first(jacobian_of(model, Call(args, kwargs), seed), ranks)
    finally:
        resharded(model)


def _located(origin: Origin | None, places: tuple[Place, ...]) -> Origin | None:
    """The origin with its place; where the forward has none, the first gradient that is not finite."""
    if origin is None:
        return of_gradients(places)
    where = (origin.module, origin.op)
    lost = (p.index for p in places if (p.module, p.op) == where and p.forward is not None and p.forward.nonfinite)
    return replace(origin, place=next(lost, None))


def _finite(value: float) -> bool:
    return value - value == 0
