"""The page while the library is empty: it leads to adding music."""

from __future__ import annotations

import json

import pytest
from support.page_world import KNOWN

NOTHING = {"recordings": 0, "duration": 0, "segments": {}, "jobs": {}, "deliveries": {}}


@pytest.fixture
def visit_empty(visit, site):
    """A function that opens a view as if the library were empty; setting `empty` to false ends that."""

    def open_view(view: str, **more: object):
        page = visit("identify", **more)
        page.empty = True

        def stats(route) -> None:
            if page.empty:
                route.fulfill(body=json.dumps(NOTHING), content_type="application/json")
            else:
                route.continue_()

        page.route("**/v1/stats", stats)
        page.goto(f"{site.address}/{view}")
        page.reload()
        return page

    return open_view


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_the_page_of_an_empty_library_opens_on_adding_music(visit_empty, width, theme):
    page = visit_empty("", width=width, theme=theme)
    page.get_by_role("heading", name="Add your music").wait_for()
    assert page.url.endswith("#/library")
    assert "songprint add" in page.locator(".first-run .code").inner_text()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose files").click()
    assert chosen.value.is_multiple()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_folder_is_added_without_files_that_are_no_audio(site, visit_empty, tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    (folder / "song.flac").write_bytes(site.files.music[0].read_bytes())
    (folder / "cover.jpg").write_bytes(b"a picture")
    (folder / "notes.txt").write_text("some words")
    page = visit_empty("#/library")
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Choose a folder").click()
    page.empty = False
    chosen.value.set_files(folder)
    page.get_by_text("Already in the library", exact=True).wait_for()
    assert page.locator(".uploads li").count() == 1
    page.locator(".recordings tbody tr").first.wait_for()
    assert page.locator(".recordings tbody tr").count() == len(KNOWN)
    assert page.locator(".first-run").count() == 0


def test_listening_is_not_offered_while_there_is_nothing_to_compare_with(visit_empty):
    page = visit_empty("#/listen")
    page.get_by_text("The library is empty").wait_for()
    assert page.locator(".listen-button").count() == 0
    page.get_by_role("link", name="Add music").click()
    page.get_by_role("heading", name="Add your music").wait_for()


def test_a_search_without_results_can_be_ended(visit):
    page = visit("library?q=nothing%20is%20called%20so")
    page.get_by_role("button", name="Show all recordings").click()
    page.locator(".recordings tbody tr").nth(len(KNOWN) - 1).wait_for()
    assert page.get_by_role("searchbox").input_value() == ""
