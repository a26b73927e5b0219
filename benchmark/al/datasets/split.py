"""Who is in the pool and who in the test set: pure functions of labels, without images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from benchmark.al.datasets.dataset import Whole
from benchmark.al.datasets.source import Source
from benchmark.errors import DataError
from benchmark.spec.data import Data, Imbalance, Limit, Split

CLUTTER = ("BACKGROUND_Google", "257.clutter")
"""Folders of Caltech-101 and Caltech-256 that hold no class of objects."""
LIMIT_KEY = 0


@dataclass(frozen=True)
class Division:
    """Numbers of the chosen images in their source, in pool order, with labels."""

    train: Whole
    train_labels: Whole
    test: Whole
    test_labels: Whole
    class_names: tuple[str, ...]
    validation: Whole | None = None
    """Numbers of the images of the train part that are kept from the pool."""
    validation_labels: Whole | None = None


def split_dataset(data: Data, source: Source) -> Division:
    """Apply split, imbalance, validation and limit. `source.test` None: both parts are cut from
    `source.train`.

    Raises DataError when the rule does not fit the data set, or sizes or classes are not the pinned
    ones.
    """
    rule = data.split.rule
    if (source.test is None) != (rule == "per_class"):
        has = "no official division" if source.test is None else "an official division"
        raise DataError(f"{data.name} has {has}, but the suite pins split.rule '{rule}'")
    names, labels = source.class_names, source.train.labels
    if source.test is None:
        train, test, labels, names = cut_per_class(data.split, labels, names)
        test_labels = labels[test]
    else:
        if data.split.drop is not None:
            raise DataError(
                f"{data.name} has an official division; split.drop does not apply to it"
            )
        train, test = _all_indices(len(labels)), _all_indices(len(source.test.labels))
        test_labels = source.test.labels
    if data.imbalance is not None:
        have = [int(count) for count in np.bincount(labels[train], minlength=len(names))]
        train = train[kept_indices(labels[train], class_counts(data.imbalance, have))]
    if data.limit is not None and (few := data.limit.classes) is not None:
        chosen = test_labels < few
        train, test, test_labels = train[labels[train] < few], test[chosen], test_labels[chosen]
        names = names[:few]
    validation = None
    if data.validation is not None:
        train, validation = draw_validation(data, train, labels[train])
    train = subsample(train, data.limit, "train")
    kept = subsample(_all_indices(len(test)), data.limit, "test")
    known = None if validation is None else labels[validation]
    found = Division(train, labels[train], test[kept], test_labels[kept], names, validation, known)
    _require_pinned(data, found)
    return found


def class_counts(imbalance: Imbalance, per_class: Sequence[int]) -> list[int]:
    """Images kept of each class; `per_class` says how many there are.

    `step`: even class ids keep `minority`, odd ones `majority`. `long_tail`: trunc(majority *
    ratio^(c/(K-1))). Neither exceeds what exists. ST-CoNAL's imbalanced CIFAR variants
    (load_dataset.py at 43cb8c9).
    """
    last = max(len(per_class) - 1, 1)
    wanted: list[int]
    if imbalance.kind == "step":
        assert imbalance.minority is not None
        wanted = [
            imbalance.majority if place % 2 else imbalance.minority
            for place in range(len(per_class))
        ]
    else:
        assert imbalance.ratio is not None
        wanted = [
            int(imbalance.majority * imbalance.ratio ** (place / last))
            for place in range(len(per_class))
        ]
    return [min(pair) for pair in zip(wanted, per_class, strict=True)]


def kept_indices(labels: Whole, counts: Sequence[int]) -> Whole:
    """Positions of the first `counts[c]` images of every class c in native order, one class after
    another."""
    kept = [np.flatnonzero(labels == place)[:count] for place, count in enumerate(counts)]
    return np.concatenate(kept).astype(np.int64) if kept else _all_indices(0)


def per_class(labels: Whole, fraction: float, rounding: str, seed: int) -> tuple[Whole, Whole]:
    """Cut inside every class: positions of the pool and of the test set, both in native order.

    Of a class with n images, floor or ceil of `fraction * n` go to the pool, drawn without
    replacement by Philox(key=seed), classes in order. The product is exact in decimals: 0.9 is nine
    tenths, not the nearest double.
    """
    share, whole = Fraction(str(fraction)), math.ceil if rounding == "ceil" else math.floor
    return draw_per_class(labels, seed, lambda members: whole(share * members))


def draw_per_class(
    labels: Whole, seed: int, pool_size: Callable[[int], int]
) -> tuple[Whole, Whole]:
    """As `per_class`, with the number of a class's images that go to the pool as a function of all
    it has."""
    # A negative seed is a valid number in a suite, but no valid key.
    generator = np.random.Generator(np.random.Philox(key=seed % 2**64))
    in_pool = np.zeros(len(labels), dtype=bool)
    for place in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == place))
        in_pool[members[: pool_size(len(members))]] = True
    return np.flatnonzero(in_pool), np.flatnonzero(~in_pool)


def draw_validation(data: Data, train: Whole, labels: Whole) -> tuple[Whole, Whole]:
    """`train` without the validation images, and these, both in the order they had. labels: those
    of `train`.

    Drawn without replacement by Philox(key=seed). Raises DataError where there are too few.
    """
    drawn = data.validation
    assert drawn is not None
    each = drawn.size // data.classes
    counts = np.bincount(labels, minlength=data.classes)
    most = int(counts.min()) * data.classes if drawn.rule == "balanced" else len(train)
    if drawn.size > most:
        raise DataError(
            f"{data.name} has no {drawn.size:,} images for data.validation with rule "
            f"'{drawn.rule}'",
            remedy=f"at most {most:,} can be drawn",
        )
    if drawn.rule == "balanced":
        pool, rest = draw_per_class(labels, drawn.seed, lambda size: size - each)
        return train[pool], train[rest]
    order = np.random.Generator(np.random.Philox(key=drawn.seed % 2**64)).permutation(len(train))
    return train[np.sort(order[drawn.size :])], train[np.sort(order[: drawn.size])]


def subsample(indices: Whole, limit: Limit | None, part: str) -> Whole:
    """The first n of a seeded shuffle, regardless of class, in the order they had."""
    if limit is None:
        return indices
    size = limit.train if part == "train" else limit.test
    order = np.random.Generator(np.random.Philox(key=LIMIT_KEY)).permutation(len(indices))
    return indices[np.sort(order[:size])]


def cut_per_class(
    split: Split, labels: Whole, names: tuple[str, ...]
) -> tuple[Whole, Whole, Whole, tuple[str, ...]]:
    """Leave a class out, number the rest from 0, and cut. The left-out images have label -1.

    Positions of the pool and of the test set, the new labels of all images, and the names of the
    classes.
    """
    left_out = _left_out(split, names)
    order = np.array([-1 if name in left_out else 0 for name in names], dtype=np.int64)
    order[order == 0] = np.arange(np.count_nonzero(order == 0))
    renumbered = order[labels]
    members = np.flatnonzero(renumbered >= 0)
    assert split.seed is not None
    if (held_out := split.test_per_class) is not None:
        train, test = draw_per_class(
            renumbered[members], split.seed, lambda size: max(size - held_out, 0)
        )
    else:
        assert split.train_fraction is not None and split.rounding is not None
        train, test = per_class(
            renumbered[members], split.train_fraction, split.rounding, split.seed
        )
    return (
        members[train],
        members[test],
        renumbered,
        tuple(name for name in names if name not in left_out),
    )


def _left_out(split: Split, names: tuple[str, ...]) -> tuple[str, ...]:
    if split.drop == "first_sorted":
        return names[:1]
    return tuple(name for name in names if name in CLUTTER) if split.drop == "by_name" else ()


def _all_indices(count: int) -> Whole:
    return np.arange(count, dtype=np.int64)


def _require_pinned(data: Data, found: Division) -> None:
    """Refuse what is not exactly what the suite pins: a subset, a missing class, another
    edition."""
    checks = (
        ("classes", data.classes, len(found.class_names)),
        ("images in the pool", data.train_size, len(found.train)),
        ("images in the test set", data.test_size, len(found.test)),
    )
    wrong = [
        f"{have:,} {what} where the suite pins {want:,}"
        for what, want, have in checks
        if want != have
    ]
    if wrong:
        raise DataError(
            f"{data.name} has {', '.join(wrong)}",
            remedy=(
                "restore the complete data set; a smaller one needs a profile that says its sizes"
            ),
        )
