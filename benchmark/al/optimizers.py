"""torch's optimisers without torch's compiler.

Their methods are wrapped in guards that import the compiler when they are first called, which takes longer than torch
itself; nothing here is compiled. The arithmetic is torch's own, bit for bit.
"""

from __future__ import annotations

import inspect
from typing import TypeVar, cast

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=Optimizer)
GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def bare(kind: type[Kind]) -> type[Kind]:
    """A kind of optimiser whose methods are called as they are written."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in GUARDED}
    # The guard of `step` is what turns gradients off.
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast(type[Kind], type(kind.__name__, (kind,), methods))


SGD = bare(torch.optim.SGD)
Adam = bare(torch.optim.Adam)
