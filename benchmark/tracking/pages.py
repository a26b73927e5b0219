"""What MLflow's pages show of a suite without anybody setting anything: columns, groups, charts and
a description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmark.tracking.links import CURVES, VIEW

NOTE = "mlflow.note.content"
VIEW_TAG, CURVES_TAG = f"mlflow.sharedViewState.{VIEW}", f"mlflow.sharedViewState.{CURVES}"
"""Tags of an experiment in which MLflow's pages look up a view that an address names
(`viewStateShareKey`)."""
COLUMNS = (
    "attributes.`Dataset`",
    "attributes.`Source`",
    "params.`model`",
    "metrics.`final_accuracy`",
    "metrics.`area`",
    "metrics.`gain`",
    "metrics.`trials`",
    "tags.`verdict`",
)
TRIAL_COLUMNS = (
    "attributes.`Dataset`",
    "attributes.`Source`",
    "attributes.`Version`",
    "params.`model`",
    "params.`seed`",
    "metrics.`final_accuracy`",
    "metrics.`area`",
    "metrics.`train/images_per_second`",
)
LINES, BARS = ("test/accuracy",), ("final_accuracy", "area")
"""Metrics that are drawn over the labelled images, and as bars."""


def view_states() -> dict[str, str]:
    """Tags of an experiment with two views: its methods by area, and its trials grouped by method
    with their curves."""
    methods = _page_state("tags.`albench.kind` = 'cell'", COLUMNS)
    curves = _page_state("tags.`albench.kind` = 'trial'", TRIAL_COLUMNS, group="method")
    return {VIEW_TAG: json.dumps(methods), CURVES_TAG: json.dumps(curves)}


def _page_state(search: str, columns: tuple[str, ...], group: str = "") -> dict[str, Any]:
    """A view in the form that MLflow's pages keep one."""
    by = (
        {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": group}]}
        if group
        else None
    )
    return {
        "searchFilter": search,
        "orderByKey": "metrics.`area`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": by,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
        "compareRunSections": [
            {
                "uuid": "albench",
                "name": "Accuracy over labelled images",
                "display": True,
                "isReordered": False,
            }
        ],
        "compareRunCharts": [*map(_line_chart, LINES if group else ()), *map(_bar_chart, BARS)],
    }


def _line_chart(metric: str) -> dict[str, Any]:
    return _chart_card("LINE", metric) | {
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "xAxisScaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "scaleType": "linear",
        "lineSmoothness": 0,
        "ignoreOutliers": False,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
        "displayName": f"{metric} over labelled images",
        "range": {},
    }


def _bar_chart(metric: str) -> dict[str, Any]:
    return _chart_card("BAR", metric) | {"displayName": f"{metric} (%)"}


def _chart_card(kind: str, metric: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"albench-{metric}",
        "metricKey": metric,
        "metricSectionId": "albench",
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
    }


def describe_experiment(
    suite: str, experiment: str, about: str = "", reports: Mapping[str, str] | None = None
) -> str:
    """The description of a suite's experiment in Markdown: what it is, what came out (`about`), and
    links. Its first line is what the folded description shows.

    `reports` are runs by the name of their method, whose artifacts hold table, figure and report.
    """
    page = f"#/experiments/{experiment}/runs?viewStateShareKey="
    lines = [
        about or f"Trials of the suite `{suite}`; `albench report {suite}` adds the verdicts.",
        "A run for each method holds table, figures and report; in it is a run for each seed.",
        f"[Methods by area]({page}{VIEW}) · [Curves over labelled "
        f"images]({page}{CURVES}&compareRunsMode=CHART)",
    ]
    for method, run in (reports or {}).items():
        place = f"#/experiments/{experiment}/runs/{run}/artifacts"
        lines.append(f"Report, figures and table of verdicts: [artifacts of {method}]({place})")
    return "\n\n".join(lines)
