"""Which trial gets which GPU of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark import provenance
from benchmark.errors import ExecutorError


class Gpus:
    """The GPUs that trials may use; the one with the fewest trials is next. Without names, those the driver lists."""

    def __init__(self, ids: Sequence[str] = ()) -> None:
        self.ids = [entry.strip() for entry in ids if entry.strip()]
        self._load: dict[str, int] = {}

    def take(self, device: str) -> str | None:
        """A GPU (index or UUID) for a device: `cuda` any, `cuda:1` the second one, `cpu` None. Raises ExecutorError."""
        kind, _, index = device.partition(":")
        if kind != "cuda":
            return None
        if not self._load:
            names = self.ids or [gpu.uuid for gpu in provenance.gpus()] or ["0"]
            _check_alike(names)
            self._load = dict.fromkeys(names, 0)
        names = list(self._load)
        if index and int(index) >= len(names):
            raise ExecutorError(
                f"device {device} was asked for, but there are {len(names)} GPUs", remedy="see ALBENCH_GPUS"
            )
        chosen = names[int(index)] if index else min(names, key=lambda name: self._load[name])
        self._load[chosen] += 1
        return chosen

    def give_back(self, gpu: str | None) -> None:
        """A trial on it has ended."""
        if gpu is not None:
            self._load[gpu] -= 1


def _check_alike(names: Sequence[str]) -> None:
    """Trials of one run share an environment, so their GPUs must be one model under one driver."""
    listed = {entry: gpu for place, gpu in enumerate(provenance.gpus()) for entry in (str(place), gpu.uuid)}
    models = {(listed[name].name, listed[name].driver) for name in names if name in listed}
    if len(models) > 1:
        raise ExecutorError(
            f"these GPUs differ: {', '.join(sorted(name for name, _ in models))}",
            remedy="name equal ones with ALBENCH_GPUS",
        )
