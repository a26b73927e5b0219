"""Does bf16 change accuracy? `python -m tests.bench.precision` trains the quickstart in both
precisions, paired by seed, and writes results/bench/precision.csv and its table in
docs/performance.md. Minutes on one core.
"""

from __future__ import annotations

import csv
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmark.al import datasets
from benchmark.al.loop import run
from benchmark.al.training.numerics import prepare
from benchmark.spec.load import find_suite
from benchmark.worker import assemble
from tests.helpers import trials as kit
from tests.helpers.pages import replace

ROOT = Path(__file__).parents[2]
TABLE, PAGE = ROOT / "results" / "bench" / "precision.csv", ROOT / "docs" / "performance.md"
SUITE, METHODS, SEEDS = "quickstart/digits", ("random", "tod+cod"), range(12)
PRECISIONS = ("fp32", "bf16")
COLUMNS = ("suite", "method", "seed", "precision", "labelled", "accuracy")


def accuracies(method: str, seed: int, precision: str, folder: Path) -> list[tuple[int, float]]:
    """(labelled images, accuracy in percent) after every cycle."""
    (trial,) = find_suite(SUITE, kit.SUITES).trials(methods=[method], seeds=[seed])
    data = datasets.load(trial.protocol.data, folder / "none", folder)
    strategy, learner = assemble(trial, data, prepare("cpu", precision, 1), folder / "weights")
    session = kit.session(trial, folder / f"{method} {seed} {precision}")
    run(trial.protocol, strategy, learner, session)
    return [(result.labelled, result.metrics["accuracy"]) for result in session.results]


def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return [
            dict(
                zip(
                    COLUMNS,
                    (SUITE, method, seed, precision, labelled, round(accuracy, 4)),
                    strict=True,
                )
            )
            for method in METHODS
            for seed in SEEDS
            for precision in PRECISIONS
            for labelled, accuracy in accuracies(method, seed, precision, Path(folder))
        ]


def table(found: list[dict[str, Any]]) -> str:
    """bf16 less fp32, paired by seed: the mean over seeds with its standard error, and fp32's own
    spread over seeds."""
    lines = [
        f"`{SUITE}`, {len(SEEDS)} seeds, in points of test accuracy:",
        "",
        "| method | labels | fp32 | spread over seeds | bf16 - fp32 | standard error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    of = {
        (row["method"], row["labelled"], row["precision"], row["seed"]): row["accuracy"]
        for row in found
    }
    for method, labelled in dict.fromkeys((row["method"], row["labelled"]) for row in found):
        fp32, bf16 = ([of[method, labelled, name, seed] for seed in SEEDS] for name in PRECISIONS)
        apart = [new - old for new, old in zip(bf16, fp32, strict=True)]
        error = statistics.stdev(apart) / len(apart) ** 0.5
        lines.append(
            f"| {method} | {labelled} | {statistics.fmean(fp32):.2f} | "
            f"{statistics.stdev(fp32):.2f} "
            f"| {statistics.fmean(apart):+.2f} | {error:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    found = rows()
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    replace(PAGE, "precision", table(found))


if __name__ == "__main__":
    main()
