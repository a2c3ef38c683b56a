"""HLS: the audio arrives in pieces, named by a playlist that is fetched again and again.

FFmpeg's own HLS is not used, because it opens whatever a playlist names. Here every piece is fetched like a stream,
and FFmpeg gets only the bytes. Encrypted pieces and byte ranges are refused.

The playlists are parsed here and not by a library such as m3u8, because web radios also write playlists that the
standard does not allow, such as pieces without #EXTINF, which m3u8 drops.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urljoin

from songprint.audio.streams.station import Guard, Playlist, Station, open_url, shown
from songprint.errors import StreamError

START_BEHIND = 3  # pieces before the end of a live playlist at which playback begins
MIN_BANDWIDTH = 64_000  # bit/s; of several qualities, the lowest with this bandwidth is chosen
MAX_UNCHANGED = 3  # durations of a piece after which a live playlist without new pieces has failed
MAX_POLL_SECONDS = 5.0  # between two fetches of a live playlist


@dataclass(frozen=True)
class Pieces:
    """The content of a playlist of pieces."""

    first: int  # number of the first piece
    urls: tuple[str, ...]
    seconds: float  # maximum duration of a piece
    complete: bool  # no more pieces will come
    header: str = ""  # URL of the bytes before the first piece, in MP4


def is_hls(text: str) -> bool:
    """Whether a playlist names pieces or qualities of one stream, not songs or stations."""
    return "#EXT-X-TARGETDURATION" in text or "#EXT-X-STREAM-INF" in text


@dataclass
class Broadcast:
    """The pieces one after the other, as one stream of bytes with the methods of `Station`."""

    playlist: Playlist
    timeout: float
    name: str = ""
    title: str = ""
    guard: Guard | None = None
    _waiting: deque[str] = field(default_factory=deque)  # URLs of the pieces to read next
    _piece: Station | None = None

    def __post_init__(self) -> None:
        if "#EXT-X-STREAM-INF" in self.playlist.text:
            self.playlist = self._fetch_playlist(_choose_quality(self.playlist))
        pieces = parse(self.playlist)
        begin = 0 if pieces.complete else max(0, len(pieces.urls) - START_BEHIND)
        self._waiting += [*([pieces.header] if pieces.header else []), *pieces.urls[begin:]]
        self._next, self._pieces, self._grew = pieces.first + len(pieces.urls), pieces, time.monotonic()

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, b"" at the end; raise StreamError if the broadcast broke."""
        while True:
            if self._piece is None:
                if not self._waiting and not self._wait_for_pieces():
                    return b""
                self._piece = self._open(self._waiting.popleft())
            if data := self._piece.read(size):
                return data
            self._piece.close()
            self._piece = None

    def close(self) -> None:
        if self._piece is not None:
            self._piece.close()

    def _wait_for_pieces(self) -> bool:
        """Fetch the playlist until it names new pieces. Return False if it is complete."""
        while not self._waiting:
            if self._pieces.complete:
                return False
            if time.monotonic() - self._grew > MAX_UNCHANGED * self._pieces.seconds + self.timeout:
                raise StreamError(f"{shown(self.playlist.url)} no longer names new pieces")
            time.sleep(min(MAX_POLL_SECONDS, self._pieces.seconds / 2))
            self.playlist = self._fetch_playlist(self.playlist.url)
            before, self._pieces = self._pieces, parse(self.playlist)
            if self._pieces.header != before.header:
                raise StreamError(f"{shown(self.playlist.url)} changed its header")
            if self._pieces.first + len(self._pieces.urls) < self._next:
                raise StreamError(f"{shown(self.playlist.url)} started over")
            new = self._pieces.urls[max(0, self._next - self._pieces.first) :]
            if new:
                self._waiting += new
                self._next, self._grew = self._pieces.first + len(self._pieces.urls), time.monotonic()
        return True

    def _open(self, url: str) -> Station:
        opened = open_url(url, timeout=self.timeout, broadcast=False, guard=self.guard)
        if not isinstance(opened, Station):
            raise StreamError(f"cannot open {shown(url)}: it is a playlist, not a piece of audio")
        return opened

    def _fetch_playlist(self, url: str) -> Playlist:
        opened = open_url(url, timeout=self.timeout, broadcast=False, guard=self.guard)
        if isinstance(opened, Station):
            opened.close()
            raise StreamError(f"cannot open {shown(url)}: it is not a playlist")
        return opened


def parse(playlist: Playlist) -> Pieces:
    """The pieces that a playlist names. StreamError if they cannot be read."""
    text, name = playlist.text, shown(playlist.url)
    if re.search(r"#EXT-X-KEY:(?!METHOD=NONE)", text):
        raise StreamError(f"cannot listen to {name}: it is encrypted")
    if "#EXT-X-BYTERANGE" in text or "BYTERANGE=" in text:
        raise StreamError(f"cannot listen to {name}: its pieces are parts of files")
    duration = re.search(r"#EXT-X-TARGETDURATION:(\d{1,4})\b", text)
    if duration is None:
        raise StreamError(f"cannot listen to {name}: its playlist names no pieces of audio")
    number = re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d{1,18})\b", text)
    header = re.search(r'#EXT-X-MAP:.*?URI="([^"]+)"', text)
    return Pieces(
        first=int(number[1]) if number else 0,
        urls=tuple(
            urljoin(playlist.url, line.strip())
            for line in text.splitlines()
            if line.strip() and not line.startswith("#")
        ),
        seconds=max(1.0, float(duration[1])),
        complete="#EXT-X-ENDLIST" in text,
        header=urljoin(playlist.url, header[1]) if header else "",
    )


def _choose_quality(playlist: Playlist) -> str:
    """The URL of an audio-only rendition if there is one, else of the lowest sufficient quality."""
    renditions = [
        (line, str(uri[1]))
        for line in playlist.text.splitlines()
        if line.startswith("#EXT-X-MEDIA:") and "TYPE=AUDIO" in line and (uri := re.search(r'URI="([^"]+)"', line))
    ]
    if renditions:
        default = next((uri for line, uri in renditions if "DEFAULT=YES" in line), renditions[0][1])
        return urljoin(playlist.url, default)
    qualities = [
        (int(rate), str(url).strip())
        for rate, url in re.findall(r"#EXT-X-STREAM-INF:.*?\bBANDWIDTH=(\d{1,12}).*\s+([^#\s]\S*)", playlist.text)
    ]
    if not qualities:
        raise StreamError(f"cannot listen to {shown(playlist.url)}: its playlist names no streams")
    sufficient = [each for each in qualities if each[0] >= MIN_BANDWIDTH]
    return urljoin(playlist.url, (min(sufficient) if sufficient else max(qualities))[1])
