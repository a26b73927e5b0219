"""What a change gained on a CPU: `python -m tests.bench.commits CLONE [CONTEST...]` asks the plain
implementation, the code of another commit in the clean checkout CLONE, and the code here in turns,
in one run, and writes results/bench/commits.csv and its table in docs/performance.md.

A contest that is not named keeps its rows. `--module bench.ways` is for commits in which the ways
had that name.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
from pathlib import Path

from benchmark.runs.environment import describe_environment
from tests.bench.contest import Checkout, Way, measured, ratio
from tests.bench.test_speed import CONTESTS as SPEED
from tests.helpers.pages import replace

ROOT = Path(__file__).parents[2]
TABLE, PAGE = ROOT / "results" / "bench" / "commits.csv", ROOT / "docs" / "performance.md"
COLUMNS = (
    "contest",
    "way",
    "commit",
    "processor",
    "rounds",
    "plain_ms",
    "ms",
    "ratio_of_medians",
    "ratio_of_minima",
)
BEFORE = "before: "
FP32: Way = SPEED["step"][1]["fp32"]
CONTESTS: dict[str, tuple[str, dict[str, Way]]] = {
    "step": (
        "TOD+COD step of 128 + 128 images, fp32",
        {
            "eager": FP32,
            "together": (FP32[0], {**FP32[1], "step": "together"}),
            "eager, images in NCHW": (FP32[0], {**FP32[1], "memory_format": "contiguous"}),
        },
    ),
    "data": (
        "batch of 128 CIFAR images through the train view",
        {"batched": SPEED["data"][1]["batched"]},
    ),
    "scoring": ("pool scoring, ResNet-18, fp32", {"fp32": SPEED["scoring"][1]["fp32"]}),
    "start": (
        "fresh process to the end of a dry run, against `import torch`",
        {"dry run": SPEED["start"][1]["first step"]},
    ),
    "k-center": (
        "k-center, 50,000 x 512, 10,000 labelled, 2,500 picks",
        {"lazy": SPEED["k-center"][1]["lazy"]},
    ),
}
"""Title, and ways of this code; the first of these is asked of the other commit, too. Rounds and
plain ways are those of `make bench`."""


def commit_of(folder: Path) -> str:
    return subprocess.check_output(
        ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"], text=True
    ).strip()


def rows(contest: str, other: Checkout, processor: str) -> list[dict[str, str]]:
    """One row per way: times in milliseconds of CPU time, and how many times faster than plain."""
    rounds, plain, ways = SPEED[contest][0], SPEED[contest][1]["plain"], CONTESTS[contest][1]
    first = next(iter(ways))
    found = measured(
        {"plain": plain, BEFORE + first: ways[first], **ways}, rounds, {BEFORE + first: other}
    )
    base = found.pop("plain")
    written = []
    for way, result in found.items():
        ratios = ratio(base, result)
        values = (
            contest,
            way,
            commit_of(other.folder if way.startswith(BEFORE) else ROOT),
            processor,
            rounds,
            round(1e3 * base.median, 1),
            round(1e3 * result.median, 1),
            round(ratios.median, 3),
            round(ratios.minimum, 3),
        )
        written.append(dict(zip(COLUMNS, map(str, values), strict=True)))
    return written


def table(found: list[dict[str, str]]) -> str:
    """All rows as Markdown."""
    lines = [
        "| figure | code | milliseconds | plain | medians | minima |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {CONTESTS[row['contest']][0]} | {row['way']} ({row['commit'][:7]}) | {row['ms']} | "
        f"{row['plain_ms']} | {float(row['ratio_of_medians']):.2f} | "
        f"{float(row['ratio_of_minima']):.2f} |"
        for row in found
    ]
    return "\n".join(lines)


def read_rows() -> list[dict[str, str]]:
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path)
    parser.add_argument("contests", nargs="*")
    parser.add_argument("--module", default="tests.bench.baselines")
    options = parser.parse_args()
    other = Checkout(options.clone.resolve(), options.module)
    processor = describe_environment("cpu").device_model
    for contest in options.contests or CONTESTS:
        new = rows(contest, other, processor)
        kept = [row for row in read_rows() if row["contest"] != contest]
        found = sorted(kept + new, key=lambda row: list(CONTESTS).index(row["contest"]))
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)
        print(table(new), flush=True)
    replace(PAGE, "commits", table(read_rows()))


if __name__ == "__main__":
    main()
