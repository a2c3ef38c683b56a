"""The shapes of requests and answers, for the description of the API; answers themselves are made by `export`.

Requests are checked against these. A test compares the shapes of answers with what is really sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MOST_ID = 2**43 - 1         # segment ids hold a recording's id and 20 bits more


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


def _text(length: int, shortest: int = 0):
    return Annotated[str, StringConstraints(min_length=shortest, max_length=length), AfterValidator(_no_nul)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TagsChange(Shape):
    """What is known of a recording. A field that is left out stays as it is."""

    title: _text(1000, 1) | None = None
    artists: Annotated[list[_text(500, 1)], Field(max_length=100)] | None = None
    album: _text(1000) | None = None
    isrc: Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}[A-Z0-9]{3}[0-9]{7})?$")] | None = Field(
        None, examples=["DEA123456789"])
    track: Annotated[int, Field(ge=1, le=99999)] | None = None
    year: Annotated[int, Field(ge=1000, le=2999)] | None = None
    musicbrainz_recording_id: _text(100) | None = None
    musicbrainz_release_id: _text(100) | None = None
    work: _text(200) | None = Field(None, description="The song underneath; recordings with the same one are linked.")

    def given(self) -> dict[str, Any]:
        """What was sent, as `Tags` wants it: an empty value for null."""
        empty = {"artists": (), "track": None, "year": None}
        return {name: tuple(value) if isinstance(value, list) else empty.get(name, "") if value is None else value
                for name, value in self.model_dump(exclude_unset=True).items()}


class Problem(BaseModel):
    """An error: what happened and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str = Field(description="For programs.")
    detail: str = Field(description="For people.")
    request_id: str


class Interval(BaseModel):
    start: float = Field(description="seconds")
    end: float


class Section(BaseModel):
    query: Interval
    reference: Interval


class Recording(BaseModel):
    id: int
    title: str
    artists: list[str]
    album: str
    isrc: str
    track: int | None
    year: int | None
    musicbrainz_recording_id: str
    musicbrainz_release_id: str
    work: str
    duration: float = Field(description="seconds")
    source: str = Field(description="Where it was added from: the whole path for administrators, else the file's name.")
    content_hash: str
    added_at: str


class Match(BaseModel):
    recording: Recording
    original: Recording | None
    kind: Literal["recording", "cover"]
    confidence: float = Field(description="0 to 100: how probable it is that the name is right")
    query: Interval
    reference: Interval
    speed: float
    key_shift: float = Field(description="semitones")
    agreeing: int
    score: float
    sections: list[Section]


class Song(BaseModel):
    work: str
    name: str
    original: int
    matches: list[int] = Field(description="Positions in `matches`.")


class Report(BaseModel):
    source: str
    duration: float
    matches: list[Match] = Field(description="Best first; empty: no match, and `reason` says why.")
    songs: list[Song]
    candidates: list[Match] = Field(description="The most probable names below the threshold: no answers.")
    thresholds: dict[str, float]
    searched: int = Field(description="Recordings in the library.")
    elapsed: float
    reason: str
    warnings: list[str]


class Added(BaseModel):
    outcome: Literal["added", "known"]
    recording: Recording
    warnings: list[str] = []


class Recordings(BaseModel):
    items: list[Recording]
    next: str | None
    total: int


class Matches(BaseModel):
    items: list[Match]


class Pair(BaseModel):
    recordings: list[Recording]


class Pairs(BaseModel):
    items: list[Pair]
    next: str | None


class WorkChange(Shape):
    """Recordings of one song."""

    recordings: Annotated[list[Annotated[int, Field(ge=1, le=MOST_ID)]], Field(min_length=1, max_length=1000)]
    work: _text(200, 1) | None = Field(None, description="Its name; left out: that which some of them have, or a new"
                                                         " one.")
    original: Annotated[int, Field(ge=1, le=MOST_ID)] | None = None


class Work(BaseModel):
    work: str
    recordings: list[Recording]
