"""The page in a headless Chromium: it loads in silence, sorts, filters, can be worked by keys, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from test_report_page import EVIL, LABEL, able, broken, failed, page, two_suites

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (.ci/run installs it)")

METHODS = "[...document.querySelectorAll('#leaderboard tbody th')].map(one => one.textContent)"
SORTED = "[...document.querySelectorAll('#leaderboard thead th')].map(one => one.getAttribute('aria-sort'))"
ROWS = "document.querySelectorAll('#leaderboard tbody tr').length"


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


def choose(browser: Browser, section: str, label: str, value: str) -> None:
    """Choose an option of a select, as its change event tells the page."""
    browser.run(
        f"(() => {{ const label = [...document.querySelectorAll('#{section} label')]"
        f".find(one => one.firstChild.textContent === '{label}'); const select = label.querySelector('select');"
        f"select.value = {value!r}; select.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
    )


@pytest.mark.parametrize("width", [1280, 360])
def test_it_loads_without_a_complaint_asks_for_nothing_and_fits(browser: Browser, tmp_path: Path, width: int) -> None:
    path = page(tmp_path)
    browser.open(path, width)
    assert browser.errors == []
    assert browser.asked_for == [path.resolve().as_uri()]
    assert browser.run(ROWS) == 4
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('.chart [role=img]').length") > 4


def test_the_browser_of_these_tests_does_hear_complaints(browser: Browser, tmp_path: Path) -> None:
    text = page(tmp_path).read_text()
    (tmp_path / "bad.html").write_text(text.replace("</body>", "<img src='http://127.0.0.1:9/x.png'></body>"))
    browser.open(tmp_path / "bad.html")
    assert any("Content Security Policy" in error for error in browser.errors)


def test_names_and_texts_of_data_are_text(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path))
    assert LABEL in browser.run(METHODS)
    choose(browser, "requests", "Method", LABEL)
    assert EVIL in browser.run("document.querySelector('#requests tbody').textContent")
    assert browser.run("document.querySelectorAll('b, #requests script, main script').length") == 0
    assert "<b>title</b> of </script>" in browser.run("document.querySelector('h1').textContent")


def test_keys_sort_both_ways_and_the_head_says_which(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path))
    values = "[...document.querySelectorAll('#leaderboard tbody tr')].map(row => parseFloat(row.cells[2].textContent))"
    browser.run("document.querySelectorAll('#leaderboard thead button')[2].focus()")
    browser.press("Enter")
    found = browser.run(values)
    assert found == sorted(found, reverse=True)
    assert browser.run(SORTED)[2] == "descending"
    browser.press(" ")
    assert browser.run(values) == sorted(found)
    assert found != sorted(found)
    assert browser.run(SORTED)[2] == "ascending"
    browser.press("Tab")
    browser.press("Enter")
    assert browser.run(SORTED)[2:4] == [None, "descending"]


def test_filters_leave_what_they_should_and_count_it(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path))
    choose(browser, "leaderboard", "Scale", "20")
    assert browser.run(ROWS) == 2
    browser.run("document.querySelector('#leaderboard input[type=search]').focus()")
    browser.type("QUOTED")
    assert browser.run(METHODS) == [LABEL]
    assert browser.run("document.querySelector('#leaderboard [role=status]').textContent") == "1 of 4 rows"


def test_requests_are_filtered_and_turned(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path))
    said = "document.querySelector('#requests .pager [role=status]').textContent"
    assert browser.run(said) == "1–25 of 80 probes"
    browser.run("document.querySelectorAll('#requests .pager button')[1].focus()")
    browser.press("Enter")
    assert browser.run(said) == "26–50 of 80 probes"
    choose(browser, "requests", "Verdict", "right")
    assert browser.run(said) == "1–10 of 10 probes"
    choose(browser, "requests", "Scale", "1")
    assert browser.run(said) == "1–1 of 1 probes"


def test_points_are_reached_by_keys_and_tell_their_values(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path))
    tip = "document.querySelector('figure .tip')"
    assert browser.run(f"{tip}.hidden")
    browser.run("document.querySelector('.chart [role=img][tabindex=\"0\"]').focus()")
    assert browser.run(f"{tip}.hidden") is False
    first = browser.run(f"{tip}.textContent")
    browser.press("ArrowRight")
    assert browser.run(f"{tip}.textContent") != first
    assert "20 edits" in browser.run(f"{tip}.textContent")
    assert "Reliability 0.500 [0.299–0.701]" in browser.run(f"{tip}.textContent")
    assert browser.run("document.activeElement.getAttribute('aria-label')").startswith(LABEL)
    browser.press("Escape")
    assert browser.run(f"{tip}.hidden")


def test_a_method_can_be_taken_out_of_the_figures(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path))
    points = "document.querySelectorAll('figure')[0].querySelectorAll('[role=img]').length"
    assert browser.run(points) == 4
    browser.run("document.querySelector('.legend button').focus()")
    browser.press(" ")
    assert browser.run(points) == 2
    assert browser.run("document.querySelector('.legend button').getAttribute('aria-pressed')") == "false"


def test_it_is_dark_where_the_system_is_and_the_switch_wins(browser: Browser, tmp_path: Path) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    browser.theme("light")
    browser.open(page(tmp_path))
    assert browser.run(back) == "rgb(255, 255, 255)"
    browser.theme("dark")
    dark = browser.run(back)
    assert dark != "rgb(255, 255, 255)"
    browser.run("document.getElementById('theme').focus()")
    browser.press("Enter")
    assert browser.run(back) == "rgb(255, 255, 255)"
    browser.theme("light")
    browser.press("Enter")
    assert browser.run(back) == dark


def test_manifests_open(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path))
    browser.run("document.querySelector('summary').focus()")
    browser.press("Enter")
    browser.run("new Promise(done => setTimeout(done, 100))")
    assert "weights hash" in browser.run("document.querySelector('details').textContent") or "packages" in browser.run(
        "document.querySelector('details').textContent"
    )


def test_failed_cells_only_show_reasons_and_empty_figures_say_so(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, failed), 360)
    assert browser.errors == []
    assert "boom" in browser.run("document.getElementById('statuses').textContent")
    assert "No cell of this suite is done" in browser.run("document.getElementById('statuses').textContent")
    assert browser.run("document.getElementById('figures').textContent").count("Nothing to draw") == 3
    assert "both Reliability and Reliability" not in browser.run("document.getElementById('figures').textContent")
    assert "No records to show" in browser.run("document.getElementById('requests').textContent")
    assert browser.run("document.documentElement.scrollWidth") <= 360


def test_one_method_with_one_seed_loads(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, labels=["none"]))
    assert browser.errors == []
    assert "compared with nobody" in browser.run("document.getElementById('leaderboard').textContent")


def test_success_is_drawn_against_capability_where_there_is_any(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, able))
    figure = "document.querySelectorAll('figure')[1]"
    assert "Success against capability" in browser.run(f"{figure}.textContent")
    labels = browser.run(f"[...{figure}.querySelectorAll('[role=img]')].map(one => one.getAttribute('aria-label'))")
    assert len(labels) == 2
    assert all("Capability × 0.625" in label for label in labels)


def test_another_suite_can_be_chosen(browser: Browser, tmp_path: Path) -> None:
    browser.open(two_suites(tmp_path))
    assert "boom" in browser.run("document.getElementById('statuses').textContent")
    browser.run("document.querySelector('#suite-choice select').focus()")
    browser.press("ArrowDown")
    assert browser.run("document.title") == "paged · editbench"
    assert "boom" not in browser.run("document.getElementById('statuses').textContent")
    assert browser.errors == []


def test_a_method_has_the_same_colour_in_every_suite(browser: Browser, tmp_path: Path) -> None:
    browser.open(two_suites(tmp_path, first="zzz"))
    marks = (
        "Object.fromEntries([...document.querySelectorAll('.legend button')].map(one => [one.textContent, "
        "[one.querySelector('svg').getAttribute('class'), one.querySelector('path').getAttribute('d')]]))"
    )
    another = browser.run(marks)
    browser.run("document.querySelector('#suite-choice select').focus()")
    browser.press("ArrowDown")
    paged = browser.run(marks)
    assert sorted(another) == ["none", "zzz"] and sorted(paged) == sorted(["none", LABEL])
    assert another["none"] == paged["none"]
    assert len({str(mark) for mark in (another | paged).values()}) == 3


def test_a_control_with_nothing_to_choose_is_not_shown(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path))
    label = "[...document.querySelectorAll('#figures figure:last-child label')]"
    assert browser.run(f"{label}.map(one => getComputedStyle(one).display)") == ["none"]


def test_a_traceback_and_requests_not_edited_unfold_as_text(browser: Browser, tmp_path: Path) -> None:
    browser.open(page(tmp_path, broken))
    assert browser.errors == []
    found = browser.run("[...document.querySelectorAll('#statuses details')].map(one => one.textContent)")
    assert any(text.startswith("Traceback") and EVIL in text and "…/methods/mine.py" in text for text in found)
    assert any(text.startswith("30 requests could not be edited") and text.endswith("and 10 more") for text in found)
    assert browser.run("document.querySelectorAll('main b, main script').length") == 0
