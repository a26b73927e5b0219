"""Round trips and identities for values of every kind: what is written is what is read, what is
equal has one identity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.al.state.checkpoint import decode, encode
from benchmark.runs import events
from benchmark.runs.events import CycleResult, EpochFinished, Record, TrialFailed, TrialStopped
from benchmark.spec.identity import canonical_json, digest, trial_id
from benchmark.spec.protocol import Protocol
from benchmark.spec.published import ReportedResult, read_reported, write_reported
from benchmark.spec.suite import Component, Trial
from tests.helpers.runs import toy_record, toy_trial

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
ROWS = st.builds(
    lambda method, labelled, metric, mean, spread, n, source, error, note: ReportedResult(
        method=method,
        labelled=labelled,
        metric=metric,
        mean=mean,
        dispersion=spread and spread[0],
        dispersion_kind=spread and spread[1],
        n=n,
        source=source,
        reading_error=error,
        role="context",
        note=note,
    ),
    TEXT,
    st.none() | st.integers(0, 10**7),
    TEXT.filter(bool),
    FINITE,
    st.none() | st.tuples(st.floats(0, 1e9), st.sampled_from(["sd", "se", "ci95", "undefined"])),
    st.none() | st.integers(1, 99),
    TEXT.filter(bool),
    st.floats(0, 10),
    TEXT,
)
# The folder is shared by the examples of a test, which overwrite one file in it.
IN_A_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    """The same value with the keys of its tables in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


@IN_A_FOLDER
@given(rows=st.lists(ROWS, max_size=6))
def test_reported_tables_round_trip(tmp_path: Path, rows: list[ReportedResult]) -> None:
    path = tmp_path / "x.reported.csv"
    path.write_text(write_reported(rows), encoding="utf-8", newline="")
    assert list(read_reported(path)) == rows


@given(PLAIN)
def test_canonical_json_is_a_round_trip_and_one_text(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text


@given(PLAIN, st.data())
def test_the_order_of_keys_is_not_in_an_identity(value: Any, data: st.DataObject) -> None:
    assert digest(shuffled(value, data.draw)) == digest(value)


@settings(max_examples=40)
@given(st.data())
def test_a_trial_is_one_identity_however_it_was_written(data: st.DataObject) -> None:
    trial = toy_trial()
    raw = trial.model_dump(mode="json", exclude_defaults=data.draw(st.booleans()))
    again = Trial.model_validate_json(json.dumps(shuffled(raw, data.draw)))
    assert again == trial and trial_id(again) == trial_id(trial)


NUMBERS = {
    "seed": st.integers(0, 2**31),
    "training.epochs": st.integers(1, 999),
    "training.batch_size": st.integers(1, 999),
    "training.label_smoothing": st.sampled_from([0.0, 0.1, 0.5]),
    "training.drop_last": st.booleans(),
    "training.same_init": st.booleans(),
    "acquisition.candidates": st.none() | st.integers(2500, 9999),
    "training.optimizer.lr": st.floats(1e-6, 1),
    "evaluation.size": st.none() | st.integers(1, 99),
}


@settings(max_examples=60)
@given(st.fixed_dictionaries(NUMBERS), st.fixed_dictionaries(NUMBERS))
def test_two_protocols_have_one_identity_exactly_if_they_are_equal(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    made = []
    for values in (one, two):
        raw = toy_trial().protocol.model_dump(mode="json")
        for path, value in values.items():
            *way, last = path.split(".")
            place = raw
            for step in way:
                place = place[step]
            place[last] = value
        made.append(
            toy_trial().model_copy(
                update={"protocol": Protocol.model_validate_json(json.dumps(raw))}
            )
        )
    assert (trial_id(made[0]) == trial_id(made[1])) == (made[0].protocol == made[1].protocol)


@given(st.dictionaries(TEXT.filter(bool), PLAIN, max_size=3), st.integers(0, 99))
def test_parameters_and_seeds_are_in_the_identity(params: dict[str, Any], seed: int) -> None:
    plain = toy_trial()
    changed = plain.model_copy(
        update={"strategy": Component(name="random", params=params), "seed": seed}
    )
    assert (trial_id(changed) == trial_id(plain)) == (not params and seed == plain.seed)


EVENTS = st.one_of(
    st.builds(
        EpochFinished,
        time=FINITE,
        cycle=st.integers(0, 9),
        epoch=st.integers(0, 9),
        epochs=st.integers(0, 9),
        loss=st.none() | FINITE,
        stage=TEXT,
    ),
    st.builds(
        TrialFailed,
        time=FINITE,
        kind=TEXT,
        message=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    ),
    st.builds(TrialStopped, time=FINITE, reason=st.sampled_from(["time_limit", "signal"])),
)


@IN_A_FOLDER
@given(said=st.lists(EVENTS, min_size=1, max_size=6), torn=st.integers(0, 60))
def test_events_survive_a_torn_end(tmp_path: Path, said: list[Any], torn: int) -> None:
    path = tmp_path / "events.jsonl"
    path.unlink(missing_ok=True)
    for event in said:
        events.append_event(path, event)
    assert [event for event, _ in events.read_events(path)] == said
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - torn])
    left = [event for event, _ in events.read_events(path)]
    assert left == said[: len(left)]
    events.append_event(path, said[0])
    assert [event for event, _ in events.read_events(path)][-1] == said[0]


@given(
    FINITE,
    st.dictionaries(
        TEXT.filter(bool), FINITE | st.lists(FINITE, max_size=3).map(tuple), max_size=4
    ),
)
def test_records_survive_the_trip_to_the_last_bit(
    accuracy: float, diagnostics: dict[str, Any]
) -> None:
    record = toy_record(toy_trial())
    cycle = record.cycles[0].model_copy(
        update={"metrics": {"accuracy": accuracy}, "diagnostics": diagnostics}
    )
    record = record.model_copy(update={"cycles": (cycle, *record.cycles[1:])})
    again = Record.model_validate_json(record.model_dump_json())
    assert again == record and again.digest == record.digest
    assert CycleResult.model_validate_json(cycle.model_dump_json()) == cycle


@given(PLAIN, st.data())
def test_a_damaged_state_is_no_state(value: Any, data: st.DataObject) -> None:
    content = encode({"value": value, "tensor": torch.arange(3)})
    found = decode(content)
    assert found is not None and found["value"] == value
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    assert decode(bytes(flipped)) is None
    assert decode(content[:place]) is None
