"""The shapes of requests and answers, for the description of the API; answers themselves are made by `export`.

Requests are checked against these. A test compares the shapes of answers with what is really sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MOST_ID = 2**43 - 1  # segment ids hold a recording's id and 20 bits more


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
        None, examples=["DEA123456789"]
    )
    track: Annotated[int, Field(ge=1, le=99999)] | None = None
    year: Annotated[int, Field(ge=1000, le=2999)] | None = None
    musicbrainz_recording_id: _text(100) | None = None
    musicbrainz_release_id: _text(100) | None = None
    work: _text(200) | None = Field(None, description="The song underneath; recordings with the same one are linked.")

    def given(self) -> dict[str, Any]:
        """What was sent, as `Tags` wants it: an empty value for null."""
        empty = {"artists": (), "track": None, "year": None}
        return {
            name: tuple(value) if isinstance(value, list) else empty.get(name, "") if value is None else value
            for name, value in self.model_dump(exclude_unset=True).items()
        }


Url = Annotated[
    str,
    StringConstraints(min_length=8, max_length=4000, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/]"),
    AfterValidator(_no_nul),
]


class UrlInput(Shape):
    """A file that the server downloads; playlists and streams are refused."""

    type: Literal["url"]
    url: Url = Field(examples=["https://media.example.org/night-mix.mp4"])


class ObjectInput(Shape):
    """An object in a store that the server's settings know."""

    type: Literal["s3", "cos"]
    bucket: _text(255, 1)
    region: _text(100) = ""
    object: _text(1024, 1)


class Callback(Shape):
    """Where the end of the job is told, with the headers of Standard Webhooks."""

    url: Url
    secret: Annotated[str, StringConstraints(max_length=500), AfterValidator(_no_nul)] | None = Field(
        None, description="Signs the callback; without it the server's own callback_key does."
    )


class Output(Shape):
    """Where the result is written as JSON besides."""

    type: Literal["s3", "cos"]
    bucket: _text(255, 1)
    region: _text(100) = ""
    dir: _text(1024) = ""


class JobOptions(Shape):
    """How a recording is scanned, and who is told."""

    kinds: Annotated[list[Literal["recording", "cover"]], Field(min_length=1, max_length=2)] | None = None
    find_unknown: bool = Field(True, description="Also look for the same unknown music again.")
    callback: Callback | None = None
    output: Output | None = None
    priority: Annotated[int, Field(ge=-10, le=10)] = 0
    session_id: _text(50) = Field("", description="The same one within three days does not make a second job.")
    session_context: _text(1000) = Field("", description="Comes back with the job and its callback.")


class JobWish(JobOptions):
    """A job: what to scan, and how."""

    input: Annotated[UrlInput | ObjectInput, Field(discriminator="type")]


class Opinion(Shape):
    """What somebody says of a segment."""

    verdict: Literal["accept", "reject", "correct"]
    recording: Annotated[int, Field(ge=1, le=MOST_ID)] | None = Field(None, description="Of `correct`: what it is.")
    note: _text(2000) = ""


class GapName(TagsChange):
    """Which stretch of unknown music is added to the library, and what it is. Or which recording it is."""

    start: Annotated[float, Field(ge=0, le=1e6)] | None = Field(None, description="Seconds; left out: the whole gap.")
    end: Annotated[float, Field(ge=0, le=1e6)] | None = None


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
    work: _text(200, 1) | None = Field(
        None, description="Its name; left out: that which some of them have, or a new one."
    )
    original: Annotated[int, Field(ge=1, le=MOST_ID)] | None = None


class Work(BaseModel):
    work: str
    recordings: list[Recording]


class SignIn(Shape):
    token: _text(500, 1)


class Session(BaseModel):
    key: str | None
    name: str
    scope: str
    csrf: str | None = Field(description="For the header X-CSRF-Token; null where none is needed.")


class KeyWish(Shape):
    """A key that is to be made."""

    name: _text(200, 1)
    scope: Literal["identify", "write", "admin"]
    parent: _text(100) | None = Field(
        None, description="The key it is made under: it ends with it, and has no more rights."
    )
    rate: Annotated[float, Field(gt=0, le=1e6)] | None = Field(None, description="Requests a second.")


class Key(BaseModel):
    id: str
    name: str
    scope: str
    parent: str | None
    rate: float | None
    created_at: str
    revoked_at: str | None


class NewKey(Key):
    secret_key: str
    token: str


class Keys(BaseModel):
    items: list[Key]


class Used(BaseModel):
    day: str
    key: str
    jobs: int
    seconds: float
    minutes: int


class Usage(BaseModel):
    items: list[Used]


class Attempt(BaseModel):
    at: str
    elapsed: float
    status: int | None
    error: str | None


class Delivery(BaseModel):
    id: str
    job_id: str
    event: str
    url: str
    style: str
    state: str
    created_at: str
    due_at: str | None
    delivered_at: str | None
    attempts: list[Attempt]


class Deliveries(BaseModel):
    items: list[Delivery]
    next: str | None


class Entry(BaseModel):
    number: int
    at: str
    key_id: str
    action: str
    subject: str


class Audit(BaseModel):
    items: list[Entry]
    next: str | None


class JobError(BaseModel):
    code: str
    message: str


class Verdict(BaseModel):
    job_id: str
    part: Literal["segment", "gap"]
    position: int
    verdict: Literal["accept", "reject", "correct"]
    recording_id: int | None
    note: str
    key_id: str | None
    at: str


class ListedJob(BaseModel):
    id: str
    state: Literal["waiting", "running", "finished", "failed", "cancelled"]
    priority: int
    input: dict[str, Any]
    options: dict[str, Any]
    progress: float = Field(description="0 to 1")
    key_id: str
    session_id: str
    session_context: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    changed_at: str
    attempts: int
    seconds: float = Field(description="Of the input.")
    error: JobError | None


class Job(ListedJob):
    result: dict[str, Any] | None = Field(description="The timeline: `segments`, `songs`, `gaps` ...")
    verdicts: list[Verdict]


class Jobs(BaseModel):
    items: list[ListedJob]
    next: str | None


class JobDeliveries(BaseModel):
    items: list[Delivery]


class Peaks(BaseModel):
    start: float
    end: float
    peaks: list[float] = Field(description="The loudest of each part, 0 to 1.")
