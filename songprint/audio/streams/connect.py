"""Opening a web radio: playlists are followed until there is sound."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from songprint.audio.streams import hls
from songprint.audio.streams.http import Playlist, Station, open_url, shown
from songprint.errors import StreamError

MOST_PLAYLISTS = 3  # that name each other


def connect(url: str, *, timeout: float) -> Station:
    """Open a web radio; a playlist is followed to what it names. StreamError says why it cannot be opened."""
    for _ in range(MOST_PLAYLISTS):
        opened = open_url(url, timeout=timeout)
        if isinstance(opened, Station):
            return opened
        if hls.is_hls(opened.text):
            return hls.Broadcast(opened, timeout=timeout)
        url = _first_named(opened)
    raise StreamError(f"cannot open {shown(url)}: its playlists name nothing but playlists")


def _first_named(playlist: Playlist) -> str:
    """The first URL that an M3U or PLS playlist names; a path is taken as one at the same server."""
    for line in playlist.text.lstrip("\ufeff").splitlines():
        named = re.sub(r"^File\d+=", "", line.strip(), flags=re.IGNORECASE)
        pls = named != line.strip()
        if named and (pls or not re.match(r"[#\[]|\w+=", named)):
            return urljoin(playlist.url, named)
    raise StreamError(f"cannot open {shown(playlist.url)}: it is a playlist that names nothing")
