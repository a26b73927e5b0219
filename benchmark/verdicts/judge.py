"""Judging a suite: what its trials say about what was published, under the rule that the suite
pins.

Rows with role `target` or `target_weak` decide; every other published number is shown beside. Only
the profile `paper` and parts of it are compared with published numbers. A suite whose rule says
`reference = "records"` is compared with its own committed records instead, under any profile that
has some.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from benchmark.spec.load import SuiteFile
from benchmark.spec.published import TARGETS
from benchmark.spec.suite import OURS, Component, Suite
from benchmark.verdicts.claims import judge_claims
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.method_table import (
    make_cells,
    method_penalties,
    order_agreement,
    rank_methods,
    with_controls,
)
from benchmark.verdicts.models_axis import model_rows
from benchmark.verdicts.parts import gap_notes, part_notes, with_parts
from benchmark.verdicts.published_numbers import ComparisonContext, judge_curves, judge_numbers
from benchmark.verdicts.reference_records import judge_committed
from benchmark.verdicts.results import (
    Cell,
    Estimate,
    NumberVerdict,
    SuiteVerdict,
    Verdict,
    VerdictKind,
)
from benchmark.verdicts.trials import Trials, nearest_answers, select_trials


def judge_suite(
    suite_file: SuiteFile,
    measurements: Sequence[Measurement],
    *,
    profile: str = "paper",
    variant: str = "as_published",
    methods: Sequence[str] | None = None,
    references: Sequence[Measurement] = (),
    external: Mapping[str, Component] | None = None,
    unjudged: Collection[str] = (),
    looks: Sequence[int] = (),
) -> SuiteVerdict:
    """What the measurements say about the suite.

    `methods` limits what is asked for (None: all that the profile plans, and any other that was
    measured). `references` are the suite's committed records, `external` the objectives of methods
    that are not its own. The random sampling that they are held against stands with them even where
    it was not asked for. `unjudged` methods stand in tables and pictures without a verdict. `looks`
    are the numbers of trials at which one planned to look, where trials are added until decided:
    tests are then made at the level of the look that was reached. Raises UsageError for an unknown
    profile or variant.
    """
    measurements = with_parts(suite_file, measurements, profile, variant)
    gaps, own = gap_notes(suite_file, measurements, profile, variant), suite_file.suite.methods
    trials = select_trials(measurements, suite_file.id, profile, variant, own=own)
    if methods is not None:
        suite = suite_file.resolve(profile, variant)
        wanted = with_controls(suite, methods, trials.methods, external or {})
        trials = select_trials(measurements, suite_file.id, profile, variant, wanted, own)
    case = replace(
        comparison_context(suite_file, trials, profile, variant, methods),
        external=external or {},
        looks=tuple(looks),
    )
    suite, asked = case.suite, tuple(method for method in case.methods if method not in unjudged)
    excuse, whole = _profile_excuses(suite_file, suite, profile)
    against_records = suite.rule.reference == "records"
    measured = make_cells(case)
    numbers = [*judge_numbers(case, suite_file.reported, excuse)]
    if against_records:
        known = [row for row in references if (row.profile, row.variant) == (profile, variant)]
        nearest = nearest_answers(known, trials.rows)
        committed = select_trials(nearest, suite_file.id, profile, variant, asked)
        excused = profile != "paper" or not references
        judged = judge_committed(replace(case, methods=asked), committed, excused=excused)
        numbers = [*judged, *map(_as_context, numbers)]
    elif not any(number.decides for number in numbers):
        numbers = [
            *(
                _unpublished_number(case, method, measured)
                for method in trials.methods
                if method in asked
            ),
            *numbers,
        ]
    curves = [] if whole or against_records else judge_curves(case, suite_file.reported)
    names, matrix = method_penalties(case)
    rows = () if excuse else suite_file.reported
    return SuiteVerdict(
        suite=suite_file.id,
        title=suite.title,
        profile=profile,
        variant=variant,
        rule=suite.rule,
        numbers=tuple(numbers),
        curves=tuple(curves),
        claims=tuple(judge_claims(case, suite_file.reported, whole)),
        models=tuple(model_rows(case, rows, curves)),
        cells=tuple(measured),
        standings=tuple(rank_methods(case)),
        penalty_methods=names,
        penalties=matrix,
        kendall=None if whole else order_agreement(case, suite_file.reported),
        missing=tuple(method for method in asked if method not in trials.methods),
        devices=tuple(sorted({row.device_model for row in trials.rows})),
        environments=tuple(
            sorted({part.env_id for row in trials.rows for part in row.parts or (row,)})
        ),
        notes=(
            *_collect_notes(suite_file, case, profile, excuse),
            *gaps,
            *_describe_reference_methods(trials, unjudged),
            *_describe_looks(looks),
        ),
        measured=bool(trials.rows),
    )


def _profile_excuses(suite_file: SuiteFile, suite: Suite, profile: str) -> tuple[str, str]:
    """Why a profile's numbers, and why its curves and claims, are not held against published ones;
    empty where they are."""
    if suite_file.changes:
        pinned = [
            path
            for path, value in suite_file.changes.items()
            if path != "cost" and value is not None
        ]
        return (f"{', '.join(pinned)} replaced, which is not the published protocol",) * 2
    if profile == "paper":
        return "", ""
    if suite.profiles[profile].part:
        return "", f"profile {profile} is only a part of the published protocol"
    return (f"profile {profile} is not the published protocol",) * 2


def comparison_context(
    suite_file: SuiteFile,
    trials: Trials,
    profile: str,
    variant: str,
    methods: Sequence[str] | None = None,
) -> ComparisonContext:
    """What every verdict on these trials shares. Raises UsageError for an unknown profile or
    variant."""
    suite = suite_file.resolve(profile, variant)
    shrunk = suite.profiles.get(profile)
    planned = len((shrunk and shrunk.seeds) or suite.seeds)
    asked = tuple(methods) if methods is not None else _requested_methods(suite, profile, trials)
    return ComparisonContext(
        suite,
        trials,
        asked,
        planned,
        _standing_notes(suite, variant),
        part=shrunk is not None and shrunk.part,
    )


def _requested_methods(suite: Suite, profile: str, trials: Trials) -> tuple[str, ...]:
    shrunk = suite.profiles.get(profile)
    planned = (shrunk and shrunk.methods) or tuple(suite.methods)
    return (*planned, *(method for method in trials.methods if method not in planned))


def _standing_notes(suite: Suite, variant: str) -> tuple[str, ...]:
    notes = []
    if variant != "as_published":
        notes.append(f"variant {variant}, not the published protocol")
    if suite.unknowns:
        notes.append(f"no source establishes {', '.join(suite.unknowns)}")
    return tuple(notes)


def _unpublished_number(
    case: ComparisonContext, method: str, measured: Sequence[Cell]
) -> NumberVerdict:
    """A measured method that has no published number: its last mean, so that the line says
    something."""
    own = [cell for cell in measured if cell.method == method]
    last = own[-1] if own else None
    return NumberVerdict(
        method,
        case.title(method),
        case.suite.rule.metric,
        last.labelled if last else None,
        Verdict(VerdictKind.NOT_COMPARABLE, "no published number", excused=True),
        "none",
        True,
        "",
        Estimate(last.mean, last.sd, last.n) if last else None,
        notes=case.notes,
    )


def _as_context(number: NumberVerdict) -> NumberVerdict:
    return replace(number, decides=False)


def _collect_notes(
    suite_file: SuiteFile, case: ComparisonContext, profile: str, excuse: str
) -> list[str]:
    suite, trials, notes = case.suite, case.trials, []
    if not trials.rows:
        notes.append("nothing was measured")
    if excuse and suite.rule.reference == "reported":
        notes.append(f"{excuse}: nothing was compared with published numbers")
    has_numbers = any(row.role in TARGETS for row in suite_file.reported) or bool(
        suite_file.changes
    )
    if not has_numbers and suite.rule.reference == "reported":
        judged = any(claim.better and claim.worse for claim in suite.claims.values())
        what = (
            "only its claims are judged"
            if judged
            else "and its claims are only cited, so nothing is judged"
        )
        if suite.claims and all(claim.source.startswith(OURS) for claim in suite.claims.values()):
            notes.append(
                "no paper has published numbers of this suite: it compares methods with each other"
            )
        else:
            notes.append(
                "the suite holds no published number (its NOTES say where one was looked for): "
                f"{what}"
            )
    notes.extend(part_notes(trials.rows))
    if trials.repeated:
        notes.append(
            f"{trials.repeated} trials were also run in other environments; each is counted once"
        )
    notes.extend(f"no source establishes {path}: {note}" for path, note in suite.unknowns.items())
    return notes


def _describe_looks(looks: Sequence[int]) -> list[str]:
    if not looks:
        return []
    planned = ", ".join(map(str, looks))
    return [
        f"group-sequential: looks planned at {planned} trials, each test at the level of the look "
        "it has reached"
    ]


def _describe_reference_methods(trials: Trials, unjudged: Collection[str]) -> list[str]:
    found = [method for method in trials.methods if method in unjudged]
    return (
        [f"not compared, for they are what others are compared with: {', '.join(found)}"]
        if found
        else []
    )
