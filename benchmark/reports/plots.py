"""Pictures of one suite: our curves over the paper's, and the gain over random sampling.

Drawn without pyplot and without a clock, so the same suite verdict gives the same bytes. Colours
and markers are those of `curves`. Text stays text in SVG files.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmark.reports import curves
from benchmark.reports.curves import NEUTRAL, Look, Point
from benchmark.spec.load import SuiteFile
from benchmark.spec.published import TARGETS, ReportedResult
from benchmark.verdicts.measurements import Measurement
from benchmark.verdicts.method_table import find_control
from benchmark.verdicts.results import SuiteVerdict
from benchmark.verdicts.trials import Trials, select_trials

LEGEND = ("ours", "published", "other sources")
INK, PAPER = "#000000", "#ffffff"
STYLE: Any = {
    "svg.hashsalt": "albench",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": NEUTRAL,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
}


@dataclass(frozen=True)
class Picture:
    """A picture in both formats, and in words for readers who cannot see it."""

    name: str
    title: str
    description: str
    png: bytes
    svg: bytes


def draw_pictures(
    suite_file: SuiteFile, judgement: SuiteVerdict, measurements: Sequence[Measurement]
) -> list[Picture]:
    """The pictures that these measurements and published numbers support: none, curves, or curves
    and gains."""
    trials = select_trials(measurements, judgement.suite, judgement.profile, judgement.variant)
    published = suite_file.reported if judgement.profile == "paper" else ()
    rows = curves.published_rows(suite_file, judgement)
    looks = curves.method_looks(suite_file, judgement, trials, rows)
    if not looks:
        return []
    with picture_style():
        found = [_draw_curves(suite_file, judgement, trials, rows, looks)]
        gains = _draw_gains(suite_file, judgement, trials, rows, looks)
        models = _draw_models(suite_file, judgement, trials, published, looks)
    return [*found, *filter(None, (gains, models))]


# ------------------------------------------------------------------------------------------- curves


def _draw_curves(
    suite_file: SuiteFile,
    judgement: SuiteVerdict,
    trials: Trials,
    rows: Sequence[ReportedResult],
    looks: dict[str, Look],
) -> Picture:
    metric = judgement.rule.metric
    figure, axes = _make_panels(looks)
    base = next(
        (
            method
            for method in looks
            if find_control(suite_file.suite, method, trials.methods) == ""
        ),
        "",
    )
    for axis, (method, look) in zip(axes, looks.items(), strict=True):
        if base and base != method:
            _draw_band(axis, trials, base, metric, Look(NEUTRAL, ""), f"{base}, ours")
        _draw_other_sources(
            axis, [row for row in rows if row.method == method and row.role not in TARGETS]
        )
        _draw_published(
            axis, [row for row in rows if row.method == method and row.role in TARGETS], look
        )
        _draw_band(axis, trials, method, metric, look, "ours")
        _draw_ceiling(axis, trials, metric)
    _finish_figure(figure, axes, curves.value_axis(suite_file, metric))
    theirs = any(row.role in TARGETS for row in rows)
    description = (
        f"{_one_each(looks)}: our mean {metric} over labelled images with a 95 % confidence band"
        f"{', and the published points as hollow markers on a dashed line' if theirs else ''}. "
        "The tables hold the same numbers."
    )
    return picture_of(figure, "curves", f"{judgement.title}: curves", description)


def _draw_ceiling(axis: Any, trials: Trials, metric: str) -> None:
    """The mean of one training on all labels, across the panel."""
    height = curves.mean_ceiling(trials, metric)
    if height is not None:
        axis.axhline(
            height, color=NEUTRAL, linewidth=1.0, linestyle=":", label="all labels, ours", zorder=1
        )


def _draw_band(axis: Any, trials: Trials, method: str, metric: str, look: Look, label: str) -> None:
    """Our mean and the 95 % confidence band of the mean, at every size."""
    found = curves.mean_points(trials, method, metric)
    if found:
        _draw_line(axis, found, look, label)


def _draw_line(axis: Any, points: Sequence[Point], look: Look, label: str) -> None:
    """A mean curve and its band; without a marker it is a thin one in the background."""
    weak = look.marker == ""
    sizes = [point.size for point in points]
    means = np.array([point.mean for point in points])
    half = np.array([point.half for point in points])
    if np.isfinite(half).all():
        axis.fill_between(
            sizes,
            means - half,
            means + half,
            color=look.colour,
            alpha=0.15 if weak else 0.25,
            linewidth=0,
        )
    axis.plot(
        sizes,
        means,
        color=look.colour,
        marker=look.marker or None,
        markersize=4,
        linewidth=1.0 if weak else 1.8,
        label=label,
        zorder=2 if weak else 3,
    )


def _hollow_look(look: Look) -> dict[str, Any]:
    """The look of published points: dashed, hollow, in ink."""
    return {
        "color": INK,
        "linestyle": (0, (4, 2)),
        "linewidth": 1.0,
        "marker": look.marker or "o",
        "markersize": 6,
        "markerfacecolor": "none",
        "zorder": 4,
    }


def _draw_other_sources(axis: Any, rows: Sequence[ReportedResult]) -> None:
    """What other sources say of the method: whether the paper stands alone can be seen."""
    if rows:
        axis.plot(
            [row.labelled for row in rows],
            [row.mean for row in rows],
            color=NEUTRAL,
            linestyle="none",
            marker="_",
            markersize=9,
            markeredgewidth=1.6,
            label="other sources",
            zorder=2,
        )


def _draw_published(axis: Any, rows: Sequence[ReportedResult], look: Look) -> None:
    """Published points by source, with their spread where one is defined."""
    sources = list(dict.fromkeys(row.source for row in rows))
    for source in sources:
        own = sorted(
            (row for row in rows if row.source == source), key=lambda row: row.labelled or 0
        )
        spread = [
            row.dispersion if row.dispersion_kind not in (None, "undefined") else 0.0 for row in own
        ]
        axis.errorbar(
            [row.labelled for row in own],
            [row.mean for row in own],
            yerr=spread if any(map(bool, spread)) else None,
            label="published",
            **_hollow_look(look),
        )


def _draw_models(
    suite_file: SuiteFile,
    judgement: SuiteVerdict,
    trials: Trials,
    published: Sequence[ReportedResult],
    looks: dict[str, Look],
) -> Picture | None:
    """The paper's figure of several target models: the mean over them with the spread over them,
    ours and published."""
    if not judgement.models:
        return None
    places = suite_file.resolve(judgement.profile, judgement.variant).protocol.trained()
    names = [f"accuracy/model{place}" for place in places]
    figure, axes = _make_panels(looks)
    for axis, (method, look) in zip(axes, looks.items(), strict=True):
        theirs: dict[int, list[float]] = {}
        for row in published:
            if (
                row.method == method
                and row.metric in names
                and row.labelled is not None
                and row.mean is not None
            ):
                theirs.setdefault(row.labelled, []).append(row.mean)
        ours = {
            size: np.array([list(trials.values(method, size, name).values()) for name in names])
            for size in trials.sizes(method)
            if all(trials.values(method, size, name) for name in names)
        }
        if theirs:
            sizes = sorted(theirs)
            axis.errorbar(
                sizes,
                [np.mean(theirs[size]) for size in sizes],
                yerr=[np.std(theirs[size]) for size in sizes],
                label="published",
                **_hollow_look(look),
            )
        if ours:
            points = [
                Point(size, float(value.mean()), float(value.std(axis=0).mean()), value.shape[1])
                for size, value in ours.items()
            ]
            _draw_line(axis, points, look, "ours")
    _finish_figure(figure, axes, curves.value_axis(suite_file, "accuracy"))
    description = (
        f"{_one_each(looks)}: accuracy averaged over {len(places)} target models over labelled "
        "images; band and bars are one "
        "standard deviation over models (not over seeds), ours averaged over seeds."
    )
    return picture_of(figure, "models", f"{judgement.title}: spread over models", description)


# -------------------------------------------------------------------------------------------- gains


def _draw_gains(
    suite_file: SuiteFile,
    judgement: SuiteVerdict,
    trials: Trials,
    rows: Sequence[ReportedResult],
    looks: dict[str, Look],
) -> Picture | None:
    metric = judgement.rule.metric
    bases = curves.find_controls(suite_file, judgement, trials, looks)
    points = {
        method: curves.gain_points(trials, method, base, metric) for method, base in bases.items()
    }
    shown = {method: looks[method] for method, found in points.items() if found}
    if not shown:
        return None
    figure, axes = _make_panels(shown)
    for axis, (method, look) in zip(axes, shown.items(), strict=True):
        axis.axhline(0.0, color=NEUTRAL, linewidth=1.2, label="random, same seeds")
        theirs = curves.published_gain(rows, method, bases[method])
        if theirs:
            axis.plot(list(theirs), list(theirs.values()), label="published", **_hollow_look(look))
        _draw_line(axis, points[method], look, "ours")
    _finish_figure(figure, axes, curves.gain_axis(metric))
    drawn = any(curves.published_gain(rows, method, bases[method]) for method in shown)
    description = (
        f"{_one_each(shown)}: difference in {metric} to random sampling over labelled images, ours "
        "paired by seed with a 95 % "
        f"confidence band{', the published one dashed with hollow markers' if drawn else ''}. The "
        "zero line is random sampling."
    )
    return picture_of(figure, "gain", f"{judgement.title}: gain over random sampling", description)


# ------------------------------------------------------------------------------------------- output


def picture_style() -> Any:
    """The style of every picture: draw inside it."""
    from matplotlib import rc_context

    return rc_context(STYLE)


def figure_of(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Any:
    """An empty figure of this size in inches, without any window behind it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _one_each(methods: Collection[str]) -> str:
    return f"{len(methods)} panel{'s' * (len(methods) != 1)}, one per method"


def _make_panels(looks: dict[str, Look]) -> tuple[Any, list[Any]]:
    """A figure with one panel per method, all on the same scales."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    columns = min(3, len(looks))
    lines = math.ceil(len(looks) / columns)
    figure = figure_of(max(4.2, 2.9 * columns + 0.5), 2.2 * lines + 0.9)
    axes = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axis in axes[len(looks) :]:
        axis.set_visible(False)
    for place, (axis, method) in enumerate(zip(axes, looks, strict=False)):
        axis.set_title(method, loc="left", fontsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.tick_params(labelbottom=place + columns >= len(looks), labelleft=place % columns == 0)
    return figure, axes[: len(looks)]


def _finish_figure(figure: Any, axes: Sequence[Any], vertical: str) -> None:
    """Labels, and one legend over all panels: colours differ by panel, so its handles are drawn in
    ink."""
    from matplotlib.lines import Line2D

    figure.supxlabel("labelled images", fontsize=9)
    figure.supylabel(vertical, fontsize=9)
    given = dict.fromkeys(label for axis in axes for label in axis.get_legend_handles_labels()[1])
    labels = sorted(
        given, key=lambda label: LEGEND.index(label) if label in LEGEND else len(LEGEND)
    )
    looks: dict[str, dict[str, Any]] = {
        "ours": {"color": INK, "linewidth": 1.8, "marker": "o", "markersize": 4},
        "published": _hollow_look(Look(INK, "o")),
        "other sources": {
            "color": NEUTRAL,
            "linestyle": "none",
            "marker": "_",
            "markersize": 9,
            "markeredgewidth": 1.6,
        },
    }
    handles = [
        Line2D([], [], **looks.get(label, {"color": NEUTRAL, "linewidth": 1.0})) for label in labels
    ]
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def picture_of(figure: Any, name: str, title: str, description: str) -> Picture:
    """A finished figure in both formats, without anything that depends on when or where it was
    drawn."""
    png, svg, words = io.BytesIO(), io.BytesIO(), {"Title": title, "Description": description}
    figure.savefig(png, format="png", dpi=150, metadata={"Software": None, **words})
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, **words})
    return Picture(name, title, description, png.getvalue(), svg.getvalue())


def inline(picture: Picture) -> str:
    """The SVG for a page: its ink is the page's, it has an accessible name, and nothing in it
    reaches beyond it."""
    text = picture.svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<title>.*?</title>", "", text, flags=re.DOTALL
    )
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace(INK, "currentColor").replace(PAPER, "none")
    from html import escape

    name = escape(f"{picture.title}. {picture.description}", quote=True)
    return text.replace("<svg", f'<svg role="img" aria-label="{name}"', 1).strip()
