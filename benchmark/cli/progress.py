"""Progress of a run, one line per trial, fed by events: the same for every executor and for resumed
trials.

On a terminal the lines are live; elsewhere each start, cycle and end is one plain line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from benchmark.executors.jobs import Job, JobOutcome, JobStarted
from benchmark.planning.plan import Plan, PlannedTrial, name_of
from benchmark.runs.events import CycleFinished, EpochFinished, TrialStarted
from benchmark.text import format_duration

Mode = Literal["live", "plain", "none"]
EVERY, CYCLE_EVERY = 60.0, 10.0
"""Seconds between plain lines about a trial: inside a cycle, and at the end of one."""
HEADS = ("", "cycle", "epoch", "loss", "images/s", "labels", "accuracy", "left")
"""Columns of the live view after the trial's name."""
WIDE = 110
"""Columns of a terminal from which on the bars are longer."""
COLOURS = {
    "finished": "green",
    "stopped": "yellow",
    "failed": "red",
    "running": "cyan",
    "waiting": "dim",
}


@dataclass
class TrialLine:
    """What is known of one trial, and how far it is."""

    name: str
    planned: PlannedTrial
    state: str = "waiting"
    cycle: int = 0
    within: float = 0.0
    """Share of the current cycle's training that is done."""
    epoch: str = ""
    """Epochs done of those of the cycle or stage, as `12/40`."""
    loss: float | None = None
    labelled: int | None = None
    accuracy: float | None = None
    message: str = ""
    _trained: tuple[float, float] | None = None
    """Time and share of the cycle at its first epoch that was seen here."""
    _since: tuple[float, float] | None = None
    _now: float = 0.0

    def __post_init__(self) -> None:
        self.cycle = self.planned.cycles_done
        self.stage = ""

    @property
    def cycles(self) -> int:
        """Cycles of the whole trial."""
        return len(self.planned.work)

    def done(self) -> float:
        """Forward passes that are behind it."""
        sizes = [part.forward_equivalents for part in self.planned.work]
        return sum(sizes[: self.cycle]) + self.within * (
            sizes[self.cycle] if self.cycle < len(sizes) else 0
        )

    def left(self) -> float:
        """Forward passes that are ahead of it."""
        if self.state in ("finished", "stopped", "failed"):
            return 0.0
        return self.planned.total.forward_equivalents - self.done()

    def take(self, event: Any) -> None:
        """Learn from a worker's event or from its executor."""
        if isinstance(event, JobStarted):
            self.state, self.message = "running", event.where
        elif isinstance(event, TrialStarted):
            self.cycle, self.within = event.cycle, 0.0
            epochs = self.planned.trial.protocol.training.epochs
            self.within = min(1.0, event.epoch / epochs)
            self._trained = None
            self._since = (event.time, self.done())
        elif isinstance(event, EpochFinished):
            within = event.epoch / max(1, event.epochs)
            self.epoch, self.loss = f"{event.epoch}/{event.epochs}", event.loss
            self.stage = f"{event.stage} {within:.0%}" if event.stage else ""
            if event.stage:
                # Speed is measured in cycles: a stage before them may run another network.
                self._since = (event.time, self.done())
            else:
                if self._trained is None or self.cycle != event.cycle:
                    self._trained = (event.time, within)
                self.cycle, self.within = event.cycle, within
        elif isinstance(event, CycleFinished):
            self.cycle, self.within = event.result.cycle + 1, 0.0
            self.epoch, self.loss, self._trained, self.stage = "", None, None, ""
            self.labelled, self.accuracy = (
                event.result.labelled,
                event.result.metrics.get("accuracy"),
            )
        elif isinstance(event, JobOutcome):
            self.state, self.message = event.state, event.message
        self._now = getattr(event, "time", self._now)

    def rate(self) -> float | None:
        """Forward passes per second since it started here; None while nothing is known."""
        if self._since is None:
            return None
        spent, passed = self._now - self._since[0], self.done() - self._since[1]
        return passed / spent if spent > 0 and passed > 0 else None

    def images_per_second(self) -> float | None:
        """Images trained on per second since the cycle's first epoch that was seen here, by the
        plan's count of them; None while nothing is known."""
        if self._trained is None or self.cycle >= self.cycles:
            return None
        work = self.planned.work[self.cycle]
        spent = self._now - self._trained[0]
        share = self.within - self._trained[1]
        return (
            (work.labelled + work.unlabelled) * share / spent if spent > 0 and share > 0 else None
        )

    def cells(self) -> tuple[str, ...]:
        """What it does, for a table: cycle or stage, epoch, loss, images per second, labels,
        accuracy, time left."""
        left, speed = self.seconds_left(), self.images_per_second()
        return (
            self.stage or f"{min(self.cycle + 1, self.cycles)}/{self.cycles}",
            self.epoch,
            "" if self.loss is None else f"{self.loss:.3g}",
            "" if speed is None else f"{speed:,.0f}",
            "" if self.labelled is None else f"{self.labelled:,}",
            "" if self.accuracy is None else f"{self.accuracy:.2f} %",
            "" if left is None else format_duration(left),
        )

    def describe(self) -> str:
        """The same in words, for a line of a log."""
        stage, epoch, loss, speed, _, accuracy, left = self.cells()
        share = f"{100 * self.within:.0f} %" if self.within else ""
        parts = (
            self.stage or f"cycle {stage}",
            share,
            epoch and f"epoch {epoch}",
            loss and f"loss {loss}",
            speed and f"{speed} images/s",
            "" if self.labelled is None else f"{self.labelled} labels",
            accuracy,
            left and f"{left} left",
        )
        return "  ".join(part for part in parts if part)

    def seconds_left(self) -> float | None:
        """Estimate for this trial: from its own speed, before that from earlier trials."""
        rate = self.rate()
        if rate is not None:
            return self.left() / rate
        return self.planned.seconds if self.state in ("waiting", "running") else 0.0


@dataclass
class Progress:
    """Listens to an executor. Use as a context manager; call it with (job, event)."""

    plan: Plan
    mode: Mode
    console: Console
    jobs_at_once: int = 1
    clock: Callable[[], float] = time.monotonic
    _lines: dict[str, TrialLine] = field(default_factory=dict)
    _told: dict[str, float] = field(default_factory=dict)
    _live: Live | None = None

    def __post_init__(self) -> None:
        for planned in self.plan.todo:
            self._lines[planned.trial_id] = TrialLine(name_of(planned), planned)

    def __enter__(self) -> Progress:
        if self.mode == "live":
            self._live = Live(
                get_renderable=self.table,
                console=self.console,
                refresh_per_second=4,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, job: Job, event: Any) -> None:
        """Take an event of a job into account and show it."""
        line = self._lines[job.trial_id]
        line.take(event)
        if self.mode != "none" and (text := self._text(job, line, event)):
            (self._live.console if self._live else self.console).print(
                text, highlight=False, soft_wrap=True
            )

    def _text(self, job: Job, line: TrialLine, event: Any) -> str:
        """The permanent line for an event; empty if there is none."""
        if isinstance(event, JobOutcome):
            return "" if event.never_started else self._end(line, event)
        if self.mode == "live" or not isinstance(
            event, TrialStarted | EpochFinished | CycleFinished
        ):
            return ""
        now = self.clock()
        if now - self._told.get(job.trial_id, -EVERY) < (
            EVERY if isinstance(event, EpochFinished) else CYCLE_EVERY
        ):
            return ""
        self._told[job.trial_id] = now
        return escape(self._describe(line))

    def _end(self, line: TrialLine, outcome: JobOutcome) -> str:
        colour = COLOURS[outcome.state]
        kind = f" ({outcome.kind})" if outcome.kind else ""
        result = f"  {line.accuracy:.2f} % at {line.labelled}" if line.accuracy is not None else ""
        message = "" if outcome.state == "finished" else f"  {outcome.message}"
        rest = escape(f" {line.name}{kind}{result}{message}")
        text = f"[{colour}]{outcome.state:9}[/{colour}]{rest}"
        said = {part.strip() for part in message.splitlines()}
        log = [
            entry
            for entry in outcome.log
            if outcome.state == "failed" and entry.strip() not in said
        ]
        return "\n".join([text, *(escape(f"          | {entry}") for entry in log)])

    def _describe(self, line: TrialLine) -> str:
        return f"{line.state:9} {line.name}  {line.describe()}"

    def seconds_left(self) -> float | None:
        """Estimate for the whole run: what is left at the speed seen here, before that at the speed
        of earlier trials."""
        open_lines = [line for line in self._lines.values() if line.state in ("waiting", "running")]
        rates = [rate for line in self._lines.values() if (rate := line.rate()) is not None]
        seen = sum(rates) / len(rates) if rates else None
        seconds = []
        for line in open_lines:
            rate = line.rate() or seen
            seconds.append(line.left() / rate if rate else line.planned.seconds)
        known = [value for value in seconds if value is not None]
        if len(known) < len(seconds):
            return None
        # Trials run side by side, but a single one cannot be split.
        return max(sum(known) / max(1, self.jobs_at_once), *known, 0.0) if known else 0.0

    def table(self) -> Table:
        """The live view: what each running trial does, and one line about everything."""
        wide = self.console.width >= WIDE
        suites = {line.planned.trial.suite for line in self._lines.values()}
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        table.add_column(next(iter(suites)) if len(suites) == 1 else "trial", overflow="fold")
        for head in HEADS:
            table.add_column(
                head, justify="left" if head in ("", "cycle") else "right", no_wrap=True
            )
        for line in self._lines.values():
            if line.state == "running":
                name = (
                    line.name.removeprefix(f"{line.planned.trial.suite}/")
                    if len(suites) == 1
                    else line.name
                )
                table.add_row(
                    f"[cyan]{escape(name)}[/cyan]",
                    _progress_bar(line, 16 if wide else 6),
                    *line.cells(),
                )
        counts = {
            state: sum(line.state == state for line in self._lines.values()) for state in COLOURS
        }
        words = "  ".join(f"{number} {state}" for state, number in counts.items() if number)
        left = self.seconds_left()
        outer = Table.grid()
        outer.add_row(table)
        outer.add_row(
            f"[bold]all[/bold]  {words}"
            + ("" if left is None else f"  {format_duration(left)} left")
        )
        return outer


def _progress_bar(line: TrialLine, width: int) -> str:
    whole = line.planned.total.forward_equivalents
    full = round(width * line.done() / whole) if whole else width
    return "━" * full + "[dim]" + "╌" * (width - full) + "[/dim]"
