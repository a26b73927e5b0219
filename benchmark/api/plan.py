"""What is to be done: the trials of a selection in an environment, with their state, data and
cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

from benchmark.api.selection import Selectors, as_selection, parse_selectors
from benchmark.api.workspace import Workspace
from benchmark.errors import UsageError
from benchmark.planning import amounts
from benchmark.planning.plan import DataStatus, Plan, data_key, make_plan, measure_speeds
from benchmark.planning.workload import add_step_cost
from benchmark.runs.events import Environment, Precision, Step
from benchmark.runs.store import Store
from benchmark.spec.protocol import Protocol
from benchmark.spec.published import ReportedResult
from benchmark.spec.selectors import SelectedTrial, Selection, Selector
from benchmark.spec.suite import Component, Cost, MethodCost, Trial
from benchmark.spec.training import Model

if TYPE_CHECKING:
    from benchmark.executors.base import Executor

THREADS = {"cpu": 1, "cuda": 4}
"""Threads of a trial where none are asked for. A constant: they are part of the environment."""


@dataclass(frozen=True)
class PlanOptions:
    """Where and how trials run."""

    executor: str = "local"
    """local, docker, ray, or auto: docker where it works, else local."""
    device: str = "auto"
    """auto (the suite's advice, else a usable GPU), cpu, cuda or cuda:N."""
    precision: Precision = "fp32"
    step: Step = "eager"
    threads: int | None = None
    """CPU threads of a trial; None: 1, or 4 on a GPU."""
    allow_noncanonical_data: bool = False
    fresh: bool = False
    """Do finished trials again and resume nothing."""
    only: Sequence[str | Selector] = ()
    """Of the trials selected only those that match one of these."""


def plan(
    selectors: Selectors,
    workspace: Workspace | None = None,
    options: PlanOptions | None = None,
    *,
    report: Callable[[str], None] = lambda _: None,
) -> Plan:
    """The trials of a selection: state, cost, predicted time. Nothing is run and nothing is
    written.

    A plan without trials is returned as it is; `report` gets lines about an executor that has to be
    prepared. Raises UsageError or SuiteError for a selection that names nothing, ExecutorError
    where the executor cannot work.
    """
    workspace = workspace or Workspace()
    options = options or PlanOptions()
    selection = as_selection(selectors)
    _, environment, _ = prepare_environment(workspace, selection, options, report)
    return build_plan(workspace, selection, environment, options)


def published_by_suite(
    workspace: Workspace, selection: Selection
) -> dict[str, Sequence[ReportedResult]]:
    """The reported numbers of every suite that a selection names, by suite id."""
    return {suite.id: suite.reported for suite in selection.suites(workspace.suites)}


def build_plan(
    workspace: Workspace, selection: Selection, environment: Environment, options: PlanOptions
) -> Plan:
    """The plan of a selection in an environment, with data, store and speeds looked up."""
    only = parse_selectors(options.only)
    asked = [
        item
        for item in selection.trials(workspace.suites, selection.suites(workspace.suites))
        if not only or any(selector.matches(item.trial) for selector in only)
    ]
    asked = [replace(item, cost=add_step_cost(item.cost, item.trial.objective)) for item in asked]
    if selection.networks:
        asked = with_measured_prices(asked)
    for item in asked:
        require_possible(item)
    store, data = Store(workspace.runs), data_statuses(asked, workspace)
    for item in asked:
        require_same_data(item.trial, data[data_key(item.trial.protocol.data)])
    return make_plan(
        asked,
        environment,
        data=data,
        status=partial(store.status, env=environment),
        obstacle=find_obstacle,
        speeds=_known_speeds(asked, store, environment),
        allow_noncanonical=options.allow_noncanonical_data,
        fresh=options.fresh,
    )


def require_possible(item: SelectedTrial) -> None:
    """Raise UsageError for what `run` would refuse once the worker starts: parameters, and votes
    that no epoch casts."""
    from benchmark.al.parameters import demand_valid
    from benchmark.al.training.schedules import snapshot_epochs

    trial, training = item.trial, item.trial.protocol.training
    demand_valid("strategies", trial.strategy)
    demand_valid("objectives", trial.objective)
    if item.cost.votes and not snapshot_epochs(training.epochs, training.vote_fraction):
        raise UsageError(
            f"{trial.suite}/{trial.method_name}: {training.vote_fraction} of {training.epochs} "
            "epochs round to no vote",
            where="protocol.training",
            remedy="raise training.epochs or training.vote_fraction",
        )


def with_measured_prices(asked: Sequence[SelectedTrial]) -> list[SelectedTrial]:
    """The trials with the price of a forward pass measured on the networks of their protocol.
    Imports torch.

    Raises UsageError for a network that cannot be built.
    """
    known: dict[str, Cost] = {}
    found = []
    for item in asked:
        protocol = item.trial.protocol
        key = protocol.model_dump_json(include={"models", "members", "data", "views"})
        found.append(
            replace(item, price=known.get(key) or known.setdefault(key, measured_price(protocol)))
        )
    return found


def measured_price(protocol: Protocol) -> Cost:
    """What one image costs in the networks that a protocol trains, measured; unknown where images
    have sizes of their own."""
    from benchmark.al.datasets.catalogue import format_of
    from benchmark.al.networks.measure import measure_model

    transforms = (*protocol.data.decode, *protocol.views.train)
    channels = (
        3 if any(one.op == "to_rgb" for one in transforms) else format_of(protocol.data).channels
    )
    counted = []
    for model in (protocol.models[place] for place in protocol.trained()):
        side = amounts.train_side(protocol, model)
        if side is None:
            return Cost(note="not known: images have sizes of their own")
        try:
            counted.append(measure_model(model, protocol.data.classes, channels, side).macs)
        except (RuntimeError, ValueError, TypeError) as error:
            raise UsageError(
                f"{model.name} does not take images of {channels} x {side} x {side} pixels: "
                f"{' '.join(str(error).split())}",
                where="protocol.models",
                remedy=f"albench verify-network {model.name} --size {side} --channels {channels}",
            ) from error
    return Cost(
        forward_macs=max(1, sum(counted) // len(counted)),
        note="measured on one image; backward counted as two forwards",
    )


def require_same_data(trial: Trial, data: DataStatus) -> None:
    """Raise UsageError for a stored selection whose indices belong to other data."""
    stored = trial.strategy.params.get("data") if trial.strategy.name == "replay" else None
    if stored and data.digest is not None and stored != data.digest:
        raise UsageError(
            f"{trial.suite}/{trial.method_name}: the selection belongs to data with the digest "
            f"{str(stored)[:12]}, "
            f"not {data.digest[:12]}",
            where="--replay",
            remedy="replay on the data set, split and limit that the selection was made with",
        )


def data_statuses(asked: list[SelectedTrial], workspace: Workspace) -> dict[str, DataStatus]:
    """Every data set of these trials, as it is under the data root."""
    from benchmark.al import datasets

    found: dict[str, DataStatus] = {}
    for item in asked:
        wanted = item.trial.protocol.data
        if data_key(wanted) not in found:
            status = datasets.describe(wanted, workspace.data, workspace.cache)
            found[data_key(wanted)] = DataStatus(
                name=status.name,
                present=status.present,
                digest=status.digest,
                canonical=status.canonical,
                note=status.note,
            )
    return found


def _known_speeds(
    asked: list[SelectedTrial], store: Store, environment: Environment
) -> dict[str, float]:
    costs: dict[tuple[str, str], MethodCost] = {
        (item.trial.suite, item.trial.method_name): item.cost for item in asked
    }
    suites = {suite for suite, _ in costs}
    records = [
        record
        for record in store.records()
        if record.env_id == environment.env_id and record.trial.suite in suites
    ]
    return measure_speeds(records, costs)


def find_obstacle(trial: Trial) -> str:
    """Why a trial cannot be done: its strategy, objective or network does not exist, or its amounts
    do not fit. Nothing is imported to find out."""
    missing = _missing_component("strategies", trial.strategy) or _missing_component(
        "objectives", trial.objective
    )
    missing = missing or next(
        filter(
            None, (_missing_component("networks", model) for model in trial.protocol.networks())
        ),
        "",
    )
    return missing or amounts.find_obstacle(trial)


def _missing_component(kind: str, component: Component | Model) -> str:
    if ":" in component.name or component.name in _known_components(kind):
        return ""
    return f"there is no '{component.name}' among the {kind}"


@cache
def _known_components(kind: str) -> frozenset[str]:
    from importlib.metadata import entry_points

    from benchmark.al import registry

    return frozenset(registry.component_names(kind)) | {
        entry.name for entry in entry_points(group=f"albench.{kind}")
    }


def prepare_environment(
    workspace: Workspace,
    selection: Selection,
    options: PlanOptions,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Executor, Environment, str]:
    """The executor, the environment that trials have there, and the device with `auto` resolved.
    Raises ExecutorError."""
    from benchmark import executors
    from benchmark.runs import environment as provenance

    device = advised_device(workspace, selection, options.device, options.step)
    executor = executors.load(options.executor, say=report)
    where = provenance.resolve_device(device) if executor.name == "local" else device
    threads = options.threads or THREADS["cuda" if where.startswith("cuda") else "cpu"]
    environment = executor.environment(where, options.precision, threads, options.step)
    return executor, environment, environment.device if where == "auto" else where


def advised_device(workspace: Workspace, selection: Selection, device: str, step: str) -> str:
    """The device where `auto` is asked for: what all suites of the selection advise, if they do and
    it can make such steps."""
    if device != "auto":
        return device
    advised = {suite.suite.device for suite in selection.suites(workspace.suites)}
    only = advised.pop() if len(advised) == 1 else None
    return device if only is None or (only == "cpu" and step == "captured") else only
