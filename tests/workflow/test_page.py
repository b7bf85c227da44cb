"""The page of the smoke study in a real browser, without a network."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import PATIENCE
from drawings import check
from playwright.sync_api import Browser, Page, expect

ROWS = "#explorer tbody tr"
expect.set_options(timeout=PATIENCE)


@pytest.fixture(params=[("light", 1400)], ids=["desk"])
def page(request: pytest.FixtureRequest, browser: Browser, finished: tuple[Path, str]) -> Iterator[Page]:
    """The page, drawn; afterwards it must have asked for nothing else, and have had no error."""
    scheme, width = request.param
    context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 850})
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    said, asked = [], []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda asking: asked.append(asking.url))
    address = (finished[0] / "results/smoke/report.html").as_uri()
    opened.goto(address)
    opened.wait_for_selector("#answer svg.marks")
    opened.wait_for_selector("#ratios svg.marks")
    yield opened
    assert said == []
    assert {url for url in asked if not url.startswith(("blob:", "data:"))} == {address}
    context.close()


def test_no_letters_of_a_finished_studys_figures_overlap(
    finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = check(finished[0] / "results/smoke", monkeypatch)
    assert {"agreement", "distributions", "fidelity", "neurons", "overlap", "scores"} <= drawn


def column(page: Page, name: str) -> list[str]:
    """Return the cells of a column of the table of methods."""
    names = [text.rstrip(" ↕↑↓") for text in page.locator("#explorer thead th").all_inner_texts()]
    return page.locator(f"{ROWS} > :nth-child({1 + names.index(name)})").all_inner_texts()


@pytest.mark.parametrize("page", [("light", 1400), ("dark", 390)], ids=["desk", "phone"], indirect=True)
def test_nothing_overflows_and_axe_finds_nothing(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page).response["violations"]
    assert [(violation["id"], violation["nodes"][0]["html"]) for violation in found] == []


def test_a_heading_sorts_by_keyboard(page: Page) -> None:
    values = [float(text) for text in column(page, "Value")]
    assert values == sorted(values) and len(set(values)) > 3, "the best first"
    page.get_by_role("button", name="Method", exact=True).focus()
    page.keyboard.press("Enter")
    assert column(page, "Method") == sorted(column(page, "Method"), key=str.lower)
    page.keyboard.press("Enter")
    assert column(page, "Method") == sorted(column(page, "Method"), key=str.lower, reverse=True)
    assert page.locator("#explorer th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_filters_leave_the_rows_that_they_name(page: Page, finished: tuple[Path, str]) -> None:
    page.get_by_role("searchbox").fill("entropy")
    assert {*column(page, "Method")} == {"Entropy", "Entropy, 60 % attn + 40 % MLP, other"}
    page.locator("select[name=model]").select_option("llama")
    page.locator("select[name=recovery]").select_option("LoRA")
    assert column(page, "Method") == ["Entropy"]
    page.get_by_role("searchbox").fill("")
    page.locator("select[name=recovery]").select_option("no recovery")
    page.locator("select[name=family]").select_option("weights")
    page.locator("select[name=capability]").select_option("Language modelling")
    tidy = pd.read_csv(finished[0] / "results/smoke/results.csv")
    known = tidy.query("model == 'llama' and method == 'random' and recovery == 'none'")
    (value,) = known.loc[known["metric"] == "perplexity", "value"]
    assert [float(text.replace(",", "")) for text in column(page, "Value")] == [
        pytest.approx(value, abs=0.005)
    ]
    expect(page.get_by_role("status")).to_have_text("1 rows: Perplexity")
    page.get_by_role("searchbox").fill("nowhere")
    expect(page.get_by_role("status")).to_contain_text(
        "No row of Perplexity has Capability: Language modelling,"
    )
    expect(page.get_by_role("status")).to_contain_text("“nowhere” in it; set one to “all”.")


def test_a_claim_opens_to_its_details(page: Page) -> None:
    claim = page.locator(".claims details").first
    expect(claim.locator("table")).to_be_hidden()
    claim.locator("summary").press("Enter")
    expect(claim.locator("table")).to_be_visible()
    expect(claim.locator("tbody")).to_contain_text("llama")


def test_a_point_answers_with_its_numbers_and_leads_to_its_result(
    page: Page, finished: tuple[Path, str]
) -> None:
    point = page.locator("#answer .figure path[aria-label], #answer .mark-symbol.role-mark path").last
    point.scroll_into_view_if_needed()
    point.hover()
    tooltip = page.locator("#vg-tooltip-element")
    for word in ("95 % interval", "n", "Draws", "provenance"):
        expect(tooltip).to_contain_text(word)
    link = page.locator(f"{ROWS} a").first.get_attribute("href")
    assert link.startswith("./cells/") and (finished[0] / "results/smoke" / link).exists()


def test_a_figure_is_saved_as_svg(page: Page) -> None:
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save as SVG").first.click()
    text = saving.value.path().read_text()
    assert text.startswith("<svg") and "Entropy" in text


def test_on_paper_every_claim_is_open(page: Page) -> None:
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
