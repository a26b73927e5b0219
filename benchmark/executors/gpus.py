"""Which trial gets which GPU of this machine: one pool for local processes and containers."""

from __future__ import annotations

import os
from collections.abc import Sequence

from benchmark.errors import ExecutorError
from benchmark.runs import gpus
from benchmark.runs.gpus import NAMES, Gpu


class GpuPool:
    """The GPUs that trials may use; the one with the fewest trials is next. Without names, all that
    torch can use.

    Names are indices in PCI's order, or UUIDs. A name that this machine does not know is passed on
    as it is: an engine may be on another one.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        given = os.environ.get(NAMES, "").split(",") if names is None else names
        self.names = [name.strip() for name in given if name.strip()]
        self._load: dict[str, int] = {}

    def ids(self, device: str) -> list[str]:
        """UUIDs of the GPUs that a run on `device` uses: `cuda` all, `cuda:1` the second one, `cpu`
        none.

        Raises ExecutorError where there is no such GPU, and where those of `cuda` differ: trials of
        one run share an environment.
        """
        kind, _, index = device.partition(":")
        if kind != "cuda":
            return []
        found = gpus.survey_gpus()
        ids = [self._uuid(name, found.usable) for name in self.names] or [
            gpu.uuid for gpu in found.usable
        ]
        ids = list(dict.fromkeys(ids))
        if not ids or int(index or 0) >= len(ids):
            if self.names:
                raise ExecutorError(
                    f"device {device} was asked for, but {NAMES} names {len(ids)} GPUs",
                    remedy=f"name more with {NAMES}",
                )
            raise gpus.missing_gpu(device, found)
        if index:
            return [ids[int(index)]]
        kinds = {gpu.kind: gpu.name for gpu in map(self.card, ids) if gpu is not None}
        if len(kinds) > 1:
            raise ExecutorError(
                f"these GPUs differ: {', '.join(sorted(kinds.values()))}",
                remedy=(
                    f"name equal ones with {NAMES}=0,1 (the order of `nvidia-smi -L`), or one with "
                    "--device cuda:0"
                ),
            )
        return ids

    def card(self, uuid: str) -> Gpu | None:
        """What is known of a GPU of `ids`; None where this machine does not have it."""
        return next((gpu for gpu in gpus.survey_gpus().usable if gpu.uuid == uuid), None)

    def slots(self, device: str) -> int:
        """How many trials run at once by default: one on each GPU."""
        return len(self.ids(device))

    def take(self, device: str) -> str | None:
        """UUID of a GPU for a trial on `device`; None on `cpu`. Raises ExecutorError."""
        ids = self.ids(device)
        if not ids:
            return None
        chosen = min(ids, key=lambda uuid: self._load.get(uuid, 0))
        self._load[chosen] = self._load.get(chosen, 0) + 1
        return chosen

    def give_back(self, gpu: str | None) -> None:
        """A trial on it has ended."""
        if gpu is not None:
            self._load[gpu] -= 1

    def _uuid(self, name: str, usable: Sequence[Gpu]) -> str:
        if name.isdigit():
            return usable[int(name)].uuid if int(name) < len(usable) else name
        return next((gpu.uuid for gpu in usable if gpu.uuid.startswith(name)), name)
