"""The identity of a recording: a hash of its sound that does not change with tags, artwork or the container's padding.

The encoded packets are hashed, not the decoded samples: that needs no decoding, and every version of a decoder gives
the same result. A transcoded file, another master or another rip therefore has another hash.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import TYPE_CHECKING

from songprint.audio import files
from songprint.errors import AudioError

if TYPE_CHECKING:
    import av

PREFIX = "sound:"  # distinguishes the hash from that of a whole file, which older libraries contain
_DIGEST_BYTES = 16
_HASHED_BYTES = 1 << 18  # per update


def sound_hash(source: files.Source, links: files.Links | None = None) -> str:
    """Return the hash of all audio packets of a file: PREFIX and 32 hexadecimal digits.

    The codec, sample rate and channels count as well, because raw samples sound different at another rate. A damaged
    file is hashed up to the damage that ends reading. `links` are those of `files.ogg_links`. Raises AudioError if the
    file has no audio.
    """
    hashes: list[bytes] = []
    with closing(files.containers(source, links)) as parts:
        for part in parts:
            hashes += _hashes(part)
    if not hashes:
        raise AudioError(f"cannot read {files.name_of(source)}: no audio stream in it. Is it the right file?")
    return PREFIX + hashlib.blake2b(b"".join(hashes), digest_size=_DIGEST_BYTES).hexdigest()


def _hashes(container: av.container.InputContainer) -> list[bytes]:
    """Hash the packets of each audio stream of an open file."""
    import av

    streams = container.streams.audio
    hashes = {stream.index: hashlib.blake2b(digest_size=_DIGEST_BYTES) for stream in streams}
    raw = {stream.index for stream in streams if stream.codec_context.name.startswith("pcm_")}
    waiting: dict[int, list[bytes]] = {index: [] for index in hashes}  # packets: one update for many is faster
    for stream in streams:
        codec = stream.codec_context
        hashes[stream.index].update(f"{codec.name} {codec.sample_rate} {codec.channels}".encode())
    size = 0
    try:
        for packet in container.demux(*streams) if streams else ():
            content, index = bytes(packet), packet.stream_index
            # Zeros are padding, except in raw samples. PyAV also yields the empty last packets of other streams.
            if index in hashes and (not content.startswith(b"\0") or index in raw or any(content)):
                waiting[index].append(content)
                size += len(content)
                if size > _HASHED_BYTES:
                    _update(hashes, waiting)
                    size = 0
    except av.FFmpegError:
        pass  # decoding ends here as well, and reports it
    _update(hashes, waiting)
    return [hashes[index].digest() for index in sorted(hashes)]


def _update(hashes: dict[int, hashlib.blake2b], waiting: dict[int, list[bytes]]) -> None:
    """Add the waiting packets to the hash of their stream."""
    for index, packets in waiting.items():
        hashes[index].update(b"".join(packets))
        packets.clear()
