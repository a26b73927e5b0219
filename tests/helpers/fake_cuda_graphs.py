"""What stands in for CUDA graphs where there is no CUDA.

`Rerun` does a step again. `Tape` is stricter: it notes every operation of a step that reaches a
kernel and repeats just these, on the same tensors and with the same plain numbers. So a rate, a
factor or an image that a step takes from anywhere but a fixed place in memory stays what it was
when the step was captured, as in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Step = Callable[[], Tensor]


class Rerun:
    """Captured steps run again as they are written."""

    def __init__(self) -> None:
        self.warmed = self.captured = self.replayed = 0

    def warm(self, step: Step) -> Tensor:
        self.warmed += 1
        return step()

    def capture(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        self.captured += 1
        replay, loss = self._recorded(step)

        def counted() -> None:
            self.replayed += 1
            replay()

        return counted, loss

    def _recorded(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        loss = torch.zeros(())
        return lambda: loss.copy_(step()) and None, loss


class Tape(Rerun):
    """Captured steps are operations in a row."""

    def _recorded(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        with torch.random.fork_rng(devices=[]), _Noting() as noted:
            loss = step()
        noted.undo()
        return noted.replay, loss


class _Noting(TorchDispatchMode):
    """Notes operations while they happen, and what their arguments from outside held before."""

    def __init__(self) -> None:
        super().__init__()
        self._notes: list[tuple[Any, Any, Any, dict[int, Tensor]]] = []
        self._made: set[int] = set()
        self._kept: list[Any] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for value in _tensors((args, kwargs)):
            storage = value.untyped_storage()
            if storage.data_ptr() not in self._made:
                self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        found = func(*args, **kwargs)
        read = {value.untyped_storage().data_ptr() for value in _tensors((args, kwargs))}
        places = enumerate(_tensors(found))
        fresh = {
            place: value
            for place, value in places
            if value.untyped_storage().data_ptr() not in read
        }
        self._made |= {value.untyped_storage().data_ptr() for value in fresh.values()}
        # Kept alive, so that no address is given out twice.
        self._kept.append((found, args, kwargs))
        if not func.is_view and not func.overloadpacket.__name__.startswith("empty"):
            self._notes.append((func, args, kwargs, fresh))
        return found

    def undo(self) -> None:
        """Everything from outside as it was: capturing does nothing."""
        for storage, content in self._before.values():
            storage.copy_(content)

    @torch.no_grad()
    def replay(self) -> None:
        """The operations once more; what they make goes where it went."""
        for func, args, kwargs, fresh in self._notes:
            again = _tensors(func(*args, **kwargs))
            for place, value in fresh.items():
                value.copy_(again[place])


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
