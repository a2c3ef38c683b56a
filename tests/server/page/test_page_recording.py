"""The page of a recording: playing it, its tags and files, and its copies and versions."""

from __future__ import annotations

import pytest
from support.page_world import KNOWN


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_rows_of_the_library_lead_to_the_page_of_a_recording(site, visit, width, theme):
    [recording] = site.library.recordings(KNOWN[0].title)
    page = visit("library", width=width, theme=theme)
    page.get_by_role("link", name=recording.title, exact=True).click()
    page.get_by_role("heading", name=recording.title, level=1).wait_for()
    assert page.url.endswith(f"#/library/{recording.id}")
    page.get_by_text("No copies and no versions in the library").wait_for()
    assert recording.source in page.locator(".recording-page").inner_text()
    assert page.locator(".recording-page audio").first.get_attribute("src") == f"v1/recordings/{recording.id}/audio"
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_tags_are_edited_on_the_page_of_a_recording(site, visit):
    [recording] = site.library.recordings(KNOWN[1].title)
    page = visit(f"library/{recording.id}")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Album").fill("A new album")
    page.get_by_role("button", name="Save").click()
    page.locator("dd", has_text="A new album").wait_for()
    assert site.library.recording(recording.id).tags.album == "A new album"
    site.library.edit(recording.id, album=recording.tags.album)


def test_versions_show_the_alignment_and_copies_can_be_merged(site, visit):
    first, second = (site.library.recordings(tune.title)[0] for tune in KNOWN[:2])
    match = {
        "original": None,
        "confidence": 93.4,
        "query": {"start": 0, "end": 40},
        "reference": {"start": 0, "end": 40},
        "speed": 1.1,
        "key_shift": 3,
        "agreeing": 9,
        "score": 5.0,
        "sections": [],
        "recording": site.get(f"/v1/recordings/{second.id}"),
    }
    page = visit("library")
    page.route(
        f"**/v1/recordings/{first.id}/covers",
        lambda route: route.fulfill(json={"items": [match | {"kind": "recording"}, match | {"kind": "cover"}]}),
    )
    sent: list[dict] = []

    def decide(route) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(json={"recordings": []})

    page.route("**/v1/duplicates/decisions", decide)
    page.goto(f"{site.address}/#/library/{first.id}")
    copy, cover = page.locator(".related article").nth(0), page.locator(".related article").nth(1)
    cover.get_by_role("button", name="Show the alignment").click()
    cover.locator("canvas").wait_for()
    cover.get_by_text("Horizontal: this recording").wait_for()
    assert cover.locator("canvas").get_attribute("width") != "10"
    copy.get_by_role("button", name="Merge into this recording").click()
    page.get_by_role("button", name="Merge", exact=True).click()
    page.locator("dialog").wait_for(state="detached")
    assert sent == [{"decision": "merge", "recordings": [first.id, second.id], "into": first.id}]


def test_a_recording_that_does_not_exist_leads_back_to_the_library(visit):
    page = visit("library/123456")
    page.get_by_text("Recording not found").last.wait_for()
    page.get_by_role("link", name="Go to the library").click()
    page.locator(".recordings tbody tr").first.wait_for()
