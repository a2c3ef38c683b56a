"""HLS: the sound comes in pieces, which a playlist names that is read again and again.

FFmpeg's own HLS is not used, because it opens what a playlist says. Here every piece is fetched over http as a stream
is, and FFmpeg gets the bytes alone. Pieces that are encrypted, or parts of files, are refused.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urljoin

from songprint.audio.streams import http
from songprint.errors import StreamError

BEHIND_THE_END = 3  # pieces before the end of a live playlist at which listening begins
ENOUGH = 64_000  # bit/s: of several qualities the least with as much is taken
UNCHANGED = 3  # durations of a piece after which a live playlist that does not grow is dead


@dataclass(frozen=True)
class Pieces:
    """What a playlist of pieces says."""

    first: int  # the number of the first piece
    urls: tuple[str, ...]
    seconds: float  # that a piece lasts at most
    complete: bool  # no more will come
    header: str = ""  # URL of what comes before the first piece, in MP4


def is_hls(text: str) -> bool:
    """Whether a playlist is one of pieces or of qualities, not a list of songs or stations."""
    return "#EXT-X-TARGETDURATION" in text or "#EXT-X-STREAM-INF" in text


@dataclass
class Broadcast:
    """The pieces one after the other, as one stream of bytes; a `Source` like `http.Station`."""

    playlist: http.Playlist
    timeout: float
    name: str = ""
    title: str = ""
    _wanted: deque[str] = field(default_factory=deque)
    _piece: http.Station | None = None

    def __post_init__(self) -> None:
        if "#EXT-X-STREAM-INF" in self.playlist.text:
            self.playlist = self._read_playlist(_quality(self.playlist))
        pieces = parse(self.playlist)
        begin = 0 if pieces.complete else max(0, len(pieces.urls) - BEHIND_THE_END)
        self._wanted += [*([pieces.header] if pieces.header else []), *pieces.urls[begin:]]
        self._next, self._pieces, self._grew = pieces.first + len(pieces.urls), pieces, time.monotonic()

    def read(self, size: int) -> bytes:
        """At most `size` bytes, b"" at the end; StreamError if the broadcast broke."""
        while True:
            if self._piece is None:
                if not self._wanted and not self._look_for_more():
                    return b""
                self._piece = self._open(self._wanted.popleft())
            if data := self._piece.read(size):
                return data
            self._piece.close()
            self._piece = None

    def close(self) -> None:
        if self._piece is not None:
            self._piece.close()

    def _look_for_more(self) -> bool:
        """Wait until the playlist names more pieces; False if it says that there are no more."""
        while not self._wanted:
            if self._pieces.complete:
                return False
            if time.monotonic() - self._grew > UNCHANGED * self._pieces.seconds + self.timeout:
                raise StreamError(f"{http.shown(self.playlist.url)} names no new pieces any more")
            time.sleep(min(5.0, self._pieces.seconds / 2))
            self.playlist = self._read_playlist(self.playlist.url)
            before, self._pieces = self._pieces, parse(self.playlist)
            if self._pieces.header != before.header:
                raise StreamError(f"{http.shown(self.playlist.url)} changed its header")
            if self._pieces.first + len(self._pieces.urls) < self._next:
                raise StreamError(f"{http.shown(self.playlist.url)} began anew")
            fresh = self._pieces.urls[max(0, self._next - self._pieces.first) :]
            if fresh:
                self._wanted += fresh
                self._next, self._grew = self._pieces.first + len(self._pieces.urls), time.monotonic()
        return True

    def _open(self, url: str) -> http.Station:
        opened = http.open_url(url, timeout=self.timeout, broadcast=False)
        if not isinstance(opened, http.Station):
            raise StreamError(f"cannot open {http.shown(url)}: a playlist stands where sound should be")
        return opened

    def _read_playlist(self, url: str) -> http.Playlist:
        opened = http.open_url(url, timeout=self.timeout, broadcast=False)
        if isinstance(opened, http.Station):
            opened.close()
            raise StreamError(f"cannot open {http.shown(url)}: it is no playlist")
        return opened


def parse(playlist: http.Playlist) -> Pieces:
    """The pieces that a playlist names; StreamError if they cannot be read."""
    text, shown = playlist.text, http.shown(playlist.url)
    if re.search(r"#EXT-X-KEY:(?!METHOD=NONE)", text):
        raise StreamError(f"cannot listen to {shown}: it is encrypted")
    if "#EXT-X-BYTERANGE" in text or "BYTERANGE=" in text:
        raise StreamError(f"cannot listen to {shown}: its pieces are parts of files")
    lasts = re.search(r"#EXT-X-TARGETDURATION:(\d{1,4})\b", text)
    if lasts is None:
        raise StreamError(f"cannot listen to {shown}: it is a playlist that names no pieces of sound")
    number = re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d{1,18})\b", text)
    header = re.search(r'#EXT-X-MAP:.*?URI="([^"]+)"', text)
    return Pieces(
        first=int(number[1]) if number else 0,
        urls=tuple(
            urljoin(playlist.url, line.strip())
            for line in text.splitlines()
            if line.strip() and not line.startswith("#")
        ),
        seconds=max(1.0, float(lasts[1])),
        complete="#EXT-X-ENDLIST" in text,
        header=urljoin(playlist.url, header[1]) if header else "",
    )


def _quality(playlist: http.Playlist) -> str:
    """The URL of the sound alone if there is such, else of the least quality that is enough."""
    alone = [
        line
        for line in playlist.text.splitlines()
        if line.startswith("#EXT-X-MEDIA:") and "TYPE=AUDIO" in line and 'URI="' in line
    ]
    if alone:
        preferred = next((line for line in alone if "DEFAULT=YES" in line), alone[0])
        return urljoin(playlist.url, re.search(r'URI="([^"]+)"', preferred)[1])
    qualities = [
        (int(rate), url.strip())
        for rate, url in re.findall(r"#EXT-X-STREAM-INF:.*?\bBANDWIDTH=(\d{1,12}).*\s+([^#\s]\S*)", playlist.text)
    ]
    if not qualities:
        raise StreamError(f"cannot listen to {http.shown(playlist.url)}: its playlist names nothing")
    enough = [each for each in qualities if each[0] >= ENOUGH]
    return urljoin(playlist.url, (min(enough) if enough else max(qualities))[1])
