"""Features by file: pinned by digest, tied to the images, and shown to strategies by index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.al.datasets.features import read_features, write_features
from benchmark.al.learner import Learner
from benchmark.al.loop import run
from benchmark.al.strategies import Picks, Strategy, View
from benchmark.errors import AlbenchError, DataError, UsageError
from benchmark.spec.identity import trial_id
from benchmark.spec.protocol import FeatureFile
from benchmark.worker import assemble
from tests.helpers import trials as kit


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return kit.dataset(kit.trial(), tmp_path_factory.mktemp("cache"))


def numbers(count: int, width: int = 3) -> Any:
    return np.random.default_rng(1).standard_normal((count, width)).astype(np.float32)


def test_what_is_written_is_read(data: Any, tmp_path: Path) -> None:
    train, test = numbers(len(data.train)), numbers(len(data.test))
    digest = write_features(tmp_path / "features" / "x.npz", data, train, test)
    found = read_features(FeatureFile(file="x.npz", sha256=digest), tmp_path, data)
    assert (
        np.array_equal(found.train, train)
        and found.test is not None
        and np.array_equal(found.test, test)
    )


def test_safetensors(data: Any, tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    (tmp_path / "features").mkdir()
    train = numbers(len(data.train)).astype(np.float16)
    content = numpy.save({"train": train}, metadata={"data": data.digest})
    (tmp_path / "features" / "x.safetensors").write_bytes(content)
    pinned = FeatureFile(file="x.safetensors", sha256=hashlib.sha256(content).hexdigest())
    found = read_features(pinned, tmp_path, data)
    assert found.test is None and np.array_equal(found.train, train.astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"train": numbers(5)}, r"float32 of shape \(5, 3\)"),
        ({"train": np.zeros((1297, 3), np.int64)}, "int64"),
        ({"test": numbers(500)}, "'train' is absent"),
        ({"train": numbers(1297), "test": numbers(4)}, "'test' is float32"),
        (
            {"train": numbers(1297), "data": np.array("other")},
            "belong to data with the digest 'other'",
        ),
        ({"train": np.array([{}], dtype=object)}, "not an npz file of plain arrays"),
    ],
)
def test_what_is_refused(arrays: dict[str, Any], said: str, data: Any, tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    path = tmp_path / "features" / "x.npz"
    np.savez(path, **({"data": np.array(data.digest)} | arrays))
    pinned = FeatureFile(file="x.npz", sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(DataError, match=said):
        read_features(pinned, tmp_path, data)


def test_an_absent_file_and_another_digest(data: Any, tmp_path: Path) -> None:
    pinned = FeatureFile(file="x.npz", sha256="0" * 64)
    with pytest.raises(DataError, match="no such features"):
        read_features(pinned, tmp_path, data)
    write_features(tmp_path / "features" / "x.npz", data, numbers(len(data.train)))
    with pytest.raises(DataError, match="sha256 is"):
        read_features(pinned, tmp_path, data)


def test_the_digest_is_part_of_the_identity_and_the_name_is_not() -> None:
    plain, one, renamed, other = (
        trial_id(kit.trial(sets={"protocol.features": features}))
        for features in (
            {},
            {"a": {"file": "x.npz", "sha256": "0" * 64}},
            {"a": {"file": "y.npz", "sha256": "0" * 64}},
            {"a": {"file": "x.npz", "sha256": "1" * 64}},
        )
    )
    assert plain == trial_id(kit.trial()) and one == renamed and len({plain, one, other}) == 3


@dataclass(frozen=True)
class Largest(Strategy):
    """Buys the largest first feature."""

    needs = frozenset({"features.a", "labelled.features.a"})

    def select(self, view: View, budget: int) -> Picks:
        assert len(view["labelled.features.a"]) == len(view.labelled)
        return Picks(view["features.a"][:, 0].argsort(descending=True, stable=True)[:budget])


def trained(tmp_path: Path, data: Any, rows: Any, pin: bool = True) -> Learner:
    digest = write_features(tmp_path / "features" / "x.npz", data, rows)
    sets = {"protocol.features": {"a": {"file": "x.npz", "sha256": digest}}} if pin else {}
    made = kit.trial(sets=sets)
    _, learner = kit.assembled(made, tmp_path)
    _, learner = assemble(made, data, learner.numerics, tmp_path / "weights")
    assert learner.parts.features == {}, "read only where the strategy needs them"
    strategy = Largest()
    if pin:
        features = {"a": __import__("torch").from_numpy(rows)}
        learner.parts = type(learner.parts)(**{**learner.parts.__dict__, "features": features})
    live = kit.session(made, tmp_path / "out")
    run(made.protocol, strategy, learner, live)
    first, second = (result.labelled for result in live.results[:2])
    pool = live.pool
    assert pool is not None
    rest = np.setdiff1d(np.arange(len(rows)), pool.labelled[:first])
    assert set(pool.labelled[first:second]) <= set(rest)
    bought = rows[pool.labelled[first:second], 0]
    assert (np.diff(bought) <= 0).all(), "largest first"
    return learner


def test_a_strategy_reads_them_by_index(data: Any, tmp_path: Path) -> None:
    trained(tmp_path, data, numbers(len(data.train)))


def test_a_number_that_is_not_finite_is_refused(data: Any, tmp_path: Path) -> None:
    rows = numbers(len(data.train))
    rows[7, 1] = np.inf
    with pytest.raises(
        AlbenchError, match=r"Largest in cycle 0: the output 'features\.a' has 1 of 3891"
    ):
        trained(tmp_path, data, rows)


def test_features_that_no_suite_pins(data: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs 'features\.a'"):
        trained(tmp_path, data, numbers(len(data.train)), pin=False)
