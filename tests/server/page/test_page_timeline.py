"""The timeline of a long recording: scanning, playback, verdicts and downloads."""

from __future__ import annotations

import base64
import mimetypes
import re
import time

import numpy as np
import pytest
from support.page_world import COVERED, CUT, HIGHER, KNOWN, PART, until

from songprint.audio import files

FIRST, THIRD = KNOWN[0], KNOWN[3]  # the recordings in the broadcast; unknown music is between them
FILE = "Evening show.mp4"

DROP = """([name, type, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0))], name, { type }));
  for (const kind of ['dragenter', 'dragover', 'drop'])
    document.querySelector('main').dispatchEvent(
      new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def drop(page, path) -> None:
    """Drop a file on the page, like a file manager."""
    kind = mimetypes.guess_type(path.name)[0]
    page.evaluate(DROP, [path.name, kind, base64.b64encode(path.read_bytes()).decode()])


def group(page, name: str):
    return page.locator(".tl-group").filter(has=page.locator(f".tl-name:text-is('{name}')")).locator(".segment")


def test_the_timeline_of_a_dropped_film_appears_soon_after_the_scan(site, visit):
    page = visit("identify")
    drop(page, site.files.broadcast)
    page.get_by_role("link", name="Open the timeline").wait_for()
    page.wait_for_selector(".segment")
    seen = time.time()
    job = site.get(f"/v1/jobs/{page.url.rpartition('/')[2]}")
    ended = np.datetime64(job["finished_at"].removesuffix("+00:00"), "ms").astype(float) / 1000
    assert seen - ended < 2
    assert page.get_by_role("heading", level=1).inner_text() == FILE
    assert [segment.inner_text() for segment in group(page, "Recordings").all()] == [FIRST.title, THIRD.title]
    assert [segment.inner_text() for segment in group(page, "Covers").all()] == [COVERED.title]
    # The list shows the start and end of each segment.
    times = page.locator(".list .when").all_inner_texts()
    assert len(times) == page.locator(".segment").count()
    assert all(re.fullmatch(r"\d:\d\d – \d:\d\d", each) for each in times)
    # Positions and widths are proportional to the times.
    stage = page.locator(".tl-stage").bounding_box()
    box = group(page, "Recordings").nth(1).bounding_box()
    length = job["result"]["duration"]
    assert (box["x"] - stage["x"]) / stage["width"] * length == pytest.approx(2 * PART, abs=1.5)
    assert box["width"] / stage["width"] * length == pytest.approx(PART, abs=1.5)


def test_the_file_and_the_recording_are_played_at_corresponding_positions(site, visit, job):
    page = visit(f"jobs/{job}")
    group(page, "Recordings").first.click()
    page.get_by_role("button", name="Play this file").click()
    until(page, "window.starts.length >= 1")
    page.wait_for_timeout(2500)
    page.get_by_role("button", name="Recording", exact=True).click()
    until(page, "window.starts.length >= 2")
    one, other = page.evaluate("window.starts.slice(0, 2)")
    shown = page.locator(".player .number").inner_text()
    page.get_by_role("button", name="Pause").click()
    # Both sources play the song, and switching keeps the position.
    song = files.load(str(site.files.music[0]), 1000)
    first, second = position_in(one, song), position_in(other, song)
    gone = other["when"] - one["when"]
    begins = site.get(f"/v1/jobs/{job}")["result"]["segments"][0]["start"]
    assert first - begins == pytest.approx(CUT, abs=0.1)
    assert second - begins == pytest.approx(CUT + gone, abs=0.15) and gone > 2
    a, b = (int(minutes) * 60 + float(seconds) for minutes, seconds in re.findall(r"(\d+):(\d+\.\d)", shown))
    assert b - a == pytest.approx(CUT, abs=0.2)


def position_in(start: dict, song: np.ndarray) -> float:
    """The seconds of a song (sampled at 1 kHz) at which the audio of a started player begins."""
    rate = start["rate"]
    samples = np.array(start["samples"])[round(start["offset"] * rate) :][: round(3 * rate)]
    resampled = np.interp(np.arange(0, len(samples) / rate, 1e-3), np.arange(len(samples)) / rate, samples)
    windows = np.lib.stride_tricks.sliding_window_view(song, len(resampled))
    similarity = windows @ resampled / (np.linalg.norm(windows, axis=1) + 1e-9)
    return float(np.argmax(similarity)) / 1000


def test_a_cover_shows_its_key_and_alignment(visit, job):
    page = visit(f"jobs/{job}")
    group(page, "Covers").first.click()
    detail = page.locator(".detail")
    assert f"{HIGHER} semitones higher" in detail.inner_text()
    page.wait_for_selector(".similarity[aria-label^='Alignment']")
    drawn = page.evaluate("""() => {
      const canvas = document.querySelector('.similarity');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let reds = 0, shades = new Set();
      for (let at = 0; at < data.length; at += 4) {
        if (data[at] > data[at + 1] + 60) reds += 1;
        shades.add(data[at + 1] >> 5);
      }
      return { reds, shades: shades.size };
    }""")
    assert drawn["reds"] > 40 and drawn["shades"] >= 6


DELAY_JOB = """() => {
  const plain = window.fetch;
  let first = true;
  const held = new Promise((resolve) => { window.letGo = resolve; });
  window.fetch = async (...request) => {
    const answer = await plain(...request), path = new URL(answer.url).pathname;
    if (/^.v1.jobs.[^/]+$/.test(path)) {
      if (!first) await held;
      first = false;
    }
    return answer;
  };
}"""


def test_the_focus_stays_when_verdicts_arrive(visit, job):
    page = visit("jobs")
    page.evaluate(DELAY_JOB)  # delays the second response, which contains the verdicts
    page.evaluate(f"location.hash = '#/jobs/{job}'")
    page.wait_for_selector(".segment")
    page.locator(".segment[tabindex='0']").focus()
    page.evaluate("() => { window.focused = document.activeElement; window.letGo(); }")
    until(page, "!window.focused.isConnected")
    assert page.evaluate("document.activeElement.dataset.number") == page.evaluate("window.focused.dataset.number")


def test_the_player_is_visible_on_a_phone(visit, job):
    page = visit(f"jobs/{job}", width=390, height=844)
    bar, nav = page.locator("header.bar"), page.locator("#nav")
    rows = page.locator(".list .pick")
    for choose in (group(page, "Recordings").first, rows.last, rows.first):
        choose.click()
        box, title = page.locator(".player").bounding_box(), page.locator(".detail h2").bounding_box()
        assert title["y"] >= bar.bounding_box()["height"]
        assert box["y"] + box["height"] <= nav.bounding_box()["y"]


def test_the_keyboard_selects_zooms_and_plays(visit, job):
    page = visit(f"jobs/{job}")
    page.wait_for_selector(".segment")
    page.locator(".segment[tabindex='0']").focus()
    page.keyboard.press("Home")
    assert page.locator(".segment[aria-pressed='true']").inner_text() == FIRST.title
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.innerText") == COVERED.title
    width = page.locator(".segment[aria-pressed='true']").bounding_box()["width"]
    page.keyboard.press("+")
    assert page.locator(".segment[aria-pressed='true']").bounding_box()["width"] == pytest.approx(1.8 * width, rel=0.05)
    assert " of " in page.locator(".tl-tools .number").inner_text()
    page.keyboard.press("0")
    assert "in total" in page.locator(".tl-tools .number").inner_text()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".segment[aria-pressed='true']").inner_text() == THIRD.title
    page.keyboard.press("Space")
    until(page, "window.starts.length >= 1")
    page.keyboard.press("b")
    until(page, "window.starts.length >= 2")
    assert page.locator(".source[aria-pressed='true']").inner_text().endswith("Recording")
    page.keyboard.press("Space")


def test_verdicts_survive_a_reload_and_change_the_exports(site, visit, job):
    page = visit(f"jobs/{job}")
    group(page, "Recordings").first.click()
    page.get_by_role("button", name="Reject").click()
    page.locator(".segment.rejected").wait_for()
    group(page, "Covers").first.click()
    page.get_by_role("button", name="Correct").click()
    page.get_by_role("searchbox", name="Search the library").fill(KNOWN[2].title)
    until(page, "document.querySelectorAll('.picker li').length === 1")
    page.locator(".picker input").check()
    page.get_by_role("button", name="Select").click()
    page.locator(".segment.corrected").wait_for()
    # The confidence of the replaced match is not shown.
    page.locator(".detail .chip", has_text="Corrected").wait_for()
    assert "%" not in page.locator(".detail").inner_text()
    page.reload()
    assert page.locator(".segment.rejected").inner_text() == FIRST.title
    assert page.locator(".segment.corrected").inner_text() == KNOWN[2].title
    page.locator("summary", has_text="Download").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Tracklist").click()
    text = download.value.path().read_text()
    assert FIRST.title not in text and KNOWN[2].title in text and THIRD.title in text
    for undone in ("rejected", "corrected"):
        page.locator(f".segment.{undone}").click()
        page.get_by_role("button", name="Undo").click()
        page.locator(f".segment.{undone}").wait_for(state="detached")
    assert site.get(f"/v1/jobs/{job}")["verdicts"] == []


def test_every_format_can_be_downloaded(visit, job):
    page = visit(f"jobs/{job}")
    download_menu = page.locator("summary", has_text="Download")
    links = page.locator(".menu a")
    assert links.count() == 8
    for number in range(8):
        download_menu.click()
        with page.expect_download() as download:
            links.nth(number).click()
        assert FIRST.title in download.value.path().read_text()
        links.nth(number).wait_for(state="hidden")


def test_unknown_music_of_a_gap_can_be_added_and_is_identified_afterwards(site, visit, job):
    page = visit(f"jobs/{job}")
    group(page, "Not in the library").first.click()
    page.get_by_role("button", name="Add to the library").click()
    page.get_by_label("Title").fill("A tune <b>of ours</b>")
    page.get_by_label("Artists").fill("The Unknown; Others")
    page.get_by_role("button", name="Add recording").click()
    page.locator(".segment.named").wait_for()
    assert page.locator(".segment.named").inner_text() == "A tune <b>of ours</b>"  # as text, not as HTML
    assert page.locator(".detail b:text-is('of ours')").count() == 0
    (added,) = site.library.recordings("tune ours")
    assert added.artists == ("The Unknown", "Others")
    query = files.load(str(site.files.broadcast), 22050, start=PART + 5, duration=12)
    assert site.library.identify(query, sample_rate=22050).matches[0].recording.id == added.id
    site.library.remove(added.id)
