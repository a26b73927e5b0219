"""What a worker says and what is kept: one JSON line per event, one record per finished trial.

The file is appended and flushed line by line; a torn last line (the process died while writing) is
ignored by the reader. Everything a verdict needs is in the record; everything a record needs is in
the cycle events.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)
from pydantic_core import from_json

from benchmark import files, text
from benchmark.spec.base import Spec
from benchmark.spec.identity import digest
from benchmark.spec.suite import Trial

Precision = Literal["fp32", "tf32", "tf32-conv", "bf16"]
Step = Literal["eager", "together", "captured"]
"""`eager`, `together` or `captured`; see `Numerics`."""
Words = Annotated[str, AfterValidator(text.clean_text)]
"""What a program says of itself: fit for terminals and logs wherever it is read."""
LINE = 16 * 2**20
"""Bytes of an event; longer lines are not events."""


class Environment(Spec):
    """What ran a trial. Its digest is the `env_id`: equal ids promise equal bits on CPU."""

    code: str
    """sha256 over the meaning of the source files that can move a number."""
    python: str
    torch: str
    libraries: dict[str, str] = {}
    """Versions of what computes beside torch, by distribution; cuDNN's as torch says it."""
    device: str
    """Kind of device: `cpu` or `cuda`."""
    device_model: str
    isa: str
    """Instruction set that torch uses on CPU, or the compute capability."""
    driver: str
    multiprocessors: int = 0
    """Of the GPU or of the slice of one; how kernels divide their work depends on it. 0 on CPU."""
    variables: dict[str, str] = {}
    """Environment variables that are set and can change arithmetic; see
    `benchmark.runs.variables`."""
    threads: int
    precision: Precision
    step: Step = "eager"
    """`eager`, `together` or `captured`; see `Numerics`."""
    memory_format: Literal["contiguous", "channels_last"]
    compiled: bool
    deterministic: bool
    image: str
    """Container image id, empty outside containers."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that were added later are omitted at their default, so that ids from before they
        existed stay valid."""
        plain: dict[str, Any] = dump(self)
        later = {"step": "eager", "libraries": {}, "multiprocessors": 0, "variables": {}}
        return {
            name: value
            for name, value in plain.items()
            if name not in later or value != later[name]
        }

    def __hash__(self) -> int:
        return hash(self.env_id)  # a dictionary has no hash of its own

    @property
    def env_id(self) -> str:
        """sha256 (hex) of the environment."""
        return digest(self.model_dump(mode="json"))


class CycleResult(Spec):
    """Outcome of one cycle: train, evaluate, acquire. Deterministic: no clock, no path, no host in
    it."""

    cycle: int
    labelled: int
    metrics: dict[str, float]
    """`accuracy` is the suite's own definition in percent; others are named `accuracy/<which>`,
    `loss/<which>`, ..."""
    per_class: tuple[float, ...]
    """Test accuracy in percent of each class."""
    training: str
    """Key of the training: equal keys mean the same weights, possibly trained once and reused."""
    weights: str
    """sha256 of the trained weights."""
    labelled_digest: str
    """sha256 of the ordered labelled index list that was trained on."""
    picks_digest: str | None
    """sha256 of the ordered picks; None after the last training."""
    acquired: tuple[int, ...] = ()
    """How many images of each class were bought."""
    diagnostics: dict[str, float | tuple[float, ...]] = {}


class _Timed(Spec):
    time: float
    """Seconds since the epoch, by the worker's clock: for display and tracking, never for
    results."""


class TrialStarted(_Timed):
    type: Literal["started"] = "started"
    trial_id: str
    env_id: str
    cycle: int
    epoch: int
    """Where it starts: 0, 0 or the point it was resumed at."""


class EpochFinished(_Timed):
    type: Literal["epoch"] = "epoch"
    cycle: int
    epoch: int
    epochs: int
    loss: float | None = None
    stage: str = ""
    """Empty inside a cycle; the name of a stage before the first one."""


class CycleFinished(_Timed):
    type: Literal["cycle"] = "cycle"
    result: CycleResult
    seconds: dict[str, float]
    """Wall seconds by part: train, evaluate, acquire."""
    reused: bool
    """The training was taken from an identical one."""
    peak_host_bytes: int = 0
    peak_device_bytes: int = 0
    cpu_seconds: float = 0.0
    """Processor time of the worker in these parts, over all its threads."""


class TrialStopped(_Timed):
    type: Literal["stopped"] = "stopped"
    reason: Literal["time_limit", "signal"]


class TrialFailed(_Timed):
    type: Literal["failed"] = "failed"
    kind: Words
    message: Words


class TrialFinished(_Timed):
    type: Literal["finished"] = "finished"
    digest: str
    """Of the record: what was measured."""
    file: str = ""
    """sha256 of record.json, every byte of it (empty in runs from before this was kept)."""


Event = Annotated[
    TrialStarted | EpochFinished | CycleFinished | TrialStopped | TrialFailed | TrialFinished,
    Field(discriminator="type"),
]
_EVENT: TypeAdapter[Any] = TypeAdapter(Event)


class DataUsed(Spec):
    """Which content a trial was made from."""

    name: str
    digest: str
    canonical: bool
    note: str
    """Why it is not the published data, in words; empty when it is."""
    features: dict[str, str] = {}
    """sha256 of every features file that was read, by its name in the protocol."""

    @model_serializer(mode="wrap")
    def _without_what_is_not(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A trial that read no features file is recorded as before these were named."""
        plain: dict[str, Any] = dump(self)
        if not self.features:
            plain.pop("features", None)
        return plain


class Reused(Spec):
    """A training that was taken over instead of done: who made it, and what it left."""

    trial_id: str
    env_id: str
    weights: str
    """sha256 of its weights, as in its maker's record."""


class Record(Spec):
    """The complete outcome of one trial in one environment."""

    format: Literal[1] = 1
    trial_id: str
    env_id: str
    trial: Trial
    environment: Environment
    data: DataUsed
    cycles: tuple[CycleResult, ...]
    seconds: float
    """Wall seconds of all cycles, reused trainings counted as what they cost here."""
    finished: float
    reused: Reused | None = None
    """Whose first training was taken over, where one was."""

    @model_serializer(mode="wrap")
    def _without_what_is_not(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A record that took nothing over is written as before this could be said."""
        plain: dict[str, Any] = dump(self)
        if self.reused is None:
            plain.pop("reused", None)
        return plain

    @property
    def digest(self) -> str:
        """sha256 over what was measured (all cycle results): equal digests mean bit-equal outcomes.

        The key of a training is left out: it names the environment, and outcomes are compared
        across environments.
        """
        return digest(
            [cycle.model_dump(mode="json", exclude={"training"}) for cycle in self.cycles]
        )

    @property
    def digests(self) -> tuple[str, str]:
        """The digest, and the one that events of earlier versions hold, which had the keys of
        trainings in it."""
        return self.digest, digest([cycle.model_dump(mode="json") for cycle in self.cycles])


def _do_nothing() -> None:
    pass


before_write: Callable[[], None] = _do_nothing
"""Called before anything is written to a run folder; the program that started the worker may set
it, and it may raise."""


def append_event(path: Path, event: Any, *, sync: bool = False) -> None:
    """Append one event as a line; with `sync` it is on disk when this returns. A torn line before
    it is closed first."""
    before_write()
    line = event.model_dump_json() + "\n"
    with files.open_appender(path) as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        if sync:
            os.fsync(file.fileno())


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[Any, int]]:
    """Events from a byte offset on, each with the offset after it. Lines that are not events (torn
    writes) are skipped; an unfinished last line is left for the next call. Nothing is read from
    what is no plain file of bounded size."""
    try:
        file = files.open_reader(path, files.EVENTS)
    except OSError:
        return
    with file:
        file.seek(offset)
        while line := file.readline(LINE):
            offset += len(line)
            if not line.endswith(b"\n"):
                if len(line) < LINE:
                    return
                while len(rest := file.readline(LINE)) == LINE and not rest.endswith(b"\n"):
                    offset += len(rest)
                offset += len(rest)
                continue
            try:
                yield _EVENT.validate_json(line, strict=True), offset
            except ValidationError:
                continue


def read_record(path: Path) -> Record:
    """A record file. Raises ValueError if it is not one, or its seal is broken; those of earlier
    versions have none."""
    return parse_record(files.read(path))


def parse_record(content: bytes) -> Record:
    """The record in these bytes; see `read_record`."""
    raw = from_json(content)
    seal = raw.pop("seal", None) if isinstance(raw, dict) else None
    record = (
        Record.model_validate_json(json.dumps(raw))
        if seal is not None
        else Record.model_validate_json(content)
    )
    if seal is not None and seal != digest(raw):
        raise ValueError("its seal is broken: the file was changed after it was written")
    return record


def write_record(path: Path, record: Record) -> None:
    """Write a record with the digest of its whole content in it."""
    content = record.model_dump(mode="json")
    write_json(path, content | {"seal": digest(content)})


def write_json(path: Path, value: Any) -> None:
    """Write a model or plain JSON atomically: readers see the old file or the new one, never a
    part."""
    content = (
        value.model_dump_json(indent=1)
        if isinstance(value, Spec)
        else json.dumps(value, indent=1, allow_nan=False)
    )
    write_bytes(path, (content + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically and durably."""
    before_write()
    files.write(path, content)
