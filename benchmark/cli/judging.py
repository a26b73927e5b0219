"""compare, report: from records to verdicts, on the terminal and in files. Needs no data, no GPU, no tracker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.cli.group import Settings
from benchmark.cli.options import selecting
from benchmark.cli.printing import console, flops
from benchmark.cost import total, work
from benchmark.errors import Exit, UsageError
from benchmark.events import Record, write_bytes
from benchmark.selection import Selection, Selector
from benchmark.spec.load import SuiteFile
from benchmark.store import Refused, Store, question

if TYPE_CHECKING:
    from benchmark.compare.judgement import Judgement
    from benchmark.compare.measurements import Measurement

RECORDS = "records.csv"
"""Committed measurements of a suite, below results/."""
WORST_FIRST = (Exit.DISCREPANCY, Exit.NOT_MEASURED, Exit.INCONCLUSIVE, Exit.OK)


@dataclass(frozen=True)
class Judged:
    """A suite with everything a report needs."""

    suite: SuiteFile
    judgement: Judgement
    measurements: Sequence[Measurement]
    records: Sequence[Record]
    cost_note: str
    commands: dict[str, str]


@click.command()
@selecting(plugins=False)
@click.pass_obj
def compare(settings: Settings, selection: Selection) -> int:
    """Judge the records of the selection: a verdict for each published number, curve and claim.

    Exit code 0 all matched, 1 a discrepancy, 3 not (completely) measured, 4 inconclusive only.
    """
    from benchmark.report import terminal

    out = console()
    judged = [judge_suite(settings, selection, suite) for suite in selection.suites(settings.suites)]
    for item in judged:
        terminal.show(item.judgement, out, item.cost_note, item.commands)
    return worst(item.judgement.exit_code for item in judged)


@click.command()
@selecting(plugins=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the reports.  [default: ./report/SUITE]")
@click.option("--publish", is_flag=True, help="Write into results/SUITE, with the measurements, to be committed.")
@click.option("--no-tracking", is_flag=True, help="Do not add the verdicts to the MLflow database of the runs folder.")
@click.pass_obj
def report(settings: Settings, selection: Selection, out: Path | None, publish: bool, no_tracking: bool) -> int:
    """Write the reports of the selection: tables, plots, verdicts for people and for programs.

    The exit code says whether there was anything to report (0) or not (3); the verdict is `compare`'s.
    """
    from benchmark.report import write

    if out is not None and publish:
        raise UsageError("--out and --publish both name a folder", remedy="give one of them")
    code = Exit.OK
    for suite in selection.suites(settings.suites):
        item = judge_suite(settings, selection, suite)
        if not item.measurements:
            click.echo(f"{suite.id}: nothing was measured yet; {_hint(item)}", err=True)
            code = Exit.NOT_MEASURED
            continue
        folder = _folder(settings, selection, suite, out, publish)
        files = write(
            folder, suite, item.judgement, item.measurements, item.cost_note, item.commands, _facts(item.records)
        )
        if publish:
            files = [*files, _publish(settings.results / suite.id / RECORDS, item, selection)]
        for path in files:
            click.echo(f"wrote {path}")
        if not no_tracking:
            _track(settings, item)
    return code


def judge_suite(settings: Settings, selection: Selection, suite: SuiteFile) -> Judged:
    """Verdicts on a suite from the store, and from committed records where the suite compares with those."""
    from benchmark.compare.measurements import from_records, read_results
    from benchmark.compare.verdict import judge

    methods = _methods(selection, suite)
    records = _records(settings, selection, suite, methods)
    measurements = from_records(records)
    committed = settings.results / suite.id / RECORDS
    references = read_results(committed) if committed.exists() else []
    judgement = judge(
        suite,
        measurements,
        profile=selection.profile,
        variant=selection.variant,
        methods=methods,
        references=references,
    )
    return Judged(
        suite, judgement, measurements, records, _cost_note(suite, selection, records), _commands(selection, suite)
    )


def worst(codes: Iterable[Exit]) -> Exit:
    """The code of several comparisons: a discrepancy outweighs what was not measured, that what is inconclusive."""
    found = set(codes)
    return next(code for code in WORST_FIRST if code in found)


def _methods(selection: Selection, suite: SuiteFile) -> tuple[str, ...] | None:
    """The methods asked for by option or selector; None for all the profile names."""
    if selection.methods is not None:
        return selection.methods
    if all(selector.method is None for selector in selection.selectors):
        return None
    return tuple(dict.fromkeys(asked.trial.method_name for asked in selection.trials(Path(), [suite])))


def _seeds(selection: Selection) -> set[int] | None:
    found = {seed for selector in selection.selectors for seed in selector.seeds or ()}
    return set(selection.seeds) if selection.seeds else found or None


def _records(
    settings: Settings, selection: Selection, suite: SuiteFile, methods: tuple[str, ...] | None
) -> list[Record]:
    """Finished trials of this suite's questions with any seed, and plug-ins that were run under its very protocol."""
    resolved = suite.resolve(selection.profile, selection.variant)
    names = [name for name in methods or resolved.methods if name in resolved.methods]
    asked = {question(trial): trial for trial in suite.trials(selection.profile, selection.variant, names, [0])}
    seeds, found = _seeds(selection), []
    for record in Store(settings.runs).records(on_refused=_say_refused):
        trial = record.trial
        if seeds is not None and trial.seed not in seeds:
            continue
        known = asked.get(question(trial.model_copy(update={"seed": 0})))
        if known is not None:
            named = known.model_copy(update={"seed": trial.seed, "data_digest": trial.data_digest})
            found.append(record.model_copy(update={"trial": named}))
        elif (
            (trial.suite, trial.profile, trial.variant) == (suite.id, selection.profile, selection.variant)
            and trial.method_name not in resolved.methods
            and trial.protocol == resolved.protocol
            and (methods is None or trial.method_name in methods)
        ):
            found.append(record)
    return found


def _say_refused(refused: Refused) -> None:
    click.echo(f"ignored {refused.path}: {refused.reason}", err=True)


def _cost_note(suite: SuiteFile, selection: Selection, records: Sequence[Record]) -> str:
    """What one trial costs, and what was spent on those that are here."""
    from benchmark.progress import duration

    parts = []
    whole = Selection([Selector(suite.id, None, (0,))], selection.profile, selection.variant)
    amounts = [
        2.0 * total(work(item.trial.protocol, item.cost, item.price)).macs
        for item in whole.trials(Path(), [suite])
        if item.price.forward_macs
    ]
    if amounts:
        low, high = flops(min(amounts)), flops(max(amounts))
        parts.append(f"One trial costs {low if low == high else f'{low} to {high}'}.")
    if records:
        spent = duration(sum(record.seconds for record in records))
        where = ", ".join(sorted({record.environment.device_model for record in records}))
        parts.append(f"{len(records)} trials took {spent} of computation on {where}.")
    return " ".join(parts)


def _commands(selection: Selection, suite: SuiteFile) -> dict[str, str]:
    chosen = [suite.id]
    chosen += ["--profile", selection.profile] if selection.profile != "paper" else []
    chosen += ["--variant", selection.variant] if selection.variant != "as_published" else []
    known = [name for name in selection.methods or () if name in suite.suite.methods]  # plug-ins need their file
    chosen += ["--methods", ",".join(known)] if known else []
    return {
        verb: f"albench {word} {' '.join(chosen)}"
        for verb, word in (("Run what is missing", "run"), ("Compare", "compare"))
    }


def _hint(item: Judged) -> str:
    return f"`{item.commands['Run what is missing']}`"


def _facts(records: Sequence[Record]) -> dict[str, str]:
    """Conditions under which the records were made, several values side by side."""
    environments = [record.environment for record in records]
    facts: dict[str, set[str]] = {
        "device": {env.device_model for env in environments},
        "precision": {env.precision for env in environments},
        "torch": {env.torch for env in environments},
        "image": {env.image for env in environments if env.image},
        "data": {f"{record.data.name} {record.data.digest[:12]}" for record in records},
    }
    return {name: ", ".join(sorted(values)) for name, values in facts.items() if values}


def _folder(settings: Settings, selection: Selection, suite: SuiteFile, out: Path | None, publish: bool) -> Path:
    plain = (selection.profile, selection.variant) == ("paper", "as_published")
    folder = (settings.results if publish else out or Path("report")) / suite.id
    return folder if plain else folder / f"{selection.profile}.{selection.variant}"


def _publish(path: Path, item: Judged, selection: Selection) -> Path:
    """Put the measurements into the committed table; rows of other profiles and variants stay."""
    from benchmark.compare.measurements import read_results, write_results

    here = (selection.profile, selection.variant)
    others = [row for row in (read_results(path) if path.exists() else []) if (row.profile, row.variant) != here]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, write_results([*others, *item.measurements]).encode())
    return path


def _track(settings: Settings, item: Judged) -> None:
    """Add the verdicts to the embedded tracker where there is one; failing to is no failure of the report."""
    if not (settings.runs / ".tracking" / "mlflow.db").exists():
        return
    from benchmark import tracking

    judgement = item.judgement
    rows = [
        {"method": number.method, "labelled": number.labelled, "metric": number.metric, "verdict": str(number.verdict.kind),
         "reason": number.verdict.reason, "source": number.source}
        for number in judgement.numbers if number.decides
    ]  # fmt: skip
    try:
        tracking.publish_verdicts(
            None, item.suite.id, judgement.profile, judgement.variant, rows, {}, runs=settings.runs
        )
    except Exception as error:
        click.echo(f"tracking: {error}; the report is complete without it", err=True)
