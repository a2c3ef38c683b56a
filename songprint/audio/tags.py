"""Tags of audio files: title, artists, ISRC, MusicBrainz ids.

tinytag reads the tags of the common formats and FFmpeg those of the others. Damaged tags are ignored, and a file
without a title gets its file name as title.

Bytes whose encoding is not known stay surrogates until all texts of a file are read, see `songprint.audio.encodings`.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import unicodedata
from contextlib import nullcontext
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

from songprint.audio import encodings, files
from songprint.audio.naming import Pattern
from songprint.errors import AudioError
from songprint.types import Tags

_MAX_CHARACTERS = 500  # of one field; some files contain pages of text in their title
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_ISWC = re.compile(r"T[0-9]{10}")
_YEAR = re.compile(r"(?<!\d)(1[0-9]{3}|20[0-9]{2})")
_TRACK = re.compile(r"^\s*([0-9]{1,5})(?![0-9])")
_NUMBERED = re.compile(r"(?:[0-9]-)?([0-9]{1,3})(?:\.| -) (?=.)")  # "03 - ", "1-03 - ", "03. "
_ZERO_NUMBERED = re.compile(r"(?:[0-9]-)?(0[0-9]{1,2})(?: |-|\.)(?=[^\W\d])")  # "03 Title"; "99 Luftballons" is a title
_IN_ALBUM = re.compile(r"(?:[0-9]-)?([0-9]{1,3})(?: - |\. | |-|\.)(?=.)")  # "12 Title" beside "11 Other"
_ALBUM_FILES, _ALBUM_ENTRIES = 3, 300  # numbered files of an album, at least; entries of the folder that are read
_PATTERNS = (Pattern("{artist}+{album}+{track}-{title}"), Pattern("{artist} - {album} - {track} - {title}"))
_DISC = re.compile(r"(cd|dis[ck]|volume|vol\.?)\s*\d+", re.IGNORECASE)
_YEAR_OF_ALBUM = re.compile(r"[\[(]([12]\d{3})[\])]\s*|\s*[\[(]([12]\d{3})[\])]$|^([12]\d{3})\s+-\s+")
# Folders that contain a folder for each artist, and others that are not named after an artist or an album either.
_COLLECTION = re.compile(
    "(my )?music|musik|musique|música|musica|muzyka|muziek|музыка|音乐|音樂|音楽|ミュージック|음악|artists|mp3|flac",
    re.IGNORECASE,
)
_OTHER_FOLDER = re.compile(
    "downloads?|desktop|documents|audio|songs|tracks|albums|various( artists)?|va|compilations|soundtracks|singles"
    "|unsorted|unknown( artist| album)?|new|misc|other|incoming|tmp|temp",
    re.IGNORECASE,
)
# Of WAV and AIFF files: bytes of a chunk's name and size, and limits for damaged files and for pictures in tags
_CHUNK_HEADER, _MAX_CHUNKS, _MAX_CHUNK_BYTES = 8, 1000, 32 << 20
# Fields whose encoding is detected together.
_TEXTS = ("title", "artist", "artists", "albumartist", "album")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rules:
    """How tags are read where the files do not determine it."""

    encoding: str = encodings.AUTO  # see `encodings.decoded`
    pattern: Pattern | None = None  # of file names; None: guessed


def read_tags(path: str | Path, file: BinaryIO | None = None, rules: Rules | None = None) -> Tags:
    """Read the tags of an audio file. Never fails; without a title, artist and title come from the file name.

    `file` is the file at `path`, already open. With a pattern in `rules`, all that the tags lack comes from the path.

    >>> read_tags("Nina Simone - Sinnerman.mp3").artists
    ('Nina Simone',)
    """
    path, rules = Path(path), rules or Rules()
    values = _tinytag_values(path, file) or _ffmpeg_values(file or path)
    values, path = _decoded(values, path, rules.encoding)
    tags = _tags(values)
    matched = rules.pattern.match(path) if rules.pattern else None
    if matched is not None:
        return _completed(tags, _from_pattern(matched))
    if tags.title:
        return tags
    named = tags_from_name(path)
    if not (tags.artists or tags.album or named.artists):
        named = _from_folders(path, named)
    return _completed(tags, named)


def _completed(tags: Tags, named: Tags) -> Tags:
    """The tags, and what they lack from the name of the file."""
    return replace(tags, **{name: value for name, value in vars(named).items() if value and not getattr(tags, name)})


def _from_pattern(values: dict[str, str]) -> Tags:
    return Tags(
        title=_clean(values["title"]),
        artists=_artists([values.get("artist", "")]),
        album=_clean(values.get("album", "")),
        track=_number([values.get("track", "")], _TRACK),
        year=_number([values.get("year", "")], _YEAR),
    )


def tags_from_name(path: str | Path) -> Tags:
    """Read the name of a file: `Artist - Title`, `Title`, either after `03 - `, or `artist+album+03-title`.

    >>> tags_from_name("03_-_Nina_Simone_-_Sinnerman.mp3").track
    3
    """
    path = _decoded({}, Path(path), encodings.AUTO)[1]
    for pattern in _PATTERNS:
        if matched := pattern.match(path):
            return _from_pattern(matched)
    name = _clean(path.stem.replace("_", " ")).replace(" – ", " - ")
    numbered = _NUMBERED.match(name) or _ZERO_NUMBERED.match(name)
    track = int(numbered[1]) or None if numbered else None
    artist, dash, title = name[numbered.end() if numbered else 0 :].partition(" - ")
    return Tags(title=title, artists=(artist,), track=track) if dash else Tags(title=artist, track=track)


def _from_folders(path: Path, named: Tags) -> Tags:
    """Add what the folders of a numbered file without tags say for certain: `Artist - Album/03 Title`, for example.

    The folder is an album if it contains several numbered files. The folder above it is the artist if it is in a folder
    such as "Music".
    """
    numbered = _IN_ALBUM.match(_clean(path.stem.replace("_", " ")))
    if not numbered or not _is_album(path.parent):
        return named
    title = _clean(path.stem.replace("_", " "))[numbered.end() :]
    *above, album = (name for name in path.parts[:-1] if not _DISC.fullmatch(name))
    found = Tags(title=title, track=int(numbered[1]) or None)
    if _is_no_name(album):
        return found
    year = _YEAR_OF_ALBUM.search(album)
    if year:
        found = replace(found, year=int(year[1] or year[2] or year[3]))
        album = album[: year.start()] + album[year.end() :]
    artist, dash, rest = album.replace(" – ", " - ").partition(" - ")
    if dash:
        return replace(found, artists=_artists([artist]), album=_clean(rest))
    if len(above) > 1 and _COLLECTION.fullmatch(above[-2]) and not _is_no_name(above[-1]):
        found = replace(found, artists=_artists([above[-1]]))
    return replace(found, album=_clean(album))


def _is_album(folder: Path) -> bool:
    """Whether a folder contains several audio files with different numbers."""
    numbers = set()
    try:
        with os.scandir(folder) as entries:
            for entry in itertools.islice(entries, _ALBUM_ENTRIES):
                numbered = _IN_ALBUM.match(entry.name.replace("_", " "))
                if numbered and files.is_probably_audio(entry.path):
                    numbers.add(int(numbered[1]))
    except OSError:
        return False
    return len(numbers) >= _ALBUM_FILES


def _is_no_name(folder: str) -> bool:
    """Whether the name of a folder is certainly not the name of an artist or an album."""
    named = any(map(str.isalpha, folder))
    return not named or bool(_COLLECTION.fullmatch(folder) or _OTHER_FOLDER.fullmatch(folder))


def _tinytag_values(path: Path, file: BinaryIO | None) -> dict[str, list[str]]:
    """All values of every field, by the field names of tinytag, normalised; empty if it cannot read the file."""
    from tinytag import TinyTag

    try:
        if file is not None:
            file.seek(0)
        fields = TinyTag.get(path, duration=False, file_obj=file, encoding=encodings.RAW).as_dict()
    except Exception as error:  # a damaged file may raise anything
        logger.debug("%s: tags not read: %s", path, error)
        return {}
    values = {_plain(name): values for name, values in fields.items() if isinstance(values, list)}
    raw = _raw_of_chunk(path, file)
    values = {name: [raw.get(text, text) for text in texts] for name, texts in values.items()}
    if any("\ufffd" in text for name in _TEXTS for text in values.get(name, [])):  # FFmpeg keeps such bytes
        values |= {name: texts for name, texts in _ffmpeg_values(file or path).items() if name in values}
    return values


def _raw_of_chunk(path: Path, file: BinaryIO | None) -> dict[str, str]:
    """The raw texts of the ID3 chunk of a WAV or AIFF file, by the Latin-1 texts that tinytag makes of them."""
    from tinytag import TinyTag

    try:
        with nullcontext(file) if file is not None else open(path, "rb") as opened:
            chunk = _id3_chunk(opened)
        if not chunk:
            return {}
        fields = TinyTag.get(None, duration=False, file_obj=BytesIO(chunk), encoding=encodings.RAW).as_dict()
    except Exception as error:  # a damaged file may raise anything
        logger.debug("%s: ID3 chunk not read: %s", path, error)
        return {}
    raw = {text for texts in fields.values() if isinstance(texts, list) for text in texts if encodings.is_raw(text)}
    return {text.encode("utf-8", "surrogateescape").decode("latin-1"): text for text in raw}


def _id3_chunk(file: BinaryIO) -> bytes:
    """The content of the ID3 chunk of a WAV or AIFF file; nothing if there is none."""
    file.seek(0)
    head = file.read(_CHUNK_HEADER + 4)
    if head[:4] not in (b"RIFF", b"RF64", b"FORM"):
        return b""
    order: Literal["little", "big"] = "big" if head.startswith(b"FORM") else "little"
    for _ in range(_MAX_CHUNKS):
        chunk = file.read(_CHUNK_HEADER)
        size = int.from_bytes(chunk[4:], order)
        if len(chunk) < _CHUNK_HEADER:
            break
        if chunk[:4].lower() == b"id3 ":
            return file.read(min(size, _MAX_CHUNK_BYTES))
        file.seek(size + size % 2, os.SEEK_CUR)
    return b""


def _ffmpeg_values(path: Path | BinaryIO) -> dict[str, list[str]]:
    """The same from FFmpeg, which supports more formats (Matroska, APE, WavPack) but fewer fields."""
    try:
        fields = files.metadata(path)
    except AudioError as error:  # decoding reports the error
        logger.debug("%s: tags not read: %s", path, error)
        return {}
    return {_plain(name): [value] for name, value in fields.items()}


def _decoded(values: dict[str, list[str]], path: Path, preferred: str) -> tuple[dict[str, list[str]], Path]:
    """Decode the bytes of unknown encoding in tags and in the end of the path, together if both contain some."""
    names = list(path.parts[-3:])
    fields = {name: values[name] for name in _TEXTS if name in values}
    texts = list(dict.fromkeys(text for each in fields.values() for text in each))
    raw = [*filter(encodings.is_raw, texts)]
    raw_names = [*filter(encodings.is_raw, names)]
    if not raw and not raw_names:
        return values, path
    hint = unicodedata.normalize("NFC", "".join({*texts, *names} - {*raw, *raw_names}))
    # Tags in UTF-8 may be in a file whose name has another encoding.
    together = not encodings.is_utf8(raw) or encodings.is_utf8(raw_names)
    found = dict(zip(raw, encodings.decoded(raw + raw_names * together, preferred, hint), strict=False))
    named = encodings.decoded(names + raw * together, preferred, hint + "".join(found.values()))[: len(names)]
    return (
        values | {name: [found.get(text, text) for text in each] for name, each in fields.items()},
        Path(*path.parts[: -len(names)], *(each.replace("/", " ") for each in named)) if raw_names else path,
    )


def _plain(name: str) -> str:
    """Normalise a field name: `MusicBrainz/Track Id` and `MUSICBRAINZ_TRACKID` both become `musicbrainztrackid`."""
    return re.sub(r"[^a-z]", "", name.lower())


def _tags(values: dict[str, list[str]]) -> Tags:
    def texts(*names: str) -> list[str]:
        return [text for name in names for text in values.get(name, [])]

    work = _identifier(texts("musicbrainzworkid"), _UUID) or _identifier(texts("iswc", "tiswc"), _ISWC)
    return Tags(
        title=_first(texts("title")),
        artists=_artists(texts("artist", "artists")) or _artists(texts("albumartist")),
        album=_first(texts("album")),
        isrc=_identifier(texts("isrc", "tsrc"), _ISRC),
        track=_number(texts("track", "tracknumber", "partnumber"), _TRACK),
        year=_number(texts("year", "date", "datereleased", "tyer", "tdrc"), _YEAR),
        musicbrainz_recording_id=_identifier(
            texts("musicbrainztrackid", "musicbrainzrecordingid") + _unique_file_ids(texts("ufid")), _UUID
        ),
        musicbrainz_release_id=_identifier(texts("musicbrainzalbumid", "musicbrainzreleaseid"), _UUID),
        work=work,
    )


def _first(texts: list[str]) -> str:
    """The first text that is not empty. NUL separates several values in one text (ID3v2.4)."""
    cleaned = (_clean(part) for text in texts for part in text.split("\0"))
    return next(filter(None, cleaned), "")


def _artists(texts: list[str]) -> tuple[str, ...]:
    """Split texts into names, without duplicates.

    If a file contains both `ARTIST=Queen & David Bowie` and `ARTISTS=Queen; David Bowie`, the result is the two names.
    """
    parts = [_clean(part) for text in texts for part in re.split("[;\0]", text)]
    names = list(dict.fromkeys(filter(None, parts)))
    if len(names) > 2 and all(name in names[0] for name in names[1:]):
        names = names[1:]
    return tuple(names)


def _identifier(texts: list[str], form: re.Pattern[str]) -> str:
    """The first identifier that matches `form`, in the case of `form` and without added punctuation; else ""."""
    for text in texts:
        for part in re.split("[;\0]", text):
            candidate = _clean(part)
            candidate = candidate.lower() if form is _UUID else re.sub(r"[\s.-]", "", candidate.upper())
            if form.fullmatch(candidate):
                return candidate
    return ""


def _unique_file_ids(texts: list[str]) -> list[str]:
    """The MusicBrainz ids among the unique file identifiers of ID3, which have the format `owner NUL id`."""
    return [text.rpartition("\0")[2] for text in texts if text.startswith("http://musicbrainz.org\0")]


def _number(texts: list[str], form: re.Pattern[str]) -> int | None:
    """The first positive integer that `form` matches: 3 in `3/12`, 1998 in `1998-05-04`."""
    found = (form.search(text) for text in texts)
    return next((int(match[1]) for match in found if match and int(match[1])), None)


def _clean(text: str) -> str:
    """Replace control characters and surrogates by spaces, collapse runs of spaces, and compose accents (NFC)."""
    kept = (" " if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in text[:_MAX_CHARACTERS])
    return unicodedata.normalize("NFC", " ".join("".join(kept).split()))
