"""A report as Chromium shows it, on a phone and on a desk, by day and by night."""

import shutil

import pytest
from saved_runs import CONVOLUTIONAL, recipe_of, save_run, shades

from fastconv.report import write_report
from fastconv.runs.saved_run import load_run

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
PHONE, DESK = 360, 1100

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    experiment = save_run(folder, recipe_of(CONVOLUTIONAL), shades())
    return write_report(load_run(folder), experiment.dataset)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        # Without a sandbox: the superuser of a container has none.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Shown:
    """A page in a browser, and what it said and asked for."""

    def __init__(self, browser, path, width, scheme):
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())


@pytest.fixture(
    params=[(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")],
    ids=["phone-light", "phone-dark", "desk-light", "desk-dark"],
)
def shown(request, browser, report):
    width, scheme = request.param
    shown = Shown(browser, report, width, scheme)
    shown.width, shown.scheme, shown.path = width, scheme, report  # type: ignore[attr-defined]
    yield shown
    shown.context.close()


def test_it_says_nothing_and_asks_no_network(shown):
    assert shown.said == []
    assert {url for url in shown.asked if not url.startswith("data:")} == {shown.path.as_uri()}


def test_every_section_is_there_and_is_reached_from_the_top(shown):
    links = shown.page.locator("nav a")
    assert links.count() == 12
    for number in range(links.count()):
        anchor = links.nth(number).get_attribute("href")
        section = shown.page.locator(f"section{anchor}")
        assert section.locator("h2").is_visible()
        assert section.bounding_box()["height"] > 60


def test_nothing_is_wider_than_the_screen(shown):
    assert shown.page.evaluate("document.documentElement.scrollWidth") == shown.width
    wider = shown.page.evaluate(
        """width => [...document.querySelectorAll('body *')]
            .filter(each => !each.closest('.wide, pre, svg'))
            .filter(each => each.getBoundingClientRect().right > width + 1)
            .map(each => each.tagName)""",
        shown.width,
    )
    assert wider == []


def test_pictures_have_a_size_and_a_text(shown):
    pictures = shown.page.get_by_role("img")
    assert pictures.count() == 24
    for number in range(pictures.count()):
        box = pictures.nth(number).bounding_box()
        assert min(box["width"], box["height"]) > 40
        assert len(pictures.nth(number).get_attribute("aria-label")) > 20


def test_text_stands_out_from_the_paper(shown):
    """The contrast of WCAG 2 for text is 4.5 or more, in pictures too."""
    ratio = shown.page.evaluate(
        """() => {
            const numbers = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
            const light = colour => {
                const [r, g, b] = numbers(colour).map(n => n / 255)
                    .map(n => n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const paper = light(getComputedStyle(document.body).backgroundColor);
            return ['p', 'figcaption', 'a', 'th', 'figure svg'].map(name => {
                const ink = light(getComputedStyle(document.querySelector(name)).color);
                return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
            });
        }"""
    )
    assert min(ratio) >= 4.5, ratio
    paper = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (shown.scheme == "light")


# ---- what answers the pointer ------------------------------------------------------------------


def shown_text(figure):
    """The lines of text that are visible in the readouts of a picture."""
    return figure.evaluate(
        """figure => [...figure.querySelectorAll('.told')]
            .filter(each => getComputedStyle(each).visibility === 'visible')
            .flatMap(each => [...each.querySelectorAll('tspan')].map(line => line.textContent))"""
    )


def test_a_curve_tells_its_values_under_the_pointer(shown):
    figure = shown.page.locator("#picture-loss-curve")
    figure.scroll_into_view_if_needed()
    assert shown_text(figure) == []
    strip = figure.locator(".strip").nth(1)
    strip.hover()
    lines = shown_text(figure)
    assert lines[0].startswith("step ")
    assert [line.split()[0] for line in lines[1:]] == ["training", "validation"]
    assert lines == strip.locator("title").text_content().split("\n")
    shown.page.mouse.move(0, 0)
    assert shown_text(figure) == []


def test_a_click_on_a_name_hides_its_curve_and_another_brings_it_back(shown):
    figure = shown.page.locator("#picture-loss-curve")
    training, validation = (figure.locator(f"path.line.n{n}") for n in (0, 1))
    name = figure.locator("label", has_text="training")
    assert training.is_visible()
    name.click()
    assert not training.is_visible()
    assert validation.is_visible()
    name.click()
    assert training.is_visible()


def test_a_name_can_be_reached_and_switched_by_the_keyboard(shown):
    figure = shown.page.locator("#picture-loss-curve")
    box = figure.locator("input").first
    box.focus()
    shown.page.keyboard.press("Space")
    assert not figure.locator("path.line.n0").is_visible()


def test_names_beyond_what_fits_a_line_are_within_the_screen(shown):
    for box in shown.page.locator(".chart label").all():
        place = box.bounding_box()
        assert place["x"] >= 0
        assert place["x"] + place["width"] <= shown.width


def test_text_in_pictures_stays_within_them(shown):
    outside = shown.page.evaluate(
        """() => [...document.querySelectorAll('.chart > svg')].flatMap(svg => {
            const room = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('text:not(.told)')].filter(text => {
                const box = text.getBoundingClientRect();
                return box.left < room.left - 1 || box.right > room.right + 1
                    || box.top < room.top - 2 || box.bottom > room.bottom + 2;
            }).map(text => svg.getAttribute('aria-label').slice(0, 30) + ': ' + text.textContent);
        })"""
    )
    assert outside == []


def test_pixels_are_sharp(shown):
    rendering = shown.page.evaluate(
        "getComputedStyle(document.querySelector('image.pixels')).imageRendering"
    )
    assert rendering == "pixelated"


def test_without_javascript_everything_is_shown(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    figure = page.locator("#picture-loss-curve")
    assert figure.locator("path.line.n0").is_visible()
    figure.locator("label", has_text="training").click()
    assert not figure.locator("path.line.n0").is_visible()
    context.close()
