"""A run folder for a tracker: its events folded into parameters, metrics, tags and a state. Knows
no tracker."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmark import files
from benchmark.errors import StoreError
from benchmark.runs import events, store
from benchmark.runs.events import (
    CycleFinished,
    EpochFinished,
    Record,
    TrialFailed,
    TrialFinished,
    TrialStarted,
    TrialStopped,
)
from benchmark.runs.lock import lock_owner
from benchmark.spec.base import flatten_leaves
from benchmark.spec.identity import digest, trial_id
from benchmark.spec.suite import Trial

RunStateName = Literal["running", "finished", "stopped", "failed", "interrupted"]
HEAD = 256
"""Bytes from the beginning of a file by which a new one is distinguished from an old one that has
grown."""
ARTIFACTS = ("trial.json", "record.json", "indices.npz", "events.jsonl")

HOSTS = ("trial.json",)
"""Those of them that the host writes, wherever the worker does."""

MAX_TEXT = 6000
"""Characters of a parameter that MLflow keeps."""
MAX_TAG = 5000
MAX_KEY = 250
FINAL, AREA, GAIN = "final_accuracy", "area", "gain"
"""Metrics of what came out of a trial or, as means, of a method; the gain over its control is a
method's only."""
SOURCE_TYPE = "JOB"
"""The one kind of source whose name MLflow's pages show whole; of others only what follows the last
slash."""
CUT = "\n\nCut here: the whole table is among the artifacts."


class SyncedRun(NamedTuple):
    """What became of one run folder: where its trial stands (None: not begun), and whether anything
    was written."""

    state: RunStateName | None
    wrote: bool


@dataclass(frozen=True)
class Point:
    """One metric value: `step` is the number of labelled images, `time` milliseconds since the
    epoch by the events."""

    key: str
    value: float
    time: int
    step: int


@dataclass
class RunHistory:
    """The events of one run folder, read as they come. Raises StoreError if the folder has no valid
    trial.json."""

    folder: Path
    trial: Trial = field(init=False)
    trial_id: str = field(init=False)
    env_id: str = ""
    """As the worker says; empty before it has begun."""
    offset: int = 0
    started: int = 0
    """Milliseconds since the epoch of the first event; 0 before it."""
    ended: int = 0
    """Milliseconds since the epoch of the newest event."""
    resumed: int = 0
    """How often the trial was taken up again."""
    version: int = 0
    """Counts the events that a tracker shows, and every new beginning."""
    cycles: list[CycleFinished] = field(default_factory=list)
    """One event per cycle, in order: the first one, with the outcome of the last one."""
    last: Any = None
    _head: bytes = b""

    def __post_init__(self) -> None:
        path = self.folder / "trial.json"
        try:
            self.trial = Trial.model_validate_json(files.read(path))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"is not a trial: {str(error).splitlines()[0]}",
                where=str(path),
                remedy="remove the folder, or run again",
            ) from error
        self.trial_id = trial_id(self.trial)

    @property
    def path(self) -> Path:
        """The file that the history is read from."""
        return store.output_folder(self.folder) / "events.jsonl"

    def update(self) -> None:
        """Read what was appended; begin again if the file was (`--fresh`)."""
        if not self._continues():
            self.version += 1
            self.env_id, self.offset, self.started, self.ended, self.resumed = "", 0, 0, 0, 0
            self.cycles, self.last, self._head = [], None, b""
        for event, offset in events.read_events(self.path, self.offset):
            self.offset = offset
            self._fold(event)
        if self.offset and len(self._head) < HEAD:
            with files.open_reader(self.path, files.EVENTS) as file:
                self._head = file.read(min(HEAD, self.offset))

    def _continues(self) -> bool:
        try:
            with files.open_reader(self.path, files.EVENTS) as file:
                size = os.fstat(file.fileno()).st_size
                return size == self.offset or (
                    size > self.offset and file.read(len(self._head)) == self._head
                )
        except OSError:
            return self.offset == 0

    def _fold(self, event: Any) -> None:
        self.last, self.ended = event, round(event.time * 1000)
        self.started = self.started or self.ended
        self.version += not isinstance(event, EpochFinished)
        if isinstance(event, TrialStarted):
            self.resumed += bool(self.env_id)
            self.env_id = event.env_id
        elif isinstance(event, CycleFinished) and event.result.cycle <= len(self.cycles):
            place = event.result.cycle
            if place == len(self.cycles):
                self.cycles.append(event)
            elif self.cycles[place].result != event.result:
                self.cycles[place:] = [event]

    def prefix(self, count: int) -> str:
        """Digest of the first `count` events: equal when what was synced of them still stands."""
        return digest(
            [
                cycle.model_dump(mode="json", exclude={"cpu_seconds"})
                for cycle in self.cycles[:count]
            ]
        )[:16]

    def state(self, *, live: bool = False) -> RunStateName:
        """Where the trial stands. `live`: somebody is known to work on it; otherwise the lock says
        whether."""
        if isinstance(self.last, TrialFinished):
            return "finished"
        if isinstance(self.last, TrialFailed):
            return "failed"
        if isinstance(self.last, TrialStopped):
            return "stopped"
        return "running" if live or lock_owner(self.folder) else "interrupted"

    def record(self) -> tuple[Record | None, str]:
        """The record, or why there is none to be believed."""
        try:
            return store.check_record(self.folder), ""
        except FileNotFoundError:
            return None, ""
        except ValueError as error:
            return None, f"refused: {error}"


def cell_key(method: str, profile: str, variant: str) -> str:
    """Key of all trials of one method in one profile and variant of a suite."""
    return f"{method}|{profile}|{variant}"


def cell_name(method: str, profile: str, variant: str) -> str:
    """The same for people; what is usual goes without saying."""
    unusual = [profile] * (profile != "paper") + [variant] * (variant != "as_published")
    return " · ".join([method, *unusual])


def trial_params(trial: Trial) -> dict[str, str]:
    """The flattened protocol with strategy, objective and seed: what never changes for a trial."""
    asked = {
        "method": trial.method_name,
        "model": model_name(trial),
        "profile": trial.profile,
        "variant": trial.variant,
        "seed": trial.seed,
        "strategy": trial.strategy.model_dump(mode="json"),
        "objective": trial.objective.model_dump(mode="json"),
        "protocol": trial.protocol.model_dump(mode="json"),
    }
    return {
        key_name(path): _format_value(value)
        for path, value in flatten_leaves(asked)
        if value is not None
    }


def model_name(trial: Trial) -> str:
    """Names of the trained networks, each once: `resnet18`."""
    return ", ".join(dict.fromkeys(model.name for model in trial.protocol.models))


def run_command(trial: Trial) -> str:
    """The command line that runs a trial of a suite; a plug-in or a replaced value is not in it."""
    words = ["albench", "run", f"{trial.suite}/{trial.method_name}@{trial.seed}"]
    words += ["--profile", trial.profile] if trial.profile != "paper" else []
    words += ["--variant", trial.variant] if trial.variant != "as_published" else []
    return shlex.join(words)


def trial_outcome(history: RunHistory) -> list[Point]:
    """What came out of a finished trial: the accuracy after its last cycle, and the normalised area
    under its curve over the labelled images (trapezoids, divided by their range); in percent."""
    last = history.cycles[-1]
    curve = [
        (done.result.labelled, done.result.metrics.get("accuracy", math.nan))
        for done in history.cycles
    ]
    found = {FINAL: curve[-1][1]}
    if len(curve) > 1 and curve[-1][0] > curve[0][0]:
        steps = pairwise(curve)
        whole = sum((right[0] - left[0]) * (left[1] + right[1]) / 2 for left, right in steps)
        found[AREA] = whole / (curve[-1][0] - curve[0][0])
    time = round(last.time * 1000)
    return [
        Point(name, value, time, last.result.labelled)
        for name, value in found.items()
        if math.isfinite(value)
    ]


def cycle_speed(trial: Trial, done: CycleFinished) -> dict[str, float]:
    """Labelled images trained on per second of a cycle's training, and what the process used of the
    machine. Unlabelled images are not counted; a training that was taken over has no speed."""
    found: dict[str, float] = {}
    spent, whole = done.seconds.get("train", 0.0), sum(done.seconds.values())
    if spent > 0 and not done.reused:
        images = done.result.labelled * trial.protocol.training.epochs * len(trial.protocol.models)
        found["train/images_per_second"] = images / spent
    if done.cpu_seconds and whole > 0:
        found["system/cpu_utilization_percentage"] = 100 * done.cpu_seconds / whole
    memory = {"host": done.peak_host_bytes, "device": done.peak_device_bytes}
    return found | {
        f"system/{name}_memory_peak_megabytes": size / 2**20
        for name, size in memory.items()
        if size
    }


def cycle_points(done: CycleFinished, trial: Trial | None = None) -> tuple[list[Point], list[str]]:
    """Metrics of a cycle (with those of its speed where the trial is known), and the names of those
    that are not finite and therefore left out."""
    found: dict[str, float] = {f"test/{name}": value for name, value in done.result.metrics.items()}
    found |= {f"{part}/seconds": value for part, value in done.seconds.items()}
    found |= {"pool/labelled": done.result.labelled, "train/reused": float(done.reused)}
    found |= {
        f"diagnostics/{k}": v
        for k, v in done.result.diagnostics.items()
        if isinstance(v, int | float)
    }
    memory = {
        "memory/host_bytes": done.peak_host_bytes,
        "memory/device_bytes": done.peak_device_bytes,
    }
    found |= {name: value for name, value in memory.items() if value}
    found |= cycle_speed(trial, done) if trial is not None else {}
    time = round(done.time * 1000)
    finite = [
        Point(key_name(k), float(v), time, done.result.labelled)
        for k, v in found.items()
        if math.isfinite(v)
    ]
    return finite, sorted(
        key_name(name) for name, value in found.items() if not math.isfinite(value)
    )


def run_tags(history: RunHistory, state: RunStateName) -> dict[str, str]:
    """Everything about a run that may change or is searched for; long values are cut."""
    trial, last = history.trial, history.last
    found = {
        "state": state,
        "suite": trial.suite,
        "method": trial.method_name,
        "profile": trial.profile,
        "variant": trial.variant,
        "seed": str(trial.seed),
        "trial_id": history.trial_id,
        "env_id": history.env_id,
        "resumed": str(history.resumed),
        "mirrored_bytes": str(history.offset),
        "failure_kind": last.kind if isinstance(last, TrialFailed) else "",
        "failure": last.message if isinstance(last, TrialFailed) else "",
        "stopped": last.reason if isinstance(last, TrialStopped) else "",
    }
    missing = {name for done in history.cycles for name in cycle_points(done)[1]}
    found |= {"not_finite": ", ".join(sorted(missing))}
    plain = {"method": trial.method_name, "model": model_name(trial)[:MAX_TAG]}
    source = {"mlflow.source.name": run_command(trial)[:MAX_TAG], "mlflow.source.type": SOURCE_TYPE}
    return {f"albench.{name}": value[:MAX_TAG] for name, value in found.items()} | plain | source


def record_tags(record: Record | None, problem: str) -> dict[str, str]:
    """What only the record holds: the environment in words, the data, the outcome's digest."""
    if record is None:
        return {"albench.record": problem[:MAX_TAG]} if problem else {}
    env, data = record.environment, record.data
    found = {
        "record": "complete",
        "digest": record.digest,
        "code": env.code,
        "torch": env.torch,
        "device": env.device,
        "device_model": env.device_model,
        "precision": env.precision,
        "image": env.image,
        "determinism": "requested" if env.deterministic else "off",
        "data": data.name,
        "data_digest": data.digest,
        "data_canonical": str(data.canonical).lower(),
        "data_note": data.note,
    }
    return {f"albench.{name}": value[:MAX_TAG] for name, value in found.items()}


def key_name(text: str) -> str:
    """A name that MLflow accepts: letters, digits, `_-. /:`."""
    return re.sub(r"[^\w\-. /:]", "_", text, flags=re.ASCII)[:MAX_KEY]


def _format_value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


# ----------------------------------------------------------------------------------------- verdicts


def verdict_tags(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """One tag for all verdicts (`reproduced`, or `5 reproduced, 1 below`) and one for each size of
    the labelled set."""
    total = _count_verdicts([str(row["verdict"]) for row in rows if row.get("verdict")])
    sizes: dict[str, list[str]] = {}
    for row in rows:
        if row.get("verdict") and row.get("labelled") is not None:
            sizes.setdefault(f"albench.verdict.{row['labelled']}", []).append(str(row["verdict"]))
    each = {name: _count_verdicts(found)[:MAX_TAG] for name, found in sizes.items()}
    return {"albench.verdict": total[:MAX_TAG], "verdict": total[:MAX_TAG]} | {
        key_name(name): value for name, value in each.items()
    }


def _count_verdicts(verdicts: Sequence[str]) -> str:
    kinds = Counter(verdicts)
    return (
        ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        if len(kinds) > 1
        else "".join(kinds)
    )


def verdict_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The rows as MLflow shows tables: columns and data."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return {"columns": columns, "data": [[row.get(name) for name in columns] for row in rows]}


def verdict_note(rows: Sequence[Mapping[str, Any]], lead: str = "") -> str:
    """A sentence and the rows as a Markdown table, for the description of a run; what is too long
    is cut, and says so."""
    table = verdict_table(rows)
    lines = [table["columns"], ["---"] * len(table["columns"]), *table["data"]]
    cells = [[_format_cell(value) for value in line] for line in lines]
    text = "\n".join(
        [*([lead, ""] if lead else []), *(f"| {' | '.join(line)} |" for line in cells)]
    )
    if len(text) <= MAX_TAG:
        return text
    return text[: text.rfind("\n", 0, MAX_TAG - len(CUT))] + CUT


def _format_cell(value: Any) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "/").split())
