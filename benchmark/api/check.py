"""Whether suites are as they must be, what of them holds on a device, and whether a strategy keeps
its contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from benchmark.api.plan import find_obstacle
from benchmark.api.suites import schema_text
from benchmark.api.workspace import Workspace
from benchmark.errors import AlbenchError, Exit, UsageError
from benchmark.executors.local.executor import one_gpu
from benchmark.planning import amounts
from benchmark.runs.variables import FIXED_NUMBERS
from benchmark.spec.load import SuiteFile, load_suite, suite_files, with_code_digest
from benchmark.spec.published import TARGETS
from benchmark.spec.selectors import Selection, has_own_networks, match_suites, parse_selector

if TYPE_CHECKING:
    from benchmark.conformance import Finding as ContractFinding

GOOD, BAD, HINT = "ok", "BAD", "note"
GRACE = 10.0
"""Seconds that an interrupted dry run is given to end."""
MOST_CHILDREN = 4
"""Processes that make dry runs side by side where there are as many cores; each takes 1 to 4 GB."""
Finding = tuple[str, str]
"""GOOD, BAD or HINT, and words."""
Report = Callable[[str], None]
"""Called with a line about how far a long check is."""
Arithmetic = tuple[str, str]
"""Precision and step."""


@dataclass(frozen=True)
class CheckResult:
    """What was found about a suite, about schema.json, or about all methods."""

    name: str
    findings: Sequence[Finding]

    @property
    def is_good(self) -> bool:
        """Whether nothing is bad; notes are allowed."""
        return all(kind != BAD for kind, _ in self.findings)


@dataclass
class DeviceCheck:
    """What holds on a device: failures by method and arithmetic, none where a method holds."""

    device: str
    asked: int
    """Methods that were to be tried."""
    failures: dict[str, dict[Arithmetic, tuple[str, ...]]] = field(default_factory=dict)
    broke_off: str = ""
    """The last words of the process, where it did not get to the end."""

    @property
    def arithmetics(self) -> list[Arithmetic]:
        """Every precision and step that was tried, in that order."""
        return list(
            dict.fromkeys(arithmetic for cells in self.failures.values() for arithmetic in cells)
        )

    @property
    def holding(self) -> int:
        """Methods that were tried and hold under every arithmetic."""
        return sum(not any(cells.values()) for cells in self.failures.values())

    @property
    def exit_code(self) -> Exit:
        """DISCREPANCY where something does not hold, NOT_MEASURED where the process broke off."""
        if self.broke_off:
            return Exit.NOT_MEASURED
        return (
            Exit.DISCREPANCY
            if any(any(cells.values()) for cells in self.failures.values())
            else Exit.OK
        )


def check(
    selectors: Sequence[str] | str = (),
    workspace: Workspace | None = None,
    *,
    quick: bool = False,
    networks: Sequence[str] = (),
) -> list[CheckResult]:
    """Check suites (all): that they load, that reported tables fit them, that data are there, that
    every method builds.

    Missing data are noted, not failed. `quick` skips building the methods. `networks` (`NAME` or
    `NAME(key=value)`) take the place of the suites' own. A suite that is not valid is a finding;
    raises UsageError for a selector that names none.
    """
    names = [selectors] if isinstance(selectors, str) else selectors
    return list(check_each(names, workspace or Workspace(), quick=quick, networks=networks))


def check_each(
    selectors: Sequence[str],
    workspace: Workspace,
    *,
    quick: bool = False,
    networks: Sequence[str] = (),
    report: Report = lambda _: None,
) -> Iterator[CheckResult]:
    """The results of `check`, each as soon as it is known."""
    changes = Selection([], networks=tuple(networks)).changes
    loaded: list[SuiteFile] = []
    paths = _suite_paths(selectors, workspace) if selectors else list(suite_files(workspace.suites))
    for path in paths:
        try:
            loaded.append(load_suite(path, workspace.suites).with_changes(changes))
            findings = [
                *_check_resolution(loaded[-1]),
                *_check_reported(loaded[-1]),
                *data_findings(loaded[-1], workspace),
            ]
        except AlbenchError as error:
            findings = [(BAD, str(error))]
        yield CheckResult(path.relative_to(workspace.suites).with_suffix("").as_posix(), findings)
    yield CheckResult("schema.json", list(_check_schema(workspace)))
    if loaded and not quick:
        yield CheckResult("methods", list(_check_methods(loaded, report)))
    if not paths:
        yield CheckResult(
            str(workspace.suites),
            [(BAD, "there are no suites here; give the folder with --suites")],
        )


def _suite_paths(selectors: Sequence[str], workspace: Workspace) -> list[Path]:
    """Files of the suites named, each once."""
    patterns = [parse_selector(text).suite for text in selectors]
    return list(
        dict.fromkeys(
            suite.path for one in patterns for suite in match_suites(one, workspace.suites)
        )
    )


def check_device(
    device: str,
    selectors: Sequence[str] = (),
    workspace: Workspace | None = None,
    *,
    report: Report = lambda _: None,
) -> DeviceCheck:
    """Try methods on cpu, cuda or cuda:N under every precision and step: whether each runs, repeats
    bit by bit, gives captured what it gives together, and agrees with the CPU. Raises ExecutorError
    where the device is not there."""
    from benchmark.executors.gpus import GpuPool
    from benchmark.runs import environment as provenance
    from benchmark.runs import gpus

    chosen = provenance.resolve_device(device)
    uuid = GpuPool().take(chosen)
    if uuid is None and chosen != "cpu":
        raise gpus.missing_gpu(chosen, gpus.survey_gpus())
    trials = _device_trials(workspace or Workspace(), selectors)
    command = [
        sys.executable,
        "-m",
        "benchmark.conformance.device_check",
        "/dev/stdin",
        chosen.partition(":")[0],
    ]
    variables = FIXED_NUMBERS | ({} if uuid is None else one_gpu(uuid))
    result = DeviceCheck(chosen, len(trials))
    with _start_child(command, trials, variables) as (lines, last_words):
        for line in lines:
            row = json.loads(line)
            result.failures.setdefault(row["name"], {})[row["precision"], row["step"]] = tuple(
                row["failures"]
            )
            report(f"tried {row['name']}, {len(result.failures)} of {len(trials)}")
        result.broke_off = last_words()
    return result


def check_strategy(
    name: str, params: Mapping[str, Any] | None = None, models: int = 1
) -> list[ContractFinding]:
    """The contract of strategies, checked on an acquisition function: FILE.py:Class,
    package.module:Class or a built-in name.

    Nothing is trained and no data are needed. `models` is the number of target models it is shown.
    Raises UsageError where it cannot be built.
    """
    from benchmark.al import registry
    from benchmark.conformance import check as check_contract
    from benchmark.spec.load import plugin_component

    component = plugin_component(name).model_copy(update={"params": dict(params or {})})
    registry.build_component(
        "strategies", component
    )  # what cannot be built is the user's to fix, not a broken promise
    return list(check_contract(lambda: registry.build_component("strategies", component), models))


def check_network(
    name: str, params: Mapping[str, Any] | None = None, size: int = 32, channels: int = 3
) -> list[ContractFinding]:
    """The contract of networks, checked on FILE.py:Class, package.module:Class or a built-in name.

    Nothing is trained and no data are needed: it sees random images of `channels` x `size` x `size`
    pixels. Raises UsageError where it cannot be built.
    """
    from benchmark.al.networks import build_network
    from benchmark.conformance.networks import check_network_contract
    from benchmark.spec.load import plugin_component
    from benchmark.spec.training import Model

    model = Model(name=plugin_component(name).name, params=dict(params or {}))
    build_network(
        model, 2, channels
    )  # what cannot be built is the user's to fix, not a broken promise
    return list(
        check_network_contract(
            lambda classes, planes: build_network(model, classes, planes), size, channels=channels
        )
    )


def check_objective(name: str, params: Mapping[str, Any] | None = None) -> list[ContractFinding]:
    """The contract of objectives, checked on FILE.py:Class, package.module:Class or a built-in
    name.

    A narrow ResNet is trained on a few synthetic images; no data are needed. Raises UsageError
    where it cannot be built.
    """
    from benchmark.al import registry
    from benchmark.conformance.objectives import check_objective_contract
    from benchmark.spec.load import plugin_component

    component = plugin_component(name).model_copy(update={"params": dict(params or {})})
    registry.build_component(
        "objectives", component
    )  # what cannot be built is the user's to fix, not a broken promise
    return list(check_objective_contract(lambda: registry.build_component("objectives", component)))


def _device_trials(settings: Workspace, selectors: Sequence[str]) -> list[str]:
    """A trial of every method of the suites named; without names one of every pair of strategy and
    objective."""
    paths = [
        suite.path
        for text in selectors
        for suite in match_suites(parse_selector(text).suite, settings.suites)
    ]
    suites = [
        load_suite(path, settings.suites)
        for path in dict.fromkeys(paths or suite_files(settings.suites))
    ]
    # Small networks first: what several suites have is tried in the smallest.
    suites.sort(key=lambda suite: (not suite.id.startswith("quickstart/"), suite.id))
    found: dict[tuple[str, ...], str] = {}
    for suite in suites:
        for trial in suite.trials("paper", "as_published", list(suite.suite.methods), [0]):
            key = (
                (suite.id, trial.method_name)
                if selectors
                else (trial.strategy.name, trial.objective.name)
            )
            if not find_obstacle(trial):
                found.setdefault(key, trial.model_dump_json())
    return list(found.values())


@contextmanager
def _start_child(
    command: Sequence[str], trials: Sequence[str], variables: Mapping[str, str]
) -> Iterator[tuple[Iterator[str], Callable[[], str]]]:
    """Lines that a process says about trials, and afterwards its last words if it broke off (empty:
    it did not)."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as asked,
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
    ):
        asked.writelines(f"{line}\n" for line in trials)
        asked.seek(0)
        env = os.environ | dict(variables) | {"PYTHONPATH": _search_path()}
        with subprocess.Popen(
            list(command), stdin=asked, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
        ) as process:
            assert process.stdout is not None

            def last_words() -> str:
                if process.wait() in (Exit.OK, Exit.DISCREPANCY, Exit.USAGE):
                    return ""
                errors.seek(0)
                return errors.read().strip()[-2000:] or f"exit status {process.returncode}"

            try:
                yield iter(process.stdout), last_words
            except KeyboardInterrupt:
                process.terminate()  # it removes its temporary folder
                try:
                    process.wait(GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise


def _check_resolution(suite: SuiteFile) -> Iterator[Finding]:
    """Every profile and variant gives a valid suite."""
    for profile in ("paper", *suite.suite.profiles):
        for variant in ("as_published", "corrected", *suite.suite.variants):
            try:
                trials = suite.trials(profile, variant)
            except AlbenchError as error:
                yield BAD, f"profile {profile}, variant {variant}: {error}"
                continue
            wrong = {
                trial.method_name: reason
                for trial in trials
                if (reason := amounts.find_obstacle(trial))
            }
            for method, reason in wrong.items():
                yield BAD, f"profile {profile}, variant {variant}, {method}: {reason}"


def _check_reported(suite: SuiteFile) -> Iterator[Finding]:
    """Every published number of the authors' own belongs to a method and a size of the protocol."""
    table = suite.path.with_name(f"{suite.path.stem}.reported.csv")
    sizes = suite.suite.protocol.acquisition.labelled()
    seen: set[tuple[object, ...]] = set()
    for line, row in enumerate(suite.reported, start=2):
        key = (row.method, row.labelled, row.metric, row.source, row.role, row.note)
        if key in seen:
            yield (
                BAD,
                f"{table}:{line}: the same number is there twice ({row.method}, {row.labelled}, "
                f"{row.source})",
            )
        seen.add(key)
        if row.role in TARGETS:
            if row.method not in suite.suite.methods:
                yield (
                    BAD,
                    f"{table}:{line}: '{row.method}' is not a method of the suite, but its role is "
                    f"{row.role}",
                )
            if row.labelled is not None and row.labelled not in sizes:
                yield HINT, f"{table}:{line}: the protocol never trains on {row.labelled} labels"


def data_findings(suite: SuiteFile, settings: Workspace) -> Iterator[Finding]:
    """Notes about the data of a suite that are missing or not the published ones."""
    from benchmark.al import datasets

    try:
        data = with_code_digest(
            suite.suite.protocol.data, suite.path.parent
        )  # a relative path begins beside the suite
    except UsageError:  # a file that cannot be read is reported with what it keeps from resolving
        return
    status = datasets.describe(data, settings.data, settings.cache)
    if not status.present or not status.canonical:
        yield HINT, status.note


def _check_schema(settings: Workspace) -> Iterator[Finding]:
    path = settings.suites / "schema.json"
    try:
        current = json.loads(path.read_text(encoding="utf-8-sig")) == json.loads(
            schema_text()
        )  # as values: pydantic 2.10 says 0.0
    except (OSError, ValueError):
        current = False
    if not current:
        yield BAD, f"{path} is not current: run `albench schema`"


def _check_methods(suites: Sequence[SuiteFile], report: Report) -> Iterator[Finding]:
    """Build every method on synthetic images, in processes of their own: this one stays free of
    torch."""
    asked: dict[tuple[str, str], list[str]] = {}
    for suite in suites:
        own = [
            name
            for name, method in suite.suite.methods.items()
            if not (suite.changes and has_own_networks(method))
        ]
        for trial in suite.trials("paper", "as_published", own, [0]):
            if reason := find_obstacle(trial):  # amounts that do not fit are reported as bad above
                yield HINT, f"{trial.suite}/{trial.method_name}: {reason}"
            else:
                paper = trial.suite.partition("/")[0]
                asked.setdefault((paper, trial.method_name), []).append(trial.model_dump_json())
    yield from _dry_runs(_split_evenly(list(asked.values())), report)


def _split_evenly(groups: Sequence[list[str]]) -> list[list[str]]:
    """Groups of trials as lists of about one length, one for each process. A group stays together:
    a process tries once what several suites of a paper have alike."""
    shares: list[list[str]] = [[] for _ in range(min(MOST_CHILDREN, os.cpu_count() or 1))]
    for group in sorted(groups, key=len, reverse=True):
        min(shares, key=len).extend(group)
    return [share for share in shares if share]


def _dry_runs(shares: Sequence[Sequence[str]], report: Report) -> Iterator[Finding]:
    """Play trials (one JSON each) through, every share in a process of its own; what is wrong with
    them. Nothing is left on the disk."""
    command = [sys.executable, "-m", "benchmark.worker", "--check", "/dev/stdin"]
    count = sum(map(len, shares))
    with ExitStack() as stack:
        children = [stack.enter_context(_start_child(command, share, {})) for share in shares]
        said = _merge_lines([lines for lines, _ in children])
        for number, line in enumerate(said, start=1):
            name, _, wrong = line.rstrip("\n").partition("\t")
            report(f"tried {name}, {number} of {count}")
            if wrong:
                yield BAD, f"{name}: {wrong}"
        for _, last_words in children:
            if words := last_words():
                yield BAD, f"the dry run broke off: {words}"


def _merge_lines(sources: Sequence[Iterator[str]]) -> Iterator[str]:
    """Lines of several processes, each as soon as it is there."""
    queue: SimpleQueue[str | None] = SimpleQueue()

    def read(lines: Iterator[str]) -> None:
        for line in lines:
            queue.put(line)
        queue.put(None)

    for lines in sources:
        Thread(target=read, args=(lines,), daemon=True).start()
    open_ones = len(sources)
    while open_ones:
        line = queue.get()
        if line is None:
            open_ones -= 1
        else:
            yield line


def _search_path() -> str:
    return os.pathsep.join(
        [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    ).rstrip(os.pathsep)
