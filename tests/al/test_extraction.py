"""Features of a data set: what a file is made of, what its identity holds, and what an interrupted
pass leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.al import extraction
from benchmark.al.datasets import load
from benchmark.al.datasets.features import identity_of, read_features, read_made
from benchmark.al.networks.outputs import Outputs
from benchmark.errors import DataError, UsageError
from benchmark.spec.data import Imbalance
from benchmark.spec.protocol import FeatureFile, FeatureNetwork
from tests.helpers import trials as kit

pytest.importorskip("safetensors")
MADE = FeatureNetwork(
    network="counted",
    weights="a" * 64,
    code="b" * 64,
    size=16,
    resize="bicubic",
    mean=100.0,
    std=50.0,
)


class Counted(nn.Module):
    """Means and extremes of each channel, and how many images have passed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Outputs:
        self.seen += len(x)
        assert x.shape[1:] == (3, 16, 16)
        return Outputs(
            x.flatten(1), torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3)), x[:, 0, 3, 5]], dim=1)
        )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return kit.dataset(kit.trial(), tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "BLOCK", 256)


def pinned(path: Path, made: FeatureNetwork = MADE) -> FeatureFile:
    return FeatureFile(file=path.name, made=made)


def imbalanced(tmp_path: Path) -> tuple[Any, Imbalance]:
    """Digits of which even classes keep 10 images of the pool and odd ones 90."""
    rule = Imbalance(kind="step", majority=90, minority=10)
    plain = kit.trial().protocol.data
    return load(
        plain.model_copy(update={"imbalance": rule, "train_size": 500}),
        tmp_path,
        tmp_path / "cache",
    ), rule


def test_an_imbalanced_pool_has_the_rows_of_its_images(data: Any, tmp_path: Path) -> None:
    """As if the pool itself had passed through the network, which it does not."""
    pool, rule = imbalanced(tmp_path)
    network = Counted()
    whole = extraction.extract_features(data, network, MADE, tmp_path, threads=1)
    passed = network.seen
    path = extraction.take_features(data, whole, pool, rule, MADE, tmp_path)
    assert network.seen == passed and path.name == "digits-step-counted-16.safetensors"
    found = read_features(pinned(path), tmp_path, pool)
    slow = extraction.extract_features(pool, Counted(), MADE, tmp_path / "itself", threads=1)
    expected = read_features(pinned(slow), tmp_path / "itself", pool)
    assert found.train.shape == (500, 3) and found.test is not None and expected.test is not None
    np.testing.assert_array_equal(found.train, expected.train)
    np.testing.assert_array_equal(found.test, expected.test)
    before = path.stat().st_mtime_ns
    assert extraction.take_features(data, whole, pool, rule, MADE, tmp_path) == path
    assert path.stat().st_mtime_ns == before
    assert extraction.extract_features(data, network, MADE, tmp_path, threads=1) == whole, (
        "the whole is still there"
    )


def test_a_pool_that_is_cut_by_another_rule_is_refused(data: Any, tmp_path: Path) -> None:
    pool, rule = imbalanced(tmp_path)
    whole = extraction.extract_features(data, Counted(), MADE, tmp_path, threads=1)
    with pytest.raises(DataError, match="not what 'step' keeps"):
        extraction.take_features(
            data, whole, pool, rule.model_copy(update={"minority": 11}), MADE, tmp_path
        )
    with pytest.raises(DataError) as error:
        read_features(
            FeatureFile(file="digits-step-counted-16.safetensors", made=MADE), tmp_path, pool
        )
    assert "albench features SUITE" in str(error.value), (
        "the name of the data set alone would not make this file"
    )


def test_rows_are_those_of_single_images(data: Any, tmp_path: Path) -> None:
    path = extraction.extract_features(data, Counted(), MADE, tmp_path, threads=1)
    found = read_features(pinned(path), tmp_path, data)
    assert (
        found.test is not None and found.train.shape == (1297, 3) and found.test.shape == (500, 3)
    )
    for part, rows, place in ((data.train, found.train, 700), (data.test, found.test, 499)):
        image = (
            torch.from_numpy(np.array(part.image(place)))
            .permute(2, 0, 1)[None]
            .float()
            .expand(1, 3, 8, 8)
        )
        image = (torch.nn.functional.interpolate(image, size=(16, 16), mode="bicubic") - 100) / 50
        np.testing.assert_allclose(rows[place], Counted()(image).features[0].numpy(), rtol=1e-5)


def test_an_interrupted_pass_goes_on_and_gives_the_same_bytes(data: Any, tmp_path: Path) -> None:
    whole = extraction.extract_features(
        data, Counted(), MADE, tmp_path / "whole", threads=1
    ).read_bytes()

    def stop(done: int, images: int) -> None:
        assert images == 1797
        if done >= 768:
            raise KeyboardInterrupt

    first, second, third = Counted(), Counted(), Counted()
    with pytest.raises(KeyboardInterrupt):
        extraction.extract_features(data, first, MADE, tmp_path, 1, stop)
    assert first.seen == 768
    path = extraction.extract_features(data, second, MADE, tmp_path, threads=1)
    # Short batches are padded: 1,297 - 768 images in 9 batches, 500 in 4 + 4.
    assert second.seen == 64 * (9 + 8) and path.read_bytes() == whole
    assert [entry.name for entry in (tmp_path / "features").iterdir()] == [path.name]
    assert (
        extraction.extract_features(data, third, MADE, tmp_path, threads=1) == path
        and third.seen == 0
    )


def test_blocks_of_other_weights_are_not_used(data: Any, tmp_path: Path) -> None:
    def stop(done: int, images: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extraction.extract_features(data, Counted(), MADE, tmp_path, 1, stop)
    other, network = MADE.model_copy(update={"weights": "c" * 64}), Counted()
    path = extraction.extract_features(data, network, other, tmp_path, threads=1)
    assert network.seen == 64 * (4 * 5 + 1 + 8) and read_made(path) == (data.digest, other)


def test_every_part_of_the_identity_counts(data: Any) -> None:
    changes = (
        {"weights": "c" * 64},
        {"code": "c" * 64},
        {"size": 32},
        {"mean": 0.0},
        {"std": 1.0},
        {"network": "x"},
    )
    found = {identity_of(data.digest, MADE.model_copy(update=change)) for change in ({}, *changes)}
    assert len(found | {identity_of("0" * 64, MADE)}) == len(changes) + 2


def test_a_file_of_another_network_or_of_other_images_is_refused(data: Any, tmp_path: Path) -> None:
    path = extraction.extract_features(data, Counted(), MADE, tmp_path, threads=1)
    with pytest.raises(DataError, match="made with size = 16 instead of 32") as error:
        read_features(pinned(path, MADE.model_copy(update={"size": 32})), tmp_path, data)
    assert "albench features digits --network counted --size 32" in str(error.value)
    other = type(data)(**{**data.__dict__, "digest": "0" * 64})
    with pytest.raises(DataError, match="belong to data with the digest"):
        read_features(pinned(path), tmp_path, other)


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_torn_file_is_refused_and_made_again(data: Any, tmp_path: Path, keep: int) -> None:
    path = extraction.extract_features(data, Counted(), MADE, tmp_path, threads=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    with pytest.raises(DataError, match="not a safetensors file"):
        read_features(pinned(path), tmp_path, data)
    assert read_made(path) is None
    assert (
        extraction.extract_features(data, Counted(), MADE, tmp_path, threads=1).read_bytes()
        == whole
    )


def test_another_library_reads_the_same(data: Any, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = extraction.extract_features(data, Counted(), MADE, tmp_path, threads=1)
    theirs, ours = load_file(path), read_features(pinned(path), tmp_path, data)
    assert np.array_equal(theirs["train"], ours.train) and np.array_equal(theirs["test"], ours.test)


def test_an_unknown_network_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no network 'resnet'") as error:
        extraction.load_network("resnet", 128, tmp_path)
    assert "efficientnet_lite0" in str(error.value)


def test_a_file_is_pinned_in_one_way() -> None:
    for given in ({}, {"sha256": "0" * 64, "made": MADE}):
        with pytest.raises(ValueError, match="exactly one of sha256 and made"):
            FeatureFile(file="x.safetensors", **given)
    with pytest.raises(ValueError, match="pinned by what made it is a"):
        FeatureFile(file="x.npz", made=MADE)
