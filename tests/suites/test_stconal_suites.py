"""The ST-CoNAL suites say what soony1213/ST-CoNAL at 43cb8c9 does; their smoke profiles run on
files in the official layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.al import datasets, registry
from benchmark.al.datasets.split import class_counts
from benchmark.al.networks import build_network
from benchmark.al.training.schedules import learning_rate_at
from benchmark.runs import events
from benchmark.spec.data import Imbalance
from benchmark.spec.load import SuiteFile, find_suite
from benchmark.spec.suite import Trial
from benchmark.worker import main
from tests.helpers.network_cost import macs, parameters

ROOT = Path(__file__).parents[2] / "suites"
# Labelled sizes, candidates, pool, test images, classes.
RELEASED: dict[str, tuple[tuple[int, ...], int, int, int, int]] = {
    "cifar10": ((1000, 2000, 3000, 4000, 5000), 10_000, 50_000, 10_000, 10),
    "cifar100": ((2000, 4000, 6000, 8000, 10_000), 20_000, 50_000, 10_000, 100),
    "cifar10im": ((1000, 2000, 3000, 4000, 5000), 10_000, 25_250, 10_000, 10),
    "cifar100im": ((2000, 4000, 6000, 8000, 10_000), 20_000, 25_250, 10_000, 100),
    "cifar10imlong": ((1000, 2000, 3000, 4000, 5000), 10_000, 12_406, 10_000, 10),
    "cifar100imlong": ((2000, 4000, 6000, 8000, 10_000), 20_000, 34_672, 10_000, 100),
    "caltech256": ((1000, 2000, 3000, 4000, 5000), 10_000, 24_660, 5_120, 256),
    "tiny-imagenet": ((1000, 2000, 3000, 4000, 5000), 10_000, 100_000, 10_000, 200),
}
CIFAR = [name for name in RELEASED if name.startswith("cifar")]


@pytest.fixture(scope="module", params=RELEASED)
def suite(request: pytest.FixtureRequest) -> SuiteFile:
    return find_suite(f"st-conal/{request.param}", ROOT)


def name_of(suite: SuiteFile) -> str:
    return suite.id.partition("/")[2]


def test_sizes_are_the_released_ones(suite: SuiteFile) -> None:
    protocol = suite.suite.protocol
    labelled, candidates, pool, test, classes = RELEASED[name_of(suite)]
    assert (
        protocol.acquisition.labelled() == labelled
        and protocol.acquisition.candidates == candidates
    )
    assert (protocol.data.train_size, protocol.data.test_size, protocol.data.classes) == (
        pool,
        test,
        classes,
    )


def test_the_recipe_is_the_released_command(suite: SuiteFile) -> None:
    training = suite.suite.protocol.training
    rates = {
        learning_rate_at(training.schedule, training.optimizer.lr, epoch, 0, 200, 1)
        for epoch in range(training.epochs)
    }
    assert rates == {0.1} and (training.epochs, training.batch_size, training.start) == (
        200,
        128,
        "fresh",
    )
    decayed = suite.resolve(variant="repo_config").protocol.training
    found = [learning_rate_at(decayed.schedule, 0.1, epoch, 0, 200, 1) for epoch in (160, 161, 199)]
    assert found == pytest.approx([0.1, 0.01, 0.01])
    trail = training.trajectory
    assert trail is not None and trail.average == "swa"
    taken = [epoch for epoch in range(1, 201) if epoch >= trail.start and epoch % trail.every == 0]
    assert taken == [160, 170, 180, 190, 200] and (200 - trail.start) // trail.every == 4
    assert len(suite.suite.seeds) == 3


def test_the_cost_is_that_of_the_network(suite: SuiteFile) -> None:
    protocol = suite.suite.protocol
    built = build_network(protocol.models[0], protocol.data.classes, 3)
    side = 32 if name_of(suite) in CIFAR else 224
    assert macs(built, side) == suite.suite.cost.forward_macs
    if name_of(suite) in CIFAR:
        assert parameters(built) == {10: 11_173_962, 100: 11_220_132}[protocol.data.classes]
    else:
        trained = sum(value.numel() for value in built.parameters() if value.requires_grad)
        assert (parameters(built), trained) == {
            200: (11_279_112, 8_496_328),
            256: (11_307_840, 8_525_056),
        }[protocol.data.classes]


def test_every_variant_is_priced_by_the_networks_and_the_batches_it_has(suite: SuiteFile) -> None:
    for variant in ("as_published", "corrected", *suite.suite.variants):
        chosen = suite.resolve(variant=variant)
        trail = chosen.protocol.training.trajectory
        assert trail is not None
        students = {"last4": 4, "all5": 5}[trail.students]
        for name, method in chosen.methods.items():
            assert method.cost.scoring == 1 + students or not name.startswith("stconal"), (
                variant,
                name,
            )
            params = method.objective.params
            drawn = (
                (params["labelled"], params["unlabelled"])
                if method.objective.name == "mean_teacher"
                else None
            )
            assert method.cost.mixed == drawn, (variant, name)


def test_every_component_can_be_built_in_every_variant(suite: SuiteFile) -> None:
    for profile in ("paper", "smoke"):
        for variant in ("as_published", "corrected", *suite.suite.variants):
            for trial in suite.trials(profile, variant):
                registry.build_component("strategies", trial.strategy)
                registry.build_component("objectives", trial.objective)


def test_switches_begin_at_what_is_pinned_and_corrected_flips_them(suite: SuiteFile) -> None:
    def at(raw: Any, path: str) -> Any:
        for step in path.split("."):
            raw = raw[int(step)] if isinstance(raw, list) else raw[step]
        return raw

    flipped = suite.resolve(variant="corrected").model_dump(mode="json", exclude_unset=True)
    switches = [switch for item in suite.suite.deviations.values() for switch in item.switches]
    assert len(switches) >= 7
    for switch in switches:
        published, corrected = json.loads(json.dumps([switch.as_published, switch.corrected]))
        assert at(suite.raw, switch.path) == published != corrected, switch.path
        assert at(flipped, switch.path) == corrected


def test_the_moving_average_is_a_protocol_of_its_own(suite: SuiteFile) -> None:
    (ema,) = suite.trials(methods=["stconal_ema"], seeds=[0])
    trail = ema.protocol.training.trajectory
    assert trail is not None and (trail.average, trail.ema_decay, trail.ema_counter) == (
        "ema",
        0.97,
        "trial",
    )
    (corrected,) = suite.trials(variant="corrected", methods=["stconal_ema"], seeds=[0])
    trail = corrected.protocol.training.trajectory
    assert trail is not None and (trail.ema_counter, trail.students) == ("cycle", "all5")


def test_no_number_is_made_up(suite: SuiteFile) -> None:
    assert suite.reported == ()
    assert "protocol.evaluation.weights" in suite.suite.unknowns
    proposed = set(suite.suite.unknowns)
    without_configuration = name_of(suite) not in ("cifar10", "cifar100", "cifar10im", "cifar100im")
    assert (
        {"protocol.acquisition.budget", "protocol.acquisition.initial.size"} <= proposed
    ) == without_configuration


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("cifar10im", [50, 5000] * 5),
        ("cifar100im", [5, 500] * 50),
        ("cifar10imlong", [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),
    ],
)
def test_imbalanced_pools(name: str, counts: list[int]) -> None:
    data = find_suite(f"st-conal/{name}", ROOT).suite.protocol.data
    assert isinstance(data.imbalance, Imbalance)
    assert class_counts(data.imbalance, [50_000 // data.classes] * data.classes) == counts
    assert sum(counts) == data.train_size


@pytest.mark.parametrize(
    ("variant", "size", "largest", "smallest"),
    [("as_published", 34_672, 500, 50), ("corrected", 10_847, 500, 5)],
)
def test_the_long_tail_of_cifar100(variant: str, size: int, largest: int, smallest: int) -> None:
    data = find_suite("st-conal/cifar100imlong", ROOT).resolve(variant=variant).protocol.data
    assert data.imbalance is not None
    counts = class_counts(data.imbalance, [500] * 100)
    assert (sum(counts), max(counts), min(counts)) == (
        size,
        largest,
        smallest,
    ) and data.train_size == size


# ----------------------------------------------------------------------------------- smoke profiles


def _images(
    rng: np.random.Generator, folder: Path, names: list[str], side: tuple[int, int]
) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (*side, 3), dtype=np.uint8)).save(folder / name)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of every class of Caltech-256 and Tiny ImageNet, most of the ten that the smoke
    profiles draw from."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("root")
    for number in range(1, 258):
        name = f"{number:03d}.{'clutter' if number == 257 else 'thing'}"
        files = [f"{number:03d}_{place:04d}.jpg" for place in range(6 if number <= 10 else 1)]
        _images(rng, root / "caltech256/256_ObjectCategories" / name, files, (24, 24 + number % 9))
    tiny = root / "tiny-imagenet-200"
    wnids = [f"n{number:08d}" for number in range(200)]
    for number, wnid in enumerate(wnids):
        files = [f"{wnid}_{place}.JPEG" for place in range(4 if number < 10 else 1)]
        _images(rng, tiny / "train" / wnid / "images", files, (64, 64))
    _images(rng, tiny / "val/images", [f"val_{place}.JPEG" for place in range(200)], (64, 64))
    (tiny / "wnids.txt").write_text("\n".join(wnids))
    (tiny / "words.txt").write_text("\n".join(f"{wnid}\tthing" for wnid in wnids))
    (tiny / "val/val_annotations.txt").write_text(
        "\n".join(f"val_{place}.JPEG\t{wnid}\t0\t0\t62\t62" for place, wnid in enumerate(wnids))
    )
    return root


def smoke(name: str, method: str) -> Trial:
    """A trial of the smoke profile on the few images that tests make up."""
    file, sets = find_suite(f"st-conal/{name}", ROOT), SHORT
    if name == "caltech256":
        sets = sets | {"protocol.data.split.test_per_class": 1}
    (trial,) = file.trials("smoke", methods=[method], sets=sets)
    return trial


SHORT: dict[str, Any] = {
    "protocol.data.train_size": 32,
    "protocol.data.test_size": 8,
    "protocol.data.limit": {"train": 32, "test": 8, "classes": 10},
    "protocol.acquisition.initial.size": 8,
    "protocol.acquisition.budget": 8,
    "protocol.acquisition.candidates": 16,
    "protocol.training.epochs": 3,
    "protocol.training.trajectory.start": 1,
}


@pytest.mark.parametrize(
    ("name", "method"), [("caltech256", "ll4al"), ("tiny-imagenet", "stconal")]
)
def test_smoke_profiles_run_on_small_files_in_the_official_layout(
    name: str, method: str, root: Path, tmp_path: Path
) -> None:
    trial = smoke(name, method)
    (tmp_path / "trial.json").write_text(trial.model_dump_json())
    options = [
        "--data",
        str(root),
        "--cache",
        str(tmp_path / "cache"),
        "--device",
        "cpu",
        "--allow-noncanonical-data",
    ]
    assert main([str(tmp_path / "trial.json"), str(tmp_path), *options]) == 0
    record = events.read_record(tmp_path / "record.json")
    assert [cycle.labelled for cycle in record.cycles] == [8, 16]
    assert all(
        {"accuracy", "accuracy/last", "accuracy/averaged"} <= set(cycle.metrics)
        for cycle in record.cycles
    )
    assert all(len(cycle.per_class) == trial.protocol.data.classes for cycle in record.cycles)
    assert [sum(cycle.acquired) for cycle in record.cycles] == [8, 0] and not record.data.canonical


def test_caltech_images_keep_their_shape_until_the_crop(root: Path, tmp_path: Path) -> None:
    part = datasets.load(smoke("caltech256", "random").protocol.data, root, tmp_path).train
    assert part.sizes is not None and int(part.sizes.min()) == 256 and int(part.sizes.max()) > 256
