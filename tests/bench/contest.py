"""Two or more ways to do the same thing, each in a process of its own, asked in turns; CPU time of
one thread.

Processes of their own, because an allocator's settings, imported modules and peak memory are a
process's. In turns, because a machine's other work slows what is measured: ratios of one run are
worth more than times. CPU time, because waiting is not work; what other processes take of caches
and shared cores still counts, which is why medians and minima are both given.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

Way = tuple[str, dict[str, Any]]
"""Name of a function in `ways` that prepares the work and returns it as a function, and its
arguments."""


class Checkout(NamedTuple):
    """Another commit's code, in a folder of its own."""

    folder: Path
    module: str
    """What `ways` is called there: `tests.bench.baselines`, or `bench.ways` in older commits."""


ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Result:
    """CPU seconds of every round, and peak memory."""

    seconds: tuple[float, ...]
    peak_bytes: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the plain way, by medians and by minima."""

    median: float
    minimum: float


def ratio(plain: Result, fast: Result) -> Ratio:
    return Ratio(plain.median / fast.median, min(plain.seconds) / min(fast.seconds))


@contextmanager
def contestants(
    ways: Mapping[str, Way], checkouts: Mapping[str, Checkout] | None = None
) -> Iterator[dict[str, Callable[[], tuple[float, int]]]]:
    """Started and warmed up; each call does the work once and returns CPU seconds and peak bytes so
    far. A way that `checkouts` names is done by the code of that commit."""
    context = multiprocessing.get_context("spawn")
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    ends: dict[str, Connection] = {}
    started = []
    try:
        for name, (function, arguments) in ways.items():
            ends[name], theirs = context.Pipe()
            started.append(
                context.Process(
                    target=_serve,
                    args=(theirs, function, arguments, (checkouts or {}).get(name)),
                    daemon=True,
                )
            )
            started[-1].start()
            theirs.close()
        for end in ends.values():
            end.recv()
        yield {name: lambda end=end: _ask(end) for name, end in ends.items()}  # type: ignore[misc]
    finally:
        for end in ends.values():
            end.close()
        for process in started:
            process.join(10)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def measured(
    ways: Mapping[str, Way], rounds: int, checkouts: Mapping[str, Checkout] | None = None
) -> dict[str, Result]:
    """All ways in turns, `rounds` times."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    peak: dict[str, int] = {}
    with contestants(ways, checkouts) as ask:
        for _ in range(rounds):
            for name in ways:
                seconds, peak[name] = ask[name]()
                spent[name].append(seconds)
    return {name: Result(tuple(spent[name]), peak[name]) for name in ways}


def _ask(end: Connection) -> tuple[float, int]:
    end.send("go")
    answer: tuple[float, int] = end.recv()
    return answer


def _serve(
    end: Connection, function: str, arguments: dict[str, Any], checkout: Checkout | None
) -> None:
    if checkout is not None:
        _enter(checkout.folder)
    module = "tests.bench.baselines" if checkout is None else checkout.module
    do = getattr(importlib.import_module(module), function)(**arguments)
    do()
    end.send("ready")
    unit = 1 if sys.platform == "darwin" else 1024
    while True:
        try:
            end.recv()
        except EOFError:
            return
        start = _spent()
        do()
        end.send((_spent() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit))


def _enter(folder: Path) -> None:
    """Import the code in `folder` from here on, in place of this commit's, in children too."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("benchmark", "tests")]:
        del sys.modules[name]
    sys.path[:0] = [str(folder), str(folder / "tests")]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
    os.chdir(folder)


def _spent() -> float:
    """CPU seconds of this process and of the processes that it has waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system
