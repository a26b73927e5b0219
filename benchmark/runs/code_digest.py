"""The digest of the code by what it means: over syntax trees, without comments, docstrings and
layout. Never imports torch.

What belongs to it is a rule and no list: `worker.py` and all of `al/` (whose parts are loaded by
name), and what these import of the project, transitively, apart from OUTSIDE. A comment, a
docstring or a blank line keeps the digest; a constant changes it.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ROOTS = ("worker.py", "al/**/*.py")
"""Where the closure of imports begins, as patterns below the package."""
OUTSIDE = {
    "errors.py": "the words of errors and their exit codes",
    "files.py": "opens files; what they hold is checked by their digests",
    "text.py": "cleans text for people",
    "runs/environment.py": "describes the environment; what it finds is hashed itself",
    "runs/gpus.py": "describes the environment",
    "runs/device_probe.py": "describes the environment",
    "runs/variables.py": "describes the environment",
    "runs/code_digest.py": "describes the environment",
    "al/datasets/download.py": "brings files whose content has a digest of its own",
    "al/datasets/fetching.py": "brings files whose content has a digest of its own",
    "al/dry_run.py": "no trial runs it: it plays shrunken ones",
}
"""Files that cannot move a number of a finished trial, and why. What only they import is outside as
well."""
_IGNORED = frozenset({"type_comment", "kind", "ctx", "type_ignores"})
"""Fields of syntax nodes that say nothing about what is computed."""


def code_digest(root: Path = PACKAGE) -> str:
    """sha256 (hex) over names and syntax trees of the source files that can move a number."""
    total = hashlib.sha256()
    for name, text in sorted(_import_closure(root).items()):
        total.update(f"{name}\0{text}\0".encode())
    return total.hexdigest()


def digest_file(path: Path) -> str:
    """sha256 (hex) over the syntax tree of one source file, without what it imports."""
    words: list[str] = []
    _write_node(ast.parse(path.read_bytes()), words, [])
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def code_files(root: Path = PACKAGE) -> tuple[str, ...]:
    """The files of the digest, relative to the package, sorted."""
    return tuple(sorted(_import_closure(root)))


def _import_closure(root: Path) -> dict[str, str]:
    """Syntax trees as text, by file name, of the roots and all that they import of the project."""
    waiting = [
        path.relative_to(root).as_posix() for pattern in ROOTS for path in root.glob(pattern)
    ]
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if (
            name in found
            or name in OUTSIDE
            or any(part.startswith(".") for part in name.split("/"))
        ):
            continue
        content = (root / name).read_bytes()
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError):
            found[name] = hashlib.sha256(content).hexdigest()
            continue
        words: list[str] = []
        imported: list[str] = []
        _write_node(tree, words, imported)
        found[name] = "\0".join(words)
        waiting += _files_of(imported, root)
    return found


def _files_of(modules: Iterable[str], root: Path) -> Iterator[str]:
    """Files of the modules that are the project's own."""
    for module in modules:
        package, _, rest = module.partition(".")
        if package == PACKAGE.name and rest:
            stem = rest.replace(".", "/")
            yield from (
                file for file in (f"{stem}.py", f"{stem}/__init__.py") if (root / file).is_file()
            )


def _write_node(node: ast.AST, words: list[str], imported: list[str]) -> None:
    """A syntax tree as words: kinds of nodes with their fields that are set, and no statement that
    is only a string.

    `imported` gets the names that the tree imports, anywhere in it; the project imports by absolute
    names only.
    """
    kind = type(node)
    words.append(kind.__name__)
    if kind is ast.Constant:
        words.append(repr(node.value))  # type: ignore[attr-defined]
        return
    if kind is ast.Import:
        imported += [alias.name for alias in node.names]  # type: ignore[attr-defined]
    elif kind is ast.ImportFrom and node.level == 0:  # type: ignore[attr-defined]
        module: str = node.module  # type: ignore[attr-defined]
        imported += [module, *(f"{module}.{alias.name}" for alias in node.names)]  # type: ignore[attr-defined]
    for field in node._fields:
        value = getattr(node, field, None)
        if value is None or field in _IGNORED:
            continue
        if isinstance(value, list):
            if value:
                words.append(field)
                for part in value:
                    if not isinstance(part, ast.AST):
                        words.append(repr(part))
                    elif not _is_text(part):
                        _write_node(part, words, imported)
                words.append("]")
        else:
            words.append(field)
            if isinstance(value, ast.AST):
                _write_node(value, words, imported)
            else:
                words.append(repr(value))
    words.append(")")


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring, or a string that stands by itself below a field."""
    return (
        type(node) is ast.Expr
        and type(node.value) is ast.Constant
        and type(node.value.value) is str
    )
