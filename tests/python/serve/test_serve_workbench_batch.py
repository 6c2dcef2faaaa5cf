"""The workbench in a real browser: CSV files."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright")

from browser_helpers import Workbench, browser, server, workbench
from playwright.sync_api import Route, expect
from server_helpers import Running

__all__ = ["browser", "server", "workbench"]  # fixtures

HOSTILE = '<img src=x onerror="hacked=1">'
ROWS = [
    ["id", "comment", "=note"],
    ["1", 'a "good" friend, and a dog', "-5"],
    ["2", "two\nlines of rude things", "@SUM(A1)"],
    ["3", "=HYPERLINK(1)", "+1 of us"],
    ["4", HOSTILE, "fine"],
    ["5", "banana", "\u65e5\u672c"],
]


def written(rows: list[list[str]], delimiter: str = ",") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode()


def judged(workbench: Workbench, content: bytes, wanted: str) -> None:
    """Uploads, judges, and waits for the summary."""
    workbench.upload("texts.csv", content)
    workbench.page.get_by_role("button", name="Judge all rows").click()
    expect(workbench.page.locator("#batch-status")).to_have_text(wanted)


def downloaded(workbench: Workbench, folder: Path) -> list[list[str]]:
    with workbench.page.expect_download() as event:
        workbench.page.get_by_role("button", name="Download as CSV").click()
    path = folder / event.value.suggested_filename
    event.value.save_as(path)
    data = path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")  # so that spreadsheets read UTF-8
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def column(workbench: Workbench, number: int) -> list[str]:
    """The texts of one column of the result table, from 1."""
    return workbench.page.locator(f"#results tbody tr > :nth-child({number})").all_text_contents()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_file_is_judged_shown_and_saved(
    workbench: Workbench, server: Running, tmp_path: Path, delimiter: str
) -> None:
    page = workbench.page
    page.get_by_label("Policy").select_option("fruit")
    judged(workbench, written(ROWS, delimiter), "5 rows: 4 allow, 1 block.")
    expect(page.get_by_label("Column with the text")).to_have_value("1")
    texts = [row[1] for row in ROWS[1:]]
    assert column(workbench, 2) == texts
    assert column(workbench, 3) == ["allow"] * 4 + ["block"]
    assert page.locator("#results img").count() == 0
    expect(page.get_by_role("table", name="Results by the policy fruit")).to_be_visible()

    head, *rows = downloaded(workbench, tmp_path)
    names = ["harassment", "violence", "violence/graphic"]
    assert head == [
        "id",
        "comment",
        "'=note",
        "action",
        "flagged",
        "policy",
        *(f"score {name}" for name in names),
    ]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row[1] for row in rows] == [*texts[:2], "'=HYPERLINK(1)", *texts[3:]]
    assert [row[2] for row in rows] == ["-5", "'@SUM(A1)", "'+1 of us", "fine", "\u65e5\u672c"]
    assert {row[5] for row in rows} == {"fruit"}
    results = server.moderate(texts, **{"x-safetyclf-policy": "fruit"}).json()["results"]
    for row, result in zip(rows, results, strict=True):
        assert [float(cell) for cell in row[6:]] == [result["category_scores"][name] for name in names]
        assert row[3] == result["safetyclf"]["action"]


def test_sorting(workbench: Workbench, tmp_path: Path) -> None:
    page = workbench.page
    page.get_by_label("Policy").select_option("fruit")
    judged(workbench, written(ROWS), "5 rows: 4 allow, 1 block.")
    head = page.get_by_role("columnheader", name="Action")
    page.get_by_role("button", name="Action").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    assert column(workbench, 1) == ["5", "1", "2", "3", "4"]
    page.get_by_role("button", name="Action").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert column(workbench, 1) == ["1", "2", "3", "4", "5"]
    page.get_by_role("button", name="Highest score").click()
    scores = [float(cell) for cell in column(workbench, 4)]
    assert scores == sorted(scores, reverse=True)
    expect(page.locator("#results [aria-sort]")).to_have_count(1)
    order = column(workbench, 1)
    assert [row[0] for row in downloaded(workbench, tmp_path)[1:]] == order


def test_another_column_and_no_names(workbench: Workbench) -> None:
    page = workbench.page
    workbench.upload("texts.csv", b"red,blue\ngood,bad\n")
    page.get_by_label("The first row holds names").uncheck()
    page.get_by_label("Column with the text").select_option("Column 2")
    page.get_by_role("button", name="Judge all rows").press("Enter")
    expect(page.locator("#batch-status")).to_have_text("2 rows: 2 review.")
    assert column(workbench, 2) == ["blue", "bad"]


def test_many_rows_come_in_several_requests_and_pages(workbench: Workbench) -> None:
    page, asked = workbench.page, []
    page.on("request", lambda request: asked.append(request.url) if "moderations" in request.url else None)
    judged(workbench, b"text\n" + b"".join(b"good day %d\n" % i for i in range(130)), "130 rows: 130 review.")
    assert len(asked) == 3
    expect(page.get_by_text("Rows 1 to 50 of 130")).to_be_visible()
    page.get_by_role("button", name="Next page").click()
    page.get_by_role("button", name="Next page").click()
    expect(page.get_by_text("Rows 101 to 130 of 130")).to_be_visible()
    assert column(workbench, 2)[-1] == "good day 129"
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()


def test_what_is_too_long_stays_unjudged(workbench: Workbench, tmp_path: Path) -> None:
    judged(workbench, b"text\nshort\n" + b"x" * 5000 + b"\nshort too\n", "3 rows: 1 not judged, 2 review.")
    rows = downloaded(workbench, tmp_path)
    assert [row[1] for row in rows[1:]] == ["review", "not judged", "review"]
    assert rows[2][4:] == ["", "", ""]


def test_files_that_cannot_be_read(workbench: Workbench, tmp_path: Path) -> None:
    status = workbench.page.locator("#batch-status")
    start = workbench.page.get_by_role("button", name="Judge all rows")
    for content, wanted in (
        (b"text\n\xff\xfe\n", "not in UTF-8"),
        (b'text\n"open\n', "within a quoted cell"),
    ):
        workbench.upload("bad.csv", content)
        expect(status).to_contain_text(wanted)
        expect(start).not_to_be_visible()
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.truncate(50_000_001)
    workbench.page.get_by_label("CSV file").set_input_files(large)
    expect(status).to_contain_text("larger than 50 MB")
    expect(start).not_to_be_visible()
    workbench.upload("good.csv", b"text\nhello\n")
    expect(status).to_have_text("2 rows read.")
    expect(start).to_be_visible()


def test_stopping_keeps_what_was_judged(workbench: Workbench) -> None:
    page, held = workbench.page, []

    def hold_second(route: Route) -> None:
        held.append(route)
        if len(held) != 2:
            route.continue_()

    page.route("**/v1/moderations", hold_second)
    workbench.upload("texts.csv", b"text\n" + b"good day\n" * 100)
    with page.expect_response("**/v1/moderations"):
        page.get_by_role("button", name="Judge all rows").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#batch-status")).to_have_text("100 rows: 36 not judged, 64 review.")
    expect(page.get_by_role("button", name="Download as CSV")).to_be_enabled()
