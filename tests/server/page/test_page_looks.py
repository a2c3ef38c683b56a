"""Accessibility, themes, phones, the keyboard, and the size of the page."""

from __future__ import annotations

import subprocess
import tarfile
import urllib.error
import urllib.request

import pytest
from support.page_world import until

VIEWS = (
    "listen",
    "identify",
    "jobs",
    "jobs/callbacks",
    "stations",
    "library",
    "library/review",
    "library/1",
    "library/unknown",
    "usage",
    "keys",
    "keys/audit",
    "explorer/tencent",
    "explorer/rest",
)
AXE = "axe-core@4.10.3"  # MPL-2.0: for tests only, never shipped
MOST_BYTES = 150_000  # of the first view, compressed


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The script of axe-core, which finds violations of accessibility rules."""
    folder = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run(["npm", "pack", AXE, "--silent"], cwd=folder, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"axe-core could not be fetched: {error}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


def go(page, view: str) -> None:
    """Show another view, and wait until it is loaded."""
    page.evaluate(
        """(view) => {
      if (location.hash === `#/${view}`) return;
      document.querySelector('main').replaceChildren();
      location.hash = `#/${view}`;
    }""",
        view,
    )
    page.wait_for_selector("h1", state="attached")
    until(
        page,
        "performance.now() - Math.max(...performance.getEntriesByType('resource').map((each) =>"
        " each.responseEnd)) > 150",
    )


def test_no_view_violates_accessibility_rules(visit, job, axe):
    page = visit("listen")
    page.evaluate(f"() => {{ {axe} }}")
    found = []

    def check(view: str, theme: str, **only: object) -> None:
        page.emulate_media(color_scheme=theme)
        result = page.evaluate("(only) => axe.run(document, {resultTypes: ['violations'], ...only})", only)
        found.extend(
            (view, theme, each["id"], each["nodes"][0]["html"])
            for each in result["violations"]
            if each["impact"] in ("serious", "critical")
        )

    for view in (*VIEWS, f"jobs/{job}"):
        go(page, view)
        if page.locator(".segment").count():
            page.locator(".segment.cover").first.click()
        check(view, "light")
        check(view, "dark", runOnly=["color-contrast", "link-in-text-block"])
    assert found == []


def test_every_view_fits_a_phone(visit, job):
    page = visit("listen", width=320, height=740)
    for view in (*VIEWS, f"jobs/{job}"):
        go(page, view)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 320, f"{view} is {wide} pixels wide"
    # The links of the navigation lie at the bottom and are large enough to tap.
    for link in page.locator("#nav a").all():
        box = link.bounding_box()
        assert box["y"] > 600 and box["height"] >= 44 and box["width"] >= 44


def test_the_first_view_is_small(site):
    sizes = []
    context = site.browser.new_context()
    page = context.new_page()
    page.on("response", lambda response: sizes.append(response.request.sizes()["responseBodySize"]))
    page.goto(site.address)
    page.wait_for_selector(".listen-button")
    page.wait_for_load_state("networkidle")
    context.close()
    assert 10_000 < sum(sizes) < MOST_BYTES


def test_colours_follow_the_system_until_they_are_chosen(visit):
    def dark(page) -> bool:
        red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        return int(red) < 60

    page = visit("listen", theme="dark")
    assert dark(page)
    page.get_by_role("button", name="Colour scheme").click()
    assert not dark(page)
    page.reload()
    assert not dark(page)


def test_unknown_addresses_are_not_found(visit):
    page = visit("listen")
    for address in ("nowhere", "library/nothing", "jobs/abc/def", "toString", "%"):
        page.goto(f"{page.url.partition('#')[0]}#/{address}")
        page.get_by_text("There is no page at this address").wait_for()
        assert page.title() == "Not found · Songprint"
        page.get_by_role("link", name="Go to the start page").click()
        page.locator(".listen-button").wait_for()


def test_the_keyboard_reaches_the_content(visit):
    page = visit("library")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.get_by_role("link", name="Skip to content").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_keyboard_focus_is_restored(visit, job):
    def focused(page) -> str:
        return page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText")

    page = visit(f"jobs/{job}")
    # Closing a menu or a dialog returns the focus.
    menu = page.locator("summary", has_text="Download")
    menu.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page).startswith("JSON")
    page.keyboard.press("Escape")
    assert focused(page) == "Download" and not page.locator(".menu ul").is_visible()
    page.locator(".segment[tabindex='0']").press("Home")
    page.get_by_role("button", name="Correct").press("Enter")
    page.get_by_role("searchbox").press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert focused(page) == "Correct"
    # When a button is replaced, the focus moves to its replacement.
    for name, after in (("Reject", "Undo"), ("Undo", "Accept")):
        page.get_by_role("button", name=name).press("Enter")
        until(page, f"document.activeElement.innerText === '{after}'")


def test_files_of_the_page_are_compressed_and_revalidated(site):
    def get(path: str, **headers: str):
        return urllib.request.urlopen(urllib.request.Request(f"{site.address}{path}", headers=headers))

    def refused(path: str, **headers: str) -> int:
        with pytest.raises(urllib.error.HTTPError) as error:
            get(path, **headers)
        error.value.close()
        return error.value.code

    with get("/page/app.js", **{"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip" and answer.headers["Cache-Control"] == "no-cache"
        assert "script" in answer.headers["Content-Type"]
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        tag = answer.headers["ETag"]
    assert refused("/page/app.js", **{"Accept-Encoding": "gzip", "If-None-Match": tag}) == 304
    for path in ("/page/", "/page/../page.py", "/page/nothing.js", "/page/%2e%2e/app.py"):
        assert refused(path) == 404
