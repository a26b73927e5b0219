"""State that survives a kill: tensors and plain values, written atomically, verified before use,
never unpickled.

A state file is a magic word, the sha256 of the payload, and a `torch.save` payload read back with
`weights_only=True`. A torn, foreign or bit-flipped file is not a state: the previous one is used,
and without one the work starts over.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmark import files
from benchmark.runs.events import write_bytes

MAGIC = b"ALBENCH1"


def encode(state: dict[str, Any]) -> bytes:
    """Bytes of a state; equal states give equal digests of their tensors, not necessarily equal
    bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    return MAGIC + hashlib.sha256(payload).digest() + payload


def decode(content: bytes) -> dict[str, Any] | None:
    """The state in these bytes, on the CPU; None if they are not an undamaged state."""
    start = len(MAGIC) + hashlib.sha256().digest_size
    if (
        content[: len(MAGIC)] != MAGIC
        or hashlib.sha256(content[start:]).digest() != content[len(MAGIC) : start]
    ):
        return None
    try:
        state = torch.load(io.BytesIO(content[start:]), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):  # anybody can compute a checksum
        return None
    return state if isinstance(state, dict) else None


class Checkpoint:
    """The resumable state of one trial in one environment, below `folder`.

    `cycle` is the state between cycles, `epoch` the one inside the current cycle. Both carry
    `owner`, and a state of another owner (trial, environment) is ignored.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self.folder, self.owner = folder, owner
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Replace the state `name`; the one before is kept until the next save."""
        path = self._path(name)
        if path.exists():
            path.replace(self._path(name, previous=True))
        write_bytes(path, encode({"owner": self.owner, **state}))

    def load(self, name: str) -> dict[str, Any] | None:
        """The newest undamaged state `name` of this owner."""
        for path in (self._path(name), self._path(name, previous=True)):
            if files.stat_file(path) is not None:
                state = decode(files.read(path, files.STATE))
                if state is not None and state.get("owner") == self.owner:
                    return state
        return None

    def drop(self, name: str) -> None:
        """Forget the state `name`."""
        for path in (self._path(name), self._path(name, previous=True)):
            path.unlink(missing_ok=True)

    def _path(self, name: str, previous: bool = False) -> Path:
        return self.folder / f"{name}{'.previous' if previous else ''}.state"


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """sha256 (hex) of all parameters and buffers of a network's state in name order."""
    total = hashlib.sha256()
    for name, value in sorted(state.items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
