"""What the methods bought: how many images two methods share, cycle by cycle, and how even the
classes are among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.runs.picks import LabelledSet

CELLS = 4000
"""Cells of all tables of overlap at most; beyond that, only the first, the middle and the last
cycle are shown."""
CLASSES = 12
"""Classes at most that are shown one by one."""
Whole = NDArray[np.int64]


@dataclass(frozen=True)
class Overlap:
    """Images that two methods share among those bought until one cycle."""

    labelled: int
    """Labelled images, the first labelled set among them."""
    chance: float | None
    """Percent that two uniform draws share on average; None where the size of the pool is not
    known."""
    rows: tuple[tuple[float | None, ...], ...]
    """(methods, methods) in percent of what was bought, mean over the seeds that both have; None
    without such seeds."""


@dataclass(frozen=True)
class Picks:
    """What is shown of the bought images of one suite; images of the first labelled set do not
    count."""

    methods: tuple[str, ...]
    overlaps: tuple[Overlap, ...] = ()
    sizes: tuple[int, ...] = ()
    """Labelled images after each purchase."""
    evenness: tuple[tuple[float | None, ...], ...] = ()
    """(methods, sizes) entropy of the classes among what was bought in percent of that of even
    classes, mean over seeds."""
    classes: tuple[str, ...] = ()
    shares: tuple[tuple[float, ...], ...] = ()
    """(methods, classes) percent of what was bought until the end, mean over seeds; empty for many
    classes."""

    @property
    def size_heads(self) -> tuple[str, ...]:
        """The sizes as heads of columns."""
        return tuple(f"{size:,}" for size in self.sizes)


def summarize_picks(
    sets: Sequence[LabelledSet],
    order: Sequence[str] = (),
    pool: int = 0,
    labels: Whole | None = None,
    class_names: Sequence[str] = (),
) -> Picks | None:
    """Overlap and class balance of these labelled sets; None where nothing was bought.

    `order` names methods in the order to show them, `pool` is the number of images to buy from, the
    first labelled set among them (0: not known), `labels` are class numbers by data set index with
    the names of the classes.
    """
    held: dict[str, dict[int, LabelledSet]] = {}
    for one in sorted(sets, key=lambda one: (one.method, one.seed, one.trial_id, one.env_id)):
        if len(one.sizes) > 1:
            held.setdefault(one.method, {}).setdefault(one.seed, one)
    methods = [name for name in order if name in held] + [
        name for name in held if name not in order
    ]
    sizes = sorted(
        {size for by_seed in held.values() for one in by_seed.values() for size in one.sizes[1:]}
    )
    if not methods:
        return None
    kept = sizes
    if len(methods) ** 2 * len(sizes) > CELLS:
        kept = sorted({sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]})
    overlaps = (
        tuple(_mean_overlap(held, methods, size, pool) for size in kept) if len(methods) > 1 else ()
    )
    if labels is None:
        return Picks(tuple(methods), overlaps)
    count = max(len(class_names), int(labels.max()) + 1)
    evenness = tuple(
        tuple(_mean_evenness(held[name], size, labels, count) for size in sizes) for name in methods
    )
    few = count <= CLASSES
    names = tuple(class_names) or tuple(map(str, range(count)))
    shares = tuple(_class_shares(held[name], labels, count) for name in methods) if few else ()
    return Picks(tuple(methods), overlaps, tuple(sizes), evenness, names, shares)


def _bought_until(one: LabelledSet, size: int) -> Whole | None:
    """What a trial bought until it had this many labels; None where it never had."""
    return one.indices[one.sizes[0] : size] if size in one.sizes[1:] else None


def _mean_overlap(
    held: Mapping[str, Mapping[int, LabelledSet]], methods: Sequence[str], size: int, pool: int
) -> Overlap:
    rows = tuple(
        tuple(_shared_percent(held[first], held[second], size) for second in methods)
        for first in methods
    )
    initial = min(one.sizes[0] for by_seed in held.values() for one in by_seed.values())
    chance = 100.0 * (size - initial) / (pool - initial) if pool > initial else None
    return Overlap(size, chance, rows)


def _shared_percent(
    first: Mapping[int, LabelledSet], second: Mapping[int, LabelledSet], size: int
) -> float | None:
    """Percent of what two methods bought that both have, over the seeds in which they began with
    the same images."""
    found = []
    for seed in first.keys() & second.keys():
        one, other = _bought_until(first[seed], size), _bought_until(second[seed], size)
        if one is None or other is None or not len(one) or not len(other):
            continue
        if set(first[seed].cycle(0).tolist()) == set(second[seed].cycle(0).tolist()):
            found.append(100.0 * len(np.intersect1d(one, other)) / min(len(one), len(other)))
    return float(np.mean(found)) if found else None


def _mean_evenness(
    by_seed: Mapping[int, LabelledSet], size: int, labels: Whole, count: int
) -> float | None:
    found = []
    for one in by_seed.values():
        bought = _bought_until(one, size)
        if bought is not None and len(bought) and count > 1:
            share = np.bincount(labels[bought], minlength=count) / len(bought)
            found.append(
                100.0
                * float(-(share[share > 0] * np.log(share[share > 0])).sum())
                / math.log(count)
            )
    return float(np.mean(found)) if found else None


def _class_shares(
    by_seed: Mapping[int, LabelledSet], labels: Whole, count: int
) -> tuple[float, ...]:
    ends = [one.indices[one.sizes[0] :] for one in by_seed.values()]
    counts = [
        100.0 * np.bincount(labels[end], minlength=count) / len(end) for end in ends if len(end)
    ]
    return tuple(float(value) for value in np.mean(counts, axis=0))
