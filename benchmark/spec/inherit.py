"""Suite files and what they inherit, as raw values: `base`, `drop` and `[set]`, and which line of
which file says what.

A suite file may say `base = "FILE"`, a file of the same folder. Then it holds only what differs:

- A table adds to the base's table of that name, key by key, at every depth. Everything else
  replaces the inherited value: numbers, strings, lists, arrays of tables, and inline tables (`cost
  = { scoring = 2 }`) as a whole.
- `drop = ["methods.vaal", "deviations.Q4"]` leaves out what the base has, together with the sources
  of it.
- `[set]` replaces single values by dotted path, also inside lists and inline tables.

The base is read, its own `base` first; then `drop`, the tables and `[set]` apply in this order. A
file whose name begins with `_` is only ever a base: it need not be complete and is no suite.
Nothing here validates: `load` does, on what comes out.
"""

from __future__ import annotations

import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.errors import SuiteError, UsageError


@dataclass(frozen=True)
class Source:
    """One file that a suite is made of."""

    path: Path
    text: str
    dropped: tuple[str, ...] = ()
    """Dotted paths that this file leaves out of its base."""


@dataclass(frozen=True)
class RawSuite:
    """The values of a suite before validation, and the files that give them: the suite's own first,
    the last base last."""

    values: dict[str, Any]
    sources: tuple[Source, ...]


def suite_files(root: Path) -> Iterator[Path]:
    """Paths of all suite files below the suites folder, sorted. Files that are only bases are left
    out, and so are hidden ones: Emacs' locks (`.#x.toml`), macOS' forks (`._x.toml`), folders of
    notebooks."""
    return iter(sorted(path for path in root.glob("[!.]*/[!.]*.toml") if not is_only_base(path)))


def is_only_base(path: Path) -> bool:
    """Whether the name says that the file is a base of suites and no suite."""
    return path.name.startswith("_")


def read_suite(path: Path, derived: tuple[Path, ...] = ()) -> RawSuite:
    """Read a suite file over its bases; `derived` are the files that name it as their base, nearest
    last.

    Raises SuiteError with file, line and remedy where a file cannot be read, or `base`, `drop` or
    `[set]` are wrong.
    """
    text = _read_text(path)
    own = _parse_toml(path, text)
    if "base" not in own:
        for key in ("drop", "set"):
            if key in own:
                raise _suite_error(
                    f"'{key}' without a base",
                    path,
                    text,
                    key,
                    'add base = "_base.toml", or remove it',
                )
        return RawSuite(own, (Source(path, text),))
    return _on_base(own, path, text, derived)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(
            encoding="utf-8-sig"
        )  # Notepad and PowerShell write a byte order mark
    except FileNotFoundError as error:
        raise SuiteError(
            "no such suite file", where=str(path), remedy="see `albench ls`"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(
            f"cannot be read: {error}", where=str(path), remedy="restore the file"
        ) from error


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        named = re.search(r"line (\d+)", str(error))
        line = named[1] if named else len(text.splitlines()) or 1  # "at end of document"
        where = f"{path}:{line}"
        raise SuiteError(
            f"not valid TOML: {error}", where=where, remedy="correct the syntax of this line"
        ) from error


def _on_base(own: dict[str, Any], path: Path, text: str, derived: tuple[Path, ...]) -> RawSuite:
    name, dropped, sets = own.pop("base"), own.pop("drop", []), own.pop("set", {})
    plain = isinstance(name, str) and name.isprintable() and name == Path(name).name != ""
    if not plain or path.with_name(name) in (path, *derived) or not path.with_name(name).is_file():
        raise _suite_error(
            "base must name another TOML file beside this one",
            path,
            text,
            "base",
            'base = "_base.toml"',
        )
    if not isinstance(dropped, list) or not all(isinstance(one, str) for one in dropped):
        raise _suite_error(
            "drop must list dotted paths",
            path,
            text,
            "drop",
            'drop = ["methods.vaal", "deviations.Q4"]',
        )
    if not isinstance(sets, dict):
        raise _suite_error(
            "set must be a table of dotted paths",
            path,
            text,
            "set",
            '[set], then "protocol.data.name" = "x"',
        )
    base = read_suite(path.with_name(name), (path, *derived))
    values = copy.deepcopy(base.values)
    for place in dropped:
        drop(values, place, f"{path}:{line_of_entry(text, place)}: drop")
    values = _merge_values(values, own, _inline_tables(text))
    for place, value in sets.items():
        override(values, place, value, f"{path}:{line_of(text, f'set.{place}')}: [set]")
    return RawSuite(values, (Source(path, text, tuple(dropped)), *base.sources))


def _suite_error(message: str, path: Path, text: str, key: str, remedy: str) -> SuiteError:
    return SuiteError(message, where=f"{path}:{line_of(text, key)}", remedy=remedy)


def _merge_values(base: Any, own: Any, inline: frozenset[str], place: str = "") -> Any:
    """The base's value with the own one in its place; tables key by key, if the own one has a
    header and is not inline."""
    if not (isinstance(base, dict) and isinstance(own, dict)) or place in inline:
        return own
    found = dict(base)
    for key, value in own.items():
        found[key] = _merge_values(base.get(key), value, inline, f"{place}.{key}" if place else key)
    return found


def drop(values: dict[str, Any], path: str, where: str) -> None:
    """Remove the entry at a dotted path in place, and the sources of it. Raises SuiteError where
    there is none."""
    here, key = _find_entry(values, path)
    if here is None:
        near = difflib.get_close_matches(path, sorted(_dotted_paths(values)), n=3, cutoff=0.6)
        remedy = f"did you mean {', '.join(near)}?" if near else "remove it from drop"
        raise SuiteError(f"'{path}' is not in the base", where=where, remedy=remedy)
    del here[key]
    sources = values.get("sources")
    if isinstance(sources, dict):
        for name in [name for name in sources if name == path or name.startswith(f"{path}.")]:
            del sources[name]


def _find_entry(here: Any, path: str) -> tuple[dict[str, Any] | None, str]:
    """The table that holds the entry at a dotted path, and its key there; keys may themselves hold
    dots."""
    if isinstance(here, dict):
        if path in here:
            return here, path
        for key, value in here.items():
            if path.startswith(f"{key}."):
                found, last = _find_entry(value, path[len(key) + 1 :])
                if found is not None:
                    return found, last
    return None, ""


def _dotted_paths(values: dict[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        yield key
        if isinstance(value, dict):
            yield from (f"{key}.{path}" for path in _dotted_paths(value))


def override(raw: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Replace the value at a dotted path in place. Tables on the way must exist; the last key may
    be new (an optional field)."""
    here: Any = raw
    value = copy.deepcopy(
        value
    )  # a later path may lead into it, and it belongs to a variant or a switch
    *way, last = path.split(".")
    for step in way:
        here = (
            here[int(step)]
            if isinstance(here, list) and step.isdigit() and int(step) < len(here)
            else (here.get(step) if isinstance(here, dict) else None)
        )
        if here is None:
            raise UsageError(
                f"'{path}' names nothing: there is no '{step}'",
                where=where,
                remedy="see `albench show` for the paths",
            )
    if isinstance(here, list) and last.isdigit() and int(last) < len(here):
        here[int(last)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise UsageError(
            f"'{path}' names nothing", where=where, remedy="see `albench show` for the paths"
        )


# -------------------------------------------------------------------------------------------- lines

_TABLE = re.compile(r"^\s*\[{1,2}\s*(?P<name>[^\[\]]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*(?P<key>(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=(?P<value>.*)"""
)


def locate(sources: Sequence[Source], dotted: str) -> tuple[Path, int]:
    """File and 1-based line that say what stands at a dotted path: of the files of a suite the one
    that names the path, or the longest part of it; the nearest one where several do. A path that a
    file drops is said by that file."""
    return _deepest_line(sources, dotted)[1:]


def locate_first(sources: Sequence[Source], wanted: Iterable[str]) -> tuple[Path, int]:
    """As `locate`, for several paths of which one is meant: the one that is named the most
    exactly."""
    return max((_deepest_line(sources, one) for one in wanted), key=lambda found: found[0])[1:]


def _deepest_line(sources: Sequence[Source], dotted: str) -> tuple[int, Path, int]:
    """How many keys of the path are named, by which file, on which line."""
    best = (0, sources[0].path, 1)
    for source in sources:
        inside, line = _deepest_line_in(source.text, dotted)
        by_set, set_line = _deepest_line_in(source.text, f"set.{dotted}")
        found = (
            (by_set - 1, source.path, set_line)
            if by_set - 1 > inside
            else (inside, source.path, line)
        )
        best = found if found[0] > best[0] else best
        for one in source.dropped:
            if dotted == one or dotted.startswith(f"{one}."):
                deep = len(one.split("."))
                return max(
                    best,
                    (deep, source.path, line_of_entry(source.text, one)),
                    key=lambda item: item[0],
                )
    return best


def line_of(text: str, dotted: str) -> int:
    """1-based line of the key at a dotted path, or of its nearest enclosing table; 1 if nothing
    matches."""
    return _deepest_line_in(text, dotted)[1]


def line_of_entry(text: str, entry: str) -> int:
    """1-based line on which an entry of the list `drop` stands."""
    first = line_of(text, "drop")
    lines = text.splitlines()
    named = (
        number
        for number in range(first, len(lines) + 1)
        if re.search(f"[\"']{re.escape(entry)}[\"']", lines[number - 1])
    )
    return next(named, first)


def _deepest_line_in(text: str, dotted: str) -> tuple[int, int]:
    """How many keys of the dotted path the best line names, and that line."""
    wanted, lines = dotted.split("."), _lines_by_path(text)
    for length in range(len(wanted), 0, -1):
        if (line := lines.get(".".join(wanted[:length]))) is not None:
            return length, line
    return 0, 1


@lru_cache(maxsize=256)
def _lines_by_path(text: str) -> dict[str, int]:
    """The first line on which each dotted path is named. Kept, since every reference of a suite
    asks for lines of its few files."""
    lines: dict[str, int] = {}
    for number, here, _ in _named_lines(text):
        if here:
            lines.setdefault(".".join(here), number)
    return lines


def _inline_tables(text: str) -> frozenset[str]:
    """Dotted paths of the values that are written as inline tables."""
    return frozenset(
        ".".join(here) for _, here, value in _named_lines(text) if value.startswith("{")
    )


def _named_lines(text: str) -> Iterator[tuple[int, list[str], str]]:
    """Number of each line that opens a table or gives a key, the keys that lead to it, and how its
    value begins."""
    table: list[str] = []
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TABLE.match(line):
            table = _split_keys(header["name"])
            if line.lstrip().startswith("[["):
                name = ".".join(table)
                counts[name] = counts.get(name, -1) + 1
                table = [*table, str(counts[name])]
            yield number, table, ""
        elif key := _KEY.match(line):
            yield number, [*table, *_split_keys(key["key"])], key["value"].lstrip()


def _split_keys(name: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r""""[^"]*"|'[^']*'|[^.\s]+""", name)]
