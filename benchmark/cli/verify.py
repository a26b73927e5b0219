"""verify: is the same answer given twice, and across a kill?"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.api.workspace import Workspace
from benchmark.cli.options import arithmetic, selecting
from benchmark.cli.plan import advised_device, build_plan, environment_of
from benchmark.cli.run import jobs_of
from benchmark.cli.tables import console, grid
from benchmark.errors import Exit
from benchmark.planning.plan import PlannedTrial
from benchmark.runs.store import Store
from benchmark.spec.load import find_suite
from benchmark.spec.selectors import Selection

if TYPE_CHECKING:
    from benchmark.api.verify import VerificationResult

HEADS = ("trial", "two processes", "killed and resumed", "first difference")
LEVELS = ["bitwise", "selection", "metric", "statistical"]


@click.command()
@selecting()
@click.option("--cycles", type=click.IntRange(1), default=2, show_default=True, help="Only the first cycles.")
@click.option("--level", type=click.Choice(LEVELS), default="bitwise", show_default=True, help="What must be reached.")
@arithmetic
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Also write the table to this file.")
@click.pass_obj
def verify(
    settings: Workspace, selection: Selection, cycles: int, level: str, device: str, precision: str, step: str,
    threads: int | None, allow_noncanonical_data: bool, markdown: Path | None,
) -> int:  # fmt: skip
    """Run trials twice in two processes, and once more killed and resumed; name the first cycle and field that differ.

    Takes the first seed of each method unless seeds are given. The runs folder is not touched. Exit code 0 when the level
    is reached, 1 when it is not, 3 when it could not be found out.
    """
    from benchmark.api.verify import ORDER, shorten
    from benchmark.api.verify import verify_trials as check

    device = advised_device(settings, selection, device, step)
    _, environment, place = environment_of("local", device, precision, step, threads)
    with tempfile.TemporaryDirectory(prefix="albench-verify-") as temporary:
        scratch = replace(settings, runs=Path(temporary) / "runs")
        plan = build_plan(scratch, selection, environment, allow_noncanonical=allow_noncanonical_data)
        chosen = _one_seed(plan.todo) if _no_seeds(selection) else plan.todo
        blocked = [planned for planned in plan.trials if planned.state == "blocked"]
        for planned in blocked:
            click.echo(f"blocked {planned.trial.method_name}@{planned.trial.seed}: {planned.note}", err=True)
        if not chosen:
            click.echo("Error: no trial can be started", err=True)
            return Exit.NOT_MEASURED
        jobs = {job.trial_id: job for job in jobs_of(plan, Store(scratch.runs), scratch, place)}
        rows: list[tuple[str, ...]] = []
        reached = True
        for number, planned in enumerate(chosen):
            rule = find_suite(planned.trial.suite, settings.suites).suite.rule
            found = check(
                shorten(planned.trial, cycles), environment, jobs[planned.trial_id], Path(temporary) / str(number),
                tolerance=rule.margin, metric=rule.metric, say=lambda text: click.echo(text, err=True),
            )  # fmt: skip
            reached &= ORDER.index(found.level) <= LEVELS.index(level)
            rows.append(_cells(found))
    table = grid(*HEADS)
    for row in rows:
        table.add_row(*row)
    console().print(table)
    if markdown is not None:
        dashes = tuple("---" for _ in HEADS)
        whole: list[tuple[str, ...]] = [HEADS, dashes, *rows]
        lines = ["| " + " | ".join(row) + " |" for row in whole]
        markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    click.echo(f"{'reached' if reached else 'NOT REACHED'}: {level}")
    if not reached:
        return Exit.DISCREPANCY
    return Exit.NOT_MEASURED if blocked else Exit.OK


def _cells(found: VerificationResult) -> tuple[str, str, str, str]:
    places = [f"{name}: {at}" for name, at in (("repeated", found.repeated_at), ("resumed", found.resumed_at)) if at]
    resumed = str(found.resumed) if found.killed else f"{found.resumed} (too quick to be killed)"
    return found.name, str(found.repeated), resumed, "; ".join(places)


def _no_seeds(selection: Selection) -> bool:
    return selection.seeds is None and all(selector.seeds is None for selector in selection.selectors)


def _one_seed(trials: tuple[PlannedTrial, ...]) -> tuple[PlannedTrial, ...]:
    """The first seed of each method of each suite."""
    first: dict[tuple[str, str], PlannedTrial] = {}
    for planned in trials:
        first.setdefault((planned.trial.suite, planned.trial.method_name), planned)
    return tuple(first.values())
