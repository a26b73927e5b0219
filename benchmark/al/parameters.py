"""What components say of themselves, read from their files: what `plan` uses without importing
torch. Parameters of the project's own components, and what any component declares at its class.

A component's parameters are the annotated fields of its class and of those it derives from.
Annotations and defaults are evaluated from the syntax tree, with names of other modules of the
project looked up in their trees in turn, so that nothing that needs torch is run.
`registry.build_component` remains what decides when a trial is run.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, create_model

from benchmark.errors import UsageError
from benchmark.spec.suite import Component

ROOT = Path(__file__).parents[2]
BASES = {"objectives": ("benchmark.al.objectives.base", "Objective")}
"""Where the values are that hold for a component that declares none."""
STRICT = ConfigDict(extra="forbid", strict=True)


def demand_valid(kind: str, component: Component) -> None:
    """Raise UsageError for parameters that the component of this project does not take; any other
    component passes."""
    from benchmark.al import registry

    if component.name not in registry.component_names(kind):
        return
    adapter, signature = _find_adapter(kind, component.name)
    try:
        adapter.validate_json(json.dumps(component.params), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise UsageError(
            f"{component.name}: {at}: {first['msg']}",
            remedy=f"parameters of {component.name}: {signature}",
        ) from error


@cache
def _find_adapter(kind: str, name: str) -> tuple[TypeAdapter[Any], str]:
    """What validates the parameters of a component, and how they are written."""
    from benchmark.al import registry

    module, cls = registry.definition_of(kind, name)
    fields = _Module.of(module).fields(cls)
    model = create_model(name, __config__=STRICT, **dict(fields))  # type: ignore[call-overload]
    parameters = [
        inspect.Parameter(
            key,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if given is ... else given,
        )
        for key, (_, given) in fields.items()
    ]
    text = ", ".join(str(parameter) for parameter in parameters)
    return TypeAdapter(model), f"({text})"


def declared_value(kind: str, name: str, attribute: str) -> Any:
    """What the class of a component, or a base class that can be read, declares as `attribute`.

    `name` is a built-in name, one of an installed package, `package.module:Class` or
    `file.py:Class`. The file is read and not run: its value has to be a literal. Where no file of
    this name can be read or it declares none, the value of the kind's own base class. Raises
    UsageError for a value that is no literal.
    """
    found = next(
        (
            value
            for owner in (_owner_of(kind, name), BASES[kind])
            for value in _declared_expression(owner, attribute)
        ),
        None,
    )
    if found is None:
        raise KeyError(f"{BASES[kind][1]} declares no {attribute}")
    try:
        return ast.literal_eval(found)
    except ValueError as error:
        raise UsageError(
            f"{name}: {attribute} is {ast.unparse(found)}, which cannot be read without running it",
            remedy=f"write {attribute} as a literal",
        ) from error


def _owner_of(kind: str, name: str) -> tuple[str, str]:
    """Module, or file, and class behind the name of a component."""
    from benchmark.al import registry

    if name in registry.component_names(kind):
        return registry.definition_of(kind, name)
    if ":" not in name:
        installed = registry.installed_components(kind)
        name = installed[name].value if name in installed else ""
    module, _, cls = name.rpartition(":")
    return module, cls


def _declared_expression(owner: tuple[str, str], attribute: str) -> list[ast.expr]:
    """The expression of a declared value; nothing where there is none, or no file to read."""
    module, cls = owner
    path = _source_of(module)
    found = None if path is None else _Module.read(path).declared(cls, attribute)
    return [] if found is None else [found]


def _source_of(module: str) -> Path | None:
    """The file of `file.py` or of a dotted name. Nothing of a package is imported to find it."""
    if module.endswith(".py"):
        return path if (path := Path(module)).is_file() else None
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except ValueError:
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    if spec and not rest and not places:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    candidates = (
        candidate
        for place in places
        for candidate in (
            Path(place, *rest, "__init__.py"),
            Path(place, *rest).with_suffix(".py"),
        )
    )
    return next((path for path in candidates if path.is_file()), None)


@dataclass(frozen=True)
class _Module:
    """A module as a syntax tree."""

    classes: Mapping[str, ast.ClassDef]
    values: Mapping[str, ast.expr]
    """What is assigned to a name at the top."""
    imported: Mapping[str, tuple[str, str]]
    """Module and name behind each imported name; the second is empty for a module itself."""
    _found: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    @cache
    def of(name: str) -> _Module:
        """The module of a dotted name below the project's root."""
        path = ROOT.joinpath(*name.split("."))
        return _Module.read(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))

    @staticmethod
    @cache
    def read(path: Path) -> _Module:
        """The module in a file."""
        tree = ast.parse(path.read_text(encoding="utf-8"))
        values: dict[str, ast.expr] = {}
        imported: dict[str, tuple[str, str]] = {}
        for node in tree.body:
            if isinstance(node, ast.Assign):
                values |= {
                    target.id: node.value for target in node.targets if isinstance(target, ast.Name)
                }
            elif (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and node.value is not None
            ):
                values[node.target.id] = node.value
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported |= {
                    alias.asname or alias.name: (node.module, alias.name) for alias in node.names
                }
            elif isinstance(node, ast.Import):
                imported |= {alias.asname or alias.name: (alias.name, "") for alias in node.names}
        return _Module(
            {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)},
            values,
            imported,
        )

    def fields(self, name: str) -> dict[str, tuple[Any, Any]]:
        """Type and default (... where there is none) of every parameter of a class, those of its
        bases first."""
        found: dict[str, tuple[Any, Any]] = {}
        for base in self.classes[name].bases:
            if (owner := self._owner(base)) is not None:
                found |= owner[0].fields(owner[1])
        for node in self.classes[name].body:
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and not _is_class_variable(node)
            ):
                given = ... if node.value is None else self._value(node.value)
                found[node.target.id] = (self._value(node.annotation), given)
        return found

    def declared(self, name: str, attribute: str) -> ast.expr | None:
        """What a class assigns to an attribute in its body, or the nearest base class that can be
        read; None where there is none."""
        if name not in self.classes:
            return None
        for node in self.classes[name].body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            if any(isinstance(target, ast.Name) and target.id == attribute for target in targets):
                assert isinstance(node, ast.Assign | ast.AnnAssign)
                return node.value
        owners = (self._owner(base) for base in self.classes[name].bases)
        inherited = (owner[0].declared(owner[1], attribute) for owner in owners if owner)
        return next((value for value in inherited if value is not None), None)

    def _owner(self, base: ast.expr) -> tuple[_Module, str] | None:
        """Module and name of a base class of the project."""
        if not isinstance(base, ast.Name):
            return None
        if base.id in self.classes:
            return self, base.id
        module, name = self.imported.get(base.id, ("", ""))
        return (
            _Module.of(module)._owner(ast.Name(name)) if module.startswith("benchmark.") else None
        )

    def _value(self, node: ast.expr) -> Any:
        """An annotation or a constant of the module, evaluated."""
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        known = {name: self._named(name) for name in names}
        code = compile(ast.Expression(node), "<parameters>", "eval")
        return eval(code, {"__builtins__": {}}, known)  # noqa: S307

    def _named(self, name: str) -> Any:
        if name in self._found:
            return self._found[name]
        if name in self.values:
            value = self._value(self.values[name])
        elif name in self.imported:
            module, attribute = self.imported[name]
            if module.startswith("benchmark."):
                value = _Module.of(module)._named(attribute)
            else:
                loaded = importlib.import_module(module)
                value = getattr(loaded, attribute) if attribute else loaded
        else:
            value = getattr(builtins, name)
        self._found[name] = value
        return value


def _is_class_variable(node: ast.AnnAssign) -> bool:
    return "ClassVar" in ast.unparse(node.annotation) or (
        isinstance(node.target, ast.Name) and node.target.id[0] == "_"
    )
