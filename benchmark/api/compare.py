"""From the files to a judged suite: which records are meant, what they are compared with, what else
is to be said of them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.api.selection import Selectors, as_selection
from benchmark.api.workspace import Workspace
from benchmark.errors import Exit, UsageError
from benchmark.planning.workload import add_step_cost, estimate_workload, sum_workloads
from benchmark.runs import conditions
from benchmark.runs.conditions import Conditions, read_conditions
from benchmark.runs.events import Record
from benchmark.runs.store import RejectedRecord, Store, data_free_id
from benchmark.spec.groups import ALL, GROUPS, expand_groups, group_methods
from benchmark.spec.load import SuiteFile, with_own_code
from benchmark.spec.selectors import Selection, Selector, format_seeds
from benchmark.spec.suite import Component, Method, Trial
from benchmark.text import format_flops, toml_value

if TYPE_CHECKING:
    from benchmark.verdicts.measurements import Measurement
    from benchmark.verdicts.regression import Regression
    from benchmark.verdicts.results import SuiteVerdict

"""Committed measurements of a suite, below results/."""
MISSING = "Run what is missing"
"""Purpose of the command that is shown where a trial of the selection was not measured."""
UNDECIDED = "Add seeds until it is decided"
"""Purpose of the command that is shown where more trials can decide a verdict."""
WORST_FIRST = (Exit.DISCREPANCY, Exit.NOT_MEASURED, Exit.INCONCLUSIVE, Exit.OK)
OnRefused = Callable[[RejectedRecord], None]
"""Called with every record file that is not accepted."""


@dataclass(frozen=True)
class ComparisonResult:
    """A suite with everything a report needs."""

    suite: SuiteFile
    judgement: SuiteVerdict
    measurements: Sequence[Measurement]
    records: Sequence[Record]
    cost_note: str
    commands: dict[str, str]
    facts: dict[str, str]
    refused: Sequence[RejectedRecord] = ()
    """Record files that were left out, and why."""


def compare(selectors: Selectors, workspace: Workspace | None = None) -> list[ComparisonResult]:
    """Judge the records of the selection, suite by suite: a verdict for each published number,
    curve and claim.

    Needs files only: no data, no GPU, no tracker. Raises UsageError or SuiteError for a selection
    that names nothing.
    """
    workspace, selection = workspace or Workspace(), as_selection(selectors)
    return [
        compare_suite(workspace, selection, suite) for suite in selection.suites(workspace.suites)
    ]


def regress(
    selectors: Selectors,
    workspace: Workspace | None = None,
    *,
    on_refused: OnRefused = lambda _: None,
) -> list[Regression]:
    """Compare the records of the selection with those committed under results/, suite by suite:
    equal bits where the environment is the same, else equal picks, else the suite's rule. Errors:
    see `compare`."""
    workspace, selection = workspace or Workspace(), as_selection(selectors)
    return [
        regress_suite(workspace, selection, suite, on_refused=on_refused)
        for suite in selection.suites(workspace.suites)
    ]


def worst_code(codes: Iterable[Exit]) -> Exit:
    """The code of several comparisons: a discrepancy outweighs what was not measured, that what is
    inconclusive."""
    found = set(codes)
    return next(code for code in WORST_FIRST if code in found)


def compare_suite(
    settings: Workspace,
    selection: Selection,
    suite: SuiteFile,
    *,
    borrow: bool = False,
    publish: bool = False,
    looks: Sequence[int] = (),
) -> ComparisonResult:
    """Verdicts on a suite from the store, and from committed records where the suite compares with
    those.

    `borrow`: trials that are not in the store are taken from the committed records. `publish`:
    these trials become the committed records. Trials that a suite would compare with themselves
    then stand in tables and pictures without a verdict. `looks` are planned numbers of trials: see
    `benchmark.verdicts.judge.judge`.
    """
    from benchmark.verdicts.judge import judge_suite

    found = _gather_trials(settings, selection, suite, borrow=borrow)
    resolved = suite.resolve(selection.profile, selection.variant)
    measured, own = ({row.method for row in rows} for rows in (found.measurements, found.own))
    with_themselves = measured - (set() if publish else own)
    judgement = judge_suite(
        suite,
        [*found.measurements, *found.parts],
        profile=selection.profile,
        variant=selection.variant,
        methods=chosen_methods(selection, suite),
        references=found.committed,
        external=found.external,
        unjudged=with_themselves if resolved.rule.reference == "records" else set(),
        looks=looks,
    )
    stored = {(row.trial_id, row.env_id) for row in found.own}
    borrowed = [row for row in found.measurements if (row.trial_id, row.env_id) not in stored]
    lines = [
        *conditions.summarize_conditions(found.records),
        *_committed_conditions(settings, suite, borrowed if borrow else []),
    ]
    taken = "" if publish else ", ".join(sorted(measured - own))
    facts = {"Taken from results/": taken} if taken else {}
    facts |= _collect_facts(lines, found.records, resolved.rule.margin, resolved.rule.metric)
    is_complete = _is_complete(selection, suite, found.measurements)
    return ComparisonResult(
        suite,
        judgement,
        found.measurements,
        found.records,
        _cost_note(suite, selection, lines),
        _next_commands(selection, suite, complete=is_complete, judgement=judgement),
        facts,
        found.refused,
    )


@dataclass(frozen=True)
class _GatheredTrials:
    """What a suite's selection has been measured by."""

    own: list[Measurement]
    """What the store has, parts included."""
    committed: list[Measurement]
    """All that is committed of the suite."""
    measurements: list[Measurement]
    """Of the selected profile, with trials that were put together from parts."""
    parts: list[Measurement]
    records: list[Record]
    """Those of the store behind the measurements."""
    external: dict[str, Component]
    """Objectives of methods that are not the suite's."""
    refused: list[RejectedRecord]


def _gather_trials(
    settings: Workspace, selection: Selection, suite: SuiteFile, *, borrow: bool
) -> _GatheredTrials:
    """The trials of the selection with the controls of their methods. `borrow`: see
    `compare_suite`."""
    from benchmark.verdicts.measurements import from_records
    from benchmark.verdicts.method_table import with_controls
    from benchmark.verdicts.parts import part_profiles, with_parts

    refused: list[RejectedRecord] = []
    methods = chosen_methods(selection, suite)
    records = records_of(settings, selection, suite, on_refused=refused.append)
    resolved = suite.resolve(selection.profile, selection.variant)
    external = _external_methods(resolved.methods, records)
    profiles = part_profiles(suite, selection.profile, selection.variant)
    pieces = [
        record
        for name in profiles
        for record in records_of(settings, replace(selection, profile=name), suite)
    ]
    own, committed = from_records([*records, *pieces]), committed_rows(settings, suite)
    absent = _absent_trials(own, committed, selection, profiles) if borrow else []
    whole = with_parts(suite, [*own, *absent], selection.profile, selection.variant)
    measurements = [row for row in whole if row.profile == selection.profile]
    parts = [row for row in whole if row.profile in profiles]
    records = [*records, *_used_records(pieces, measurements)]
    if methods is not None:
        measured = dict.fromkeys(row.method for row in measurements)
        wanted = with_controls(resolved, methods, measured, external)
        measurements = [row for row in measurements if row.method in wanted]
        records = [record for record in records if record.trial.method_name in wanted]
        parts = [row for row in parts if row.method in methods]
    return _GatheredTrials(own, committed, measurements, parts, records, external, refused)


def regress_suite(
    settings: Workspace,
    selection: Selection,
    suite: SuiteFile,
    *,
    on_refused: OnRefused = lambda _: None,
) -> Regression:
    """The store's records of a suite against those committed under results/. Raises UsageError
    where values were replaced."""
    from benchmark.verdicts.measurements import from_records
    from benchmark.verdicts.regression import regress

    if suite.changes:
        raise UsageError(
            f"{suite.id}: committed records are those of the suite as it is",
            where=", ".join(suite.changes),
            remedy="leave out --regress, or --set and --network",
        )
    seeds = chosen_seeds(selection)
    return regress(
        suite,
        from_records(records_of(settings, selection, suite, on_refused=on_refused)),
        committed_rows(settings, suite),
        profile=selection.profile,
        variant=selection.variant,
        methods=chosen_methods(selection, suite),
        seeds=None if seeds is None else sorted(seeds),
    )


def committed_rows(settings: Workspace, suite: SuiteFile) -> list[Measurement]:
    """Every committed measurement of a suite; none where nothing was committed, or values of the
    suite were replaced."""
    from benchmark.verdicts.measurements import read_committed

    return [] if suite.changes else read_committed(settings.results / suite.id)


def _absent_trials(
    own: Sequence[Measurement],
    committed: Sequence[Measurement],
    selection: Selection,
    parts: Iterable[str],
) -> list[Measurement]:
    """Committed trials of the selection, or of these profiles that are parts of its own, that the
    store does not have."""
    here, seeds = {(row.profile, row.method, row.seed) for row in own}, chosen_seeds(selection)
    return [
        row
        for row in committed
        if (row.profile, row.method, row.seed) not in here
        and (seeds is None or row.seed in seeds)
        and row.profile in (selection.profile, *parts)
        and row.variant == selection.variant
    ]


def _used_records(pieces: Sequence[Record], measurements: Sequence[Measurement]) -> list[Record]:
    """The records that trials were put together from."""
    used = {(part.trial_id, part.env_id) for row in measurements for part in row.parts}
    return [record for record in pieces if (record.trial_id, record.env_id) in used]


def chosen_methods(selection: Selection, suite: SuiteFile) -> tuple[str, ...] | None:
    """The methods asked for by option or selector; None for all the profile names."""
    added = bool(selection.plugin or selection.replays)
    if selection.methods is not None and not added:
        return tuple(expand_groups(selection.methods, suite.suite))
    if (
        all(selector.method is None for selector in selection.selectors)
        and not added
        and not selection.networks
    ):
        return None
    return tuple(
        dict.fromkeys(asked.trial.method_name for asked in selection.trials(Path(), [suite]))
    )


def chosen_seeds(selection: Selection) -> set[int] | None:
    """The seeds asked for; None for all."""
    found = {seed for selector in selection.selectors for seed in selector.seeds or ()}
    return set(selection.seeds) if selection.seeds else found or None


def records_of(
    settings: Workspace,
    selection: Selection,
    suite: SuiteFile,
    *,
    on_refused: OnRefused = lambda _: None,
) -> list[Record]:
    """Finished trials of this suite's questions with any seed, and plug-ins that were run under its
    very protocol."""
    resolved = suite.resolve(selection.profile, selection.variant)
    groups, own = group_methods(resolved), selection.plugin_method(resolved)
    asked = dict(
        _method_questions(selection, suite, [*groups, *resolved.methods, *own], groups | own)
    )
    pinned = {*resolved.methods, *own}
    for name, method in (stored.method() for stored in selection.replays):
        asked |= dict(_method_questions(selection, suite, [name], {name: method}))
        pinned.add(name)
    protocol = with_own_code(resolved.protocol, suite.path.parent)
    seeds, found = chosen_seeds(selection), []
    for record in Store(settings.runs).records(on_refused=on_refused):
        trial = record.trial
        if seeds is not None and trial.seed not in seeds:
            continue
        known = asked.get(data_free_id(trial.model_copy(update={"seed": 0})))
        if known is not None:
            named = known.model_copy(update={"seed": trial.seed, "data_digest": trial.data_digest})
            found.append(record.model_copy(update={"trial": named}))
        elif (
            (trial.suite, trial.profile, trial.variant)
            == (suite.id, selection.profile, selection.variant)
            and trial.method_name not in pinned
            and data_free_id(trial) == data_free_id(trial.model_copy(update={"protocol": protocol}))
        ):
            found.append(record)
    return found


def _method_questions(
    selection: Selection, suite: SuiteFile, methods: Iterable[str], extra: Mapping[str, Method]
) -> Iterator[tuple[str, Trial]]:
    """What each method asks. One that does not fit a profile, which may leave it out, asks
    nothing."""
    for method in methods:
        with suppress(UsageError):
            (trial,) = suite.trials(
                selection.profile, selection.variant, [method], [0], extra=extra
            )
            yield data_free_id(trial), trial


def _external_methods(
    known: Mapping[str, object], records: Sequence[Record]
) -> dict[str, Component]:
    """Objectives of the methods that are not the suite's own."""
    trials = [record.trial for record in records]
    return {
        trial.method_name: trial.objective for trial in trials if trial.method_name not in known
    }


def costs_of(suite: SuiteFile, selection: Selection) -> dict[str, float]:
    """Floating point operations of a trial of each method; of none if the price of a forward pass
    is not known."""
    found = {}
    for method in suite.resolve(selection.profile, selection.variant).methods:
        one = Selection([Selector(suite.id, method, (0,))], selection.profile, selection.variant)
        with suppress(
            UsageError
        ):  # a method that does not fit the profile or replaced values has no trial
            for item in one.trials(Path(), [suite]):
                if item.price.forward_macs:
                    cost = add_step_cost(item.cost, item.trial.objective)
                    amount = estimate_workload(item.trial.protocol, cost, item.price)
                    found[item.trial.method_name] = 2.0 * sum_workloads(amount).macs
    return found


def _cost_note(suite: SuiteFile, selection: Selection, lines: Sequence[Conditions]) -> str:
    """What one trial costs, and what was spent on those that are here."""
    from benchmark.text import format_duration

    parts, amounts = [], costs_of(suite, selection).values()
    if amounts:
        low, high = format_flops(min(amounts)), format_flops(max(amounts))
        parts.append(f"One trial costs {low if low == high else f'{low} to {high}'}.")
    trials = sum(one.trials for one in lines)
    if trials:
        spent = format_duration(sum(one.seconds for one in lines))
        where = ", ".join(sorted({one.device_model for one in lines}))
        parts.append(f"{trials} trial{'s' * (trials != 1)} took {spent} of computation on {where}.")
    return " ".join(parts)


def _is_complete(
    selection: Selection, suite: SuiteFile, measurements: Sequence[Measurement]
) -> bool:
    """Whether every trial of the selection was measured."""
    known = _own_methods(selection, suite)
    if selection.methods is not None and not known:
        return bool(measurements)
    last = suite.resolve(selection.profile, selection.variant).protocol.acquisition.cycles - 1
    reached = {(row.method, row.seed) for row in measurements if not row.parts or row.cycle == last}
    asked = replace(selection, methods=known or None).trials(Path(), [suite])
    return all((item.trial.method_name, item.trial.seed) in reached for item in asked)


def _own_methods(selection: Selection, suite: SuiteFile) -> tuple[str, ...]:
    """The methods and groups asked for by option, without plug-ins: those cannot be run without
    their file."""
    known = {*suite.suite.methods, *group_methods(suite.suite), *GROUPS, ALL}
    return tuple(name for name in selection.methods or () if name in known)


def _next_commands(
    selection: Selection, suite: SuiteFile, *, complete: bool, judgement: SuiteVerdict
) -> dict[str, str]:
    """How to go on with the selection, by purpose."""
    from benchmark.verdicts.results import VerdictKind

    meant = [selector for selector in selection.selectors if selection.means(selector, suite.id)]
    chosen = list(dict.fromkeys(str(replace(selector, suite=suite.id)) for selector in meant))
    chosen += ["--profile", selection.profile] if selection.profile != "paper" else []
    chosen += ["--variant", selection.variant] if selection.variant != "as_published" else []
    known = _own_methods(selection, suite)
    chosen += ["--methods", ",".join(known)] if known else []
    chosen += own_arguments(selection)
    seeds = ["--seeds", format_seeds(selection.seeds)] if selection.seeds else []
    verbs = {} if complete else {MISSING: ["run", *chosen, *seeds]}
    # Pairs with committed records need the seeds of these: more seeds decide nothing there.
    more = (
        judgement.rule.reference == "reported"
        and not judgement.reference
        and chosen_seeds(selection) is None
    )
    if more and VerdictKind.INCONCLUSIVE in judgement.counts():
        verbs[UNDECIDED] = ["run", *chosen, "--until-decided"]
    verbs |= {
        "Compare": ["compare", *chosen, *seeds],
        "Check determinism": ["verify", *chosen, *seeds],
    }
    return {purpose: shlex.join(["albench", *words]) for purpose, words in verbs.items()}


def own_arguments(selection: Selection) -> list[str]:
    """The options of a command line that bring in one's own components and values."""
    named = {
        "--method": selection.plugin,
        "--objective": selection.objective,
        "--weights": selection.weights,
    }
    found = [
        text
        for option, value in named.items()
        if value is not None
        for text in (option, str(value))
    ]
    found += [text for network in selection.networks for text in ("--network", network)]
    found += [
        text for stored in selection.replays if stored.place for text in ("--replay", stored.place)
    ]
    return found + [
        text
        for path, value in selection.sets.items()
        for text in ("--set", f"{path}={toml_value(value)}")
    ]


def _committed_conditions(
    settings: Workspace, suite: SuiteFile, borrowed: Sequence[Measurement]
) -> list[Conditions]:
    """The conditions of committed trials. Time is known of all trials of an environment together:
    where only some are borrowed, none is counted."""
    trials: dict[tuple[str, str, str], set[str]] = {}
    for row in borrowed:
        for part in row.parts or (row,):
            trials.setdefault((part.profile, part.variant, part.env_id), set()).add(part.trial_id)
    found = []
    for line in read_conditions(settings.results / suite.id / conditions.FILE):
        own = trials.get((line.profile, line.variant, line.env_id))
        if own is not None:
            found.append(
                line
                if line.trials == len(own)
                else line.model_copy(update={"trials": 0, "seconds": 0.0})
            )
    return found


def _collect_facts(
    lines: Sequence[Conditions], records: Sequence[Record], margin: float, metric: str
) -> dict[str, str]:
    """Conditions under which the trials were run, several values side by side."""
    facts: dict[str, set[str]] = {
        "Precision": {line.precision for line in lines},
        "Steps": {line.step for line in lines if line.step != "eager"},
        "Instruction set": {line.isa for line in lines if line.isa},
        "torch": {line.torch for line in lines},
        "Code": {line.code[:12] for line in lines},
        "Image": {line.image for line in lines if line.image},
        "Data": {
            f"{name} {digest[:12]}"
            for name, _, digest in (line.data.partition(" ") for line in lines)
        },
    }
    shown = {name: ", ".join(sorted(values)) for name, values in facts.items() if values}
    return (
        {"Determinism": _describe_determinism(lines, records, margin, metric)} | shown
        if lines
        else shown
    )


def _describe_determinism(
    lines: Sequence[Conditions], records: Sequence[Record], margin: float, metric: str
) -> str:
    """What was asked of the arithmetic, what that promises, and what trials with several answers
    show."""
    from benchmark.verdicts.determinism import weakest_levels

    on_cpu = all(line.device == "cpu" for line in lines)
    if not all(line.deterministic for line in lines):
        asked = (
            "deterministic algorithms were not requested: equal environments need not give equal "
            "bits"
        )
    elif on_cpu:
        asked = "deterministic algorithms on CPU: equal environments give equal bits"
    else:
        asked = "deterministic algorithms were requested"
    seen = Counter(weakest_levels(records, margin, metric))
    if not seen:
        return asked
    words = ", ".join(f"{count} {level}" for level, count in seen.items())
    return (
        f"{asked}; {seen.total()} trials were answered in several environments, and agree: {words}"
    )
