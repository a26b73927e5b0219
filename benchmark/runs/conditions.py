"""Under which conditions committed trials were run, kept beside their measurements: environments
without their run folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from benchmark import files
from benchmark.errors import StoreError
from benchmark.runs.events import Record, write_bytes
from benchmark.spec.base import Spec

FILE = "conditions.json"
"""Name of the committed file."""


class Conditions(Spec):
    """What the trials of one profile and variant have in common that were run in one
    environment."""

    profile: str
    variant: str
    env_id: str
    device: str
    device_model: str
    deterministic: bool
    precision: str
    step: str
    isa: str
    torch: str
    code: str
    """Digest of the code, or its beginning."""
    image: str
    data: str
    """Name of the data set and the digest of its content, or its beginning; then those of the
    features files that were read."""
    trials: int
    seconds: float
    """Of computation, over all of these trials."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names one line of the file."""
        return self.profile, self.variant, self.env_id, self.data


_LINES = TypeAdapter(list[Conditions])


def summarize_conditions(records: Iterable[Record]) -> list[Conditions]:
    """The conditions of these trials, sorted."""
    groups: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in records:
        parts = (
            f"features {name} {digest}" for name, digest in sorted(record.data.features.items())
        )
        data = ", ".join((f"{record.data.name} {record.data.digest}", *parts))
        groups.setdefault(
            (record.trial.profile, record.trial.variant, record.env_id, data), []
        ).append(record)
    found = []
    for (profile, variant, env_id, data), own in sorted(groups.items()):
        env = own[0].environment
        found.append(
            Conditions(
                profile=profile,
                variant=variant,
                env_id=env_id,
                device=env.device,
                device_model=env.device_model,
                deterministic=env.deterministic,
                precision=str(env.precision),
                step=str(env.step),
                isa=env.isa,
                torch=env.torch,
                code=env.code,
                image=env.image,
                data=data,
                trials=len(own),
                seconds=sum(record.seconds for record in own),
            )
        )
    return found


def write_conditions(path: Path, lines: Sequence[Conditions]) -> None:
    """Write the committed file; equal lines give an equal file."""
    plain = [line.model_dump(mode="json") for line in sorted(lines, key=lambda line: line.key)]
    write_bytes(path, (json.dumps(plain, indent=1) + "\n").encode())


def read_conditions(path: Path) -> list[Conditions]:
    """Conditions of a committed file; none where there is no file. Raises StoreError for a damaged
    one."""
    try:
        return _LINES.validate_json(files.read(path, files.SMALL))
    except FileNotFoundError:
        return []
    except ValidationError as error:
        raise StoreError(
            f"is no list of conditions: {error.errors()[0]['msg']}",
            where=str(path),
            remedy="restore the committed file",
        ) from error
