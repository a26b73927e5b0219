"""Parameters read from the files of components are those that building a component takes, and
`plan` refuses the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.al import parameters, registry
from benchmark.cli import invoke
from benchmark.errors import UsageError
from benchmark.spec.load import load_suite, suite_files
from benchmark.spec.suite import Component

SUITES = Path(__file__).parents[2] / "suites"
KINDS = ("strategies", "objectives")
PINNED = {
    (kind, component.name, str(component.params)): component
    for path in suite_files(SUITES)
    for method in load_suite(path, SUITES).suite.methods.values()
    for kind, component in (("strategies", method.strategy), ("objectives", method.objective))
}


def refused(check: Any, kind: str, component: Component) -> str:
    try:
        check(kind, component)
    except UsageError as error:
        return str(error).partition("->")[0]
    return ""


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in registry.component_names(kind)]
)
def test_a_component_takes_what_building_it_takes(kind: str, name: str) -> None:
    for params in (
        {},
        {"no_such": 1},
        *(
            {field: wrong}
            for field in fields(kind, name)
            for wrong in ("?", -1, 0.5, None, [], True)
        ),
    ):
        component = Component(name=name, params=params)
        found, wanted = (
            bool(refused(check, kind, component))
            for check in (parameters.demand_valid, registry.build_component)
        )
        assert found == wanted, params


def fields(kind: str, name: str) -> list[str]:
    module, cls = registry.definition_of(kind, name)
    return [*parameters._Module.of(module).fields(cls)]


@pytest.mark.parametrize("key", PINNED, ids="-".join)
def test_what_suites_pin_is_taken(key: tuple[str, str, str]) -> None:
    parameters.demand_valid(key[0], PINNED[key])


def test_nothing_is_imported_that_needs_torch() -> None:
    code = (
        "import sys; from benchmark.al import parameters, registry\n"
        "for kind in ('strategies', 'objectives'):\n"
        "    for name in registry.component_names(kind): parameters._find_adapter(kind, name)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (
            [
                "bal/cifar10-base",
                "--methods",
                "bal",
                "--set",
                'methods.bal.strategy.params.first="uni"',
            ],
            "first",
        ),
        (
            [
                "bal/cifar10-base",
                "--methods",
                "bal",
                "--set",
                'methods.bal.strategy.params.sampler="loss"',
            ],
            "sampler",
        ),
        (
            ["diam/mnist", "--methods", "diam", "--set", "protocol.training.vote_fraction=0.02"],
            "round to no vote",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_plan_refuses_what_a_run_would_refuse(
    verb: str, selection: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        invoke(
            [
                "--runs",
                str(tmp_path / "runs"),
                "--data",
                str(tmp_path),
                verb,
                *selection,
                "--profile",
                "smoke",
            ]
        )
        == 2
    )
    assert words in capsys.readouterr().err
