"""Cuts of the data: against the official program's numbers, and against slow obvious twins."""

from __future__ import annotations

import hashlib
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.datasets import split
from benchmark.al.datasets.source import ArrayImages, Source
from benchmark.errors import DataError
from benchmark.spec.data import Imbalance, Limit

GOLDEN = Path(__file__).parents[2] / "golden" / "11_stconal_imbalanced.json"
CASES = {case["name"]: case for case in json.loads(GOLDEN.read_text())["cases"]}
KINDS = {
    "cifar10im": Imbalance(kind="step", majority=5000, minority=50),
    "cifar100im": Imbalance(kind="step", majority=500, minority=5),
    "cifar10imlong": Imbalance(kind="long_tail", majority=5000, ratio=0.01),
    "cifar100imlong": Imbalance(kind="long_tail", majority=5000, ratio=0.01),
}


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("cifar")])
def test_imbalanced_pools_are_the_official_ones(name: str) -> None:
    case = CASES[name]
    expected = case["expected"]
    with np.load(GOLDEN.with_suffix(".npz")) as arrays:
        labels = arrays[name.partition("_")[2]].astype(np.int64)
    counts = split.class_counts(KINDS[case["inputs"]["dataset"]], np.bincount(labels).tolist())
    kept = split.kept_indices(labels, counts)
    assert counts == expected["class_counts"]
    assert len(counts) == expected["num_classes"]
    assert len(kept) == expected["pool_size"]
    assert kept[:10].tolist() == expected["first_10_indices"]
    assert kept[-10:].tolist() == expected["last_10_indices"]
    assert int(kept.sum()) == expected["sum_of_indices"]
    text = "\n".join(str(index) for index in kept)
    assert hashlib.sha1(text.encode()).hexdigest() == expected["sha1_indices"]


@pytest.mark.parametrize("name", [name for name in CASES if "_exp_" in name])
def test_long_tail_counts_are_the_official_rule(name: str) -> None:
    case = CASES[name]
    inputs = case["inputs"]
    rule = Imbalance(kind="long_tail", majority=inputs["img_max"], ratio=inputs["imb_factor"])
    assert (
        split.class_counts(rule, [10**6] * inputs["num_classes"])
        == case["expected"]["img_num_per_cls"]
    )


def test_counts_never_exceed_what_exists() -> None:
    assert split.class_counts(Imbalance(kind="step", majority=9, minority=2), [5, 5, 1]) == [
        2,
        5,
        1,
    ]
    assert split.class_counts(Imbalance(kind="long_tail", majority=9, ratio=0.1), [4]) == [4]


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("fraction", [0.9, 0.7, 0.5, 0.828])
def test_per_class_sizes_are_exact_decimals(fraction: float, rounding: str) -> None:
    sizes = [31, 40, 85, 90, 130, 170, 435, 800]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    train, test = split.per_class(labels, fraction, rounding, seed=3)
    twin = [getattr(math, rounding)(Decimal(str(fraction)) * size) for size in sizes]
    assert np.bincount(labels[train]).tolist() == twin
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()


def test_tod_and_bal_roundings_are_those_of_their_float_code() -> None:
    """TOD cuts at int(0.9 n); BAL's pool is the sum of ceil(0.9 n). Exact decimals must not differ
    from either."""
    for size in range(1, 900):
        labels = np.zeros(size, dtype=np.int64)
        assert len(split.per_class(labels, 0.9, "floor", 0)[0]) == int(0.9 * size)
        assert len(split.per_class(labels, 0.9, "ceil", 0)[0]) == math.ceil(0.9 * size)


def test_per_class_draws_are_philox_permutations_of_each_class() -> None:
    labels = np.array([1, 0, 1, 0, 0, 1, 1, 0, 0, 1])
    generator = np.random.Generator(np.random.Philox(key=5))
    expected = sorted(
        int(index)
        for place in (0, 1)
        for index in generator.permutation(np.flatnonzero(labels == place))[:3]
    )
    assert split.per_class(labels, 0.6, "floor", 5)[0].tolist() == expected
    assert split.per_class(labels, 0.6, "floor", 6)[0].tolist() != expected


def test_limit_keeps_order_and_ignores_classes() -> None:
    indices = np.arange(100, 1100)
    kept = split.subsample(indices, Limit(train=50, test=7), "train")
    order = np.random.Generator(np.random.Philox(key=0)).permutation(1000)
    assert kept.tolist() == sorted(100 + int(place) for place in order[:50])
    assert len(split.subsample(indices, Limit(train=50, test=7), "test")) == 7
    assert split.subsample(indices, None, "train") is indices


def _source(names: tuple[str, ...], per_class: int, divided: bool = False) -> Source:
    labels = np.repeat(np.arange(len(names)), per_class)
    images = ArrayImages(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)
    return Source(images, images if divided else None, names)


def test_background_is_dropped_by_name(spec: Any, per_class: Any) -> None:
    names = ("Apples", "BACKGROUND_Google", "Cats")
    data = spec("x", 10, 10, 2, split=per_class(0.5, "floor", "by_name"))
    found = split.split_dataset(data, _source(names, 10))
    assert found.class_names == ("Apples", "Cats")
    assert set(found.train) | set(found.test) == {*range(10), *range(20, 30)}
    assert [int(index) // 20 for index in found.train] == found.train_labels.tolist()


def test_first_sorted_is_dropped_blindly(spec: Any, per_class: Any) -> None:
    """As TOD's release does: where the background folder was removed before, an object class
    goes."""
    data = spec("x", 10, 10, 2, split=per_class(0.5, "floor", "first_sorted"))
    found = split.split_dataset(data, _source(("Faces", "Hats", "Zebras"), 10))
    assert found.class_names == ("Hats", "Zebras")
    assert found.train.min() >= 10


def test_imbalance_then_limit(spec: Any) -> None:
    more = {
        "imbalance": {"kind": "step", "majority": 8, "minority": 2},
        "limit": {"train": 5, "test": 4},
    }
    found = split.split_dataset(spec("x", 5, 4, 2, **more), _source(("a", "b"), 10, divided=True))
    pool = np.array([0, 1, *range(10, 18)])
    assert found.train.tolist() == split.subsample(pool, Limit(train=5, test=4), "train").tolist()
    assert set(found.test) <= set(range(20)) and len(found.test) == 4


def test_limit_to_the_first_classes(spec: Any) -> None:
    """Images of the other classes are gone before any are drawn."""
    more = {"limit": {"train": 15, "test": 12, "classes": 2}}
    found = split.split_dataset(
        spec("x", 15, 12, 2, **more), _source(("a", "b", "c", "d"), 10, divided=True)
    )
    assert found.class_names == ("a", "b")
    assert set(found.train) < set(range(20)) and set(found.test) < set(range(20))
    for indices, labels, count in (
        (found.train, found.train_labels, 15),
        (found.test, found.test_labels, 12),
    ):
        assert len(set(indices)) == count and labels.tolist() == [place // 10 for place in indices]


@pytest.mark.parametrize(
    ("divided", "more", "message"),
    [
        (
            True,
            {"split": "cut"},
            "has an official division, but the suite pins split.rule 'per_class'",
        ),
        (False, {}, "has no official division, but the suite pins split.rule 'official'"),
        (True, {"split": {"rule": "official", "drop": "by_name"}}, "split.drop does not apply"),
        (True, {"train_size": 19}, "20 images in the pool where the suite pins 19"),
        (True, {"test_size": 21}, "20 images in the test set where the suite pins 21"),
        (True, {"classes": 3}, "2 classes where the suite pins 3"),
    ],
)
def test_what_does_not_fit_is_refused(
    spec: Any, per_class: Any, divided: bool, more: dict[str, Any], message: str
) -> None:
    more = {key: per_class() if value == "cut" else value for key, value in more.items()}
    data = spec(
        "x", more.pop("train_size", 20), more.pop("test_size", 20), more.pop("classes", 2), **more
    )
    with pytest.raises(DataError, match=message):
        split.split_dataset(data, _source(("a", "b"), 10, divided))


def test_a_fixed_number_of_test_images_per_class(spec: Any) -> None:
    """20 of each of 256 classes leave 24,660 of Caltech-256's 29,780 images in the pool."""
    sizes = [116] * 256
    sizes[0] += 29_780 - sum(sizes)
    labels = np.repeat(np.arange(256), sizes)
    images = ArrayImages(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)
    rule = {"rule": "per_class", "test_per_class": 20, "seed": 1}
    source = Source(images, None, tuple(str(place) for place in range(256)))
    found = split.split_dataset(spec("x", 24_660, 5_120, 256, split=rule), source)
    assert np.bincount(found.test_labels).tolist() == [20] * 256
    assert np.array_equal(np.sort(np.concatenate([found.train, found.test])), np.arange(29_780))
    generator = np.random.Generator(np.random.Philox(key=1))
    first = generator.permutation(sizes[0])
    assert found.test[:20].tolist() == sorted(first[sizes[0] - 20 :].tolist())


# --------------------------------------------------------------------------------------- validation


@pytest.mark.parametrize("rule", ["uniform", "balanced"])
def test_validation_images_are_in_no_pool(spec: Any, rule: str) -> None:
    """Five of each of two classes, or ten of twenty whatever they are; the rest is the pool."""
    source = _source(("a", "b"), 10, divided=True)
    drawn = {"size": 10, "rule": rule, "seed": 3}
    found = split.split_dataset(spec("x", 10, 20, 2, validation=drawn), source)
    assert found.validation is not None and found.validation_labels is not None
    assert sorted([*found.train, *found.validation]) == list(range(20))
    for indices, labels in (
        (found.train, found.train_labels),
        (found.validation, found.validation_labels),
    ):
        assert indices.tolist() == sorted(indices) and labels.tolist() == [k // 10 for k in indices]
    generator = np.random.Generator(np.random.Philox(key=3))
    if rule == "uniform":
        wanted = generator.permutation(20)[:10]
    else:
        # As in a cut of the classes: the pool is drawn first, and the rest is kept.
        wanted = np.concatenate([generator.permutation(10)[5:] + 10 * k for k in (0, 1)])
    assert found.validation.tolist() == sorted(wanted.tolist())
    plain = split.split_dataset(spec("x", 20, 20, 2), source)
    assert plain.validation is None and found.test.tolist() == plain.test.tolist()


def test_validation_images_come_from_what_the_pool_would_be(spec: Any) -> None:
    """After the imbalance and the classes of a limit, before its shuffle."""
    more = {
        "imbalance": {"kind": "step", "majority": 8, "minority": 4},
        "limit": {"train": 5, "test": 4, "classes": 2},
        "validation": {"size": 4, "rule": "balanced", "seed": 0},
    }
    source = _source(("a", "b", "c"), 10, divided=True)
    found = split.split_dataset(spec("x", 5, 4, 2, **more), source)
    assert found.validation is not None
    assert set(found.validation) < {*range(4), *range(10, 18)}
    assert not set(found.validation) & set(found.train) and len(found.train) == 5
    assert [int(k) // 10 for k in found.validation] == [0, 0, 1, 1]


@pytest.mark.parametrize(("rule", "most"), [("uniform", 12), ("balanced", 8)])
def test_more_validation_images_than_there_are(spec: Any, rule: str, most: int) -> None:
    more = {
        "imbalance": {"kind": "step", "majority": 8, "minority": 4},
        "validation": {"size": 14, "rule": rule, "seed": 0},
    }
    with pytest.raises(DataError, match=rf"no 14 images for data.validation .* '{rule}'") as caught:
        split.split_dataset(spec("x", 1, 20, 2, **more), _source(("a", "b"), 10, divided=True))
    assert caught.value.remedy == f"at most {most} can be drawn"


def test_a_balanced_validation_set_has_as_many_of_every_class(spec: Any) -> None:
    with pytest.raises(ValueError, match="7 images are no multiple of the 2 classes"):
        spec("x", 10, 20, 2, validation={"size": 7, "rule": "balanced", "seed": 0})
