"""Where trials run: `local` processes, `docker` containers, a `ray` cluster, `slurm` jobs. Each is
imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from benchmark.errors import ExecutorError

if TYPE_CHECKING:
    from benchmark.executors.base import Executor

HOMES = {
    "local": "local.executor",
    "docker": "docker.engine",
    "ray": "ray.executor",
    "slurm": "slurm.executor",
}
"""The module of this package that makes each executor, by its function `create() -> Executor`."""
EXTRAS = ("ray", "slurm")
"""Executors whose packages are optional, each with a lock of its own."""
REMEDY = "use --executor local"


def load(name: str, say: Callable[[str], None] = lambda _: None) -> Executor:
    """The executor by its name. `auto` is docker where it works, else local, and `say` gets the
    reason.

    Raises ExecutorError where it cannot work.
    """
    if name == "auto":
        try:
            return load("docker")
        except ExecutorError as error:
            say(f"running locally: {error.message}")
            return load("local")
    try:
        module = importlib.import_module(f"benchmark.executors.{HOMES.get(name, name)}")
    except ModuleNotFoundError as error:
        missing, remedy = f"the package '{error.name}' is missing", REMEDY
        if error.name == f"benchmark.executors.{HOMES.get(name, name)}":
            missing = "this version does not have it"
        elif name in EXTRAS:
            remedy = (
                f"install it (uv pip install --require-hashes -r requirements-{name}.lock), or "
                f"{REMEDY}"
            )
        raise ExecutorError(
            f"executor '{name}' is not available: {missing}", remedy=remedy
        ) from error
    return cast("Executor", module.create())
