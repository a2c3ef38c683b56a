"""Unknown music as a part of the library view: listed, added and forgotten."""

from __future__ import annotations

import pytest

MUSIC = {
    "id": 7,
    "duration": 64.0,
    "seconds": 128.0,
    "occurrences": [
        {"source": f"show {number}.mp3", "start": 10.0, "end": 74.0, "heard_at": "2026-01-05T12:00:00Z"}
        for number in range(7)
    ],
}


@pytest.fixture
def visit_unknown(visit, site):
    """A function that opens the list of unknown music, which contains one piece until it is added or forgotten."""

    def open_view(**more: object):
        page = visit("library", **more)
        page.sent = []
        page.items = [MUSIC]

        def change(route) -> None:
            page.sent.append((route.request.method, route.request.url.partition("/v1/")[2], route.request.post_data))
            page.items = []
            route.fulfill(status=201, json={})

        page.route(
            "**/v1/unknown?**",
            lambda route: route.fulfill(json={"items": page.items, "next": None, "total": len(page.items)}),
        )
        page.route("**/v1/unknown/7", change)
        page.route("**/v1/unknown/7/recording", change)
        page.get_by_role("button", name="Unknown music").click()
        return page

    return open_view


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_unknown_music_is_listed_and_added(visit_unknown, width, theme):
    page = visit_unknown(width=width, theme=theme)
    page.get_by_text("1 piece of music").wait_for()
    card = page.locator(".unknown article")
    assert "7 occurrences" in card.inner_text() and "and 2 more" in card.inner_text()
    assert page.url.endswith("#/library/unknown")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    card.get_by_role("button", name="Add to the library").click()
    page.get_by_label("Title").fill("Found")
    page.get_by_label("Artists").fill("One; Two")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("No unknown music").wait_for()
    assert page.sent == [("POST", "unknown/7/recording", '{"title":"Found","artists":["One","Two"]}')]
    assert page.get_by_role("link", name="Scan a recording").is_visible()


def test_unknown_music_is_forgotten_after_a_question(visit_unknown):
    page = visit_unknown()
    page.get_by_role("button", name="Forget unknown music 7").click()
    page.get_by_role("button", name="Forget", exact=True).click()
    page.get_by_text("No unknown music").wait_for()
    assert page.sent == [("DELETE", "unknown/7", None)]
