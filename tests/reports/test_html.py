"""The pages, parsed: one file, valid structure, nothing from elsewhere, nothing unescaped."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmark.reports import html
from benchmark.spec.suite import Paper
from tests.reports.conftest import NASTY, Judged

VOID = {"meta", "input", "br", "hr", "link", "img"}
PAGES = ("index.html", "toy/digits/report.html", "toy/letters/report.html", "methods/margin.html")
CLAIM_LINKS = ("toy/digits/report.html#claim-1", "toy/digits/report.html#claim-2")


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    path: tuple[str, ...]
    text: str = ""


@dataclass
class Document(HTMLParser):
    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        path = tuple(element.tag for element in self.open)
        element = Element(tag, {name: value or "" for name, value in attrs}, path)
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]


def parse(text: str) -> Document:
    document = Document()
    document.feed(text)
    document.close()
    assert document.open == [], "every element is closed"
    return document


@pytest.fixture(params=PAGES)
def text(request: pytest.FixtureRequest, site: Path) -> str:
    return (site / request.param).read_text()


def test_structure(text: str) -> None:
    page = parse(text)
    assert text.startswith("<!doctype html>")
    (root,) = page.all("html")
    assert root.attributes["lang"] == "en"
    assert [len(page.all(tag)) for tag in ("title", "main", "header", "footer", "h1")] == [1] * 5
    levels = [
        int(element.tag[1]) for element in page.elements if re.fullmatch(r"h[1-6]", element.tag)
    ]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels)), "no level is skipped"
    for table in page.all("table"):
        region = next(
            e
            for e in page.elements
            if e.tag == "div" and table.text in e.text and "aria-label" in e.attributes
        )
        assert region.attributes["tabindex"] == "0"
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(head.attributes.get("scope") in ("col", "row") for head in page.all("th"))
    assert all("label" in control.path for control in page.all("select") + page.all("input"))
    assert all(
        svg.attributes["role"] == "img" and len(svg.attributes["aria-label"]) > 40
        for svg in page.all("svg")
    )


def test_ids_are_unique_and_links_inside_arrive(text: str) -> None:
    page = parse(text)
    ids = [
        e.attributes["id"] for e in page.elements if "id" in e.attributes and "svg" not in e.path
    ]
    assert len(ids) == len(set(ids))
    inside = [
        link.attributes["href"][1:]
        for link in page.all("a")
        if link.attributes["href"].startswith("#")
    ]
    assert inside
    assert set(inside) <= set(ids)
    tables = [form.attributes["data-table"] for form in page.all("form")]
    assert set(tables) <= set(ids)


def test_nothing_comes_from_elsewhere(text: str) -> None:
    page = parse(text)
    for element in page.elements:
        assert element.tag not in ("link", "iframe", "object", "embed", "img", "base")
        assert not [name for name in element.attributes if name.startswith("on")], (
            "no inline handlers: the policy forbids them"
        )
        for name in ("src", "srcset", "action", "data", "poster"):
            assert name not in element.attributes
        if element.tag in ("use", "image"):
            assert element.attributes.get("xlink:href", "#").startswith("#")
    assert "@import" not in text
    assert "url(http" not in text


def test_the_policy_allows_this_style_and_script_and_no_other(text: str) -> None:
    page = parse(text)
    policy = next(
        m.attributes["content"]
        for m in page.all("meta")
        if m.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (block,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_texts_are_escaped(site: Path) -> None:
    text = (site / "toy/digits/report.html").read_text()
    page = parse(text)
    assert not page.all("b")
    assert any(NASTY in item.text for item in page.all("li")), "the note arrives as it was written"
    command = next(item for item in page.all("code") if "make <report>" in item.text)
    assert command.text == "albench run toy/digits --method entropy\n\nmake <report> && echo 'done'"


def test_preprints_are_linked(judged: Judged) -> None:
    for preprint, links in (
        ("arXiv:2107.14153", ["https://arxiv.org/abs/2107.14153"]),
        ("OpenReview:-V1ITIKPH6", ["https://openreview.net/forum?id=-V1ITIKPH6"]),
        ("", []),
    ):
        suite = judged.suite.suite
        changed = suite.model_copy(
            update={"paper": suite.paper.model_copy(update={"preprint": preprint})}
        )
        file = type(judged.suite)(
            judged.suite.id, judged.suite.path, judged.suite.raw, judged.suite.text, changed
        )
        page = parse(html.suite_page(file, judged.judgement, []))
        assert [a.attributes["href"] for a in page.all("a") if a.text == "paper"] == links


@pytest.mark.parametrize(
    "preprint", ["javascript:alert(1)", "arXiv:1?a=<b>", "https://example.org/"]
)
def test_other_addresses_are_refused(preprint: str) -> None:
    with pytest.raises(ValidationError, match="preprint"):
        Paper(key="toy", title="Toy", venue="Nowhere", year=2024, preprint=preprint)


def test_every_line_says_what_must_be_known(site: Path) -> None:
    page = parse((site / "toy/digits/report.html").read_text())
    rows = [row for row in page.all("tr") if row.attributes.get("data-verdict")]
    judged_rows = [row for row in rows if row.attributes["data-verdict"] != "missing"]
    assert len(judged_rows) >= 6
    assert all("[other data]" in row.text for row in judged_rows)
    notes = {
        item.attributes["id"]: item.text
        for item in page.all("li")
        if item.attributes.get("id", "").startswith("note-")
    }
    assert any("90 of 101 classes" in text for text in notes.values())
    assert any("no source establishes protocol.training.epochs" in text for text in notes.values())
    assert "Missing: entropy." in (site / "toy/digits/report.html").read_text()


def test_the_index_links_every_report_every_claim_and_every_method(site: Path) -> None:
    page = parse((site / "index.html").read_text())
    links = [
        a.attributes["href"] for a in page.all("a") if not a.attributes["href"].startswith("#")
    ]
    methods = [f"methods/{name}.html" for name in ("random", "margin", "entropy")]
    assert set(links) == {
        "toy/digits/report.html",
        "toy/letters/report.html",
        *methods,
        *CLAIM_LINKS,
    }
    assert all((site / link.partition("#")[0]).is_file() for link in links)
    claims = next(table for table in page.all("table") if table.attributes["id"] == "table-claims")
    assert "C1" in claims.text and "C2" in claims.text
    order = [element.attributes["id"] for element in page.all("section")]
    assert order.index("claims") < order.index("suites")


def test_the_page_of_a_method_names_its_suites_and_claims(site: Path) -> None:
    page = parse((site / "methods/margin.html").read_text())
    links = [
        a.attributes["href"] for a in page.all("a") if not a.attributes["href"].startswith("#")
    ]
    assert {"../index.html", "../toy/digits/report.html", "../toy/letters/report.html"} <= set(
        links
    )
    assert all((site / "methods" / link.partition("#")[0]).resolve().is_file() for link in links)
    rows = next(
        table for table in page.all("table") if table.attributes["id"] == "table-method"
    ).text
    assert "1.20×" in rows and "toy/digits" in rows, (
        "the cost of margin is 1.2 times that of random sampling"
    )
    assert len([row for row in page.all("tr") if row.attributes.get("data-state")]) == 2
