"""check: whether the suites are as they must be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from benchmark.api.workspace import Workspace
from benchmark.cli.plan import obstacle
from benchmark.cli.show import schema_text
from benchmark.cli.tables import console, grid, ticker
from benchmark.errors import AlbenchError, Exit
from benchmark.executors.local.executor import one_gpu
from benchmark.planning import amounts
from benchmark.runs.variables import FIXED_NUMBERS
from benchmark.spec.load import SuiteFile, load_suite, suite_files
from benchmark.spec.published import TARGETS
from benchmark.spec.selectors import match_suites, parse_selector
from benchmark.text import cleaned

GOOD, BAD, HINT = "ok", "BAD", "note"
GRACE = 10.0
"""Seconds that an interrupted rehearsal is given to end."""
Finding = tuple[str, str]
"""GOOD, BAD or HINT, and words."""


@click.command()
@click.argument("selectors", nargs=-1, metavar="[SUITE...]")
@click.option("--quick", is_flag=True, help="Skip building the methods (which imports torch).")
@click.option(
    "--device", help="Instead rehearse methods on cpu, cuda or cuda:N under every precision and step: what holds there."
)
@click.pass_obj
def check(settings: Workspace, selectors: tuple[str, ...], quick: bool, device: str | None) -> int:
    """Check suites (all): that they load, that reported tables fit them, that data are there, that every method builds.

    Missing data are noted, not failed: a suite is valid without them. With --device a table says which arithmetic works there:
    whether each method runs, repeats bit by bit, gives captured what it gives together, and agrees with the CPU.
    """
    if device is not None:
        return _check_device(settings, selectors, device)
    bad = 0
    loaded: list[SuiteFile] = []
    if selectors:
        patterns = [parse_selector(text).suite for text in selectors]
        paths = list(
            dict.fromkeys(suite.path for pattern in patterns for suite in match_suites(pattern, settings.suites))
        )
    else:
        paths = list(suite_files(settings.suites))
    for path in paths:
        try:
            loaded.append(load_suite(path, settings.suites))
            findings = [*_resolves(loaded[-1]), *_reported(loaded[-1]), *data_findings(loaded[-1], settings)]
        except AlbenchError as error:
            findings = [(BAD, str(error))]
        bad += _say(path.relative_to(settings.suites).with_suffix("").as_posix(), findings)
    bad += _say("schema.json", _schema(settings))
    if loaded and not quick:
        bad += _say("methods", _methods(loaded))
    if not paths:
        bad += _say(str(settings.suites), [(BAD, "there are no suites here; give the folder with --suites")])
    return Exit.USAGE if bad else Exit.OK


def _check_device(settings: Workspace, selectors: tuple[str, ...], device: str) -> int:
    """The table of what holds on a device. Exit code 1 where something does not, 3 where the device is not there."""
    from benchmark.executors.gpus import GpuPool
    from benchmark.runs import environment as provenance
    from benchmark.runs import gpus

    chosen = provenance.resolve_device(device)
    uuid = GpuPool().take(chosen)
    if uuid is None and chosen != "cpu":
        raise gpus.missing(chosen, gpus.survey())
    trials = _device_trials(settings, selectors)
    command = [sys.executable, "-m", "benchmark.conformance.device_check", "/dev/stdin", chosen.partition(":")[0]]
    variables = FIXED_NUMBERS | ({} if uuid is None else one_gpu(uuid))
    rows: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
    with _child(command, trials, variables) as (lines, ended), ticker() as tick:
        for line in lines:
            said = json.loads(line)
            rows.setdefault(said["name"], {})[said["precision"], said["step"]] = tuple(said["failures"])
            tick(f"rehearsed {said['name']}, {len(rows)} of {len(trials)}")
    columns = list(dict.fromkeys(arithmetic for cells in rows.values() for arithmetic in cells))
    table = grid("method", *(f"{precision} {step}" for precision, step in columns))
    bad = 0
    for name, cells in rows.items():
        table.add_row(name, *("NO" if cells.get(column) else "holds" for column in columns))
        bad += any(cells.values())
    console().print(table)
    for name, cells in rows.items():
        for words, places in _by_words(cells).items():
            click.echo(f"{name}: {', '.join(places)}: {words}")
    click.echo(f"{len(rows) - bad} of {len(trials)} methods hold on {chosen} under every arithmetic")
    if ended():
        click.echo(f"Error: the rehearsal broke off: {ended()}", err=True)
        return Exit.NOT_MEASURED
    return Exit.DISCREPANCY if bad else Exit.OK


def _by_words(cells: dict[tuple[str, str], tuple[str, ...]]) -> dict[str, list[str]]:
    """Where each thing that does not hold was seen, so that one cause is one line."""
    found: dict[str, list[str]] = {}
    for (precision, step), failures in cells.items():
        for words in failures:
            found.setdefault(words, []).append(f"{precision} {step}")
    return found


def _device_trials(settings: Workspace, selectors: tuple[str, ...]) -> list[str]:
    """A trial of every method of the suites named; without names one of every pair of strategy and objective."""
    paths = [suite.path for text in selectors for suite in match_suites(parse_selector(text).suite, settings.suites)]
    suites = [load_suite(path, settings.suites) for path in dict.fromkeys(paths or suite_files(settings.suites))]
    # Small networks first: what several suites have is rehearsed in the smallest.
    suites.sort(key=lambda suite: (not suite.id.startswith("quickstart/"), suite.id))
    found: dict[tuple[str, ...], str] = {}
    for suite in suites:
        for trial in suite.trials("paper", "as_published", list(suite.suite.methods), [0]):
            key = (suite.id, trial.method_name) if selectors else (trial.strategy.name, trial.objective.name)
            if not obstacle(trial):
                found.setdefault(key, trial.model_dump_json())
    return list(found.values())


@contextmanager
def _child(
    command: Sequence[str], trials: Sequence[str], variables: Mapping[str, str]
) -> Iterator[tuple[Iterator[str], Callable[[], str]]]:
    """Lines that a process says about trials, and afterwards its last words if it broke off (empty: it did not)."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as asked,
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
    ):
        asked.writelines(f"{line}\n" for line in trials)
        asked.seek(0)
        env = os.environ | dict(variables) | {"PYTHONPATH": _path()}
        with subprocess.Popen(
            list(command), stdin=asked, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
        ) as process:
            assert process.stdout is not None

            def last_words() -> str:
                if process.wait() in (Exit.OK, Exit.DISCREPANCY, Exit.USAGE):
                    return ""
                errors.seek(0)
                return errors.read().strip()[-2000:] or f"exit status {process.returncode}"

            try:
                yield iter(process.stdout), last_words
            except KeyboardInterrupt:
                process.terminate()  # it removes its temporary folder
                try:
                    process.wait(GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise


def _say(name: str, findings: Iterable[Finding]) -> int:
    """Print the findings about something; how many are bad."""
    found = list(findings)
    bad = sum(kind == BAD for kind, _ in found)
    click.echo(f"{BAD if bad else GOOD:4} {name}")
    for kind, text in found:
        if kind != GOOD:
            click.echo(f"     {kind}: {cleaned(' '.join(text.split()))}")
    return bad


def _resolves(suite: SuiteFile) -> Iterator[Finding]:
    """Every profile and variant gives a valid suite."""
    for profile in ("paper", *suite.suite.profiles):
        for variant in ("as_published", "corrected", *suite.suite.variants):
            try:
                trials = suite.trials(profile, variant)
            except AlbenchError as error:
                yield BAD, f"profile {profile}, variant {variant}: {error}"
                continue
            wrong = {trial.method_name: reason for trial in trials if (reason := amounts.obstacle(trial))}
            for method, reason in wrong.items():
                yield BAD, f"profile {profile}, variant {variant}, {method}: {reason}"


def _reported(suite: SuiteFile) -> Iterator[Finding]:
    """Every published number of the authors' own belongs to a method and a size of the protocol."""
    table = suite.path.with_name(f"{suite.path.stem}.reported.csv")
    sizes = suite.suite.protocol.acquisition.labelled()
    seen: set[tuple[object, ...]] = set()
    for line, row in enumerate(suite.reported, start=2):
        key = (row.method, row.labelled, row.metric, row.source, row.role, row.note)
        if key in seen:
            yield BAD, f"{table}:{line}: the same number is there twice ({row.method}, {row.labelled}, {row.source})"
        seen.add(key)
        if row.role in TARGETS:
            if row.method not in suite.suite.methods:
                yield BAD, f"{table}:{line}: '{row.method}' is not a method of the suite, but its role is {row.role}"
            if row.labelled is not None and row.labelled not in sizes:
                yield HINT, f"{table}:{line}: the protocol never trains on {row.labelled} labels"


def data_findings(suite: SuiteFile, settings: Workspace) -> Iterator[Finding]:
    from benchmark.al import datasets

    status = datasets.describe(suite.suite.protocol.data, settings.data, settings.cache)
    if not status.present or not status.canonical:
        yield HINT, status.note


def _schema(settings: Workspace) -> Iterator[Finding]:
    path = settings.suites / "schema.json"
    try:
        current = json.loads(path.read_text(encoding="utf-8-sig")) == json.loads(
            schema_text()
        )  # as values: pydantic 2.10 says 0.0
    except (OSError, ValueError):
        current = False
    if not current:
        yield BAD, f"{path} is not current: run `albench schema`"


def _methods(suites: Sequence[SuiteFile]) -> Iterator[Finding]:
    """Build every method on made-up images, in a process of its own: this one stays free of torch."""
    lines: list[str] = []
    for suite in suites:
        for trial in suite.trials("paper", "as_published", list(suite.suite.methods), [0]):
            if reason := obstacle(trial):  # amounts that do not fit are told as bad above
                yield HINT, f"{trial.suite}/{trial.method_name}: {reason}"
            else:
                lines.append(trial.model_dump_json())
    yield from _rehearsed(lines)


def _rehearsed(trials: Sequence[str]) -> Iterator[Finding]:
    """Play trials (one JSON each) through in a process of its own; what is wrong with them. Nothing is left on the disk."""
    command = [sys.executable, "-m", "benchmark.worker", "--check", "/dev/stdin"]
    with _child(command, trials, {}) as (lines, last_words):
        with ticker() as tick:
            for number, line in enumerate(lines, start=1):
                name, _, wrong = line.rstrip("\n").partition("\t")
                tick(f"rehearsed {name}, {number} of {len(trials)}")
                if wrong:
                    yield BAD, f"{name}: {wrong}"
        if words := last_words():
            yield BAD, f"the rehearsal broke off: {words}"


def _path() -> str:
    return os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
