"""Hand-made timelines for tests of export formats and pictures."""

from __future__ import annotations

from songprint.types import Gap, Interval, Kind, Recording, Segment, Sound, Tags, Timeline

NASTY = (  # each has a special meaning in one of the formats
    'He said "No"',
    '=HYPERLINK("http://example.org";"win")',
    "+49 30",
    "-1",
    "@SUM(A1)",
    "＝1+1",
    "a,b;c\td",
    "two\nlines",
    "two\r\n\r\nparagraphs",
    "--> 00:00:01,000",
    "<b>bold</b> & <script>",
    "{\\an8}top",
    "&amp; so on",
    "back\\slash",
    "Für Elise 茉莉花 👩‍👩‍👧",
    "odd\udcffbytes",
    "bell\x07 and \x1b[31mred",
    "line\u2028separator",
    "WEBVTT",
    "NOTE it",
    "TRACK 01 AUDIO",
    "x" * 300,
    "'",
    "%s %d {0}",
    " padded ",
    "REM",
)


def recording(
    id: int = 1,
    title: str = "Greensleeves",
    artists: tuple[str, ...] = ("Anon",),
    *,
    work: str = "",
    isrc: str = "",
    duration: float = 200.0,
) -> Recording:
    return Recording(
        id, Tags(title=title, artists=artists, work=work, isrc=isrc), duration, f"/music/{id}.flac", f"hash {id}"
    )


def segment(
    start: float,
    end: float,
    of: Recording | None = None,
    kind: Kind = Kind.RECORDING,
    *,
    original: Recording | None = None,
    confidence: float = 98.76,
    speed: float = 1.0,
) -> Segment:
    return Segment(
        of or recording(), kind, confidence, Interval(start, end), Interval(0.0, end - start), speed, original=original
    )


def timeline(
    *segments: Segment,
    gaps: tuple[Gap, ...] = (),
    duration: float = 600.0,
    source: str = "/mixes/mix.mp3",
    **more: object,
) -> Timeline:
    return Timeline(
        sorted(segments, key=lambda each: each.interval.start),
        list(gaps),
        duration,
        {Kind.RECORDING: 80.0},
        searched=3,
        elapsed=1.5,
        source=source,
        **more,
    )


def programme() -> Timeline:
    """Ten minutes with a cross-fade, a cover, unknown music twice, speech and silence."""
    original = recording(3, "The Ash Grove", ("Trad.",), work="ash grove")
    played_anew = recording(4, "The Ash Grove (live)", ("Band",), work="ash grove")
    return timeline(
        segment(20, 140, recording(1)),
        segment(
            130, 260.5, recording(2, "Scarborough Fair", ("Simon", "Garfunkel"), isrc="US-AB1-67-00001"), speed=1.04
        ),
        segment(300, 420, played_anew, Kind.COVER, original=original, confidence=71.2),
        gaps=(
            Gap(Interval(0, 20), Sound.SPEECH),
            Gap(Interval(260.5, 300), Sound.MUSIC, unknown=2),
            Gap(Interval(420, 430), Sound.SILENCE),
            Gap(Interval(430, 590), Sound.MUSIC),
            Gap(Interval(590, 600), Sound.OTHER),
        ),
    )


def nasty() -> Timeline:
    """One song per title in NASTY, with artists of the same names."""
    return timeline(
        *(
            segment(20.0 * number, 20.0 * number + 15, recording(number + 1, title, (NASTY[-number],)))
            for number, title in enumerate(NASTY)
        ),
        duration=20.0 * len(NASTY),
    )
