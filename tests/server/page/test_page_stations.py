"""The views of stations: adding one, what it plays now, its history with audio, its reports."""

from __future__ import annotations

import re

import pytest
from support.page_world import KNOWN, until
from support.radio import Answer, Radio


@pytest.fixture(scope="module")
def tune_radio(site):
    """A web radio that plays a tune of the library, in 10 seconds, and then nothing."""
    radio = Radio((Answer(site.files.music[0].read_bytes(), stalls=True, seconds=10.0),))
    yield radio
    radio.close()


def test_a_new_user_follows_a_station_from_the_empty_list_to_its_report(site, visit, tune_radio):
    page = visit("stations", width=1440)
    page.get_by_text("No stations yet").wait_for()
    page.locator(".empty").get_by_role("button", name="Add station").click()
    page.get_by_label("URL of the stream").fill(tune_radio.url)
    page.get_by_label("Name").fill("Radio Toy")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.locator("dialog").get_by_role("button", name="Add station").click()
    page.get_by_role("heading", name="Radio Toy").wait_for()
    page.locator(".plays tbody tr", has_text=KNOWN[0].title).wait_for()
    while not list(site.library.path.glob("stations/*/*.opus")):  # complete after ten seconds of audio
        page.wait_for_timeout(200)
    page.get_by_role("button", name=re.compile("^Play ")).first.click()
    until(page, "document.querySelector('audio').currentTime > 0")
    report = page.get_by_role("link", name="Page", exact=True).get_attribute("href")
    assert "format=html" in report and page.evaluate(f"fetch('{report}').then((answer) => answer.status)") == 200
    page.get_by_role("button", name="Outages").click()
    page.get_by_text("Nothing found").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Start").wait_for()
    page.get_by_role("link", name="All stations").click()
    page.locator(".stations tbody tr", has_text="Stopped").wait_for()


@pytest.mark.parametrize("width", [390, 1440])
def test_a_station_fits_the_window_and_can_be_removed(site, visit, tune_radio, width):
    page = visit("stations", width=width)
    page.get_by_role("button", name="Add station").first.click()
    page.get_by_label("URL of the stream").fill(f"{tune_radio.url}/{'x' * 200}")
    page.locator("dialog").get_by_role("button", name="Add station").click()
    page.get_by_role("heading", name="Daily report").wait_for()
    page.get_by_role("button", name="All").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Remove the station").click()
    page.locator("dialog").get_by_role("button", name="Remove").click()
    until(page, "location.hash === '#/stations'")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
