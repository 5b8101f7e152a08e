"""The site in a real browser, from disk, the network off: what a reader sees, on a desk, on a phone and on paper."""

import io
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image
from test_site import METRICS, PUBLISHED, build_metric, write_run

from facekit.paths import project_root
from facekit.reporting import site

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
NARROW = {"width": 320, "height": 640}

# Every text that is seen, with the contrast of its colour against the first ground behind it that is painted.
CONTRASTS = """() => {
  const parse = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const poor = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const [one, other] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    seen += 1;
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return {seen, poor};
}"""


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A site of two runs of one experiment, one of another, and one that cannot be read."""
    reports = tmp_path_factory.mktemp("small")
    write_run(reports, "laptop")
    metrics = [build_metric("test/cascade/accuracy", 0.5, [0.4, 0.6], 0.7), METRICS[1]]
    verdicts = [row | {"verdict": verdict} for row, verdict in zip(PUBLISHED, ("above", "below"), strict=True)]
    write_run(reports, "sample", metrics=metrics, published=verdicts)
    write_run(reports, "sample", "gender", published=[])
    (write_run(reports, "full") / "metrics.json").write_text("{")
    site.build_site(reports)
    return reports


@pytest.fixture(scope="module")
def committed(fill_once) -> Path:
    """The site of the runs that stand in the project's reports/, built elsewhere."""

    def build(reports):
        shutil.copytree(project_root() / "reports", reports, ignore=shutil.ignore_patterns("*.html", "model", ".*"))
        assert site.build_site(reports)[2] == []

    return fill_once("committed", build)


class Visit:
    """A window that reaches only its own addresses, and remembers what pages asked for and complained of."""

    def __init__(self, browser, viewport=DESKTOP, *, own=("file:", "data:"), offline=True, **settings):
        self.context = browser.new_context(viewport=viewport, offline=offline, **settings)
        self.own, self.asked, self.complaints = own, [], []
        self.context.set_default_timeout(120_000)  # a loaded machine is slow, not wrong
        self.context.route("**/*", self.watch)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url[:100]}"))
        self.page.on("console", lambda message: self.complaints.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def watch(self, route):
        is_own = route.request.url.startswith(self.own)
        route.continue_() if is_own else route.abort()

    @property
    def outside(self) -> list[str]:
        return [url for url in self.asked if not url.startswith(self.own)]

    def __enter__(self):
        return self

    def __exit__(self, *reasons):
        self.context.close()

    def open(self, path: Path):
        self.page.goto(path.as_uri())
        return self.page


def list_pages(reports: Path) -> list[Path]:
    return sorted(reports.rglob("*.html"))


def follow_links(visit: Visit, start: Path) -> set[Path]:
    """Open every page that can be reached from `start`; assert that all else it links to is there. Return the pages."""
    waiting, seen = [start], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        page = visit.open(path)
        for link in page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)"):
            parts = urlsplit(link)
            if parts.scheme == "https" and path.parent.name == path.stem:
                continue  # a notebook may name a source for the reader to go to
            target = Path(unquote(parts.path))
            assert parts.scheme == "file" and target.is_file(), f"{path.name} links to {link}"
            if target.suffix == ".html":
                waiting.append(target)
            if target == path and parts.fragment:
                assert page.evaluate("id => !!document.getElementById(id)", unquote(parts.fragment)), link
    return seen


def assert_something_is_seen(png: bytes) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    assert pixels.std() > 8
    assert len(np.unique(pixels)) > 30


@pytest.mark.parametrize("name", ["small", "committed"])
def test_every_page_opens_from_disk_without_network_and_without_complaint(browser, request, name):
    reports = request.getfixturevalue(name)
    with Visit(browser) as visit:
        assert follow_links(visit, reports / "index.html") == set(list_pages(reports))
        assert visit.outside == []
        assert visit.complaints == []
        assert len(visit.asked) >= len(list_pages(reports))


def test_the_watch_sees_requests_complaints_and_pale_texts(browser, tmp_path):
    asking = '<script src="https://cdn.example/require.js"></script><script>boom()</script>'
    (tmp_path / "page.html").write_text(f'{asking}<p>dark</p><p style="color: #8a8a8a">pale</p>')
    with Visit(browser) as visit:
        found = visit.open(tmp_path / "page.html").evaluate(CONTRASTS)
        assert found == {"seen": 2, "poor": ["3.45 pale"]}
        assert visit.outside == ["https://cdn.example/require.js"]
        assert any("boom" in complaint for complaint in visit.complaints)


GROUNDS = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}


@pytest.mark.parametrize("name", ["small", "committed"])
def test_every_page_fits_and_its_texts_stand_out_on_desk_and_phone_in_light_and_dark(browser, request, name):
    with Visit(browser) as visit:
        for path in list_pages(request.getfixturevalue(name)):
            page = visit.open(path)
            for viewport in (NARROW, PHONE, DESKTOP):
                page.set_viewport_size(viewport)
                width = page.evaluate("document.documentElement.scrollWidth")
                assert width <= viewport["width"], f"{path} is {width} wide"
                if viewport != NARROW:
                    assert_something_is_seen(page.screenshot())
            for scheme, ground in GROUNDS.items():  # they differ in colours alone
                page.emulate_media(color_scheme=scheme)
                assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
                found = page.evaluate(CONTRASTS)
                assert found["seen"] > 20
                assert found["poor"] == [], path
            if name == "small":
                assert_something_is_seen(page.screenshot())
            told = "pictures => pictures.map(picture => picture.alt || picture.getAttribute('aria-label'))"
            assert all(page.eval_on_selector_all("img, svg[role=img]", told)), path
            assert page.evaluate("[...document.images].every(picture => picture.complete && picture.naturalWidth > 0)"), path
            assert page.eval_on_selector_all("h1", "titles => titles.length") == 1


def test_the_filter_shows_one_profile_and_works_by_keyboard(browser, small):
    runs = "() => [...document.querySelectorAll('article')].filter(run => run.checkVisibility()).map(run => run.id)"
    rows = "() => [...document.querySelectorAll('.glance tbody tr')].filter(row => row.checkVisibility()).length"
    with Visit(browser) as visit:
        page = visit.open(small / "index.html")
        everything = page.evaluate(runs)
        assert sorted(everything) == ["laptop-smile", "sample-gender", "sample-smile"]
        assert page.get_by_role("heading", name="gender").is_visible()
        page.get_by_label("laptop (1)").check()
        assert (page.evaluate(runs), page.evaluate(rows)) == (["laptop-smile"], 1)
        assert not page.get_by_role("heading", name="gender").is_visible()
        page.keyboard.press("ArrowUp")
        assert sorted(page.evaluate(runs)) == ["sample-gender", "sample-smile"]
        page.keyboard.press("ArrowUp")
        assert page.evaluate(runs) == everything


def test_the_keyboard_reaches_everything_and_the_focus_is_seen(browser, small):
    with Visit(browser) as visit:
        for path in (small / "index.html", small / "sample" / "smile" / "smile.html"):
            page = visit.open(path)
            page.keyboard.press("Tab")
            skip = page.locator(".skip")
            assert skip.evaluate("link => link === document.activeElement && link.getBoundingClientRect().left >= 0")
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.id") == "main"
            page = visit.open(path)
            links = page.eval_on_selector_all("a[href], summary", "all => all.filter(one => one.checkVisibility()).length")
            reached = []
            for _ in range(300):
                page.keyboard.press("Tab")
                focus = "() => { const at = document.activeElement; return [at.tagName, getComputedStyle(at).outlineStyle]; }"
                tag, outline = page.evaluate(focus)
                if tag == "BODY":
                    break
                assert outline != "none", tag
                reached.append(tag)
            assert sum(tag in ("A", "SUMMARY") for tag in reached) == links


def test_code_can_be_hidden_and_a_folded_log_opened(browser, small):
    with Visit(browser) as visit:
        page = visit.open(small / "sample" / "smile" / "smile.html")
        code = page.locator(".input").first
        assert code.is_visible()
        page.get_by_label("Hide the code").check()
        assert not code.is_visible()
        assert not page.get_by_text("line 100 of a log").is_visible()
        page.get_by_text("60 more lines").click()
        assert page.get_by_text("line 100 of a log").is_visible()


def test_paper_shows_what_is_folded_and_no_dark_ground(browser, small):
    with Visit(browser, color_scheme="dark") as visit:
        page = visit.open(small / "index.html")
        folded = page.get_by_text("Stage 1, smile against none, test accuracy of the last epoch").first
        assert not folded.is_visible()
        page.emulate_media(media="print", color_scheme="dark")
        assert folded.is_visible()
        assert not page.locator(".filter").is_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.pdf(format="A4").startswith(b"%PDF")
