"""The page of the smoke study in a real browser, without a network."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import PATIENCE
from drawings import check
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.thorough

TABLE = "#methods details[open] .scroll >> nth=0"
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
    yield opened
    assert said == []
    assert {*asked} == {address}
    context.close()


def test_no_letters_of_a_finished_studys_figures_overlap(
    finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = check(finished[0] / "results/smoke", monkeypatch)
    assert {"accuracy", "distributions"} <= drawn


def column(page: Page, name: str) -> list[str]:
    names = [text.rstrip(" ↕↑↓") for text in page.locator(f"{TABLE} >> thead th").all_inner_texts()]
    return page.locator(f"{TABLE} >> tbody tr > :nth-child({1 + names.index(name)})").all_inner_texts()


@pytest.mark.parametrize("page", [("light", 1400), ("dark", 390)], ids=["desk", "phone"], indirect=True)
def test_nothing_overflows_and_axe_finds_nothing(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = (
        "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).length"
    )
    assert page.wait_for_function(f"{cut} === 0"), "no table is cut"
    found = Axe().run(page).response["violations"]
    assert [(violation["id"], violation["nodes"][0]["html"]) for violation in found] == []


def test_a_heading_sorts_by_keyboard(page: Page) -> None:
    values = [float(text) for text in column(page, "Value")]
    assert values == sorted(values) and len(set(values)) > 3, "the best first"
    heading = page.locator(f"{TABLE} >> thead button", has_text="Value")
    for order, reverse in (("ascending", False), ("descending", True)):
        heading.press("Enter")
        assert [float(text) for text in column(page, "Value")] == sorted(values, reverse=reverse)
        assert page.locator(f"{TABLE} >> th[aria-sort]").get_attribute("aria-sort") == order
    page.locator(f"{TABLE} >> thead button", has_text="Method").press("Enter")
    assert column(page, "Method") == sorted(column(page, "Method"), key=str.lower)


def test_a_claim_opens_to_its_details(page: Page) -> None:
    claim = page.locator(".claims details").first
    expect(claim.locator("table")).to_be_hidden()
    claim.locator("summary").press("Enter")
    expect(claim.locator("table")).to_be_visible()
    expect(claim.locator("tbody")).to_contain_text("llama")


def test_figures_have_their_values_and_results_their_provenance(
    page: Page, finished: tuple[Path, str]
) -> None:
    figure = page.locator("#answer figure")
    expect(figure.get_by_role("img")).to_be_visible()
    figure.locator("summary").press("Enter")
    expect(figure.locator("tbody")).to_contain_text("llama")
    links = [link.get_attribute("href") for link in page.locator("#ran a").all()]
    assert links and all((finished[0] / "results/smoke" / link).exists() for link in links)


def test_on_paper_every_claim_is_open(page: Page) -> None:
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 1
