"""Identifying music with the microphone or from a file."""

from __future__ import annotations

import json
import re
import urllib.request

from support.page_world import KNOWN, MICROPHONE_START, until

SHORT = KNOWN[2]


def test_music_at_the_microphone_is_identified_and_unknown_music_gives_no_match(site, visit):
    """Two pages at the same time, because one of them records for twelve seconds."""
    site.play_to_microphone(site.files.unknown_excerpt)
    other, answers = visit("listen"), []
    other.on("response", lambda answer: answers.append(answer) if "/v1/identify" in answer.url else None)
    other.get_by_role("button", name="Listen").click()
    until(other, "document.querySelector('.listen-state').textContent.match(/[1-9]/)")
    site.play_to_microphone(site.files.known_excerpt)
    page = visit("listen")
    page.get_by_role("button", name="Listen").click()
    match = page.locator("article.match")
    match.wait_for()
    assert match.get_by_role("heading").inner_text() == SHORT.title
    assert SHORT.artist in match.inner_text()
    assert "Same recording" in match.inner_text()
    # The page sends its first query after three seconds of audio, and its last one after twelve.
    start, end = re.search(r"Matches 0:(\d\d) to 0:(\d\d)", match.inner_text()).groups()
    assert int(start) >= MICROPHONE_START - 1 and 2 <= int(end) - int(start) <= 13
    # The browser stores the history.
    page.reload()
    assert SHORT.title in page.locator(".history").inner_text()
    # The other page finds no match.
    match = other.locator("article.match.none")
    match.wait_for()
    assert match.get_by_role("heading").inner_text() == "No match"
    # Each of its queries is longer than the one before.
    durations = [answer.json()["duration"] for answer in answers]
    assert 3 <= durations[0] < 5 and 12 <= durations[-1] < 16 and len(durations) >= 3
    assert durations == sorted(durations)


def test_listening_can_be_stopped(site, visit):
    page = visit("listen")
    page.get_by_role("button", name="Listen").click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Listen").wait_for()
    assert page.locator("article.match").count() == 0


def test_the_page_explains_why_a_browser_has_no_microphone(site, visit):
    page = visit("listen")
    page.add_init_script(
        "Object.defineProperty(navigator, 'mediaDevices', {value: undefined});"
        "Object.defineProperty(window, 'isSecureContext', {value: false});"
    )
    page.reload()
    assert "secure pages only" in page.locator(".note.warn").inner_text()
    assert page.locator(".listen-button").is_disabled()


def test_a_denied_microphone_permission_is_explained(site, visit):
    page = visit("listen")
    page.evaluate("""() => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
    }""")
    page.get_by_role("button", name="Listen").click()
    assert "Allow it in the browser" in page.get_by_role("alert").inner_text()


def test_a_short_file_is_identified_at_once(site, visit):
    page = visit("identify")
    page.locator("#choose").set_input_files(site.files.known_excerpt)
    match = page.locator("article.match")
    match.wait_for()
    assert match.get_by_role("heading").inner_text() == SHORT.title


def test_copies_of_a_recording_share_a_card(site, visit):
    sent = urllib.request.Request(
        f"{site.address}/v1/identify", site.files.known_excerpt.read_bytes(), {"content-type": "audio/wav"}
    )
    with urllib.request.urlopen(sent) as answer:
        report = json.load(answer)
    (first,) = report["matches"]
    other = {**first, "recording": {**first["recording"], "id": 4711, "album": "Another album"}}
    page = visit("identify")
    page.route("**/v1/identify**", lambda route: route.fulfill(json={**report, "matches": [first, other]}))
    page.locator("#choose").set_input_files(site.files.known_excerpt)
    page.get_by_text("2 copies in the library").wait_for()
    assert page.locator("article.match").count() == 1
    page = visit("identify")
    one = {**first, "alternatives": [4711, 4712]}
    page.route("**/v1/identify**", lambda route: route.fulfill(json={**report, "matches": [one]}))
    page.locator("#choose").set_input_files(site.files.known_excerpt)
    page.get_by_text("3 copies in the library").wait_for()


def test_a_file_without_audio_shows_an_error_with_its_name(site, visit):
    page = visit("identify")
    page.locator("#choose").set_input_files(site.files.text)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "letter.txt" in alert.inner_text() and "text" in alert.inner_text()
    assert alert.inner_text()[0].isupper()
    assert page.get_by_role("button", name="Try again").count() == 0  # the result would be the same


def test_a_failed_upload_can_be_repeated(site, visit):
    page = visit("identify")
    page.route("**/v1/identify**", lambda route: route.abort())
    page.locator("#choose").set_input_files(site.files.known_excerpt)
    assert "does not respond" in page.get_by_role("alert").inner_text()
    page.unroute("**/v1/identify**")
    page.get_by_role("button", name="Try again").click()
    page.locator("article.match").wait_for()


def test_a_new_job_scans_short_files_too(site, visit):
    page = visit("jobs")
    page.get_by_role("link", name="New job").first.click()
    page.get_by_role("heading", name="New job").wait_for()
    page.locator("#choose").set_input_files(site.files.known_excerpt)
    page.locator(".timeline .segment").first.wait_for()
    assert page.locator(".segment").first.inner_text() == SHORT.title


def test_the_resampler_keeps_low_tones_and_removes_high_ones(visit):
    """From 48 and 44.1 kHz to 16 kHz: tones below 8 kHz keep their level, and others do not alias."""
    page = visit("listen")
    levels = page.evaluate("""async () => {
      const { Resampler } = await import('/page/audio/wav.js');
      const level = (rate, tone) => {
        const input = Float32Array.from({ length: rate }, (_, at) => Math.sin(2 * Math.PI * tone * at / rate));
        const made = new Resampler(rate), out = [];
        for (let at = 0; at < rate; at += 2048) out.push(...made.push(input.subarray(at, at + 2048)));
        const steady = out.slice(1000, -1000);
        return { count: out.length, level: Math.sqrt(2 * steady.reduce((sum, x) => sum + x * x, 0) / steady.length) };
      };
      return [48000, 44100].flatMap((rate) => [440, 5000, 12000].map((tone) => ({ rate, tone, ...level(rate, tone) })));
    }""")
    for made in levels:
        assert 15900 <= made["count"] <= 16000
        assert abs(made["level"] - 1) < 0.02 if made["tone"] < 8000 else made["level"] < 0.003, made
