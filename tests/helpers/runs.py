"""Small suites, trials, records and run folders for tests of the host side."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from benchmark.runs import events
from benchmark.runs.events import (
    CycleFinished,
    CycleResult,
    DataUsed,
    Environment,
    Record,
    TrialFailed,
    TrialFinished,
    TrialStarted,
)
from benchmark.runs.store import Store, output_folder
from benchmark.spec.identity import trial_id
from benchmark.spec.load import SuiteFile, load_suite
from benchmark.spec.protocol import Protocol
from benchmark.spec.suite import Component, Trial

ENVIRONMENT = Environment(
    code="c" * 64,
    python="3.11.0",
    torch="2.9.0",
    device="cpu",
    device_model="Toy",
    isa="AVX2/AVX2",
    driver="",
    threads=1,
    precision="fp32",
    memory_format="channels_last",
    compiled=False,
    deterministic=True,
    image="",
)

SUITE = """
format = 1
title = "Toy"
headline = "none"
seeds = [0, 1]
[paper]
key = "toy"
title = "None"
venue = "none"
year = 2026
[cost]
forward_macs = 1_000
[protocol]
seed = 0
[protocol.data]
name = "digits"
train_size = 100
test_size = 50
classes = 10
split = { rule = "official" }
[protocol.views]
train = []
test = []
pool = "test"
[[protocol.models]]
name = "small_cnn"
[protocol.acquisition]
initial = { rule = "uniform", size = 10 }
budget = 10
cycles = 3
candidates = 40
[protocol.training]
epochs = 4
batch_size = 8
shuffle = true
drop_last = false
optimizer = { name = "sgd", lr = 0.1, momentum = 0.9, weight_decay = 5e-4, nesterov = false }
schedule = { kind = "multistep", milestones = [3], gamma = 0.1 }
start = "fresh"
[protocol.evaluation]
epoch = "last"
batch_size = 50
[methods.random]
title = "Random"
strategy = { name = "random" }
[methods.entropy]
title = "Entropy"
strategy = { name = "entropy" }
cost = { scoring = 1 }
[methods."random+cod"]
title = "Random, COD"
strategy = { name = "random" }
objective = { name = "cod", params = { weight = 0.02 } }
cost = { unlabelled = true, teacher = true }
[profiles.smoke]
note = "two cycles, one seed, one method"
seeds = [7]
methods = ["random"]
[profiles.smoke.set]
"protocol.acquisition.cycles" = 2
[rule]
version = 1
reference = "records"
margin = 3.0
margin_reason = "toy"
alpha = 0.05
min_trials = 2
[deviations.Q1]
topic = "epochs"
paper = "four"
code = "five"
pinned = "as released"
effect = "none"
source = "nowhere"
switches = [{ path = "protocol.training.epochs", as_published = 4, corrected = 5 }]
[unknowns]
"protocol.training.batch_size" = "proposed"
[sources]
"seeds" = "ours"
"protocol" = "ours"
"protocol.training.epochs" = "a paper, page 3"
"methods" = "ours"
"rule" = "ours"
"""


def write_suite(root: Path, name: str = "toy/one", text: str = SUITE) -> Path:
    """A suites folder with one suite; the folder is returned."""
    path = root / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return root


def toy_suite(root: Path) -> SuiteFile:
    """The toy suite, loaded."""
    write_suite(root)
    return load_suite(root / "toy" / "one.toml", root)


def protocol(**changes: Any) -> Protocol:
    """A CIFAR-10-like protocol; keyword arguments replace top-level parts or, as `part__field`,
    single fields."""
    raw: dict[str, Any] = {
        "seed": 0,
        "data": {
            "name": "cifar10",
            "train_size": 50000,
            "test_size": 10000,
            "classes": 10,
            "split": {"rule": "official"},
        },
        "views": {"train": [], "test": [], "pool": "test"},
        "models": [{"name": "small_cnn"}],
        "acquisition": {
            "initial": {"rule": "uniform", "size": 5000},
            "budget": 2500,
            "cycles": 7,
            "candidates": 25000,
        },
        "training": {
            "epochs": 200,
            "batch_size": 128,
            "shuffle": True,
            "drop_last": False,
            "optimizer": {
                "name": "sgd",
                "lr": 0.1,
                "momentum": 0.9,
                "weight_decay": 5e-4,
                "nesterov": False,
            },
            "schedule": {"kind": "multistep", "milestones": [160], "gamma": 0.1},
            "start": "warm",
        },
        "evaluation": {"epoch": "last", "batch_size": 250},
    }
    for name, value in changes.items():
        part, _, field = name.partition("__")
        if field == "initial":
            raw["acquisition"]["initial"]["size"] = value
        elif field:
            raw[part][field] = value
        else:
            raw[part] = value
    return Protocol.model_validate_json(json.dumps(raw))


def toy_trial(seed: int = 0, method: str = "random", **changes: Any) -> Trial:
    """A trial of three cycles."""
    changes = {"acquisition__cycles": 3, "data__name": "digits"} | changes
    return Trial(
        suite="toy/one",
        method_name=method,
        profile="paper",
        variant="as_published",
        seed=seed,
        protocol=protocol(**changes),
        strategy=Component(name=method),
        objective=Component(name="supervised"),
        data_digest="d" * 64,
    )


def result(trial: Trial, cycle: int, accuracy: float = 50.0) -> CycleResult:
    """What a cycle might give."""
    return CycleResult(
        cycle=cycle,
        labelled=trial.protocol.acquisition.labelled()[cycle],
        metrics={"accuracy": accuracy + cycle},
        per_class=(accuracy,),
        training="t",
        weights="w",
        labelled_digest=f"{trial.seed}-{cycle}",
        picks_digest=None,
    )


def toy_record(
    trial: Trial,
    env: Environment = ENVIRONMENT,
    seconds: float = 10.0,
    accuracy: float = 50.0,
    data: str = "d" * 64,
) -> Record:
    """A complete record."""
    return Record(
        trial_id=trial_id(trial),
        env_id=env.env_id,
        trial=trial,
        environment=env,
        data=DataUsed(name="digits", digest=data, canonical=True, note=""),
        cycles=tuple(
            result(trial, cycle, accuracy) for cycle in range(trial.protocol.acquisition.cycles)
        ),
        seconds=seconds,
        finished=1.0,
    )


def finish(store: Store, trial: Trial, env: Environment = ENVIRONMENT, **options: Any) -> Path:
    """Put a finished run into the store, as a worker leaves it."""
    folder = store.create(trial, env)
    record = toy_record(trial, env, **options)
    say_started(folder, trial, env)
    out = output_folder(folder)
    for cycle in record.cycles:
        events.append_event(
            out / "events.jsonl",
            CycleFinished(time=2.0, result=cycle, seconds={"train": 1.0}, reused=False),
        )
    events.write_record(out / "record.json", record)
    file = hashlib.sha256((out / "record.json").read_bytes()).hexdigest()
    events.append_event(
        out / "events.jsonl", TrialFinished(time=3.0, digest=record.digest, file=file)
    )
    return folder


def interrupt(store: Store, trial: Trial, env: Environment = ENVIRONMENT, cycles: int = 1) -> Path:
    """Put a run into the store that was stopped after some cycles."""
    folder = store.create(trial, env)
    say_started(folder, trial, env)
    for cycle in range(cycles):
        done = CycleFinished(
            time=2.0, result=result(trial, cycle), seconds={"train": 1.0}, reused=False
        )
        events.append_event(output_folder(folder) / "events.jsonl", done)
    (output_folder(folder) / "state").mkdir()
    (output_folder(folder) / "state" / "cycle.state").write_bytes(b"toy")
    return folder


def fail(store: Store, trial: Trial, env: Environment = ENVIRONMENT, message: str = "boom") -> Path:
    """Put a failed run into the store."""
    folder = store.create(trial, env)
    say_started(folder, trial, env)
    events.append_event(
        output_folder(folder) / "events.jsonl",
        TrialFailed(time=2.0, kind="RuntimeError", message=message),
    )
    return folder


def say_started(folder: Path, trial: Trial, env: Environment = ENVIRONMENT) -> None:
    """The first event of a worker."""
    started = TrialStarted(
        time=time.time(), trial_id=trial_id(trial), env_id=env.env_id, cycle=0, epoch=0
    )
    events.append_event(output_folder(folder) / "events.jsonl", started)
