"""Parts of one trial put together: target models that were trained apart, into the trial of all of
them.

Nothing of a model's training depends on the other models (`Protocol.members`): with the same method
and seed, what a profile with `part = true` measures of some models is what the whole would have
measured. Later cycles depend on what was bought, so a cycle is put together only where all its
parts were trained on the same ordered labelled set.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, pstdev

from benchmark.spec.identity import digest
from benchmark.spec.load import SuiteFile
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.trials import Trials, select_trials

MODEL = re.compile(r"accuracy/model(\d+)")


def part_profiles(suite_file: SuiteFile, profile: str, variant: str) -> tuple[str, ...]:
    """Profiles of the suite whose trials are parts of those of `profile`: fewer models, nothing
    else left to differ."""
    whole = set(suite_file.resolve(profile, variant).protocol.trained())
    shrunk = suite_file.suite.profiles.get(profile)
    if len(whole) < 2 or (profile != "paper" and not (shrunk and shrunk.part)):
        return ()
    return tuple(
        name
        for name, item in suite_file.suite.profiles.items()
        if item.part
        and name != profile
        and set(suite_file.resolve(name, variant).protocol.trained()) < whole
    )


def with_parts(
    suite_file: SuiteFile, measurements: Iterable[Measurement], profile: str, variant: str
) -> list[Measurement]:
    """The measurements, and every trial of a profile that was not run as a whole and whose parts
    are all here.

    Repeating it changes nothing. Where a model stands in several parts, the part with the fewest
    models is taken.
    """
    rows = list(measurements)
    names = part_profiles(suite_file, profile, variant)
    if not names:
        return rows
    here = {
        (row.method, row.seed)
        for row in rows
        if (row.suite, row.profile, row.variant) == (suite_file.id, profile, variant)
    }
    protocol = suite_file.resolve(profile, variant).protocol
    parts = [select_trials(rows, suite_file.id, name, variant) for name in names]
    trials = sorted({(row.method, row.seed) for part in parts for row in part.rows} - here)
    for method, seed in trials:
        for cycle in range(protocol.acquisition.cycles):
            found = _parts_of(parts, method, seed, cycle)
            if set(found) < set(protocol.trained()) or not _parts_fit(found.values()):
                break
            rows.append(
                _combine_cycle({place: found[place] for place in protocol.trained()}, profile)
            )
    return rows


def shown_profiles(suite_file: SuiteFile, rows: Sequence[Measurement]) -> list[tuple[str, str]]:
    """Profiles and variants that have trials; what was put together stands for its parts."""
    shown = dict.fromkeys((row.profile, row.variant) for row in rows)
    for variant in {variant for _, variant in shown}:
        for profile, item in suite_file.suite.profiles.items():
            whole = with_parts(suite_file, rows, profile, variant) if item.part else []
            if any(row.parts for row in whole):
                for name in part_profiles(suite_file, profile, variant):
                    shown.pop((name, variant), None)
                shown[profile, variant] = None
    return list(shown)


def _parts_of(
    parts: Sequence[Trials], method: str, seed: int, cycle: int
) -> dict[int, Measurement]:
    """The measurement that each model of one cycle of a trial is taken from, by the model's
    place."""
    found: dict[int, Measurement] = {}
    rows = [row for part in parts if (row := part.trial(method, seed).get(cycle)) is not None]
    for row in sorted(rows, key=lambda one: (len(_model_places(one)), one.profile)):
        for place in _model_places(row):
            found.setdefault(place, row)
    return found


def _model_places(row: Measurement) -> list[int]:
    return [int(named[1]) for name in row.metrics if (named := MODEL.fullmatch(name))]


def _parts_fit(rows: Iterable[Measurement]) -> bool:
    """Whether parts were trained on the same images of the same data."""
    return (
        len({(row.labelled, row.labelled_digest, row.canonical, row.data_note) for row in rows})
        == 1
    )


def _combine_cycle(found: dict[int, Measurement], profile: str) -> Measurement:
    """One cycle of the whole trial: its metrics by the rules of a committee (mean and population
    spread over models)."""
    one, parts = next(iter(found.values())), sorted(set(found.values()), key=lambda row: row.key)
    models = {
        f"accuracy/model{place}": row.metrics[f"accuracy/model{place}"]
        for place, row in found.items()
    }
    metrics = {"accuracy": fmean(models.values()), "spread/models": pstdev(models.values())}
    losses = [row.metrics.get("loss/last") for row in found.values()]
    if None not in losses:
        metrics["loss/last"] = fmean(loss for loss in losses if loss is not None)
    environments = sorted({row.env_id for row in parts})
    return Measurement(
        suite=one.suite,
        method=one.method,
        profile=profile,
        variant=one.variant,
        seed=one.seed,
        cycle=one.cycle,
        labelled=one.labelled,
        metrics=metrics | models,
        trial_id=digest([row.trial_id for row in parts]),
        env_id=environments[0] if len(environments) == 1 else digest(environments),
        device_model=_describe_devices(found),
        canonical=one.canonical,
        data_note=one.data_note,
        record_digest=digest([row.record_digest for row in parts]),
        labelled_digest=one.labelled_digest,
        parts=tuple(parts),
    )


def _describe_devices(found: dict[int, Measurement]) -> str:
    """The device, or which model ran on which: trials are alike where every model ran on the same
    one."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in found.items():
        places[row.device_model].append(place)
    if len(places) == 1:
        return next(iter(places))
    return "; ".join(
        f"{device} (models {', '.join(map(str, own))})" for device, own in sorted(places.items())
    )


def gap_notes(
    suite_file: SuiteFile, measurements: Iterable[Measurement], profile: str, variant: str
) -> tuple[str, ...]:
    """Trials that some parts are here of, but not all, with the models that are missing at the
    first cycle."""
    rows, names = list(measurements), part_profiles(suite_file, profile, variant)
    if not names:
        return ()
    parts = [select_trials(rows, suite_file.id, name, variant) for name in names]
    here = {
        (row.method, row.seed)
        for row in rows
        if (row.suite, row.profile, row.variant) == (suite_file.id, profile, variant)
    }
    trained, gaps = suite_file.resolve(profile, variant).protocol.trained(), defaultdict(list)
    for method, seed in sorted(
        {(row.method, row.seed) for part in parts for row in part.rows} - here
    ):
        found = _parts_of(parts, method, seed, 0)
        lacking = tuple(place for place in trained if place not in found)
        gaps[method, lacking].append(seed)
    return tuple(
        f"not put together: {method}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}: "
        + (
            f"no part has models {', '.join(map(str, lacking))}"
            if lacking
            else "its parts used different images or data"
        )
        for (method, lacking), seeds in gaps.items()
    )


def part_notes(rows: Iterable[Measurement]) -> tuple[str, ...]:
    """What is to be said of trials that were put together: how many, from what, and from how many
    environments."""
    trials: dict[tuple[str, int], list[Measurement]] = defaultdict(list)
    for row in rows:
        trials[row.method, row.seed].extend(row.parts)
    whole = {trial: parts for trial, parts in trials.items() if parts}
    if not whole:
        return ()
    methods = ", ".join(
        f"{method} (seeds {', '.join(str(seed) for name, seed in whole if name == method)})"
        for method in dict.fromkeys(method for method, _ in whole)
    )
    parts = [part for found in whole.values() for part in found]
    environments = {part.env_id for part in parts}
    devices = sorted({part.device_model for part in parts})
    text = (
        "put together from trials of single target models, which do not depend on each other: "
        f"{methods}, from profiles "
        f"{', '.join(dict.fromkeys(part.profile for part in parts))}"
    )
    if len(environments) > 1:
        text += (
            f"; the parts were run in {len(environments)} environments, on {' and '.join(devices)}"
        )
    return (text,)
