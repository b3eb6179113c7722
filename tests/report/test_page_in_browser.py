"""The page in a real browser: what is drawn, what the keyboard reaches, and that hostile text stays text."""

import shutil
from contextlib import contextmanager

import pytest
from report_folders import HOSTILE, write_run

from sfpo.report.page import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
TABS = ["results", "training", "gate", "passes", "completions", "setup"]


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Opens a file; afterwards the page must have made no requests and reported no error."""
    with playwright.sync_playwright() as running:

        @contextmanager
        def opened(path, **context):
            errors, requests = [], []
            profile = tmp_path_factory.mktemp("profile")
            browser = running.chromium.launch_persistent_context(
                profile, executable_path=CHROMIUM, headless=True, args=FLAGS, **context
            )
            try:
                page = browser.new_page()
                # Unlike the page's own events, these also tell what its policy has stopped.
                session = browser.new_cdp_session(page)
                session.send("Network.enable")
                session.on("Network.requestWillBeSent", lambda event: requests.append(event["request"]["url"]))
                page.on("console", lambda message: errors.append(message.text))
                page.on("pageerror", lambda error: errors.append(str(error)))
                page.goto(path.as_uri())
                page.wait_for_selector("[role=tab]")
                yield page
                assert page.evaluate("window.hacked") is None
                assert errors == []
                assert [url for url in requests if url != path.as_uri() and not url.startswith("data:")] == []
            finally:
                browser.close()

        yield opened


@pytest.fixture(scope="module")
def run_page(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("page") / "run", text=HOSTILE)
    return write_report(folder)


@pytest.fixture(scope="module")
def comparison_page(kept_comparison, tmp_path_factory):
    return write_report(kept_comparison, tmp_path_factory.mktemp("page") / "comparison.html")


def open_tab(page, name):
    page.click(f"#tab-{name}")
    page.wait_for_selector(f"#panel-{name}:not([hidden]) > *")


def drawn(page, tab):
    """Figures of a tab that have lines, areas, dots or bars."""
    open_tab(page, tab)
    page.wait_for_selector(f"#panel-{tab} .drawing svg")
    return page.eval_on_selector_all(
        f"#panel-{tab} .figure",
        """figures => figures.filter(f => [...f.querySelectorAll('.drawing svg [aria-label]')].some(
            g => ['line', 'area', 'dot', 'rect'].includes(g.getAttribute('aria-label')) && g.childElementCount
        )).map(f => f.dataset.figure)""",
    )


def test_the_figures_of_a_run_are_drawn(browse, run_page):
    with browse(run_page) as page:
        assert drawn(page, "results") == ["accuracy_by_rollouts", "accuracy_by_seconds"]
        assert drawn(page, "training") == ["reward", "length", "cut_off", "grad_norm", "time"]
        assert drawn(page, "gate") == ["entropy", "alpha", "kl", "z"]
        names = ("ratio_mean", "ratio_max", "kl", "clip_fraction", "grad_norm")
        assert drawn(page, "passes") == [f"pass_{name}" for name in names]
        assert "step 9" in page.inner_text("#panel-gate .sentence")


def test_the_figures_of_a_comparison_are_drawn_and_variants_switch_off(browse, comparison_page):
    with browse(comparison_page) as page:
        assert drawn(page, "results") == [
            "accuracy_by_rollouts", "accuracy_by_seconds", "rollout_reduction", "time_reduction",
        ]  # fmt: skip
        assert "never reached" in page.inner_text("#panel-results .cards")
        lines = "#panel-results [data-figure=accuracy_by_rollouts] [aria-label=line]"
        assert page.locator(lines).count() == 3
        page.click('#panel-results [data-name="grpo"]')
        assert page.locator(lines).count() == 2
        assert page.get_attribute('#panel-results [data-name="grpo"]', "aria-pressed") == "false"
        assert drawn(page, "training")[-1] == "time"
        # Another run, with figures and completions of its own.
        open_tab(page, "passes")
        assert "slow correction" in page.inner_text("#panel-passes .sentence")
        page.select_option("#panel-passes select.run", label="grpo, seed 0")
        assert "One pass" in page.inner_text("#panel-passes .sentence")


def test_near_the_ceiling_a_figure_switches_to_errors_and_zooms(browse, comparison_page):
    with browse(comparison_page) as page:
        figure = page.locator("[data-figure=accuracy_by_rollouts]")

        def ticks(axis):
            return figure.locator(f"[aria-label='{axis}-axis tick label'] text").all_text_contents()

        whole = ticks("y"), ticks("x")
        assert whole[0][0] == "0"
        figure.get_by_role("button", name="Error, log scale").click()
        assert figure.locator("h3").inner_text() == "Error against rollouts"
        assert ticks("y")[-3:] == ["10", "20", "50"]
        assert "half a problem" in figure.locator(".caption").first.inner_text()
        figure.get_by_role("button", name="Error, log scale").click()
        figure.get_by_role("button", name="Zoom to the end").click()
        assert float(ticks("y")[0]) > 0
        figure.get_by_role("button", name="Show all").click()
        assert (ticks("y"), ticks("x")) == whole
        # Dragging shows the part of the figure that the mouse crossed.
        box = figure.locator("svg").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 120)
        page.mouse.up()
        assert ticks("x")[0] != whole[1][0]
        figure.get_by_role("button", name="Show all").click()
        assert (ticks("y"), ticks("x")) == whole


def test_pointing_at_a_line_says_its_values(browse, run_page):
    with browse(run_page, color_scheme="dark") as page:
        box = page.locator("[data-figure=accuracy_by_rollouts] svg").bounding_box()
        tip = page.locator("[data-figure=accuracy_by_rollouts] [aria-label=tip]")
        assert tip.text_content() == ""
        page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] / 2)
        page.wait_for_function(
            "document.querySelector('[data-figure=accuracy_by_rollouts] [aria-label=tip]').textContent"
        )
        assert "rollouts sampled: 1,536" in tip.text_content()
        assert "held-out accuracy: 40.0 % (35.9 to 44.3)" in tip.text_content()
        assert tip.evaluate("tip => getComputedStyle(tip).fill") == "rgb(26, 30, 37)"  # as the card behind it
        # And for those who do not point: as a table.
        page.click("[data-figure=accuracy_by_rollouts] summary")
        assert page.locator("[data-figure=accuracy_by_rollouts] tbody tr").last.inner_text().split("\t")[0] == "1,536"


def test_the_keyboard_reaches_every_tab(browse, run_page):
    with browse(run_page) as page:
        for _ in range(5):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.getAttribute('role')") == "tab":
                break
        seen = []
        for _ in TABS:
            seen.append(page.evaluate("document.activeElement.id"))
            assert page.evaluate("document.activeElement.getAttribute('aria-selected')") == "true"
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            page.keyboard.press("ArrowRight")
        assert seen == [f"tab-{name}" for name in TABS]
        assert page.evaluate("document.activeElement.id") == "tab-results"
        page.keyboard.press("End")
        assert page.is_visible("#panel-setup")
        assert not page.is_visible("#panel-results")
        assert "sfpo train --config config.yaml" in page.inner_text("#panel-setup")


def test_completions_are_found_and_hostile_text_stays_text(browse, run_page):
    with browse(run_page) as page:
        open_tab(page, "completions")
        texts = page.locator(".group dd").first
        assert "onerror" in texts.inner_text()
        assert "</script><script>window.hacked=2</script>" in texts.inner_text()
        assert page.locator("img").count() == 0
        # A slider over the steps, of which the last is shown first.
        slider, every = page.locator(".slider input[type=range]"), page.locator(".slider input[type=checkbox]")
        assert page.inner_text(".slider output") == "step 12 (12 of 12 recorded)"
        slider.fill("6")
        assert page.inner_text(".slider output") == "step 7 (7 of 12 recorded)"
        assert page.locator(".group").count() == 1
        assert page.locator(".completion").count() == 2
        verdict = page.locator(".tools select")
        verdict.select_option("right")
        assert page.locator(".completion .head").all_inner_texts() == ["✓ right\nreward 1\nadvantage +0.71"]
        verdict.select_option("wrong")
        assert page.locator(".completion .head").all_inner_texts() == ["✗ wrong\nreward 0\nadvantage −0.71\ncut off"]
        verdict.select_option("cut off")
        assert "✗ wrong" in page.locator(".completion .head").inner_text()
        verdict.select_option("")
        every.check()
        assert page.locator(".completion").count() == 24
        page.fill("input[type=search]", "window.HACKED=2")
        assert page.locator(".completion").count() == 24
        page.fill("input[type=search]", "nowhere")
        assert page.locator(".completion").count() == 0
        open_tab(page, "setup")
        assert "onerror" in page.inner_text(".configuration")


def test_hostile_text_stays_text_in_a_comparison(browse, comparison_page):
    with browse(comparison_page) as page:
        for tab in TABS:
            open_tab(page, tab)
        assert "onerror" in page.inner_text("#panel-setup .command >> nth=1")
        assert page.locator("img").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_all_of_it(browse, run_page, comparison_page, theme):
    for path in (run_page, comparison_page):
        with browse(path, viewport={"width": 390, "height": 844}, color_scheme=theme, has_touch=True) as page:
            for tab in TABS:
                open_tab(page, tab)
                assert page.evaluate("document.documentElement.scrollWidth") <= 390
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            dark = max(int(part) for part in ground.strip("rgb()").split(",")) < 60
            assert dark == (theme == "dark")
            page.click(".theme")  # auto, then light, then dark
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(247, 246, 243)"
