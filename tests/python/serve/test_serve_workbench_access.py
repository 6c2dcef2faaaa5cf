"""The workbench in a real browser: dark mode, keyboard, screen readers, small screens."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright", reason="needs playwright")

from browser_helpers import Workbench, browser, server, workbench
from playwright.sync_api import Browser, expect
from server_helpers import Running

__all__ = ["browser", "server", "workbench"]  # fixtures

BACKGROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 23, 27)"


def test_dark_mode_follows_the_system_and_the_button(workbench: Workbench) -> None:
    page = workbench.page
    button = page.get_by_role("button", name="Dark mode")
    for scheme, background in (("light", LIGHT), ("dark", DARK)):
        page.emulate_media(color_scheme=scheme)
        expect(button).to_have_attribute("aria-pressed", str(scheme == "dark").lower())
        assert page.evaluate(BACKGROUND) == background
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert page.evaluate(BACKGROUND) == LIGHT
    button.click()
    assert page.evaluate(BACKGROUND) == DARK


def test_everything_works_without_a_mouse(workbench: Workbench) -> None:
    page, keyboard = workbench.page, workbench.page.keyboard
    keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the text")).to_be_focused()
    keyboard.press("Enter")
    expect(page.get_by_label("Type or paste a text")).to_be_focused()
    keyboard.type("hello friend")
    expect(page.locator("#judged")).to_have_text("hello friend")
    keyboard.press("Tab")
    expect(page.get_by_label("Kind")).to_be_focused()
    keyboard.type("case")
    keyboard.press("Tab")
    expect(page.get_by_role("slider", name="Strength")).to_be_focused()
    keyboard.press("End")
    expect(page.locator("#judged")).to_have_text("HELLO FRIEND")
    keyboard.press("Tab")
    expect(page.get_by_label("Words behind")).to_be_focused()
    for place in ("#judged", "#verdict-title ~ .wide"):
        keyboard.press("Tab")
        expect(page.locator(place)).to_be_focused()
    keyboard.press("Tab")
    summary = page.locator("[data-category=harassment] summary")
    expect(summary).to_be_focused()
    keyboard.press("Enter")
    expect(page.get_by_text("Review from 0:")).to_be_visible()
    for _ in range(3):
        keyboard.press("Tab")
    expect(page.get_by_label("CSV file")).to_be_focused()
    workbench.upload("texts.csv", b"text\ngood\nbad\n")
    expect(page.get_by_role("button", name="Judge all rows")).to_be_visible()
    for name in ("The first row holds names", "Column with the text"):
        keyboard.press("Tab")
        expect(page.get_by_label(name)).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(page.locator("#batch-status")).to_have_text("2 rows: 2 review.")
    download = page.get_by_role("button", name="Download as CSV")
    page.get_by_label("Column with the text").focus()
    for _ in range(4):
        if download.evaluate("here => here === document.activeElement"):
            break
        keyboard.press("Tab")
    expect(download).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(page.locator("#results th").first).to_have_attribute("aria-sort", "descending")


def test_where_the_focus_is_can_be_seen(workbench: Workbench) -> None:
    page = workbench.page
    for _ in range(9):
        page.keyboard.press("Tab")
        style = "getComputedStyle(document.activeElement)"
        assert page.evaluate(f"{style}.outlineStyle + {style}.outlineWidth") == "solid3px"


def test_names_roles_and_live_regions(workbench: Workbench) -> None:
    page = workbench.page
    workbench.type("hello")
    expect(page.locator("#verdict")).to_contain_text("Action: review.")
    for place in ("#verdict", "#batch-status"):
        expect(page.locator(place)).to_have_role("status")
    expect(page.locator("#problem")).to_have_role("alert")
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    for role in ("banner", "main", "contentinfo"):
        expect(page.get_by_role(role)).to_have_count(1)  # type: ignore[arg-type]
    for name in ("Text", "Verdict", "Many texts"):
        expect(page.get_by_role("region", name=name, exact=True)).to_have_count(1)
    table = page.get_by_role("table", name="Scores against thresholds")
    expect(table.get_by_role("rowheader")).to_have_text(["Harassment", "Violence", "Graphic violence"])
    expect(table.get_by_role("columnheader")).to_have_count(7)
    expect(table.locator("tbody .track").first).not_to_have_role("cell")
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, server: Running, scheme: str) -> None:
    """All of axe's rules, contrast among them, on a page with all its parts in use."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe is put in as a string
    bench = Workbench(context.new_page(), server.url).loaded()
    bench.type("You are a rude and angry thing, my friend")
    bench.page.get_by_label("Kind").select_option("leet")
    expect(bench.page.locator("#judged")).to_contain_text("4")
    bench.page.get_by_text("Why?").first.click()
    bench.upload("texts.csv", b"text\n" + b"good day\n" * 60)
    bench.page.get_by_role("button", name="Judge all rows").click()
    expect(bench.page.locator("#batch-status")).to_contain_text("60 rows")
    found = axe.Axe().run(bench.page)
    assert found.response["violations"] == [], found.generate_report()
    assert {"color-contrast", "label"} <= {rule["id"] for rule in found.response["passes"]}
    context.close()


def test_a_narrow_screen_needs_no_sideways_scrolling(workbench: Workbench) -> None:
    page = workbench.page
    workbench.type("hello " + "x" * 300)
    page.set_viewport_size({"width": 320, "height": 600})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
