"""The digits that ship with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.datasets import describe, fetch, load
from benchmark.al.datasets.digits import split_stratified
from benchmark.errors import DataError


def test_the_whole_set_is_scikit_learns(spec: Any, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    found = load(spec("digits", 1297, 500, 10), tmp_path / "no root is needed", tmp_path / "cache")
    assert found.canonical and found.canonical_note == ""
    oracle = load_digits()
    whole = {}
    for image, label in zip(oracle.images, oracle.target, strict=True):
        whole.setdefault(tuple(int(level) for level in image.ravel()), []).append(int(label))
    for part in (found.train, found.test):
        levels = (
            np.rint(part.pixels[..., 0].astype(float) * 16 / 255).astype(int).reshape(len(part), 64)
        )
        for row, label in zip(levels, part.labels, strict=True):
            whole[tuple(row)].remove(label)
    assert not any(whole.values()), "every image is in exactly one part"
    assert found.train.pixels.max() == 255 and found.train.pixels.min() == 0


def test_classes_are_in_proportion(spec: Any, tmp_path: Path) -> None:
    found = load(spec("digits", 1297, 500, 10), tmp_path, tmp_path / "cache")
    train, test = np.bincount(found.train.labels), np.bincount(found.test.labels)
    assert np.abs(test - (train + test) * 500 / 1797).max() < 1


def test_stratified_sizes_and_seeds() -> None:
    labels = np.repeat([0, 1, 2], [10, 10, 11])
    train, test = split_stratified(labels, 10, 0)
    assert np.bincount(labels[test]).tolist() == [3, 3, 4], (
        "3.23, 3.23 and 3.55: the largest remainder gets the tenth"
    )
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(31))
    assert split_stratified(labels, 10, 1)[1].tolist() != test.tolist()


def test_other_digits_are_not_canonical(
    spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.al.datasets.digits.CONTENT", "0" * 64)
    status = describe(spec("digits", 1297, 500, 10), tmp_path, tmp_path / "cache")
    assert status.present and not status.canonical and "other digits" in status.note


def test_without_scikit_learn(spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match="scikit-learn"):
        load(spec("digits", 1297, 500, 10), tmp_path, tmp_path / "cache")


def test_there_is_nothing_to_fetch(tmp_path: Path) -> None:
    fetch("digits", tmp_path / "root", lambda *_: pytest.fail("nothing is downloaded"))
    assert not (tmp_path / "root").exists()
