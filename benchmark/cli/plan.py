"""plan, status, clean: what is to be done, what is there, what may go."""

from __future__ import annotations

import time
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import click
from rich.markup import escape

from benchmark import files
from benchmark.api.workspace import Workspace
from benchmark.cli.options import machine, selecting
from benchmark.cli.tables import STATES, console, grid, print_plan
from benchmark.errors import Exit, UsageError
from benchmark.planning import amounts
from benchmark.planning.plan import DataStatus, Plan, data_key, make_plan, speeds
from benchmark.runs.events import CycleFinished, Environment, Precision, Step
from benchmark.runs.lock import lock_owner
from benchmark.runs.store import ENV_SHORT, Store, outputs
from benchmark.spec.models import Component, MethodCost, Trial
from benchmark.spec.selectors import SelectedTrial, Selection, Selector, parse_selector
from benchmark.text import line

THREADS = {"cpu": 1, "cuda": 4}
"""Threads of a trial where none are asked for. A constant: they are part of the environment."""


def build_plan(
    settings: Workspace, selection: Selection, environment: Environment, only: tuple[Selector, ...] = (), **options: Any
) -> Plan:
    """The plan of a selection in an environment, with data, store and speeds looked up."""
    suites = selection.suites(settings.suites)
    asked = [
        item
        for item in selection.trials(settings.suites, suites)
        if not only or any(selector.matches(item.trial) for selector in only)
    ]
    if not asked:
        why = f"\n  -> --only {' '.join(map(str, only))} matches no trial of the selection" if only else ""
        click.echo(f"Error: the plan is empty{why}", err=True)
    for item in asked:
        demand_possible(item)
    store = Store(settings.runs)
    return make_plan(
        asked,
        environment,
        data=data_statuses(asked, settings),
        status=partial(store.status, env=environment),
        obstacle=obstacle,
        speeds=_speeds(asked, store, environment),
        **options,
    )


def demand_possible(item: SelectedTrial) -> None:
    """Raise UsageError for what `run` would refuse once the worker starts: parameters, and votes that no epoch casts."""
    from benchmark.al.parameters import demand_valid
    from benchmark.al.training.schedules import snapshot_epochs

    trial, training = item.trial, item.trial.protocol.training
    demand_valid("strategies", trial.strategy)
    demand_valid("objectives", trial.objective)
    if item.cost.votes and not snapshot_epochs(training.epochs, training.vote_fraction):
        raise UsageError(
            f"{trial.suite}/{trial.method_name}: {training.vote_fraction} of {training.epochs} epochs round to no vote",
            where="protocol.training",
            remedy="raise training.epochs or training.vote_fraction",
        )


def data_statuses(asked: list[SelectedTrial], settings: Workspace) -> dict[str, DataStatus]:
    """Every data set of these trials, as it is under the data root."""
    from benchmark.al import datasets

    found: dict[str, DataStatus] = {}
    for item in asked:
        wanted = item.trial.protocol.data
        if data_key(wanted) not in found:
            status = datasets.describe(wanted, settings.data, settings.cache)
            found[data_key(wanted)] = DataStatus(
                name=status.name, present=status.present, digest=status.digest, canonical=status.canonical, note=status.note
            )  # fmt: skip
    return found


def _speeds(asked: list[SelectedTrial], store: Store, environment: Environment) -> dict[str, float]:
    costs: dict[tuple[str, str], MethodCost] = {(item.trial.suite, item.trial.method_name): item.cost for item in asked}
    suites = {suite for suite, _ in costs}
    records = [
        record for record in store.records() if record.env_id == environment.env_id and record.trial.suite in suites
    ]
    return speeds(records, costs)


def obstacle(trial: Trial) -> str:
    """Why a trial cannot be done: its strategy or objective does not exist, or its amounts do not fit. Nothing is imported to
    find out."""
    missing = _missing("strategies", trial.strategy) or _missing("objectives", trial.objective)
    return missing or amounts.obstacle(trial)


def _missing(kind: str, component: Component) -> str:
    if ":" in component.name or component.name in _known(kind):
        return ""
    return f"there is no '{component.name}' among the {kind}"


@cache
def _known(kind: str) -> frozenset[str]:
    from importlib.metadata import entry_points

    from benchmark.al import registry

    return frozenset(registry.component_names(kind)) | {entry.name for entry in entry_points(group=f"albench.{kind}")}


def environment_of(
    executor: str, device: str, precision: str, step: str, threads: int | None
) -> tuple[Any, Environment, str]:
    """The executor, its environment, and the device with `auto` resolved."""
    from benchmark import executors
    from benchmark.runs import environment as provenance

    chosen = executors.load(executor, say=lambda text: click.echo(text, err=True))
    where = provenance.resolve_device(device) if chosen.name == "local" else device
    count = threads or THREADS["cuda" if where.startswith("cuda") else "cpu"]
    how = cast(Precision, precision), count, cast(Step, step)
    environment = chosen.environment(where, *how)
    return chosen, environment, environment.device if where == "auto" else where


def advised_device(settings: Workspace, selection: Selection, device: str, step: str) -> str:
    """The device where `auto` is asked for: what all suites of the selection advise, if they do and it can make such steps."""
    if device != "auto":
        return device
    advised = {suite.suite.device for suite in selection.suites(settings.suites)}
    only = advised.pop() if len(advised) == 1 else None
    return device if only is None or (only == "cpu" and step == "captured") else only


@click.command()
@selecting()
@machine
@click.option("--only", multiple=True, metavar="SELECTOR", help="Of these trials only those that match.")
@click.option("--json", "as_json", is_flag=True, help="The plan as it would be saved.")
@click.pass_obj
def plan(
    settings: Workspace, selection: Selection, executor: str, device: str, precision: str, step: str,
    threads: int | None, allow_noncanonical_data: bool, fresh: bool, only: tuple[str, ...], as_json: bool,
) -> int:  # fmt: skip
    """Show the trials of the selection: state, cost, predicted time. Nothing is run.

    FLOPs are counted, not measured: a backward pass as two forwards, 2 FLOP per multiply-accumulate.
    """
    device = advised_device(settings, selection, device, step)
    _, environment, _ = environment_of(executor, device, precision, step, threads)
    planned = build_plan(
        settings, selection, environment, tuple(map(parse_selector, only)),
        allow_noncanonical=allow_noncanonical_data, fresh=fresh,
    )  # fmt: skip
    if as_json:
        click.echo(planned.model_dump_json(indent=1))
    else:
        print_plan(planned)
    return Exit.NOT_MEASURED if planned.has_nothing_to_run else Exit.OK


@click.command()
@click.argument("selectors", nargs=-1, metavar="[SELECTOR...]")
@click.pass_obj
def status(settings: Workspace, selectors: tuple[str, ...]) -> int:
    """Show every run in the runs folder (or those that match): its state, how far it is, and who works on it."""
    wanted = [parse_selector(text) for text in selectors]
    store, table, found = (
        Store(settings.runs),
        grid("trial", "profile", "environment", "state", "cycles", "last", "seen", "note"),
        0,
    )
    for folder in store.folders():
        trial = _trial(folder)
        if trial is None or (wanted and not any(selector.matches(trial) for selector in wanted)):
            continue
        found += 1
        known = store.status_of(folder, trial)
        last = _last_cycle(folder) if known.cycles else None
        table.add_row(
            escape(f"{trial.suite}/{trial.method_name}@{trial.seed}"), escape(trial.profile), folder.name[:ENV_SHORT],
            f"[{STATES[known.state]}]{known.state}[/]", f"{known.cycles}/{trial.protocol.acquisition.cycles}",
            f"{last.result.metrics.get('accuracy', float('nan')):.2f} % at {last.result.labelled}" if last else "",
            _age(outputs(folder) / "events.jsonl"), escape(known.note),
        )  # fmt: skip
    if found:
        console().print(table)
    else:
        click.echo(f"no runs under {settings.runs}" + (" match" if wanted else ""))
    return Exit.OK


def _trial(folder: Path) -> Trial | None:
    try:
        return Trial.model_validate_json(files.read(folder / "trial.json"))
    except (OSError, ValueError):
        return None


def _last_cycle(folder: Path) -> CycleFinished | None:
    from benchmark.runs import events

    return max(
        (
            event
            for event, _ in events.read_events(outputs(folder) / "events.jsonl")
            if isinstance(event, CycleFinished)
        ),
        key=lambda event: event.result.cycle,
        default=None,
    )


def _age(path: Path) -> str:
    from benchmark.text import duration

    found = files.look(path)
    return "" if found is None else f"{duration(max(0.0, time.time() - found.st_mtime))} ago"


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.pass_obj
def clean(settings: Workspace, dry_run: bool) -> int:
    """Remove what interrupted writes left and the saved state of finished runs. Results and unfinished work stay."""
    if not settings.runs.exists():
        raise UsageError(f"there is no runs folder {settings.runs}", remedy="give it with --runs")
    store = Store(settings.runs)
    busy = sum(bool(lock_owner(folder)) for folder in store.folders())
    removed = store.clean(dry=dry_run)
    for path in removed:
        click.echo(f"{'would remove' if dry_run else 'removed'} {line(str(path))}")
    used = f", {busy} run{'s' * (busy != 1)} in use left alone" if busy else ""
    click.echo(f"{len(removed)} leftover{'s' * (len(removed) != 1)}{used}")
    return Exit.OK
