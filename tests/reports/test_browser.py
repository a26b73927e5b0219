"""The pages in a real browser: no complaint, filters that filter, names for everything, both themes, a phone's width."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.chromium import PROGRAM, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not PROGRAM.exists(), reason=f"needs Debian's Chromium at {PROGRAM}"),
]
PAGES = ("index.html", "toy/digits/report.html", "toy/letters/report.html", "methods/margin.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = Browser()
    yield found
    found.close()


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("page", PAGES)
def test_no_complaints_and_no_sideways_scrolling(
    browser: Browser, site: Path, page: str, dark: bool, width: int
) -> None:
    browser.open(site / page, width=width, dark=dark)
    assert browser.complaints == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    light, ink = browser.run(
        "['backgroundColor', 'color'].map(k => getComputedStyle(document.body)[k].match(/\\d+/g).map(Number)"
        ".reduce((a, b) => a + b))"
    )
    assert (light < ink) is dark


def contrast(browser: Browser) -> list[tuple[str, float]]:
    """WCAG contrast of every piece of text with the background it lies on."""
    return browser.run("""(() => {
        const part = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
        const light = c => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
        const numbers = text => text.match(/[\\d.]+/g).map(Number);
        const behind = e => {
            for (; e; e = e.parentElement) {
                const c = numbers(getComputedStyle(e).backgroundColor);
                if (c.length < 4 || c[3] > 0) return c;
            }
            return [255, 255, 255];
        };
        const found = [];
        for (const e of document.body.querySelectorAll('*')) {
            const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            if (!own || !e.checkVisibility() || ['SCRIPT', 'STYLE', 'OPTION'].includes(e.tagName)) continue;
            const style = getComputedStyle(e), svg = e.namespaceURI.endsWith('svg');
            const [a, b] = [light(numbers(svg ? style.fill : style.color)), light(behind(e))].sort((x, y) => y - x);
            found.push([e.tagName + ': ' + e.textContent.trim().slice(0, 30), (a + 0.05) / (b + 0.05)]);
        }
        return found;
    })()""")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("page", PAGES)
def test_text_can_be_read_in_both_themes(browser: Browser, site: Path, page: str, dark: bool) -> None:
    browser.open(site / page, dark=dark)
    measured = contrast(browser)
    assert len(measured) > 40
    assert [(text, ratio) for text, ratio in measured if ratio < 4.5] == []


def shown(browser: Browser, table: str) -> int:
    return browser.run(f"[...document.querySelectorAll('#{table} tbody tr')].filter(r => r.checkVisibility()).length")


def choose(browser: Browser, table: str, field: str, value: str) -> None:
    browser.run(
        f"(() => {{ const e = document.querySelector('form[data-table={table}] [name={field}]'); e.value = '{value}';"
        " e.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_filters_of_a_report(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    assert shown(browser, "table-numbers") == 9
    choose(browser, "table-numbers", "verdict", "missing")
    assert shown(browser, "table-numbers") == 3
    choose(browser, "table-numbers", "labels", "200")
    assert shown(browser, "table-numbers") == 1
    assert browser.run("document.querySelector('form[data-table=table-numbers] output').textContent") == "1 of 9 rows"
    browser.run(
        "new Promise(r => { document.querySelector('form[data-table=table-numbers] button').click(); setTimeout(r, 50); })"
    )
    assert shown(browser, "table-numbers") == 9
    choose(browser, "table-numbers", "text", "MARGIN")
    assert shown(browser, "table-numbers") == 3


def test_a_column_head_sorts_its_table(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    cells = "[...document.querySelectorAll('#table-numbers tbody tr')].map(row => row.cells[%d].textContent)"
    press = "document.querySelectorAll('#table-numbers thead th')[%d].querySelector('button').click()"
    browser.run(press % 1)
    assert [int(text) for text in browser.run(cells % 1)] == sorted([100, 200, 300] * 3)
    browser.run(press % 1)
    assert [int(text) for text in browser.run(cells % 1)] == sorted([100, 200, 300] * 3, reverse=True)
    assert browser.run("document.querySelectorAll('#table-numbers [aria-sort=descending]').length") == 1
    browser.run(press % 0)
    assert browser.run(cells % 0) == sorted(["random", "margin", "entropy"] * 3)


def test_long_tables_are_paged_and_the_rest_is_one_click_away(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    browser.run("""(() => {
        const body = document.querySelector('#table-numbers tbody');
        for (let k = 0; k < 100; k++) body.append(body.rows[k % 9].cloneNode(true));
        document.querySelector('form[data-table=table-numbers]').dispatchEvent(new Event('input'));
    })()""")
    form = "document.querySelector('form[data-table=table-numbers] %s')"
    assert shown(browser, "table-numbers") == 50
    assert browser.run(form % "output" + ".textContent") == "50 of 109 rows, 109 match"
    browser.run(form % "[data-more]" + ".click()")
    assert shown(browser, "table-numbers") == 109
    assert browser.run(form % "[data-more]" + ".hidden")


def test_the_first_screen_holds_the_answer(browser: Browser, site: Path) -> None:
    """Verdicts, claims and the command that fills what is missing stand above the fold of a usual window."""
    browser.open(site / "toy/digits/report.html", width=1400, height=1000)
    for place in (".tiles", "#table-matrix", "#answer pre"):
        assert browser.run(f"document.querySelector('{place}').getBoundingClientRect().bottom") <= 1000, place
    words = browser.run("document.querySelector('#answer').innerText")
    assert "reproduced" in words and "C1" in words and "albench run toy/digits" in words


def test_filters_of_the_index(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    assert (shown(browser, "table-suites"), shown(browser, "table-entries")) == (2, 5)
    choose(browser, "table-suites", "dataset", "letters")
    choose(browser, "table-entries", "method", "margin")
    assert (shown(browser, "table-suites"), shown(browser, "table-entries")) == (1, 2)
    href = browser.run("document.querySelector('#table-suites tbody tr:not([hidden]) a').href")
    assert href == (site / "toy/letters/report.html").as_uri()


@pytest.mark.parametrize("page", PAGES)
def test_everything_has_an_accessible_name(browser: Browser, site: Path, page: str) -> None:
    browser.open(site / page)
    nodes = browser.accessible()
    needs = {"link", "button", "combobox", "searchbox", "image", "img", "table", "region", "navigation", "heading"}
    needs |= {"columnheader", "rowheader"}
    assert [node for node in nodes if node[0] in needs and not node[1].strip()] == []
    roles = [role for role, _ in nodes]
    assert roles.count("main") == 1
    assert {"banner", "contentinfo", "heading", "table", "rowheader"} <= set(roles)
    assert browser.run("document.title") != ""
    images = [name for role, name in nodes if role in ("image", "img")]
    assert all(len(name) > 40 for name in images), "pictures are described in words"


def test_the_keyboard_reaches_what_the_mouse_does(browser: Browser, site: Path) -> None:
    browser.open(site / "toy/digits/report.html")
    reached = []
    for _ in range(250):
        browser.press("Tab", 9)
        tag = browser.run(
            "(() => { const e = document.activeElement; return [e.tagName, e.className, e.getAttribute('href'), "
            "getComputedStyle(e).outlineStyle]; })()"
        )
        if tag[0] == "BODY":
            break
        reached.append(tag)
    assert reached[0][:3] == ["A", "skip", "#main"]
    assert {"A", "SELECT", "INPUT", "BUTTON", "DIV", "PRE"} <= {tag for tag, *_ in reached}
    assert all(outline != "none" for *_, outline in reached), "what has the focus shows it"
