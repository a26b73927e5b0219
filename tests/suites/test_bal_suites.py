"""The BAL suites say what the release at 140d279 does, their tables are the digitised figure, and
their smoke profiles run, pretext stage included: on real CIFAR-10 where it is to be had
(ALBENCH_TEST_DATA), else on small files in the official layouts and in the class folders of BAL's
README."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from benchmark.al import datasets, registry
from benchmark.al.networks import build_network
from benchmark.al.training.schedules import learning_rate_at
from benchmark.planning.workload import estimate_workload, sum_workloads
from benchmark.runs import events
from benchmark.spec.data import Limit
from benchmark.spec.load import SuiteFile, find_suite, suite_files
from benchmark.spec.published import TARGETS
from benchmark.worker import main
from tests.helpers.network_cost import macs, parameters

ROOT = Path(__file__).parents[2] / "suites"
FIGURE = Path(__file__).parents[3] / "shared" / "protocols" / "bal_reported.yaml"
DATA = {
    "cifar10": (50_000, 10_000, 10),
    "svhn": (73_257, 26_032, 10),
    "caltech101": (7_857, 820, 101),
    "tiny-imagenet": (100_000, 10_000, 200),
}
"""Images in the pool and in the test set, classes."""
SHARES = {
    "small": (2, 4, 6, 8, 10),
    "base": (10, 15, 20, 25, 30, 35, 40),
    "large": tuple(range(10, 101, 10)),
}
BETA = {
    "caltech101": (0.5, 1.3, 2.5),
    "cifar10": (1.0, 1.2, 2.0),
    "svhn": (1.0, 1.4, 2.0),
    "tiny-imagenet": (0.5, 1.2, 2.5),
}
# First labels, labels of a cycle, step a, and the ranks that each cycle looks at.
WINDOWS: dict[str, tuple[int, int, int, str]] = {
    "cifar10-small": (1000, 1000, 10000, "0-10000 20000-30000 30000-40000 40000-50000 40000-50000"),
    "cifar10-base": (
        5000,
        2500,
        7142,
        "0-8570 13569-22140 20711-29282 27853-36424 34995-43566 42137-50000 41429-50000",
    ),
    "svhn-small": (1465, 1465, 14651, "0-14651 29302-43953 43953-58604 58604-73255 58606-73257"),
    "svhn-base": (
        7325,
        3662,
        10465,
        "0-14650 18837-33488 29302-43953 39767-54418 50232-64883 60697-73257 58606-73257",
    ),
    "caltech101-small": (157, 157, 1571, "0-785 3534-4320 5105-5891 6676-7462 7071-7857"),
    "caltech101-base": (
        785,
        392,
        1122,
        "0-1458 2075-3534 3197-4656 4319-5778 5441-6900 6563-7857 6398-7857",
    ),
    "tiny-imagenet-small": (
        2000,
        2000,
        20000,
        "0-10000 45000-55000 65000-75000 85000-95000 90000-100000",
    ),
    "tiny-imagenet-base": (
        10000,
        5000,
        14285,
        "0-17142 27141-44283 41426-58568 55711-72853 69996-87138 84281-100000 82858-100000",
    ),
}
STEP = {"cifar10": 5000, "svhn": 7325, "caltech101": 785, "tiny-imagenet": 10_000}
"""Step a of the large regime."""
REAL = pytest.mark.skipif(
    "ALBENCH_TEST_DATA" not in os.environ, reason="ALBENCH_TEST_DATA names no data root"
)


@pytest.fixture(scope="module", params=[f"{name}-{regime}" for name in DATA for regime in SHARES])
def suite(request: pytest.FixtureRequest) -> SuiteFile:
    return find_suite(f"bal/{request.param}", ROOT)


def parts(suite: SuiteFile) -> tuple[str, str]:
    """Data set and regime."""
    name, _, regime = suite.id.partition("/")[2].rpartition("-")
    return name, regime


def beta(suite: SuiteFile) -> float:
    name, regime = parts(suite)
    return BETA[name][list(SHARES).index(regime)]


def explained(suite: SuiteFile) -> list[tuple[int, int, int]]:
    """(labels, begin, end) of every training in the table that `albench show` prints."""
    lines = [line.split() for line in suite.suite.about.splitlines() if line.startswith("   ")]
    rows = [line for line in lines if line[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(suite.suite.protocol.acquisition.cycles))
    return [
        tuple(int(row[place].strip(",").replace(",", "")) for place in (1, 2, 4)) for row in rows
    ]  # type: ignore[misc]


def test_there_is_a_suite_for_every_panel() -> None:
    found = {path.stem for path in suite_files(ROOT) if path.parent.name == "bal"}
    assert found == {f"{name}-{regime}" for name in DATA for regime in SHARES}


def test_pool_and_budgets_are_the_released_ones(suite: SuiteFile) -> None:
    name, regime = parts(suite)
    protocol, shares = suite.suite.protocol, SHARES[regime]
    assert (protocol.data.train_size, protocol.data.test_size, protocol.data.classes) == DATA[name]
    labelled = protocol.acquisition.labelled()
    size = DATA[name][0]
    first, step = int(shares[0] * 0.01 * size), int((shares[1] - shares[0]) * 0.01 * size)
    assert labelled == tuple(first + step * place for place in range(len(shares)))
    assert protocol.acquisition.initial.rule == "strategy"
    if regime != "large":
        assert (first, step) == WINDOWS[f"{name}-{regime}"][:2]


def test_both_recipes_are_the_readmes(suite: SuiteFile) -> None:
    protocol = suite.suite.protocol
    assert protocol.pretext is not None
    for training, epochs, batch, start in (
        (protocol.training, 100, 128, "warm_best"),
        (protocol.pretext.training, 120, 256, "fresh"),
    ):
        assert (training.epochs, training.batch_size, training.drop_last, training.start) == (
            epochs,
            batch,
            False,
            start,
        )
        rates = [
            learning_rate_at(training.schedule, training.optimizer.lr, epoch, 0, epochs, 1)
            for epoch in range(epochs)
        ]
        expected = np.repeat([0.1, 0.01, 1e-3, 1e-4], [30, 30, 30, epochs - 90])
        assert rates == pytest.approx(expected.tolist())
    assert (protocol.pretext.clusters, protocol.pretext.keep) == (protocol.data.classes, "best")
    assert (protocol.evaluation.every, suite.suite.rule.metric) == (1, "accuracy/best")


def test_beta_and_windows_are_explained_as_the_release_computes_them(suite: SuiteFile) -> None:
    name, regime = parts(suite)
    assert suite.suite.methods["bal"].strategy.params == {
        "beta": beta(suite),
        "sampler": "confidence",
    }
    step = STEP[name] if regime == "large" else WINDOWS[f"{name}-{regime}"][2]
    text = " ".join(suite.suite.about.split())
    assert f"Here beta = {beta(suite)}," in text and f"= {step:,}:" in text
    for place, word in enumerate(SHARES):
        assert f"{BETA[name][place]} {word}" in text
    rows = explained(suite)
    assert tuple(labels for labels, _, _ in rows) == suite.suite.protocol.acquisition.labelled()
    if regime != "large":
        windows = WINDOWS[f"{name}-{regime}"][3].split()
        assert [f"{begin}-{end}" for _, begin, end in rows] == windows


@pytest.mark.parametrize(
    ("name", "hard", "random"),
    [
        ("cifar10", 95.0, 86.3),
        ("svhn", 95.0, 86.3),
        ("caltech101", 97.5, 85.2),
        ("tiny-imagenet", 97.5, 85.2),
    ],
)
def test_the_ceiling_of_the_large_regime(name: str, hard: float, random: float) -> None:
    """From the windows as `albench show` prints them: what they show at all, and what random picks
    inside them buy."""
    file, (size, _, _) = find_suite(f"bal/{name}-large", ROOT), DATA[name]
    first = file.suite.protocol.acquisition.initial.size
    rows = explained(file)
    rng = np.random.default_rng(0)
    labelled = np.zeros(size, dtype=bool)
    labelled[:first] = True
    shown = labelled.copy()
    for cycle, (_, begin, end) in enumerate(rows[1:], start=1):
        shown[begin:end] = True
        left = begin + np.flatnonzero(~labelled[begin:end])
        bought = rng.permutation(left)[:first]
        assert (len(bought) == first) == (cycle < 8)  # trainings 0 to 7 have their nominal labels
        labelled[bought] = True
    assert 100 * shown.mean() == pytest.approx(hard, abs=0.05)
    assert 100 * labelled.mean() == pytest.approx(random, abs=0.5)
    for regime in SHARES:
        text = " ".join(find_suite(f"bal/{name}-{regime}", ROOT).suite.about.split())
        assert f"at most {hard:g} %" in text.lower() and f"{random} % are" in text


def test_claims_of_the_large_regime_name_sizes_that_bal_reaches(suite: SuiteFile) -> None:
    """Its windows run dry after the eighth training: a claim at 90 % of the labels would be missing
    for ever."""
    planned = suite.suite.protocol.acquisition.labelled()
    reached = planned[:8] if parts(suite)[1] == "large" else planned
    for claim in suite.suite.claims.values():
        if claim.better == "bal":
            named = {"all": planned, "after_first": planned[1:]}.get(
                str(claim.labelled), claim.labelled
            )
            assert named in (reached, reached[1:])


def test_networks_have_the_released_size(suite: SuiteFile) -> None:
    protocol, price = suite.suite.protocol, suite.suite.cost
    assert protocol.pretext is not None
    side = 224 if parts(suite)[0] in ("caltech101", "tiny-imagenet") else 32
    main_net = build_network(protocol.models[0], protocol.data.classes, 3)
    assert macs(main_net, side) == price.forward_macs
    assert round((price.forward_macs or 0) / 1e9, 2) == {32: 0.31, 224: 15.35}[side]
    assert parameters(main_net) == pytest.approx(14.72e6 + 513 * protocol.data.classes, rel=1e-3)
    if parts(suite)[0] == "cifar10":
        assert protocol.pretext.model.name == "resnet_cifar"
        assert (price.pretext_macs or 0) == pytest.approx(0.555e9, rel=1e-3)


# Millions of images: pretext (training, check of every epoch, features), then training, test and
# scoring by regime.
PASSES = {
    "cifar10": ((24.0, 24.0, 0.20), (1.50, 5.0, 0.04), (8.75, 7.0, 0.05), (27.5, 10.0, 0.05)),
    "svhn": ((35.2, 35.2, 0.29), (2.20, 13.0, 0.06), (12.8, 18.2, 0.08), (40.3, 26.0, 0.07)),
    "caltech101": (
        (3.77, 3.77, 0.03),
        (0.235, 0.41, 0.003),
        (1.37, 0.57, 0.008),
        (4.32, 0.82, 0.009),
    ),
    "tiny-imagenet": ((48.0, 48.0, 0.40), (3.0, 5.0, 0.04), (17.5, 7.0, 0.09), (55.0, 10.0, 0.12)),
}


def test_image_passes_are_the_released_ones(suite: SuiteFile) -> None:
    name, regime = parts(suite)
    pretext, *regimes = PASSES[name]
    training, test, scoring = regimes[list(SHARES).index(regime)]
    counted = sum_workloads(
        estimate_workload(suite.suite.protocol, suite.suite.methods["bal"].cost, suite.suite.cost)
    )
    assert counted.pretext / 1e6 == pytest.approx(pretext[0], rel=0.005)
    assert counted.pretext_checks / 1e6 == pytest.approx(pretext[1] + pretext[2], rel=0.005)
    assert counted.labelled / 1e6 == pytest.approx(training, rel=0.007)
    assert counted.test / 1e6 == pytest.approx(test, rel=0.01)
    # An upper bound: images of a window that are labelled already are not scored.
    assert scoring * 0.8 < counted.acquisition / 1e6 < 2 * scoring


def test_methods_build_in_every_variant(suite: SuiteFile) -> None:
    for profile in ("paper", "smoke"):
        for variant in ("as_published", "corrected", *suite.suite.variants):
            for trial in suite.trials(profile, variant, seeds=[0]):
                registry.build_component("strategies", trial.strategy)
    released = suite.resolve(variant="released").protocol
    assert (
        released.pretext is not None
        and not released.pretext.upright
        and released.evaluation.epoch == "best"
    )
    assert any(step.op == "swap_red_blue" for step in released.views.test)
    assert not any(step.op == "swap_red_blue" for step in released.views.train)


# --------------------------------------------------------------------------------- reported numbers


def test_every_point_has_its_role(suite: SuiteFile) -> None:
    name, regime = parts(suite)
    labelled, methods = suite.suite.protocol.acquisition.labelled(), suite.suite.methods
    curves = Counter(row.method for row in suite.reported)
    assert set(curves.values()) == {len(labelled)}
    for row in suite.reported:
        assert row.labelled in labelled and row.metric == "accuracy/best" and row.n is None
        if row.method in ("random", "coreset", "dbal", "vaal", "pal"):
            assert row.role == "external" and regime == "base"
        elif row.method == "activeft" or row.method not in methods:
            assert row.role == "unreleased"
        nominal = regime == "large" and (
            row.method,
            SHARES[regime][labelled.index(row.labelled)],
        ) in (
            ("bal", 90),
            ("bal", 100),
            ("bal(fix)", 100),
        )
        assert nominal == ("nominal" in row.note)
        decides_nothing = nominal or row.mean is None or "mostly hidden" in row.note
        if decides_nothing:
            assert row.role not in TARGETS
        elif row.method == "bal":
            assert row.role == ("target" if name in ("cifar10", "svhn") else "target_weak")


def test_461_points_of_which_seven_cannot_be_read() -> None:
    rows = [
        row
        for path in suite_files(ROOT)
        if path.parent.name == "bal"
        for row in find_suite(f"bal/{path.stem}", ROOT).reported
    ]
    kinds = ("partly hidden", "mostly hidden", "not readable")
    flags = Counter(kind for row in rows for kind in kinds if kind in row.note)
    assert len(rows) == 461 and flags == {
        "partly hidden": 92,
        "mostly hidden": 12,
        "not readable": 7,
    }
    unread = [row for row in rows if row.mean is None]
    assert {(row.method, row.source[-12:]) for row in unread} == {
        ("pt4al", "caltech101-b")
    } and len(unread) == 7


@pytest.mark.parametrize(
    ("name", "method", "labelled", "mean"),
    [
        ("cifar10-small", "bal", 5_000, 67.84),
        ("cifar10-base", "bal", 20_000, 91.1),
        ("cifar10-large", "bal", 5_000, 54.4),
        ("svhn-small", "bal", 7_325, 92.23),
        ("caltech101-small", "bal", 785, 50.81),
        ("caltech101-base", "bal", 785, 42.61),
        ("cifar10-large", "pt4al", 5_000, 53.48),
        ("tiny-imagenet-large", "bal(fix)", 100_000, 36.84),
    ],
)
def test_single_points(name: str, method: str, labelled: int, mean: float) -> None:
    rows = find_suite(f"bal/{name}", ROOT).reported
    (row,) = [row for row in rows if (row.method, row.labelled) == (method, labelled)]
    assert row.value == pytest.approx(mean, abs=0.051)


def test_tables_are_the_digitised_figure(suite: SuiteFile) -> None:
    if not FIGURE.exists():
        pytest.skip("the digitised figure is not beside the checkout")
    yaml = pytest.importorskip("yaml")
    name, regime = parts(suite)
    shares = SHARES[regime]
    points = {
        (entry["method"], entry["labelled"]): entry["accuracy_mean"]
        for entry in yaml.safe_load(FIGURE.read_text())["reported"]
        if (entry["dataset"], entry["regime"]) == (name.replace("-", ""), regime)
    }
    labelled = suite.suite.protocol.acquisition.labelled()
    ours = {
        (row.method, f"{shares[labelled.index(row.labelled or 0)]}%"): row.mean
        for row in suite.reported
    }
    assert ours == points


# ----------------------------------------------------------------------------------- smoke profiles


@REAL
@pytest.mark.slow
def test_smoke_on_real_cifar10(tmp_path: Path) -> None:
    check(run_smoke("cifar10-base", Path(os.environ["ALBENCH_TEST_DATA"]), tmp_path))


@pytest.mark.parametrize("name", ["svhn-small", "caltech101-base", "tiny-imagenet-large"])
def test_smoke_on_small_files_in_the_official_layout(name: str, tmp_path: Path) -> None:
    WRITE[name.rpartition("-")[0]](tmp_path)
    record = run_smoke(name, tmp_path, tmp_path)
    check(record)
    assert not record.data.canonical


@pytest.mark.parametrize("name", DATA)
def test_class_folders_of_the_readme(name: str, tmp_path: Path) -> None:
    protocol = find_suite(f"bal/{name}-base", ROOT).resolve("smoke", "class_folders").protocol
    side = 64 if name == "tiny-imagenet" else 32
    for part, count in (("train", 170), ("test", 25)):
        for place in range(max(count, protocol.data.classes)):
            folder = tmp_path / protocol.data.name / part / str(place % protocol.data.classes)
            image(folder / f"thing_{place}.jpg", place, side)
    few = {"limit": Limit(train=160, test=20), "train_size": 160, "test_size": 20}
    loaded = datasets.load(protocol.data.model_copy(update=few), tmp_path, tmp_path / "cache")
    assert (len(loaded.train), len(loaded.test)) == (160, 20)
    if name == "cifar10":
        record = run_smoke("cifar10-base", tmp_path, tmp_path, variant="class_folders")
        check(record)
        assert "class folders" in record.data.note


def image(path: Path, seed: int, side: int = 32) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ).save(path)


def svhn(root: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 200), ("test", 40)):
        labels = (
            1 + np.arange(count, dtype=np.uint8).reshape(-1, 1) % 10
        )  # the file says 10 for the digit 0
        pixels = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        scipy.io.savemat(root / f"{part}_32x32.mat", {"X": pixels, "y": labels})


def caltech101(root: Path) -> None:
    """Three classes of a hundred images, so that a tenth of each can be set aside, and 98 of
    one."""
    for number in range(102):
        name = "BACKGROUND_Google" if number == 101 else f"class_{number:03d}"
        for place in range(100 if number < 3 else 1):
            image(
                root / "caltech101/101_ObjectCategories" / name / f"image_{place + 1:04d}.jpg",
                place,
            )


def tiny_imagenet(root: Path) -> None:
    tiny, names = root / "tiny-imagenet-200", [f"n{number:08d}" for number in range(200)]
    for place in range(200):
        name = names[place % 10]  # the profile draws from the first ten classes
        image(tiny / "train" / name / "images" / f"{name}_{place}.JPEG", place)
        image(tiny / "val/images" / f"val_{place}.JPEG", place)
    (tiny / "wnids.txt").write_text("\n".join(names))
    (tiny / "words.txt").write_text("\n".join(f"{name}\tthing" for name in names))
    lines = [f"val_{place}.JPEG\t{names[place % 10]}\t0\t0\t62\t62" for place in range(200)]
    (tiny / "val/val_annotations.txt").write_text("\n".join(lines))


WRITE = {"svhn": svhn, "caltech101": caltech101, "tiny-imagenet": tiny_imagenet}


SHORT = {
    "protocol.acquisition.cycles": 2,
    "protocol.data.limit": {"train": 160, "test": 20, "classes": 10},
    "protocol.data.train_size": 160,
    "protocol.data.test_size": 20,
    "protocol.acquisition.initial.size": 16,
    "protocol.acquisition.budget": 8,
    "protocol.training.epochs": 1,
    "protocol.pretext.training.epochs": 1,
    "protocol.evaluation.batch_size": 20,
}
"""The smoke profile on the few images that tests make up."""


def run_smoke(
    name: str, root: Path, place: Path, variant: str = "as_published", method: str = "bal"
) -> events.Record:
    """BAL under the smoke profile."""
    file, out = find_suite(f"bal/{name}", ROOT), place / "run"
    (trial,) = file.trials("smoke", variant, methods=["bal"], sets=SHORT)
    digest = datasets.describe(trial.protocol.data, root, place / "cache").digest
    trial = trial.model_copy(update={"data_digest": digest})
    out.mkdir()
    (out / "trial.json").write_text(json.dumps(trial.model_dump(mode="json")))
    options = [
        "--data",
        str(root),
        "--cache",
        str(place / "cache"),
        "--device",
        "cpu",
        "--allow-noncanonical-data",
    ]
    assert main([str(out / "trial.json"), str(out), *options]) == 0, (
        out / "events.jsonl"
    ).read_text()
    return events.read_record(out / "record.json")


def check(record: events.Record) -> None:
    """Two trainings, the best epoch beside the last, and the window of the acquisition between."""
    assert [cycle.labelled for cycle in record.cycles] == [16, 24]
    assert all(
        cycle.metrics["accuracy/best"] >= cycle.metrics["accuracy"] for cycle in record.cycles
    )
    assert {"window/begin", "window/end", "window/unlabelled"} <= set(record.cycles[0].diagnostics)
