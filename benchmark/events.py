"""What a worker says and what is kept: one JSON line per event, one record per finished trial.

The file is appended and flushed line by line; a torn last line (the process died while writing) is ignored by the
reader. Everything a verdict needs is in the record; everything a record needs is in the cycle events.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, TypeAdapter, ValidationError, model_serializer

from benchmark.spec.identity import digest
from benchmark.spec.models import Spec, Trial

Precision = Literal["fp32", "tf32", "tf32-conv", "bf16"]
Step = Literal["eager", "together", "captured"]
"""How training steps are made; see `Numerics`."""


class Environment(Spec):
    """What ran a trial. Its digest is the `env_id`: equal ids promise equal bits on CPU."""

    code: str
    """sha256 over the source files that can move a number."""
    python: str
    torch: str
    device: str
    """Kind of device: `cpu` or `cuda`."""
    device_model: str
    isa: str
    """Instruction set that torch uses on CPU, or the compute capability."""
    driver: str
    threads: int
    precision: Precision
    step: Step = "eager"
    """How training steps are made; see `Numerics`."""
    memory_format: Literal["contiguous", "channels_last"]
    compiled: bool
    deterministic: bool
    image: str
    """Container image id, empty outside containers."""

    @model_serializer(mode="wrap")
    def _without_the_plain_step(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Left out where it is the plain way: records and ids are as before there was another."""
        plain: dict[str, Any] = dump(self)
        if self.step == "eager":
            plain.pop("step", None)
        return plain

    @property
    def env_id(self) -> str:
        """sha256 (hex) of the environment."""
        return digest(self.model_dump(mode="json"))


class CycleResult(Spec):
    """Outcome of one cycle: train, evaluate, acquire. Deterministic: no clock, no path, no host in it."""

    cycle: int
    labelled: int
    metrics: dict[str, float]
    """`accuracy` is the suite's own definition in percent; others are named `accuracy/<which>`, `loss/<which>`, ..."""
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
    """Seconds since the epoch, by the worker's clock: for display and tracking, never for results."""


class Started(_Timed):
    type: Literal["started"] = "started"
    trial_id: str
    env_id: str
    cycle: int
    epoch: int
    """Where it starts: 0, 0 or the point it was resumed at."""


class EpochDone(_Timed):
    type: Literal["epoch"] = "epoch"
    cycle: int
    epoch: int
    epochs: int
    loss: float | None = None
    stage: str = ""
    """Empty inside a cycle; the name of a stage before the first one."""


class CycleDone(_Timed):
    type: Literal["cycle"] = "cycle"
    result: CycleResult
    seconds: dict[str, float]
    """Wall seconds by part: train, evaluate, acquire."""
    reused: bool
    """The training was taken from an identical one."""
    peak_host_bytes: int = 0
    peak_device_bytes: int = 0


class Stopped(_Timed):
    type: Literal["stopped"] = "stopped"
    reason: Literal["time_limit", "signal"]


class Failed(_Timed):
    type: Literal["failed"] = "failed"
    kind: str
    message: str


class Finished(_Timed):
    type: Literal["finished"] = "finished"
    digest: str
    """Of the record: what was measured."""
    file: str = ""
    """sha256 of record.json, every byte of it (empty in runs from before this was kept)."""


Event = Annotated[Started | EpochDone | CycleDone | Stopped | Failed | Finished, Field(discriminator="type")]
_EVENT: TypeAdapter[Any] = TypeAdapter(Event)


class DataUsed(Spec):
    """Which content a trial was made from."""

    name: str
    digest: str
    canonical: bool
    note: str
    """Why it is not the published data, in words; empty when it is."""


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

    @property
    def digest(self) -> str:
        """sha256 over what was measured (all cycle results): equal digests mean bit-equal outcomes.

        The key of a training is left out: it names the environment, and outcomes are compared across environments.
        """
        return digest([cycle.model_dump(mode="json", exclude={"training"}) for cycle in self.cycles])

    @property
    def digests(self) -> tuple[str, str]:
        """The digest, and the one that events of earlier versions tell of, which had the keys of trainings in it."""
        return self.digest, digest([cycle.model_dump(mode="json") for cycle in self.cycles])


def append(path: Path, event: Any, *, sync: bool = False) -> None:
    """Append one event as a line; with `sync` it is on disk when this returns. A torn line before it is closed first."""
    line = event.model_dump_json() + "\n"
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        if sync:
            os.fsync(file.fileno())


def read(path: Path, offset: int = 0) -> Iterator[tuple[Any, int]]:
    """Events from a byte offset on, each with the offset after it. Lines that are not events (torn writes) are skipped;
    an unfinished last line is left for the next call."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                yield _EVENT.validate_json(line, strict=True), offset
            except ValidationError:
                continue


def read_record(path: Path) -> Record:
    """A record file. Raises ValueError if it is not one."""
    return Record.model_validate_json(path.read_bytes())


def write_json(path: Path, value: Any) -> None:
    """Write a model or plain JSON atomically: readers see the old file or the new one, never a part."""
    text = value.model_dump_json(indent=1) if isinstance(value, Spec) else json.dumps(value, indent=1, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically and durably."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
