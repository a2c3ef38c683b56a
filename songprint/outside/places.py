"""The connections of a worker: fetching inputs, writing results, sending callbacks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from songprint.errors import FetchError
from songprint.outside.fetch import Answer

if TYPE_CHECKING:
    from songprint.config import Settings


Post = Callable[[str, bytes, Mapping[str, str]], Answer]  # url, body, headers
OnBytes = Callable[[int, int | None], None]  # bytes so far, bytes in all if they are known


@dataclass(frozen=True)
class Outside:
    """Three functions, which tests replace."""

    read: Callable[
        [Mapping[str, Any], Path, OnBytes, threading.Event], Path
    ]  # location, a file to write, progress, stop
    write: Callable[[Mapping[str, Any], str, bytes], None]  # location, name, content
    post: Post


def real(settings: Settings) -> Outside:
    """The real network and object stores, within the rules of the settings."""
    from songprint.outside import fetch
    from songprint.outside.storage import Storage

    storage = Storage(settings.server)
    rules = fetch.Rules.of_inputs(settings.server)

    def read(location: Mapping[str, Any], target: Path, on_bytes: OnBytes, stop: threading.Event) -> Path:
        if location["type"] == "file":
            return _uploaded(Path(location["path"]))
        if location["type"] == "url":
            return fetch.download(location["url"], target, rules, on_progress=on_bytes, stop=stop).path
        storage.read(location, target, on_progress=on_bytes, stop=stop)
        return target

    return Outside(read, storage.write, partial(fetch.send, "POST", rules=fetch.Rules.of_callbacks(settings.server)))


def name_of(location: Mapping[str, Any]) -> str:
    """The file name of an input, for people.

    >>> name_of({"type": "url", "url": "https://me:secret@example.org/a/Night%20mix.mp3?token=secret"})
    'Night mix.mp3'
    """
    from urllib.parse import unquote, urlsplit

    if location["type"] == "url":
        parts = urlsplit(location["url"])
        return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.hostname or "input"
    if location["type"] == "file":
        return location.get("name") or "upload"
    return str(location["object"]).lstrip("/")


def _uploaded(path: Path) -> Path:
    if not path.is_file():
        raise FetchError("the upload is not on this machine, or was deleted. Send it again", "input_not_found")
    return path
