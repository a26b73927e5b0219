"""Is a trial's cost linear? `python -m tests.bench.scaling` makes one thing two and three times as
large and writes results/bench/scaling.csv and its table in docs/performance.md.

Counted are floating-point operations of convolutions and matrix products while small real trials
run (torch's FLOP counter), beside the images that `albench plan` predicts. Every trial has fixed
parts, so what is compared is growth: from twice to three times against from once to twice, which is
1 where cost is linear.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.al.loop import run
from benchmark.planning.workload import estimate_workload, sum_workloads
from benchmark.spec.load import find_suite
from tests.helpers import trials as kit
from tests.helpers.pages import replace

ROOT = Path(__file__).parents[2]
TABLE, PAGE = ROOT / "results" / "bench" / "scaling.csv", ROOT / "docs" / "performance.md"
METHOD = "tod+cod"
MODEL = {"name": "small_cnn", "params": {"width": 16, "heads": 2}}
BASE: dict[str, Any] = {
    "protocol.acquisition.cycles": 3,
    "protocol.acquisition.initial.size": 64,
    "protocol.acquisition.budget": 64,
    "protocol.acquisition.candidates": 250,
    "protocol.training.epochs": 6,
    "protocol.training.schedule.milestones": [5],
    "protocol.models.0.params": {"width": 16, "heads": 2},
}
GROWN: dict[str, Callable[[int], dict[str, Any]]] = {
    "epochs": lambda k: {"protocol.training.epochs": 6 * k},
    "labels": lambda k: {
        "protocol.acquisition.initial.size": 64 * k,
        "protocol.acquisition.budget": 64 * k,
    },
    "candidates": lambda k: {"protocol.acquisition.candidates": 250 * k},
    "models": lambda k: {"protocol.models": [MODEL] * k},
    "trials": lambda k: {},
}
COLUMNS = (
    "grown",
    "operations_1x",
    "operations_2x",
    "operations_3x",
    "growth",
    "plan_3x",
    "measured_3x",
)


def cost(sets: dict[str, Any], method: str, trials: int = 1) -> tuple[float, float]:
    """Operations and planned forward-equivalent images of trials with these settings."""
    flops = planned = 0.0
    for seed in range(trials):
        given = {name: value for name, value in (BASE | sets).items() if not _replaced(name, sets)}
        (made,) = find_suite("quickstart/digits", kit.SUITES).trials(
            methods=[method], seeds=[seed], sets=given
        )
        method_cost = find_suite("quickstart/digits", kit.SUITES).suite.methods[method].cost
        planned += sum_workloads(estimate_workload(made.protocol, method_cost)).forward_equivalents
        with tempfile.TemporaryDirectory() as folder:
            strategy, learner = kit.assembled(made, Path(folder))
            with FlopCounterMode(display=False) as counter:
                run(made.protocol, strategy, learner, kit.session(made, Path(folder) / "out"))
            flops += counter.get_total_flops()
    return flops, planned


def _replaced(name: str, sets: dict[str, Any]) -> bool:
    return name.startswith("protocol.models.") and "protocol.models" in sets


def rows() -> list[dict[str, Any]]:
    """One per thing that grows; several models take a strategy and an objective that have no second
    network."""
    torch.set_num_threads(1)
    return [_row(name, sets) for name, sets in GROWN.items()]


def _row(name: str, sets: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    method = "random" if name == "models" else METHOD
    flops, planned = zip(
        *(cost(sets(k), method, k if name == "trials" else 1) for k in (1, 2, 3)), strict=True
    )
    growth = (flops[2] - flops[1]) / (flops[1] - flops[0])
    values = (*map(int, flops), round(growth, 3), round(planned[2] / planned[0], 3))
    return dict(zip(COLUMNS, (name, *values, round(flops[2] / flops[0], 3)), strict=True))


def main() -> None:
    found = rows()
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    lines = [
        "| grown | growth of operations | three times as large: plan | operations |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['grown']} | {row['growth']:.2f} | {row['plan_3x']:.2f}x | "
        f"{row['measured_3x']:.2f}x |"
        for row in found
    ]
    replace(PAGE, "scaling", "\n".join(lines))


if __name__ == "__main__":
    main()
