"""Open a web radio: follow playlists until there is audio."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from songprint.audio.streams import hls
from songprint.audio.streams.station import Guard, Playlist, Station, open_url, shown
from songprint.errors import StreamError

MAX_PLAYLISTS = 3  # that name each other


def connect(url: str, *, timeout: float, guard: Guard | None = None) -> Station | hls.Broadcast:
    """Open a web radio, or the stream that its playlist names. StreamError gives the reason why that fails.

    `guard` checks every URL before it is opened, also those in redirects and playlists.
    """
    for _ in range(MAX_PLAYLISTS):
        opened = open_url(url, timeout=timeout, guard=guard)
        if isinstance(opened, Station):
            return opened
        if hls.is_hls(opened.text):
            return hls.Broadcast(opened, timeout=timeout, guard=guard)
        url = _first_url(opened)
    raise StreamError(f"cannot open {shown(url)}: its playlists name only further playlists")


def _first_url(playlist: Playlist) -> str:
    """The first URL in an M3U or PLS playlist. Paths are relative to the URL of the playlist."""
    for line in playlist.text.lstrip("\ufeff").splitlines():
        named = re.sub(r"^File\d+=", "", line.strip(), flags=re.IGNORECASE)
        pls = named != line.strip()
        if named and (pls or not re.match(r"[#\[]|\w+=", named)):
            return urljoin(playlist.url, named)
    raise StreamError(f"cannot open {shown(playlist.url)}: the playlist is empty")
