"""Is a trial's cost linear? `PYTHONPATH=tests python -m bench.scaling` doubles one thing at a time and writes
results/bench/scaling.csv and its table in docs/performance.md.

Counted are floating-point operations of convolutions and matrix products while small real trials run (torch's FLOP
counter), beside CPU seconds of the process and what `albench plan` predicts for the protocol.
"""

from __future__ import annotations

import csv
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from al import kit
from bench.pages import replace
from torch.utils.flop_counter import FlopCounterMode

from benchmark.al.loop import run
from benchmark.cost import total, work
from benchmark.spec.load import find_suite

ROOT = Path(__file__).parents[2]
TABLE, PAGE = ROOT / "results" / "bench" / "scaling.csv", ROOT / "docs" / "performance.md"
METHOD = "tod+cod"
MODEL = {"name": "small_cnn", "params": {"width": 16, "heads": 2}}
BASE: dict[str, Any] = {
    "protocol.acquisition.cycles": 3,
    "protocol.acquisition.initial.size": 64,
    "protocol.acquisition.budget": 64,
    "protocol.acquisition.candidates": 400,
    "protocol.training.epochs": 6,
    "protocol.training.schedule.milestones": [5],
    "protocol.models.0.params": {"width": 16, "heads": 2},
}
DOUBLED: dict[str, dict[str, Any]] = {
    "epochs": {"protocol.training.epochs": 12},
    "labels": {"protocol.acquisition.initial.size": 128, "protocol.acquisition.budget": 128},
    "candidates": {"protocol.acquisition.candidates": 800},
    "models": {"protocol.models": [MODEL, MODEL]},
}
COLUMNS = ("doubled", "operations", "cpu_seconds", "planned_images", "operations_ratio", "cpu_ratio", "planned_ratio")


def cost(sets: dict[str, Any], method: str, trials: int = 1) -> tuple[float, float, float]:
    """Operations, CPU seconds and planned forward-equivalent images of trials with these settings."""
    flops = planned = seconds = 0.0
    for seed in range(trials):
        given = {name: value for name, value in (BASE | sets).items() if not _replaced(name, sets)}
        (made,) = find_suite("quickstart/digits", kit.SUITES).trials(methods=[method], seeds=[seed], sets=given)
        method_cost = find_suite("quickstart/digits", kit.SUITES).suite.methods[method].cost
        planned += total(work(made.protocol, method_cost)).forward_equivalents
        with tempfile.TemporaryDirectory() as folder:
            strategy, learner = kit.assembled(made, Path(folder))
            start = time.process_time()
            run(made.protocol, strategy, learner, kit.session(made, Path(folder) / "timed"))
            seconds += time.process_time() - start
            strategy, learner = kit.assembled(made, Path(folder))
            with FlopCounterMode(display=False) as counter:
                run(made.protocol, strategy, learner, kit.session(made, Path(folder) / "counted"))
            flops += counter.get_total_flops()
    return flops, seconds, planned


def _replaced(name: str, sets: dict[str, Any]) -> bool:
    return name.startswith("protocol.models.") and "protocol.models" in sets


def rows() -> list[dict[str, Any]]:
    """The base and everything doubled; `models` with a strategy and an objective that take several."""
    torch.set_num_threads(1)
    cost({}, METHOD)  # what is done once in a process
    base = {METHOD: cost({}, METHOD), "random": cost({}, "random")}
    found = []
    for name, sets in {**DOUBLED, "trials": {}}.items():
        method = "random" if name == "models" else METHOD
        found.append(_row(name, cost(sets, method, 2 if name == "trials" else 1), base[method]))
    return found


def _row(name: str, new: tuple[float, ...], old: tuple[float, ...]) -> dict[str, Any]:
    ratios = [round(now / before, 3) for now, before in zip(new, old, strict=True)]
    values = (name, int(new[0]), round(new[1], 2), int(new[2]), *ratios)
    return dict(zip(COLUMNS, values, strict=True))


def main() -> None:
    found = rows()
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    lines = ["| doubled | operations | CPU time | predicted by the plan |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row['doubled']} | {row['operations_ratio']:.2f}x | {row['cpu_ratio']:.2f}x | {row['planned_ratio']:.2f}x |"
        for row in found
    ]
    replace(PAGE, "scaling", "\n".join(lines))


if __name__ == "__main__":
    main()
