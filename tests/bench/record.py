"""Keeps what `make bench` measured and writes the table of docs/performance.md: `python -m
bench.record BENCH.json`.

`results/bench/history.csv` gets one row per measured way; nothing in it names a machine or a
folder. Without an argument only the table is written again.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from tests.helpers.pages import replace

ROOT = Path(__file__).parents[2]
HISTORY = ROOT / "results" / "bench" / "history.csv"
PAGE = ROOT / "docs" / "performance.md"
COLUMNS = (
    "date",
    "commit",
    "torch",
    "processor",
    "contest",
    "way",
    "rounds",
    "plain_ms",
    "ms",
    "ratio_of_medians",
    "ratio_of_minima",
    "peak_memory_share",
)
GOALS = {
    ("k-center", "lazy"): (
        "k-center, 50,000 x 512, 10,000 labelled, 2,500 picks, against the matrix of distances",
        6,
        9,
    ),
    ("data", "batched"): (
        "batch of 128 CIFAR images through the train view, against Pillow and DataLoader",
        5,
        8,
    ),
    ("step", "bf16"): (
        "TOD+COD step of 128 + 128 images, `--precision bf16`, against eager fp32",
        2.2,
        2.7,
    ),
    ("step", "fp32"): ("the same, fp32 (the default)", 1.2, 1.35),
    ("scoring", "bf16"): (
        "pool scoring, ResNet-18, `--precision bf16`, against eager fp32",
        1.7,
        2.0,
    ),
    ("scoring", "fp32"): ("the same, fp32", 1.1, 1.2),
    ("determinism", "off"): (
        "deterministic algorithms on, against off (cost; at most)",
        1.08,
        1.03,
    ),
    ("start", "first step"): (
        "fresh process to the end of a dry run, against `import torch` (cost; at most)",
        2,
        1.3,
    ),
}
"""Title, gate and target of every contest."""


def keep(report: Path) -> None:
    """Append the ratios of a pytest-benchmark report."""
    read = json.loads(report.read_text(encoding="utf-8"))
    head = {
        "date": read["datetime"][:10],
        "commit": read["commit_info"]["id"][:12],
        "torch": _torch(),
        "processor": read["machine_info"]["cpu"].get("brand_raw", ""),
    }
    new = not HISTORY.exists()
    HISTORY.parent.mkdir(parents=True, exist_ok=True)
    with HISTORY.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        for case in read["benchmarks"]:
            for way, row in case["extra_info"].items():
                writer.writerow({**head, "contest": case["params"]["name"], "way": way, **row})


def table() -> str:
    """The latest row of every contest as Markdown."""
    with HISTORY.open(newline="", encoding="utf-8") as file:
        latest = {(row["contest"], row["way"]): row for row in csv.DictReader(file)}
    lines = [
        "| figure | gate | target | medians | minima | peak memory | commit, date |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key, (title, gate, target) in GOALS.items():
        row = latest.get(key)
        if row is None:
            lines.append(f"| {title} | {gate:g} | {target:g} | not measured | | | |")
            continue
        power = -1 if key == ("start", "first step") else 1
        medians, minima = (
            float(row[name]) ** power for name in ("ratio_of_medians", "ratio_of_minima")
        )
        kept = f"{float(row['peak_memory_share']):.2f}" if key[0] == "step" else ""
        lines.append(
            f"| {title} | {gate:g} | {target:g} | {medians:.2f} | {minima:.2f} | {kept} | "
            f"{row['commit']}, {row['date']} |"
        )
    return "\n".join(lines)


def write() -> None:
    """Put the table into the page."""
    replace(PAGE, "table", table())


def _torch() -> str:
    import torch

    return str(torch.__version__)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        keep(Path(argument))
    write()
