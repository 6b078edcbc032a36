"""The native functions: a kernel per (transform kind, dtype), and ``run``, which shares jobs out among threads.

``kernel(job, first, last)`` writes the part of a job that lies in the groups [first, last). ``run(jobs, n, counters)``
takes the next piece of work, PIECE groups of one job, until none is left; any number of threads may call it on the
same counters. ``engine.py`` packs the jobs, ``compiler.py`` compiles this text.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from llvmlite import ir

from . import vectors as v
from .group import ITEM_SIZES, Constants, philox, store, value
from .layout import FIELDS, JOB, PIECE
from .vectors import Builder, Value

_TYPES: Final = {"I": v.I32, "Q": v.I64, "f": v.F32}
_KERNEL: Final = ir.FunctionType(ir.VoidType(), [v.BYTES, v.I64, v.I64])


def _load(b: Builder, job: Value, name: str) -> Value:
    """A field of the job's record."""
    offset, code = FIELDS[name]
    kind = _TYPES[code]
    return b.load(b.bitcast(b.gep(job, [v.I64(offset)]), kind.as_pointer()), name=name)


def _constants(b: Builder, job: Value) -> Constants:
    """All of the job's constants."""
    key = _load(b, job, "seed_low"), _load(b, job, "seed_high")
    stream = _load(b, job, "stream_low"), _load(b, job, "stream_high")
    rest = (_load(b, job, name) for name in ("scale", "shift", "low", "high", "base", "span"))
    return Constants(key, stream, *rest)


def _edge_function(module: ir.Module, kind: str, dtype: str) -> Value:
    """``edge(job, group, from, to, at)``: elements [from, to) of one group, by way of a scratch of 64."""
    size = ITEM_SIZES[dtype]
    signature = ir.FunctionType(ir.VoidType(), [v.BYTES, v.I64, v.I64, v.I64, v.BYTES])
    function = ir.Function(module, signature, "edge")
    function.linkage = "internal"
    function.attributes.add("noinline")
    job, group, first, last, at = function.args
    entry, loop, done = (function.append_basic_block(name) for name in ("entry", "loop", "done"))
    b = ir.IRBuilder(entry)
    item = ir.IntType(8 * size)
    scratch = b.alloca(ir.ArrayType(item, 64))
    scratch.align = 64
    raw = b.bitcast(scratch, v.BYTES)
    constants = _constants(b, job)
    values = [value(b, kind, word, constants) for word in philox(b, group, constants)]
    store(b, dtype, values, raw)
    source, target = b.bitcast(raw, item.as_pointer()), b.bitcast(at, item.as_pointer())
    b.cbranch(b.icmp_unsigned("<", first, last), loop, done)
    b.position_at_end(loop)
    index = b.phi(v.I64)
    index.add_incoming(first, entry)
    b.store(b.load(b.gep(source, [index])), b.gep(target, [b.sub(index, first)]))
    following = b.add(index, v.I64(1))
    index.add_incoming(following, loop)
    b.cbranch(b.icmp_unsigned("<", following, last), loop, done)
    b.position_at_end(done)
    b.ret_void()
    return function


def _group_loop(b: Builder, kind: str, dtype: str, bounds: tuple[Value, Value], job: Constants, at: Value) -> None:
    """Whole groups, one after another, to consecutive addresses from ``at``.

    Stores are ordinary ones: past the caches (non-temporal) they were no faster at 10⁸ elements.

    Where the transform is long, each round turns one group's words into values and meanwhile computes the next
    group's words; for a short one that only costs registers (measured: normal 21 % faster, uniform 11 % slower).
    """
    function, before = b.function, b.block
    loop, done = function.append_basic_block("loop"), function.append_basic_block("done")
    first, last = bounds
    ahead = kind not in ("words", "uniform")
    entering = philox(b, first, job) if ahead else []
    b.cbranch(b.icmp_unsigned("<", first, last), loop, done)

    b.position_at_end(loop)
    group = b.phi(v.I64)
    carried = [(b.phi(v.WIDE), b.phi(v.WIDE)) for _ in entering]
    following = b.add(group, v.I64(1))
    offset = b.mul(b.sub(group, first), v.I64(64 * ITEM_SIZES[dtype]))
    words = carried if ahead else philox(b, group, job)
    # The chains start one after another; of 20 schedules tried on Zen 4 this was among the best, all within 10 %.
    chains = [(partial(value, b, kind, word, job), 0.02 * k, 0.94 + 0.02 * k) for k, word in enumerate(words)]
    next_words = partial(philox, b, following, job) if ahead else list
    returning, *values = v.interleave(b, [(next_words, 0.1, 1.0), *chains])
    store(b, dtype, values, b.gep(at, [offset]))
    group.add_incoming(first, before)
    group.add_incoming(following, b.block)
    for phis, enter, back in zip(carried, entering, returning, strict=True):
        for phi, old, new in zip(phis, enter, back, strict=True):
            phi.add_incoming(old, before)
            phi.add_incoming(new, b.block)
    b.cbranch(b.icmp_unsigned("<", following, last), loop, done)

    b.position_at_end(done)


def _smaller(b: Builder, x: Value, y: Value) -> Value:
    return b.select(b.icmp_unsigned("<", x, y), x, y)


def kernel_module(kind: str, dtype: str) -> str:
    """The IR text of ``kernel`` for one transform kind and one dtype."""
    module = ir.Module(f"{kind}_{dtype}")
    edge = _edge_function(module, kind, dtype)
    function = ir.Function(module, _KERNEL, "kernel")
    job, first, last = function.args
    b = ir.IRBuilder(function.append_basic_block("entry"))
    start, count = _load(b, job, "start"), _load(b, job, "count")
    pointer = b.inttoptr(_load(b, job, "pointer"), v.BYTES)
    constants = _constants(b, job)
    low, end = b.shl(first, v.I64(6)), b.shl(last, v.I64(6))
    low = b.select(b.icmp_unsigned("<", low, start), start, low)
    end = _smaller(b, end, b.add(start, count))
    whole, stop = b.lshr(b.add(low, v.I64(63)), v.I64(6)), b.lshr(end, v.I64(6))

    def place(element: Value) -> Value:
        """The address of a field element of this job."""
        return b.gep(pointer, [b.mul(b.sub(element, start), v.I64(ITEM_SIZES[dtype]))])

    inside = b.and_(low, v.I64(63))
    with b.if_then(b.icmp_unsigned("!=", inside, v.I64(0))):
        group = b.lshr(low, v.I64(6))
        to = _smaller(b, b.sub(end, b.shl(group, v.I64(6))), v.I64(64))
        b.call(edge, [job, group, inside, to, place(low)])
    _group_loop(b, kind, dtype, (whole, stop), constants, place(b.shl(whole, v.I64(6))))
    rest = b.and_(end, v.I64(63))
    ragged = b.and_(b.icmp_unsigned("!=", rest, v.I64(0)), b.icmp_unsigned("<=", whole, stop))
    with b.if_then(ragged):
        b.call(edge, [job, stop, v.I64(0), rest, place(b.shl(stop, v.I64(6)))])
    b.ret_void()
    return str(module)


def run_module() -> str:
    """The IR text of ``run(jobs, n, counters) -> finished`` and ``member(shared)``.

    ``counters`` are two 64-bit numbers, pieces taken and pieces finished, zero at first and shared by the threads;
    null means that the caller is alone. ``shared`` points to the three arguments of ``run``.
    """
    module = ir.Module("run")
    _member_function(module, _run_function(module))
    return str(module)


def _member_function(module: ir.Module, run: Value) -> None:
    """``member(shared)``: what each thread of an OpenMP team calls."""
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [v.BYTES]), "member")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    fields = b.bitcast(function.args[0], v.I64.as_pointer())
    jobs, n, counters = (b.load(b.gep(fields, [v.I64(index)])) for index in range(3))
    b.call(run, [b.inttoptr(jobs, v.BYTES), n, b.inttoptr(counters, v.I64.as_pointer())])
    b.ret_void()


def _run_function(module: ir.Module) -> Value:
    """``run``, as ``run_module`` describes it."""
    pair = ir.ArrayType(v.I64, 2)
    numbers = v.I64.as_pointer()
    function = ir.Function(module, ir.FunctionType(v.I64, [v.BYTES, v.I64, numbers]), "run")
    jobs, n, shared = function.args
    entry, take, seek, look, skip, work, done = (
        function.append_basic_block(name) for name in ("entry", "take", "seek", "look", "skip", "work", "done")
    )
    b = ir.IRBuilder(entry)
    own = b.alloca(pair)
    b.store(ir.Constant(pair, [0, 0]), own)
    alone = b.icmp_unsigned("==", b.ptrtoint(shared, v.I64), v.I64(0))
    taken = b.select(alone, b.bitcast(own, numbers), shared)
    finished = b.gep(taken, [v.I64(1)])
    b.branch(take)

    b.position_at_end(take)
    job_here, begin_here = b.phi(v.I64), b.phi(v.I64)
    piece = b.atomic_rmw("add", taken, v.I64(1), "seq_cst")
    b.branch(seek)

    b.position_at_end(seek)
    index, begin = b.phi(v.I64), b.phi(v.I64)
    b.cbranch(b.icmp_unsigned("<", index, n), look, done)

    b.position_at_end(look)
    job = b.gep(jobs, [b.mul(index, v.I64(JOB.size))])
    end = _load(b, job, "end")
    b.cbranch(b.icmp_unsigned("<", piece, end), work, skip)

    b.position_at_end(skip)
    following = b.add(index, v.I64(1))
    b.branch(seek)

    b.position_at_end(work)
    origin = b.lshr(_load(b, job, "start"), v.I64(6))
    first = b.add(origin, b.mul(b.sub(piece, begin), v.I64(PIECE)))
    kernel = b.inttoptr(_load(b, job, "kernel"), _KERNEL.as_pointer())
    b.call(kernel, [job, first, b.add(first, v.I64(PIECE))])
    b.atomic_rmw("add", finished, v.I64(1), "seq_cst")
    b.branch(take)

    b.position_at_end(done)
    b.ret(b.load_atomic(finished, "seq_cst", 8))

    for phi, starting, working in ((job_here, v.I64(0), index), (begin_here, v.I64(0), begin)):
        phi.add_incoming(starting, entry)
        phi.add_incoming(working, work)
    for phi, taking, skipping in ((index, job_here, following), (begin, begin_here, end)):
        phi.add_incoming(taking, take)
        phi.add_incoming(skipping, skip)
    return function
