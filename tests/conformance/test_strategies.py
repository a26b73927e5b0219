"""Every strategy of this project keeps to the contract: found by looking, with the parameters that
suites give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from benchmark.al import registry
from benchmark.al.strategies import Strategy
from benchmark.conformance import CHECKS, Finding, Result, Scenario, check
from benchmark.conformance.checks import memory
from benchmark.conformance.scenario import acquire_in
from benchmark.errors import UsageError
from benchmark.spec.load import load_suite, suite_files
from benchmark.spec.suite import Component

SUITES = Path(__file__).parents[2] / "suites"
SHORT = {"iterations": 1, "width": 2, "steps": 5, "passes": 4, "samples": 50}
"""Parameters that say how long a strategy's own network is trained, how large it is, and how often
the trained one is passed."""
STORED = {"replay"}
"""The strategy that only buys again what was bought in one place:
tests/al/strategies/test_replay.py."""
COMMITTEES = {
    "cal",
    "committee_entropy",
    "committee_least_confidence",
    "committee_margin",
    "coreset",
    "diam",
    "diam_qp",
}
"""Strategies for several target models."""


def components() -> Iterator[tuple[Strategy, Component]]:
    """Each built-in strategy with its default parameters, where it has defaults, and with those of
    every suite."""
    pinned = [
        method.strategy
        for path in suite_files(SUITES)
        for method in load_suite(path, SUITES).suite.methods.values()
    ]
    for component in [
        *(Component(name=name) for name in registry.component_names("strategies")),
        *pinned,
    ]:
        known = {field.name for field in fields(registry.find_class("strategies", component.name))}
        short = {name: value for name, value in SHORT.items() if name in known}
        complete = component.model_copy(update={"params": component.params | short})
        try:
            yield registry.build_component("strategies", complete), complete
        except UsageError:
            assert not component.params, component


def distinct() -> list[Component]:
    found: dict[Strategy, Component] = {}
    for strategy, component in components():
        found.setdefault(strategy, component)
    return list(found.values())


BUILT = distinct()


def label(component: Component) -> str:
    params: dict[str, Any] = {
        name: value for name, value in component.params.items() if name not in SHORT
    }
    return component.name + (
        f"({','.join(f'{k}={v}' for k, v in params.items())})" if params else ""
    )


def failures(component: Component, models: int = 1) -> list[Finding]:
    found = list(check(lambda: registry.build_component("strategies", component), models))
    assert len(found) == len(CHECKS)
    return [finding for finding in found if finding.result is Result.FAILED]


@pytest.mark.parametrize("component", BUILT, ids=label)
def test_contract(component: Component) -> None:
    assert failures(component) == []


def test_every_strategy_is_there() -> None:
    assert {component.name for component in BUILT} == set(
        registry.component_names("strategies")
    ) - STORED


@pytest.mark.parametrize(
    "component", [found for found in BUILT if found.name in COMMITTEES], ids=label
)
def test_contract_with_several_target_models(component: Component) -> None:
    assert failures(component, models=3) == []


@pytest.mark.parametrize("models", [1, 3])
def test_no_two_methods_buy_the_same_images_by_the_stream_alone(models: int) -> None:
    """Whatever draws: in every situation the images of any two strategies that drew differ. CAL and
    random sampling were one method under two names wherever all candidates were in dispute."""
    shown = [found for found in BUILT if models == 1 or found.name in {*COMMITTEES, "random"}]
    for world in (
        Scenario(models=models),
        Scenario(models=models, tied=True),
        Scenario(models=models, candidates=100, budget=5),
    ):
        bought: dict[frozenset[int], str] = {}
        for component in shown:
            found = acquire_in(registry.build_component("strategies", component), world)
            images = frozenset(found.images)
            tied = found.positions == list(range(len(found.positions)))
            if (
                found.drew and not tied
            ):  # networks of their own that see no difference: the first ones, not a draw
                assert bought.setdefault(images, component.name) == component.name
        assert {"random"} < set(bought.values())


def test_streams_are_keyed_by_the_strategy_and_random_sampling_keeps_the_bare_one() -> None:
    """Two samplers of one name share a stream, so that a parameter is compared on paired draws."""
    keys = {registry.build_component("strategies", component).stream for component in BUILT}
    assert keys == {"", *registry.component_names("strategies")} - {"random"} - STORED


def test_what_grows_faster_than_the_pool_is_known() -> None:
    """Graphs over all nodes, a programme over a fifth of the pool, and similarities that herding
    keeps of up to 5,792 candidates (`coverage.MOST_PAIRS`); k-center and all others stay in
    proportion."""
    grows = set()
    for component in BUILT:
        said = memory(
            lambda component=component: registry.build_component("strategies", component),
            Scenario(),
        )
        grows |= {component.name} if said else set()
    assert grows == {"uncertain_gcn", "core_gcn", "diam_qp", "max_herding", "uherding"}
