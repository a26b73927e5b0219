"""Finding components by name without importing them.

A strategy or an objective is one file: its name is the file's stem (`strategies/coreset.py` is `coreset`), its class the
one public subclass defined there. A component of one's own is `file.py:Class`, `package.module:Class`, or a name that an
installed package announces under the entry-point groups `albench.strategies` and `albench.objectives`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from benchmark.errors import UsageError
from benchmark.spec.models import Component

KINDS = {"strategies": "Strategy", "objectives": "Objective"}
"""Folder below `benchmark/al` and the base class of what it holds."""


def component_names(kind: str) -> list[str]:
    """Names of the built-in components of a kind, without importing any."""
    folder = Path(__file__).parent / kind
    return sorted(path.stem for path in folder.glob("*.py") if path.stem[0] not in "_." and path.stem != "base")


def build_component(kind: str, component: Component) -> Any:
    """An instance of the component with its parameters. Raises UsageError for unknown names and wrong parameters."""
    cls = find_class(kind, component.name)
    try:
        return TypeAdapter(cls).validate_json(json.dumps(component.params), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise UsageError(
            f"{component.name}: {field}: {first['msg']}",
            remedy=f"parameters of {component.name}: {inspect.signature(cls)}",
        ) from error


def find_class(kind: str, name: str) -> type[Any]:
    """The class of a component. Raises UsageError with the nearest names when there is none."""
    base = getattr(importlib.import_module(f"benchmark.al.{kind}.base"), KINDS[kind])
    if ":" in name:
        place, _, attribute = name.rpartition(":")
        found = getattr(_file(place) if place.endswith(".py") else _module(place), attribute, None)
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise UsageError(f"{name} is not a {base.__name__}", remedy=f"subclass {base.__module__}.{base.__name__}")
        return found
    if name in component_names(kind):
        return _only_component(importlib.import_module(f"benchmark.al.{kind}.{name}"), base)
    for entry in entry_points(group=f"albench.{kind}"):
        if entry.name == name:
            return entry.load()  # type: ignore[no-any-return]
    close = difflib.get_close_matches(name, component_names(kind), n=3, cutoff=0.4) or component_names(kind)
    raise UsageError(f"no component '{name}' among the {kind}", remedy=f"did you mean {', '.join(close)}?")


def _only_component(module: ModuleType, base: type[Any]) -> type[Any]:
    own = [
        member
        for name, member in vars(module).items()
        if inspect.isclass(member)
        and issubclass(member, base)
        and member.__module__ == module.__name__
        and name[0] != "_"
    ]
    if len(own) != 1:
        raise UsageError(f"{module.__name__} defines {len(own)} public components", remedy="one file holds exactly one")
    return own[0]


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"cannot import {name}: {error}", remedy="install it, or give `path/to/file.py:Class`"
        ) from error


def _file(path: str) -> ModuleType:
    name = f"albench_plugin_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise UsageError(f"no plug-in file {path}", remedy="give `path/to/file.py:Class`")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"the plug-in {path} fails to load: {error!r}", remedy="run the file by itself to see where"
        ) from error
    return module
