"""The library view: adding, finding, editing, linking and removing recordings."""

from __future__ import annotations

import pytest
from support.page_world import KNOWN

HOSTILE = '<img src=x onerror="window.broken=1"> & "quotes"'


def row(page, title: str):
    return page.locator(".recordings tbody tr").filter(has_text=title)


@pytest.fixture
def added(site):
    """One more recording in the library, removed after the test."""
    before = {each.id for each in site.library.recordings()}
    site.library.add(site.files.new, workers=1)
    yield next(each for each in site.library.recordings() if each.id not in before)
    for each in site.library.recordings():
        if each.id not in before:
            site.library.remove(each.id)


def test_uploads_show_the_outcome_of_each_file(site, visit):
    page = visit("library")
    page.locator("#add-music").set_input_files([site.files.new, site.files.music[0], site.files.text])
    page.locator(".upload-panel").get_by_role("button", name="Close").wait_for()
    outcomes = {item.locator(".clip").inner_text(): item.inner_text() for item in page.locator(".uploads li").all()}
    assert "Added" in outcomes["new.flac"]
    assert "Already in the library" in outcomes["0.flac"]
    assert "Not added" in outcomes["letter.txt"] and "text" in outcomes["letter.txt"]
    assert "1 added, 1 already in the library, 1 failed" in page.locator(".upload-panel").inner_text()
    assert page.locator(".recordings tbody tr").count() == len(KNOWN) + 1
    assert f"{len(KNOWN) + 1} recordings" in page.locator(".head").inner_text()
    new = next(each for each in site.library.recordings() if each.title not in {tune.title for tune in KNOWN})
    page.get_by_role("button", name=f"Remove {new.title}").click()
    page.get_by_role("button", name="Remove", exact=True).last.click()
    row(page, new.title).wait_for(state="detached")
    assert len(site.library) == len(KNOWN)


def test_the_library_can_be_searched_and_sorted(visit):
    page = visit("library")
    page.get_by_label("Sort by").select_option("title")
    page.wait_for_timeout(500)
    titles = page.locator(".recordings .title").all_inner_texts()
    assert sorted(titles, key=str.casefold) == titles and len(titles) == len(KNOWN)
    page.get_by_role("searchbox").fill(KNOWN[2].title)
    page.get_by_text("1 recording found").wait_for()
    assert page.locator(".recordings .title").all_inner_texts() == [KNOWN[2].title]
    page.get_by_role("searchbox").fill("nothing is called so")
    page.get_by_text("No recording contains all these words").wait_for()


def test_edited_tags_are_stored_and_shown_as_text(site, visit, added):
    page = visit("library")
    page.get_by_role("button", name=f"Edit {added.title}").click()
    page.get_by_label("Title").fill(HOSTILE)
    page.get_by_label("Artists").fill("One; Another")
    page.get_by_label("Year").fill("1999")
    page.get_by_role("button", name="Save").click()
    row(page, HOSTILE).wait_for()
    page.reload()
    assert "One, Another" in row(page, HOSTILE).inner_text()
    assert page.locator(".recordings img").count() == 0 and page.evaluate("window.broken") is None
    tags = site.library.recording(added.id).tags
    assert (tags.title, tags.artists, tags.year) == (HOSTILE, ("One", "Another"), 1999)


def test_selected_recordings_can_be_linked_to_one_work(site, visit, added):
    other = site.library.recordings(KNOWN[0].title)[0]
    page = visit("library")
    for title in (added.title, other.title):
        page.get_by_role("checkbox", name=f"Select {title}").check()
    page.get_by_role("button", name="Link to one work").click()
    page.get_by_role("textbox", name="Work").fill("T0123456789")
    page.get_by_role("button", name="Link", exact=True).click()
    row(page, added.title).locator(".work").wait_for()
    assert {site.library.recording(each.id).tags.work for each in (added, other)} == {"T0123456789"}
    site.library.unlink(other.id)


def test_the_review_lists_duplicates_and_unlinked_versions(site, visit):
    page = visit("library/review")
    page.get_by_text("No duplicates").wait_for()
    page.get_by_role("button", name="Compare all recordings").click()
    page.get_by_text("No unlinked versions").wait_for()
    assert f"Compared {len(KNOWN)} of {len(KNOWN)} recordings" in page.locator(".review-versions").inner_text()


def test_duplicates_are_kept_or_merged_in_the_review(site, visit, added):
    other = site.library.recordings(KNOWN[0].title)[0]
    group = [site.get(f"/v1/recordings/{each.id}") for each in (added, other)]
    sent: list[dict] = []
    page = visit("library")
    page.route(
        "**/v1/duplicates?**", lambda route: route.fulfill(json={"items": 2 * [{"recordings": group}], "next": None})
    )

    def decide(route) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(json={"recordings": group})

    page.route("**/v1/duplicates/decisions", decide)
    page.get_by_role("button", name="To review").click()
    page.locator(".pair").first.wait_for()
    page.get_by_role("button", name="Keep both").first.click()
    page.get_by_role("button", name="Keep both").nth(1).wait_for(state="detached")
    page.get_by_role("button", name="Merge into this recording").first.click()
    page.locator(".pair").wait_for(state="detached")
    ids = [added.id, other.id]
    assert sent == [
        {"recordings": ids, "decision": "keep"},
        {"recordings": ids, "decision": "merge", "into": added.id},
    ]


def test_the_checkbox_of_the_header_follows_the_selection(visit):
    page = visit("library")
    header, first = page.get_by_label("Select all shown recordings"), page.get_by_label(f"Select {KNOWN[0].title}")
    first.check()
    assert not header.is_checked() and header.evaluate("(box) => box.indeterminate")
    header.check()
    assert page.locator(".selection strong").inner_text() == str(len(KNOWN)) and first.is_checked()
    first.uncheck()
    assert not header.is_checked() and header.evaluate("(box) => box.indeterminate")
    header.check()
    header.uncheck()
    assert not first.is_checked() and page.locator(".selection").is_hidden()


def test_going_back_closes_a_dialog(visit):
    page = visit("listen")
    page.get_by_role("link", name="Library", exact=True).click()
    page.get_by_role("button", name=f"Edit {KNOWN[0].title}").click()
    page.locator("dialog").wait_for()
    page.go_back()
    page.locator(".listen-button").wait_for()
    assert page.locator("dialog").count() == 0


@pytest.mark.parametrize("width", [1440, 390])
def test_long_titles_do_not_widen_the_review(site, visit, added, width):
    other = site.library.recordings(KNOWN[0].title)[0]
    title = 60 * "Long title " + 200 * "x"
    pair = [site.get(f"/v1/recordings/{each.id}") | {"title": title} for each in (added, other)]
    page = visit("library", width=width)
    page.route("**/v1/duplicates**", lambda route: route.fulfill(json={"items": [{"recordings": pair}], "next": None}))
    page.get_by_role("button", name="To review").click()
    page.locator(".pair").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for side in page.locator(".side-of-pair").all():
        box = side.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
