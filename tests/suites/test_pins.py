"""Suites of papers pin every parameter of their methods."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmark.al import registry
from benchmark.spec.load import find_suite, suite_files

ROOT = Path(__file__).parents[2] / "suites"
PAPERS = ("tod", "st-conal", "bal", "pt4al", "diam")
ADDED_LATER = {"formula", "first"}
"""Parameters that came after trials had ids, whose default is what was run before: which of two
images with equal votes comes first in DIAM's vote entropy, and how BAL takes its first labels
(`high1st`, the release's default, in `about`)."""


@pytest.mark.parametrize(
    "name",
    [
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in suite_files(ROOT)
        if path.parent.name in PAPERS
    ],
)
def test_nothing_of_a_component_is_left_to_its_defaults(name: str) -> None:
    """`albench show` says that what it does not list is off: a margin, a rate or the rule of the
    first cycle is not."""
    for method_name, method in find_suite(name, ROOT).suite.methods.items():
        for kind, component in (("strategies", method.strategy), ("objectives", method.objective)):
            fields = dataclasses.fields(registry.build_component(kind, component))
            on = {field.name for field in fields if field.default} - ADDED_LATER
            assert on <= set(component.params), method_name
