"""The workbench in a real browser: a text and its verdict."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import pytest

pytest.importorskip("playwright", reason="needs playwright")

from browser_helpers import Workbench, browser, server, workbench
from playwright.sync_api import Browser, Error, Route, expect
from safetyclf.attacks import attack
from server_helpers import Running

__all__ = ["browser", "server", "workbench"]  # fixtures

TEXT = "You are rude and I hate you, my sad friend \U0001f642 of the city."
HOSTILE = '<img src=x onerror="hacked=1"><script>hacked=1</script>{{7*7}}"\'><svg onload=hacked=1>'


def api(server: Running, text: str, policy: str = "strict", **extras: Any) -> dict[str, Any]:
    """The API's own result."""
    answer = httpx.post(
        f"{server.url}/v1/moderations",
        json={"input": text, "safetyclf": extras},
        headers={"x-safetyclf-policy": policy},
        timeout=60,
    )
    result: dict[str, Any] = answer.json()["results"][0]
    return result


def scored(result: dict[str, Any]) -> dict[str, float]:
    applied = result["category_applied_input_types"]
    return {name: score for name, score in result["category_scores"].items() if applied[name]}


def test_scores_are_those_of_the_api(workbench: Workbench, server: Running) -> None:
    workbench.type(TEXT)
    expect(workbench.page.locator("#verdict")).to_have_text(
        "Action: review. Flagged: Harassment. Policy: strict."
    )
    result = api(server, TEXT)
    assert workbench.scores() == scored(result)
    assert set(workbench.scores()) == {"harassment", "violence", "violence/graphic"}
    row = workbench.page.locator("[data-category=harassment]")
    score = result["category_scores"]["harassment"]
    shown = row.get_by_role("cell").all_text_contents()
    assert shown[:-1] == [f"{score:.4f}", "review", "–", "0", "1"]
    fill, track = row.locator(".fill").bounding_box(), row.locator(".track").bounding_box()
    assert fill is not None
    assert track is not None
    assert abs(fill["width"] / track["width"] - score) < 0.03
    expect(workbench.page.locator("[data-category=violence]").get_by_role("cell").nth(1)).to_have_text("–")


def test_typing_key_by_key_ends_with_the_verdict_on_the_whole_text(
    workbench: Workbench, server: Running
) -> None:
    text = "hello my good friend of the day"
    workbench.page.get_by_label("Type or paste a text").press_sequentially(text, delay=15)
    expect(workbench.page.locator("#judged")).to_have_text(text)
    assert workbench.scores() == scored(api(server, text))
    workbench.page.get_by_label("Type or paste a text").fill("")
    expect(workbench.page.locator("#verdict")).to_have_text("No text yet.")
    assert workbench.scores() == {}


def test_a_late_answer_does_not_replace_a_newer_one(workbench: Workbench) -> None:
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    workbench.page.route("**/v1/moderations", hold_first)
    with workbench.page.expect_request("**/v1/moderations"):
        workbench.page.get_by_label("Type or paste a text").fill("the first text")
    workbench.type("the second text")
    with suppress(Error):  # the page gave the request up, as it should
        held[0].continue_()
    workbench.type("the second text!")
    expect(workbench.page.locator("#judged")).to_have_text("the second text!")


def test_the_policy_switch(workbench: Workbench, server: Running) -> None:
    page = workbench.page
    workbench.type("have a banana")
    expect(page.locator("#verdict")).to_contain_text("Action: review.")
    page.get_by_label("Policy").select_option("lenient")
    expect(page.locator("#verdict")).to_have_text("Action: allow. Policy: lenient.")
    expect(page.locator("[data-category=harassment]").get_by_role("cell").nth(3)).to_have_text("1")
    page.get_by_label("Policy").select_option("fruit")
    expect(page.locator("#verdict")).to_contain_text("Action: block.")
    expect(page.locator("#verdict")).to_contain_text("The list fruit has “banana”.")
    expect(page.locator("[data-category=harassment]")).to_have_attribute("data-decision", "block")
    assert workbench.scores() == scored(api(server, "have a banana", "fruit"))


def test_the_statements_behind_thresholds(workbench: Workbench, server: Running) -> None:
    row = workbench.page.locator("[data-category=harassment]")
    why = row.get_by_text("Why?")
    expect(row.get_by_text("A number that")).to_have_count(2)
    expect(row.get_by_text("A number that").first).not_to_be_visible()
    why.click()
    said = server.get("/workbench/words").json()["policies"]["strict"]["harassment"]
    expect(row.get_by_text("Review from 0:")).to_have_text(f"Review from 0: {said['review']}")
    expect(row.get_by_text("Block from 1:")).to_have_text(f"Block from 1: {said['block']}")
    workbench.type("hello")  # new scores leave it open
    expect(row.get_by_text("Review from 0:")).to_be_visible()


def test_words_behind_a_category(workbench: Workbench, server: Running) -> None:
    page = workbench.page
    for category, title in (("violence", "Violence"), ("violence/graphic", "Graphic violence")):
        page.get_by_label("Words behind").select_option(category)
        workbench.type(TEXT)
        spans = api(server, TEXT, spans=[category], unit="codepoint")["safetyclf"]["spans"][category]
        most = max(span["weight"] for span in spans)
        assert most > 0
        words = [TEXT[span["start"] : span["end"]] for span in spans if span["weight"] > most / 10]
        expect(page.locator("#weights")).to_contain_text(f"Most weight for {title}:")
        expect(page.locator("#judged mark")).to_have_text(words)
    page.get_by_label("Words behind").select_option("")
    expect(page.locator("#weights")).to_contain_text("Harassment")


def test_the_disguise_slider(workbench: Workbench, server: Running) -> None:
    page = workbench.page
    slider = page.get_by_role("slider", name="Strength")
    text = "you are a sad and rude thing"
    workbench.type(text)
    expect(slider).to_be_disabled()
    page.get_by_label("Kind").select_option("leet")
    (quarter,) = attack([text], "leet", strength=0.25)
    expect(page.locator("#judged")).to_have_text(quarter)
    slider.focus()
    for _ in range(15):
        slider.press("ArrowRight")
    expect(page.get_by_text("100 %")).to_be_visible()
    (whole,) = attack([text], "leet", strength=1)
    assert whole != quarter != text
    expect(page.locator("#judged")).to_have_text(whole)
    assert workbench.scores() == scored(api(server, whole))
    page.get_by_label("Kind").select_option("")
    expect(page.locator("#judged")).to_have_text(text)
    assert workbench.scores() == scored(api(server, text))


def test_markup_in_a_text_stays_text(workbench: Workbench) -> None:
    page = workbench.page
    workbench.type(HOSTILE)
    expect(page.locator("#weights")).not_to_be_empty()
    assert page.locator("#judged").text_content() == HOSTILE
    assert page.locator("main :is(img, script, svg)").count() == 0
    assert page.evaluate("typeof hacked") == "undefined"


def test_the_page_cannot_make_html_of_strings(browser: Browser, server: Running) -> None:
    page = browser.new_page()
    page.goto(server.url)
    with pytest.raises(Error, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>bold</b>'")
    page.evaluate("document.body.append(Object.assign(document.createElement('p'), {onclick: null}))")
    run = """() => {
        const script = document.createElement('script');
        try { script.textContent = 'hacked = 1'; document.body.append(script); } catch { }
        return typeof hacked;
    }"""
    assert page.evaluate(run) == "undefined"
    page.close()


def test_too_long_a_text_and_a_server_that_is_gone(workbench: Workbench) -> None:
    page, problem = workbench.page, workbench.page.get_by_role("alert")
    page.get_by_label("Type or paste a text").fill("x" * 5000)
    expect(problem).to_contain_text("too long")
    workbench.type("shorter")
    expect(problem).to_be_empty()
    page.route("**/v1/moderations", lambda route: route.abort())
    page.get_by_label("Type or paste a text").fill("nobody there")
    expect(problem).to_have_text("The server cannot be reached.")
    workbench.complaints = [line for line in workbench.complaints if "Failed to load resource" not in line]


def test_a_full_queue_is_asked_again(workbench: Workbench) -> None:
    asked: list[str] = []

    def refuse_twice(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) < 3:
            route.fulfill(status=429, headers={"retry-after-ms": "20"}, json={"error": {"message": "full"}})
        else:
            route.continue_()

    workbench.page.route("**/v1/moderations", refuse_twice)
    workbench.type("hello")
    expect(workbench.page.locator("#verdict")).to_contain_text("Action")
    assert len(asked) == 3
    workbench.complaints = [line for line in workbench.complaints if "429" not in line]


def test_an_api_key_is_asked_for_and_not_kept(browser: Browser, tiny_path: Any) -> None:
    server = Running("--model", str(tiny_path), environment={"SAFETYCLF_API_KEYS": "sk-right"})
    server.wait_ready()
    context = browser.new_context()
    try:
        bench = Workbench(context.new_page(), server.url)
        page = bench.page
        field = page.get_by_label("API key", exact=True)
        expect(field).to_be_visible()
        for wrong in ("sk-wrong", "sk with blanks"):
            field.fill(wrong)
            field.press("Enter")
            expect(page.get_by_role("alert")).not_to_be_empty()
            expect(field).to_be_visible()
        field.fill("sk-right")
        field.press("Enter")
        bench.loaded()
        expect(field).not_to_be_visible()
        bench.type("hello")
        expect(page.locator("#verdict")).to_contain_text("Action")
        expect(page.get_by_role("alert")).to_be_empty()
        assert "sk-right" not in page.url
        assert context.storage_state() == {"cookies": [], "origins": []}
        assert page.evaluate("localStorage.length + sessionStorage.length") == 0
        page.reload()
        expect(field).to_be_visible()
        expect(field).to_have_value("")
        assert [line for line in bench.complaints if "401" not in line] == []
    finally:
        context.close()
        server.stop()
