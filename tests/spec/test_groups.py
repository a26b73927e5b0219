"""Groups of methods: what any suite takes, under which names, and what that leaves as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.al import registry
from benchmark.api.selection import select
from benchmark.errors import UsageError
from benchmark.spec.groups import CEILING, GROUPS, MODERN, ONE_MODEL, expand_groups, group_methods
from benchmark.spec.load import load_suite, suite_files
from benchmark.spec.selectors import Selection

SUITES = Path(__file__).parents[2] / "suites"


def chosen(text: str, methods: list[str] | None = None) -> list[str]:
    return [item.trial.method_name for item in select(text, methods=methods).trials(SUITES)]


def test_every_member_is_a_strategy_with_defaults() -> None:
    for name in MODERN:
        registry.find_class("strategies", name)()


@pytest.mark.parametrize(
    "path", list(suite_files(SUITES)), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_any_suite_takes_them(path: Path) -> None:
    suite = load_suite(path, SUITES)
    found = group_methods(suite.suite)
    several = len(suite.suite.protocol.trained()) > 1
    assert set(found) == {*MODERN, CEILING} - (set(ONE_MODEL) if several else set()) - set(
        suite.suite.methods
    )
    trials = suite.trials(methods=list(found), seeds=[0], extra=found)
    assert all(
        trial.protocol == suite.suite.protocol for trial in trials if trial.method_name != CEILING
    )
    (ceiling,) = (trial for trial in trials if trial.method_name == CEILING)
    assert ceiling.protocol.acquisition.labelled() == (suite.suite.protocol.data.train_size,)


def test_names_on_a_command_line() -> None:
    assert chosen("quickstart/digits@0", ["modern"]) == list(MODERN)
    assert chosen("quickstart/digits@0", ["random", "bait", "modern"])[:3] == [
        "random",
        "bait",
        "typiclust",
    ]
    assert chosen("quickstart/digits/modern@0") == list(MODERN)
    assert chosen("quickstart/digits/falcun@0,1") == ["falcun", "falcun"]
    assert chosen("quickstart/digits/ceiling@0") == [CEILING]
    assert "alfa_mix" not in chosen("diam/mnist@0", ["modern"])


def test_whoever_asks_for_nothing_gets_the_suites_own() -> None:
    for text in ("quickstart/digits@0", "quickstart/digits/*@0"):
        assert not {*MODERN, CEILING} & set(chosen(text))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as refused:
        chosen("quickstart/digits/typiclus@0")
    assert "typiclust" in refused.value.remedy


def test_a_suites_own_method_comes_first() -> None:
    suite = load_suite(SUITES / "quickstart" / "digits.toml", SUITES).suite
    own = suite.model_copy(update={"methods": {**suite.methods, "bait": suite.methods["random"]}})
    assert "bait" not in group_methods(own) and "bait" in expand_groups(["modern"], own)
    named = suite.model_copy(
        update={"methods": {**suite.methods, "modern": suite.methods["random"]}}
    )
    assert expand_groups(["modern"], named) == ["modern"]
    assert list(GROUPS) == ["modern"] and isinstance(select("quickstart/digits"), Selection)
