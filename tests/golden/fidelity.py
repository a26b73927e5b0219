"""Writes docs/fidelity.md: how far our trainings and purchases are from recorded runs of the
official programs.

    .venv/bin/python tests/golden/fidelity.py             # runs all (minutes), writes the page
    .venv/bin/python tests/golden/fidelity.py 40_bal ...  # only these; the other rows stay
    .venv/bin/python tests/golden/fidelity.py --page      # none: all but the rows is made anew

The rows come from the golden run itself: every comparison that an adapter makes is measured. The
deviations beside them come from the suites.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for place in (HERE, ROOT):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from adapters import MEASURED, Expected, decode, discover  # noqa: E402

from benchmark.spec.load import load_suite, suite_files  # noqa: E402
from benchmark.spec.suite import Deviation, Suite  # noqa: E402

PAGE = ROOT / "docs/fidelity.md"
FIRST = 32
"""Number of the first item that is a whole run; those before are single functions."""
STEPS = ("steps", "pretext_steps", "main_steps", "vae_loss_last_step")
"""Fields with one entry a step."""
BOUGHT = ("picks", "newly_labelled_in_order", "picked", "diam_first_of_the_top")
"""Fields that list what was bought."""
HEAD = """# Fidelity: recorded runs of the official programs, beside ours

<!-- made by tests/golden/fidelity.py: run it again after a change of what it tells -->

Official programs were run whole, small and in float64, from fixed weights and fixed batches, and
every optimiser step recorded (tests/golden, items 32 and up; tests/golden/TRAJECTORIES.md says
how). The real learners, objectives, recorders and strategies of albench are driven through the same
runs by `pytest tests/golden`, in float64. A float32 run would be no test: at a rate of 0.1,
rounding alone moves the loss by a hundredth after some eight steps. Items below 32 hold single
functions and are in the same test.

Differences are the largest of all numbers compared (losses, rates, norms of weights and of batch
statistics after every step, features, scores), each relative to the largest of its kind. Purchases
are compared image by image, in order where the program has one. What differs on purpose, or cannot
be as released, is registered in the suites and listed beside: as pinned, and the switch that flips
it.
"""
PROGRAMS = "Programs of baselines"
TITLES = {
    "tod": "TOD and COD",
    "st-conal": "ST-CoNAL",
    "bal": "BAL",
    "pt4al": "PT4AL",
    "diam": "DIAM",
}


def golden() -> list[tuple[str, dict[str, Any]]]:
    """Item and content of every recorded run."""
    found = []
    for path in sorted(HERE.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "item" in content and int(content["item"][:2]) >= FIRST:
            found.append((content["item"], content))
    return found


def suites() -> dict[str, list[Suite]]:
    """Suites by paper."""
    found: dict[str, list[Suite]] = {}
    for path in suite_files(ROOT / "suites"):
        found.setdefault(path.parent.name, []).append(load_suite(path, ROOT / "suites").suite)
    return {paper: every for paper, every in found.items() if paper in TITLES}


def source_of(content: dict[str, Any]) -> str:
    """Repository, commit and files of a recorded run, in words."""
    source = content["source"]
    if isinstance(source, str):
        return source
    commit = source.get("commit", "")[:7]
    return f"{source['repo']}{f' at {commit}' if commit else ''}: {source['file']}"


def entries(value: Any, names: tuple[str, ...]) -> Iterator[Any]:
    """Values of fields of these names, at any depth."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name in names:
                yield item
            else:
                yield from entries(item, names)
    elif isinstance(value, list):
        for item in value:
            yield from entries(item, names)


def length(value: Any) -> int:
    """Entries of a list of rows; of a list of arrays, those of all."""
    if isinstance(value, dict):
        return int(value["shape"][0]) if "shape" in value else sum(map(length, value.values()))
    if value and isinstance(value[0], dict) and "shape" in value[0]:
        return sum(int(item["shape"][0]) for item in value)
    return len(value)


def row(item: str, content: dict[str, Any], place: int) -> str:
    """Run one case through its adapter and say what came out."""
    case, registered = content["cases"][place], discover()
    expected = case["expected"]
    steps = sum(map(length, entries(expected, STEPS)))
    bought = [len(found) for found in entries(expected, BOUGHT)]
    MEASURED.clear()
    if item not in registered:
        outcome, purchases = "not compared", "-"
    else:
        try:
            whole = Expected(case)
            registered[item](
                decode(case.get("inputs", {})), whole["expected"], content["tolerance"], {}, whole
            )
            outcome = f"{max(found for _, found in MEASURED):.0e}" if MEASURED else "equal"
            purchases = f"{sum(bought)} images in {len(bought)} purchases, equal" if bought else "-"
        except Exception as error:
            outcome, purchases = f"**differs**: {' '.join(str(error).split())[:120]}", "-"
    count = sum(count for count, _ in MEASURED)
    return f"| `{item}` | {case['name']} | {steps or '-'} | {count:,} | {outcome} | {purchases} |"


def deviations(every: list[Suite]) -> list[str]:
    """One line for each deviation that any suite of a paper registers."""
    found: dict[str, Deviation] = {}
    for suite in every:
        for key, item in suite.deviations.items():
            found.setdefault(key, item)
    lines = ["| id | about | the code | pinned here | switch |", "| --- | --- | --- | --- | --- |"]
    for key in sorted(
        found, key=lambda key: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", key)]
    ):
        item = found[key]
        switch = ", ".join(f"`{switch.path}`" for switch in item.switches) or "-"
        lines.append(
            f"| {key} | {cell(item.topic)} | {cell(item.code)} | {cell(item.pinned)} | {switch} |"
        )
    return lines


def cell(text: str) -> str:
    """Text that does not end a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def known_rows() -> dict[tuple[str, str], str]:
    """Rows of the page as it is, by item and case."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    return {
        (found[1], found[2]): found[0]
        for found in re.finditer(r"^\| `(\w+)` \| (\S+) \| .*$", text, re.M)
    }


def page(rows: dict[tuple[str, str], str]) -> str:
    """The whole page, of one row for each case."""
    items, papers = golden(), suites()
    lines, left = [HEAD], dict(items)
    for paper, title in TITLES.items():
        if paper not in papers:
            continue
        commit = papers[paper][0].paper.code.rpartition(" ")[2]
        own = [
            (item, content)
            for item, content in items
            if item in left and commit in source_of(content)
        ]
        lines += [
            f"## {title}",
            "",
            f"{papers[paper][0].paper.code}",
            "",
            *table(own, rows),
            "",
            *deviations(papers[paper]),
            "",
        ]
        for item, _ in own:
            left.pop(item)
    lines += [f"## {PROGRAMS}", "", *table(list(left.items()), rows), ""]
    return "\n".join(lines)


def table(items: list[tuple[str, dict[str, Any]]], rows: dict[tuple[str, str], str]) -> list[str]:
    """What was compared, program by program, and what came out."""
    lines = [
        f"- `{item}`: {source_of(content)}. {content['what'].rstrip('.')}."
        for item, content in items
    ]
    lines += [
        "",
        "| recorded run | case | steps | numbers | largest difference | purchases |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for item, content in items:
        lines += [
            rows[item, case["name"]] for case in content["cases"] if (item, case["name"]) in rows
        ]
    return lines


def main(wanted: list[str]) -> None:
    """Run what is wanted (all where nothing is named) and write the page."""
    rows = known_rows()
    for item, content in golden():
        for place, case in enumerate(content["cases"]):
            if not wanted or any(item.startswith(name) for name in wanted):
                rows[item, case["name"]] = row(item, content, place)
                print(rows[item, case["name"]], flush=True)
                PAGE.write_text(page(rows), encoding="utf-8")
    PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
