"""run --until-decided: seeds are added, at planned looks, to the methods whose verdicts are still
open."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count, islice
from typing import TYPE_CHECKING

import rich_click as click

from benchmark.api.compare import chosen_methods, compare_suite
from benchmark.api.workspace import Workspace
from benchmark.errors import Exit, UsageError
from benchmark.spec.load import SuiteFile
from benchmark.spec.selectors import Selection, Selector, format_seeds

if TYPE_CHECKING:
    from benchmark.verdicts.results import SuiteVerdict

Decided = dict[str, str]
"""What was decided, by its name, with the verdict and the number of seeds at that look."""


def run_until_decided(
    settings: Workspace, selection: Selection, once: Callable[[Selection], int], most: int
) -> int:
    """Run the selection suite by suite, look by look, until nothing is open or `most` seeds are
    there.

    `once` runs a selection and returns its exit code. The first decision on a verdict stands: later
    seeds that another verdict needs do not open it again. Exit code 0 when all is decided, 4 when
    something is open at the last look, 3 when there is nothing to decide, else that of the run that
    could not be finished.
    """
    if selection.seeds or any(selector.seeds for selector in selection.selectors):
        raise UsageError(
            "--until-decided chooses the seeds itself", remedy="name none; --max-seeds bounds them"
        )
    codes = [
        _run_suite(settings, selection, suite, once, most)
        for suite in selection.suites(settings.suites)
    ]
    failed = [code for code in codes if code not in (Exit.OK, Exit.INCONCLUSIVE)]
    return failed[0] if failed else max(codes, default=Exit.OK)


def seeds_of(suite: SuiteFile, number: int) -> tuple[int, ...]:
    """So many seeds: those that the suite plans, then the smallest that it does not."""
    planned = suite.suite.seeds
    return tuple(
        islice(
            [*planned, *islice((seed for seed in count() if seed not in planned), number)], number
        )
    )


def _run_suite(
    settings: Workspace,
    selection: Selection,
    suite: SuiteFile,
    once: Callable[[Selection], int],
    most: int,
) -> int:
    from benchmark.verdicts.sequential import planned_looks

    least = suite.suite.rule.min_trials
    if most < least:
        raise UsageError(
            f"{suite.id} decides nothing below {least} trials",
            remedy=f"--max-seeds {least} or more",
        )
    looks = planned_looks(least, most)
    asked = _requested_methods(selection, suite)
    open_methods, decided = asked, Decided()
    click.echo(f"{suite.id}: looks at {', '.join(map(str, looks))} seeds")
    for look in looks:
        seeds = seeds_of(suite, look)
        code = once(
            replace(selection, selectors=[Selector(suite.id)], methods=open_methods, seeds=seeds)
        )
        if code != Exit.OK:
            return code
        meant = replace(selection, selectors=[Selector(suite.id)], methods=asked, seeds=seeds)
        judgement = compare_suite(settings, meant, suite, looks=looks).judgement
        still = _open_verdicts(judgement, decided, look)
        open_methods = tuple(method for method in asked if method in set().union(*still.values()))
        click.echo(f"{suite.id}: {len(decided)} decided and {len(still)} open with {look} seeds")
        if not still:
            break
    for name, verdict in decided.items():
        click.echo(f"  {name}: {verdict}")
    for name in still:
        click.echo(f"  {name}: open")
    if not decided and not still:
        click.echo(
            f"{suite.id}: no number, curve or claim of this selection can be compared, so that "
            "seeds decide nothing",
            err=True,
        )
        return Exit.NOT_MEASURED
    command = [
        "albench",
        "compare",
        suite.id,
        "--looks",
        ",".join(map(str, looks)),
        "--seeds",
        format_seeds(seeds),
    ]
    command += ["--profile", selection.profile] if selection.profile != "paper" else []
    command += ["--variant", selection.variant] if selection.variant != "as_published" else []
    command += (
        ["--methods", ",".join(asked)] if chosen_methods(selection, suite) is not None else []
    )
    click.echo(f"the verdicts with these levels: {shlex.join(command)}")
    return Exit.INCONCLUSIVE if still else Exit.OK


def _requested_methods(selection: Selection, suite: SuiteFile) -> tuple[str, ...]:
    chosen = chosen_methods(selection, suite)
    if chosen is not None:
        return chosen
    resolved = suite.resolve(selection.profile, selection.variant)
    shrunk = resolved.profiles.get(selection.profile)
    own = (shrunk and shrunk.methods) or tuple(resolved.methods)
    return (*own, *selection.plugin_method(resolved))


def _open_verdicts(judgement: SuiteVerdict, decided: Decided, look: int) -> dict[str, set[str]]:
    """Verdicts that more seeds can decide, with the methods they need; what is decided now is added
    to `decided`."""
    still: dict[str, set[str]] = {}
    for name, verdict, methods in _decidable_verdicts(judgement):
        if name in decided:
            continue
        if verdict == "inconclusive":
            still[name] = methods
        else:
            decided[name] = f"{verdict} with {look} seeds"
    return still


def _decidable_verdicts(judgement: SuiteVerdict) -> Iterable[tuple[str, str, set[str]]]:
    """Name, verdict and methods of everything that seeds can decide."""
    for item in judgement.numbers:
        if item.decides and item.verdict.kind not in ("not_comparable", "missing"):
            yield (
                f"{item.method}, {item.metric} at {item.labelled} ({item.source})",
                str(item.verdict.kind),
                {item.method},
            )
    for curve in judgement.curves:
        if curve.verdict.kind not in ("not_comparable", "missing"):
            yield f"{curve.method}, curve ({curve.source})", str(curve.verdict.kind), {curve.method}
    for claim in judgement.claims:
        if claim.outcome not in ("not_testable", "missing"):
            yield f"claim {claim.id}", str(claim.outcome), set(claim.methods)
