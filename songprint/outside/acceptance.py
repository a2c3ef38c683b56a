"""What can be refused when a job is submitted, without a look-up or a connection.

A worker applies the same rules again when it fetches, writes and notifies. An immediate error
saves the client from waiting for a job that cannot succeed, or for a callback that is never sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from songprint.errors import FetchError
from songprint.outside import fetch
from songprint.outside.fetch import Rules
from songprint.outside.storage import Location, Storage, is_bucket, object_name

if TYPE_CHECKING:
    from songprint.config import ServerSettings


def check_input(location: Location, settings: ServerSettings) -> None:
    """Raise FetchError for a URL that is never fetched, or an object that no store of the settings can contain."""
    if location["type"] == "url":
        fetch.check(str(location["url"]), Rules.of_inputs(settings))
    elif location["type"] in ("s3", "cos"):
        _check_bucket(location, settings)
        object_name(str(location["object"]))


def check_stream(url: str, settings: ServerSettings) -> None:
    """Raise FetchError for the URL of a station that is never opened."""
    fetch.check(url, Rules.of_streams(settings))


def check_output(place: Location, settings: ServerSettings) -> None:
    """Raise FetchError for a bucket that no store of the settings has, or a folder that leads out of it."""
    _check_bucket(place, settings)
    object_name(f"{str(place.get('dir') or '').lstrip('/')}name")


def check_callback(url: str, settings: ServerSettings) -> None:
    """Raise FetchError for a URL to which no callback is ever sent."""
    fetch.check(url, Rules.of_callbacks(settings))


def _check_bucket(location: Location, settings: ServerSettings) -> None:
    if not is_bucket(str(location["bucket"])):
        raise FetchError("the name of the bucket is malformed", "input_refused")
    if not Storage(settings).has_bucket(location):
        raise FetchError(f"the bucket {location['bucket']} is in none of this server's stores", "input_not_found")
