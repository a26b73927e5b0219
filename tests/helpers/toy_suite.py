"""A small valid suite written from strings, and measurements made to order for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from benchmark.spec.load import SuiteFile, load_suite
from benchmark.spec.published import COLUMNS
from benchmark.verdicts.measurements import Measurement

SIZES = (100, 200, 300)
SUITE = """\
format = 1
title = "Toy on digits"
headline = "90 % at 300 labels"
seeds = {seeds}

[paper]
key = "toy"
title = "A Toy Paper"
venue = "Nowhere"
year = 2024

[protocol]
seed = 0

[protocol.data]
name = "digits"
train_size = 1000
test_size = 500
classes = 10
split = {{ rule = "official" }}

[protocol.views]
train = []
test = []
pool = "test"

[[protocol.models]]
name = "small_cnn"

[protocol.acquisition]
initial = {{ rule = "uniform", size = 100 }}
budget = 100
cycles = 3

[protocol.training]
epochs = 2
batch_size = 10
shuffle = true
drop_last = false
optimizer = {{ name = "sgd", lr = 0.1, momentum = 0.9, weight_decay = 0.0, nesterov = false }}
schedule = {{ kind = "cosine" }}
start = "fresh"

[protocol.evaluation]
epoch = "last"
batch_size = 100

[methods.random]
title = "Random"
strategy = {{ name = "random" }}

[methods.margin]
title = "Margin"
strategy = {{ name = "margin" }}

[methods.entropy]
title = "Entropy"
strategy = {{ name = "entropy" }}

[profiles.smoke]
note = "one epoch"
set = {{ "protocol.training.epochs" = 1 }}
seeds = [0]

[deviations.D1]
topic = "epochs"
paper = "two"
code = "three"
pinned = "the paper's"
effect = "none known"
source = "section 5"
switches = [{{ path = "protocol.training.epochs", as_published = 2, corrected = 3 }}]

[rule]
version = 1
margin = 1.0
margin_reason = "toy"
alpha = 0.05
min_trials = 3
{rule}
{more}

[sources]
protocol = "section 1"
methods = "section 2"
rule = "ours"
seeds = "ours"
"""

PUBLISHED = {
    "random": (70.0, 80.0, 85.0),
    "margin": (70.0, 83.0, 90.0),
    "entropy": (70.0, 82.0, 88.0),
}


def reported(
    curves: Mapping[str, Iterable[float]] = PUBLISHED,
    *,
    role: str = "target",
    error: float = 0.0,
    sd: float | None = None,
    n: int | None = None,
) -> list[dict[str, object]]:
    """Rows of a reported table for whole curves."""
    spread = {} if sd is None else {"dispersion": sd, "dispersion_kind": "sd"}
    return [
        {
            "method": method,
            "labelled": size,
            "metric": "accuracy",
            "mean": value,
            "n": n,
            "source": "Table 1",
            "reading_error": error,
            "role": role,
            **spread,
        }
        for method, curve in curves.items()
        for size, value in zip(SIZES, curve, strict=True)
    ]


def suite(
    root: Path,
    rows: Iterable[Mapping[str, object]] | None = None,
    *,
    more: str = "",
    rule: str = "",
    seeds: Iterable[int] = range(5),
    name: str = "digits",
) -> SuiteFile:
    """The toy suite in a folder, with a reported table of the given rows (default: `PUBLISHED`)."""
    folder = root / "toy"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(SUITE.format(more=more, rule=rule, seeds=list(seeds)))
    cells = [
        [row.get(column) for column in COLUMNS] for row in (reported() if rows is None else rows)
    ]
    lines = [
        ",".join(COLUMNS),
        *(",".join("" if cell is None else str(cell) for cell in row) for row in cells),
    ]
    path.with_name(f"{name}.reported.csv").write_text("\n".join(lines) + "\n")
    return load_suite(path, root)


def claim(better: str, worse: str, labelled: str = '"after_first"') -> str:
    """TOML of one claim."""
    return (
        f'[claims.C1]\ntext = "{better} beats {worse}"\nsource = "section 5"\npublished = "holds"\n'
        f'better = "{better}"\nworse = "{worse}"\nlabelled = {labelled}\n'
    )


def trial(
    method: str,
    seed: int,
    curve: Iterable[float],
    *,
    sizes: Iterable[int] = SIZES,
    suite: str = "toy/digits",
    profile: str = "paper",
    variant: str = "as_published",
    device: str = "cpu-a",
    env: str = "env-a",
    note: str = "",
    digest: str | None = None,
) -> list[Measurement]:
    """The measurements of one trial with a given curve."""
    values = list(curve)
    return [
        Measurement(
            suite=suite,
            method=method,
            profile=profile,
            variant=variant,
            seed=seed,
            cycle=cycle,
            labelled=size,
            metrics={"accuracy": float(value)},
            trial_id=f"{method}-{seed}-{profile}-{variant}",
            env_id=env,
            device_model=device,
            canonical=not note,
            data_note=note,
            record_digest=digest or f"{method}/{seed}/" + "/".join(map(str, values)),
        )
        for cycle, (size, value) in enumerate(zip(sizes, values, strict=True))
    ]


def trials(
    curves: Mapping[str, Iterable[float]] = PUBLISHED,
    *,
    seeds: Iterable[int] = range(5),
    noise: float = 0.2,
    shift: float = 0.0,
    rng: int = 0,
    **options: str,
) -> list[Measurement]:
    """Trials around given curves: normal noise per seed and size, and a common shift."""
    draw = np.random.default_rng(rng)
    return [
        row
        for method, curve in curves.items()
        for seed in seeds
        for row in trial(
            method,
            seed,
            np.asarray(list(curve)) + shift + noise * draw.standard_normal(3),
            **options,
        )
    ]
