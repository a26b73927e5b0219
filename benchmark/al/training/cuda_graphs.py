"""Steps that are captured as a CUDA graph once for every kind of batch and replayed for all that
follow.

A graph repeats kernels on fixed addresses, so what changes from step to step lies in a fixed place:
images and labels in a batch that every new one is copied into, rates and factors in a `Number`.
Weights, statistics, momentum and averages are changed in place. The first steps of a kind run as
they are written: they do what libraries do once, make the momentum, and count like any other step.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmark.al.objectives.base import Batch

WARM_UP = 3
"""Steps of a kind before it is captured, as torch's documentation of CUDA graphs has it."""
TrainStep = Callable[[Batch], Tensor]
"""Changes weights in place by one step on a batch; returns the loss."""


class Graphs(Protocol):
    """Where steps are captured."""

    def warm(self, step: Callable[[], Tensor]) -> Tensor:
        """Do a step as it will be captured."""
        ...

    def capture(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What does the captured step, and the place it leaves its loss in. Capturing itself does
        not do it."""
        ...


class CudaGraphs:
    """Graphs of one device that share their memory: nothing in it outlives a step but the loss,
    which is read at once.

    torch's default generator takes part: dropout in a graph draws on from its seed and place, which
    `manual_seed` sets.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._stream, self._pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]

    def warm(self, step: Callable[[], Tensor]) -> Tensor:
        """On the stream of the captures: gradients are accumulated on the stream they were first
        made on."""
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                loss = step()
            torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def capture(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record, do nothing."""
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, pool=self._pool, stream=self._stream),
        ):
            loss = step()
        return graph.replay, loss


class Captured:
    """An update with a graph for every kind of batch: its sizes (a short last batch is a kind), and
    what `kind` says."""

    def __init__(
        self, update: TrainStep, kind: Callable[[Batch], Hashable], graphs: Graphs
    ) -> None:
        self._update, self._kind, self._graphs = update, kind, graphs
        self._tapes: dict[Hashable, _CapturedStep] = {}

    def __call__(self, batch: Batch) -> Tensor:
        """One step; the loss is to be read before the next one."""
        key = (
            self._kind(batch),
            *((name, value.shape) for name, value in batch_tensors(batch).items()),
        )
        if key not in self._tapes:
            self._tapes[key] = _CapturedStep(self._update, batch, self._graphs)
        return self._tapes[key](batch)


class _CapturedStep:
    """Steps on batches of one kind."""

    def __init__(self, update: TrainStep, batch: Batch, graphs: Graphs) -> None:
        own: dict[str, Any] = {name: value.clone() for name, value in batch_tensors(batch).items()}
        self._batch = replace(batch, **own)
        self._update, self._graphs, self._done = update, graphs, 0
        self._captured: tuple[Callable[[], None], Tensor] | None = None

    def __call__(self, batch: Batch) -> Tensor:
        new = batch_tensors(batch)
        for name, place in batch_tensors(self._batch).items():
            place.copy_(new[name])
        if self._done < WARM_UP:
            self._done += 1
            return self._graphs.warm(self._step)
        if self._captured is None:
            self._captured = self._graphs.capture(self._step)
        replay, loss = self._captured
        replay()
        return loss

    def _step(self) -> Tensor:
        return self._update(self._batch)


def batch_tensors(batch: Batch) -> dict[str, Tensor]:
    """What a batch holds on the device, by field."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
